"""Requests per minute of each caller, over all workers.

Two one-minute buckets give a sliding window: what the running minute has seen, and the share of the
previous one that still counts. On one machine the buckets are rows of the shared board; with several
machines they are in Redis, and the board takes over while Redis fails.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from services.errors import RateLimited
from services.stores import Clock, Guard

if TYPE_CHECKING:
    from redis.asyncio import Redis

WINDOW_SECONDS = 60
NAMESPACE = "aicore-gateway:rpm"

_COUNT_BITS = 32
_COUNT_MASK = (1 << _COUNT_BITS) - 1
_MOMENT_SECONDS = 0.001


class Row(Protocol):
    """One name on the board: a 64-bit cell for each worker, each written by its worker alone."""

    def put(self, value: int, /) -> None:
        """Replace this worker's cell, which is 0 when the worker starts."""

    def shares(self) -> Sequence[int]:
        """Return the cells of all workers."""


class Board(Protocol):
    """Counters that the workers of one machine share."""

    def row(self, name: str, /) -> Row:
        """Return the row of this name, the same in every worker."""


class Caller(Protocol):
    """Who is limited."""

    @property
    def id(self) -> bytes:
        """What tells callers apart."""

    @property
    def requests_per_minute(self) -> int | None:
        """The caller's own limit, instead of the general one."""


class RateLimiter:
    """Admits requests, or says when to come back.

    `requests_per_minute` is the limit of a caller that has none of its own; None is no limit. `redis` makes
    the limits hold across machines.
    """

    def __init__(
        self,
        board: Board,
        *,
        requests_per_minute: int | None = None,
        redis: Redis | None = None,
        guard: Guard | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.guard = guard or Guard("request limits")
        self.limited = 0
        """Requests refused since the start."""
        self.fallbacks = 0
        """Requests decided by this machine alone because Redis failed, since the start."""
        self._board = board
        self._general = requests_per_minute
        self._redis = redis
        self._clock = clock
        self._callers: dict[bytes, _Buckets] = {}

    async def admit(self, caller: Caller) -> None:
        """Count a request of this caller. Raises RateLimited when it is too much; then it does not count."""
        limit = self._general if caller.requests_per_minute is None else caller.requests_per_minute
        if limit is None:
            return
        minute, elapsed = divmod(self._clock(), WINDOW_SECONDS)
        here = self._callers.get(caller.id) or self._know(caller.id)
        if self._redis is None:
            self._decide(here, int(minute), elapsed, limit)
        else:
            await self._decide_together(self._redis, here, int(minute), elapsed, limit)

    def _know(self, caller: bytes) -> _Buckets:
        buckets = self._callers[caller] = _Buckets(self._board, caller)
        return buckets

    def _decide(self, here: _Buckets, minute: int, elapsed: float, limit: int) -> None:
        # Counted before it is judged: two workers that do this at once may both refuse, never both exceed.
        here.add(minute, 1)
        previous, current = here.seen(minute - 1), here.seen(minute) - 1
        if not _admitted(previous, current, limit, elapsed):
            here.add(minute, -1)
            self._refuse(previous, current, limit, elapsed)

    async def _decide_together(
        self, redis: Redis, here: _Buckets, minute: int, elapsed: float, limit: int
    ) -> None:
        counts = await self.guard.attempt(lambda: _count(redis, here.name, minute), None)
        if counts is None:
            self.fallbacks += 1
            self._decide(here, minute, elapsed, limit)
            return
        previous, current = counts
        if not _admitted(previous, current, limit, elapsed):
            await self.guard.attempt(lambda: _take_back(redis, here.name, minute), None)
            self._refuse(previous, current, limit, elapsed)
        # The board keeps count as well, so that it does not begin at zero when Redis fails.
        here.add(minute, 1)

    def _refuse(self, previous: int, current: int, limit: int, elapsed: float) -> None:
        self.limited += 1
        wait = _seconds_until_admitted(previous, current, limit, elapsed)
        text = f"Rate limit reached: {limit} requests per minute for this key."
        raise RateLimited(f"{text} Try again in {math.ceil(wait)} seconds.", retry_after=wait)


class _Buckets:
    """A caller's two rows on the board, for even and odd minutes.

    A cell holds its minute above its count, so that what an idle worker left there long ago is told from
    what counts now, and nobody has to clear another's cell.
    """

    __slots__ = ("_mine", "_rows", "name")

    def __init__(self, board: Board, caller: bytes) -> None:
        # The id is derived from a key: what stands in Redis and on the board is derived once more.
        self.name = hashlib.sha256(caller).hexdigest()[:32]
        self._rows = (board.row(f"rpm:0:{self.name}"), board.row(f"rpm:1:{self.name}"))
        self._mine = [0, 0]

    def add(self, minute: int, delta: int) -> None:
        mine = self._mine[minute % 2]
        if mine >> _COUNT_BITS != minute:
            mine = minute << _COUNT_BITS
        self._mine[minute % 2] = mine + delta
        self._rows[minute % 2].put(mine + delta)

    def seen(self, minute: int) -> int:
        shares = self._rows[minute % 2].shares()
        return sum(share & _COUNT_MASK for share in shares if share >> _COUNT_BITS == minute)


def _admitted(previous: int, current: int, limit: int, elapsed: float) -> bool:
    return previous * (1 - elapsed / WINDOW_SECONDS) + current < limit


def _seconds_until_admitted(previous: int, current: int, limit: int, elapsed: float) -> float:
    """Return when `_admitted` turns true if nothing else comes; the answer may lie in the next minute."""
    if current < limit:
        share = (limit - current) / previous
        return WINDOW_SECONDS * (1 - share) - elapsed + _MOMENT_SECONDS
    share = limit / max(current, 1)
    return WINDOW_SECONDS - elapsed + WINDOW_SECONDS * (1 - share) + _MOMENT_SECONDS


async def _count(redis: Redis, name: str, minute: int) -> tuple[int, int]:
    """Count one more request; return the previous minute's requests, and this minute's before this one."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.incr(_key(name, minute))
        pipe.expire(_key(name, minute), 2 * WINDOW_SECONDS + 1)
        pipe.get(_key(name, minute - 1))
        counted, _, before = await pipe.execute()
    return int(before or 0), int(counted) - 1


async def _take_back(redis: Redis, name: str, minute: int) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        pipe.decr(_key(name, minute))
        pipe.expire(_key(name, minute), 2 * WINDOW_SECONDS + 1)
        await pipe.execute()


def _key(name: str, minute: int) -> str:
    return f"{NAMESPACE}:{name}:{minute}"
