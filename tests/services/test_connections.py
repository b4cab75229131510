"""Connections over real sockets, on both event loops: opening, keeping, TLS, proxies, leaving at any time."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme

from services.connections import Proxies, origin_of
from services.errors import UpstreamTimeout, UpstreamUnreachable
from services.upstream import Pool, TimeLimits, Upstream, WholeAnswer, head
from tests.services.raw_upstream import (
    Exchange,
    RawUpstream,
    answer,
    hang_up,
    raw,
    raw_upstream,
    reset,
    silence,
    stream,
)
from tests.services.waiting import until

PATIENT = TimeLimits(connect=5, first_byte=5, stall=5, total=5)
BIG = b"x" * 20_000_000


@pytest.fixture
async def server() -> AsyncIterator[RawUpstream]:
    async with raw_upstream() as upstream:
        yield upstream


@contextlib.asynccontextmanager
async def clients(*, pool: Pool | None = None, roots: bytes | None = None) -> AsyncIterator[Upstream]:
    """A client that is closed afterwards, and leaves nothing open."""
    upstream = Upstream(pool=pool or Pool(), roots=roots)
    try:
        yield upstream
    finally:
        await upstream.close()
        assert not upstream._connections.open


@pytest.fixture
async def client() -> AsyncIterator[Upstream]:
    async with clients() as upstream:
        yield upstream


async def send(
    client: Upstream, url: str, *, body: bytes = b"{}", limits: TimeLimits = PATIENT
) -> WholeAnswer:
    """Post and read the whole answer."""
    return await client.send(url, head({"x-own": "1"}), body, request_id="r-1", limits=limits)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel it, and wait until it has ended so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- keeping ---


async def test_requests_one_after_the_other_share_a_connection(server: RawUpstream, client: Upstream) -> None:
    """Five hundred of them, streams and whole answers in turn."""
    server.script(*[answer(), stream(b"one")] * 250, answer())
    for _ in range(250):
        await send(client, server.url)
        async with contextlib.aclosing(
            await client.open(server.url, b"", b"", request_id="r", limits=PATIENT)
        ) as upstream:
            while await upstream.read():
                pass

    assert (500, 1) == (len(server.seen), server.connections)


async def test_requests_at_the_same_time_have_connections_of_their_own(
    server: RawUpstream, client: Upstream
) -> None:
    """Sixty-four; and the next sixty-four take the same ones."""
    gate = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await gate.wait()
        await answer()(exchange)

    server.script(wait)
    for served in (64, 128):
        gate.clear()
        tasks = [asyncio.ensure_future(send(client, server.url)) for _ in range(64)]
        await until(lambda served=served: len(server.seen) == served)
        gate.set()
        await asyncio.gather(*tasks)

    assert 64 == server.connections


async def test_few_idle_connections_are_kept(server: RawUpstream) -> None:
    """The others are closed as soon as they are idle."""
    async with clients(pool=Pool(max_idle=2)) as client:
        server.script(answer())
        await asyncio.gather(*[send(client, server.url) for _ in range(6)])
        await until(lambda: len(client._connections.open) == 2)


async def test_an_idle_connection_is_closed_in_time(server: RawUpstream) -> None:
    """Even if no further request comes."""
    async with clients(pool=Pool(idle_seconds=0.05)) as client:
        server.script(answer())
        await send(client, server.url)
        assert 1 == len(client._connections.open)

        await until(lambda: not client._connections.open)


@pytest.mark.parametrize("end", [hang_up, reset, raw(b"HTTP/1.1 408 X\r\ncontent-length: 0\r\n\r\n")])
async def test_an_idle_connection_that_says_anything_is_dropped(
    end: Callable[[Exchange], Awaitable[None]], server: RawUpstream, client: Upstream
) -> None:
    """An end, a break, or an answer that nobody asked for."""
    go = asyncio.Event()

    async def then_end(exchange: Exchange) -> None:
        await answer()(exchange)
        await go.wait()
        await end(exchange)

    server.script(then_end, answer(body=b"second"))
    await send(client, server.url)
    go.set()
    await until(lambda: not client._connections.open)

    assert (b"second", 2) == ((await send(client, server.url)).body, server.connections)


@pytest.mark.parametrize("end", [hang_up, reset])
@pytest.mark.parametrize("size", [2, 200_000])
async def test_a_kept_connection_that_was_just_closed_is_replaced(
    end: Callable[[Exchange], Awaitable[None]], size: int, server: RawUpstream, client: Upstream
) -> None:
    """The request crosses the upstream's close; it is sent again on a new connection, with the same body."""
    server.script(answer(), end, answer(body=b"again"))
    await send(client, server.url)

    assert b"again" == (await send(client, server.url, body=b"x" * size)).body
    assert [1, 1, 2] == [seen.connection for seen in server.seen]


async def test_it_is_replaced_once(server: RawUpstream, client: Upstream) -> None:
    """A new connection that ends as well is a failure."""
    server.script(answer(), hang_up)
    await send(client, server.url)

    with pytest.raises(UpstreamUnreachable):
        await send(client, server.url)
    assert 3 == len(server.seen)


async def test_it_is_not_replaced_once_an_answer_has_begun(server: RawUpstream, client: Upstream) -> None:
    """One byte is enough: the upstream has seen the request."""
    server.script(answer(), raw(b"H", hang_up))
    await send(client, server.url)

    with pytest.raises(UpstreamUnreachable):
        await send(client, server.url)
    assert 2 == len(server.seen)


async def test_a_stream_that_is_over_but_for_its_framing_keeps_its_connection(
    server: RawUpstream, client: Upstream
) -> None:
    """Its reader knows the end from the content; the last bytes come later."""
    gate = asyncio.Event()

    async def end(exchange: Exchange) -> None:
        await gate.wait()
        await exchange.send(b"0\r\n\r\n")

    server.script(stream(b"[DONE]", then=end), answer())
    upstream = await client.open(server.url, b"", b"", request_id="r", limits=PATIENT)
    assert b"[DONE]" == await upstream.read()
    await upstream.finish()
    gate.set()
    [connection] = client._connections.open
    await until(lambda: connection.reusable)
    await asyncio.sleep(0)
    await send(client, server.url)

    assert 1 == server.connections


# --- large and slow ---


async def test_a_large_request_arrives_whole(server: RawUpstream, client: Upstream) -> None:
    """Slice by slice, and the connection is good afterwards."""
    server.script(answer())
    await send(client, server.url, body=BIG)
    await send(client, server.url)

    assert (BIG == server.seen[0].body, 1) == (True, server.connections)


@contextlib.asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve each connection so; the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_early_413_is_the_answer(client: Upstream) -> None:
    """The upstream does not read the body, and says so; the rest is not sent."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 X\r\ncontent-length: 3\r\n\r\nbig")
        await asyncio.Event().wait()

    async with listening(refuse) as port:
        response = await send(client, f"http://127.0.0.1:{port}/", body=BIG)
        assert (413, b"big") == (response.status, response.body)


async def test_an_upstream_is_read_no_faster_than_its_reader(client: Upstream) -> None:
    """What it could send is bounded by buffers, not by its answer."""
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (5 * len(BIG)))
        while sent < 5 * len(BIG):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with listening(flood) as port:
        upstream = await client.open(f"http://127.0.0.1:{port}/", b"", b"", request_id="r", limits=PATIENT)
        seen = -1
        while seen != sent:
            seen = sent
            await asyncio.sleep(0.1)
        assert seen < 5 * len(BIG)

        size = 0
        while piece := await upstream.read():
            size += len(piece)
        assert 5 * len(BIG) == size


# --- leaving ---


async def test_leaving_while_connecting_closes_the_socket(
    client: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the TLS handshake: the upstream sees the end at once, and nothing is left."""
    begun, gone = asyncio.Event(), asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        begun.set()
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        gone.set()

    async with listening(mute) as port:
        task = asyncio.ensure_future(send(client, f"https://127.0.0.1:{port}/"))
        await asyncio.wait_for(begun.wait(), 5)
        await cancelled(task)
        await asyncio.wait_for(gone.wait(), 0.5)


async def test_leaving_while_the_name_is_looked_up(client: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request ends at once, and nobody is connected to later."""
    asked = asyncio.Event()

    async def never(*_: Any, **__: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("services.connections.resolve", never)
    task = asyncio.ensure_future(send(client, "http://upstream.example/"))
    await asyncio.wait_for(asked.wait(), 5)

    await cancelled(task)


async def test_leaving_while_sending_closes_the_connection(client: Upstream) -> None:
    """A large request, half way up."""
    begun, gone = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await asyncio.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            while await reader.read(1_000_000):
                pass
        gone.set()

    async with listening(slow) as port:
        task = asyncio.ensure_future(send(client, f"http://127.0.0.1:{port}/", body=BIG))
        await asyncio.wait_for(begun.wait(), 5)
        await cancelled(task)
        await asyncio.wait_for(gone.wait(), 0.5)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("reading", [False, True])
async def test_leaving_while_waiting_closes_the_connection(tls: bool, reading: bool) -> None:
    """For the head or for a piece, plain or TLS; without another word."""
    authority = trustme.CA()
    arrived = asyncio.Event()

    async def quiet(exchange: Exchange) -> None:
        if reading:
            await stream(b"one", then=_noop)(exchange)
        arrived.set()
        await silence(exchange)

    async def read(client: Upstream, url: str) -> None:
        upstream = await client.open(url, b"", b"", request_id="r", limits=PATIENT)
        while await upstream.read():
            pass

    async with (
        raw_upstream(_server_context(authority, "127.0.0.1") if tls else None) as server,
        clients(roots=authority.cert_pem.bytes()) as client,
    ):
        server.script(quiet)
        task = asyncio.ensure_future(read(client, server.url))
        await asyncio.wait_for(arrived.wait(), 5)
        await asyncio.sleep(0.02)
        await cancelled(task)
        await asyncio.wait_for(server.gone.wait(), 0.5)


async def _noop(exchange: Exchange) -> None:
    pass


async def test_a_connection_has_to_be_there_in_time(client: Upstream) -> None:
    """The limit covers the TLS handshake."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    limits = TimeLimits(connect=0.05, first_byte=5, stall=5, total=5)
    async with listening(mute) as port:
        with pytest.raises(UpstreamTimeout, match=r"within 0\.05 s"):
            await send(client, f"https://127.0.0.1:{port}/", limits=limits)


async def test_an_address_that_does_not_answer_is_passed_over(
    server: RawUpstream, client: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name has several; the next one is tried."""

    async def resolve(*_: Any) -> list[str]:
        return ["127.9.9.9", "127.0.0.1"]

    monkeypatch.setattr("services.connections.resolve", resolve)
    server.script(answer())

    assert 200 == (await send(client, f"http://upstream.example:{server.port}/")).status
    assert f"upstream.example:{server.port}" == server.seen[0].header("host")


# --- TLS ---


def _server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(*names).configure_cert(context)
    return context


CERTIFICATES = {"good": (True, "localhost"), "wrong host": (True, "other"), "unknown": (False, "localhost")}


@pytest.mark.parametrize("name", CERTIFICATES)
async def test_tls_is_checked(name: str) -> None:
    """Chain and host name; the caller learns only that there is no connection."""
    trusted, host = CERTIFICATES[name]
    authority = trustme.CA()
    roots = authority if trusted else trustme.CA()
    async with (
        raw_upstream(_server_context(authority, host)) as server,
        clients(roots=roots.cert_pem.bytes()) as client,
    ):
        server.script(answer())
        url = f"https://localhost:{server.port}/"
        if name == "good":
            assert [200, 200] == [
                (await send(client, url)).status,
                (await send(client, url, body=BIG)).status,
            ]
            assert (1, BIG == server.seen[1].body) == (server.connections, True)
        else:
            with pytest.raises(UpstreamUnreachable) as caught:
                await send(client, url)
            assert "no connection to the upstream" == caught.value.public


async def test_roots_are_read_from_ssl_cert_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every OpenSSL program does."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "roots.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    async with raw_upstream(_server_context(authority, "127.0.0.1")) as server, clients() as client:
        server.script(answer())

        assert 200 == (await send(client, server.url)).status


@pytest.mark.asyncio(loop_factories=["uvloop"])  # asyncio's own TLS does not tell the two ends apart
@pytest.mark.parametrize("proper", [True, False])
async def test_a_body_without_a_length_needs_a_proper_end_of_tls(proper: bool) -> None:
    """Anybody on the way could break a connection off, but not say close_notify."""
    authority = trustme.CA()

    async def end(exchange: Exchange) -> None:
        await asyncio.sleep(0.02)
        if proper:
            exchange.writer.close()
        else:
            exchange.writer.transport.abort()

    async with (
        raw_upstream(_server_context(authority, "127.0.0.1")) as server,
        clients(roots=authority.cert_pem.bytes()) as client,
    ):
        server.script(raw(b"HTTP/1.1 200 OK\r\n\r\nbody", end))
        if proper:
            assert b"body" == (await send(client, server.url)).body
        else:
            with pytest.raises(Exception, match="closed"):
                await send(client, server.url)


# --- proxies ---


@dataclass
class Proxy:
    """A forward proxy: it opens tunnels, and remembers what it was asked."""

    answer: bytes = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request; pass bytes on if it wants a tunnel."""
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        method, target, _ = self.heads[0].split(" ", 2)
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy")
            await reader.read(-1)
            return
        writer.write(self.answer)
        if b" 200 " not in self.answer:
            await writer.drain()
            return
        host, _, port = target.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        finally:
            back.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()


USER = f"Basic {base64.b64encode(b'me:p@ss').decode()}"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
async def test_https_goes_through_a_tunnel(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS is spoken with the upstream, not with the proxy, which alone sees its own credential."""
    authority, proxy = trustme.CA(), Proxy()
    async with (
        raw_upstream(_server_context(authority, "localhost")) as server,
        listening(proxy.serve) as port,
    ):
        monkeypatch.setenv(variable, f"http://me:p%40ss@127.0.0.1:{port}")
        async with clients(roots=authority.cert_pem.bytes()) as client:
            server.script(answer())
            url = f"https://localhost:{server.port}/"
            assert [200, 200] == [(await send(client, url)).status, (await send(client, url)).status]

    place = f"localhost:{server.port}"
    assert [
        f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nProxy-Authorization: {USER}\r\n\r\n"
    ] == proxy.heads
    assert None is server.seen[0].header("proxy-authorization")


async def test_a_proxy_may_speak_tls_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS within TLS."""
    authority, proxy = trustme.CA(), Proxy()
    async with (
        raw_upstream(_server_context(authority, "localhost")) as server,
        listening(proxy.serve, _server_context(authority, "localhost")) as port,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"https://localhost:{port}")
        async with clients(roots=authority.cert_pem.bytes()) as client:
            server.script(answer())

            assert 200 == (await send(client, f"https://localhost:{server.port}/")).status


async def test_http_asks_the_proxy_for_the_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9112 §3.2.2."""
    proxy = Proxy()
    async with listening(proxy.serve) as port:
        monkeypatch.setenv("HTTP_PROXY", f"me:p%40ss@127.0.0.1:{port}")
        async with clients() as client:
            response = await send(client, "http://upstream.example/v2?x=1")

    assert b"proxy" == response.body
    lines = proxy.heads[0].split("\r\n")
    assert ("POST http://upstream.example/v2?x=1 HTTP/1.1", "Host: upstream.example") == (lines[0], lines[1])
    assert f"Proxy-Authorization: {USER}" in lines


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 407 Who are you\r\n\r\n", b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 403 " + b"x" * 20_000]
)
async def test_a_proxy_that_refuses_is_an_honest_failure(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log names the proxy and its answer, but no credential; the caller learns neither."""
    proxy = Proxy(answer=said)
    async with listening(proxy.serve) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{port}")
        async with clients() as client:
            with pytest.raises(
                UpstreamUnreachable, match=f"the proxy 127.0.0.1:{port} opens no tunnel"
            ) as caught:
                await send(client, "https://upstream.example/")

    assert ("no connection to the upstream", False) == (caught.value.public, "secret" in str(caught.value))


async def test_leaving_while_the_proxy_thinks_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy sees the end at once."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def think(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read(-1)
        gone.set()

    async with listening(think) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        async with clients() as client:
            task = asyncio.ensure_future(send(client, "https://upstream.example/"))
            await asyncio.wait_for(arrived.wait(), 5)
            await cancelled(task)
            await asyncio.wait_for(gone.wait(), 0.5)


@pytest.mark.parametrize("url", ["http://[::1", "socks5://127.0.0.1:1080", "http://me:secret@:1"])
async def test_a_proxy_that_cannot_be_used_is_an_honest_failure(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going past it could be against the rules of the house."""
    monkeypatch.setenv("HTTPS_PROXY", url)
    async with clients() as client:
        with pytest.raises(UpstreamUnreachable, match="the https proxy's URL is not usable"):
            await send(client, "https://upstream.example/")


NO_PROXY = [
    ("upstream.example", "https://upstream.example/", True),
    (".example", "https://upstream.example/", True),
    ("upstream.example:8443", "https://upstream.example:8443/", True),
    ("upstream.example:8443", "https://upstream.example/", False),
    ("*", "https://upstream.example/", True),
    ("::1", "https://[::1]:8443/", True),
    ("other.example", "https://upstream.example/", False),
    ("", "http://upstream.example/", True),
]


@pytest.mark.parametrize(("names", "url", "direct"), NO_PROXY)
def test_some_hosts_are_asked_without_the_proxy(
    names: str, url: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_PROXY names them; and a proxy for https is none for http."""
    from urllib.parse import urlsplit

    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", names)

    assert direct is (Proxies().of(origin_of(urlsplit(url))) is None)


@pytest.mark.parametrize("url", ["ftp://upstream.example/", "https:///path", "no url", "http://[::1"])
async def test_a_url_that_is_none_is_a_failure(url: str, client: Upstream) -> None:
    """One of ours, and it is not repeated to the caller."""
    with pytest.raises(UpstreamUnreachable) as caught:
        await send(client, url)
    assert "no connection to the upstream" == caught.value.public
