"""When requests are due in an open loop, and a clock that wakes on time."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import struct
import time
from collections.abc import Callable, Iterator

_CLOCK_MONOTONIC = 1
_NONBLOCK = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_ITIMERSPEC = struct.Struct("qqqq")  # interval s, ns, first expiry s, ns


def constant(rate: float) -> Iterator[float]:
    """Seconds since the start at which requests are due: one every 1/rate seconds, without drift."""
    number = 0
    while True:
        yield number / rate
        number += 1


def poisson(rate: float, *, seed: int = 1) -> Iterator[float]:
    """Seconds since the start of independent arrivals with `rate` a second on average."""
    draw = random.Random(seed).expovariate
    due = 0.0
    while True:
        due += draw(rate)
        yield due


SCHEDULES: dict[str, Callable[[float], Iterator[float]]] = {"constant": constant, "poisson": poisson}


class Alarm:
    """Calls `ring` at a given time of `time.perf_counter`.

    Event loops round timers to a millisecond, which is more than a fast answer takes: where the kernel
    has timerfd (Linux) that is used, elsewhere the loop's own timer.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)
        create = getattr(self._libc, "timerfd_create", None)
        self._fd: int = create(_CLOCK_MONOTONIC, _NONBLOCK) if create is not None else -1
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._expired)

    def set(self, due: float) -> None:
        """Ring at `due`, or as soon as possible when that is past. Replaces an earlier setting."""
        delay = max(due - time.perf_counter(), 1e-6)
        if self._fd < 0:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_later(delay, self._ring)
            return
        seconds, fraction = divmod(delay, 1)
        value = _ITIMERSPEC.pack(0, 0, int(seconds), max(int(fraction * 1e9), 1))
        self._libc.timerfd_settime(self._fd, 0, value, None)

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # set again between the expiry and this call
            return
        self._ring()

    def close(self) -> None:
        """Ring no more."""
        if self._handle is not None:
            self._handle.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
