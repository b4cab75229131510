"""Whether a size that is sampled over time grows.

Memory is the sum of its changes, so it is taken for a random walk with a drift: not the sizes but the
changes between blocks of samples are told apart from chance. The drift is the whole change by the whole time,
its 95 % interval Student's, from the scatter of those changes. The size grows if the whole interval lies
above the bound, is flat if the whole interval lies below, and else the run was too short to tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

BOUND = 17.0
"""KiB a minute: 1 MiB an hour."""
BLOCKS = 20

Sample = tuple[float, int, int]
"""Seconds since the start, RSS in bytes, open files."""

# Student's t for 97.5 %, by degrees of freedom; beyond them the normal value is near enough.
_STUDENT = (
    12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11,
    2.10,
)  # fmt: skip
_NORMAL = 1.96


@dataclass(frozen=True, slots=True)
class Slope:
    """How memory changes, in KiB a minute, with the ends of its 95 % interval."""

    slope: float
    low: float
    high: float

    def verdict(self, bound: float = BOUND) -> str:
        """`grows`, `flat`, or `cannot tell`."""
        return "grows" if self.low > bound else "flat" if self.high < bound else "cannot tell"


def blocks(samples: Sequence[Sample], count: int = BLOCKS) -> list[tuple[float, float]]:
    """Minutes and KiB, averaged over `count` equal spans of time; spans without a sample are left out."""
    first, last = samples[0][0], samples[-1][0]
    found = []
    for number in range(count):
        low, high = (first + (last - first) * part / count for part in (number, number + 1))
        inside = [one for one in samples if low <= one[0] < high or (one[0] == high == last)]
        if inside:
            found.append((fmean(at for at, *_ in inside) / 60, fmean(rss for _, rss, _ in inside) / 1024))
    return found


def fit(points: Sequence[tuple[float, float]]) -> Slope:
    """The drift of the walk through the points. Raises ValueError for fewer than four."""
    if len(points) < 4:
        raise ValueError("too few samples for a slope: let it run longer")
    steps = [(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in pairwise(points)]
    span = sum(minutes for minutes, _ in steps)
    slope = sum(change for _, change in steps) / span
    freedom = len(steps) - 1
    scatter = sum((change - slope * minutes) ** 2 / minutes for minutes, change in steps) / freedom
    reach = math.sqrt(scatter / span) * (_STUDENT[freedom - 1] if freedom <= len(_STUDENT) else _NORMAL)
    return Slope(slope, slope - reach, slope + reach)
