"""GPT by Azure's Responses API, for callers who speak otherwise (wire §4.2, §8.8, §8.9).

It is the only way on which GPT's reasoning survives a loop of tool calls: it comes encrypted and goes back.
Responses callers pass through (`through.responses`). Answers are read by `responses_reader`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from services.errors import BadRequest
from services.translation.capabilities import ModelFacts
from services.translation.conversation import (
    Block,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Reasoning,
    Redacted,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.dialects import Sent, Upstream
from services.translation.efforts import effort_of, nearest
from services.translation.fields import Json
from services.translation.replies import Target
from services.translation.signatures import replayable
from services.translation.turns import UNTOLD, as_text, parameters
from services.translation.upstreams.chat_form import MODES, lost, response_format
from services.translation.upstreams.responses_reader import ORIGIN, ResponsesReader, answer

MIN_OUTPUT_TOKENS = 16
ENCRYPTED = "reasoning.encrypted_content"

_TAKEN = ("temperature", "top_p", "prompt_cache_key", "safety_identifier", "truncation")
_ASKS_NOTHING: Mapping[str, Any] = {"store": False}
_PDF = "application/pdf"
_JSON_WANTED = "Answer with one JSON object."


def request(conversation: Conversation, target: Target) -> Sent:
    """Return the request. Raises BadRequest for what this API, or its answer, cannot say."""
    items, lost = _Items(conversation).made()
    settings, unsaid = _settings(conversation)
    optional: Json = {
        "instructions": "\n\n".join(text.text for text in conversation.system) or None,
        "max_output_tokens": _max_tokens(conversation, target.facts),
        "reasoning": conversation.reasoning and _reasoning(conversation.reasoning, target.facts),
        "text": _text(conversation) or None,
        "include": [ENCRYPTED] if _reasons(target.facts) else None,
        "stream": conversation.stream or None,
        **(_tools(conversation) if conversation.tools else {}),
    }
    body: Json = {"input": items, "store": False, **settings}
    body |= {name: value for name, value in optional.items() if value is not None}
    path = f"/responses?api-version={target.api_version}"
    return Sent(path, msgspec.json.encode(body), (*unsaid, *lost))


def _settings(conversation: Conversation) -> tuple[Json, tuple[str, ...]]:
    """Return the settings that the API has, and the names of those that it has not."""
    dropped = []
    for name, value in conversation.settings.items():
        if name in UNTOLD and value != UNTOLD[name]:
            own = conversation.name_of(name)
            raise BadRequest(
                f"'{own}' cannot be honoured: this way to the model has no place for it", param=own
            )
        if name not in (*_TAKEN, *UNTOLD, "verbosity") and value != _ASKS_NOTHING.get(name):
            dropped.append(name)
    taken = {name: conversation.settings[name] for name in _TAKEN if name in conversation.settings}
    return taken, tuple(dropped)


def _max_tokens(conversation: Conversation, facts: ModelFacts) -> int | None:
    asked = conversation.max_tokens
    if asked is None:
        return None
    return max(min(asked, facts.max_output_tokens or asked), MIN_OUTPUT_TOKENS)


def _reasons(facts: ModelFacts) -> bool:
    """Whether the model reasons: the others refuse to encrypt what they have not got."""
    return bool(facts.efforts) or "temperature" in facts.fields  # no rule but theirs drops it


def _reasoning(asked: Reasoning, facts: ModelFacts) -> Json | None:
    effort = effort_of(asked)
    out = {"effort": nearest(effort, facts.efforts)} if effort else {}
    if effort != "none" and asked.shown is not False:
        out["summary"] = "auto"
    return out or None


def _text(conversation: Conversation) -> Json:
    out: Json = {}
    if conversation.output is not None:
        out["format"] = _format(conversation.output)
    if "verbosity" in conversation.settings:
        out["verbosity"] = conversation.settings["verbosity"]
    return out


def _format(wanted: OutputFormat) -> Json:
    form = response_format(wanted)
    return {"type": form["type"], **form.get("json_schema", {})}


# --- tools -------------------------------------------------------------------------------------------


def _tools(conversation: Conversation) -> Json:
    choice = conversation.tool_choice
    return {
        "tools": [_tool(one) for one in conversation.tools],
        "tool_choice": choice and _tool_choice(choice),
        "parallel_tool_calls": conversation.parallel_tools,
    }


def _tool(tool: Tool) -> Json:
    # Without `strict` the API turns strict mode on, and rewrites `required` (wire §8.8).
    out = {
        "type": "function",
        "name": tool.name,
        "parameters": parameters(tool),
        "strict": tool.strict is True,
    }
    return out | ({"description": tool.description} if tool.description else {})


def _tool_choice(choice: ToolChoice) -> str | Json:
    return {"type": "function", "name": choice.name} if choice.mode == "tool" else MODES[choice.mode]


# --- items -------------------------------------------------------------------------------------------


class _Items:
    """The items of one conversation."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._place = conversation.name_of("messages")
        self._forgotten = False

    def made(self) -> tuple[list[Json], tuple[str, ...]]:
        """Return the items, and what they could not say. Raises BadRequest."""
        items = [item for turn in self._conversation.turns for item in self._turn(turn)]
        paired = _paired(items)
        forgotten = self._forgotten or len(paired) < len(items)
        wanted = self._conversation.output
        if wanted is not None and wanted.schema is None and not self._speaks_of_json():
            paired.insert(0, _message("developer", [_input_text(_JSON_WANTED)]))  # else it is refused
        return paired, tuple(name for name in lost(self._conversation) if forgotten or name != "thinking")

    def _speaks_of_json(self) -> bool:
        texts = (block.text for block in self._conversation.blocks() if isinstance(block, Text))
        return any("json" in text.lower() for text in texts)

    def _turn(self, turn: Turn) -> list[Json]:
        if turn.role == "assistant":
            return self._assistant(turn.blocks)
        if turn.role == "user":
            return self._user(turn.blocks)
        parts = self._parts(turn.blocks)
        return [_message("developer", parts)] if parts else []

    def _user(self, blocks: Iterable[Block]) -> list[Json]:
        """Return the results first, then what the user says (wire §8.8)."""
        results = [block for block in blocks if isinstance(block, ToolResult)]
        parts = self._parts(block for block in blocks if not isinstance(block, ToolResult))
        items = [self._result(result) for result in results]
        return [*items, _message("user", parts)] if parts else items

    def _result(self, result: ToolResult) -> Json:
        return {
            "type": "function_call_output",
            "call_id": result.tool_id,
            "output": self._output(result),
        }

    def _output(self, result: ToolResult) -> str | list[Json]:
        parts = self._parts(result.content)
        if all(part["type"] == "input_text" for part in parts):
            text = "\n".join(part["text"] for part in parts)
            return f"Error: {text}" if result.is_error else text
        return [_input_text("Error:"), *parts] if result.is_error else parts

    def _assistant(self, blocks: Iterable[Block]) -> list[Json]:
        items: list[Json] = []
        for block in blocks:
            match block:
                case Text(text):
                    _say(items, text)
                case ToolUse(id, name, arguments):
                    call = {"call_id": id, "name": name, "arguments": arguments or "{}"}
                    items.append({"type": "function_call", **call})
                case Thinking() | Redacted():
                    items += self._thought(block)
                case _:
                    raise self._not_taken(f"a {type(block).__name__.lower()} of the assistant's own")
        return items

    def _thought(self, block: Thinking | Redacted) -> list[Json]:
        """Return the reasoning item; nothing for thinking that another dialect signed, or nobody."""
        if not replayable(block, ORIGIN):
            self._forgotten = True
            return []
        text, proof = ("", block.data) if isinstance(block, Redacted) else (block.text, block.signature)
        summary = [{"type": "summary_text", "text": text}] if text else []
        return [{"type": "reasoning", "summary": summary, "encrypted_content": proof}]

    def _parts(self, blocks: Iterable[Block]) -> list[Json]:
        return [self._part(block) for block in blocks if not (isinstance(block, Text) and not block.text)]

    def _part(self, block: Block) -> Json:
        match block:
            case Text(text):
                return _input_text(text)
            case Image(media_type, data, detail=detail):
                url = f"data:{media_type};base64,{data}"
                return {"type": "input_image", "image_url": url, "detail": detail or "auto"}
            case Document():
                return self._document(block)
            case _:
                raise self._not_taken(f"input of type '{getattr(block, 'media_type', type(block).__name__)}'")

    def _document(self, document: Document) -> Json:
        text = as_text(document, self._conversation)
        if text is not None:
            return _input_text(text)
        if document.media_type != _PDF:
            raise self._not_taken(f"documents of type '{document.media_type}'")
        data = f"data:{_PDF};base64,{document.data}"
        return {"type": "input_file", "filename": document.title or "document.pdf", "file_data": data}

    def _not_taken(self, what: str) -> BadRequest:
        return BadRequest(f"this model does not take {what}", param=self._place)


def _message(role: str, parts: list[Json]) -> Json:
    return {"type": "message", "role": role, "content": parts}


def _input_text(text: str) -> Json:
    return {"type": "input_text", "text": text}


def _say(items: list[Json], text: str) -> None:
    """Add to the assistant's message, or begin one."""
    if not text:
        return
    if not items or items[-1]["type"] != "message":
        items.append(_message("assistant", []))
    items[-1]["content"].append({"type": "output_text", "text": text})


def _paired(items: list[Json]) -> list[Json]:
    """Return the items without reasoning that leads to nothing: it is refused (wire §8.8)."""
    kept: list[Json] = []
    for item in reversed(items):
        if item["type"] != "reasoning" or (kept and _is_the_models(kept[-1])):
            kept.append(item)
    return kept[::-1]


def _is_the_models(item: Json) -> bool:
    return item["type"] in ("reasoning", "function_call") or item.get("role") == "assistant"


UPSTREAM = Upstream(
    request=request,
    answer=answer,
    reader=ResponsesReader,
    takes=frozenset({"prompt_cache_key", "safety_identifier"}),
)
