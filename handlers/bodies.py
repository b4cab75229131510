"""Read a request's body, bounded."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from sanic import Request
from sanic.http import Http

from services.errors import BadRequest, TooLarge

BODY_SECONDS = 120.0
"""For the whole body: Sanic's own limit counts silence only, and is as long as a model may think."""


async def read_body(request: Request, *, limit: int) -> bytes:
    """Return the whole body. Raises TooLarge past `limit` bytes, BadRequest if compressed or late."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise BadRequest("compressed request bodies are not supported; send it plain", status=415)
    announced = request.headers.get("content-length")
    if announced is not None and int(announced) > limit:
        raise _too_large(limit)
    stream = cast(Http | None, request.stream)
    if stream is None or _is_here(stream):
        return await _read(stream, limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(stream, limit)
    except TimeoutError as exc:
        raise BadRequest(
            f"the request body did not arrive within {BODY_SECONDS:g} s", code="request_timeout", status=408
        ) from exc


def _is_here(stream: Http) -> bool:
    """Whether all of the body came with the head, as small ones do: a timer costs as much as reading it."""
    framing: Any = stream.request_body  # Sanic calls it bytes, and puts "chunked" or True there
    return framing != "chunked" and len(stream.recv_buffer) >= (stream.request_bytes_left or 0)


async def _read(stream: Http | None, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
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
