"""Asks at a steady rate, whatever happens to the answers, and hands each of them to the tally."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from perf.arrivals import poisson
from perf.chaos.questions import Asking, questions
from perf.chaos.verdicts import Tally
from perf.engine import Engine, Exchange
from perf.workload import Target

BOUND_SECONDS = 60.0
"""A request that has not ended by then hangs; all limits of the gateway together are shorter."""
CONNECTIONS = 2000
LEAVERS = 0.08
"""Share of callers that leave early."""
PATIENCE_SECONDS = (0.05, 0.25, 1.0)
"""When they leave: before the first byte, early in a stream, late in one."""
TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked, for how long; all of it from one seed."""

    seconds: float
    rate: float
    seed: int


async def ask(
    target: Target, key: str, plan: Plan, tally: Tally, *, tick: Callable[[float], None] | None = None
) -> None:
    """Ask for `plan.seconds`, then wait until every request has ended or hangs."""
    asyncio.get_running_loop().set_exception_handler(_silence)
    chance = random.Random(plan.seed)
    asked = questions(target, key, chance)
    async with contextlib.AsyncExitStack() as opened:

        async def engine(timeout: float, finish: Callable[[Exchange], None]) -> Engine:
            made = Engine(target, connections=CONNECTIONS, timeout=timeout, on_finish=finish)
            return await opened.enter_async_context(made)

        patient = await engine(BOUND_SECONDS, lambda exchange: _take(tally, exchange, leaver=False))
        leaving = [
            await engine(seconds, lambda exchange: _take(tally, exchange, leaver=True))
            for seconds in PATIENCE_SECONDS
        ]
        ticking = asyncio.ensure_future(_tick(tick)) if tick is not None else None
        began = time.perf_counter()
        for due in poisson(plan.rate, seed=plan.seed):
            if due > plan.seconds:
                break
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            chosen = chance.choice(leaving) if chance.random() < LEAVERS else patient
            chosen.submit(Asking(next(asked), time.perf_counter()))
        await _ended([patient, *leaving])
        if ticking is not None:
            ticking.cancel()


async def _ended(engines: list[Engine]) -> None:
    until = time.perf_counter() + BOUND_SECONDS + 5
    while any(engine.pending for engine in engines) and time.perf_counter() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # the engines tell of each exchange, not of the last one
    for engine in engines:
        engine.give_up()


async def _tick(tick: Callable[[float], None]) -> None:
    began = time.perf_counter()
    while True:
        await asyncio.sleep(TICK_SECONDS)
        tick(time.perf_counter() - began)


def _silence(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """uvloop complains of TLS connections that a leaver of ours has aborted."""
    if "SSL protocol" not in context["message"]:
        loop.default_exception_handler(context)


def _take(tally: Tally, exchange: Exchange, *, leaver: bool) -> None:
    assert isinstance(exchange, Asking)
    tally.take(exchange, leaver=leaver)
