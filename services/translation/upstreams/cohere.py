"""Cohere's chat, version 2 (wire §4.6).

Messages have the form of chat completions; settings and answers have Cohere's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from services.errors import (
    UpstreamBroken,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamMissing,
)
from services.translation import fields as f
from services.translation.conversation import Conversation, OutputFormat, Reasoning
from services.translation.dialects import ReplyInfo, Sent, Upstream
from services.translation.efforts import budget_of, effort_of
from services.translation.events import (
    Counted,
    Event,
    Started,
    Stopped,
    StopReason,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
)
from services.translation.faults import error_inside
from services.translation.fields import Json
from services.translation.replies import Target
from services.translation.turns import check_inputs
from services.translation.upstreams.chat_form import lost, messages, tool
from services.translation.upstreams.openai_reader import CallPiece

T = TypeVar("T")

# --- request -----------------------------------------------------------------------------------------

_PATH, _OTHER_PATH = "/v2/chat", "/chat"
_NAMES: Mapping[str, str] = {"top_p": "p", "top_k": "k", "stop": "stop_sequences"}


def request(conversation: Conversation, target: Target) -> Sent:
    """Return the request. Raises BadRequest for content that the model does not take.

    SAP documents one path and its SDK takes the other (wire §4.6): a refusal that may be about the path leads
    to the second.
    """
    check_inputs(conversation, target.facts)
    body: Json = {
        "model": target.backend_model,
        "messages": messages(conversation, target.facts),
        "stream": conversation.stream,
        **{_NAMES.get(name, name): value for name, value in conversation.settings.items()},
        **_tools(conversation),
    }
    if conversation.max_tokens is not None:
        body["max_tokens"] = conversation.max_tokens
    if conversation.reasoning is not None and effort_of(conversation.reasoning):
        body["thinking"] = thinking(conversation.reasoning)
    if conversation.output is not None:
        body["response_format"] = _response_format(conversation.output)
    strict = ("strict",) if any(one.strict for one in conversation.tools) else ()
    sent = Sent(_PATH, msgspec.json.encode(body), (*lost(conversation), *strict))

    def other_path(error: UpstreamError) -> Sent | None:
        elsewhere = isinstance(error, UpstreamDenied | UpstreamMissing)
        return msgspec.structs.replace(sent, path=_OTHER_PATH) if elsewhere else None

    return msgspec.structs.replace(sent, amend=other_path)


def _tools(conversation: Conversation) -> Json:
    """Return the tools; a named one is required by offering no other."""
    choice = conversation.tool_choice
    named = choice.name if choice else ""
    tools = [_plain(tool(one)) for one in conversation.tools if named in ("", one.name)]
    if not tools:
        return {}
    if choice is None or choice.mode == "auto":
        return {"tools": tools}
    return {"tools": tools, "tool_choice": "NONE" if choice.mode == "none" else "REQUIRED"}


def _plain(one: Json) -> Json:
    function = {name: value for name, value in one["function"].items() if name != "strict"}
    return one | {"function": function}


def thinking(reasoning: Reasoning) -> Json:
    """Return how much the model is to think."""
    budget = budget_of(reasoning)
    return {"type": "enabled", "token_budget": budget} if budget else {"type": "disabled"}


def _response_format(wanted: OutputFormat) -> Json:
    return {"type": "json_object"} | ({"json_schema": wanted.schema} if wanted.schema is not None else {})


# --- answer ------------------------------------------------------------------------------------------


class _Content(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None


class _Message(msgspec.Struct, gc=False):
    # One at a time in a stream, a list in a whole answer.
    content: _Content | list[_Content] | None = None
    tool_plan: str | None = None
    tool_calls: CallPiece | list[CallPiece] | None = None


class _Count(msgspec.Struct, gc=False):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Usage(msgspec.Struct, gc=False):
    tokens: _Count | None = None
    cached_tokens: float | None = None


class _Body(msgspec.Struct, gc=False):
    """A whole answer, or what a frame of a stream has as its `delta`."""

    message: _Message | None = None
    finish_reason: str | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = f.ABSENT


class _Frame(msgspec.Struct, gc=False):
    type: str = ""
    delta: _Body | None = None
    error: msgspec.Raw = f.ABSENT


_body = msgspec.json.Decoder(_Body)
_frame = msgspec.json.Decoder(_Frame)

_STOPS: Mapping[str, StopReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop_sequence",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
_FAILURES = ("ERROR", "ERROR_LIMIT", "TIMEOUT", "USER_CANCEL")


def answer(body: bytes, info: ReplyInfo) -> Sequence[Event]:
    """Return the events of a whole answer. Raises UpstreamBroken for none, or the error it reports."""
    whole = f.decoded(_body, body, f.ANSWER)
    if f.present(whole.error):
        raise error_inside(body)
    if whole.message is None:
        raise UpstreamBroken("the upstream's answer has no message")
    return [Started(), *_said(whole.message), *_ended(whole)]


class CohereReader:
    """Reads one stream. Its frames differ in what their message holds: their types say nothing more."""

    def __init__(self, info: ReplyInfo) -> None:
        self.done = False
        self._started = False
        self._calls = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events of one frame. Raises UpstreamBroken, or the UpstreamError it reports."""
        frame = f.decoded(_frame, data, f.FRAME)
        delta = frame.delta
        if f.present(frame.error) or (delta is not None and f.present(delta.error)):
            raise error_inside(data if delta is None else delta.error)
        if delta is None:
            return []
        out: list[Event] = [] if self._started else [Started()]
        self._started = True
        if delta.message is not None:
            for event in _said(delta.message):
                self._check_place(event)
                out.append(event)
        self.done = frame.type == "message-end"
        return [*out, *_ended(delta)]

    def _check_place(self, event: Event) -> None:
        """Raise UpstreamBroken for arguments that belong to no call."""
        piece = isinstance(event, ToolPiece)
        if piece and not self._calls:
            raise UpstreamBroken("the upstream sent arguments without a tool call")
        self._calls = piece or isinstance(event, ToolOpened)

    def close(self) -> list[Event]:
        """Return nothing more. Raises UpstreamBroken when there was no end."""
        if not self.done:
            raise UpstreamBroken("the upstream's stream ended before its message-end")
        return []


def _said(message: _Message) -> list[Event]:
    out: list[Event] = []
    if message.tool_plan:
        out.append(ThinkingPiece(message.tool_plan))
    for content in _listed(message.content):
        if content.thinking:
            out.append(ThinkingPiece(content.thinking))
        if content.text:
            out.append(TextPiece(content.text))
    for call in _listed(message.tool_calls):
        if call.function is not None and call.function.name:
            out.append(ToolOpened(call.id or "", call.function.name))
        if call.function is not None and call.function.arguments:
            out.append(ToolPiece(call.function.arguments))
    return out


def _listed(one: T | list[T] | None) -> list[T]:
    return one if isinstance(one, list) else [] if one is None else [one]


def _ended(body: _Body) -> list[Event]:
    out: list[Event] = [] if body.usage is None else [Counted(_tokens(body.usage))]
    reason = body.finish_reason
    if reason in _FAILURES:
        raise UpstreamFailed(f"Cohere stopped with {reason}", public=f"the model stopped with {reason}")
    return [*out, Stopped(_STOPS.get(reason, "stop"))] if reason else out


def _tokens(usage: _Usage) -> Tokens:
    count = usage.tokens or _Count()
    cached = int(usage.cached_tokens or 0)
    return Tokens(
        uncached=max(0, int(count.input_tokens or 0) - cached),
        cache_read=cached,
        output=int(count.output_tokens or 0),
    )


UPSTREAM = Upstream(request=request, answer=answer, reader=CohereReader)
