"""The rules: each can pass, and each can fail."""

from __future__ import annotations

import pytest

from perf.faults.forms import (
    COMPLETION_TOKENS,
    PROMPT_TOKENS_OF_FALLBACK,
    REASON_FILTERED,
    REASON_PREFILL,
    REASON_TOO_LONG,
)
from perf.faults.judge import RULES, Grade, Observation, judge
from perf.faults.provoke import FAULTS
from perf.faults.scenarios import SCENARIOS
from perf.faults.tenant import Attempt
from tests.perf.faults.observations import HALF, broken, cut, observation, other, refused, seen

SPARE = "gpt-s16-fallback"
SPARE_USAGE = (PROMPT_TOKENS_OF_FALLBACK, COMPLETION_TOKENS)
OUTAGE = [*broken(0.0, 10.0, 40.0, did="503 unavailable"), other(0.5, route="fallback")]
TRUNCATED = observation(cut(), broken(0.0, did="40 tokens"))
ERROR_EVENT = seen(text=HALF, finished=False, error="the model's stream broke off")


def back(at: float) -> list[Attempt]:
    """The primary's first answer after the outage."""
    return [*OUTAGE, *broken(0.0, at, did="answered")[1:]]


GOOD = {
    "S01": observation(seen(), broken(0.0, 2.0)),
    "S02": observation(refused(status=429), broken(0.0, 0.5, 1.5, 4.0, 9.0, 20.0)),
    "S03": observation(seen(), broken(0.0, 0.2)),
    "S04": observation(seen(), broken(0.0), other(0.1)),
    "S05": observation(seen(), broken(0.0, 0.2)),
    "S06": observation(seen(10.5), broken(0.0, left=10.0), other(10.1)),
    "S07": observation(seen(13.0), broken(0.0, left=12.1), other(12.1)),
    "S08": observation(seen(), broken(0.0), other(0.5)),
    "S09": observation(seen(15.0), broken(0.0, left=14.0), other(14.1)),
    "S10": observation(seen(), broken(0.0)),
    "S11": observation(seen(1.5), broken(0.0, ended=1.0)),
    "S12": observation(refused(f"The prompt is {REASON_TOO_LONG}", status=400), broken(0.0)),
    "S13": observation(refused(f"The prompt was {REASON_FILTERED}", status=400), broken(0.0)),
    "S14": observation(seen(), broken(0.0), other(0.5, route="fallback")),
    "S15": observation([seen()] * 20, *back(62.0)),
    "S16": observation(
        seen(model=SPARE, usage=SPARE_USAGE), broken(0.0), other(0.1, route="fallback"), fallback=SPARE
    ),
}

BAD = {
    "S01 too early": observation(seen(), broken(0.0, 0.6)),
    "S01 not tried again": observation(refused(status=429), broken(0.0)),
    "S01 answered without a second try": observation(seen(), broken(0.0)),
    "S02 a storm": observation(refused(status=429), broken(0.0, 0.1, 0.2, 0.3, 0.4)),
    "S02 too many in all": observation(refused(status=429), broken(0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0)),
    "S02 hung": observation(seen(45.0, hung=True), broken(0.0)),
    "S03 not tried again": observation(refused(status=500), broken(0.0)),
    "S04 no other route": observation(refused(), broken(0.0, 0.1, 0.4)),
    "S05 not tried again": observation(refused(status=502), broken(0.0)),
    "S06 too late": observation(seen(100.1), broken(0.0), other(90.0)),
    "S06 hung": observation(seen(110.0, hung=True), broken(0.0)),
    "S07 an error": observation(refused(status=504), broken(0.0)),
    "S08 looks complete": TRUNCATED,
    "S08 cut without a word": observation(cut(broken="reset"), broken(0.0)),
    "S08 an end after the error": observation(
        seen(text=HALF, error="the model's stream broke off"), broken(0.0)
    ),
    "S09 too late": observation(refused(seconds=45.1), broken(0.0)),
    "S09 unhealthy": observation(seen(), broken(0.0), healthy="hung"),
    "S10 passed on": observation(seen(garbage="a frame that is not a JSON object"), broken(0.0)),
    "S10 unhealthy": observation(seen(), broken(0.0), healthy="hung"),
    "S11 late": observation(seen(3.1), broken(0.0, ended=1.0)),
    "S11 without usage": observation(seen(1.0, usage=(0, 0)), broken(0.0, ended=1.0)),
    "S12 again": observation(refused(status=400), broken(0.0), other(0.1)),
    "S13 again": observation(refused(REASON_FILTERED, status=400), broken(0.0, 0.1)),
    "S13 without the reason": observation(refused("bad request", status=400), broken(0.0)),
    "S13 routed around": observation(seen(), broken(0.0)),
    "S14 masked": observation(refused(f"The conversation {REASON_PREFILL}", status=400), broken(0.0)),
    "S14 looks complete": TRUNCATED,
    "S15 one not answered": observation([seen()] * 19 + [refused()], *back(62.0)),
    "S15 back too late": observation([seen()] * 20, *back(90.1)),
    "S15 never back": observation([seen()] * 20, *OUTAGE),
    "S16 another name": observation(
        seen(model="gpt-s16", usage=SPARE_USAGE), broken(0.0), other(0.1), fallback=SPARE
    ),
    "S16 without usage": observation(
        seen(model=SPARE, usage=(0, 0)), broken(0.0), other(0.1), fallback=SPARE
    ),
    "S16 no fallback": observation(refused(), broken(0.0), fallback=SPARE),
    "S04 nothing arrived": observation(refused(status=404)),
}


def test_every_scenario_has_its_fault_and_its_rule() -> None:
    """Sixteen scenarios, sixteen faults, sixteen rules."""
    ids = [scenario.id for scenario in SCENARIOS]

    assert [f"S{number:02}" for number in range(1, 17)] == sorted(ids) == sorted(FAULTS) == sorted(RULES)


@pytest.mark.parametrize("scenario", GOOD)
def test_what_is_required_passes(scenario: str) -> None:
    """The best that a gateway can do is a pass."""
    verdict = judge(scenario, GOOD[scenario])

    assert Grade.PASS == verdict.grade, verdict.reason


@pytest.mark.parametrize("name", BAD)
def test_a_broken_rule_fails(name: str) -> None:
    """Every bound and every demand can be missed."""
    verdict = judge(name[:3], BAD[name])

    assert Grade.FAIL == verdict.grade, verdict.reason


@pytest.mark.parametrize("scenario", ["S08", "S09", "S10", "S14"])
def test_an_error_event_in_a_begun_answer_is_honest(scenario: str) -> None:
    """The caller has half an answer, and knows it: neither a pass nor a fail."""
    assert Grade.HONEST == judge(scenario, observation(ERROR_EVENT, broken(0.0))).grade


@pytest.mark.parametrize(
    ("scenario", "observed"),
    [
        ("S06", observation(seen(21.0), broken(0.0, 10.0), other(20.0))),
        ("S07", observation(seen(21.0), broken(0.0))),
        ("S07", observation(seen(16.0), broken(0.0, left=15.1), other(15.1))),
    ],
)
def test_what_is_only_ideal_is_missed_in_part(scenario: str, observed: Observation) -> None:
    """An answer that could have come sooner, or with less asking, is a partial pass."""
    assert Grade.PARTIAL == judge(scenario, observed).grade


def test_the_reason_names_the_first_failure_of_several() -> None:
    """Of twenty requests the one that failed is told."""
    failing = judge("S15", BAD["S15 one not answered"])

    assert failing.reason.startswith("1 of 20, the first: a clear error (503")


def test_an_outage_tells_how_often_the_dead_were_asked() -> None:
    """Failover Bench compares these tries, though it does not limit them."""
    told = judge("S15", GOOD["S15"]).reason

    assert "20 answered, back 2.0 s after recovery, 3 tries while it was down" == told
