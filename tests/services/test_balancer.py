"""Which deployment is asked, with a clock that only moves when told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.balancer import LONGEST_REST_SECONDS, Balancer
from services.board import Board
from services.deployments import Deployment
from services.errors import NoDeployment
from tests.services.fakes import FakeClock


def deployment(identifier: str, weight: float = 1.0, sub_account: str = "main") -> Deployment:
    """A deployment with a share of the traffic."""
    return Deployment(identifier, f"https://x/{identifier}", sub_account, "default", weight=weight)


A, B, C = deployment("a"), deployment("b"), deployment("c")


class Bench:
    """A balancer and its clock."""

    def __init__(self, strategy: Any = "least-in-flight", board: Board | None = None) -> None:
        self.clock = FakeClock()
        self.balancer = Balancer(board or Board(), strategy=strategy, clock=self.clock)

    def picks(
        self, count: int, *candidates: Deployment, shares: bool = False, keep: bool = False
    ) -> list[str]:
        """The ids of so many picks, each released at once unless kept."""
        ids = []
        for _ in range(count):
            slot = self.balancer.pick("m", candidates, shares=shares)
            ids.append(slot.deployment.id)
            if not keep:
                slot.release()
        return ids


def test_idle_deployments_take_turns() -> None:
    """Least in flight, all at zero: one after the other."""
    assert ["a", "b", "c", "a", "b", "c"] == Bench().picks(6, A, B, C)


def test_the_least_busy_is_picked() -> None:
    """Requests that take long count."""
    bench = Bench()
    assert ["a", "b"] == bench.picks(2, A, B, keep=True)
    bench.balancer.slot(A).release()

    assert ["a"] == bench.picks(1, A, B)


def test_the_load_is_weighed() -> None:
    """Three times the weight carries three times as much."""
    heavy = deployment("heavy", weight=3)

    assert {"heavy": 6, "a": 2} == Counter(Bench().picks(8, heavy, A, keep=True))


def test_ordered_means_the_first_that_is_awake() -> None:
    """The others are in reserve."""
    bench = Bench("ordered")
    assert ["a", "a"] == bench.picks(2, A, B, keep=True)
    bench.balancer.rest(bench.balancer.slot(A), 30)

    assert ["b"] == bench.picks(1, A, B)


@pytest.mark.parametrize("strategy", ["least-in-flight", "round-robin", "ordered"])
@pytest.mark.parametrize("weights", [(10, 90), (50, 50), (1, 99), (100, 0)])
def test_a_rollouts_shares_are_exact(strategy: str, weights: tuple[int, int]) -> None:
    """In 100 picks each gets its share, whatever the strategy and the load; weight 0 gets nothing."""
    old, new = deployment("old", weights[0]), deployment("new", weights[1])
    picked = Counter(Bench(strategy).picks(100, old, new, shares=True, keep=True))

    assert weights == (picked["old"], picked["new"])


def test_turns_are_spread_out() -> None:
    """A small share does not come in a burst."""
    small, large = deployment("small", 1), deployment("large", 3)

    assert ["large", "large", "small", "large"] * 2 == Bench("round-robin").picks(8, large, small)


def test_models_take_their_own_turns() -> None:
    """Traffic of one model does not shift another's."""
    balancer = Balancer(Board(), strategy="round-robin")

    assert ["a", "a"] == [balancer.pick(model, [A, B], shares=False).deployment.id for model in ("m", "n")]


def test_what_was_tried_is_not_picked_again() -> None:
    """And when all were, there is none."""
    balancer = Bench().balancer
    first = balancer.pick("m", [A, B], shares=False)
    second = balancer.pick("m", [A, B], tried=[first], shares=False)

    assert {"a", "b"} == {first.deployment.id, second.deployment.id}
    with pytest.raises(NoDeployment, match="'m'"):
        balancer.pick("m", [A, B], tried=[first, second], shares=False)


@pytest.mark.parametrize("candidates", [(), (deployment("a", weight=0),)])
def test_nothing_to_pick_from_is_said(candidates: tuple[Deployment, ...]) -> None:
    """No candidates, or only ones without a share."""
    with pytest.raises(NoDeployment):
        Bench().picks(1, *candidates)


async def test_who_rests_is_passed_over_until_it_wakes() -> None:
    """At the end of its rest it is used again."""
    bench = Bench("ordered")
    bench.balancer.rest(bench.balancer.slot(A), 30)
    await bench.clock.advance(29.9)
    assert ["b"] == bench.picks(1, A, B)
    await bench.clock.advance(0.2)

    assert ["a"] == bench.picks(1, A, B)


def test_when_all_rest_the_first_to_wake_is_tried() -> None:
    """Better a try than a refusal."""
    bench = Bench()
    bench.balancer.rest(bench.balancer.slot(A), 30)
    bench.balancer.rest(bench.balancer.slot(B), 10)

    assert ["b", "b"] == bench.picks(2, A, B, keep=True)
    assert 10 == bench.balancer.resting_seconds([A, B])


def test_the_later_of_two_rests_holds() -> None:
    """A short one does not shorten a long one."""
    bench = Bench()
    for seconds in (30, 5):
        bench.balancer.rest(bench.balancer.slot(A), seconds)

    assert 30 == bench.balancer.resting_seconds([A])


@pytest.mark.parametrize("seconds", [1e9, 1e300])
def test_nobody_rests_for_ever(seconds: float) -> None:
    """Whatever an upstream asks for."""
    bench = Bench()
    bench.balancer.rest(bench.balancer.slot(A), seconds)

    assert LONGEST_REST_SECONDS == bench.balancer.resting_seconds([A])


def test_one_awake_or_none_at_all_means_no_wait() -> None:
    """Zero seconds."""
    bench = Bench()
    bench.balancer.rest(bench.balancer.slot(A), 30)

    assert [0, 0] == [bench.balancer.resting_seconds(some) for some in ([A, B], [])]


def test_a_deployment_described_anew_keeps_its_counters() -> None:
    """Discovery may learn more of it at any time."""
    bench = Bench()
    slot = bench.balancer.pick("m", [A], shares=False)
    again = bench.balancer.slot(deployment("a", weight=5))

    assert (True, 1, 5) == (slot is again, again.in_flight, again.deployment.weight)


def test_equal_ids_in_two_sub_accounts_are_two_deployments() -> None:
    """An id is only unique in its tenant."""
    bench = Bench()

    assert bench.balancer.slot(A) is not bench.balancer.slot(deployment("a", sub_account="other"))


def test_trap_53_workers_see_each_others_load_and_rests(tmp_path: Path) -> None:
    """Trap 53: through the board."""
    one, two = (Bench("ordered", Board(tmp_path / "board")) for _ in range(2))
    one.picks(1, A, keep=True)
    one.balancer.rest(one.balancer.slot(A), 30)

    assert (1, ["b"]) == (two.balancer.slot(A).in_flight, two.picks(1, A, B))
