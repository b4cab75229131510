"""Inference calls to SAP AI Core: the only module that names the data-plane client (design §5).

Knows connections, time limits and how their failures are called here; nothing of models, tokens or retries.
One `Upstream` per worker, made in that worker's loop.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn, Self

import msgspec
from cachetools import LRUCache
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ConnectError,
    ConnectTimeoutError,
    NetworkError,
    PyreqwestError,
    ReadError,
    RequestTimeoutError,
)
from pyreqwest.http import HeaderMap, Url
from pyreqwest.request import RequestBuilder, StreamRequest
from pyreqwest.response import Response

from services.errors import GatewayError, UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable

MAX_ERROR_BYTES = 256 * 1024
_WATCH_SECONDS = 0.25

_MAX_URLS = 4096

Head = HeaderMap
"""The head of a request, ready to be sent. Made by `head`, once for many requests."""


def head(fields: Mapping[str, str]) -> Head:
    """Return the fields in the form that `send` and `open` take."""
    return HeaderMap(dict(fields))


class TimeLimits(msgspec.Struct, frozen=True):
    """Seconds: `first_byte` to the response head, `stall` between pieces, `total` for a whole answer."""

    connect: float = 10.0
    first_byte: float = 600.0
    stall: float = 300.0
    total: float = 1200.0

    @property
    def whole(self) -> timedelta:
        """`total`, as the client wants it."""
        return timedelta(seconds=self.total)

    @property
    def silence(self) -> float:
        """The client's only limit for reading, which counts before the head and within the body alike."""
        return max(self.first_byte, self.stall)

    @property
    def head(self) -> float | None:
        """The limit to the head where the client's is longer, else None."""
        return self.first_byte if self.first_byte < self.stall else None


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


class Upstream:
    """Connections to the deployments."""

    def __init__(self, *, limits: TimeLimits, pool: Pool, roots: bytes | None = None) -> None:
        self._limits = limits
        self._pool = pool
        self._roots = roots
        self._clients: dict[tuple[float, float], Client] = {}
        self._urls: LRUCache[str, Url] = LRUCache(_MAX_URLS)  # parsing one costs as much as a small request
        self._watched: set[UpstreamStream] = set()
        self._watch: asyncio.TimerHandle | None = None

    async def send(
        self, url: str, head: Head, body: bytes, *, request_id: str, limits: TimeLimits
    ) -> WholeAnswer:
        """Post and read the whole answer, whatever its status.

        Raises UpstreamUnreachable, UpstreamTimeout or UpstreamBroken.
        """
        request = self._request(url, head, body, request_id, limits).timeout(limits.whole)
        try:
            async with asyncio.timeout(limits.head):
                response = await request.build().send()
            data = (await response.bytes()).to_bytes()
        except PyreqwestError as exc:
            _raise_as_ours(exc)
        except TimeoutError as exc:
            raise _silent(limits) from exc
        return WholeAnswer(response.status, data, _retry_after(response), _request_id(response))

    async def open(
        self, url: str, head: Head, body: bytes, *, request_id: str, limits: TimeLimits
    ) -> UpstreamStream:
        """Post and return once the response head is here. The stream must be closed.

        Raises UpstreamUnreachable, UpstreamTimeout or UpstreamBroken.
        """
        builder = self._request(url, head, body, request_id, limits)
        # Without this the first 64 KB of a stream are held back (design §5).
        request = builder.streamed_read_buffer_limit(0).build_streamed()
        try:
            async with asyncio.timeout(limits.head):
                response = await request.__aenter__()
        except PyreqwestError as exc:
            _raise_as_ours(exc)
        except TimeoutError as exc:
            raise _silent(limits) from exc
        stream = UpstreamStream(request, response, limits=limits, forget=self._watched.discard)
        self._watched.add(stream)
        self._start_watch()
        return stream

    async def close(self) -> None:
        """Close every connection."""
        if self._watch is not None:
            self._watch.cancel()
        for client in self._clients.values():
            await client.close()

    def _request(
        self, url: str, head: Head, body: bytes, request_id: str, limits: TimeLimits
    ) -> RequestBuilder:
        parsed = self._urls.get(url)
        if parsed is None:
            parsed = self._urls[url] = Url(url)
        builder = self._client(limits).post(parsed).headers(head)
        return builder.header("x-request-id", request_id).body_bytes(body)

    def _client(self, limits: TimeLimits) -> Client:
        """Return the client for these limits: reading is limited per client, and few models differ."""
        key = (limits.connect, limits.silence)
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = self._build(limits)
        return client

    def _build(self, limits: TimeLimits) -> Client:
        builder = (
            ClientBuilder()
            .connect_timeout(timedelta(seconds=limits.connect))
            .read_timeout(timedelta(seconds=limits.silence))
            .pool_max_idle_per_host(self._pool.max_idle)
            .pool_idle_timeout(timedelta(seconds=self._pool.idle_seconds))
            .follow_redirects(False)
            .referer(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .user_agent("aicore-gateway")
            .default_cookie_store(False)
        )
        if self._roots:
            builder = builder.add_root_certificate_pem(self._roots)
        return builder.build()

    def _start_watch(self) -> None:
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._look)

    def _look(self) -> None:
        """End the streams that have been silent for too long: one timer for all, nothing per piece."""
        now = time.monotonic()
        for stream in self._watched:
            stream.expire(now)
        self._watch = None
        if self._watched:
            self._start_watch()


class UpstreamStream:
    """A response whose body comes in pieces. One reader at a time."""

    __slots__ = (
        "_expired",
        "_forget",
        "_limits",
        "_loop",
        "_reader",
        "_request",
        "_response",
        "_since",
        "_task",
        "status",
    )

    def __init__(
        self,
        request: StreamRequest,
        response: Response,
        *,
        limits: TimeLimits,
        forget: Callable[[UpstreamStream], None],
    ) -> None:
        self.status = response.status
        self._request = request
        self._response = response
        self._reader = response.body_reader
        self._limits = limits
        self._forget = forget
        self._task: asyncio.Task[object] | None = None
        self._since = 0.0
        self._expired = False
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def request_id(self) -> str:
        """The upstream's own id of this request, "" if it gave none."""
        return _request_id(self._response)

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before another try, where the head says so."""
        return _retry_after(self._response)

    async def read(self) -> bytes:
        """Return the next piece, empty at the end. Raises UpstreamTimeout, UpstreamBroken."""
        self._task = asyncio.current_task(self._loop)  # without the loop it would ask for the process id
        self._since = time.monotonic()
        try:
            piece = await self._reader.read_chunk()
        except PyreqwestError as exc:
            _raise_as_ours(exc)
        except asyncio.CancelledError:
            self._raise_if_expired()
            raise
        finally:
            self._task = None
        return b"" if piece is None else piece.to_bytes()

    async def read_error(self) -> bytes:
        """Return the body of an error answer, or what there is of it; at most MAX_ERROR_BYTES."""
        body = bytearray()
        with suppress(UpstreamError):  # the status has said what matters
            while len(body) < MAX_ERROR_BYTES and (piece := await self.read()):
                body += piece
        return bytes(body[:MAX_ERROR_BYTES])

    def expire(self, now: float) -> None:
        """Interrupt a reader that has waited longer than the stall limit."""
        if self._task is not None and not self._expired and now - self._since > self._limits.stall:
            self._expired = True
            self._task.cancel()

    async def close(self) -> None:
        """Give the connection back, or close it if the body was not read to its end."""
        self._forget(self)
        await self._request.__aexit__(None, None, None)

    def _raise_if_expired(self) -> None:
        task = asyncio.current_task()
        if self._expired and task is not None and task.uncancel() == 0:
            raise UpstreamTimeout(f"the upstream's stream was silent for {self._limits.stall:g} s") from None


def _silent(limits: TimeLimits) -> UpstreamTimeout:
    return UpstreamTimeout(
        f"no response head within {limits.first_byte:g} s", public="the upstream did not answer in time"
    )


def _raise_as_ours(exc: PyreqwestError) -> NoReturn:
    raise _named(exc) from exc


def _named(exc: PyreqwestError) -> GatewayError:
    causes = "; ".join(cause["message"] for cause in getattr(exc, "details", {}).get("causes") or [])
    detail = f"{exc.message}: {causes}" if causes else exc.message
    for kinds, ours, public in _NAMES:
        if isinstance(exc, kinds):
            return ours(detail, public=public)
    return UpstreamBroken(detail, public="the upstream's answer could not be read")


# The client calls silence before the response head a connect timeout as well.
_NAMES: tuple[tuple[tuple[type[PyreqwestError], ...], type[GatewayError], str], ...] = (
    ((ConnectTimeoutError, RequestTimeoutError), UpstreamTimeout, "the upstream did not answer in time"),
    ((ConnectError,), UpstreamUnreachable, "no connection to the upstream"),
    ((ReadError,), UpstreamBroken, "the upstream's answer was cut off"),
    ((NetworkError,), UpstreamUnreachable, "the connection to the upstream was lost before it answered"),
)


def _request_id(response: Response) -> str:
    return response.get_header("x-request-id") or response.get_header("x-aicore-request-id") or ""


def _retry_after(response: Response) -> float | None:
    """Read Retry-After (seconds or a date), retry-after-ms, x-retry-after: the longest counts."""
    if response.status < 400:
        return None
    found = [
        _seconds(response.get_header("retry-after")),
        _seconds(response.get_header("x-retry-after")),
        _milliseconds(response.get_header("retry-after-ms")),
    ]
    return max((seconds for seconds in found if seconds is not None), default=None)


def _seconds(value: str | None) -> float | None:
    if not value:
        return None
    try:
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _milliseconds(value: str | None) -> float | None:
    seconds = _seconds(value)
    return None if seconds is None else seconds / 1000
