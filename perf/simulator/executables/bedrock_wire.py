"""How Bedrock's events and errors look on the wire: four encodings of a stream, one shape of refusals.

invoke streams carry JSON in `data:` lines without `event:`; converse streams carry the `repr()` of a Python
dict there; both are binary messages if the caller accepts those (wire §4.3, §4.4, §6.4).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from perf.simulator.answers import SSE, EventStream, Step, sse
from perf.simulator.errors import Problem
from perf.simulator.executables import eventstream
from perf.simulator.executables.base import Call

_encode = msgspec.json.encode

Event = dict[str, Any]

_TEXTS = {
    "429": "Too many requests, please wait before trying again.",
    "ServiceUnavailable": "Model is getting throttled. Try your request again.",
    "content_filter": "Output blocked by content filtering policy",
    "context_length_exceeded": "Input is too long for requested model.",
}
"""Bedrock's own words for what every family may suffer (wire §5.3, §6.2)."""

_EXCEPTIONS = {
    400: "validationException",
    408: "modelTimeoutException",
    424: "modelStreamErrorException",
    429: "throttlingException",
    503: "serviceUnavailableException",
    529: "serviceUnavailableException",
}

_ERROR_TYPES = {400: "invalid_request_error", 503: "overloaded_error", 529: "overloaded_error"}


def refusal(problem: Problem) -> Event:
    """The body of a refusal; (u) whether SAP wraps it (wire §10.12)."""
    return {"message": _TEXTS.get(problem.code or "", problem.message)}


def _exception(problem: Problem) -> str:
    return _EXCEPTIONS.get(problem.status, "internalServerException")


class Encoding(msgspec.Struct, frozen=True):
    """How the events of a stream, and an error among them, become bytes."""

    content_type: bytes
    write: Callable[[Event], bytes]
    error: Callable[[Problem], bytes]
    malformed: bytes

    def stream(
        self, steps: Iterable[list[Event]], last: list[Event], opening: int, call: Call
    ) -> EventStream:
        """The stream: events that go out together, and the last ones, without which it is not complete."""
        return EventStream(
            self._paced(steps, opening, call),
            opening,
            self._joined(last),
            self.error,
            self.content_type,
            self.malformed,
        )

    def _paced(self, steps: Iterable[list[Event]], opening: int, call: Call) -> Iterator[Step]:
        for place, events in enumerate(steps):
            if call.interval and place >= opening:
                yield call.interval
            yield self._joined(events)

    def _joined(self, events: list[Event]) -> bytes:
        return b"".join(map(self.write, events))


def _claude_error(problem: Problem) -> bytes:
    """Throttling comes as raw text, the rest as Anthropic's error event (wire §4.3)."""
    if problem.status == 429:
        return sse(_encode({"type": "error", "message": f"ThrottlingException: {problem.message}"}))
    kind = _ERROR_TYPES.get(problem.status, "api_error")
    return sse(_encode({"type": "error", "error": {"type": kind, "message": problem.message}}))


def _python(event: Event) -> bytes:
    return sse(repr(event).encode())


def _binary_error(problem: Problem) -> bytes:
    return eventstream.exception(_exception(problem), _encode({"message": problem.message}))


def _chunk(event: Event) -> bytes:
    return eventstream.event("chunk", _encode({"bytes": base64.b64encode(_encode(event)).decode()}))


def _member(event: Event) -> bytes:
    ((kind, payload),) = event.items()
    return eventstream.event(kind, _encode(payload))


_BROKEN_MESSAGE = eventstream.event("chunk", b"{}")[:-1] + b"\0"
"""Its checksum is wrong."""

INVOKE = Encoding(
    SSE, lambda event: sse(_encode(event)), _claude_error, b'data: {"type":"content_block_delta","de\n\n'
)
CONVERSE = Encoding(
    SSE,
    _python,
    lambda problem: _python({_exception(problem): {"message": problem.message}}),
    b"data: {'contentBlockDelta': {'delta': {'text': 'bro\n\n",
)
_BINARY = {
    INVOKE: Encoding(eventstream.CONTENT_TYPE, _chunk, _binary_error, _BROKEN_MESSAGE),
    CONVERSE: Encoding(eventstream.CONTENT_TYPE, _member, _binary_error, _BROKEN_MESSAGE),
}


def wanted(call: Call, text: Encoding) -> Encoding:
    """The text encoding, or its binary counterpart if the caller accepts that."""
    accepted = call.headers.get(b"accept", b"").lower()
    return _BINARY[text] if eventstream.CONTENT_TYPE in accepted else text
