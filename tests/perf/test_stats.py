"""Histograms and percentiles."""

from __future__ import annotations

import math
import random

import pytest

from perf.stats import Histogram, median, spread


def filled(values: list[float]) -> Histogram:
    """A histogram of these seconds."""
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@pytest.mark.parametrize("percent", [0, 1, 50, 90, 95, 99, 99.9, 100])
def test_percentiles_are_within_a_thousandth_of_the_exact_ones(percent: float) -> None:
    """The nearest rank of the sorted values, to 0.1 %."""
    draw = random.Random(7)
    values = [draw.lognormvariate(-6, 2) for _ in range(20_000)]
    exact = sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]

    assert exact == pytest.approx(filled(values).percentile(percent), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("seconds", [0.0, 1e-7, 2047e-7, 2048e-7, 4095e-7, 4096e-7, 0.5, 61.7, 86_400.0])
def test_a_single_value_is_its_own_percentile(seconds: float) -> None:
    """Also on both sides of every change of bucket width."""
    assert seconds == pytest.approx(filled([seconds]).percentile(50), rel=1e-9)


def test_memory_is_bounded_whatever_is_recorded() -> None:
    """A hundred thousand different values over eleven decades take few buckets."""
    draw = random.Random(1)

    assert len(filled([10 ** draw.uniform(-7, 6) for _ in range(100_000)]).counts) < 32_000


def test_negative_and_endless_durations_are_counted_at_the_ends() -> None:
    """A clock that steps back, or a value beyond a week, neither fails nor grows the table."""
    histogram = filled([-1.0, 1e12])

    assert (histogram.count, histogram.percentile(1)) == (2, 0.0)


def test_an_empty_histogram_says_only_that_it_is_empty() -> None:
    """No made-up zeros."""
    assert Histogram().summary() == {"count": 0}


def test_the_distribution_counts_every_value_in_a_bin_that_holds_it() -> None:
    """Twenty bins a decade, in milliseconds."""
    ((lower, upper, count),) = filled([0.0123, 0.0123]).distribution()

    assert (lower <= 12.3 < upper, count) == (True, 2)


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    """And the spread is relative to it."""
    assert (median([4, 1, 3, 2]), spread([4, 1, 3, 2])) == (2.5, 1.2)
