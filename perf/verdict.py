"""Targets for a gateway, as data, and the verdict on a measurement.

The figures are those of the load-test guide that this tool's users bring along, for our endpoints. A closed
loop of N callers cannot offer more than N divided by the mean, so its floor for requests per second never
exceeds what N callers offer when the mean just meets its target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GRADES = ("excellent", "good", "acceptable")


@dataclass(frozen=True, slots=True)
class Limits:
    """Most milliseconds, fewest requests per second, and the means of the three grades."""

    mean_ms: float
    p95_ms: float
    p99_ms: float
    requests_per_second: float
    grades_ms: tuple[float, float, float]
    error_rate: float = 0.01


TARGETS: Mapping[str, Limits] = {
    "chat": Limits(5_000, 10_000, 15_000, 5, (2_000, 5_000, 10_000)),
    "models": Limits(100, 250, 500, 50, (40, 100, 200)),
    "health": Limits(50, 100, 200, 100, (20, 50, 100)),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One figure against its limit."""

    name: str
    value: float
    limit: float
    met: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a target's measurement is worth."""

    target: str
    grade: str
    """excellent, good or acceptable by the mean; else `too slow`, or `no answer`."""
    checks: tuple[Check, ...]

    @property
    def met(self) -> bool:
        """Whether every figure keeps its limit."""
        return all(check.met for check in self.checks)


def grade(mean_ms: float, limits: Limits) -> str:
    """The first grade whose mean is not exceeded."""
    return next(
        (name for name, most in zip(GRADES, limits.grades_ms, strict=True) if mean_ms < most), "too slow"
    )


def judge(target: str, measured: Mapping[str, Any], *, concurrency: int) -> Verdict:
    """The verdict on a meter's report of a closed loop with `concurrency` callers."""
    limits = TARGETS[target]
    latency = measured["latency_ms"]
    if not latency["count"]:
        return Verdict(target, "no answer", (Check("answers", 0, 1, False),))
    floor = min(limits.requests_per_second, concurrency / (limits.mean_ms / 1e3))
    rate = measured["per_second"]["requests"]
    checks = [
        Check(name, latency[name], most, latency[name] < most)
        for name, most in (("mean", limits.mean_ms), ("p95", limits.p95_ms), ("p99", limits.p99_ms))
    ]
    checks.append(Check("requests/s", rate, floor, rate >= floor))
    errors = measured["error_rate"]
    checks.append(Check("error rate", errors, limits.error_rate, errors <= limits.error_rate))
    return Verdict(target, grade(latency["mean"], limits), tuple(checks))
