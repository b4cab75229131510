"""Inference calls over real sockets: what goes up, and how every failure is called."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import trustme

from services.errors import GatewayError, UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from services.upstream import MAX_ERROR_BYTES, Pool, TimeLimits, Upstream, UpstreamStream, WholeAnswer, head
from tests.services.raw_upstream import (
    Exchange,
    RawUpstream,
    Script,
    answer,
    failure,
    hang_up,
    raw,
    raw_upstream,
    reset,
    silence,
    stream,
)

PATIENT = TimeLimits(connect=5, first_byte=5, stall=5, total=5)


@pytest.fixture
async def server() -> AsyncIterator[RawUpstream]:
    async with raw_upstream() as upstream:
        yield upstream


@pytest.fixture
async def client() -> AsyncIterator[Upstream]:
    upstream = Upstream(pool=Pool())
    yield upstream
    await upstream.close()


async def send(client: Upstream, server: RawUpstream, limits: TimeLimits = PATIENT) -> WholeAnswer:
    """Post a small request and read the whole answer."""
    return await client.send(
        server.url + "/chat/completions?api-version=1",
        head({"x-own": "1"}),
        b"{}",
        request_id="r-1",
        limits=limits,
    )


async def opened(client: Upstream, server: RawUpstream, limits: TimeLimits = PATIENT) -> UpstreamStream:
    """Post a small request and return its stream."""
    return await client.open(
        server.url + "/chat/completions", head({"x-own": "1"}), b"{}", request_id="r-1", limits=limits
    )


async def read_all(stream: UpstreamStream) -> bytes:
    """Everything until the end."""
    pieces = []
    while (piece := await stream.read()) != b"":
        pieces.append(piece or b"")
    return b"".join(pieces)


# --- what goes up and comes down ---


async def test_a_request_goes_up_as_it_was_made(server: RawUpstream, client: Upstream) -> None:
    """Path, query, body and head, with the request id; compression is refused."""
    server.script(answer())
    await send(client, server)
    [seen] = server.seen

    assert ("/v2/inference/deployments/d1/chat/completions?api-version=1", b"{}") == (seen.path, seen.body)
    assert ("1", "r-1", "aicore-gateway", "identity") == tuple(
        seen.header(name) for name in ("x-own", "x-request-id", "user-agent", "accept-encoding")
    )


async def test_an_answer_comes_down_whatever_its_status(server: RawUpstream, client: Upstream) -> None:
    """Status, body and the upstream's own id of the request."""
    server.script(answer(418, b"tea", x_request_id="up-1"))

    assert WholeAnswer(418, b"tea", None, "up-1") == await send(client, server)


async def test_the_other_header_of_the_request_id_is_read(server: RawUpstream, client: Upstream) -> None:
    """Wire §3.1: SAP's SDK reads `x-aicore-request-id`."""
    server.script(answer(x_aicore_request_id="up-2"))

    assert "up-2" == (await send(client, server)).request_id


async def test_redirects_are_not_followed(server: RawUpstream, client: Upstream) -> None:
    """The token must not travel to wherever an answer points."""
    server.script(answer(307, location=f"{server.url}/elsewhere"))

    assert (307, 1) == ((await send(client, server)).status, len(server.seen))


async def test_connections_are_kept(server: RawUpstream, client: Upstream) -> None:
    """Requests one after the other share one (trap 54)."""
    server.script(answer())
    for _ in range(5):
        await send(client, server)

    assert 1 == server.connections


async def test_a_stream_arrives_piece_by_piece(server: RawUpstream, client: Upstream) -> None:
    """Nothing is held back: the first piece is here before the second is sent."""
    gate = asyncio.Event()
    server.script(stream(b"one", b"two", gate=gate))

    async with aclosing(await opened(client, server)) as upstream:
        assert b"one" == await upstream.read()
        gate.set()
        assert b"two" == await read_all(upstream)


async def test_a_stream_read_to_its_end_gives_its_connection_back(
    server: RawUpstream, client: Upstream
) -> None:
    """The next request takes it."""
    server.script(stream(b"one"), answer())
    async with aclosing(await opened(client, server)) as upstream:
        await read_all(upstream)
    await send(client, server)

    assert 1 == server.connections


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_is_checked(trusted: bool) -> None:
    """A certificate of a configured root is accepted, one of nobody's is not."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    client = Upstream(pool=Pool(), roots=authority.cert_pem.bytes() if trusted else None)

    async with raw_upstream(context) as server:
        server.script(answer())
        if trusted:
            assert 200 == (await send(client, server)).status
        else:
            with pytest.raises(UpstreamUnreachable):
                await send(client, server)
    await client.close()


# --- failures before the head ---


BEFORE_THE_HEAD: dict[str, tuple[Script, type[GatewayError]]] = {
    "reset": (reset, UpstreamUnreachable),
    "hung up": (hang_up, UpstreamUnreachable),
    "reset inside the head": (raw(b"HTTP/1.1 200 OK\r\ncont", reset), UpstreamUnreachable),
    "silence": (silence, UpstreamTimeout),
    "slow head": (raw(b"HTTP/1.1 200 OK\r\ncont", silence), UpstreamTimeout),
}
SHORT = TimeLimits(connect=1, first_byte=0.05, stall=1, total=5)


@pytest.mark.parametrize("name", BEFORE_THE_HEAD)
@pytest.mark.parametrize("way", [send, opened])
async def test_a_failure_before_the_head_has_its_name(
    name: str, way: object, server: RawUpstream, client: Upstream
) -> None:
    """Broken off is unreachable, silent is a timeout; both may be tried elsewhere."""
    script, kind = BEFORE_THE_HEAD[name]
    server.script(script)

    with pytest.raises(GatewayError) as caught:
        await way(client, server, SHORT)  # type: ignore[operator]
    assert (kind, True) == (type(caught.value), caught.value.retryable)


@pytest.mark.parametrize("way", [send, opened])
async def test_an_answer_that_is_no_http_is_a_failure(
    way: object, server: RawUpstream, client: Upstream
) -> None:
    """One of ours, and retryable."""
    server.script(raw(b"SSH-2.0-OpenSSH\r\n\r\n"))

    with pytest.raises(GatewayError) as caught:
        await way(client, server)  # type: ignore[operator]
    assert caught.value.retryable


@pytest.mark.parametrize("way", [send, opened])
async def test_nobody_there_is_unreachable(way: object, client: Upstream) -> None:
    """And the address is not told to the caller."""
    async with raw_upstream() as server:
        pass

    with pytest.raises(UpstreamUnreachable) as caught:
        await way(client, server)  # type: ignore[operator]
    assert "no connection to the upstream" == caught.value.public


# --- failures in the body ---


@pytest.mark.parametrize("end", [hang_up, reset])
async def test_a_body_cut_short_is_broken(end: Script, server: RawUpstream, client: Upstream) -> None:
    """Half an answer is none."""
    server.script(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", end))

    with pytest.raises(UpstreamBroken):
        await send(client, server)


@pytest.mark.parametrize("end", [hang_up, reset])
async def test_a_stream_cut_short_is_broken(end: Script, server: RawUpstream, client: Upstream) -> None:
    """What came before is read; its end is not taken for the end."""
    server.script(stream(b"one", then=end))

    async with aclosing(await opened(client, server)) as upstream:
        with pytest.raises(UpstreamBroken):
            await read_all(upstream)


async def test_a_body_that_stalls_is_a_timeout(server: RawUpstream, client: Upstream) -> None:
    """The whole answer has a limit of its own."""
    server.script(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", silence))

    with pytest.raises(UpstreamTimeout):
        await send(client, server, TimeLimits(connect=1, first_byte=5, stall=5, total=0.05))


async def test_a_stream_that_stalls_is_a_timeout(server: RawUpstream, client: Upstream) -> None:
    """The reader is woken, and its task goes on as if it had never been cancelled."""
    server.script(stream(b"one", then=silence))
    limits = TimeLimits(connect=1, first_byte=5, stall=0.05, total=5)

    async with aclosing(await opened(client, server, limits)) as upstream:
        assert b"one" == await upstream.read()
        with pytest.raises(UpstreamTimeout, match=r"silent for 0\.05 s"):
            await upstream.read()
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_the_limit_to_the_head_does_not_hold_for_the_body(
    server: RawUpstream, client: Upstream
) -> None:
    """Trap 15: a pause within a stream may be longer than the wait for its beginning."""

    async def pause(exchange: Exchange) -> None:
        await asyncio.sleep(3 * SHORT.first_byte)
        await exchange.send(b"3\r\ntwo\r\n0\r\n\r\n")

    server.script(stream(b"one", then=pause))

    async with aclosing(await opened(client, server, SHORT)) as upstream:
        assert b"onetwo" == await read_all(upstream)


# --- a stream's first content ---


QUICK = TimeLimits(connect=1, first_byte=5, first_token=0.05, stall=5, total=5)
PEEKING = TimeLimits(connect=1, first_byte=5, first_token=5, stall=5, total=5, peek=0.05)


def pings(count: int) -> Script:
    """So many pieces, a hundred a second; then the end."""

    async def run(exchange: Exchange) -> None:
        for _ in range(count):
            await exchange.send(b"4\r\nping\r\n")
            await asyncio.sleep(0.01)
        await exchange.send(b"0\r\n\r\n")

    return run


@pytest.mark.parametrize("script", [silence, stream(then=silence), stream(b"ping", then=pings(500))])
async def test_the_first_content_has_a_limit_of_its_own(
    script: Script, server: RawUpstream, client: Upstream
) -> None:
    """Before the head, after it, and while only other things come."""
    server.script(script)

    with pytest.raises(UpstreamTimeout, match=r"no content within 0\.05 s"):
        async with aclosing(await opened(client, server, QUICK)) as upstream:
            await read_all(upstream)


async def test_once_content_is_here_its_limit_is_over(server: RawUpstream, client: Upstream) -> None:
    """The rest may take its time."""
    server.script(stream(b"one", then=pings(30)))

    async with aclosing(await opened(client, server, QUICK)) as upstream:
        first = await upstream.read()
        upstream.began()
        assert b"one" + b"ping" * 30 == first + await read_all(upstream)


async def test_a_whole_answer_has_no_first_content(server: RawUpstream, client: Upstream) -> None:
    """Its limits are those for the head and for all of it."""

    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        await answer()(exchange)

    server.script(late)

    assert 200 == (await send(client, server, QUICK)).status


@pytest.mark.parametrize("script", [stream(then=silence), stream(b"ping", then=silence)])
async def test_the_time_for_peeking_ends_once(script: Script, server: RawUpstream, client: Upstream) -> None:
    """None then, and nothing has happened to the stream; later there is no such limit."""
    server.script(script)

    async with aclosing(await opened(client, server, PEEKING)) as upstream:
        pieces = []
        while (piece := await upstream.read()) is not None:
            pieces.append(piece)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(upstream.read(), 0.5)
    assert pieces in ([], [b"ping"])


async def test_peeking_ends_while_pieces_come(server: RawUpstream, client: Upstream) -> None:
    """Not only after a silence; no piece is lost by it."""
    server.script(stream(b"ping", then=pings(60)))

    async with aclosing(await opened(client, server, PEEKING)) as upstream:
        before = []
        while (piece := await upstream.read()) is not None:
            before.append(piece)
        rest = await read_all(upstream)

    assert b"ping" * 61 == b"".join(before) + rest
    assert len(rest) > 4


async def test_with_content_here_nobody_peeks(server: RawUpstream, client: Upstream) -> None:
    """The reader waits for the next piece, however long."""
    gate = asyncio.Event()
    server.script(stream(b"one", b"two", gate=gate))

    async with aclosing(await opened(client, server, PEEKING)) as upstream:
        await upstream.read()
        upstream.began()
        asyncio.get_running_loop().call_later(0.4, gate.set)
        assert b"two" == await upstream.read()


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_stream_can_be_waited_for_as_a_whole(
    wanted: bool, server: RawUpstream, client: Upstream
) -> None:
    """Then the limit for whole answers holds, and no longer when it is live again."""
    server.script(stream(b"ping", then=pings(50)))
    limits = TimeLimits(connect=1, first_byte=5, stall=5, total=0.1)

    async with aclosing(await opened(client, server, limits)) as upstream:
        upstream.began()
        upstream.whole(True)
        upstream.whole(wanted)
        if wanted:
            with pytest.raises(UpstreamTimeout, match=r"no whole answer within 0\.1 s"):
                await read_all(upstream)
        else:
            assert b"ping" * 51 == await read_all(upstream)


def test_a_later_attempt_gets_what_is_left() -> None:
    """Of the time for all of them; never more than its own limits, and streams keep theirs."""
    general = TimeLimits(connect=10, first_byte=60, first_token=90, stall=300, total=1200, peek=10)

    assert TimeLimits(10, 30, 30, 300, 30, 10) == general.within(30)
    assert TimeLimits(4, 4, 4, 300, 4, 10) == general.within(4)
    assert general == general.within(1200)


# --- errors with a body ---


async def test_an_error_body_is_read_up_to_a_limit(server: RawUpstream, client: Upstream) -> None:
    """A huge one is not collected (trap 19)."""
    server.script(stream(*[b"x" * 65_536] * 16, status=500))

    async with aclosing(await opened(client, server)) as upstream:
        assert b"x" * MAX_ERROR_BYTES == await upstream.read_error()


async def test_a_small_error_body_is_read_whole(server: RawUpstream, client: Upstream) -> None:
    """As it is."""
    server.script(failure(400, "bad"))

    async with aclosing(await opened(client, server)) as upstream:
        assert (400, b'{"error": {"message": "bad"}}') == (upstream.status, await upstream.read_error())


async def test_an_error_body_that_is_cut_is_read_as_far_as_it_goes(
    server: RawUpstream, client: Upstream
) -> None:
    """The status has said what matters: a cut 429 stays a 429 (trap 19)."""
    server.script(stream(b"slow do", status=429, then=reset))

    async with aclosing(await opened(client, server)) as upstream:
        assert (429, True) == (upstream.status, b"slow do".startswith(await upstream.read_error()))


# --- when to come back ---


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "-3"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"x_retry_after": "30"}, 30),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "x"}, None),
        ({"retry_after": "1", "x_retry_after": "2", "retry_after_ms": "2500"}, 2.5),
    ],
)
async def test_retry_after_is_read_in_every_form(
    fields: dict[str, str], seconds: float | None, server: RawUpstream, client: Upstream
) -> None:
    """Seconds, a date that has passed, milliseconds; the longest counts, nonsense does not (trap 21)."""
    server.script(failure(429, **fields))

    assert seconds == (await send(client, server)).retry_after
    async with aclosing(await opened(client, server)) as upstream:
        assert seconds == upstream.retry_after


async def test_retry_after_as_a_date_is_a_wait(server: RawUpstream, client: Upstream) -> None:
    """The time from now until then."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    server.script(failure(503, retry_after=date))

    seconds = (await send(client, server)).retry_after
    assert seconds is not None
    assert 60 < seconds <= 90


async def test_a_success_asks_nobody_to_come_back(server: RawUpstream, client: Upstream) -> None:
    """Only errors are waited for."""
    server.script(answer(200, retry_after="7"))

    assert None is (await send(client, server)).retry_after


# --- leaving ---


async def test_trap_17_closing_a_stream_closes_its_connection(server: RawUpstream, client: Upstream) -> None:
    """Trap 17: the upstream sees the end at once."""
    server.script(stream(b"one", then=silence))
    upstream = await opened(client, server)
    await upstream.read()
    await upstream.aclose()

    await asyncio.wait_for(server.gone.wait(), 5)


@pytest.mark.parametrize("way", [send, opened])
async def test_trap_17_cancelling_before_the_head_closes_the_connection(
    way: object, server: RawUpstream, client: Upstream
) -> None:
    """Trap 17: nobody pays for an answer that nobody reads."""
    arrived = asyncio.Event()

    async def quiet(exchange: object) -> None:
        arrived.set()
        await silence(exchange)  # type: ignore[arg-type]

    server.script(quiet)
    task = asyncio.ensure_future(way(client, server))  # type: ignore[operator]
    await asyncio.wait_for(arrived.wait(), 5)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.gone.wait(), 0.3)


async def test_a_reader_that_is_cancelled_stays_cancelled(server: RawUpstream, client: Upstream) -> None:
    """A cancellation that is not ours is never taken for a stall."""
    server.script(stream(b"one", then=silence))
    upstream = await opened(client, server)
    await upstream.read()
    task = asyncio.ensure_future(upstream.read())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.aclose()
    await asyncio.wait_for(server.gone.wait(), 5)
