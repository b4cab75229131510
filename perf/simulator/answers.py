"""What a handler gives back, and how it looks on the wire.

A handler is synchronous and returns a `Reply` or an `EventStream`; or it raises `Refused` with a reply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from perf.simulator.errors import Problem

JSON = b"application/json"
TEXT = b"text/plain"
SSE = b"text/event-stream; charset=utf-8"

DONE = b"data: [DONE]\n\n"

_STATUS_LINES = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus} | {
    529: b"HTTP/1.1 529 Overloaded\r\n"
}

Step = bytes | float
"""A frame to send, or seconds to be silent before the next one."""


class Reply(msgspec.Struct, gc=False):
    """A whole answer. `headers` are ready lines, each ended by CR LF."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: bytes = b""


class EventStream(msgspec.Struct):
    """A server-sent answer: frames as bytes, silences as seconds, then the terminator.

    `opening` counts the frames that carry no content; faults count content frames from there.
    """

    frames: Iterator[Step]
    opening: int = 0
    done: bytes = DONE
    failed: Callable[[Problem], bytes] | None = None
    """Writes an error that depends on what was sent before; None leaves it to the executable."""
    content_type: bytes = SSE
    malformed: bytes | None = None
    """A frame that cannot be read, for the fault of that name; None takes a `data:` line of broken JSON."""


class Refused(Exception):
    """The request is answered with this reply and goes no further."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def reply_json(value: Any, *, status: int = 200, headers: bytes = b"") -> Reply:
    """A JSON answer."""
    return Reply(status, msgspec.json.encode(value), JSON, headers)


def reply_text(status: int, text: str) -> Reply:
    """A plain text answer, as Envoy and Istio give them."""
    return Reply(status, text.encode(), TEXT)


def sse(payload: bytes) -> bytes:
    """One `data:` frame."""
    return b"data: %b\n\n" % payload


def head(status: int, content_type: bytes, length: int | None, headers: bytes) -> bytes:
    """Status line and headers; a length of None announces a chunked body."""
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"%bserver: istio-envoy\r\ncontent-type: %b\r\n%b\r\n%b\r\n" % (
        _STATUS_LINES[status],
        content_type,
        framing,
        headers,
    )
