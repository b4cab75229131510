"""The lines in which requests wait until something is free: first come, first served, bounded in every way.

The front of a line looks again at what the workers share, a few dozen times a second: another worker's
request may be the one that ends. Everybody else sleeps until it is the front.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from services.errors import Busy

T = TypeVar("T")

LOOK_SECONDS = 0.02


class Lines:
    """A line for each name. `seconds` is the longest wait, `length` how many may wait in one line."""

    def __init__(
        self,
        *,
        seconds: float,
        length: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._length = length
        self._sleep = sleep
        self._clock = clock
        self._lines: dict[Hashable, deque[asyncio.Future[None]]] = {}

    def anybody(self, name: Hashable) -> bool:
        """Whether somebody waits: who comes now has to stand behind."""
        return name in self._lines

    @property
    def waiting(self) -> int:
        """How many requests wait now."""
        return sum(map(len, self._lines.values()))

    async def turn(self, name: Hashable, take: Callable[[], T], *, seconds: float = math.inf) -> T:
        """Return what `take` gives as soon as it does not raise Busy, in the order of arrival.

        `seconds` is how long this one may wait, if that is less than anybody may. Raises Busy when the line
        is full, when `take` will be busy for longer than that, or when the time is over, after a last try;
        and whatever else `take` raises.
        """
        line = self._lines.setdefault(name, deque())
        if len(line) >= self._length:
            raise Busy("too many requests are waiting already; try again", retry_after=self._seconds)
        place = asyncio.get_running_loop().create_future()
        line.append(place)
        try:
            seconds = min(seconds, self._seconds)
            end = self._clock() + seconds
            if line[0] is not place:
                await asyncio.wait({place}, timeout=max(0.0, seconds))
            return await self._at_the_front(take, end)
        finally:
            self._leave(name, line, place)

    async def _at_the_front(self, take: Callable[[], T], end: float) -> T:
        while True:
            try:
                return take()
            except Busy as busy:
                left = end - self._clock()
                if left <= (busy.retry_after or 0.0):
                    raise
                await self._sleep(min(LOOK_SECONDS, left))

    def _leave(self, name: Hashable, line: deque[asyncio.Future[None]], place: asyncio.Future[None]) -> None:
        line.remove(place)
        if not line:
            del self._lines[name]
        elif not line[0].done():
            line[0].set_result(None)
