"""A gateway that makes the common mistakes: it passes bytes on, and takes every end for a good one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlencode

from perf.faults.tenant import ACCOUNTS, INFERENCE, Deployment, resource_group
from perf.faults.upstream import Upstream
from perf.http1 import AnswerReader, request_head
from perf.stack import HOST

HEAD = "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n"
FORM = {"content-type": "application/x-www-form-urlencoded"}


async def asked(
    port: int, path: str, headers: Mapping[str, str], body: bytes, tell: Callable[[AnswerReader, bytes], None]
) -> None:
    """One request; `tell` hears each piece of the answer. Raises OSError."""
    answer = AnswerReader()
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request_head("POST", path, HOST, headers, len(body)) + body)
        while not answer.complete and (data := await reader.read(65536)):
            for piece in answer.feed(data):
                tell(answer, piece)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def bad_gateway(upstream: Upstream, found: Sequence[Deployment]) -> AsyncIterator[str]:
    """Its address: chat completions only, always the first deployment, one try."""
    port = int(upstream.base_url.rpartition(":")[2])
    key, granted = upstream.service_key(ACCOUNTS[0]), bytearray()
    form = urlencode({"client_id": key["clientid"], "client_secret": key["clientsecret"]}).encode()
    await asked(port, "/oauth/token", FORM, form, lambda _, piece: granted.extend(piece))
    bearer = f"Bearer {json.loads(granted)['access_token']}"
    headers = {"authorization": bearer, "ai-resource-group": resource_group(ACCOUNTS[0])}
    ids = {one.model: one.id for one in reversed(found)}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        path = f"{INFERENCE}{ids[json.loads(body)['model']]}/chat/completions?api-version=x"
        sent = 0

        def tell(answer: AnswerReader, piece: bytes) -> None:
            nonlocal sent
            if not sent:
                writer.write(HEAD.format(status=answer.status, kind=answer.content_type.decode()).encode())
            sent += len(piece)
            writer.write(piece)

        with suppress(OSError):
            await asked(port, path, headers, body, tell)
        if not sent:
            writer.write(HEAD.format(status=502, kind="application/json").encode())
            writer.write(b'{"error":{"message":"bad gateway"}}')
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, HOST, 0) as listening:
        yield f"http://{HOST}:{listening.sockets[0].getsockname()[1]}"
