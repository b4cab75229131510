"""The exact response cache: what is stored, for how long, and what happens without its store."""

# the expected value stands on the left

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from services.answers import MAX_PENDING, AnswerCache
from services.stores import Guard, MemoryCache, RedisOptions, redis_cache
from tests import fixtures_redis
from tests.fixtures_redis import RedisServer
from tests.services.fakes import FakeClock, settle

redis_server = fixtures_redis.redis_server
KEY = bytes(range(32))


class Stored(msgspec.Struct):
    body: bytes
    content_type: str = "application/json"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryCache:
    return MemoryCache(max_entries=2, clock=clock)


@pytest.fixture
def cache(store: MemoryCache) -> AnswerCache[Stored]:
    return AnswerCache(store, Stored, ttl_seconds=300, max_answer_bytes=100)


class Source:
    """A stream to be recorded."""

    def __init__(self, *items: bytes | Exception) -> None:
        self.items = items
        self.closed = False

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self.events

    async def run(self) -> AsyncGenerator[bytes, None]:
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item

    @property
    def events(self) -> AsyncGenerator[bytes, None]:
        self._events = getattr(self, "_events", None) or self.run()
        return self._events

    async def __anext__(self) -> bytes:
        return await anext(self.events)

    async def aclose(self) -> None:
        self.closed = True
        await self.events.aclose()


class TestAnswers:
    async def test_an_answer_comes_back(self, cache: AnswerCache[Stored]) -> None:
        """What was stored under a fingerprint is returned under it, and under no other."""
        assert await cache.put(KEY, Stored(b"hi"))

        assert Stored(b"hi") == await cache.get(KEY)
        assert await cache.get(bytes(32)) is None
        assert (1, 1, 1) == (cache.hits, cache.misses, cache.stored)

    async def test_each_gets_a_copy(self, cache: AnswerCache[Stored]) -> None:
        """Changing an answer does not change the stored one."""
        await cache.put(KEY, Stored(b"hi"))
        first = await cache.get(KEY)
        assert first is not None
        first.body = b"changed"

        assert Stored(b"hi") == await cache.get(KEY)

    async def test_an_answer_expires(self, cache: AnswerCache[Stored], clock: FakeClock) -> None:
        """After its time to live an answer is not served."""
        await cache.put(KEY, Stored(b"hi"))
        clock.now += 300

        assert await cache.get(KEY) is None

    async def test_large_answers_are_not_stored(self, cache: AnswerCache[Stored]) -> None:
        """An answer above the limit is refused, and counted."""
        assert not await cache.put(KEY, Stored(b"x" * 100))

        assert await cache.get(KEY) is None
        assert (0, 1) == (cache.stored, cache.refused)

    async def test_the_number_of_answers_is_bounded(self, cache: AnswerCache[Stored]) -> None:
        """The least recently used answer leaves."""
        for number in range(3):
            await cache.put(bytes([number]) * 32, Stored(b"%d" % number))

        assert await cache.get(bytes(32)) is None
        assert Stored(b"2") == await cache.get(bytes([2]) * 32)

    async def test_what_cannot_be_read_is_a_miss(
        self, cache: AnswerCache[Stored], store: MemoryCache
    ) -> None:
        """An entry of another form is not an error, and no fault of the store."""
        await store.set(KEY.hex(), b"\xc1")

        assert await cache.get(KEY) is None
        assert (1, 0) == (cache.misses, cache.guard.failures)

    async def test_storing_in_the_background(self, cache: AnswerCache[Stored]) -> None:
        """Closing waits for what is on its way into the store."""
        cache.put_soon(KEY, Stored(b"hi"))
        await cache.aclose()

        assert Stored(b"hi") == await cache.get(KEY)

    async def test_the_background_is_bounded(self, cache: AnswerCache[Stored]) -> None:
        """Too many answers at a time are not stored."""
        for number in range(MAX_PENDING + 3):
            cache.put_soon(number.to_bytes(32, "big"), Stored(b"hi"))
        await cache.aclose()

        assert (MAX_PENDING, 3) == (cache.stored, cache.refused)


class TestRecorded:
    async def test_a_whole_stream_is_stored(self, cache: AnswerCache[Stored]) -> None:
        """The events pass unchanged; together they are the stored answer."""
        source = Source(b"a", b"b", b"c")
        seen = [event async for event in await cache.recorded(KEY, source, Stored)]
        await settle()

        assert [b"a", b"b", b"c"] == seen
        assert Stored(b"abc") == await cache.get(KEY)
        assert source.closed

    async def test_a_failed_stream_is_not_stored(self, cache: AnswerCache[Stored]) -> None:
        """A stream that breaks leaves nothing in the cache."""
        recording = await cache.recorded(KEY, Source(b"a", ValueError("cut")), Stored)
        with pytest.raises(ValueError, match="cut"):
            [event async for event in recording]
        await settle()

        assert await cache.get(KEY) is None

    async def test_a_stream_left_by_its_reader_is_not_stored(self, cache: AnswerCache[Stored]) -> None:
        """Half a stream is no answer, and the source is closed with the recording."""
        source = Source(b"a", b"b")
        recording = await cache.recorded(KEY, source, Stored)
        await anext(recording)
        await recording.aclose()
        await settle()

        assert await cache.get(KEY) is None
        assert source.closed

    async def test_an_unread_recording_closes_its_source(self, cache: AnswerCache[Stored]) -> None:
        """Closing the recording before the first event closes the source too."""
        source = Source(b"a")
        await (await cache.recorded(KEY, source, Stored)).aclose()

        assert source.closed

    async def test_a_long_stream_is_passed_on_and_not_stored(self, cache: AnswerCache[Stored]) -> None:
        """Recording ends at the limit; the caller gets everything."""
        recording = await cache.recorded(KEY, Source(*[b"x" * 60] * 3), Stored)

        assert 180 == len(b"".join([event async for event in recording]))
        assert (0, 1) == (cache.stored, cache.refused)


class TestWithRedis:
    @pytest.fixture
    async def cache(self, redis_server: RedisServer) -> Any:
        options = RedisOptions(redis_server.host, redis_server.port)
        cache = AnswerCache(
            redis_cache(options, namespace="t"), Stored, ttl_seconds=300, max_answer_bytes=100
        )
        yield cache
        await cache.aclose()

    async def test_two_workers_share_answers(
        self, cache: AnswerCache[Stored], redis_server: RedisServer
    ) -> None:
        """What one process stores in Redis, another finds there."""
        options = RedisOptions(redis_server.host, redis_server.port)
        other = AnswerCache(
            redis_cache(options, namespace="t"), Stored, ttl_seconds=300, max_answer_bytes=100
        )
        cache.guard = other.guard = Guard("patient", call_seconds=5)  # the first call connects
        await cache.put(KEY, Stored(b"\x00\xff"))

        assert Stored(b"\x00\xff") == await other.get(KEY)
        await other.aclose()

    async def test_without_redis_there_are_misses(
        self, cache: AnswerCache[Stored], redis_server: RedisServer
    ) -> None:
        """A Redis that goes away costs the stored answers and nothing else."""
        await cache.put(KEY, Stored(b"hi"))
        redis_server.stop()

        assert await cache.get(KEY) is None
        assert not await cache.put(KEY, Stored(b"hi"))
        assert 1 == cache.guard.failures

    async def test_a_hanging_redis_costs_little_time(
        self, cache: AnswerCache[Stored], redis_server: RedisServer
    ) -> None:
        """Requests at a Redis that does not answer wait for a moment, and the next ones not at all."""
        await cache.put(KEY, Stored(b"hi"))
        redis_server.freeze()
        started = time.monotonic()
        first = await asyncio.gather(*(cache.get(KEY) for _ in range(20)))
        waited = time.monotonic() - started
        second = await cache.get(KEY)
        redis_server.thaw()

        assert {None} == {*first, second}
        assert 2 > waited
        assert 20 == cache.guard.failures
