"""Requests to Claude by Bedrock's `invoke` (wire §4.3, §5.2, §8.2)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from services.errors import BadRequest, UpstreamError
from services.translation.capabilities import ModelFacts, beta_flags
from services.translation.conversation import (
    Block,
    Conversation,
    Document,
    Image,
    Redacted,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.dialects import Sent
from services.translation.fields import Json
from services.translation.replies import Target
from services.translation.signatures import CLAUDE
from services.translation.turns import (
    arguments_object,
    arranged,
    check_inputs,
    document_text,
    image_format,
    parameters,
)
from services.translation.upstreams.bedrock import Marks, stop_sequences, unsaid, with_hint
from services.translation.upstreams.claude_thinking import Plan, check_end, plan, sampling

VERSION = "bedrock-2023-05-31"

PATH = {False: "/invoke", True: "/invoke-with-response-stream"}
"""By whether the answer is a stream."""
_DISPENSABLE: Mapping[str, str] = {
    "invalid beta flag": "anthropic_beta",  # trap 28
    # By a budget it is known beforehand (`claude_thinking`); of adaptive thinking the sources say nothing.
    "must start with a thinking block": "thinking",
}
"""Words of a refusal → the member that it is about."""
_DISPENSABLES = frozenset(_DISPENSABLE.values())
_NAMES: Mapping[str, str] = {"thinking": "reasoning_effort"}
_DATA = frozenset({"const", "default", "enum", "examples"})
"""Members of a JSON Schema that hold values, no schemas."""
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""Members that hold schemas by names of the caller's."""


def request(conversation: Conversation, target: Target) -> Sent:
    """Return the request. Raises BadRequest for content that Claude does not take."""
    facts = target.facts
    check_inputs(conversation, facts)
    if not _formats(conversation, facts):
        conversation = with_hint(conversation, facts)
    system, turns = arranged(conversation, CLAUDE)
    check_end(conversation, turns, facts)
    thoughts = plan(conversation, turns, facts)
    samples, unsampled = sampling(conversation.settings, thinks=thoughts.thinking is not None)
    form = _Form(conversation)
    body = form.prompt(system, turns) | _parameters(conversation, thoughts) | samples
    dropped = (*thoughts.dropped, *unsampled, *form.marks.thinned(), *unsaid(conversation, CLAUDE))
    if conversation.betas:
        betas = beta_flags(conversation.betas, facts)
        if betas:
            body["anthropic_beta"] = betas
        if len(betas) < len(set(conversation.betas)):
            dropped = (*dropped, "anthropic_beta")
    return _sent(PATH[conversation.stream], body, dropped)


def _formats(conversation: Conversation, facts: ModelFacts) -> bool:
    """Whether the model itself keeps to the answer's schema."""
    wanted = conversation.output
    return wanted is not None and wanted.schema is not None and "effort" in facts.flags


def _sent(path: str, body: Json, dropped: tuple[str, ...]) -> Sent:
    """Return the request; it may be asked again without what the model refuses and can do without."""
    amend = partial(_amended, path, body, dropped) if has_dispensable(body) else None
    return Sent(path, msgspec.json.encode(body), dropped, amend=amend)


def _amended(path: str, body: Json, dropped: tuple[str, ...], error: UpstreamError) -> Sent | None:
    name = refused_member(error, body)
    if not name:
        return None
    less = {member: value for member, value in body.items() if member != name}
    return _sent(path, less, (*dropped, _NAMES.get(name, name)))


def has_dispensable(body: Collection[str]) -> bool:
    """Whether there is something in the request that the model may refuse, and can do without."""
    return not _DISPENSABLES.isdisjoint(body)


def refused_member(error: UpstreamError, body: Collection[str]) -> str:
    """Return which such member of the request the model refused; empty for any other refusal."""
    said = str(error).lower()
    return next((name for words, name in _DISPENSABLE.items() if words in said and name in body), "")


# --- parameters --------------------------------------------------------------------------------------


def _parameters(conversation: Conversation, thoughts: Plan) -> Json:
    out: Json = {"max_tokens": thoughts.max_tokens}
    if thoughts.thinking is not None:
        out["thinking"] = thoughts.thinking
    config: Json = {"effort": thoughts.effort} if thoughts.effort else {}
    if conversation.output is not None:
        config["format"] = {"type": "json_schema", "schema": _schema(conversation)}
    if config:
        out["output_config"] = config
    if stops := stop_sequences(conversation):
        out["stop_sequences"] = stops
    if conversation.tools and (choice := _choice(conversation)):
        out["tool_choice"] = choice
    return out


def _schema(conversation: Conversation) -> Any:
    try:
        return closed(conversation.output and conversation.output.schema)
    except RecursionError as exc:
        own = conversation.name_of("response_format")
        raise BadRequest(f"the schema in '{own}' is nested too deeply", param=own) from exc


def closed(schema: Any) -> Any:
    """Return the schema with objects that take no further members: Claude wants that said."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    out = {name: _closed_within(name, value) for name, value in schema.items()}
    if schema.get("type") == "object":
        out.setdefault("additionalProperties", False)
    return out


def _closed_within(name: str, value: Any) -> Any:
    if name in _DATA:
        return value
    if name in _NAMED and isinstance(value, Mapping):
        return {key: closed(one) for key, one in value.items()}
    return closed(value)


def _choice(conversation: Conversation) -> Json:
    alone = conversation.parallel_tools is False
    choice = conversation.tool_choice or (ToolChoice() if alone else None)
    if choice is None:
        return {}
    out: Json = {"type": choice.mode}
    if choice.name:
        out["name"] = choice.name
    if alone and choice.mode != "none":
        out["disable_parallel_tool_use"] = True
    return out


# --- prompt ------------------------------------------------------------------------------------------


class _Form:
    """Builds the prompt, in the order in which Claude reads and caches it: tools, system, messages."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.marks = Marks()

    def prompt(self, system: Iterable[Text], turns: Iterable[Turn]) -> Json:
        """Return the members of the body that hold content."""
        out: Json = {"anthropic_version": VERSION}
        if tools := [self._tool(tool) for tool in self._conversation.tools]:
            out["tools"] = tools
        if texts := [self._block(text) for text in system]:
            out["system"] = texts
        out["messages"] = [
            {"role": turn.role, "content": [self._block(block) for block in turn.blocks]} for turn in turns
        ]
        return out

    def _tool(self, tool: Tool) -> Json:
        out: Json = {"name": tool.name}
        if tool.description:
            out["description"] = tool.description
        out["input_schema"] = parameters(tool)
        return self.marks.put(out, tool.cache)

    def _block(self, block: Block) -> Json:
        if type(block) is Text and block.cache is None and not block.citations:  # most of them
            return {"type": "text", "text": block.text}
        match block:
            case Text():
                return self.marks.put(_text(block), block.cache)
            case Image():
                return self.marks.put(self._image(block), block.cache)
            case Document():
                return self.marks.put(self._document(block), block.cache)
            case ToolUse():
                use = {"type": "tool_use", "id": block.id, "name": block.name}
                return self.marks.put(use | {"input": arguments_object(block.arguments)}, block.cache)
            case ToolResult():
                return self.marks.put(self._result(block), block.cache)
            case Thinking(text, signature):
                return {"type": "thinking", "thinking": text, "signature": signature}
            case Redacted(data):
                return {"type": "redacted_thinking", "data": data}
            case _:  # Audio
                raise self._refused("Claude takes no audio")

    def _image(self, image: Image) -> Json:
        media_type = f"image/{image_format(image, self._conversation)}"
        return {"type": "image", "source": _base64(media_type, image.data)}

    def _document(self, document: Document) -> Json:
        text = document_text(document, self._conversation)
        if text is not None:
            source: Mapping[str, Any] = {"type": "text", "media_type": "text/plain", "data": text}
        elif document.media_type == "application/pdf":
            source = _base64(document.media_type, document.data)
        else:
            raise self._refused(f"Claude takes PDF and text documents, not '{document.media_type}'")
        out: Json = {"type": "document", "source": source}
        if document.title:
            out["title"] = document.title
        if document.context:
            out["context"] = document.context
        if document.citations:
            out["citations"] = {"enabled": True}
        return out

    def _result(self, result: ToolResult) -> Json:
        out: Json = {"type": "tool_result", "tool_use_id": result.tool_id}
        if result.content:
            out["content"] = [self._block(part) for part in result.content]
        if result.is_error:
            out["is_error"] = True
        return out

    def _refused(self, text: str) -> BadRequest:
        return BadRequest(text, param=self._conversation.name_of("messages"))


def _text(text: Text) -> Json:
    out: Json = {"type": "text", "text": text.text}
    if text.citations:
        out["citations"] = text.citations
    return out


def _base64(media_type: str, data: str) -> Json:
    return {"type": "base64", "media_type": media_type, "data": data}
