"""Server-sent events, as far as a measurement needs them.

Splits a stream into data payloads wherever the bytes are cut; what they mean is for `perf.judge`.
"""

from __future__ import annotations

MAX_FRAME = 8 * 1024 * 1024


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
