"""Judges whether a stream was whole, by the rules of its dialect, and counts what was in it.

An ending that nobody announced is a truncated answer, however politely the connection was closed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from perf.dialects import Dialect, Event

DONE = b"[DONE]"

_FAILED = frozenset({"error", "response.failed"})


def _decode(payload: bytes) -> Event:
    try:
        return msgspec.json.decode(payload, type=Event)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"a frame that is not a JSON object: {exc}") from exc


def _failure(event: Event) -> str | None:
    """What an error event says, in whichever dialect; None for other events."""
    error, kind = event.get("error"), event.get("type")
    if not error and kind not in _FAILED:
        return None
    inner = (event.get("response") or {}).get("error")
    return str(error or inner or event.get("message") or kind)[:300]


class StreamJudge:
    """Watches one stream of a dialect: first output, progress, end, errors, usage."""

    __slots__ = (
        "_dialect", "_splitter", "_usage", "chunks", "done", "failure", "finished", "frames", "started",
    )  # fmt: skip

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._splitter = dialect.splitter()
        self._usage: dict[str, Any] = {}
        self.started = False
        """Something the model wrote has arrived."""
        self.finished = False
        """The model said why it stopped."""
        self.done = False
        """The end of the stream was announced."""
        self.failure: str | None = None
        self.chunks = 0
        """Frames with output."""
        self.frames = 0
        """All frames with data, but [DONE]."""

    def feed(self, data: bytes) -> int:
        """The number of chunks with output among these bytes. Raises ValueError on a malformed stream."""
        fresh = 0
        payloads = self._splitter.feed(data)
        self.frames += len(payloads)
        plain = self._dialect.plain
        for payload in payloads:
            if self.started and plain(payload):
                fresh += 1
            else:
                fresh += self._read(payload)
        self.chunks += fresh
        return fresh

    def _read(self, payload: bytes) -> int:
        if payload == DONE:
            self.done = self.done or DONE.decode() in self._dialect.ends
            self.frames -= 1
            return 0
        event = _decode(payload)
        try:
            self._note(event)
            output = self._dialect.output(event)
        except (AttributeError, KeyError, TypeError) as exc:
            raise ValueError(
                f"a frame of an unknown shape: {payload[:200].decode(errors='replace')}"
            ) from exc
        self.started = self.started or output
        return int(output)

    def _note(self, event: Event) -> None:
        dialect, failure = self._dialect, _failure(event)
        if failure is not None:
            self.failure = failure
            return
        self.finished = self.finished or dialect.stopped(event)
        self.done = self.done or event.get("type") in dialect.ends
        for path in dialect.usage:
            found: Any = event
            for name in path:
                found = found.get(name) or {}
            self._usage |= {name: value for name, value in found.items() if value is not None}

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, cached ones included; 0 while unknown."""
        return sum(self._count(name) for name in self._dialect.prompt)

    @property
    def completion_tokens(self) -> int:
        """Tokens of the answer, those of reasoning included; 0 while unknown."""
        return sum(self._count(name) for name in self._dialect.completion)

    def _count(self, name: str) -> int:
        value = self._usage.get(name)
        return value if isinstance(value, int) else 0

    def missing(self) -> str | None:
        """What a complete stream would have had and this one had not; None if it was whole."""
        if not self.finished:
            return "the stream ended without a finish reason"
        if self._dialect.ends and not self.done:
            return f"the stream ended without {' or '.join(sorted(self._dialect.ends))}"
        return None
