"""Bedrock's `converse` and `converse-stream`: answers and streams (wire §4.4, §8.3).

Requests are made in `converse_request`. A stream's frames are no JSON but the text that Python gives a dict
(trap 1); they are read by a parser of literals, which runs nothing.
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import msgspec

from services.errors import UpstreamBroken
from services.translation import fields as f
from services.translation.dialects import ReplyInfo, Upstream
from services.translation.events import (
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
from services.translation.upstreams import bedrock
from services.translation.upstreams.converse_request import CONVERSE, request

_PLAIN_TEXT = re.compile(
    rb"\{'contentBlockDelta': \{'delta': \{'text': (?:'([^'\\]+)'|\"([^\"\\]+)\")\}, "
    rb"'contentBlockIndex': \d+\}\}"
)
"""A piece of text without escapes, which nearly every frame is: the parser takes ten times as long."""
_HALF_CHARACTER = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F]")
"""Python writes a lone surrogate so; no caller could be sent one."""
_NOT_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


class _Usage(msgspec.Struct, rename="camel"):
    input_tokens: int | float | None = 0
    output_tokens: int | float | None = 0
    cache_read_input_tokens: int | float | None = 0
    cache_write_input_tokens: int | float | None = 0


class _ReasoningText(msgspec.Struct):
    text: str = ""
    signature: str = ""


class _Reasoning(msgspec.Struct, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str = ""


class _Called(msgspec.Struct, rename="camel"):
    tool_use_id: str
    name: str


class _ToolUse(_Called):
    input: msgspec.Raw = bedrock.NO_INPUT


class _Block(msgspec.Struct, rename="camel"):
    text: str = ""
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None


class _Message(msgspec.Struct):
    content: list[_Block]


class _Output(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct, rename="camel"):
    output: _Output | None = None
    stop_reason: str = ""
    usage: _Usage | None = None


_answer = msgspec.json.Decoder(_Answer)


# --- whole answer ------------------------------------------------------------------------------------


def answer(body: bytes, info: ReplyInfo) -> list[Event]:
    """Return the events of a whole answer. Raises UpstreamBroken, or the UpstreamError that it reports."""
    whole = f.decoded(_answer, body, f.ANSWER)
    if whole.output is None:
        raise bedrock.failure(body)
    events: list[Event] = [Started()]
    for block in whole.output.message.content:
        events += _whole(block)
    if whole.usage is not None:
        events.append(_counted(whole.usage))
    if whole.stop_reason:
        events.append(bedrock.stopped(whole.stop_reason))
    return events


def _whole(block: _Block) -> Iterator[Event]:
    if block.text:
        yield TextPiece(block.text)
    if block.tool_use is not None:
        yield ToolOpened(block.tool_use.tool_use_id, block.tool_use.name)
        yield from bedrock.arguments(block.tool_use.input)
    if block.reasoning_content is not None:
        yield from _thinking(block.reasoning_content)


def _thinking(content: _Reasoning) -> Iterator[Event]:
    thought = content.reasoning_text
    if thought is not None and thought.text:
        yield ThinkingPiece(thought.text)
    if thought is not None and thought.signature:
        yield Signed(thought.signature, CONVERSE)
    if content.redacted_content:
        yield RedactedPiece(content.redacted_content, CONVERSE)


def _counted(usage: _Usage) -> Counted:
    """Return the tokens: the input leaves out what the cache read and wrote (wire §8.0, trap 5)."""
    return Counted(
        Tokens(
            uncached=int(usage.input_tokens or 0),
            cache_read=int(usage.cache_read_input_tokens or 0),
            cache_write_5m=int(usage.cache_write_input_tokens or 0),
            output=int(usage.output_tokens or 0),
        )
    )


# --- stream ------------------------------------------------------------------------------------------


class _ToolPiece(msgspec.Struct):
    input: str = ""


class _ReasoningPiece(msgspec.Struct, rename="camel"):
    text: str = ""
    signature: str = ""
    redacted_content: Any = b""
    """Bytes in Python's form, base64 in JSON."""


class _Delta(msgspec.Struct, rename="camel"):
    text: str = ""
    tool_use: _ToolPiece | None = None
    reasoning_content: _ReasoningPiece | None = None


class _DeltaFrame(msgspec.Struct):
    delta: _Delta


class _Start(msgspec.Struct, rename="camel"):
    tool_use: _Called | None = None


class _StartFrame(msgspec.Struct):
    start: _Start


class _StopFrame(msgspec.Struct, rename="camel"):
    stop_reason: str


class _Metadata(msgspec.Struct):
    usage: _Usage | None = None


class ConverseReader:
    """Reads Converse's stream: each frame is an object under the name of its kind.

    Usage comes after the stop reason, or not at all (trap 4): the stream is complete with the latter.
    """

    def __init__(self, info: ReplyInfo) -> None:
        self.done = False
        self._stopped = False
        self._calling = False
        self._signature: list[str] = []

    def feed(self, data: bytes) -> list[Event]:
        """Return the events of one frame. Raises UpstreamBroken, or the UpstreamError it reports."""
        if plain := _PLAIN_TEXT.fullmatch(data):
            return [TextPiece(f.text_of(plain[1] or plain[2], f.FRAME))]
        document = _read(data)
        events: list[Event] = []
        try:
            for name, value in document.items():
                if name in self._HANDLERS:
                    events += self._HANDLERS[name](self, value)
        except msgspec.ValidationError as exc:
            raise UpstreamBroken(f"{f.FRAME} cannot be read: {exc}") from exc
        if not events and (error := bedrock.reported(document)):
            raise error
        return events

    def close(self) -> list[Event]:
        """Return nothing. Raises UpstreamBroken when no `messageStop` was seen."""
        if not self._stopped:
            raise UpstreamBroken("the upstream's stream ended before its messageStop")
        return []

    def _start(self, value: Any) -> list[Event]:
        return [Started()]

    def _open(self, value: Any) -> list[Event]:
        use = msgspec.convert(value, _StartFrame).start.tool_use
        self._calling = use is not None
        return [ToolOpened(use.tool_use_id, use.name)] if use is not None else []

    def _piece(self, value: Any) -> list[Event]:
        delta = msgspec.convert(value, _DeltaFrame).delta
        if delta.text:
            return [TextPiece(delta.text)]
        if delta.tool_use is not None and delta.tool_use.input:
            if not self._calling:
                raise UpstreamBroken("the upstream's stream has arguments of a call that it did not open")
            return [ToolPiece(delta.tool_use.input)]
        return self._thought(delta.reasoning_content) if delta.reasoning_content is not None else []

    def _thought(self, piece: _ReasoningPiece) -> list[Event]:
        if piece.signature:
            self._signature.append(piece.signature)
        if piece.redacted_content:
            return [RedactedPiece(_base64(piece.redacted_content), CONVERSE)]
        return [ThinkingPiece(piece.text)] if piece.text else []

    def _close_block(self, value: Any) -> list[Event]:
        self._calling = False
        signature, self._signature = "".join(self._signature), []
        return [Signed(signature, CONVERSE)] if signature else []

    def _stop(self, value: Any) -> list[Event]:
        self._stopped = True
        return [bedrock.stopped(msgspec.convert(value, _StopFrame).stop_reason)]

    def _count(self, value: Any) -> list[Event]:
        self.done = self._stopped
        usage = msgspec.convert(value, _Metadata).usage
        return [_counted(usage)] if usage is not None else []

    _HANDLERS: ClassVar[Mapping[str, Callable[[ConverseReader, Any], list[Event]]]] = {
        "messageStart": _start,
        "contentBlockStart": _open,
        "contentBlockDelta": _piece,
        "contentBlockStop": _close_block,
        "messageStop": _stop,
        "metadata": _count,
    }


def _read(data: bytes) -> dict[str, Any]:
    """Return a frame that is JSON, or the text of a Python dict.

    Most of the latter are JSON but for the quotes: the parser of Python's form takes thirty times as long.
    """
    escaped = b'"' in data or b"\\" in data
    try:
        document = msgspec.json.decode(data if escaped else data.replace(b"'", b'"'))
    except f.UNREADABLE:
        if _HALF_CHARACTER.search(data):
            raise UpstreamBroken(f"{f.FRAME} has half a character") from None
        try:
            document = ast.literal_eval(f.text_of(data, f.FRAME))
        except _NOT_LITERAL as exc:
            raise UpstreamBroken(f"{f.FRAME} cannot be read: {exc}") from exc
    if not isinstance(document, dict):
        raise UpstreamBroken(f"{f.FRAME} is no object")
    return document


def _base64(content: Any) -> str:
    return base64.b64encode(content).decode() if isinstance(content, bytes) else str(content)


UPSTREAM = Upstream(request=request, answer=answer, reader=ConverseReader)
