"""Claude's answers on their way to Anthropic clients, passed on frame by frame (wire §4.3, §8.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.errors import GatewayError, UpstreamBroken
from services.translation import fields as f
from services.translation.callers.messages_answer import SSE, STOP_REASONS, Framing
from services.translation.fields import ABSENT
from services.translation.replies import Answer, Usage
from services.translation.through.relay import FrameRelay, renamed, says_more
from services.translation.upstreams.bedrock import reported_in

_START = "the upstream's message_start"
_METRICS = "amazon-bedrock-invocationMetrics"
_PIECE = "content_block_delta"
_OPENING = frozenset({"message_start", "ping", "content_block_start"})
_KIND = frozenset({"type"})
_REASONS: Mapping[str, str] = {said: reason for reason, said in reversed(list(STOP_REASONS.items()))}
_encode = msgspec.json.encode


class Form(msgspec.Struct, frozen=True):
    """How a kind of client gets what Bedrock says."""

    framing: Framing
    metrics: bool
    """Whether Bedrock's own figures are passed on."""


MESSAGES = Form(SSE, metrics=False)


class _Count(msgspec.Struct, gc=False):
    input_tokens: int | float | None = None
    cache_creation_input_tokens: int | float | None = None
    cache_read_input_tokens: int | float | None = None
    output_tokens: int | float | None = None


class _Delta(msgspec.Struct, gc=False):
    stop_reason: str | None = None


class _Start(msgspec.Struct, gc=False):
    usage: _Count | None = None


class _Frame(msgspec.Struct, gc=False):
    """What is looked at in a frame; everything else passes unseen."""

    type: str = ""
    message: msgspec.Raw = ABSENT
    delta: _Delta | None = None
    usage: _Count | None = None
    metrics: msgspec.Raw = msgspec.field(name=_METRICS, default=ABSENT)


class _Message(msgspec.Struct, gc=False):
    type: str = ""
    content: msgspec.Raw = ABSENT
    model: str | None = None
    stop_reason: str | None = None
    usage: _Count | None = None
    metrics: msgspec.Raw = msgspec.field(name=_METRICS, default=ABSENT)


class _Piece(msgspec.Struct):
    """A `content_block_delta` while nothing has begun: whatever may be in it counts."""

    delta: dict[str, Any] | None = None


_frame = msgspec.json.Decoder(_Frame)
_piece = msgspec.json.Decoder(_Piece)
_message = msgspec.json.Decoder(_Message)
_start = msgspec.json.Decoder(_Start)


class _Tally:
    """The figures of one answer; a later one replaces an earlier one (trap 5)."""

    def __init__(self) -> None:
        self._counts: dict[str, float] = {}

    def add(self, count: _Count | None) -> None:
        """Take the figures that are told."""
        if count is not None:
            told = ((name, getattr(count, name)) for name in _Count.__struct_fields__)
            self._counts |= {name: value for name, value in told if value is not None}

    def usage(self) -> Usage | None:
        """Return the tokens, OpenAI's way: the prompt includes what the cache read and wrote."""
        if not self._counts:
            return None
        output = self._counts.get("output_tokens", 0)
        prompt = sum(self._counts.values()) - output
        return Usage(prompt, output, prompt + output)


# --- whole answer --------------------------------------------------------------------------------------


def read_answer(body: bytes, *, form: Form, model: str) -> Answer:
    """Return the caller's answer. Raises UpstreamBroken for what is none, UpstreamError for its error."""
    seen = f.decoded(_message, body, f.ANSWER)
    if not f.present(seen.content) or not seen.stop_reason:
        raise reported_in(body, f.ANSWER) or UpstreamBroken("the upstream's answer is not complete")
    body = renamed(body, "model", seen.model, model, f.ANSWER)
    if not form.metrics:
        body = _without_metrics(body, seen.metrics, f.ANSWER)
    tally = _Tally()
    tally.add(seen.usage)
    return Answer(body, tally.usage(), _REASONS.get(seen.stop_reason, seen.stop_reason))


def _without_metrics(data: bytes, metrics: msgspec.Raw, what: str) -> bytes:
    """Return an answer or a frame without Bedrock's own figures, if it has any."""
    if not len(metrics):
        return data
    members = f.decoded(f.decoder, data, what)
    del members[_METRICS]
    return _encode(members)


# --- stream --------------------------------------------------------------------------------------------


class MessagesRelay(FrameRelay):
    """One stream of Anthropic's events, passed on frame by frame.

    Frames keep their bytes but for the model's name and Bedrock's metrics. What opens the stream is no
    content: a throttled model says so after it (wire §6.4).
    """

    def __init__(self, *, form: Form, model: str) -> None:
        super().__init__()
        self.finish_reason = ""
        self._form = form
        self._write = form.framing.event
        self._model = model
        self._tally = _Tally()

    @property
    def usage(self) -> Usage | None:
        """Tokens, as far as they are known."""
        return self._tally.usage()

    def close(self) -> bytes:
        """Return the stream's end. Raises UpstreamBroken when no `message_stop` was seen."""
        rest = self._rest()
        if not self.done:
            raise UpstreamBroken("the upstream's stream ended before its message_stop")
        return rest

    def fail(self, error: GatewayError) -> bytes:
        """Return the frame that ends a stream which cannot be completed."""
        return self._form.framing.fail(error)

    def _frame(self, data: bytes) -> bytes:
        if self.done or not data:
            return b""
        frame = f.decoded(_frame, data, f.FRAME)
        told = data if frame.type == _PIECE else self._noted(frame, data)
        if not self.began:
            self.began = _begins(frame.type, data)
        return self._write(frame.type, told)

    def _noted(self, frame: _Frame, data: bytes) -> bytes:
        """Note what the frame says of the answer; return it as the caller may see it. Raises its error."""
        if frame.type in ("", "error"):
            raise reported_in(data, f.FRAME) or UpstreamBroken("a frame of the upstream has no type")
        self._tally.add(frame.usage)
        if frame.delta is not None and frame.delta.stop_reason:
            self.finish_reason = _REASONS.get(frame.delta.stop_reason, frame.delta.stop_reason)
        if frame.type == "message_start":
            data = self._renamed(frame, data)
        self.done = frame.type == "message_stop"
        return data if self._form.metrics else _without_metrics(data, frame.metrics, f.FRAME)

    def _renamed(self, frame: _Frame, data: bytes) -> bytes:
        """Put the public name into the message that opens the stream (trap 9)."""
        message = f.decoded(f.decoder, frame.message, _START)
        self._tally.add(f.decoded(_start, frame.message, _START).usage)
        members = f.decoded(f.decoder, data, f.FRAME)
        members["message"] = f.raw(message | {"model": f.raw(self._model)})
        return _encode(members)


def _begins(kind: str, data: bytes) -> bool:
    if kind == _PIECE:
        return says_more(f.decoded(_piece, data, f.FRAME).delta or {}, _KIND)
    return kind not in _OPENING
