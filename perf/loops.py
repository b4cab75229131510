"""Who submits when: a closed loop of callers, or arrivals that do not wait for answers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from perf.arrivals import Alarm
from perf.engine import Engine, Exchange, Sendable
from perf.meter import Meter
from perf.workload import Target

BACK_OFF_SECONDS = 0.05
TICK_SECONDS = 0.5
_now = time.perf_counter

Edge = Callable[[str, Engine], None]
"""Called with `start` and `end` of the window, in that instant."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a run lasts. Seconds; so many `requests` after the warm-up end it earlier.

    `drain` is for answers still under way at the end of the duration.
    """

    duration: float
    warmup: float = 0.0
    requests: int | None = None
    drain: float = 0.0
    timeout: float = 60.0


class Run:
    """One measured run: warm-up, window, drain."""

    def __init__(
        self,
        target: Target,
        work: Sendable,
        plan: Plan,
        meter: Meter,
        *,
        edge: Edge | None = None,
        tick: Callable[[Meter], None] | None = None,
    ) -> None:
        self._target = target
        self._work = work
        self._plan = plan
        self._meter = meter
        self._edge = edge
        self._tick = tick
        self._submitted = 0
        self._limit: int | None = None
        self.generator_share = 0.0
        """CPU of this process during the window, as a share of a core."""
        self._stopping = False
        self.interrupted = False
        self._over = asyncio.Event()

    async def closed(self, concurrency: int) -> None:
        """`concurrency` callers, each sending when its last answer is complete."""
        async with self._engine(concurrency, self._again) as engine:
            self._start(engine)
            for _ in range(concurrency):
                self._submit()
            await self._phases(engine)

    async def open(self, schedule: Iterator[float], *, connections: int) -> None:
        """Requests at the times of the schedule, whether or not earlier ones have been answered.

        Latencies count from the scheduled time: a stalled peer cannot hide how long callers would wait.
        """
        async with self._engine(connections, self._count) as engine:
            alarm = Alarm(lambda: self._arrivals(alarm))
            self._start(engine)
            self._schedule, self._due = schedule, next(schedule, None)
            try:
                self._arrivals(alarm)
                await self._phases(engine)
            finally:
                alarm.close()

    def interrupt(self) -> None:
        """End the run now; what was measured until then is kept."""
        self.interrupted = self._stopping = True
        self._over.set()

    def _engine(self, connections: int, on_finish: Callable[[Exchange], None]) -> Engine:
        return Engine(self._target, connections=connections, timeout=self._plan.timeout, on_finish=on_finish)

    def _start(self, engine: Engine) -> None:
        self._current, self._began = engine, _now()
        if not self._plan.warmup:
            self._limit = self._plan.requests

    def _exhausted(self) -> bool:
        return self._stopping or (self._limit is not None and self._submitted >= self._limit)

    def _submit(self) -> None:
        if not self._exhausted():
            self._submitted += 1
            self._current.submit(Exchange(self._work, _now()))
        elif not self._current.pending:
            self._over.set()

    def _again(self, exchange: Exchange) -> None:
        self._meter.record(exchange)
        if exchange.failure in {"connect", "reset"}:  # a dead peer must not make the generator spin
            asyncio.get_running_loop().call_later(BACK_OFF_SECONDS, self._submit)
        else:
            self._submit()

    def _count(self, exchange: Exchange) -> None:
        self._meter.record(exchange)
        if self._exhausted() and not self._current.pending:
            self._over.set()

    def _arrivals(self, alarm: Alarm) -> None:
        now = _now()
        while self._due is not None and self._began + self._due <= now:
            if self._exhausted():
                return
            self._submitted += 1
            self._current.submit(Exchange(self._work, self._began + self._due))
            self._due = next(self._schedule, None)
        if self._due is not None:
            alarm.set(self._began + self._due)

    async def _phases(self, engine: Engine) -> None:
        plan = self._plan
        if plan.warmup:
            await self._wait(plan.warmup)
            self._submitted, self._limit = 0, plan.requests
        self._meter.open_window(_now() if plan.warmup else self._began)
        self._at("start", engine)
        cpu, since = time.process_time(), _now()
        await self._wait(plan.duration)
        self.generator_share = (time.process_time() - cpu) / max(_now() - since, 1e-9)
        self._at("end", engine)
        self._meter.close_window(_now())
        self._stopping = True
        if engine.pending and not self.interrupted:
            self._over.clear()
            await self._wait(plan.drain)
        engine.give_up()

    def _at(self, name: str, engine: Engine) -> None:
        if self._edge is not None:
            self._edge(name, engine)

    async def _wait(self, seconds: float) -> None:
        until = _now() + seconds
        while (left := until - _now()) > 0 and not self._over.is_set():
            try:
                async with asyncio.timeout(min(left, TICK_SECONDS)):
                    await self._over.wait()
            except TimeoutError:
                if self._tick is not None:
                    self._tick(self._meter)


def on_interrupt(call: Callable[[], None]) -> None:
    """Let Ctrl-C call this; where the loop cannot catch signals (another thread, say) it stays as it was."""
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, call)
