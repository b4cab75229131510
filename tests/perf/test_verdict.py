"""Targets and verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from perf.verdict import TARGETS, grade, judge


def measured(
    mean: float, *, p95: float = 1, p99: float = 1, rate: float = 1e6, errors: float = 0
) -> dict[str, Any]:
    """A meter's report with these figures."""
    latency = {"count": 10, "mean": mean, "p95": p95, "p99": p99}
    return {"latency_ms": latency, "per_second": {"requests": rate}, "error_rate": errors}


@pytest.mark.parametrize(
    ("mean", "expected"),
    [(1_999, "excellent"), (2_000, "good"), (4_999, "good"), (5_000, "acceptable"), (10_000, "too slow")],
)
def test_the_mean_of_a_chat_is_graded(mean: float, expected: str) -> None:
    """Below 2 s, 5 s and 10 s."""
    assert grade(mean, TARGETS["chat"]) == expected


@pytest.mark.parametrize(
    ("figures", "missed"),
    [
        (measured(10), []),
        (measured(50), ["mean"]),
        (measured(10, p95=100), ["p95"]),
        (measured(10, p99=200), ["p99"]),
        (measured(10, rate=99), ["requests/s"]),
        (measured(10, errors=0.02), ["error rate"]),
    ],
)
def test_each_figure_of_the_health_check_has_its_limit(figures: dict[str, Any], missed: list[str]) -> None:
    """50, 100 and 200 ms, 100 a second, 1 % errors."""
    verdict = judge("health", figures, concurrency=10)

    assert [check.name for check in verdict.checks if not check.met] == missed


def test_few_callers_need_not_make_the_rate_of_many() -> None:
    """One caller at the target's mean of 5 s sends 0.2 a second, and that is then enough."""
    assert judge("chat", measured(4_900, rate=0.21), concurrency=1).met


def test_no_answer_is_no_pass() -> None:
    """An empty measurement has no latency to be proud of."""
    verdict = judge("models", {"latency_ms": {"count": 0}}, concurrency=1)

    assert (verdict.met, verdict.grade) == (False, "no answer")
