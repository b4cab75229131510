"""A caller's connection, byte by byte, against the server as it runs: what HTTP asks for beside an answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from handlers.wire import CallerConnection
from services.asking import caller_tag
from services.calls import ANONYMOUS
from services.container import Keys
from services.errors import CallerLeft, Draining
from services.translation import stored
from tests.server.listening import ASKED, BODY, Gateway, listening, post

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAMED = b'{"model": "m", "messages": [], "stream": true}'
RESPONSE = f"/v1/responses/{stored.seal('resp_1', 'one/d1', caller_tag(ANONYMOUS))}"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PIECES = b"b\r\ndata: one\n\n\r\nb\r\ndata: two\n\n\r\n0\r\n\r\n"
BIG = b"x" * 20_000_000
"""More than the system keeps for a caller who does not read."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Gateway]:
    with pytest.MonkeyPatch.context() as patch:
        async with listening(patch, origins=("*",)) as gateway:
            yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(running: Gateway) -> AsyncIterator[Gateway]:
    """The one server, as if it were new, and with nobody left inside."""
    config = dict(running.app.config)
    running.reset()
    yield running
    running.app.config.update(config)
    for caller in running.callers:
        caller.transport.abort()
    await until(lambda: not running.inside and not CallerConnection.open)


def plain(path: str, method: str, *fields: str, body: bytes = b"") -> bytes:
    """A request without the fields of a POST, the last one of its connection."""
    lines = (f"{method} {path} HTTP/1.1", "host: gateway", "connection: close", *fields)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answers(raw: bytes) -> list[tuple[int, bytes]]:
    """Statuses and bodies of answers with a length, which must be all that there is."""
    found = []
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append((int(head.split()[1]), rest[:length]))
        raw = rest[length:]
    return found


async def until(done: Any, seconds: float = 5.0) -> None:
    """Wait for what another task does."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.01)


async def silently(gateway: Gateway) -> AsyncIterator[bytes]:
    """A stream that begins and then says no more."""
    yield b"data: one\n\n"
    await asyncio.Event().wait()


# --- one connection, many requests -----------------------------------------------------------------------


async def test_requests_in_a_row_are_answered_in_a_row(gateway: Gateway) -> None:
    """Pipelined, whole and streamed: none waits for more bytes, none is lost."""
    got = await gateway.say(post(), post(body=STREAMED), post(), post(last=True))

    assert 4 == got.count(b"HTTP/1.1 200 OK\r\n")
    assert 3 == got.count(b"\r\n\r\n" + BODY)
    assert PIECES + b"HTTP/1.1 200" in got
    assert [200] * 4 == [call.status for call in gateway.calls]


@pytest.mark.parametrize(("version", "fields", "kept"), [
    ("1.1", (), True),
    ("1.1", ("connection: close",), False),
    ("1.0", (), False),
    ("1.0", ("connection: keep-alive",), True),
])  # fmt: skip
async def test_the_connection_stays_as_the_caller_wants(
    gateway: Gateway, version: str, fields: tuple[str, ...], kept: bool
) -> None:
    """The answer says so, and it is so."""
    reader, writer = await gateway.connect()
    writer.write(post("/v1/chat/completions", ASKED, *fields, version=version))
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(len(BODY))
    writer.write(post())
    rest = await asyncio.wait_for(reader.read(1), 5) if not kept else await reader.readuntil(BODY)

    assert (b"connection: keep-alive" if kept else b"connection: close") in head
    assert (BODY, kept) == (body, bool(rest))


async def test_an_idle_connection_is_closed(gateway: Gateway) -> None:
    """After the time for which it is kept, also behind an answer that did not go through Sanic."""
    gateway.app.config.KEEP_ALIVE_TIMEOUT = 0.1

    assert [(200, BODY)] == answers(await gateway.say(post()))


async def test_a_failure_after_the_answer_leaves_it_whole(gateway: Gateway) -> None:
    """The log cannot be written: the caller has its answer, and the next request gets its own."""
    gateway.fail_log = True

    assert [(200, BODY)] * 2 == answers(await gateway.say(post(), post(last=True)))


# --- heads and bodies ------------------------------------------------------------------------------------


async def test_who_asks_before_sending_is_told_to_go_on(gateway: Gateway) -> None:
    """Expect: 100-continue, once and before the answer."""
    reader, writer = await gateway.connect()
    request = post("/v1/chat/completions", ASKED, "expect: 100-continue", last=True)
    writer.write(request.removesuffix(ASKED))
    told = await asyncio.wait_for(reader.readexactly(len(CONTINUE)), 5)
    writer.write(ASKED)
    rest = await asyncio.wait_for(reader.read(), 5)

    assert (CONTINUE, [(200, BODY)]) == (told, answers(rest))


async def test_a_body_that_nobody_needs_is_taken_all_the_same(gateway: Gateway) -> None:
    """Its bytes are not the next request."""
    cancel = f"{RESPONSE}/cancel"
    got = await gateway.say(post(cancel, b'{"a": 1}'), post(cancel, b""), post(last=True))

    assert [(200, BODY)] * 3 == answers(got)


@pytest.mark.parametrize(("path", "method"), [(f"{RESPONSE}/cancel", "POST"), (RESPONSE, "DELETE")])
async def test_who_asks_before_sending_what_nobody_needs_is_told_first(
    gateway: Gateway, path: str, method: str
) -> None:
    """A caller that has its answer takes no `100 Continue` for the next one's."""
    reader, writer = await gateway.connect()
    writer.write(plain(path, method, "content-length: 2", "expect: 100-continue"))
    told = await asyncio.wait_for(reader.readexactly(len(CONTINUE)), 5)
    writer.write(b"{}")
    rest = await asyncio.wait_for(reader.read(), 5)

    assert (CONTINUE, [(200, BODY)]) == (told, answers(rest))


async def test_a_head_has_no_body(gateway: Gateway) -> None:
    """Else the caller would take the body for the next answer."""
    whole = await gateway.say(plain(RESPONSE, "GET"))
    head = await gateway.say(plain(RESPONSE, "HEAD"))

    assert [(200, BODY)] == answers(whole)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert f"content-length: {len(BODY)}".encode() in head


async def test_too_large_a_body_is_refused_before_it_comes(gateway: Gateway) -> None:
    """413 in the caller's dialect, and the connection ends: the rest of the body would be in the way."""
    head = post(body=b"")
    got = await gateway.say(head.replace(b"content-length: 0", b"content-length: 900000000"))

    assert [413] == [status for status, _ in answers(got)]


LENGTH = f"content-length: {len(ASKED)}"


@pytest.mark.parametrize(
    "head",
    [
        ("POST /v1/messages HTTP/1.1", "content-length: 1", "transfer-encoding: chunked"),
        ("POST /v1/messages HTTP/1.1", LENGTH, "content-length: 5"),
        ("POST /v1/messages HTTP/1.1", "content-length: -5"),
        ("POST /v1/messages HTTP/1.1", "content-length: 1_0"),
        ("POST /v1/messages HTTP/1.1", "transfer-encoding: gzip"),
        ("POST /v1/messages HTTP/1.1", LENGTH.replace(":", " :")),
        ("POST /v1/messages HTTP/1.1", "x-other: a :b", "content-length\t: 5"),
        ("POST /v1/messages HTTP/1.1", LENGTH, "x-other: a\0b"),
        ("POST /v1/messages HTTP/1.1", LENGTH, " folded: 1"),
        ("POST /v1/messages HTTP/3.1", LENGTH),
        ("POST /v1/messages",),
        ("CONNECT gateway:443 HTTP/1.1",),
        ("GET http://[::1/ HTTP/1.1",),
        ("GET /\u00ff HTTP/1.1",),
        ("\x16\x03\x01\x02",),
    ],
    ids=lambda head: head[-1],
)
async def test_a_head_that_may_be_read_in_two_ways_is_refused(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, head: tuple[str, ...]
) -> None:
    """With 400, not for want of a key that nobody looked for; and what comes behind it is no request."""
    monkeypatch.setattr(gateway.app.ctx.services, "keys", Keys(by_digest={}, anonymous=None))
    with capture_logs() as lines:
        got = await gateway.say("\r\n".join([*head, "host: gateway", "", ""]).encode("latin-1") + ASKED)

    assert [400] == [status for status, _ in answers(got)]
    assert {"info"} == {line["log_level"] for line in lines}


async def test_too_large_a_head_is_told_as_such(gateway: Gateway) -> None:
    """431; what nginx lets through is read."""
    long = post("/v1/chat/completions", ASKED, "x-long: " + "a" * 16_000, last=True)
    longer = post("/v1/chat/completions", ASKED, *["x-long: " + "a" * 6_000] * 3, last=True)

    assert [200, 431] == [answers(await gateway.say(one))[0][0] for one in (long, longer)]


@pytest.mark.parametrize("path", ["/v1/messages", "/anthropic/v1/messages"])
@pytest.mark.parametrize("field", ["content-length: -5", "expect: much\r\ncontent-length: 5"])
async def test_a_broken_request_is_answered_in_the_dialect_of_its_path(
    gateway: Gateway, path: str, field: str
) -> None:
    """Its route is not known yet, its path is."""
    ((_, body),) = answers(await gateway.say(f"POST {path} HTTP/1.1\r\n{field}\r\n\r\n".encode()))
    ((_, other),) = answers(await gateway.say(plain(path, "PUT")))

    assert ["error", "error"] == [json.loads(one)["type"] for one in (body, other)]


async def test_a_web_page_may_read_the_answer(gateway: Gateway) -> None:
    """With what CORS wants, whole and streamed; nobody else gets these fields."""
    page = "origin: https://page.example"
    whole = await gateway.say(post("/v1/chat/completions", ASKED, page, last=True))
    stream = await gateway.say(post("/v1/chat/completions", STREAMED, page, last=True))
    other = await gateway.say(post(last=True))

    assert [(200, BODY)] == answers(whole)
    assert stream.endswith(b"\r\n\r\n" + PIECES)
    assert [1, 1, 0] == [one.count(b"access-control-allow-origin: *\r\n") for one in (whole, stream, other)]
    assert [1, 1, 1] == [one.count(b"x-aicore-deployment: d1\r\n") for one in (whole, stream, other)]


# --- callers that leave, or do not read ------------------------------------------------------------------


async def test_a_caller_that_leaves_while_it_waits_ends_the_call(gateway: Gateway) -> None:
    """The model is not waited for any longer."""
    gateway.before = asyncio.Event().wait
    _, writer = await gateway.connect()
    writer.write(post())
    await until(lambda: gateway.inside)
    writer.close()
    await until(lambda: gateway.calls)

    assert isinstance(gateway.calls[0].error, CallerLeft)
    assert 499 == gateway.calls[0].status


async def test_a_caller_that_leaves_before_its_answer_is_written_was_not_served(gateway: Gateway) -> None:
    """What waited behind an answer that it did not read is no success."""
    gateway.body = BIG
    _, writer = await gateway.connect()
    writer.write(post() + post())
    await until(lambda: len(gateway.calls) == 1 and gateway.inside)
    writer.transport.abort()
    await until(lambda: len(gateway.calls) == 2)

    assert [200, 499] == [call.status for call in gateway.calls]


@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["whole", "stream"])
async def test_a_caller_that_never_reads_is_given_up(gateway: Gateway, body: bytes) -> None:
    """It would have its place in the gateway, and an upstream connection, for ever."""

    async def much() -> AsyncIterator[bytes]:
        while True:
            yield BIG

    gateway.app.config.RESPONSE_TIMEOUT = 0.3
    gateway.body, gateway.chunks = BIG, much
    _, writer = await gateway.connect()
    writer.write(post(body=body) + post(body=body))
    await until(lambda: not CallerConnection.open and not gateway.inside and gateway.calls)
    writer.transport.abort()

    assert isinstance(gateway.calls[-1].error, CallerLeft)


# --- time limits, and the end of the worker --------------------------------------------------------------


async def test_an_answer_that_never_comes_ends_in_an_error(gateway: Gateway) -> None:
    """503 in the caller's dialect; what is logged is what the caller gets."""
    gateway.app.config.RESPONSE_TIMEOUT = 0.2
    gateway.before = asyncio.Event().wait
    [(status, body)] = answers(await gateway.say(post()))

    assert (503, "unavailable") == (status, json.loads(body)["error"]["code"])
    assert [503] == [call.status for call in gateway.calls]


async def test_a_stream_that_falls_silent_ends_in_an_error(gateway: Gateway) -> None:
    """With an event, then in order; and the connection with it, whose time nobody watches any more."""
    gateway.app.config.RESPONSE_TIMEOUT = 0.2
    gateway.chunks = lambda: silently(gateway)
    got = await gateway.say(post(body=STREAMED))

    assert got.endswith(b"b\r\ndata: one\n\n\r\n10\r\ndata: farewell\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(("body", "expected"), [
    (ASKED, b'"code":"shutting_down"'),
    (STREAMED, b"b\r\ndata: one\n\n\r\n10\r\ndata: farewell\n\n\r\n0\r\n\r\n"),
], ids=["whole", "stream"])  # fmt: skip
async def test_what_still_runs_at_the_end_is_told(gateway: Gateway, body: bytes, expected: bytes) -> None:
    """The worker's time is over: 503, or an error event; and the connection ends."""
    gateway.before = None if body is STREAMED else asyncio.Event().wait
    gateway.chunks = lambda: silently(gateway)
    reader, writer = await gateway.connect()
    writer.write(post(body=body))
    await until(lambda: gateway.inside)
    if body is STREAMED:
        await reader.readuntil(b"\r\n\r\n")
    for connection in CallerConnection.open:
        connection.close_if_idle()
        connection.interrupt(Draining("again", retry_after=1.0))
    got = await asyncio.wait_for(reader.read(), 5)

    assert expected in got
    assert [Draining] == [type(call.error) for call in gateway.calls]


async def test_an_answer_that_is_on_its_way_is_not_interrupted(gateway: Gateway) -> None:
    """It is complete; only its connection goes."""
    gateway.body = BIG
    reader, writer = await gateway.connect()
    writer.write(post())
    await until(lambda: gateway.calls)
    for connection in CallerConnection.open:
        connection.interrupt(Draining("again", retry_after=1.0))
    writer.write(post(last=True))
    got = await asyncio.wait_for(reader.read(), 5)

    assert [(200, BIG)] * 2 == answers(got)
