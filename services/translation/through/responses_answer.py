"""Responses of Azure deployments on their way down: bytes, with the few edits that callers need (wire §4.2).

The model gets its public name, ids get sealed, frames get the `event:` line that Azure leaves out. All else
keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.errors import GatewayError, UpstreamBroken, UpstreamError, UpstreamFailed
from services.translation import fields as f, stored
from services.translation.callers.responses_answer import failure
from services.translation.faults import error_inside
from services.translation.fields import Fields
from services.translation.frames import DONE
from services.translation.replies import Answer, Target, Usage
from services.translation.through.relay import FrameRelay

_encode = msgspec.json.encode


class _Usage(msgspec.Struct):
    input_tokens: int | float | None = 0
    output_tokens: int | float | None = 0
    total_tokens: int | float | None = 0


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Kind(msgspec.Struct):
    type: str = ""


class _Response(msgspec.Struct):
    """What is looked at in a response; everything else passes unseen."""

    id: str | None = None
    previous_response_id: str | None = None
    status: str | None = None
    model: str | None = None
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    output: list[_Kind] | None = None
    error: msgspec.Raw = f.ABSENT


class _Frame(msgspec.Struct, gc=False):
    type: str = ""
    sequence_number: int = 0
    response: msgspec.Raw = f.ABSENT
    error: msgspec.Raw = f.ABSENT


_response = msgspec.json.Decoder(_Response)
_frame = msgspec.json.Decoder(_Frame)


# --- one response ------------------------------------------------------------------------------------


class Down:
    """What becomes of a response object. `origin` is where it comes from: "sub-account/deployment"."""

    def __init__(self, target: Target, origin: str = "") -> None:
        self._model = target.public_name
        self._caller = target.caller
        self._origin = origin

    def made(self, body: bytes) -> Answer:
        """Return the answer to a request. Raises UpstreamBroken, or the UpstreamError that it reports."""
        return self._answer(body, new=True)

    def kept(self, body: bytes) -> Answer:
        """Return the answer about a stored response, which may well have failed. Raises UpstreamBroken."""
        return self._answer(body, new=False)

    def _answer(self, body: bytes, *, new: bool) -> Answer:
        members = f.decoded(f.decoder, body, f.ANSWER)
        seen = f.decoded(_response, body, f.ANSWER)
        if f.present(seen.error) and (new or seen.id is None):
            raise error_inside(seen.error)
        if seen.id is None:
            raise UpstreamBroken("the upstream's answer is no response: it has no id")
        return Answer(
            body=_encode(self.edited(members, seen)),
            usage=usage_of(seen) if new else None,  # it was counted when it was made
            finish_reason=finish_reason_of(seen) if new else "",
        )

    def edited(self, members: Fields, seen: _Response) -> Fields:
        """Return the members as the caller gets them."""
        if seen.model is not None:
            members["model"] = f.raw(self._model)
        if self._origin:
            for name, given in (("id", seen.id), ("previous_response_id", seen.previous_response_id)):
                if given is not None:
                    members[name] = f.raw(stored.seal(given, self._origin, self._caller))
        return members


def usage_of(seen: _Response) -> Usage | None:
    """Return what a response cost."""
    usage = seen.usage
    return Usage(usage.input_tokens, usage.output_tokens, usage.total_tokens) if usage else None


_REASONS: Mapping[str | None, str] = {"max_output_tokens": "length"}


def finish_reason_of(seen: _Response) -> str:
    """Return why the model stopped, in the words of chat completions; else the status."""
    if seen.status == "incomplete":
        why = seen.incomplete_details.reason if seen.incomplete_details else None
        return _REASONS.get(why, why or "length")
    if seen.status != "completed":
        return seen.status or ""
    called = any(item.type == "function_call" for item in seen.output or ())
    return "tool_calls" if called else "stop"


# --- stream ------------------------------------------------------------------------------------------

_OPENING = frozenset(
    {
        "response.created",
        "response.in_progress",
        "response.queued",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
    }
)
_ENDS = frozenset({"response.completed", "response.incomplete", "response.cancelled"})
_FAILED = "response.failed"
_EMPTY = b'""'


class ResponsesRelay(FrameRelay):
    """One stream of events, passed on frame by frame.

    A throttled request says `created`, `failed` without a reason, then `error` (trap 14): what failed is held
    back until its reason is there. The upstream's own last words pass only where content came before them.
    """

    def __init__(self, down: Down) -> None:
        super().__init__()
        self.usage: Usage | None = None
        self.finish_reason = ""
        self._down = down
        self._response: Fields = {}
        self._number = 0
        self._has_failed = False
        self._over = False

    def close(self) -> bytes:
        """Return the stream's end. Raises UpstreamBroken for one cut short, UpstreamFailed otherwise."""
        rest = self._rest()
        if self._has_failed:
            raise UpstreamFailed("the upstream reported a failure without a reason")
        if not self._over:
            raise UpstreamBroken("the upstream's stream ended before its last event")
        return rest

    def fail(self, error: GatewayError) -> bytes:
        """Return the event that ends a stream which cannot be completed; nothing if the upstream sent one."""
        if self._over:
            return b""
        self._over = True
        told: dict[str, Any] = {"type": _FAILED, "sequence_number": self._number + 1}
        told["response"] = self._response | {"status": f.raw("failed"), "error": f.raw(failure(error))}
        return _event(_FAILED, _encode(told))

    def _frame(self, data: bytes) -> bytes:
        if self._over or not data or data.startswith(DONE):
            return b""
        frame = f.decoded(_frame, data, f.FRAME)
        if frame.type == "error" or (f.present(frame.error) and not frame.type):
            return self._reported(frame, data)
        self._number = frame.sequence_number
        if frame.type == _FAILED:
            return self._failed(frame, data)
        if not self.began:
            self.began = _begins(frame.type, data)
        if f.first_byte(frame.response) == b"{":
            data = self._edited(frame, data)
        return _event(frame.type, data)

    def _edited(self, frame: _Frame, data: bytes) -> bytes:
        """Return the frame with its response as the caller gets it; note what it says."""
        seen = f.decoded(_response, frame.response, f.FRAME)
        self._response = self._down.edited(f.decoded(f.decoder, frame.response, f.FRAME), seen)
        if frame.type in _ENDS:
            self.usage = usage_of(seen)
            self.finish_reason = finish_reason_of(seen)
            self.done = self._over = True
        return _encode(f.decoded(f.decoder, data, f.FRAME) | {"response": f.raw(self._response)})

    def _failed(self, frame: _Frame, data: bytes) -> bytes:
        """Return the frame of a response that failed, if it says why and content was sent before."""
        seen = f.decoded(_response, frame.response, f.FRAME)
        written = _event(frame.type, self._edited(frame, data))
        self.usage = usage_of(seen)
        if not f.present(seen.error):
            self._has_failed = True  # the reason comes in a frame of its own
            return b""
        return self._ended(error_inside(seen.error), written)

    def _reported(self, frame: _Frame, data: bytes) -> bytes:
        error = error_inside(data)
        if self._has_failed:
            raise error  # told by `fail`, with the response that it is the reason of
        return self._ended(error, _event(frame.type, data))

    def _ended(self, error: UpstreamError, written: bytes) -> bytes:
        """Return the upstream's own last words. Raises the error where no content came before it."""
        if not self.began:
            raise error
        self.failure, self._over = error, True
        return written


def _begins(kind: str, data: bytes) -> bool:
    if kind.endswith(".delta"):
        return bytes(f.decoded(f.decoder, data, f.FRAME).get("delta", f.ABSENT)) != _EMPTY
    return kind not in _OPENING


def _event(kind: str, data: bytes) -> bytes:
    if not kind:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
