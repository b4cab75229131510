"""The application on a real socket, with a pipeline that answers as a test says."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from sanic import Sanic

from handlers.wire import CallerConnection
from server import app as glue
from server.settings import Cors, Settings
from services.asking import Ask
from services.calls import ANONYMOUS, Call, Reply
from services.container import Keys
from services.deployments import Deployment
from services.translation.replies import Answer

HOST = "127.0.0.1"
BODY = b'{"choices": []}'
ASKED = b'{"model": "m", "messages": []}'


class Gateway:
    """What is behind the handlers: answers with `body` or `chunks`; what was logged is in `calls`."""

    app: Sanic[Any, Any]
    port: int

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Answer as at first."""
        self.body = BODY
        self.chunks: Callable[[], AsyncIterator[bytes]] = two_pieces
        self.before: Callable[[], Awaitable[Any]] | None = None
        """What a whole answer waits for."""
        self.fail_log = False
        self.inside = 0
        self.calls: list[Call] = []
        self.callers: list[asyncio.StreamWriter] = []

    async def whole(self, ask: Ask) -> Reply:
        if self.before is not None:
            await self.before()
        ask.call.reply = reply(Answer(body=self.body))
        return ask.call.reply

    async def stream(self, ask: Ask) -> AsyncIterator[bytes]:
        ask.call.reply = reply(None)
        return self.chunks()

    def close_call(self, call: Call, body: object) -> None:
        self.calls.append(call)
        if self.fail_log:
            raise OSError("no space left")

    def try_enter(self) -> bool:
        self.inside += 1
        return True

    def leave(self) -> None:
        self.inside -= 1

    def services(self) -> Any:
        async def nothing() -> None:
            return None

        return SimpleNamespace(
            open=nothing, close=nothing, pipeline=self, journal=self, gate=self,
            keys=Keys(by_digest={}, anonymous=ANONYMOUS), body_limit=1_000_000, heartbeat_seconds=0.0,
            catalog=SimpleNamespace(serving=lambda *_, **__: SimpleNamespace(name="m")),
        )  # fmt: skip

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection, which is closed after the test."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        self.callers.append(writer)
        return reader, writer

    async def say(self, *requests: bytes, seconds: float = 5.0) -> bytes:
        """Send this and return what comes until the connection is closed."""
        reader, writer = await self.connect()
        writer.write(b"".join(requests))
        return await asyncio.wait_for(reader.read(), seconds)


async def two_pieces() -> AsyncIterator[bytes]:
    yield b"data: one\n\n"
    yield b"data: two\n\n"


def reply(answer: Answer | None) -> Reply:
    source = Deployment("d1", "https://x/d1", "one", "default")
    relay: Any = SimpleNamespace(fail=lambda error: b"data: farewell\n\n", began=True)
    return Reply(
        model="m", deployment=source, attempts=1, dropped=(), upstream_seconds=0.0, answer=answer,
        relay=None if answer else relay,
    )  # fmt: skip


def post(
    path: str = "/v1/chat/completions",
    body: bytes = ASKED,
    *fields: str,
    version: str = "1.1",
    last: bool = False,
) -> bytes:
    """A request; after the `last` one the connection ends."""
    lines = [f"POST {path} HTTP/{version}", "host: gateway", f"content-length: {len(body)}", *fields]
    if last:
        lines.append("connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def listening(
    monkeypatch: pytest.MonkeyPatch, *, origins: tuple[str, ...] = (), **config: Any
) -> AsyncIterator[Gateway]:
    """Serve, with these of Sanic's settings."""
    gateway = Gateway()
    monkeypatch.setattr(glue, "build_services", lambda _: gateway.services())
    monkeypatch.setattr("server.logs.setup", lambda _: None)
    monkeypatch.setattr(glue, "_quiet_collector", lambda: None)
    monkeypatch.setattr(CallerConnection, "open", set())
    monkeypatch.setattr(Sanic, "test_mode", True)
    app = gateway.app = glue.build_app(Settings(sub_accounts=(), cors=Cors(origins=origins)))
    app.config.update({"MOTD": False, **config})
    listener = socket.create_server((HOST, 0))
    gateway.port = listener.getsockname()[1]
    server: Any = await app.create_server(
        sock=listener, return_asyncio_server=True, protocol=CallerConnection
    )
    await server.startup()
    await server.before_start()
    await server.after_start()
    await server.start_serving()
    try:
        yield gateway
    finally:
        server.close()
        for connection in list(CallerConnection.open):
            connection.abort()  # type: ignore[no-untyped-call]
        await server.wait_closed()
        await asyncio.sleep(0.01)
        with suppress(Exception):
            Sanic.unregister_app(app)
