"""What each kind of fault does to an answer.

Tables: what replaces the answer, what changes a whole answer or a stream of frames, and what the connection
suffers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice

import msgspec

from perf.simulator.answers import EventStream, Reply, Step, reply_text
from perf.simulator.errors import (
    Problem,
    Shape,
    deployment_not_found,
    missing_tenant,
    rbac_denied,
    shaped,
)
from perf.simulator.faults import Fault
from perf.simulator.player import Ending

_CATEGORY = {"filtered": False, "severity": "safe"}
_FILTERED = {
    "code": "ResponsibleAIPolicyViolation",
    "content_filter_result": {
        "hate": _CATEGORY,
        "self_harm": _CATEGORY,
        "sexual": _CATEGORY,
        "violence": {"filtered": True, "severity": "medium"},
    },
}

_PROBLEMS: dict[str, Problem] = {
    "429": Problem(429, "Too many requests for this model; the call rate limit is exceeded.", "429"),
    "500": Problem(500, "The server had an error while processing the request.", "InternalServerError"),
    "503": Problem(503, "The service is temporarily unable to process the request.", "ServiceUnavailable"),
    "529": Problem(529, "The model is overloaded.", "overloaded"),
    "408": Problem(408, "The model did not answer in time.", "Timeout"),
    "content-filter": Problem(
        400,
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "content_filter",
        "prompt",
        _FILTERED,
    ),
    "context-length": Problem(
        400,
        "The input exceeds the model's maximum context length.",
        "context_length_exceeded",
        "messages",
    ),
}

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\r\n"

_PLAIN: dict[str, Callable[[str], Reply]] = {
    "401": lambda deployment: missing_tenant(),
    "revoke": lambda deployment: missing_tenant(),
    "403": lambda deployment: rbac_denied(),
    "404": deployment_not_found,
    "413": lambda deployment: reply_text(413, "Payload Too Large"),
    "504": lambda deployment: reply_text(504, "upstream request timeout"),
    "html": lambda deployment: Reply(502, _HTML, b"text/html"),
    "empty": lambda deployment: Reply(200, b""),
}

THROTTLED = Problem(429, "exceeded token rate limit", "429")
"""The error inside a 200 (wire §4.1)."""

MALFORMED = b'data: {"choices":[{"delta":{"content":"bro\n\n'

HANGS = ("stall",)

ErrorFrame = Callable[[Problem], bytes]


def replacement(fault: Fault, shape: Shape, deployment_id: str) -> Reply | None:
    """The reply that a fault puts in place of the answer; None if it lets the answer be made."""
    plain = _PLAIN.get(fault.kind)
    if plain is not None:
        return plain(deployment_id)
    problem = _PROBLEMS.get(fault.kind)
    if problem is None:
        return None
    if fault.arg is not None:
        problem = msgspec.structs.replace(problem, retry_after=math.ceil(fault.arg))
    return shaped(problem, shape)


class Damage(msgspec.Struct):
    """What a fault leaves of an answer."""

    answer: Reply | EventStream
    ending: Ending = Ending.KEEP
    delay: float = 0.0
    """Seconds more to the first byte."""
    mute: bool = False
    """Nothing is sent at all."""
    promised: int | None = None
    """Content-Length of a unary body that is longer than what is sent."""


def damage(fault: Fault, answer: Reply | EventStream, shape: Shape, frame: ErrorFrame) -> Damage:
    """Apply a fault to an answer that was made; `frame` writes an error inside a stream."""
    if fault.kind in _WIRE:
        return _WIRE[fault.kind](fault, answer)
    if isinstance(answer, Reply):
        return _UNARY.get(fault.kind, _unharmed)(fault, answer, shape)
    return _STREAMED[fault.kind](fault, answer, frame)


# the connection

_WIRE: dict[str, Callable[[Fault, Reply | EventStream], Damage]] = {
    "reset": lambda fault, answer: Damage(answer, Ending.RESET, mute=True),
    "silence": lambda fault, answer: Damage(answer, Ending.HANG, mute=True),
    "slow": lambda fault, answer: Damage(answer, delay=_arg(fault)),
}


ON_THE_WIRE = frozenset(_WIRE)
"""Faults that also hit an answer that is a refusal."""


def _arg(fault: Fault) -> float:
    return 1.0 if fault.arg is None else fault.arg


# unary answers


def _unharmed(fault: Fault, answer: Reply, shape: Shape) -> Damage:
    return Damage(answer)


def _short(fault: Fault, answer: Reply, shape: Shape) -> Damage:
    ending = Ending.HANG if fault.kind in HANGS else Ending.CLOSE
    half = msgspec.structs.replace(answer, body=answer.body[: len(answer.body) // 2])
    return Damage(half, ending, promised=len(answer.body))


def _broken(fault: Fault, answer: Reply, shape: Shape) -> Damage:
    return Damage(msgspec.structs.replace(answer, body=answer.body[: len(answer.body) // 2]))


def _error_inside(fault: Fault, answer: Reply, shape: Shape) -> Damage:
    body = shape(THROTTLED)
    inside = msgspec.json.encode(body if "error" in body else {"error": body})
    return Damage(msgspec.structs.replace(answer, body=inside))


_UNARY: dict[str, Callable[[Fault, Reply, Shape], Damage]] = {
    "cut": _short,
    "stall": _short,
    "short-body": _short,
    "malformed": _broken,
    "error-frame": _error_inside,
    "error-first": _error_inside,
    "throttled": _error_inside,
    "slow-token": lambda fault, answer, shape: Damage(answer, delay=_arg(fault)),
}


# streams


def _first_content(stream: EventStream, content: int) -> Iterator[Step]:
    """The opening frames and so many content frames."""
    left = stream.opening + content
    while left > 0:
        step = next(stream.frames, None)
        if step is None:
            return
        left -= type(step) is bytes
        yield step


def _failing(stream: EventStream, content: int, frame: ErrorFrame) -> Iterator[Step]:
    yield from _first_content(stream, content)
    yield (stream.failed or frame)(THROTTLED)


def _throttled(stream: EventStream, frame: ErrorFrame) -> Iterator[Step]:
    yield from islice(stream.frames, 1)
    yield (stream.failed or frame)(THROTTLED)


def _late(stream: EventStream, seconds: float) -> Iterator[Step]:
    yield from _first_content(stream, 0)
    yield float(seconds)
    yield from stream.frames


def _malformed(stream: EventStream, content: int) -> Iterator[Step]:
    yield from _first_content(stream, content)
    yield MALFORMED if stream.malformed is None else stream.malformed
    yield from stream.frames


def _ragged(stream: EventStream, size: int) -> Iterator[Step]:
    """Pieces that end inside a line, a JSON string, or a letter of several bytes."""
    rest = b""
    for step in chain(stream.frames, [stream.done]):
        if type(step) is not bytes:
            yield step
            continue
        rest += step
        while len(rest) > size:
            yield rest[:size]
            rest = rest[size:]
    yield rest


def _stream(
    answer: EventStream, frames: Iterator[Step], *, done: bytes = b"", ending: Ending = Ending.KEEP
) -> Damage:
    return Damage(msgspec.structs.replace(answer, frames=frames, done=done), ending)


def _frames(fault: Fault) -> int:
    return int(_arg(fault))


_STREAMED: dict[str, Callable[[Fault, EventStream, ErrorFrame], Damage]] = {
    "cut": lambda f, a, frame: _stream(a, _first_content(a, _frames(f)), ending=Ending.CLOSE),
    "short-body": lambda f, a, frame: _stream(a, _first_content(a, _frames(f)), ending=Ending.CLOSE),
    "stall": lambda f, a, frame: _stream(a, _first_content(a, _frames(f)), ending=Ending.HANG),
    "malformed": lambda f, a, frame: _stream(a, _malformed(a, _frames(f)), done=a.done),
    "no-done": lambda f, a, frame: _stream(a, a.frames),
    "error-frame": lambda f, a, frame: _stream(a, _failing(a, _frames(f), frame)),
    "error-first": lambda f, a, frame: _stream(a, _failing(a, 0, frame)),
    "ragged": lambda f, a, frame: _stream(a, _ragged(a, int(7 if f.arg is None else max(1, f.arg)))),
    "throttled": lambda f, a, frame: _stream(a, _throttled(a, frame)),
    "slow-token": lambda f, a, frame: _stream(a, _late(a, _arg(f)), done=a.done),
}
