"""Just enough HTTP/1.1 for a measuring client: requests to bytes, bytes to answers. No I/O here."""

from __future__ import annotations

import re
from collections.abc import Mapping

SENDABLE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""What the head of a request can carry."""
MAX_HEAD = 64 * 1024
NO_BODY = frozenset({204, 304})


class MalformedAnswer(ValueError):
    """The peer does not speak HTTP/1.1."""


def request_head(method: str, path: str, host: str, headers: Mapping[str, str], body_bytes: int) -> bytes:
    """The head of a request with a body of `body_bytes`. Raises ValueError for a CR or LF in any part."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
    lines += [f"{name.lower()}: {value}" for name, value in headers.items()]
    if body_bytes or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"content-length: {body_bytes}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break inside a header or the path")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _field(head: bytes, name: bytes) -> bytes | None:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


class AnswerReader:
    """Reads the answers of one connection, one after the other.

    `feed` returns the body bytes found, in pieces; afterwards `complete` says whether the answer has ended.
    """

    __slots__ = (
        "_buffer",
        "_chunked",
        "_left",
        "_to_eof",
        "complete",
        "content_type",
        "keep_alive",
        "status",
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Get ready for the next answer."""
        self._buffer = b""
        self._left = 0
        self._chunked = False
        self._to_eof = False
        self.status = 0
        """0 until the head is complete."""
        self.complete = False
        self.keep_alive = True
        self.content_type = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Body pieces among these bytes. Raises MalformedAnswer."""
        if not self.status:
            data = self._head(self._buffer + data if self._buffer else data)
            if not self.status:
                return []
        if self._chunked:
            return self._chunks(data)
        if self._to_eof:
            return [data] if data else []
        return self._counted(data)

    def eof(self) -> bool:
        """The connection ended: was the answer whole?"""
        if self.status and self._to_eof:
            self.complete = True
        return self.complete

    def _counted(self, data: bytes) -> list[bytes]:
        left = self._left - len(data)
        if left < 0:
            raise MalformedAnswer("more bytes than the content length says")
        self._left = left
        self.complete = left == 0
        return [data] if data else []

    def _chunks(self, data: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        position = 0
        while position < len(data):
            end = data.find(b"\r\n", position)
            if end < 0:
                break
            size = _chunk_size(data, position, end)
            if not size:
                self._trailer(data[position:], end + 2 - position)
                return pieces
            start, stop = end + 2, end + 2 + size
            if stop + 2 > len(data):
                break
            pieces.append(data[start:stop])
            position = stop + 2
        self._buffer = data[position:]
        return pieces

    def _trailer(self, data: bytes, start: int) -> None:
        if data.startswith(b"\r\n", start):
            self.complete = True
        else:
            self.complete = data.find(b"\r\n\r\n", start) >= 0
        self._buffer = b"" if self.complete else data

    def _head(self, data: bytes) -> bytes:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > MAX_HEAD:
                raise MalformedAnswer("a head without an end")
            self._buffer = data
            return b""
        self._buffer = b""
        head, rest = data[:end].lower(), data[end + 4 :]
        if not head.startswith(b"http/1.") or not head[9:12].isdigit():
            raise MalformedAnswer("not an HTTP/1.1 status line")
        status = int(head[9:12])
        if 100 <= status < 200:
            return self._head(rest)
        self._framing(status, head)
        return rest

    def _framing(self, status: int, head: bytes) -> None:
        self.status = status
        self.keep_alive = _field(head, b"connection") != b"close"
        self.content_type = _field(head, b"content-type") or b""
        length = _field(head, b"content-length")
        if status in NO_BODY:
            self.complete = True
        elif length is not None:
            if not length.isdigit():
                raise MalformedAnswer("a content length that is not a number")
            self._left = int(length)
            self.complete = self._left == 0
        elif (_field(head, b"transfer-encoding") or b"").endswith(b"chunked"):
            self._chunked = True
        else:
            self._to_eof, self.keep_alive = True, False


def _chunk_size(data: bytes, start: int, end: int) -> int:
    try:
        size = int(data[start:end].split(b";", 1)[0], 16)
    except ValueError:
        raise MalformedAnswer("a chunk size that is not a number") from None
    if size < 0:
        raise MalformedAnswer("a negative chunk size")
    return size
