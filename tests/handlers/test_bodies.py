"""A request's body: whole, plain and bounded."""

from __future__ import annotations

import asyncio

import pytest

from handlers.bodies import read_body
from services.errors import BadRequest, TooLarge
from tests.handlers.fakes import FakeHttp, request


@pytest.mark.parametrize("pieces", [(), (b"abc",), (b"a", b"b", b"c"), (b"ab", b"c")])
async def test_the_pieces_are_put_together(pieces: tuple[bytes, ...]) -> None:
    """However the body arrives."""
    assert b"".join(pieces) == await read_body(request(stream=FakeHttp(*pieces)), limit=3)


async def test_a_request_without_a_stream_has_no_body() -> None:
    """As Sanic's own tests make them."""
    assert b"" == await read_body(request(), limit=3)


async def test_a_body_that_was_read_already_is_empty() -> None:
    """There is nothing to wait for."""
    http = FakeHttp()
    http.request_body = False

    assert (b"", 0) == (await read_body(request(stream=http), limit=3), http.reads)


async def test_an_announced_size_is_refused_before_it_is_read() -> None:
    """413 that names the limit."""
    http = FakeHttp(b"abcd")

    with pytest.raises(TooLarge, match="3 bytes") as caught:
        await read_body(request(stream=http, content_length="4"), limit=3)
    assert (413, 0) == (caught.value.status, http.reads)


async def test_a_size_within_the_limit_is_read() -> None:
    """Exactly at it, too."""
    assert b"abc" == await read_body(request(stream=FakeHttp(b"abc"), content_length="3"), limit=3)


async def test_a_body_that_grows_too_large_is_refused_on_the_way() -> None:
    """Chunked bodies announce nothing; what comes after the limit is not read."""
    http = FakeHttp(b"ab", b"cd", b"ef")

    with pytest.raises(TooLarge):
        await read_body(request(stream=http), limit=3)
    assert 2 == http.reads


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip"])
async def test_a_compressed_body_is_refused(coding: str) -> None:
    """415 instead of a riddle about JSON, and no bomb to unpack."""
    with pytest.raises(BadRequest, match="compressed") as caught:
        await read_body(request(stream=FakeHttp(b"x"), content_encoding=coding), limit=3)
    assert 415 == caught.value.status


@pytest.mark.parametrize(
    ("buffered", "timed"), [(b"abc", False), (b"abcGET", False), (b"ab", True), (b"", True)]
)
async def test_only_a_body_that_is_still_on_its_way_is_timed(
    buffered: bytes, timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer for each small request would cost as much as reading it."""
    timers: list[float] = []
    real = asyncio.timeout
    monkeypatch.setattr(asyncio, "timeout", lambda seconds: timers.append(seconds) or real(seconds))
    http = FakeHttp(b"abc", buffered=buffered, announced=3)

    assert b"abc" == await read_body(request(stream=http), limit=3)
    assert timed == bool(timers)


async def test_identity_is_no_compression() -> None:
    """It says so itself."""
    assert b"x" == await read_body(request(stream=FakeHttp(b"x"), content_encoding="identity"), limit=3)


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """408: a byte now and then must not hold a connection for as long as a model may think."""

    class Never(FakeHttp):
        async def read(self) -> bytes | None:
            await asyncio.get_running_loop().create_future()
            return None

    monkeypatch.setattr("handlers.bodies.BODY_SECONDS", 0.01)

    with pytest.raises(BadRequest, match="did not arrive") as caught:
        await read_body(request(stream=Never()), limit=3)
    assert (408, "request_timeout") == (caught.value.status, caught.value.code)
