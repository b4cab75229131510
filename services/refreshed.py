"""A value that is dear to make and may be a little old: the model list, the health report.

TTL-cached through aiocache, with one refresh at a time however many ask.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog
from aiocache.base import BaseCache

from services.errors import UpstreamBroken
from services.inflight import twin
from services.stores import Clock, Guard, MemoryCache
from services.tasks import spawn

T = TypeVar("T")

AGAIN_SECONDS = 5.0
"""After a failed refresh, the last good value is served this long before the next attempt."""
PATIENCE_SECONDS = 1.0
"""How long a request waits for a refresh while there is still a last good value."""

log = structlog.get_logger()


class Refreshed(Generic[T]):
    """What `refresh` returned at most `ttl_seconds` ago. The value must not be None.

    When a refresh fails, or takes long, the last good value is served as long as it is no older than
    `ttl_seconds + stale_seconds`. `cache` is an aiocache backend; by default the worker's own memory.
    """

    def __init__(
        self,
        refresh: Callable[[], Awaitable[T]],
        *,
        name: str,
        ttl_seconds: float,
        stale_seconds: float,
        patience_seconds: float = PATIENCE_SECONDS,
        cache: BaseCache | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.refreshes = 0
        """Refreshes begun since the start."""
        self.failures = 0
        """Refreshes that failed since the start."""
        self._refresh = refresh
        self._name = name
        self._ttl_seconds = float(ttl_seconds)
        self._stale_seconds = stale_seconds
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._cache = MemoryCache(max_entries=1, clock=clock) if cache is None else cache
        self._guard = Guard(name, clock=clock)
        self._last: tuple[T, float] | None = None
        self._again_at = clock()
        self._task: asyncio.Task[T] | None = None
        self._forgotten = 0

    async def get(self) -> T:
        """Return the value. Raises what `refresh` raises when there is none that is young enough."""
        value: T | None = await self._guard.attempt(lambda: self._cache.get(self._name), None)
        if value is not None:
            return value
        last = self._last_good()
        if last is not None and self._clock() < self._again_at:
            return last[0]
        task = self._running()
        await asyncio.wait({task}, timeout=None if last is None else self._patience_seconds)
        return self._outcome(task, last)

    async def forget(self) -> None:
        """Let the next `get` refresh; the last good value stays in reserve.

        A refresh that is under way may have read what was true before: only who waits for it gets its value.
        """
        self._again_at = self._clock()
        self._forgotten += 1
        self._task = None
        await self._guard.attempt(lambda: self._cache.delete(self._name), 0)

    async def aclose(self) -> None:
        """End a refresh that is under way."""
        if self._task is not None and self._task.cancel():
            await asyncio.wait({self._task})

    def _last_good(self) -> tuple[T, ...] | None:
        if self._last is None or self._clock() - self._last[1] > self._ttl_seconds + self._stale_seconds:
            return None
        return self._last[:1]

    def _running(self) -> asyncio.Task[T]:
        if self._task is None:
            self.refreshes += 1
            self._task = spawn(self._renew(), name=f"refresh of {self._name}")
            self._task.add_done_callback(self._ended)
        return self._task

    async def _renew(self) -> T:
        forgotten = self._forgotten
        value = await self._refresh()
        if forgotten != self._forgotten:
            return value
        self._last = (value, self._clock())
        await self._guard.attempt(lambda: self._cache.set(self._name, value, ttl=self._ttl_seconds), False)
        return value

    def _ended(self, task: asyncio.Task[T]) -> None:
        if self._task is task:
            self._task = None
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self.failures += 1
            self._again_at = self._clock() + AGAIN_SECONDS
            log.warning(
                "refresh_failed", value=self._name, error=f"{type(failure).__name__} {failure}".rstrip()
            )

    def _outcome(self, task: asyncio.Task[T], last: tuple[T, ...] | None) -> T:
        failure: BaseException | None = None
        if task.done():
            failure = UpstreamBroken("the refresh was cancelled") if task.cancelled() else task.exception()
            if failure is None:
                return task.result()
        if last is not None:
            return last[0]
        assert failure is not None  # without a last good value there is no limit to the waiting
        raise twin(failure)
