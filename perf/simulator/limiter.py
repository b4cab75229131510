"""Requests per minute for each model of a tenant, all its deployments together (wire §7)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class MinuteLimiter:
    """A fixed window of 60 seconds; what is over the limit hears how long the window still lasts."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._window = -1
        self._used: dict[tuple[str, str], int] = {}

    def refuse_for(self, tenant: str, model: str) -> int | None:
        """Count a request: None if it may pass, else the seconds to wait."""
        now = self._clock()
        window = int(now // 60)
        if window != self._window:
            self._window = window
            self._used.clear()
        key = (tenant, model)
        used = self._used[key] = self._used.get(key, 0) + 1
        return None if used <= self._limit else max(1, math.ceil((window + 1) * 60 - now))
