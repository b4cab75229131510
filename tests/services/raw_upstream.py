"""A deployment made of raw sockets: each connection follows a script, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

_REASONS = {200: "OK"}


@dataclass
class Seen:
    """One request that arrived."""

    head: str
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        """The value of a head field."""
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    @property
    def path(self) -> str:
        """Path and query."""
        return self.head.split(" ")[1]


@dataclass
class Exchange:
    """What a script works with: the request, and the connection to answer on."""

    seen: Seen
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gone: asyncio.Event
    """Set when the client has closed the connection."""

    async def send(self, data: bytes) -> None:
        """Write these bytes now."""
        self.writer.write(data)
        await self.writer.drain()

    async def until_gone(self) -> None:
        """Wait until the client has hung up."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read()
        self.gone.set()

    def reset(self) -> None:
        """Break the connection with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


@dataclass
class RawUpstream:
    """The server. Scripts are used in order, the last one again and again."""

    scripts: list[Script] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        """A deployment URL."""
        return f"{self.scheme}://127.0.0.1:{self.port}/v2/inference/deployments/d1"

    def script(self, *scripts: Script) -> None:
        """Set what happens from now on."""
        self.scripts = list(scripts)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        self.connections += 1
        number = self.connections
        try:
            while (seen := await _request(reader, number)) is not None:
                self.seen.append(seen)
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                await script(Exchange(seen, reader, writer, self.gone))
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader, connection: int) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    seen = Seen(head, b"", connection)
    seen.body = await reader.readexactly(int(seen.header("content-length") or 0))
    return seen


@contextlib.asynccontextmanager
async def raw_upstream(tls: ssl.SSLContext | None = None) -> AsyncIterator[RawUpstream]:
    """Listen on a free port of loopback."""
    upstream = RawUpstream(scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(upstream.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- scripts ---------------------------------------------------------------------------------------


def answer(status: int = 200, body: bytes = b"{}", **head: str) -> Script:
    """A whole answer; `head` with underscores for dashes."""

    async def run(exchange: Exchange) -> None:
        fields = {"content-type": "application/json", "content-length": str(len(body))} | head
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        await exchange.send(f"HTTP/1.1 {status} {_REASONS.get(status, 'X')}\r\n{lines}\r\n".encode() + body)

    return run


def completion(text: str = "hi", model: str = "gpt-5-2025-08-07") -> Script:
    """A whole chat answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    whole = {"id": "c", "model": model, "choices": [choice], "usage": usage}
    return answer(200, json.dumps(whole).encode(), x_request_id="up-1")


def failure(status: int, message: str = "why", **head: str) -> Script:
    """An error answer."""
    return answer(status, json.dumps({"error": {"message": message}}).encode(), **head)


def stream(
    *pieces: bytes, then: Script | None = None, status: int = 200, gate: asyncio.Event | None = None
) -> Script:
    """A chunked answer, piece by piece; `then` instead of its proper end. `gate` holds all but the first."""

    async def run(exchange: Exchange) -> None:
        await exchange.send(
            f"HTTP/1.1 {status} OK\r\ncontent-type: text/event-stream\r\n"
            "transfer-encoding: chunked\r\n\r\n".encode()
        )
        for number, piece in enumerate(pieces):
            if number and gate is not None:
                await gate.wait()
            await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await (then or _end)(exchange)

    return run


async def _end(exchange: Exchange) -> None:
    await exchange.send(b"0\r\n\r\n")


async def reset(exchange: Exchange) -> None:
    """Break the connection."""
    exchange.reset()


async def hang_up(exchange: Exchange) -> None:
    """Close the connection properly, whatever was promised."""
    exchange.writer.close()


async def silence(exchange: Exchange) -> None:
    """Say nothing (more) until the client leaves."""
    await exchange.until_gone()


def raw(data: bytes, then: Script = hang_up) -> Script:
    """These bytes."""

    async def run(exchange: Exchange) -> None:
        await exchange.send(data)
        await then(exchange)

    return run


def chunks(*frames: str) -> Iterable[bytes]:
    """Each frame as an event, to be sent as a piece of its own."""
    return [f"data: {frame}\n\n".encode() for frame in frames]
