"""Server-sent events, as far as a measurement needs them.

Splits a stream into data payloads wherever the bytes are cut, and judges whether a stream of completions was
whole. An ending that nobody announced is a truncated answer, however politely the connection was closed.
"""

from __future__ import annotations

from typing import Any

import msgspec

MAX_FRAME = 8 * 1024 * 1024
DONE = b"[DONE]"
_RUNNING = b'"finish_reason":null'
_ERROR = b'"error"'

# Last event types of dialects other than chat completions, which have no [DONE].
_LAST = frozenset({"message_stop", "response.completed", "response.incomplete"})
_FAILED = frozenset({"error", "response.failed"})


class FrameTooLarge(ValueError):
    """A frame exceeds `MAX_FRAME` bytes."""


def _payload(frame: bytes) -> bytes | None:
    """The data lines of a frame joined by LF; None without any, as for comments and heartbeats."""
    if frame.startswith(b"data: ") and b"\n" not in frame:
        return frame[6:]
    lines = [line[5:] for line in frame.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(line.removeprefix(b" ") for line in lines) if lines else None


class FrameSplitter:
    """Bytes in, payloads of complete frames out. Lines end in LF, CRLF or CR."""

    __slots__ = ("_after_cr", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads of the frames that these bytes complete. Raises FrameTooLarge."""
        if self._after_cr or b"\r" in data:
            data = self._plain(data)
        if self._rest:
            data = self._rest + data
        *frames, self._rest = data.split(b"\n\n")
        if len(self._rest) > MAX_FRAME:
            raise FrameTooLarge(f"a frame of more than {MAX_FRAME} bytes")
        return [payload for frame in frames if (payload := _payload(frame)) is not None]

    def _plain(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        elif not data:
            return data
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _decode(payload: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except msgspec.MsgspecError as exc:
        raise ValueError(f"a frame that is not a JSON object: {exc}") from exc


def _count(usage: dict[str, Any], *names: str) -> int:
    value = next((usage[name] for name in names if name in usage), 0)
    return value if isinstance(value, int) else 0


def _has_output(event: dict[str, Any]) -> bool:
    """Whether a chat chunk carries text, reasoning or a tool call, or another dialect's event a delta."""
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if any(delta.get(key) for key in ("content", "reasoning_content", "tool_calls", "refusal")):
            return True
    return str(event.get("type", "")).endswith("delta")


class StreamJudge:
    """Watches one stream: first output, progress, end, errors, usage."""

    __slots__ = (
        "_splitter",
        "chunks",
        "completion_tokens",
        "done",
        "failure",
        "finished",
        "frames",
        "prompt_tokens",
        "started",
    )

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self.started = False
        """Something the model wrote has arrived."""
        self.finished = False
        self.done = False
        self.failure: str | None = None
        self.chunks = 0
        """Frames with output."""
        self.frames = 0
        """All frames with data, but [DONE]."""
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def feed(self, data: bytes) -> int:
        """The number of chunks with output among these bytes. Raises ValueError on a malformed stream."""
        fresh = 0
        payloads = self._splitter.feed(data)
        self.frames += len(payloads)
        for payload in payloads:
            # Quotes inside JSON strings are escaped, so these bytes can only be the keys themselves.
            if self.started and _RUNNING in payload and _ERROR not in payload:
                fresh += 1
            else:
                fresh += self._read(payload)
        self.chunks += fresh
        return fresh

    def _read(self, payload: bytes) -> int:
        if payload == DONE:
            self.done = True
            self.frames -= 1
            return 0
        event = _decode(payload)
        self._note(event)
        output = _has_output(event)
        self.started = self.started or output
        return int(output)

    def _note(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if event.get("error") or kind in _FAILED:
            self.failure = str(event.get("error") or kind)[:300]
        if kind in _LAST:
            self.finished = self.done = True
        if any(choice.get("finish_reason") for choice in event.get("choices") or ()):
            self.finished = True
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.prompt_tokens = _count(usage, "prompt_tokens", "input_tokens")
            self.completion_tokens = _count(usage, "completion_tokens", "output_tokens")

    def missing(self) -> str | None:
        """What a complete stream would have had and this one had not; None if it was whole."""
        if not self.finished:
            return "the stream ended without a finish reason"
        return None if self.done else "the stream ended without [DONE]"
