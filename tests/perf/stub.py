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

from tests.perf.streams import FAULTS, SAMPLES

CHAT = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
).encode()
EMBEDDINGS = b'{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":3,"total_tokens":3}}'
MODELS = b'{"object":"list","data":[]}'


MESSAGE = b'{"content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":9,"output_tokens":2}}'
RESPONSE = b'{"output":[],"usage":{"input_tokens":9,"output_tokens":2}}'
CONTENTS = b'{"candidates":[],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2}}'
ANSWERS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": CHAT,
    "/v1/messages": MESSAGE,
    "/v1/responses": RESPONSE,
    "/v1beta/models/gpt-5:generateContent": CONTENTS,
    "/model/gpt-5/invoke": MESSAGE,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/models": MODELS,
    "/health": b"{}",
}
STREAMS = {
    "/v1/chat/completions": SAMPLES["chat"],
    "/v1/completions": SAMPLES["chat"],
    "/v1/messages": SAMPLES["messages"],
    "/v1/responses": SAMPLES["responses"],
    "/v1beta/models/gpt-5:streamGenerateContent?alt=sse": SAMPLES["gemini"],
    "/model/gpt-5/invoke-with-response-stream": SAMPLES["bedrock"],
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
        elif body.get("stream") or path not in ANSWERS:
            sample = STREAMS[path]
            frames = FAULTS.get(model, sample.frames)
            self._stream(frames, sample.dialect.content_type, cut=model == "cut")
        else:
            self._transport.write(answer(ANSWERS[path]))

    def _stream(self, frames: list[bytes], content_type: bytes, *, cut: bool) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n" % content_type
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
