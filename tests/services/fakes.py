"""A clock that only moves when told, and a control plane that follows a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from services.credentials import Credential


class FakeClock:
    """Monotonic time for the services: `clock()` reads it, `clock.sleep` waits for `advance`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._waiting: list[tuple[float, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced so far."""
        self.slept.append(round(seconds, 6))
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((self.now + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Go forward, waking every sleeper at its own time, and let the woken ones run."""
        until = self.now + seconds
        await settle()
        while due := [entry for entry in self._waiting if entry[0] <= until and not entry[1].done()]:
            first = min(due, key=lambda entry: entry[0])
            self._waiting.remove(first)
            self.now = max(self.now, first[0])
            first[1].set_result(None)
            await settle()
        self.now = until


class SkippingClock(FakeClock):
    """Time that jumps over every short sleep, for code that retries; a long one still waits."""

    async def sleep(self, seconds: float) -> None:
        """Jump, or wait."""
        if seconds >= 10:
            await super().sleep(seconds)
            return
        self.slept.append(round(seconds, 6))
        self.now += seconds


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(30):
        await asyncio.sleep(0)


Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class ScriptedHTTP:
    """Replies in order, the last one again and again; keeps the requests. `gate` holds every reply back."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await self.gate.wait()
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):  # a response object serves one request only
            return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
        return reply(request)


def credential(**changes: str | None) -> Credential:
    """A client-secret credential, with these fields changed."""
    fields: dict[str, str | None] = {
        "name": "main",
        "client_id": "sb-1!b123|aicore!b540",
        "client_secret": "s3cret$x=",
        "token_url": "https://auth.example/oauth/token",
        "api_url": "https://api.example/v2",
        "tenant_id": "tenant-1",
    }
    return Credential(**(fields | changes))  # type: ignore[arg-type]
