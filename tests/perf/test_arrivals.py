"""Arrival schedules."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import time

import pytest

from perf.arrivals import Alarm, constant, poisson


def test_constant_arrivals_do_not_drift() -> None:
    """The n-th is due at n/rate exactly, however many there were."""
    assert next(itertools.islice(constant(7), 3_000_000, None)) == 3_000_000 / 7


def test_poisson_arrivals_keep_the_rate_on_average() -> None:
    """Ten thousand arrivals at 50 a second take about 200 s."""
    assert pytest.approx(next(itertools.islice(poisson(50), 9_999, None)), rel=0.03) == 200


def test_poisson_gaps_vary_as_much_as_their_mean() -> None:
    """That is what distinguishes them from constant ones."""
    due = list(itertools.islice(poisson(10, seed=3), 20_000))
    gaps = [b - a for a, b in itertools.pairwise(due)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5

    assert pytest.approx(deviation / mean, rel=0.05) == 1


def test_the_same_seed_gives_the_same_arrivals() -> None:
    """A run can be repeated."""
    assert list(itertools.islice(poisson(5, seed=9), 50)) == list(itertools.islice(poisson(5, seed=9), 50))


@pytest.mark.e2e
async def test_the_alarm_never_rings_early() -> None:
    """A request sent before it is due would be measured too fast."""
    rang = asyncio.Event()
    alarm = Alarm(rang.set)
    due = time.perf_counter() + 0.003
    alarm.set(due)
    async with asyncio.timeout(2):
        await rang.wait()
    alarm.close()

    assert due <= time.perf_counter() + 20e-6


@pytest.mark.e2e
async def test_without_timerfd_a_later_setting_replaces_the_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with it."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    rang: list[float] = []
    alarm = Alarm(lambda: rang.append(time.perf_counter()))
    now = time.perf_counter()
    alarm.set(now + 0.005)
    alarm.set(now + 0.03)
    await asyncio.sleep(0.08)
    alarm.close()

    assert [at >= now + 0.029 for at in rang] == [True]
