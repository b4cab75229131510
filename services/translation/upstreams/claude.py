"""Claude by Bedrock's `invoke` and `invoke-with-response-stream`: answers and streams (wire §4.3).

Requests are made in `claude_request`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from services.errors import UpstreamBroken
from services.translation import fields as f
from services.translation.dialects import ReplyInfo, Upstream
from services.translation.events import (
    Cited,
    Counted,
    Event,
    RedactedPiece,
    Signed,
    Started,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
)
from services.translation.signatures import CLAUDE
from services.translation.upstreams import bedrock
from services.translation.upstreams.claude_request import request

_Number = int | float | None
"""Some upstreams send null, or whole numbers as floats."""


class _Creation(msgspec.Struct, frozen=True):
    ephemeral_5m_input_tokens: _Number = None
    ephemeral_1h_input_tokens: _Number = None


class _Details(msgspec.Struct, frozen=True):
    thinking_tokens: _Number = None


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: _Number = None
    cache_read_input_tokens: _Number = None
    cache_creation_input_tokens: _Number = None
    cache_creation: _Creation | None = None
    output_tokens: _Number = None
    output_tokens_details: _Details | None = None


class _Metrics(msgspec.Struct, frozen=True):
    """Bedrock's own figures, under the names of `_Usage`."""

    input_tokens: _Number = msgspec.field(name="inputTokenCount", default=None)
    output_tokens: _Number = msgspec.field(name="outputTokenCount", default=None)
    cache_read_input_tokens: _Number = msgspec.field(name="cacheReadInputTokenCount", default=None)
    cache_creation_input_tokens: _Number = msgspec.field(name="cacheWriteInputTokenCount", default=None)


class _Block(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = bedrock.NO_INPUT
    citations: list[dict[str, Any]] | None = None


class _Delta(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Message(msgspec.Struct):
    type: str = ""
    content: list[_Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: _Usage | None = None


class _Frame(msgspec.Struct):
    type: str = ""
    message: msgspec.Raw = msgspec.Raw(b"{}")
    content_block: _Block = _Block()
    delta: _Delta = _Delta()
    usage: _Usage | None = None
    metrics: _Metrics | None = msgspec.field(name="amazon-bedrock-invocationMetrics", default=None)


_NO_CREATION, _NO_DETAILS = _Creation(), _Details()
_frame = msgspec.json.Decoder(_Frame)
_message = msgspec.json.Decoder(_Message)


# --- whole answer ------------------------------------------------------------------------------------


def answer(body: bytes, info: ReplyInfo) -> list[Event]:
    """Return the events of a whole answer. Raises UpstreamBroken, or the UpstreamError that it reports."""
    message = f.decoded(_message, body, f.ANSWER)
    if message.type == "error" or message.content is None:
        raise bedrock.failure(body)
    events: list[Event] = [Started()]
    for block in message.content:
        events += _whole(block)
    events.append(Counted(_tokens(message.usage or _Usage())))
    if message.stop_reason:
        events.append(bedrock.stopped(message.stop_reason, message.stop_sequence))
    return events


def _whole(block: _Block) -> list[Event]:
    events = _opening(block)
    if block.type == "thinking" and block.signature:
        events.append(Signed(block.signature, CLAUDE))
    if block.type == "tool_use":
        events += bedrock.arguments(block.input)
    if block.citations:
        events += map(_cited, block.citations)
    return events


def _opening(block: _Block) -> list[Event]:
    match block.type:
        case "text" if block.text:
            return [TextPiece(block.text)]
        case "thinking" if block.thinking:
            return [ThinkingPiece(block.thinking)]
        case "redacted_thinking":
            return [RedactedPiece(block.data)]
        case "tool_use":
            return [ToolOpened(block.id, block.name)]
        case _:
            return []


def _cited(citation: dict[str, Any]) -> Cited:
    title = citation.get("title") or citation.get("document_title")
    return Cited(str(citation.get("url") or ""), str(title or ""), citation)


def _tokens(usage: _Usage) -> Tokens:
    """Return the tokens (wire §8.0). Anthropic's input tokens leave out what the cache read and wrote."""
    creation = usage.cache_creation or _NO_CREATION
    details = usage.output_tokens_details or _NO_DETAILS
    hour = int(creation.ephemeral_1h_input_tokens or 0)
    written = int(usage.cache_creation_input_tokens or 0)
    return Tokens(
        uncached=int(usage.input_tokens or 0),
        cache_read=int(usage.cache_read_input_tokens or 0),
        cache_write_5m=max(written - hour, int(creation.ephemeral_5m_input_tokens or 0)),
        cache_write_1h=hour,
        output=int(usage.output_tokens or 0),
        reasoning=int(details.thinking_tokens or 0),
    )


def _told(counts: _Usage | _Metrics) -> dict[str, Any]:
    """Return the figures that are there."""
    return {name: count for name, count in msgspec.structs.asdict(counts).items() if count is not None}


# --- stream ------------------------------------------------------------------------------------------


class ClaudeReader:
    """Reads Anthropic's stream events. The `type` is in the JSON: there are no event lines (trap 2)."""

    def __init__(self, info: ReplyInfo) -> None:
        self.done = False
        self._block = _Block()
        self._signature: list[str] = []
        self._has_arguments = False
        self._usage: dict[str, Any] = {}

    def feed(self, data: bytes) -> list[Event]:
        """Return the events of one frame. Raises UpstreamBroken, or the UpstreamError it reports."""
        frame = f.decoded(_frame, data, f.FRAME)
        handle = self._HANDLERS.get(frame.type)
        if handle is not None:
            return handle(self, frame)
        if frame.type in ("", "error") and (error := bedrock.reported_in(data, f.FRAME)):
            raise error
        return []

    def close(self) -> list[Event]:
        """Return nothing. Raises UpstreamBroken when no `message_stop` was seen."""
        if not self.done:
            raise UpstreamBroken("the upstream's stream ended before its message_stop")
        return []

    def _start(self, frame: _Frame) -> list[Event]:
        self._usage = _told(f.decoded(_message, frame.message, f.FRAME).usage or _Usage())
        self._usage.pop("output_tokens", None)  # until the output is there it is a placeholder
        return [Started(), self._counted()]

    def _open(self, frame: _Frame) -> list[Event]:
        self._block = block = frame.content_block
        self._signature = [block.signature] if block.signature else []
        self._has_arguments = False
        return _opening(block)

    def _piece(self, frame: _Frame) -> list[Event]:
        delta = frame.delta
        if delta.text:
            return [TextPiece(delta.text)]
        if delta.partial_json:
            if self._block.type != "tool_use":  # a tool of the server, whose call is none of the caller's
                return []
            self._has_arguments = True
            return [ToolPiece(delta.partial_json)]
        if delta.thinking:
            return [ThinkingPiece(delta.thinking)]
        if delta.signature:
            self._signature.append(delta.signature)
        return [_cited(delta.citation)] if delta.citation else []

    def _close_block(self, frame: _Frame) -> list[Event]:
        block = self._block
        if self._signature:
            signature, self._signature = "".join(self._signature), []
            return [Signed(signature, CLAUDE)]
        if block.type == "tool_use" and not self._has_arguments:
            return bedrock.arguments(block.input)
        return []

    def _change(self, frame: _Frame) -> list[Event]:
        events: list[Event] = []
        if frame.usage:  # a running total, not a difference (trap 5)
            self._usage |= _told(frame.usage)
            events.append(self._counted())
        if frame.delta.stop_reason:
            events.append(bedrock.stopped(frame.delta.stop_reason, frame.delta.stop_sequence))
        return events

    def _end(self, frame: _Frame) -> list[Event]:
        self.done = True
        measured = _told(frame.metrics or _Metrics())
        if measured.keys() <= self._usage.keys():
            return []
        self._usage = measured | self._usage
        return [self._counted()]

    def _counted(self) -> Counted:
        return Counted(_tokens(_Usage(**self._usage)))

    _HANDLERS: ClassVar[Mapping[str, Callable[[ClaudeReader, _Frame], list[Event]]]] = {
        "message_start": _start,
        "content_block_start": _open,
        "content_block_delta": _piece,
        "content_block_stop": _close_block,
        "message_delta": _change,
        "message_stop": _end,
    }


UPSTREAM = Upstream(request=request, answer=answer, reader=ClaudeReader)
