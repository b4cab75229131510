"""Stores that make the gateway better but must never make it worse: bounded memory, and Redis.

Redis may be absent, slow or gone at any moment. A `Guard` stands before it: it bounds each call in time,
turns every failure into a default value, lets a failing store rest, and counts and logs what happens.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import structlog
from aiocache import Cache
from aiocache.base import BaseCache
from aiocache.serializers import BaseSerializer
from cachetools import TLRUCache

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")
Clock = Callable[[], float]

CALL_SECONDS = 0.1
"""How long a request waits for Redis before it goes on without."""
REST_SECONDS = 1.0
"""After a failure, one call in this time tries again; the others get the default at once."""
NOTE_SECONDS = 60.0
"""A store that keeps failing is logged once in this time."""
MAX_CONNECTIONS = 64

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """Where Redis is."""

    host: str
    port: int = 6379
    db: int = 0
    password: str | None = field(default=None, repr=False)
    tls: bool = False


class Guard:
    """Calls a store that may fail. `name` is what the log calls it; times are in seconds."""

    def __init__(
        self,
        name: str,
        *,
        call_seconds: float = CALL_SECONDS,
        rest_seconds: float = REST_SECONDS,
        clock: Clock = time.monotonic,
    ) -> None:
        self.failures = 0
        """Failed calls since the start."""
        self.failing = False
        """Whether the latest call failed."""
        self._name = name
        self._call_seconds = call_seconds
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._next_try = -math.inf
        self._next_note = -math.inf

    async def attempt(self, call: Callable[[], Awaitable[T]], default: T) -> T:
        """Return what `call` returns, or `default` when it fails, takes too long or the store is resting."""
        if self.failing:
            now = self._clock()
            if now < self._next_try:
                return default
            # One request pays for the probe; the others go on without.
            self._next_try = now + self._rest_seconds
        try:
            async with asyncio.timeout(self._call_seconds):
                result = await call()
        except Exception as exc:  # whatever the client library raises, the request goes on
            self._failed(exc)
            return default
        if self.failing:
            self.failing = False
            self._next_note = -math.inf
            log.info("store_recovered", store=self._name, failures=self.failures)
        return result

    def _failed(self, exc: Exception) -> None:
        now = self._clock()
        self.failures += 1
        self.failing = True
        self._next_try = now + self._rest_seconds
        if now >= self._next_note:
            self._next_note = now + NOTE_SECONDS
            log.warning(
                "store_failed",
                store=self._name,
                error=f"{type(exc).__name__} {exc}".rstrip(),
                failures=self.failures,
            )


class _Entry(NamedTuple):
    value: Any
    ttl: float


def _expires(_key: str, entry: _Entry, now: float) -> float:
    return now + entry.ttl


class MemoryCache(BaseCache):  # type: ignore[misc]  # aiocache has no types
    """An aiocache backend in memory that holds at most `max_entries`, the least recently used leave first.

    aiocache's own knows no bound and arms a timer for each entry. Values are kept as they are.
    """

    NAME = "bounded-memory"

    def __init__(self, *, max_entries: int, clock: Clock = time.monotonic, **kwargs: Any) -> None:
        # Nothing here waits, and a time limit would cost a task for each call.
        super().__init__(serializer=Verbatim(), timeout=None, **kwargs)
        self._entries: TLRUCache[str, _Entry] = TLRUCache(max_entries, _expires, timer=clock)

    async def _get(self, key: str, encoding: str | None = None, _conn: Any = None) -> Any:
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    _gets = _get

    async def _multi_get(
        self, keys: Iterable[str], encoding: str | None = None, _conn: Any = None
    ) -> list[Any]:
        return [await self._get(key) for key in keys]

    async def _set(
        self, key: str, value: Any, ttl: float | None = None, _cas_token: Any = None, _conn: Any = None
    ) -> bool:
        if _cas_token is not None and _cas_token != await self._get(key):
            return False
        self._entries[key] = _Entry(value, math.inf if ttl is None else ttl)
        return True

    async def _multi_set(
        self, pairs: Iterable[tuple[str, Any]], ttl: float | None = None, _conn: Any = None
    ) -> bool:
        for key, value in pairs:
            await self._set(key, value, ttl=ttl)
        return True

    async def _add(self, key: str, value: Any, ttl: float | None = None, _conn: Any = None) -> bool:
        if key in self._entries:
            raise ValueError(f"Key {key} already exists, use .set to update the value")
        return await self._set(key, value, ttl=ttl)

    async def _exists(self, key: str, _conn: Any = None) -> bool:
        return key in self._entries

    async def _expire(self, key: str, ttl: float, _conn: Any = None) -> bool:
        entry = self._entries.get(key)
        return entry is not None and await self._set(key, entry.value, ttl=ttl or None)

    async def _delete(self, key: str, _conn: Any = None) -> int:
        return 0 if self._entries.pop(key, None) is None else 1

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:
        for key in [key for key in self._entries if key.startswith(namespace or "")]:
            del self._entries[key]
        return True

    async def _redlock_release(self, key: str, value: Any) -> int:
        return await self._delete(key) if await self._get(key) == value else 0


class Verbatim(BaseSerializer):  # type: ignore[misc]  # aiocache has no types
    """Hands values through: bytes for Redis, anything for memory."""

    DEFAULT_ENCODING = None

    def dumps(self, value: Any) -> Any:
        """Return the value."""
        return value

    def loads(self, value: Any) -> Any:
        """Return the value."""
        return value


def redis_cache(options: RedisOptions, *, namespace: str) -> BaseCache:
    """Return aiocache's Redis backend for bytes; connects on first use. Needs the `redis` extra."""
    from redis.asyncio import BlockingConnectionPool

    return Cache(
        Cache.REDIS,
        endpoint=options.host,
        port=options.port,
        db=options.db,
        password=options.password,
        ssl=options.tls,
        timeout=None,  # the guard's limit holds; aiocache's would cost a task for each call
        namespace=namespace,
        serializer=Verbatim(),
        pool_max_size=MAX_CONNECTIONS,
        connection_pool_class=BlockingConnectionPool,
        connection_pool_kwargs=_no_retries(),
    )


def redis_client(options: RedisOptions) -> Redis:
    """Return a Redis client for this worker; connects on first use. Needs the `redis` extra."""
    from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection

    tls: dict[str, Any] = {"connection_class": SSLConnection} if options.tls else {}
    pool = BlockingConnectionPool(
        host=options.host,
        port=options.port,
        db=options.db,
        password=options.password,
        max_connections=MAX_CONNECTIONS,
        **tls,
        **_no_retries(),
    )
    return Redis.from_pool(pool)


def _no_retries() -> dict[str, Any]:
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    # The client's own retries sleep for seconds; the guard rests and probes instead.
    return {"retry": Retry(NoBackoff(), 0)}


async def close_cache(cache: BaseCache) -> None:
    """Close the connections of a cache that has any."""
    client = getattr(cache, "client", None)
    if client is not None:
        await client.aclose()  # aiocache calls a name that redis-py has deprecated
