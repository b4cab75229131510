"""Requests per minute."""

from __future__ import annotations

from perf.simulator.limiter import MinuteLimiter


def test_the_limit_is_per_model_and_ends_with_the_minute() -> None:
    """The second request in a minute is refused with the seconds that are left; another model is not."""
    now = 130.0
    limiter = MinuteLimiter(1, clock=lambda: now)

    assert [None, 50, None] == [limiter.refuse_for("a", m) for m in ("gpt-5", "gpt-5", "gpt-4.1")]
    now = 180.0
    assert limiter.refuse_for("a", "gpt-5") is None
