"""Requests to Bedrock's `converse`: Nova, and any other model there (wire §4.4, §5.3, §8.3)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from services.errors import BadRequest
from services.translation.capabilities import ModelFacts
from services.translation.conversation import (
    Audio,
    Block,
    CacheMark,
    Conversation,
    Document,
    Image,
    Redacted,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.dialects import Sent
from services.translation.fields import Json
from services.translation.replies import Target
from services.translation.turns import (
    FILLER,
    arguments_object,
    arranged,
    check_inputs,
    document_text,
    image_format,
    parameters,
)
from services.translation.upstreams.bedrock import MARKS_LOST, MAX_MARKS, stop_sequences, unsaid, with_hint
from services.translation.upstreams.claude_thinking import check_end, plan, sampling

CONVERSE = "converse"

_PATH = {False: "/converse", True: "/converse-stream"}
_DOCUMENTS: Mapping[str, str] = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}
_UNNAMEABLE = re.compile(r"[^a-zA-Z0-9\-()\[\]]+")
_MAX_NAME = 150
_CACHE_POINT: Mapping[str, Any] = {"cachePoint": {"type": "default"}}


def request(conversation: Conversation, target: Target) -> Sent:
    """Return the request. Raises BadRequest for content that Converse does not take."""
    facts = target.facts
    check_inputs(conversation, facts)
    conversation = with_hint(conversation, facts)  # Converse knows no schema for answers
    system, turns = arranged(conversation, CONVERSE)
    check_end(conversation, turns, facts)
    config = _tool_config(conversation)
    marks = _marks(system, turns)
    form = _Form(conversation, surplus=len(marks) - MAX_MARKS, in_words=not config)
    body: Json = {}
    if system:
        body["system"] = form.blocks(system)
    body["messages"] = [{"role": turn.role, "content": form.blocks(turn.blocks)} for turn in turns]
    if config:
        body["toolConfig"] = config
    more, dropped = _parameters(conversation, turns, facts)
    lost = (
        *dropped,
        *unsaid(conversation, CONVERSE),
        *_unsaid_here(conversation, marks, in_words=not config),
    )
    return Sent(_PATH[conversation.stream], msgspec.json.encode(body | more), lost)


def _unsaid_here(conversation: Conversation, marks: Sequence[CacheMark], *, in_words: bool) -> Iterable[str]:
    if len(marks) > MAX_MARKS:
        yield MARKS_LOST
    if any(mark.ttl == "1h" for mark in marks):
        yield "cache marks' ttl"
    if any(tool.cache for tool in conversation.tools):
        yield "cache marks on tools"
    parts = [*conversation.parts()]
    if in_words and any(isinstance(part, ToolUse | ToolResult) for part in parts):
        yield "tool calls but as words"
    if any(isinstance(part, Document | Text) and part.citations for part in parts):
        yield "citations"
    if any(isinstance(part, Document) and part.context for part in parts):
        yield "context of documents"


# --- parameters --------------------------------------------------------------------------------------


def _parameters(
    conversation: Conversation, turns: Sequence[Turn], facts: ModelFacts
) -> tuple[Json, tuple[str, ...]]:
    """Return the members of the body besides the prompt, and what was dropped. Claude has its own rules."""
    thoughts = plan(conversation, turns, facts)
    claude = bool(facts.thinking)
    thinks = thoughts.thinking is not None
    samples, unsampled = sampling(conversation.settings, thinks=thinks, free=not claude)
    inference = {
        "maxTokens": thoughts.max_tokens if claude else conversation.max_tokens,
        "temperature": samples.get("temperature"),
        "topP": samples.get("top_p"),
        "stopSequences": stop_sequences(conversation) or None,
    }
    top_k = samples.get("top_k")
    more = {
        "thinking": thoughts.thinking,
        "output_config": {"effort": thoughts.effort} if thoughts.effort else None,
        "top_k": top_k if claude else None,
        "inferenceConfig": {"topK": top_k} if top_k is not None and not claude else None,  # Nova's
    }
    out = {"inferenceConfig": _given(inference), "additionalModelRequestFields": _given(more)}
    return {name: members for name, members in out.items() if members}, (*thoughts.dropped, *unsampled)


def _given(members: Mapping[str, Any]) -> Json:
    return {name: value for name, value in members.items() if value is not None}


def _tool_config(conversation: Conversation) -> Json:
    choice = conversation.tool_choice
    if not conversation.tools or (choice is not None and choice.mode == "none"):  # there is no such choice
        return {}
    config: Json = {"tools": [_tool(tool) for tool in conversation.tools]}
    if choice is not None:
        config["toolChoice"] = {choice.mode: {"name": choice.name} if choice.name else {}}
    return config


def _tool(tool: Tool) -> Json:
    spec: Json = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    return {"toolSpec": spec | {"inputSchema": {"json": parameters(tool)}}}


# --- prompt ------------------------------------------------------------------------------------------


def _marks(system: Iterable[Text], turns: Iterable[Turn]) -> list[CacheMark]:
    blocks = [*system, *(block for turn in turns for block in turn.blocks)]
    return [mark for block in blocks if (mark := _mark(block)) is not None]


def _mark(block: Block) -> CacheMark | None:
    if isinstance(block, Thinking | Redacted | Audio):
        return None
    if block.cache is None and isinstance(block, ToolResult):  # a point cannot stand inside of a result
        return next((part.cache for part in block.content if part.cache is not None), None)
    return block.cache


class _Form:
    """Builds the prompt. The first cache points are left out, as many as there are in `surplus`.

    `in_words` is for requests without tools: Converse then takes no calls and results in the history either
    (trap 34), so the model reads of them as text. That way it cannot call what it must not call.
    """

    def __init__(self, conversation: Conversation, *, surplus: int, in_words: bool) -> None:
        self._conversation = conversation
        self._surplus = surplus
        self._in_words = in_words
        self._names: set[str] = set()

    def blocks(self, blocks: Iterable[Block]) -> list[Mapping[str, Any]]:
        """Return the blocks, each with its cache point behind it."""
        out: list[Mapping[str, Any]] = []
        for block in blocks:
            out += self._block(block)
            if _mark(block) is not None:
                if self._surplus <= 0:
                    out.append(_CACHE_POINT)
                self._surplus -= 1
        return out

    def _block(self, block: Block) -> list[Json]:
        match block:
            case Text(text):
                return [{"text": text}]
            case Image(data=data):
                return [
                    {"image": {"format": image_format(block, self._conversation), "source": {"bytes": data}}}
                ]
            case Document():
                return [{"document": self._document(block)}]
            case ToolUse():
                return [self._use(block)]
            case ToolResult():
                return self._result(block)
            case Thinking(text, signature):
                return [{"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}]
            case Redacted(data):
                return [{"reasoningContent": {"redactedContent": data}}]
            case _:  # Audio
                raise self._refused("Converse takes no audio")

    def _use(self, use: ToolUse) -> Json:
        if self._in_words:
            return {"text": f"[called the tool {use.name} with {use.arguments}]"}
        given = arguments_object(use.arguments)
        return {"toolUse": {"toolUseId": use.id, "name": use.name, "input": given}}

    def _result(self, result: ToolResult) -> list[Json]:
        content = [block for part in result.content or (FILLER,) for block in self._block(part)]
        if self._in_words:
            return [{"text": "[the tool failed:]" if result.is_error else "[the tool answered:]"}, *content]
        status = "error" if result.is_error else "success"
        return [{"toolResult": {"toolUseId": result.tool_id, "content": content, "status": status}}]

    def _document(self, document: Document) -> Json:
        kind, data = _DOCUMENTS.get(document.media_type) if document.data else None, document.data
        if kind is None:
            text = document_text(document, self._conversation)
            if text is None:
                raise self._refused(f"Converse takes no documents of type '{document.media_type}'")
            kind, data = "txt", base64.b64encode(text.encode()).decode()
        return {"format": kind, "name": self._name(document.title), "source": {"bytes": data}}

    def _name(self, title: str) -> str:
        """Return a name of the characters that Converse takes, which no other document has."""
        base = _UNNAMEABLE.sub(" ", title).strip()[:_MAX_NAME].strip() or "document"
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base} ({count})"
        self._names.add(name)
        return name

    def _refused(self, text: str) -> BadRequest:
        return BadRequest(text, param=self._conversation.name_of("messages"))
