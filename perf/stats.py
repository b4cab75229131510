"""Durations counted in logarithmic buckets: exact enough for p99, bounded in memory, cheap to record.

A bucket is at most 1/1024 of its value wide, so a percentile is wrong by less than 0.1 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

UNIT = 1e-7
"""Seconds in the smallest bucket."""
_SUB = 1024
_BITS = 11
_LONGEST = int(7 * 86_400 / UNIT)
BINS_PER_DECADE = 20

Summary = dict[str, float]


def _bounds(index: int) -> tuple[int, int]:
    if index < 2 * _SUB:
        return index, index + 1
    shift = index // _SUB - 1
    lower = (index - shift * _SUB) << shift
    return lower, lower + (1 << shift)


class Histogram:
    """Durations in seconds. Negative ones count as zero, those beyond a week as a week."""

    __slots__ = ("count", "counts", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.minimum = math.inf
        self.maximum = 0.0

    def record(self, seconds: float) -> None:
        """Count one duration."""
        units = int(seconds / UNIT)
        if units < 0:
            units, seconds = 0, 0.0
        elif units > _LONGEST:
            units = _LONGEST
        shift = units.bit_length() - _BITS
        index = units if shift <= 0 else shift * _SUB + (units >> shift)
        counts = self.counts
        counts[index] = counts.get(index, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds < self.minimum:
            self.minimum = seconds
        if seconds > self.maximum:
            self.maximum = seconds

    @property
    def mean(self) -> float:
        """Arithmetic mean in seconds, exact; 0 when empty."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The nearest-rank percentile in seconds; 0 when empty."""
        if not self.count:
            return 0.0
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                break
        lower, upper = _bounds(index)
        return min(max((lower + upper - 1) / 2 * UNIT, self.minimum), self.maximum)

    def summary(self) -> Summary:
        """Count, and mean, min, p50, p90, p95, p99, p99.9 and max in milliseconds."""
        if not self.count:
            return {"count": 0}
        points = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}
        summary: Summary = {"count": self.count, "mean": self.mean * 1e3, "min": self.minimum * 1e3}
        summary |= {name: self.percentile(percent) * 1e3 for name, percent in points.items()}
        summary["max"] = self.maximum * 1e3
        return {name: round(value, 4) for name, value in summary.items()}

    def distribution(self) -> list[tuple[float, float, int]]:
        """Counts in twenty bins a decade, for plots: (lower ms, upper ms, count), empty ones left out."""
        bins: dict[int, int] = {}
        for index, count in self.counts.items():
            lower, _ = _bounds(index)
            bin_ = math.floor(math.log10(max(lower, 1) * UNIT * 1e3) * BINS_PER_DECADE + 1e-9)
            bins[bin_] = bins.get(bin_, 0) + count
        edge = 10 ** (1 / BINS_PER_DECADE)
        return [(round(edge**n, 6), round(edge ** (n + 1), 6), bins[n]) for n in sorted(bins)]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones; 0 when there is none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the median; 0 for fewer than two values."""
    middle = median(values)
    return (max(values) - min(values)) / middle if len(values) > 1 and middle else 0.0
