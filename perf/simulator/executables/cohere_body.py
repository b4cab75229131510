"""Cohere's v2 chat: which bodies are taken, and how the others are refused (wire §4.6, §5.6).

Choices where the wire document is unsure (u): unknown fields are refused by name, which takes care of `n`,
`max_completion_tokens` and `stream_options`; the catalogue's name of the model and Cohere's own are taken.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from perf.simulator.errors import Problem
from perf.simulator.executables import chat
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.validation import BadBody
from perf.simulator.models import Model

_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`(?: - at `\$\.?(.*)`)?$")
_MISSING = re.compile(r"Object missing required field `([^`]*)`(?: - at `\$\.?(.*)`)?$")


class Part(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One part of a message's content."""

    type: Literal["text", "thinking", "image_url", "document"]
    text: str | None = None
    thinking: str | None = None
    image_url: dict[str, Any] | None = None
    document: dict[str, Any] | None = None


class Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One message."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    tool_calls: list[chat.ToolCall] | None = None
    tool_plan: str | None = None
    tool_call_id: str | None = None
    citations: list[Any] | None = None

    def text(self) -> str:
        """What is said, thoughts left out."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(_said(part) for part in self.content or ())

    def length(self) -> int:
        """Characters that count as prompt."""
        calls = sum(len(call.function.arguments) for call in self.tool_calls or ())
        return len(self.text()) + len(self.tool_plan or "") + calls


def _said(part: Part) -> str:
    return str((part.document or {}).get("data", "")) if part.type == "document" else part.text or ""


class Thinking(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`thinking`."""

    type: Literal["enabled", "disabled"]
    token_budget: Annotated[int, msgspec.Meta(ge=1)] | None = None


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`response_format`."""

    type: Literal["text", "json_object"]
    json_schema: dict[str, Any] | None = None


Penalty = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ChatBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The request body."""

    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool = False
    tools: list[chat.Tool] | None = None
    tool_choice: Literal["REQUIRED", "NONE"] | None = None
    strict_tools: bool | None = None
    documents: list[Any] | None = None
    citation_options: dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    safety_mode: Literal["CONTEXTUAL", "STRICT", "OFF"] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    stop_sequences: Annotated[list[str], msgspec.Meta(max_length=5)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    k: Annotated[int, msgspec.Meta(ge=0, le=500)] | None = None
    p: Annotated[float, msgspec.Meta(ge=0.01, le=0.99)] | None = None
    logprobs: bool | None = None
    thinking: Thinking | None = None
    priority: int | None = None


_DECODER = msgspec.json.Decoder(ChatBody)


def read(body: bytes, model: Model) -> ChatBody:
    """Decode and check a body. Raises BadBody and Invalid."""
    try:
        read = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise BadBody(Problem(400, _complaint(str(error)))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(Problem(400, f"invalid request: {error}")) from error
    if not re.match(f"{model.name.partition('--')[2]}(-[0-9-]+)?$", read.model.removeprefix("cohere--")):
        raise BadBody(Problem(404, f"model '{read.model}' not found, make sure the correct ID was used"))
    if read.tools and read.response_format is not None and read.response_format.type == "json_object":
        raise Invalid("invalid request: response_format json_object is not supported with tools")
    if read.tool_choice is not None and not read.tools:
        raise Invalid("invalid request: tool_choice can only be specified if tools are specified")
    _check_messages(read.messages)
    return read


def _complaint(told: str) -> str:
    unknown = _UNKNOWN.match(told)
    if unknown:
        name = ".".join(filter(None, (unknown[2], unknown[1])))
        return f"unknown field: parameter '{name}' is not a valid field"
    missing = _MISSING.match(told)
    if missing:
        name = ".".join(filter(None, (missing[2], missing[1])))
        return f"invalid request: {name} is required"
    return f"invalid request: {told}"


def _check_messages(messages: list[Message]) -> None:
    asked: set[str] = set()
    for place, message in enumerate(messages):
        if asked and message.role != "tool":
            break
        if message.role == "tool":
            if message.tool_call_id not in asked:
                raise Invalid(
                    f"invalid request: messages[{place}]: tool call id not found in previous tool calls"
                )
            asked.discard(message.tool_call_id)
        elif not (message.content or message.tool_calls):
            raise Invalid(f"invalid request: messages[{place}]: must have non-empty content or tool calls")
        asked |= {call.id for call in message.tool_calls or ()}
    if asked:
        raise Invalid(f"invalid request: missing tool results for tool calls: {', '.join(sorted(asked))}")
    if messages[-1].role not in ("user", "tool"):
        raise Invalid("invalid request: the last message must have the role user or tool")
