"""One connection fed byte by byte: what it makes of a response, and when it may be used again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from services.errors import UpstreamBroken, UpstreamError, UpstreamUnreachable
from services.http1 import MAX_ERROR_BYTES, MAX_HEAD_BYTES, MAX_UNREAD_BYTES, ONE_WRITE_BYTES, Connection
from tests.services.waiting import until

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Request-Id: up-1\r\n\r\n"
    b"3;name=value\r\none\r\n0A\r\n0123456789\r\n0\r\nX-Request-Id: trailer\r\n\r\n"
)
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\nx-request-id: up-1\r\n\r\none0123456789"
INTERIM = b"HTTP/1.1 100 Continue\r\nx-request-id: no\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + PLAIN
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nx-request-id: up-1\r\n\r\none0123456789"
RECORDED = {"chunked": CHUNKED, "content-length": PLAIN, "interim": INTERIM, "until close": UNTIL_CLOSE}
CUTS = [(name, cut) for name, data in RECORDED.items() for cut in range(len(data) + 1)]


class Wire(asyncio.Transport):
    """A transport that remembers what it was told, and closes in the loop's next turn."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.sent: list[bytes] = []
        self.reading = True
        self.closing = False

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def abort(self) -> None:
        self.end()

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def end(self, exc: Exception | None = None) -> None:
        """Close for good."""
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, exc)

    def feed(self, *pieces: bytes) -> None:
        """Let the upstream say this, as long as the connection is there."""
        for piece in pieces:
            if piece and not self.closing:
                self.connection.data_received(piece)

    def hang_up(self) -> None:
        """Let the upstream close properly."""
        self.connection.eof_received()
        self.end()


def wired() -> tuple[Connection, Wire]:
    """A connection on a wire of its own."""
    connection = Connection(asyncio.get_running_loop(), lambda _: None)
    wire = Wire(connection)
    connection.connection_made(wire)
    return connection, wire


async def begun(connection: Connection, request: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Send a request in a task, as far as it goes alone."""
    task = asyncio.ensure_future(request)
    await asyncio.sleep(0)
    return task


async def told(*pieces: bytes, collect: int | None = 1_000_000) -> tuple[Connection, Wire]:
    """Feed these bytes to a connection that waits for them, then close its other end if they were all."""
    connection, wire = wired()
    task = await begun(connection, connection.post(b"head", b"", collect=collect))
    wire.feed(*pieces)
    if not connection.complete:
        wire.hang_up()
    await task
    return connection, wire


async def read_all(connection: Connection) -> bytes:
    """Everything until the end."""
    pieces = []
    while piece := await connection.read():
        pieces.append(piece)
    return b"".join(pieces)


# --- what a response is ---


@pytest.mark.parametrize(("name", "cut"), CUTS)
async def test_a_response_does_not_depend_on_where_its_bytes_are_cut(name: str, cut: int) -> None:
    """Two pieces give the same as one: status, fields of the head alone, body, and whether to keep it."""
    data = RECORDED[name]
    connection, _ = await told(data[:cut], data[cut:])

    assert (200, b"up-1", b"one0123456789", name != "until close") == (
        connection.status,
        connection.field(b"x-request-id"),
        connection.body(),
        connection.reusable,
    )


@pytest.mark.parametrize("name", RECORDED)
async def test_a_stream_may_come_byte_by_byte(name: str) -> None:
    """The reader gets every byte once, in order, and the end."""
    connection, wire = wired()
    task = await begun(connection, connection.post(b"head", b""))
    reader = None
    for byte in RECORDED[name]:
        wire.feed(bytes([byte]))
        if task.done() and reader is None:
            reader = asyncio.ensure_future(read_all(connection))
        await asyncio.sleep(0)
    if not connection.complete:
        wire.hang_up()

    assert reader is not None
    assert b"one0123456789" == await reader


async def test_pieces_that_nobody_read_are_joined() -> None:
    """One read returns all that has come."""
    connection, wire = wired()
    task = await begun(connection, connection.post(b"head", b""))
    wire.feed(CHUNKED[: CHUNKED.index(b"3;")], b"3\r\none\r\n", b"3\r\ntwo\r\n")
    await task

    assert b"onetwo" == await connection.read()


@pytest.mark.parametrize("status", [204, 304])
async def test_some_responses_have_no_body(status: int) -> None:
    """Whatever their head says; the connection is kept."""
    connection, _ = await told(b"HTTP/1.1 %d X\r\n\r\n" % status)

    assert (status, b"", True) == (connection.status, connection.body(), connection.reusable)


@pytest.mark.parametrize("line", [b"HTTP/1.1 200 OK\r\nConnection: close", b"HTTP/1.0 200 OK"])
async def test_a_connection_that_the_upstream_will_close_is_not_kept(line: bytes) -> None:
    """It said so, or speaks HTTP/1.0."""
    connection, _ = await told(line + b"\r\ncontent-length: 2\r\n\r\nok")

    assert (b"ok", False) == (connection.body(), connection.reusable)


@pytest.mark.parametrize("extra", [PLAIN, b"x", b"HTTP/1.1 200 OK\r\n", b"\0" * 100])
@pytest.mark.parametrize("together", [True, False])
async def test_bytes_after_a_response_spoil_its_connection_only(extra: bytes, together: bool) -> None:
    """The response is good; what came after it must not become the answer to another request."""
    connection, wire = await told(*([PLAIN + extra] if together else [PLAIN, extra]))

    assert (200, b"one0123456789", False, True) == (
        connection.status,
        connection.body(),
        connection.reusable,
        wire.closing,
    )


async def test_a_kept_connection_starts_afresh() -> None:
    """Nothing of one response is in the next."""
    connection, wire = await told(PLAIN)
    connection.body()
    task = await begun(connection, connection.post(b"head", b"", collect=10))
    wire.feed(b"HTTP/1.1 404 X\r\ncontent-length: 2\r\n\r\nno")
    await task

    assert (404, b"2", b"", b"no") == (
        connection.status,
        connection.field(b"content-length"),
        connection.field(b"x-request-id"),
        connection.body(),
    )


# --- what is none ---


UNREADABLE = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "a bad length": b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "two framings": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    "a bad chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "another protocol": b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    "a huge field": b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_HEAD_BYTES,
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (MAX_HEAD_BYTES // 6) + b"\r\n",
    "endless interim ones": b"HTTP/1.1 102 X\r\n\r\n" * 5_000,
    "a huge trailer": CHUNKED[:-2]
    + b"".join(b"x%d: y\r\n" % n for n in range(MAX_HEAD_BYTES // 6))
    + b"\r\n",
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("size", [7, 1_000_000])
async def test_what_is_no_response_is_broken(name: str, size: int) -> None:
    """In one piece or in many, and the caller is told nothing of its bytes; the connection is closed."""
    data = UNREADABLE[name]
    with pytest.raises(UpstreamBroken) as caught:
        await told(*(data[at : at + size] for at in range(0, len(data), size)))

    assert "the upstream's answer could not be read" == caught.value.public


CUT_SHORT = [(name, cut) for name, cut in CUTS if name != "until close" and cut < len(RECORDED[name])]


@pytest.mark.parametrize(("name", "cut"), CUT_SHORT)
async def test_an_end_in_between_is_never_taken_for_the_end(name: str, cut: int) -> None:
    """Before the head it is unreachable, after it broken."""
    data = RECORDED[name]
    head = data.rindex(b"\r\n\r\n", 0, data.index(b"one") if name != "chunked" else data.index(b"3;")) + 4
    with pytest.raises(UpstreamError) as caught:
        await told(data[:cut])

    assert (UpstreamUnreachable if cut < head else UpstreamBroken) is type(caught.value)


async def test_a_body_without_a_length_that_is_reset_is_cut_off() -> None:
    """Only a proper close is its end."""
    connection, wire = wired()
    task = await begun(connection, connection.post(b"head", b"", collect=100))
    wire.feed(UNTIL_CLOSE)
    wire.end(ConnectionResetError("reset"))

    with pytest.raises(UpstreamBroken, match="reset"):
        await task


@pytest.mark.parametrize(("status", "limit"), [(200, 1_000_000), (500, MAX_ERROR_BYTES)])
async def test_a_whole_body_has_a_limit(status: int, limit: int) -> None:
    """An error's is smaller."""
    head = b"HTTP/1.1 %d X\r\ncontent-length: 5000000\r\n\r\n" % status
    with pytest.raises(UpstreamBroken, match=f"more than {limit} bytes"):
        await told(head, *[b"x" * 100_000] * 11)


async def test_what_came_before_a_failure_is_read_first() -> None:
    """Then the failure, as often as it is asked for."""
    connection, wire = wired()
    task = await begun(connection, connection.post(b"head", b""))
    wire.feed(CHUNKED[: CHUNKED.index(b"0A")])
    wire.end(ConnectionResetError("reset"))
    await task
    await asyncio.sleep(0)

    assert b"one" == await connection.read()
    for _ in range(2):
        with pytest.raises(UpstreamBroken):
            await connection.read()


# --- too fast, too slow ---


async def test_a_reader_who_is_slow_stops_the_upstream() -> None:
    """Beyond the limit nothing is taken from the socket, until it has been read."""
    connection, wire = wired()
    task = await begun(connection, connection.post(b"head", b""))
    wire.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"x" * MAX_UNREAD_BYTES)
    await task
    assert wire.reading

    wire.feed(b"x")
    assert not wire.reading
    assert MAX_UNREAD_BYTES + 1 == len(await connection.read())
    assert wire.reading


async def test_a_small_request_is_one_write() -> None:
    """Head and body together: one packet."""
    connection, wire = wired()
    task = await begun(connection, connection.post(b"head", b"body", collect=100))
    wire.feed(PLAIN)
    await task

    assert [b"headbody"] == wire.sent


async def test_a_large_request_waits_for_room() -> None:
    """A slice at a time, no more than the transport takes."""
    connection, wire = wired()
    connection.pause_writing()
    body = b"x" * (10 * ONE_WRITE_BYTES)
    task = await begun(connection, connection.post(b"head", body, collect=100))
    sent = len(b"".join(wire.sent))
    assert sent < len(body)

    connection.resume_writing()
    await asyncio.sleep(0)
    assert b"head" + body == b"".join(wire.sent)
    wire.feed(PLAIN)
    await task
    assert connection.reusable


async def test_an_error_before_the_request_is_sent_ends_the_sending() -> None:
    """An early 413 is the answer; the connection, half way through a request, is of no more use."""
    connection, wire = wired()
    connection.pause_writing()
    body = b"x" * (10 * ONE_WRITE_BYTES)
    task = await begun(connection, connection.post(b"head", body, collect=100))
    wire.feed(b"HTTP/1.1 413 X\r\ncontent-length: 3\r\n\r\nbig")
    await task

    assert (413, b"big", False) == (connection.status, connection.body(), connection.reusable)
    assert len(b"".join(wire.sent)) < len(body)


# --- leaving ---


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", PLAIN[:-1]])
@pytest.mark.parametrize("size", [0, 10 * ONE_WRITE_BYTES])
async def test_a_request_that_is_cancelled_closes_its_connection(said: bytes, size: int) -> None:
    """While it is sent, before the head and within the body: at once."""
    connection, wire = wired()
    if size:
        connection.pause_writing()
    task = await begun(connection, connection.post(b"head", b"x" * size, collect=100))
    wire.feed(said)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert (True, False) == (wire.closing, connection.reusable)


async def test_an_upstream_that_hangs_up_before_the_request_is_unreachable() -> None:
    """Between being opened and being used; nothing waits for an answer that cannot come."""
    connection, wire = wired()
    wire.hang_up()
    await asyncio.sleep(0)

    with pytest.raises(UpstreamUnreachable):
        await connection.post(b"head", b"")
    assert connection.untouched


LINGERING = {
    "its end": (b"0\r\n\r\n", True),
    "more": (b"3\r\nmor\r\n0\r\n\r\n", False),
    "nothing": (b"", False),
}


@pytest.mark.parametrize("name", LINGERING)
async def test_lingering_waits_for_the_end_of_the_body_only(name: str) -> None:
    """With it the connection is good; with anything else, or nothing in time, it is closed."""
    rest, good = LINGERING[name]
    connection, wire = wired()
    task = await begun(connection, connection.post(b"head", b""))
    wire.feed(CHUNKED[: CHUNKED.index(b"0\r\nX-")])
    await task
    await connection.read()
    kept: list[Connection] = []
    connection.linger(kept.append, 0)
    wire.feed(rest)
    await until(lambda: kept or wire.closing)

    assert (good, good) == (kept == [connection], connection.reusable)


# --- a nudge ---------------------------------------------------------------------------------------------


async def opened() -> tuple[Connection, Wire]:
    """A connection whose response has a head, and no body yet."""
    connection, wire = wired()
    task = await begun(connection, connection.post(b"head", b""))
    wire.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n")
    await task
    return connection, wire


async def test_who_waits_for_a_piece_can_be_nudged() -> None:
    """It goes without one, once; the next waits again, and gets all of the body."""
    connection, wire = await opened()
    reading = asyncio.ensure_future(connection.read())
    await asyncio.sleep(0)
    connection.nudge()

    assert await reading is None
    reading = asyncio.ensure_future(connection.read())
    await asyncio.sleep(0)
    assert not reading.done()
    wire.feed(b"onetwo")
    assert b"onetwo" == await reading
    assert b"" == await connection.read()


async def test_a_piece_that_comes_with_the_nudge_is_read_first() -> None:
    """The nudge is not forgotten."""
    connection, wire = await opened()
    reading = asyncio.ensure_future(connection.read())
    await asyncio.sleep(0)
    connection.nudge()
    wire.feed(b"one")

    assert b"one" == await reading
    assert await connection.read() is None


@pytest.mark.parametrize("until", ["nothing", "the head"])
async def test_nobody_else_is_nudged(until: str) -> None:
    """Who does not wait for a piece has nothing to miss."""
    connection, wire = wired()
    task = await begun(connection, connection.post(b"head", b""))
    if until == "the head":
        connection.nudge()
    wire.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n")
    await task
    if until == "nothing":
        connection.nudge()
    wire.feed(b"onetwo")

    assert b"onetwo" == await connection.read()


async def test_a_nudge_does_not_reach_the_next_exchange() -> None:
    """It ends with the response."""
    connection, wire = await opened()
    reading = asyncio.ensure_future(connection.read())
    await asyncio.sleep(0)
    connection.nudge()
    wire.feed(b"onetwo")
    await reading
    task = await begun(connection, connection.post(b"head", b""))
    wire.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n")
    await task
    wire.feed(b"two")

    assert b"two" == await connection.read()
