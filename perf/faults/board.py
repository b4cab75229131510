"""Runs the cases side by side against a gateway, and judges each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from perf.faults.caller import Outcome, Seen, ask
from perf.faults.judge import Observation, Verdict, judge
from perf.faults.scenarios import HEALTHY, Case
from perf.faults.upstream import Upstream
from perf.surfaces import Question
from perf.workload import Target

CASES_PER_SECOND = 3.0
"""Slow enough that the retries of all these failures together stay within the gateway's retry budget, even
when one worker gets all of them."""

PROBE_PATIENCE = 10.0
WARM_SECONDS = 20.0
WARM_AFTER = 6
"""Good answers in a row, on each surface, after which every worker is taken to be ready."""

HOLD = {"x-aicore-hold": "true"}
PROMPT = "Why should anybody trust a gateway?"


class NotHealthy(Exception):
    """Without any fault there is no answer either: there is nothing to judge."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A gateway as its callers know it."""

    target: Target
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """One case, observed and judged."""

    case: Case
    observed: Observation
    verdict: Verdict


Notify = Callable[[Sequence[Result]], None]
"""Called with all results of a scenario when its last case is done."""


async def run(
    chosen: Sequence[Case], entry: Entry, upstream: Upstream, *, notify: Notify = lambda results: None
) -> list[Result]:
    """All cases, begun one after the other and then side by side."""
    results: list[Result] = []
    left = Counter(case.scenario.id for case in chosen)

    async def one(number: int, case: Case) -> None:
        await asyncio.sleep(number / CASES_PER_SECOND)
        results.append(await observe(case, entry, upstream))
        left[case.scenario.id] -= 1
        if not left[case.scenario.id]:
            notify([result for result in results if result.case.scenario is case.scenario])

    async with asyncio.TaskGroup() as group:
        for number, case in enumerate(chosen):
            group.create_task(one(number, case))
    return sorted(results, key=lambda result: chosen.index(result.case))


async def observe(case: Case, entry: Entry, upstream: Upstream) -> Result:
    """One case: ask, look at what reached the deployments, and judge."""
    question = Question(PROMPT, case.model, 1024, stream=case.mode != "whole")
    headers = {**entry.headers, **(HOLD if case.mode == "held" else {})}
    scenario = case.scenario

    async def one(number: int) -> Seen:
        await asyncio.sleep(number * scenario.interval)
        return await ask(entry.target, case.surface, question, headers, patience=scenario.patience)

    seen = await asyncio.gather(*map(one, range(scenario.requests)))
    observed = Observation(
        seen,
        upstream.records[case.model].attempts,
        case.fallback,
        await _unhealthy(case, entry) if scenario.probe else None,
    )
    return Result(case, observed, judge(scenario.id, observed))


async def _unhealthy(case: Case, entry: Entry) -> str | None:
    question = Question(PROMPT, HEALTHY[case.family], 1024)
    seen = await ask(entry.target, case.surface, question, entry.headers, patience=PROBE_PATIENCE)
    return None if seen.outcome is Outcome.WHOLE else seen.summary


async def warm_up(chosen: Sequence[Case], entry: Entry) -> None:
    """Ask for something healthy until every surface answers. Raises NotHealthy."""
    for surface, family in sorted({(case.surface, case.family) for case in chosen}):
        question = Question(PROMPT, HEALTHY[family], 1024)
        good, until = 0, time.monotonic() + WARM_SECONDS
        while good < WARM_AFTER:
            seen = await ask(entry.target, surface, question, entry.headers, patience=PROBE_PATIENCE)
            good = good + 1 if seen.outcome is Outcome.WHOLE else 0
            if not good and time.monotonic() > until:
                raise NotHealthy(f"{surface} from a healthy {HEALTHY[family]}: {seen.summary}")
