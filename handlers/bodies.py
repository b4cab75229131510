"""Read a request's body, bounded."""

from __future__ import annotations

from typing import cast

from sanic import Request
from sanic.http import Http

from services.errors import BadRequest, TooLarge


async def read_body(request: Request, *, limit: int) -> bytes:
    """Return the whole body. Raises TooLarge past `limit` bytes, BadRequest for a compressed one."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise BadRequest("compressed request bodies are not supported; send it plain", status=415)
    announced = request.headers.get("content-length")
    if announced is not None and int(announced) > limit:
        raise _too_large(limit)
    pieces: list[bytes] = []
    size = 0
    stream = cast(Http | None, request.stream)
    while stream is not None and stream.request_body:
        piece = await stream.read()
        if not piece:
            break
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the request body exceeds the limit of {limit} bytes (limits.body_bytes)")
