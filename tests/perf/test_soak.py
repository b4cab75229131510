"""Whether memory grows: the line, its interval, and what is said of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from perf.chaos.traffic import Plan
from perf.monitor import Reading, Sampler
from perf.slope import BOUND, Sample, Slope, blocks, fit
from perf.soak import draw, grown, phases, told, watched

MINUTES = 30


class Steady:
    """A worker that never changes."""

    name = "pid 11"

    def read(self) -> Reading:
        return Reading(rss=80, fds=9)


def samples(kib_per_minute: float, *, noise: float = 0.0, steps: float = 0.0) -> list[Sample]:
    """Half an hour, every two seconds: a line, with noise and with steps that come at random (KiB)."""
    chance = random.Random(5)
    found, level = [], 80_000.0
    for second in range(0, MINUTES * 60, 2):
        level += steps * chance.choice((-1, 1)) if chance.random() < 0.01 else 0
        size = level + kib_per_minute * second / 60 + chance.gauss(0, noise)
        found.append((float(second), int(size * 1024), 50))
    return found


def test_a_line_is_found() -> None:
    """The slope of a straight line is that line's, and the interval has no width."""
    slope = fit([(float(x), 100 + 3.0 * x) for x in range(10)])

    assert 3.0 == pytest.approx(slope.slope)
    assert 0.0 == pytest.approx(slope.high - slope.low)


@pytest.mark.parametrize("noise", [0.0, 200.0])
@pytest.mark.parametrize("leak", [60.0, 500.0])
def test_a_leak_is_seen_through_noise(leak: float, noise: float) -> None:
    """Four MiB an hour and more are beyond doubt in half an hour."""
    slope = fit(blocks(samples(leak, noise=noise)))

    assert "grows" == slope.verdict()
    assert slope.low <= leak * 1.001
    assert slope.high >= leak * 0.999


def test_a_leak_is_seen_through_steps() -> None:
    """An allocator takes and gives pieces; a leak of 30 MiB an hour shows all the same."""
    assert "grows" == fit(blocks(samples(500.0, noise=50, steps=256))).verdict()


@pytest.mark.parametrize(("noise", "steps"), [(0.0, 0.0), (100.0, 0.0)])
def test_flat_is_flat(noise: float, steps: float) -> None:
    """Noise alone is not taken for growth, nor does it hide that there is none."""
    assert "flat" == fit(blocks(samples(0.0, noise=noise, steps=steps))).verdict()


def test_steps_alone_are_no_growth() -> None:
    """A walk up and down ends somewhere else; the interval knows that it might have ended elsewhere."""
    assert "grows" != fit(blocks(samples(0.0, steps=256))).verdict()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(BOUND + 1, BOUND + 9, "grows"), (-5, BOUND - 1, "flat"), (BOUND - 1, BOUND + 1, "cannot tell")],
)
def test_the_whole_interval_decides(low: float, high: float, verdict: str) -> None:
    """Above the bound, below it, or around it."""
    assert verdict == Slope((low + high) / 2, low, high).verdict()


def test_growth_in_bursts_is_seen() -> None:
    """Most blocks stand still, some grow: the whole does not stand still."""
    sizes = [0, 0, 0, 90, 0, 0, 120, 300, 120, 200, 50, 0, 0, 0, 0, 60, 80, 0, 150, 90]
    levels = [sum(sizes[:end]) for end in range(1, len(sizes) + 1)]

    assert "grows" == fit([(float(minute), float(level)) for minute, level in enumerate(levels)]).verdict()


def test_blocks_average_equal_spans() -> None:
    """A span without samples is left out."""
    found = blocks([(0.0, 1024, 1), (1.0, 3072, 1), (9.0, 5120, 1), (10.0, 7168, 1)], count=5)

    assert [(0.5 / 60, 2.0), (9.5 / 60, 6.0)] == found


def test_too_few_samples_are_refused() -> None:
    """No slope is better than one of three points."""
    with pytest.raises(ValueError, match="too few"):
        fit([(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)])


def test_the_warm_up_does_not_count() -> None:
    """A worker that fills its pools in the first quarter and then stays is flat."""
    filling = [(at, min(rss, 80_000 * 1024 + 50_000 * 1024), files) for at, rss, files in samples(20_000.0)]
    worker = grown(filling, MINUTES * 60)

    assert "flat" == worker["verdict"]
    assert [50, 50] == worker["files"]


def test_the_warm_up_is_a_quarter_at_a_higher_rate() -> None:
    """And both together last as long as was asked for."""
    warm, rest = phases(Plan(1800, 60, 1))

    assert (450, 90, 1350, 60) == (warm.seconds, warm.rate, rest.seconds, rest.rate)
    assert warm.seed != rest.seed


def test_a_worker_is_watched_to_the_end() -> None:
    """Its samples are time, memory and open files."""
    sampler = Sampler(Steady())
    sampler.sample()

    assert [(0.0, 80, 9)] == [(round(at), *sizes) for at, *sizes in watched(sampler)]


def test_a_worker_that_ended_is_told() -> None:
    """Its memory cannot have been flat to the end, however well the samples until then fit."""
    sampler = Sampler(Steady())
    sampler.sample()
    sampler.ended = "pid 11 has ended"

    with pytest.raises(ValueError, match="pid 11 has ended during the run"):
        watched(sampler)


def test_the_result_is_told_and_drawn(tmp_path: Path) -> None:
    """A row a worker in the README, and a picture."""
    content = {
        "started_at": "2026-01-02T03:04:05+00:00",
        "options": {"seconds": 1800.0, "rate": 60.0, "seed": 1},
        "requests": 108000,
        "verdicts": {"left by the caller": 8000},
        "bound": BOUND,
        "workers": {"11": grown(samples(500.0), 1800), "12": grown(samples(0.0), 1800)},
        "samples": {"11": samples(500.0), "12": samples(0.0)},
    }
    text = told(content)
    draw(tmp_path / "soak.png", content)

    assert (
        "30 minutes at 60 requests/s after a quarter at 90, 108000 requests, 8000 of them left early" in text
    )
    assert "+500.0 (+500.0 to +500.0) | 50 → 50 | grows |" in text
    assert "| 50 → 50 | flat |" in text
    assert 5000 < (tmp_path / "soak.png").stat().st_size
