"""The whole board against a gateway that passes bytes and retries nothing: it must be found out."""

from __future__ import annotations

import pytest

from perf.faults import board, provoke
from perf.faults.board import Entry, NotHealthy, Result
from perf.faults.judge import Grade
from perf.faults.scenarios import SCENARIOS, Case, cases
from perf.faults.tenant import deployments
from perf.faults.upstream import Upstream
from perf.workload import Target
from tests.perf.faults.bad_gateway import bad_gateway

pytestmark = pytest.mark.e2e

QUICK = ("S01", "S02", "S03", "S04", "S05", "S08", "S10", "S11", "S12", "S13", "S14", "S16")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on the pace."""
    monkeypatch.setattr(board, "CASES_PER_SECOND", 1000.0)
    monkeypatch.setattr(provoke, "TOKEN_SECONDS", 0.0)


def chosen() -> list[Case]:
    """The scenarios without a wait, chat completions from GPT."""
    quick = [one for one in SCENARIOS if one.id in QUICK]
    return [case for case in cases(quick, translated=False) if case.surface == "chat"]


async def results() -> dict[tuple[str, str], Result]:
    """What the board finds, by scenario and mode."""
    some = chosen()
    found = deployments(some)
    async with Upstream(found, provoke.respond).running() as upstream, bad_gateway(upstream, found) as url:
        entry = Entry(Target(url), {})
        await board.warm_up(some, entry)
        done = await board.run(some, entry, upstream)
    return {(one.case.scenario.id, one.case.mode): one for one in done}


async def test_a_bad_gateway_is_found_out() -> None:
    """It retries nothing and fails over nowhere, and its cut streams look complete."""
    found = await results()
    failed = {key for key, result in found.items() if result.verdict.grade is Grade.FAIL}
    lost = {(name, mode) for name in ("S01", "S03", "S04", "S05", "S16") for mode in ("whole", "stream")}
    lies = {(name, mode) for name in ("S08", "S14") for mode in ("stream", "held")}

    assert lost | lies <= failed
    assert all(found[key].verdict.reason.startswith("looks complete") for key in lies)


async def test_what_it_does_right_is_seen_too() -> None:
    """Whoever passes everything on passes errors on, and the end of a stream without [DONE]."""
    found = await results()
    right = {(name, mode) for name in ("S02", "S12", "S13") for mode in ("whole", "stream")}

    assert {Grade.PASS} == {found[key].verdict.grade for key in right | {("S11", "stream")}}


async def test_each_scenario_reports_once_when_it_is_done() -> None:
    """The progress line has all of a scenario's cases."""
    some, told = [case for case in chosen() if case.scenario.id in {"S12", "S13"}], []
    found = deployments(some)
    async with Upstream(found, provoke.respond).running() as upstream, bad_gateway(upstream, found) as url:
        await board.run(some, Entry(Target(url), {}), upstream, notify=told.append)

    assert {("S12", 2), ("S13", 2)} == {(done[0].case.scenario.id, len(done)) for done in told}


async def test_nothing_is_judged_where_healthy_models_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is not there at all is no scoreboard of fails."""
    monkeypatch.setattr(board, "WARM_SECONDS", 0.0)

    with pytest.raises(NotHealthy, match="healthy gpt-ok"):
        await board.warm_up(chosen(), Entry(Target("http://127.0.0.1:1"), {}))
