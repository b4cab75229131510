"""Inference calls to SAP AI Core: the only module that speaks to the data plane (design §5).

Knows time limits and what is sent again on a new connection; nothing of models, tokens or other deployments.
One `Upstream` per worker, used in that worker's loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from services.connections import Connections, Host, origin_of
from services.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from services.http1 import MAX_ERROR_BYTES, Connection
from services.retry_after import seconds_of

MAX_ANSWER_BYTES = 256 * 1024 * 1024

_LINGER_SECONDS = 1.0
_WATCH_SECONDS = 0.25
_MAX_URLS = 4096
_URL_SAFE = "/%:@!$&'()*+,;=~?"

Head = bytes
"""The head of a request, ready to be sent. Made by `head`, once for many requests."""


def head(fields: Mapping[str, str]) -> Head:
    """Return the fields in the form that `send` and `open` take. Raises ValueError if they cannot be sent."""
    return "".join(f"{name}: {_sendable(value)}\r\n" for name, value in fields.items()).encode("ascii")


def _sendable(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError("a head field holds something else than printable ASCII")
    return value


class TimeLimits(msgspec.Struct, frozen=True):
    """Seconds: to the connection, the response head, a stream's first content, between pieces, for a whole
    answer; and how long a stream that has a head but no content may be held back (`peek`)."""

    connect: float = 10.0
    first_byte: float = 600.0
    first_token: float = 600.0
    stall: float = 300.0
    total: float = 1260.0
    peek: float = 10.0

    tick: float = 0.0
    """How often to look whether one of them has run out; worked out from them."""

    def __post_init__(self) -> None:
        shortest = min(self.first_byte, self.first_token, self.stall, self.total, self.peek)
        msgspec.structs.force_setattr(self, "tick", min(_WATCH_SECONDS, shortest / 4))

    def within(self, seconds: float) -> TimeLimits:
        """Return the limits for an attempt that has only so much time; until its head none is longer."""
        seconds = min(seconds, self.total)
        return TimeLimits(
            connect=min(self.connect, seconds),
            first_byte=min(self.first_byte, seconds),
            first_token=min(self.first_token, seconds),
            stall=self.stall,
            total=seconds,
            peek=self.peek,
        )


class Pool(msgspec.Struct, frozen=True):
    """Kept connections: how many idle ones per host, and for how long (seconds)."""

    max_idle: int = 100
    idle_seconds: float = 90.0


class WholeAnswer(msgspec.Struct, frozen=True):
    """Status, body and what the head says of retrying."""

    status: int
    body: bytes
    retry_after: float | None
    request_id: str


class _Address(NamedTuple):
    """A URL as requests need it: its connections, and the lines that every request to it begins with."""

    host: Host
    lines: bytes


class Upstream:
    """Connections to the deployments."""

    def __init__(self, *, pool: Pool, roots: bytes | None = None) -> None:
        self._connections = Connections(max_idle=pool.max_idle, idle_seconds=pool.idle_seconds, roots=roots)
        self._address = lru_cache(_MAX_URLS)(self._read_url)
        self._watch = _Watch()

    async def send(
        self, url: str, head: Head, body: bytes, *, request_id: str, limits: TimeLimits, method: str = "POST"
    ) -> WholeAnswer:
        """Send and read the whole answer, whatever its status; of an error, MAX_ERROR_BYTES at most.

        Raises UpstreamUnreachable, UpstreamTimeout or UpstreamBroken.
        """
        host, exchange = await self._send((url, method), head, body, request_id, limits, whole=True)
        connection = exchange.connection
        answer = WholeAnswer(
            status=connection.status,
            body=connection.body() if connection.status < 400 else connection.body()[:MAX_ERROR_BYTES],
            retry_after=_retry_after(connection),
            request_id=_request_id(connection),
        )
        host.give(connection)
        return answer

    async def open(
        self, url: str, head: Head, body: bytes, *, request_id: str, limits: TimeLimits, method: str = "POST"
    ) -> UpstreamStream:
        """Send and return once the response head is here. The stream must be closed.

        Raises UpstreamUnreachable, UpstreamTimeout or UpstreamBroken.
        """
        host, exchange = await self._send((url, method), head, body, request_id, limits, whole=False)
        return UpstreamStream(exchange, host, self._watch)

    async def close(self) -> None:
        """Close every connection."""
        self._watch.stop()
        await self._connections.close()

    async def _send(
        self,
        target: tuple[str, str],
        head: Head,
        body: bytes,
        request_id: str,
        limits: TimeLimits,
        *,
        whole: bool,
    ) -> tuple[Host, _Exchange]:
        """Send a request; an idle connection that turns out to be closed is replaced by a new one, once."""
        host, lines = self._address(*target)
        lines = b"%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (
            lines,
            head,
            _sendable(request_id).encode(),
            len(body),
        )
        if (connection := host.take()) is not None:
            try:
                return host, await self._send_on(connection, lines, body, limits, whole)
            except UpstreamUnreachable:
                if not connection.untouched:
                    raise
        connection = await host.connect(limits.connect)
        return host, await self._send_on(connection, lines, body, limits, whole)

    async def _send_on(
        self, connection: Connection, lines: bytes, body: bytes, limits: TimeLimits, whole: bool
    ) -> _Exchange:
        exchange = _Exchange(connection, limits, whole)
        self._watch.add(exchange)
        opened = False
        try:
            await connection.post(lines, body, collect=MAX_ANSWER_BYTES if whole else None)
            opened = not whole
        except UpstreamError:
            if not whole or connection.status < 400:  # of an error, the status has said what matters
                raise
        finally:
            if not opened:
                self._watch.discard(exchange)
        return exchange

    def _read_url(self, url: str, method: str) -> _Address:
        try:
            parts = urlsplit(url)
            host = self._connections.host(origin_of(parts))
        except ValueError as exc:
            detail = "the deployment's URL is not usable"
            raise UpstreamUnreachable(detail, public="no connection to the upstream") from exc
        path = quote(parts.path or "/", _URL_SAFE) + (
            f"?{quote(parts.query, _URL_SAFE)}" if parts.query else ""
        )
        proxy = host.forwarded
        if proxy is not None:
            path = f"{host.origin.scheme}://{host.origin.authority}{path}"
        lines = (
            f"{method} {path} HTTP/1.1\r\n"
            f"Host: {host.origin.authority}\r\n"
            "User-Agent: aicore-gateway\r\n"
            "Accept: */*\r\n"
            "Accept-Encoding: identity\r\n"
        )
        return _Address(host, (lines + (proxy.fields if proxy else "")).encode("ascii"))


class _Exchange:
    """A request on its way, with the limits that hold for it."""

    __slots__ = ("_head_at", "_since", "_started", "began", "connection", "held", "limits", "whole")

    def __init__(self, connection: Connection, limits: TimeLimits, whole: bool) -> None:
        self.connection = connection
        self.limits = limits
        self.whole = self.began = whole
        """`began`: content has come; the limits for what precedes it are over."""
        self.held = not whole
        """Whether what comes is held back until it has begun."""
        self._started = self._since = connection.loop.time()
        self._head_at = math.inf

    def look(self, now: float) -> None:
        """Fail the exchange if one of its limits has run out."""
        connection, limits = self.connection, self.limits
        if connection.heard:
            connection.heard = False
            self._since = now
        age = now - self._started
        if not connection.has_head and age > limits.first_byte:
            connection.fail(_late(f"no response head within {limits.first_byte:g} s"))
        elif not self.began and age > limits.first_token:
            connection.fail(_late(f"no content within {limits.first_token:g} s"))
        elif self.whole and age > limits.total:
            connection.fail(_late(f"no whole answer within {limits.total:g} s"))
        elif connection.has_head and connection.waiting and now - self._since > limits.stall:
            connection.fail(_late(f"the upstream's stream was silent for {limits.stall:g} s"))
        elif self.held and connection.has_head and not self.began:
            self._head_at = min(self._head_at, now)
            if now - self._head_at > limits.peek:
                connection.nudge()


class _Watch:
    """Ends the exchanges whose time is over: one timer for all of them, nothing per piece."""

    def __init__(self) -> None:
        self._exchanges: set[_Exchange] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._tick = math.inf

    def add(self, exchange: _Exchange) -> None:
        """Look after this one from now on."""
        self._exchanges.add(exchange)
        if self._timer is None or exchange.limits.tick < self._tick:
            self._set(exchange.connection.loop, exchange.limits.tick)

    def discard(self, exchange: _Exchange) -> None:
        """Leave this one alone."""
        self._exchanges.discard(exchange)

    def stop(self) -> None:
        """Look after none any more."""
        self._exchanges.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, loop: asyncio.AbstractEventLoop, tick: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._tick = tick
        self._timer = loop.call_later(tick, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for exchange in self._exchanges:
            exchange.look(now)
        self._timer = None
        if self._exchanges:
            self._set(loop, min(exchange.limits.tick for exchange in self._exchanges))


class UpstreamStream:
    """A response whose body comes in pieces. One reader at a time."""

    __slots__ = ("_connection", "_exchange", "_host", "_watch", "request_id", "retry_after", "status")

    def __init__(self, exchange: _Exchange, host: Host, watch: _Watch) -> None:
        self._exchange = exchange
        self._connection: Connection | None = exchange.connection
        self._host = host
        self._watch = watch
        self.status = exchange.connection.status
        self.request_id = _request_id(exchange.connection)
        """The upstream's own id of this request, "" if it gave none."""
        self.retry_after = _retry_after(exchange.connection)
        """Seconds to wait before another try, where the head says so."""

    async def read(self) -> bytes | None:
        """Return what has come, empty at the end. Raises UpstreamTimeout, UpstreamBroken.

        None says once that the time is over for which a stream may be held back.
        """
        if self._connection is None:
            return b""
        try:
            piece = await self._connection.read()
        except asyncio.CancelledError:
            self._connection.abort()
            raise
        if not piece:
            if piece is None:
                self._exchange.held = False
                return None
            await self.aclose()
        return piece

    def began(self) -> None:
        """Note that content has come."""
        self._exchange.began = True

    def whole(self, wanted: bool) -> None:
        """Say whether it is waited for as a whole, so that the limit for whole answers holds."""
        self._exchange.whole = wanted

    async def read_error(self) -> bytes:
        """Return the body of an error answer, or what there is of it; at most MAX_ERROR_BYTES."""
        body = bytearray()
        with suppress(UpstreamError):  # the status has said what matters
            while len(body) < MAX_ERROR_BYTES and (piece := await self.read()) != b"":
                body += piece or b""
        return bytes(body[:MAX_ERROR_BYTES])

    async def aclose(self) -> None:
        """Give the connection back, or close it if the body has not come to its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._watch.discard(self._exchange)
            self._host.give(connection)

    async def finish(self) -> None:
        """Close the stream after all that matters has been read.

        The few bytes that end the body may still be on their way: for the sake of the connection they are
        awaited in the background, for a second.
        """
        connection = self._connection
        if connection is None or connection.complete or connection.lost:
            return await self.aclose()
        self._connection = None
        self._watch.discard(self._exchange)
        connection.linger(self._host.give, _LINGER_SECONDS)


def _late(detail: str) -> UpstreamTimeout:
    return UpstreamTimeout(detail, public="the upstream did not answer in time")


def _request_id(connection: Connection) -> str:
    return (connection.field(b"x-request-id") or connection.field(b"x-aicore-request-id")).decode("latin-1")


# Name of a field → how many seconds its unit has.
_RETRY_AFTER = {b"retry-after": 1.0, b"x-retry-after": 1.0, b"retry-after-ms": 0.001}


def _retry_after(connection: Connection) -> float | None:
    """Return the longest that the head of an error says (seconds or a date); None where it says nothing."""
    if connection.status < 400:
        return None
    date = connection.field(b"date").decode("latin-1")
    told = [
        seconds * unit
        for name, unit in _RETRY_AFTER.items()
        if (seconds := seconds_of(connection.field(name).decode("latin-1"), date=date)) is not None
    ]
    return max(told, default=None)
