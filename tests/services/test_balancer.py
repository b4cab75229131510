"""Which deployment is asked, with a clock that only moves when told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.balancer import LONGEST_REST_SECONDS, PATIENCE, PROBE_SECONDS, Balancer, Patience, Slot
from services.board import Board
from services.deployments import Deployment
from services.errors import (
    Busy,
    CredentialError,
    GatewayError,
    NoDeployment,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnauthorized,
)
from tests.services.fakes import FakeClock


def deployment(
    identifier: str, weight: float = 1.0, sub_account: str = "main", model: str = ""
) -> Deployment:
    """A deployment with a share of the traffic."""
    url = f"https://x/{identifier}"
    return Deployment(identifier, url, sub_account, "default", model=model, weight=weight)


A, B, C = deployment("a"), deployment("b"), deployment("c")


FIRST = PATIENCE.cool_down / 16
"""The first rest of a deployment that does not say how long (seconds)."""

SHORT = UpstreamFailed("it broke")
LONG = UpstreamLimited("slow down", retry_after=30)


class Bench:
    """A balancer and its clock."""

    def __init__(
        self,
        strategy: Any = "least-in-flight",
        board: Board | None = None,
        *,
        patience: Patience = PATIENCE,
        clock: FakeClock | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.balancer = Balancer(board or Board(), strategy=strategy, patience=patience, clock=self.clock)

    def pick(self, *candidates: Deployment, **how: Any) -> Slot:
        """One pick, kept."""
        return self.balancer.pick("m", candidates, **({"shares": False} | how))

    def picks(
        self, count: int, *candidates: Deployment, shares: bool = False, keep: bool = False
    ) -> list[str]:
        """The ids of so many picks, each released at once unless kept."""
        ids = []
        for _ in range(count):
            slot = self.pick(*candidates, shares=shares)
            ids.append(slot.deployment.id)
            if not keep:
                slot.release()
        return ids

    def fail(self, one: Deployment, error: GatewayError = SHORT, *, lost: float = 0.0) -> None:
        """A request to this deployment ends so."""
        self.balancer.failed(self.balancer.slot(one), error, lost=lost)

    def rest(self, one: Deployment) -> float:
        """How long it still rests (seconds)."""
        return round(self.balancer.slot(one).rests_until - self.clock(), 3)

    def busy(self, *candidates: Deployment, **how: Any) -> Busy:
        """The refusal of a pick."""
        with pytest.raises(Busy) as caught:
            self.pick(*candidates, **how)
        return caught.value

    async def recover(self, one: Deployment) -> None:
        """It has failed once, and a request that tried it again has worked."""
        self.fail(one)
        await self.clock.advance(self.rest(one))
        self.balancer.worked(self.balancer.slot(one))


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
    bench.fail(A)

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


# --- rests -------------------------------------------------------------------------------------------------


async def test_who_rests_is_passed_over_until_it_wakes() -> None:
    """At the end of its rest it is used again."""
    bench = Bench("ordered")
    bench.fail(A, LONG)
    await bench.clock.advance(29.9)
    assert ["b"] == bench.picks(1, A, B)
    await bench.clock.advance(0.2)

    assert ["a"] == bench.picks(1, A, B)


async def test_each_rest_is_twice_the_one_before() -> None:
    """From a sixteenth of the longest to the longest, as long as no request works in between."""
    bench = Bench()
    rests = []
    for _ in range(7):
        bench.fail(A)
        rests.append(bench.rest(A))
        await bench.clock.advance(rests[-1])

    assert [1.875, 3.75, 7.5, 15, 30, 30, 30] == rests


def test_failures_of_requests_that_ran_together_are_one() -> None:
    """Twenty that fail at once say no more than the first."""
    bench = Bench()
    for _ in range(20):
        bench.fail(A)

    assert FIRST == bench.rest(A)


async def test_an_answer_ends_the_row_of_failures() -> None:
    """The next failure is a first one again."""
    bench = Bench()
    await bench.recover(A)
    bench.fail(A)

    assert FIRST == bench.rest(A)


def test_without_a_cool_down_only_hints_make_rests() -> None:
    """As configured: neither failures nor timeouts."""
    bench = Bench(patience=Patience(cool_down=0))
    bench.fail(A)
    bench.fail(B, UpstreamTimeout("late"), lost=60)
    bench.fail(C, LONG)

    assert (0, 0, 30) == tuple(max(0, bench.rest(one)) for one in (A, B, C))


def test_who_wasted_time_rests_as_long() -> None:
    """The next probe may cost somebody the same."""
    bench = Bench()
    bench.fail(A, UpstreamTimeout("late"), lost=60)

    assert 60 == bench.rest(A)


@pytest.mark.parametrize(("first", "second"), [(30, 5), (5, 30)])
def test_the_later_of_two_hints_holds(first: float, second: float) -> None:
    """A short one does not shorten a long one."""
    bench = Bench()
    for seconds in (first, second):
        bench.fail(A, UpstreamLimited("slow", retry_after=seconds))

    assert 30 == bench.rest(A)


@pytest.mark.parametrize("seconds", [1e9, 1e300])
def test_nobody_rests_for_ever(seconds: float) -> None:
    """Whatever an upstream asks for."""
    bench = Bench()
    bench.fail(A, UpstreamLimited("slow", retry_after=seconds))

    assert LONGEST_REST_SECONDS == bench.rest(A)


def test_a_hint_of_no_time_is_no_rest() -> None:
    """`Retry-After: 0` means at once."""
    bench = Bench("ordered")
    bench.fail(A, UpstreamLimited("slow", retry_after=0))

    assert (["a"], False) == (bench.picks(1, A, B), bench.balancer.limited(A))


def test_a_refusal_is_nobodys_rest() -> None:
    """The deployment did its part."""
    bench = Bench("ordered")
    bench.fail(A, UpstreamRefused("too long"))

    assert ["a"] == bench.picks(1, A, B)


@pytest.mark.parametrize("error", [UpstreamUnauthorized("401"), CredentialError("no token")])
def test_a_credential_concerns_the_whole_sub_account(error: GatewayError) -> None:
    """All of its deployments rest, for every model; those of others do not."""
    bench = Bench()
    other = deployment("a", sub_account="other")
    bench.picks(3, A, B, other)
    bench.fail(A, error)

    assert (FIRST, FIRST) == (bench.rest(A), bench.rest(B))
    assert ["other"] * 3 == [bench.pick(A, B, other).deployment.sub_account for _ in range(3)]


def test_models_behind_one_deployment_rest_alone() -> None:
    """Orchestration serves many: a rate limit is one model's."""
    bench = Bench()
    first, second = (deployment("o", model=name) for name in ("gpt-5", "claude"))
    bench.fail(first, LONG)

    assert (True, False) == (bench.balancer.limited(first), bench.balancer.limited(second))
    assert ["o"] == bench.picks(1, second)


# --- when all rest -----------------------------------------------------------------------------------------


async def test_when_all_have_failed_the_first_to_wake_is_asked() -> None:
    """A guess about their health is no reason to serve nobody."""
    bench = Bench()
    bench.fail(B)
    await bench.clock.advance(0.5)
    bench.fail(A)

    assert ["b", "b"] == bench.picks(2, A, B, keep=True)


async def test_who_does_not_insist_asks_nobody_who_rests() -> None:
    """It has somebody else to ask, and learns when the first one wakes."""
    bench = Bench()
    bench.fail(A)
    busy = bench.busy(A, insists=False)

    assert (503, "overloaded", FIRST) == (busy.status, busy.code, round(busy.retry_after or 0, 3))
    assert 0 == bench.balancer.slot(A).in_flight


def test_who_said_how_long_is_not_asked_before() -> None:
    """Not even when it is the only one: the wait until the first of them is told, as a 429."""
    bench = Bench()
    bench.fail(A, LONG)
    bench.fail(B, UpstreamFailed("down", retry_after=10))
    busy = bench.busy(A, B)

    assert (429, "rate_limit_exceeded", 10) == (busy.status, busy.code, busy.retry_after)
    assert (True, [0, 0]) == (
        bench.balancer.limited(A),
        [bench.balancer.slot(one).in_flight for one in (A, B)],
    )


def test_who_only_failed_is_asked_before_who_said_how_long() -> None:
    """Though it would wake later."""
    bench = Bench()
    bench.fail(A, UpstreamLimited("slow", retry_after=1))
    bench.fail(B)

    assert ["b"] == bench.picks(1, A, B)


# --- half open ---------------------------------------------------------------------------------------------


async def half_open(bench: Bench, one: Deployment) -> None:
    """It has failed, and its rest is over."""
    bench.fail(one)
    await bench.clock.advance(bench.rest(one))


async def test_one_request_at_a_time_tries_it() -> None:
    """All others go where it is safe, until the time for the attempt is over."""
    bench = Bench("round-robin")
    await half_open(bench, A)
    before = bench.picks(4, A, B)
    await bench.clock.advance(PROBE_SECONDS)

    assert (["a", "b", "b", "b"], ["a", "b"]) == (before, bench.picks(2, A, B))


async def test_of_two_workers_at_most_one_tries_it(tmp_path: Path) -> None:
    """The claim is on the board."""
    clock = FakeClock()
    one, two = (Bench("ordered", Board(tmp_path / "board"), clock=clock) for _ in range(2))
    await half_open(one, A)

    assert (["a"], ["b"]) == (one.picks(1, A, B), two.picks(1, A, B))


async def test_an_answer_lets_the_others_in() -> None:
    """The probe has worked."""
    bench = Bench("ordered", patience=Patience(slow_start=0))
    await half_open(bench, A)
    slot = bench.pick(A, B)
    bench.balancer.worked(slot)

    assert ["a", "a"] == bench.picks(2, A, B, keep=True)


async def test_after_a_failed_probe_the_next_waits_for_the_rest_alone() -> None:
    """The claim of the first one does not keep it away for longer."""
    bench = Bench("ordered")
    await half_open(bench, A)
    bench.pick(A, B).release()
    bench.fail(A)
    await bench.clock.advance(2 * FIRST - 0.01)
    before = bench.picks(1, A, B)
    await bench.clock.advance(0.02)

    assert (["b"], ["a"]) == (before, bench.picks(1, A, B))


async def test_who_has_failed_once_is_no_probe() -> None:
    """Its second attempt goes where it is safe."""
    bench = Bench("ordered")
    await half_open(bench, A)
    failed = bench.balancer.slot(C)

    assert "b" == bench.pick(A, B, C, tried=[failed]).deployment.id
    assert "a" == bench.pick(A, B).deployment.id


async def test_alone_it_serves_all_while_it_is_tried() -> None:
    """There is nobody else."""
    bench = Bench()
    await half_open(bench, A)

    assert ["a"] * 3 == bench.picks(3, A, keep=True)


# --- slow start --------------------------------------------------------------------------------------------


async def test_its_share_grows_back_slowly() -> None:
    """A tenth at once, half after half of the time, then all of it."""
    bench = Bench("round-robin")
    await bench.recover(A)
    shares = []
    for _ in range(4):
        shares.append(round(bench.balancer.slot(A).share(bench.clock(), PATIENCE.slow_start), 2))
        await bench.clock.advance(PATIENCE.slow_start / 2)

    assert [0.1, 0.5, 1, 1] == shares
    assert {"a": 5, "b": 5} == Counter(bench.picks(10, A, B))


async def test_slow_start_divides_the_traffic() -> None:
    """Eleven requests: one for who has just come back, ten for the other."""
    bench = Bench("round-robin")
    await bench.recover(A)

    assert {"a": 1, "b": 10} == Counter(bench.picks(11, A, B))


async def test_after_a_rate_limit_all_of_its_share_is_back() -> None:
    """It was never ill: neither a probe before, nor a slow start after the first answer."""
    bench = Bench("round-robin")
    bench.fail(A, LONG)
    await bench.clock.advance(30)
    before = Counter(bench.picks(4, A, B))
    bench.balancer.worked(bench.balancer.slot(A))

    assert [{"a": 2, "b": 2}] * 2 == [before, Counter(bench.picks(4, A, B))]


# --- limits ------------------------------------------------------------------------------------------------


def test_nobody_gets_more_than_the_limit() -> None:
    """The others take over; when all are full, the refusal says that it may be soon."""
    bench = Bench("ordered")
    picked = [bench.pick(A, B, limit=2).deployment.id for _ in range(4)]
    busy = bench.busy(A, B, limit=2)

    assert (["a", "a", "b", "b"], 503, 0.1) == (picked, busy.status, busy.retry_after)
    assert [2, 2] == [bench.balancer.slot(one).in_flight for one in (A, B)]


def test_the_limit_counts_all_workers(tmp_path: Path) -> None:
    """Through the board."""
    one, two = (Bench("ordered", Board(tmp_path / "board")) for _ in range(2))
    one.pick(A, limit=1)
    two.busy(A, limit=1)

    assert 1 == two.balancer.slot(A).in_flight


async def test_a_probe_keeps_to_the_limit() -> None:
    """And leaves the claim to the next one if there is no room."""
    bench = Bench("ordered")
    slot = bench.pick(A, limit=1)
    await half_open(bench, A)
    refused = bench.pick(A, B, limit=1).deployment.id
    slot.release()

    assert ("b", "a") == (refused, bench.pick(A, B, limit=1).deployment.id)
    assert 1 == bench.balancer.slot(A).in_flight


# --- identity ----------------------------------------------------------------------------------------------


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
    one.fail(A)
    one.fail(B, LONG)

    assert (1, ["c"], True) == (
        two.balancer.slot(A).in_flight,
        two.picks(1, A, B, C),
        two.balancer.limited(B),
    )


async def test_trap_53_an_answer_to_one_worker_is_known_to_all(tmp_path: Path) -> None:
    """Trap 53: the worker whose request failed learns that another's worked."""
    clock, patience = FakeClock(), Patience(slow_start=0)
    one, two = (Bench("ordered", Board(tmp_path / "board"), patience=patience, clock=clock) for _ in range(2))
    await half_open(one, A)
    two.balancer.worked(two.balancer.slot(A))

    assert ["a", "a"] == one.picks(2, A, B, keep=True)
