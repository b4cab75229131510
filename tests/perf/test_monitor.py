"""The resource monitor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from perf.monitor import (
    MAX_SAMPLES,
    Container,
    Gone,
    ProcessTree,
    Reading,
    Sampler,
    parse_size,
    parse_stats,
)  # fmt: skip


class Scripted:
    """A source that tells what it is told, then is gone."""

    name = "scripted"

    def __init__(self, readings: Iterator[Reading]) -> None:
        self._readings = readings

    def read(self) -> Reading:
        """The next reading."""
        reading = next(self._readings, None)
        if reading is None:
            raise Gone("scripted has ended")
        return reading


class Clock:
    """Two seconds later at every look."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        self.now += 2
        return self.now


def test_cpu_is_the_difference_between_two_looks() -> None:
    """Half a second of CPU in two is 25 %."""
    sampler = Sampler(Scripted(iter([Reading(cpu_seconds=1.0), Reading(cpu_seconds=1.5)])), clock=Clock())
    sampler.sample()

    assert sampler.sample()["cpu_percent"] == 25.0


def test_a_worker_that_ends_takes_no_cpu_back() -> None:
    """Its seconds leave the sum, which must not become negative."""
    sampler = Sampler(Scripted(iter([Reading(cpu_seconds=9.0), Reading(cpu_seconds=1.0)])), clock=Clock())
    sampler.sample()

    assert sampler.sample()["cpu_percent"] == 0.0


def test_a_worker_that_was_replaced_makes_no_sum_negative() -> None:
    """What was used before and after counts."""
    readings = (Reading(cpu_seconds=seconds) for seconds in (9.0, 10.0, 1.0, 1.5))
    sampler = Sampler(Scripted(readings), clock=Clock())
    for _ in range(4):
        sampler.sample()

    assert sampler.summary()["cpu_seconds"] == 1.5


def test_the_summary_has_mean_largest_and_last() -> None:
    """Of what the source tells."""
    sampler = Sampler(Scripted(Reading(rss=size) for size in (10, 30, 20)), clock=Clock())
    for _ in range(3):
        sampler.sample()

    assert sampler.summary() == {"samples": 3, "rss": {"mean": 20, "max": 30, "last": 20}}


def test_samples_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long watch keeps every second one and looks half as often."""
    monkeypatch.setattr("perf.monitor.MAX_SAMPLES", 10)
    sampler = Sampler(Scripted(Reading(rss=1) for _ in range(12)), interval=1.0, clock=Clock())
    for _ in range(12):
        sampler.sample()

    assert (len(sampler.samples) < 10 < MAX_SAMPLES, sampler.interval > 1.0) == (True, True)


@pytest.mark.e2e
def test_a_source_that_ends_stops_the_thread_and_says_why() -> None:
    """The samples until then are kept."""
    with Sampler(Scripted(iter([Reading(rss=1)])), interval=0.001) as sampler:
        sampler._thread.join(2)

    assert (len(sampler.samples), sampler.ended) == (1, "scripted has ended")


def test_our_own_process_can_be_read() -> None:
    """Memory, threads and files of a real process tree."""
    reading = ProcessTree(os.getpid()).read()

    assert all(
        value and value > 0 for value in (reading.rss, reading.threads, reading.fds, reading.cpu_seconds)
    )


@pytest.mark.e2e
def test_children_count() -> None:
    """A tree is more than its root."""
    child = subprocess.Popen(["sleep", "5"])
    try:
        assert child.pid in [process.pid for process in ProcessTree(os.getpid()).members()]
    finally:
        child.kill()
        child.wait()


@pytest.mark.e2e
def test_the_time_of_a_child_that_has_ended_is_kept() -> None:
    """While it waits to be collected, and afterwards: a worker that is replaced did work."""
    tree = ProcessTree(os.getpid())
    before = tree.read().cpu_seconds or 0
    child = subprocess.Popen([sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    ended = tree.read().cpu_seconds or 0
    child.wait()
    collected = tree.read().cpu_seconds or 0

    assert before + 0.15 < ended <= collected


def test_what_another_user_hides_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its open files may not be counted; CPU and memory may be read."""

    def denied(_: psutil.Process) -> int:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "num_fds", denied)
    reading = ProcessTree(os.getpid()).read()

    assert (reading.fds, bool(reading.rss), bool(reading.cpu_seconds)) == (None, True, True)


def test_a_process_that_is_not_there_is_gone() -> None:
    """Pids end at four million."""
    with pytest.raises(Gone, match="no process"):
        ProcessTree(2**22 + 1)


def test_docker_stats_are_read() -> None:
    """CPU, memory and processes of a container."""
    row = {"CPUPerc": "12.50%", "MemUsage": "61.5MiB / 1.9GiB", "PIDs": "7"}

    assert parse_stats(json.dumps(row)) == Reading(cpu_percent=12.5, rss=int(61.5 * 2**20), threads=7)


@pytest.mark.parametrize(("text", "size"), [("0B", 0), ("1.5KiB", 1536), ("2MB", 2_000_000), ("1GiB", 2**30)])
def test_sizes_have_binary_and_decimal_units(text: str, size: int) -> None:
    """As docker writes them."""
    assert parse_size(text) == size


def test_a_container_that_is_not_there_is_gone() -> None:
    """With docker's own words."""

    def run(*_: Any, **__: Any) -> Any:
        raise subprocess.CalledProcessError(1, "docker", stderr="No such container: x")

    with pytest.raises(Gone, match="No such container"):
        Container("x", run=run).read()
