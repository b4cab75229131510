"""Amazon's binary event stream, as far as a measurement needs it.

A message is: total length, length of its headers, CRC of these two, headers, payload, CRC of everything
before; numbers are big-endian.
"""

from __future__ import annotations

import base64
import struct
import zlib

import msgspec

MAX_MESSAGE = 16 * 1024 * 1024
_PRELUDE = 12
_EXCEPTION = b":message-type\x07\x00\x09exception"


class _Chunk(msgspec.Struct):
    """The payload of an event: a Messages event in base64; or of an exception: what went wrong."""

    bytes: str = ""
    message: str = ""


class MessageSplitter:
    """Bytes in, Messages events out; an exception becomes an error event."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """JSON of the messages that these bytes complete. Raises ValueError for a damaged one."""
        data = self._rest + data
        found, at = [], 0
        while len(data) - at >= _PRELUDE:
            total, headers = struct.unpack_from("!II", data, at)
            if not _PRELUDE + 4 + headers <= total <= MAX_MESSAGE:
                raise ValueError(f"a binary message that claims {total} bytes")
            if len(data) - at < total:
                break
            found.append(_event(data[at : at + total], headers))
            at += total
        self._rest = data[at:]
        return found


def _event(message: bytes, headers: int) -> bytes:
    (checksum,) = struct.unpack("!I", message[-4:])
    if zlib.crc32(message[:-4]) != checksum:
        raise ValueError("a binary message whose checksum is wrong")
    start = _PRELUDE + headers
    try:
        chunk = msgspec.json.decode(message[start:-4], type=_Chunk)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"a binary message without JSON: {exc}") from exc
    if _EXCEPTION in message[_PRELUDE:start]:
        return msgspec.json.encode({"type": "error", "message": chunk.message})
    return base64.b64decode(chunk.bytes)
