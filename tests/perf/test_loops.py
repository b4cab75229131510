"""Closed and open loops, and the meter they fill."""

from __future__ import annotations

import asyncio
import time

import pytest

from perf.engine import Exchange
from perf.load import Shape, measure
from perf.loops import Plan, Run
from perf.meter import MAX_BUCKETS, Meter
from perf.options import Ask
from perf.workload import Target
from tests.perf.stub import stub_server


def finished(intended: float, ended: float, *, failure: str | None = None, status: int = 200) -> Exchange:
    """An exchange of which only the times and the outcome matter."""
    exchange = Exchange(Ask("health").workload(Target("http://h"), None), intended)
    exchange.sent, exchange.ended, exchange.status, exchange.failure = intended, ended, status, failure
    return exchange


@pytest.mark.e2e
async def test_a_closed_loop_sends_exactly_the_requests_asked_for() -> None:
    """And every one is answered."""
    async with stub_server() as stub:
        work = Ask().workload(Target(stub.url), None)
        report = await measure(Target(stub.url), work, Shape(4), Plan(5, requests=50, drain=1))

    assert (report["ok"], report["failed"], report["unfinished"], len(stub.seen)) == (50, 0, 0, 50)


@pytest.mark.e2e
async def test_the_warm_up_uses_up_none_of_the_requests_asked_for() -> None:
    """Or nothing would be left to measure."""
    async with stub_server() as stub:
        work = Ask().workload(Target(stub.url), None)
        plan = Plan(5, warmup=0.05, requests=20, drain=1)
        report = await measure(Target(stub.url), work, Shape(4), plan)

    assert (report["ok"], len(stub.seen) > 20) == (20, True)


@pytest.mark.e2e
async def test_an_open_loop_keeps_its_rate() -> None:
    """200 a second for a third of a second are about 67, whatever the answers do."""
    async with stub_server() as stub:
        work = Ask().workload(Target(stub.url), None)
        shape = Shape(rate=200, arrivals="constant")
        report = await measure(Target(stub.url), work, shape, Plan(1 / 3, drain=1))

    assert 60 <= report["ok"] <= 68


@pytest.mark.e2e
async def test_a_silent_peer_is_not_hidden_by_the_waiting() -> None:
    """With one connection to a peer that never answers, every arrival ends as a timeout, none is left out."""
    async with stub_server() as stub:
        work = Ask(model="silent").workload(Target(stub.url), None)
        shape = Shape(rate=100, arrivals="constant", connections=1)
        plan = Plan(0.2, timeout=0.15, drain=1)
        report = await measure(Target(stub.url), work, shape, plan)

    assert report["errors"]["timeout"] >= 19


@pytest.mark.e2e
async def test_a_closed_loop_against_nothing_ends_and_says_so() -> None:
    """Connect errors, counted, without spinning."""
    work = Ask().workload(Target("http://127.0.0.1:1"), None)
    report = await measure(Target("http://127.0.0.1:1"), work, Shape(2), Plan(0.2))

    assert 0 < report["errors"]["connect"] < 20


@pytest.mark.e2e
async def test_an_interrupted_run_keeps_what_it_measured() -> None:
    """Ctrl-C after a moment of an hour's run."""
    async with stub_server() as stub:
        work, meter = Ask().workload(Target(stub.url), None), Meter()
        run = Run(Target(stub.url), work, Plan(3600, drain=60), meter)
        asyncio.get_running_loop().call_later(0.1, run.interrupt)
        async with asyncio.timeout(2):
            await run.closed(2)

    assert (meter.total.count > 0, meter.elapsed < 1) == (True, True)


def test_latency_counts_from_when_a_request_was_due() -> None:
    """A request that had to wait for its turn did wait."""
    meter, now = Meter(), time.perf_counter()
    meter.open_window(now)
    late = finished(now, now + 3)
    late.sent = now + 2
    meter.record(late)

    assert meter.report()["latency_ms"]["max"] == pytest.approx(3000)


def test_the_warm_up_does_not_count() -> None:
    """Neither its latencies nor its errors, nor its throughput, whether the window is open yet or not."""
    meter, now = Meter(), time.perf_counter()
    for _ in range(2):
        meter.record(finished(now - 1, now - 0.5))
        meter.record(finished(now - 1, now - 0.5, failure="timeout"))
        meter.open_window(now)

    assert (meter.finished, meter.ok_in_window, meter.report()["per_second"]["requests"]) == (0, 0, 0)


def test_errors_are_counted_by_kind() -> None:
    """A status by its number."""
    meter, now = Meter(), time.perf_counter()
    meter.open_window(now)
    for failure, status in (("status", 429), ("status", 429), ("timeout", 0), ("unfinished", 0)):
        meter.record(finished(now, now, failure=failure, status=status))

    assert (dict(meter.errors), meter.unfinished) == ({"status 429": 2, "timeout": 1}, 1)


def test_the_timeline_of_a_long_run_is_bounded() -> None:
    """Wider intervals, never more of them, and no answer lost."""
    meter, now = Meter(bucket_seconds=1), time.perf_counter()
    meter.open_window(now)
    for second in range(0, 10_000, 5):
        meter.record(finished(now + second, now + second))
    rows = meter.timeline()

    assert (len(rows) <= MAX_BUCKETS, sum(row["ok"] for row in rows)) == (True, 2000)


def test_a_silence_is_in_the_timeline() -> None:
    """Also one at the end: a line drawn past what is missing would hide that the target stood still."""
    meter, now = Meter(bucket_seconds=1), time.perf_counter() - 6
    meter.open_window(now)
    for second in (0.5, 3.5):
        meter.record(finished(now + second, now + second))
    meter.close_window(now + 5.5)

    assert [(row["at"], row["seconds"], row["ok"]) for row in meter.timeline()] == [
        (0, 1, 1), (1, 1, 0), (2, 1, 0), (3, 1, 1), (4, 1, 0), (5, 0.5, 0),
    ]  # fmt: skip


def test_a_long_silence_does_not_make_the_timeline_longer() -> None:
    """A day of nothing is as many rows as a day of traffic."""
    meter, now = Meter(bucket_seconds=1), time.perf_counter() - 90_000
    meter.open_window(now)
    meter.record(finished(now, now))
    meter.close_window(now + 86_400)

    assert len(meter.timeline()) <= MAX_BUCKETS
