"""Stores that may fail: the guard before them, bounded memory, Redis."""

# the expected value stands on the left

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiocache.lock import RedLock
from structlog.testing import capture_logs

from services.stores import (
    NOTE_SECONDS,
    Guard,
    MemoryCache,
    RedisOptions,
    close_cache,
    redis_cache,
    redis_client,
)
from tests import fixtures_redis
from tests.fixtures_redis import RedisServer
from tests.services.fakes import FakeClock

redis_server = fixtures_redis.redis_server


class Store:
    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    async def call(self) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "value"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def guard(clock: FakeClock) -> Guard:
    return Guard("store", rest_seconds=1, clock=clock)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


class TestGuard:
    async def test_what_works_goes_through(self, guard: Guard) -> None:
        """A store's answer is returned."""
        assert "value" == await guard.attempt(Store().call, "default")
        assert (0, False) == (guard.failures, guard.failing)

    async def test_a_failure_is_the_default_and_is_counted(self, guard: Guard) -> None:
        """No error of a store reaches the request."""
        store = Store()
        store.error = OSError("gone")

        assert "default" == await guard.attempt(store.call, "default")
        assert (1, True) == (guard.failures, guard.failing)

    async def test_a_slow_store_is_a_failing_one(self) -> None:
        """A call that takes longer than its time is ended and counts as failed."""
        guard = Guard("store", call_seconds=0)
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def hang() -> str:
            return await never

        assert "default" == await guard.attempt(hang, "default")
        assert never.cancelled()
        assert 1 == guard.failures

    async def test_cancellation_is_not_a_failure(self, guard: Guard) -> None:
        """A caller that leaves while the store works is cancelled, and the store is not blamed."""
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def hang() -> str:
            return await never

        task = asyncio.ensure_future(guard.attempt(hang, "default"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert 0 == guard.failures

    async def test_a_failing_store_rests(self, guard: Guard, clock: FakeClock) -> None:
        """After a failure nobody waits for the store until its rest is over."""
        store = Store()
        store.error = OSError("gone")
        await guard.attempt(store.call, "default")
        clock.now += 0.9
        assert "default" == await guard.attempt(store.call, "default")
        assert 1 == store.calls
        clock.now += 0.2
        store.error = None

        assert "value" == await guard.attempt(store.call, "default")
        assert not guard.failing

    async def test_one_request_pays_for_the_probe(self, guard: Guard, clock: FakeClock) -> None:
        """While one call finds out whether the store is back, the others go on without it."""
        store, probe = Store(), asyncio.get_running_loop().create_future()
        store.error = OSError("gone")
        await guard.attempt(store.call, "default")
        clock.now += 2

        async def slow() -> str:
            await probe
            return "value"

        task = asyncio.ensure_future(guard.attempt(slow, "default"))
        await asyncio.sleep(0)
        assert "default" == await guard.attempt(store.call, "default")
        assert 1 == store.calls
        probe.set_result(None)

        assert "value" == await task

    async def test_failures_are_noted_once_in_a_while(
        self, guard: Guard, clock: FakeClock, logged: list[Any]
    ) -> None:
        """A store that stays away does not fill the log; its return is noted."""
        store = Store()
        store.error = OSError("gone")
        for _ in range(5):
            await guard.attempt(store.call, "default")
            clock.now += NOTE_SECONDS / 4 + 1
        store.error = None
        await guard.attempt(store.call, "default")

        assert ["store_failed", "store_failed", "store_recovered"] == [line["event"] for line in logged]
        assert [1, 5, 5] == [line["failures"] for line in logged]


class TestMemoryCache:
    async def test_it_holds_no_more_than_it_may(self) -> None:
        """The least recently used entry leaves first."""
        cache = MemoryCache(max_entries=2)
        await cache.set("a", 1)
        await cache.set("b", 2)
        await cache.get("a")
        await cache.set("c", 3)

        assert [1, None, 3] == await cache.multi_get(["a", "b", "c"])

    async def test_entries_expire(self, clock: FakeClock) -> None:
        """An entry lives for its own time; one without lives on."""
        cache = MemoryCache(max_entries=9, clock=clock)
        await cache.multi_set([("short", 1)], ttl=10)
        await cache.set("long", 2)
        await cache.set("extended", 3, ttl=10)
        await cache.expire("extended", 100)
        clock.now += 10

        assert [None, 2, 3] == await cache.multi_get(["short", "long", "extended"])

    async def test_it_is_an_aiocache_backend(self) -> None:
        """The common calls of aiocache work as with its own backends."""
        cache = MemoryCache(max_entries=9, namespace="n:")
        assert await cache.add("a", 1)
        with pytest.raises(ValueError, match="already exists"):
            await cache.add("a", 2)
        assert await cache.exists("a")
        assert (1, 0) == (await cache.delete("a"), await cache.delete("a"))
        await cache.set("b", 2)
        await cache.clear(namespace="other:")
        assert 2 == await cache.get("b")
        await cache.clear(namespace="n:")
        assert "none" == await cache.get("b", default="none")
        await close_cache(cache)

    async def test_its_lock_works(self) -> None:
        """aiocache's lock can be taken and is free again afterwards."""
        cache = MemoryCache(max_entries=9)
        for _ in range(2):
            async with RedLock(cache, "a", lease=1):
                assert await cache.exists("a-lock")
        assert not await cache.exists("a-lock")

    async def test_it_compares_before_it_sets(self) -> None:
        """An optimistic write is refused when the value has changed."""
        cache = MemoryCache(max_entries=9)
        await cache.set("a", 1)

        assert not await cache.set("a", 3, _cas_token=2)
        assert await cache.set("a", 3, _cas_token=1)


class TestRedis:
    async def test_bytes_come_back_as_they_went(self, redis_server: RedisServer) -> None:
        """Any bytes survive a real Redis, under a namespace, for their time to live."""
        options = RedisOptions(redis_server.host, redis_server.port)
        cache, client = redis_cache(options, namespace="ns"), redis_client(options)
        await cache.set("a", b"\x00\xff", ttl=5.0)

        assert b"\x00\xff" == await cache.get("a")
        assert 0 < await client.pttl("ns:a") <= 5000
        await close_cache(cache)
        await client.aclose()

    async def test_a_missing_redis_fails_at_once(self, redis_server: RedisServer) -> None:
        """The client does not retry behind the guard's back."""
        redis_server.stop()
        client = redis_client(RedisOptions(redis_server.host, redis_server.port))
        guard = Guard("redis", call_seconds=5)

        async with asyncio.timeout(1):
            assert 0 == await guard.attempt(lambda: client.exists("a"), 0)
        assert 1 == guard.failures
        await client.aclose()

    def test_the_password_is_not_shown(self) -> None:
        """The options can be logged."""
        assert "secret" not in repr(RedisOptions("host", password="secret"))

    def test_tls_is_used_where_asked_for(self) -> None:
        """With `tls` every connection is an encrypted one."""
        from redis.asyncio import SSLConnection

        options = RedisOptions("host", tls=True)

        assert SSLConnection is redis_client(options).connection_pool.connection_class
        assert SSLConnection is redis_cache(options, namespace="n").client.connection_pool.connection_class
