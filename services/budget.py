"""How many further attempts there may be: a share of the live traffic; an outage is not made worse."""

from __future__ import annotations

import time
from collections.abc import Callable

_WINDOW_SECONDS = 10


class RetryBudget:
    """Further attempts in the last ten seconds: `share` of the requests then, and `floor` a second besides.

    Counted when they are decided on, not when they are made: those that pause count as well.
    """

    def __init__(self, *, share: float, floor: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._floor = floor * _WINDOW_SECONDS
        self._clock = clock
        self._requests = [0] * _WINDOW_SECONDS
        self._retries = [0] * _WINDOW_SECONDS
        self._second = int(clock())

    def count(self) -> None:
        """Count a request that comes in."""
        second = int(self._clock())
        if second != self._second:
            self._move_on(second)
        self._requests[second % _WINDOW_SECONDS] += 1

    def spend(self) -> bool:
        """Count a further attempt, if there may be one."""
        second = int(self._clock())
        if second != self._second:
            self._move_on(second)
        if sum(self._retries) + 1 > self._floor + self._share * sum(self._requests):
            return False
        self._retries[second % _WINDOW_SECONDS] += 1
        return True

    def _move_on(self, second: int) -> None:
        """Forget all that is older than the window."""
        for passed in range(self._second + 1, min(second, self._second + _WINDOW_SECONDS) + 1):
            self._requests[passed % _WINDOW_SECONDS] = self._retries[passed % _WINDOW_SECONDS] = 0
        self._second = second
