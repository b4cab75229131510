"""Server-sent events from bytes: the one place that cuts a stream into frames. AWS's binary ones, to bytes.

Lines end with LF, CRLF or CR and nothing else: `str.splitlines` would also cut at U+2028 and friends,
which are legal inside JSON strings (trap 10). Nothing is decoded before a frame is whole (trap 11).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

from services.errors import UpstreamBroken

MAX_FRAME_BYTES = 32 * 1024 * 1024
DONE = b"[DONE]"
_BOM = b"\xef\xbb\xbf"


class SSEParser:
    """Feed bytes as they arrive; get the data of each whole event.

    Only the data is kept: SAP AI Core sends no `event:` lines that matter, the type is in the JSON
    (wire §4.2, §4.3). Comments, ids and retry hints are skipped; several data lines are joined by LF.
    """

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._limit = max_frame_bytes
        self._tail = bytearray()
        self._searched = 0
        self._held_cr = False
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that this chunk completes.

        Raises UpstreamBroken when a single event exceeds the limit.
        """
        if self._is_one_event(chunk):
            return [chunk[6:-2]]
        if self._held_cr or b"\r" in chunk:
            chunk = self._only_lf(chunk)
        if not self._started:
            chunk = self._without_bom(chunk)
        if not self._tail and chunk.endswith(b"\n\n"):  # whole events, nothing left over
            return [data for block in chunk.split(b"\n\n") if (data := _data(block)) is not None]
        return self._feed_slowly(chunk)

    def close(self) -> list[bytes]:
        """Return what the last blank line was missing for: an end of stream ends an event too."""
        block = bytes(self._tail)
        self._tail.clear()
        data = _data(block)
        return [] if data is None else [data]

    def _is_one_event(self, chunk: bytes) -> bool:
        """Whether this is one event of one data line and nothing waits: what nearly every chunk is."""
        return (
            chunk.startswith(b"data: ")
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk.endswith(b"\n\n")
            and b"\r" not in chunk
            and self._started
            and not self._tail
            and not self._held_cr
        )

    def _feed_slowly(self, chunk: bytes) -> list[bytes]:
        tail = self._tail
        tail += chunk
        frames: list[bytes] = []
        start = 0
        at = tail.find(b"\n\n", self._searched)
        while at >= 0:
            data = _data(bytes(tail[start:at]))
            if data is not None:
                frames.append(data)
            start = at + 2
            at = tail.find(b"\n\n", start)
        del tail[:start]
        self._searched = max(0, len(tail) - 1)
        if len(tail) > self._limit:
            raise UpstreamBroken(f"a single event of the upstream's stream exceeds {self._limit} bytes")
        return frames

    def _only_lf(self, chunk: bytes) -> bytes:
        if self._held_cr:
            chunk = b"\r" + chunk
        self._held_cr = chunk.endswith(b"\r")  # it may be half of a CRLF
        if self._held_cr:
            chunk = chunk[:-1]
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _without_bom(self, chunk: bytes) -> bytes:
        self._tail += chunk
        if len(self._tail) < len(_BOM) and _BOM.startswith(self._tail):
            return b""
        self._started = True
        whole = bytes(self._tail).removeprefix(_BOM)
        self._tail.clear()
        return whole


def event(data: bytes) -> bytes:
    """Return one event with this data; the data holds no line break, as JSON never does."""
    return b"data: " + data + b"\n\n"


def _data(block: bytes) -> bytes | None:
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = [_value(line) for line in block.split(b"\n") if line == b"data" or line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def _value(line: bytes) -> bytes:
    value = line[5:]
    return value[1:] if value.startswith(b" ") else value


# --- AWS event streams: vnd.amazon.eventstream --------------------------------------------------------

_AWS_STRING = 7  # the type of a header's value
_AWS_PRELUDE = struct.Struct("!II")
_AWS_CRC = struct.Struct("!I")
_AWS_FIXED_BYTES = 16  # two lengths, the prelude's checksum, the message's


def aws_headers(headers: Mapping[str, str]) -> bytes:
    """Return the encoded headers of a message; the same ones serve any number of messages."""
    return b"".join(_aws_header(name.encode(), value.encode()) for name, value in headers.items())


def _aws_header(name: bytes, value: bytes) -> bytes:
    return struct.pack("!B", len(name)) + name + struct.pack("!BH", _AWS_STRING, len(value)) + value


def aws_event(headers: bytes, payload: bytes) -> bytes:
    """Return one message: prelude, headers, payload, each length and checksum big-endian."""
    lengths = _AWS_PRELUDE.pack(_AWS_FIXED_BYTES + len(headers) + len(payload), len(headers))
    message = b"".join((lengths, _AWS_CRC.pack(crc32(lengths)), headers, payload))
    return message + _AWS_CRC.pack(crc32(message))
