"""Amazon's binary event stream, `application/vnd.amazon.eventstream` (wire §4.3).

A message is: total length, length of the headers, CRC of these two, headers, payload, CRC of everything
before; numbers are big-endian, CRCs are CRC-32.
"""

from __future__ import annotations

import struct
import zlib

CONTENT_TYPE = b"application/vnd.amazon.eventstream"

_STRING = 7
_PRELUDE = 12
_CRC = 4


def event(kind: str, payload: bytes) -> bytes:
    """An event with a JSON payload."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return _message(headers, payload)


def exception(kind: str, payload: bytes) -> bytes:
    """An error that ends the stream."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return _message(headers, payload)


def _message(headers: dict[str, str], payload: bytes) -> bytes:
    head = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack("!II", _PRELUDE + len(head) + len(payload) + _CRC, len(head))
    checked = b"%b%b%b%b" % (prelude, struct.pack("!I", zlib.crc32(prelude)), head, payload)
    return checked + struct.pack("!I", zlib.crc32(checked))


def _header(name: str, value: str) -> bytes:
    raw, text = name.encode(), value.encode()
    return struct.pack("!B", len(raw)) + raw + struct.pack("!BH", _STRING, len(text)) + text
