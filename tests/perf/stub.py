"""A tiny upstream for the tests of the perf tools: canned answers, chosen by path, over a raw protocol.

It runs inside the test's loop (`start`). `model` in the body chooses the fault: see FAULTS.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

CHAT = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
).encode()
EMBEDDINGS = b'{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":3,"total_tokens":3}}'
MODELS = b'{"object":"list","data":[]}'


def frame(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One chat chunk as a frame."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = [frame({"role": "assistant", "content": ""}), frame({"content": "a"}), frame({"content": "b"}),
         frame({"content": "c"}), frame({}, "stop"), USAGE, DONE]  # fmt: skip
FAULTS: dict[str, list[bytes]] = {
    "no-done": WHOLE[:-1],
    "no-finish": WHOLE[:3],
    "error-event": [*WHOLE[:2], b'data: {"error":{"code":"429","message":"exceeded token rate limit"}}\n\n'],
}
RESPONSES = {
    "/v1/chat/completions": CHAT,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/models": MODELS,
    "/health": b"{}",
}


def answer(body: bytes, status: str = "200 OK") -> bytes:
    """A whole unary answer."""
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status.encode(), len(body), body,
    )  # fmt: skip


class Stub(asyncio.Protocol):
    """Answers each request at once."""

    def __init__(self, seen: list[tuple[str, dict[str, str], bytes]]) -> None:
        self._buffer = b""
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            path = first.split(" ")[1]
            self._seen.append((path, headers, rest[:length]))
            self._answer(path, rest[:length])

    def _answer(self, path: str, raw: bytes) -> None:
        body = json.loads(raw) if raw else {}
        model = body.get("model", "")
        if model == "silent":
            return
        if model == "reset":
            self._transport.abort()
        elif model == "busy":
            self._transport.write(answer(b'{"error":{"message":"slow down"}}', "429 Too Many Requests"))
        elif body.get("stream"):
            self._stream(FAULTS.get(model, WHOLE), cut=model == "cut")
        else:
            self._transport.write(answer(RESPONSES[path]))

    def _stream(self, frames: list[bytes], *, cut: bool) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for piece in frames[:3] if cut else frames:
            self._transport.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if cut:
            self._transport.close()
        else:
            self._transport.write(b"0\r\n\r\n")


class StubServer:
    """Where the stub listens, and what it was sent."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def stub_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[StubServer]:
    """A stub on a free loopback port."""
    stub = StubServer()
    server = await asyncio.get_running_loop().create_server(lambda: Stub(stub.seen), "127.0.0.1", 0, ssl=tls)
    stub.port = server.sockets[0].getsockname()[1]
    try:
        yield stub
    finally:
        server.close()
