"""How many further attempts there may be, with a clock that only moves when told."""

from __future__ import annotations

import pytest

from services.budget import RetryBudget
from tests.services.fakes import FakeClock


def spent(budget: RetryBudget, count: int = 1000) -> int:
    """How many of so many further attempts are allowed."""
    return sum(budget.spend() for _ in range(count))


@pytest.mark.parametrize(("share", "floor", "requests", "allowed"), [
    (0.2, 0, 100, 20),
    (0.2, 0, 4, 0),
    (0.2, 1, 0, 10),
    (0.2, 1, 100, 30),
    (0, 0, 100, 0),
    (1, 0, 7, 7),
])  # fmt: skip
def test_a_share_of_the_traffic_and_a_floor(share: float, floor: float, requests: int, allowed: int) -> None:
    """The floor is for each of ten seconds; with little traffic it is all there is."""
    budget = RetryBudget(share=share, floor=floor, clock=FakeClock())
    for _ in range(requests):
        budget.count()

    assert allowed == spent(budget)


async def test_what_is_older_than_ten_seconds_is_forgotten() -> None:
    """Requests and attempts alike, second by second."""
    clock = FakeClock()
    budget = RetryBudget(share=0.5, floor=0, clock=clock)
    allowed = []
    for _ in range(3):
        for _ in range(10):
            budget.count()
        allowed.append(spent(budget))
        await clock.advance(6)

    assert [5, 5, 5] == allowed


async def test_a_long_silence_leaves_nothing() -> None:
    """However many windows it lasted."""
    clock = FakeClock()
    budget = RetryBudget(share=1, floor=0.1, clock=clock)
    for _ in range(50):
        budget.count()
    await clock.advance(1e6)

    assert 1 == spent(budget)


async def test_an_outage_is_not_doubled() -> None:
    """100 requests a second that all fail bring 20 further attempts a second."""
    clock = FakeClock()
    budget = RetryBudget(share=0.2, floor=0, clock=clock)
    attempts = 0
    for _ in range(60):
        for _ in range(100):
            budget.count()
            attempts += budget.spend()
        await clock.advance(1)

    assert 60 * 20 == attempts
