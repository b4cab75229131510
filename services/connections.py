"""Connections to the upstreams' hosts: names, addresses, TLS and proxies, and the idle ones that are kept.

How many may be open is not limited here: what is sent where is the balancer's business.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeVar, cast
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from services.errors import UpstreamTimeout, UpstreamUnreachable
from services.http1 import Connection

P = TypeVar("P", bound=asyncio.Protocol)

_PORTS = {"http": 80, "https": 443}
_NOBODY = "no connection to the upstream"
_MAX_PROXY_HEAD_BYTES = 16 * 1024
_LAST_TURNS = 10

# A model may think for minutes, and middle boxes forget a connection that is silent (seconds, tries).
_PROBES = (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 4))


class Origin(NamedTuple):
    """Where connections are interchangeable. `host` is without the brackets of an IPv6 address."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as an address names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS.get(self.scheme) else f"{host}:{self.port}"


def origin_of(parts: SplitResult) -> Origin:
    """Return the origin of a URL. Raises ValueError for one that is not http(s) or has no host."""
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("not an address of http or https")
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode()
    return Origin(parts.scheme, host, parts.port or _PORTS[parts.scheme])


class Proxy(NamedTuple):
    """A forward proxy, with the value of Proxy-Authorization if its URL has a user."""

    origin: Origin
    authorization: str

    @property
    def fields(self) -> str:
        """Its part of a request head."""
        return f"Proxy-Authorization: {self.authorization}\r\n" if self.authorization else ""


class Proxies:
    """Which proxy stands before which host: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, in either case."""

    def __init__(self, urls: Mapping[str, str] | None = None) -> None:
        self._urls = getproxies() if urls is None else urls

    def of(self, origin: Origin) -> Proxy | None:
        """Return the proxy of this origin. Raises UpstreamUnreachable if its URL is not usable."""
        url = self._urls.get(origin.scheme) or self._urls.get("all")
        if not url or proxy_bypass(origin.host if ":" in origin.host else f"{origin.host}:{origin.port}"):
            return None
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            proxy = origin_of(parts)
        except ValueError as exc:  # without the URL: it may hold a password
            raise UpstreamUnreachable(
                f"the {origin.scheme} proxy's URL is not usable", public=_NOBODY
            ) from exc
        return Proxy(proxy, _basic(parts))


def _basic(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(user.encode()).decode()}"


class Connections:
    """Every connection of a worker."""

    def __init__(self, *, max_idle: int, idle_seconds: float, roots: bytes | None) -> None:
        self.max_idle = max_idle
        self.idle_seconds = idle_seconds
        self.open: set[Connection] = set()
        self._roots = roots
        self._context: ssl.SSLContext | None = None
        self._proxies = Proxies()
        self._hosts: dict[Origin, Host] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def host(self, origin: Origin) -> Host:
        """Return the connections to an origin."""
        if (host := self._hosts.get(origin)) is None:
            host = self._hosts[origin] = Host(self, origin, self._proxies.of(origin))
        return host

    @property
    def context(self) -> ssl.SSLContext:
        """What TLS is checked with: the system's roots (or SSL_CERT_FILE's) and the given ones."""
        if self._context is None:
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            if self._roots:
                context.load_verify_locations(cadata=self._roots.decode("ascii"))
            self._context = context
        return self._context

    async def close(self) -> None:
        """Close every connection, idle or not."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self.open):
            connection.abort()
        for _ in range(_LAST_TURNS):  # of the loop, which tells each of them that it is lost
            if not self.open:
                return
            await asyncio.sleep(0)

    def sweep_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that idle connections are closed in time, whether or not another request comes."""
        if self._sweeper is None:
            self._sweeper = loop.call_later(self.idle_seconds / 2, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = None
        if sum(host.drop_stale(loop.time()) for host in self._hosts.values()):
            self.sweep_later(loop)


class Host:
    """The connections to one origin: the most recently used idle one is taken first."""

    def __init__(self, connections: Connections, origin: Origin, proxy: Proxy | None) -> None:
        self.origin = origin
        self.forwarded = proxy if origin.scheme == "http" else None
        """The proxy that reads the requests themselves, if there is one."""
        self._tunnel = proxy if origin.scheme == "https" else None
        self._connections = connections
        self._idle: deque[Connection] = deque()

    def take(self) -> Connection | None:
        """Return an idle connection, if there is one that is young enough."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.reusable:
                continue
            if connection.loop.time() - connection.idle_since < self._connections.idle_seconds:
                return connection
            connection.abort()
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection whose response is complete, or close it if it is of no more use."""
        if not connection.reusable or not self._connections.max_idle:
            connection.abort()
            return
        connection.idle_since = connection.loop.time()
        self._idle.append(connection)
        if len(self._idle) > self._connections.max_idle:
            self._idle.popleft().abort()
        self._connections.sweep_later(connection.loop)

    def drop_stale(self, now: float) -> int:
        """Close what has been idle for too long; return how many idle ones remain."""
        idle = self._idle
        while idle and now - idle[0].idle_since >= self._connections.idle_seconds:
            idle.popleft().abort()
        return len(idle)

    async def connect(self, seconds: float) -> Connection:
        """Open a new connection. Raises UpstreamTimeout or UpstreamUnreachable."""
        try:
            async with asyncio.timeout(seconds):
                return await self._connect(seconds)
        except TimeoutError as exc:
            detail = f"no connection to {self.origin.authority} within {seconds:g} s"
            raise UpstreamTimeout(detail, public="the upstream did not answer in time") from exc
        except (OSError, ssl.CertificateError, UnicodeError) as exc:
            detail = f"no connection to {self.origin.authority}: {_told(exc)}"
            raise UpstreamUnreachable(detail, public=_NOBODY) from exc

    def _made(self, loop: asyncio.AbstractEventLoop) -> Connection:
        return Connection(loop, self._forget)

    def _forget(self, connection: Connection) -> None:
        self._connections.open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)

    async def _connect(self, seconds: float) -> Connection:
        loop = asyncio.get_running_loop()
        if self._tunnel is not None:
            transport, connection = await self._through(self._tunnel, loop, seconds)
        else:
            first = self.forwarded.origin if self.forwarded else self.origin
            context = self._connections.context if first.scheme == "https" else None
            transport, connection = await _dial(loop, first, lambda: self._made(loop), context, seconds)
        _tune(transport)
        if not connection.lost:
            self._connections.open.add(connection)
        return connection

    async def _through(
        self, proxy: Proxy, loop: asyncio.AbstractEventLoop, seconds: float
    ) -> tuple[asyncio.Transport, Connection]:
        """Ask the proxy for a tunnel (RFC 9110 §9.3.6), then speak TLS with the origin through it."""
        context = self._connections.context
        outer = context if proxy.origin.scheme == "https" else None
        transport, tunnel = await _dial(loop, proxy.origin, lambda: _Tunnel(loop), outer, seconds)
        try:
            await tunnel.ask(self.origin, proxy)
            connection = self._made(loop)
            inner = await loop.start_tls(transport, connection, context, server_hostname=self.origin.host)
            if inner is None:  # closed in the meantime
                raise ConnectionAbortedError("closed during the TLS handshake")
            connection.connection_made(inner)
        except BaseException:
            transport.abort()
            raise
        return inner, connection


class _Tunnel(asyncio.Protocol):
    """The talk with a proxy before the tunnel is there: one request, one head."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._answer: asyncio.Future[bytes] = loop.create_future()
        self._head = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > _MAX_PROXY_HEAD_BYTES:
            self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()

    async def ask(self, origin: Origin, proxy: Proxy) -> None:
        """Ask for a tunnel. Raises ConnectionError if the proxy gives none."""
        place = Origin("", origin.host, origin.port).authority
        self._transport.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{proxy.fields}\r\n".encode())
        head = await self._answer
        line, _, _ = head.partition(b"\r\n")
        status = line.split(b" ")[1:2]
        if not head.endswith(b"\r\n\r\n") or not line.startswith(b"HTTP/1.") or status != [b"200"]:
            said = line[:80].decode("ascii", "replace") or "nothing"
            raise ConnectionRefusedError(f"the proxy {proxy.origin.authority} opens no tunnel: {said}")

    def _settle(self) -> None:
        if not self._answer.done():
            self._answer.set_result(bytes(self._head))


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as they are now. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _dial(
    loop: asyncio.AbstractEventLoop,
    origin: Origin,
    made: Callable[[], P],
    context: ssl.SSLContext | None,
    seconds: float,
) -> tuple[asyncio.Transport, P]:
    """Connect to the first address that answers; each but the last has its share of the time only."""
    addresses = await resolve(origin.host, origin.port)
    end = loop.time() + seconds
    for left in range(len(addresses), 0, -1):
        try:
            async with asyncio.timeout((end - loop.time()) / left):
                transport, protocol = await loop.create_connection(
                    made,
                    addresses[-left],
                    origin.port,
                    ssl=context,
                    server_hostname=origin.host if context else None,
                )
            return transport, protocol
        except (
            OSError,
            TimeoutError,
        ):  # a wrong certificate is one too: another address may show the right one
            if left == 1:
                raise
    raise OSError("the name has no address")


def _tune(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    with suppress(OSError):  # it may be gone already; the first write will tell
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _told(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
