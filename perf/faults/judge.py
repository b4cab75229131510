"""Judges what callers and deployments saw, by the rules of Failover Bench.

pass     the whole answer (or the error that belongs there), and all that is required
partial  the same, but what is required "ideally" is missing
honest   no answer where none could be promised: a clear error, in time
fail     a rule was broken, an answer was lost that could be had, or something looks complete and is not
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from perf.faults.caller import Outcome, Seen
from perf.faults.forms import (
    COMPLETION_TOKENS,
    PROMPT_TOKENS,
    PROMPT_TOKENS_OF_FALLBACK,
    REASON_FILTERED,
    REASON_PREFILL,
)
from perf.faults.scenarios import OUTAGE_SECONDS
from perf.faults.tenant import ANSWERED, Attempt


class Grade(StrEnum):
    """From best to worst."""

    PASS = "pass"  # noqa: S105 - no password
    PARTIAL = "partial"
    HONEST = "honest"
    FAIL = "fail"


ORDER = tuple(Grade)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A grade and its reason."""

    grade: Grade
    reason: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One case: what its callers saw, and what reached the deployments, both in the order of time."""

    seen: Sequence[Seen]
    attempts: Sequence[Attempt]
    fallback: str | None = None
    """The fallback's public name."""
    healthy: str | None = None
    """What was wrong with a healthy request afterwards; None if nothing was, or nobody asked."""

    @property
    def broken(self) -> list[Attempt]:
        """The attempts on the broken route."""
        return [attempt for attempt in self.attempts if attempt.number]


Check = Callable[[Observation], str | None]
"""What is wrong, None if nothing is."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What each outcome is worth, and what must hold besides."""

    worth: Mapping[Outcome, Grade]
    required: tuple[Check, ...] = ()
    ideal: tuple[Check, ...] = ()
    note: Callable[[Observation], str] = lambda observed: observed.seen[-1].summary
    """What to say of a case that did not fail."""


def judge(scenario: str, observed: Observation) -> Verdict:
    """The verdict on one case."""
    rule = RULES[scenario]
    if not observed.attempts:
        return Verdict(Grade.FAIL, f"nothing reached a deployment: {observed.seen[0].summary}")
    grades = [rule.worth.get(seen.outcome, Grade.FAIL) for seen in observed.seen]
    worst = max(grades, key=ORDER.index)
    if worst is Grade.FAIL:
        bad = [seen for seen, grade in zip(observed.seen, grades, strict=True) if grade is Grade.FAIL]
        of = f"{len(bad)} of {len(grades)}, the first: " if len(grades) > 1 else ""
        return Verdict(worst, of + bad[0].summary)
    if complaint := _first(rule.required, observed):
        return Verdict(Grade.FAIL, complaint)
    if worst is Grade.PASS and (complaint := _first(rule.ideal, observed)):
        return Verdict(Grade.PARTIAL, complaint)
    return Verdict(worst, rule.note(observed))


def _first(checks: tuple[Check, ...], observed: Observation) -> str | None:
    return next((complaint for check in checks if (complaint := check(observed))), None)


def second_try_after(seconds: float) -> Check:
    """The second attempt comes so long after the first, or later."""

    def check(observed: Observation) -> str | None:
        first, *others = observed.attempts
        if not others:
            return "no second try"
        gap = others[0].at - first.at
        return f"second try after {gap:.2f} s" if gap < seconds else None

    return check


def at_most(count: int, *, within: float = float("inf")) -> Check:
    """No more attempts than that in the first seconds, or in all."""

    def check(observed: Observation) -> str | None:
        begin = observed.attempts[0].at
        tries = sum(attempt.at - begin < within for attempt in observed.attempts)
        span = "in all" if within == float("inf") else f"in {within:g} s"
        return f"{tries} tries {span}" if tries > count else None

    return check


def ended_within(seconds: float) -> Check:
    """Every caller has an end in time."""

    def check(observed: Observation) -> str | None:
        longest = max(seen.seconds for seen in observed.seen)
        return f"took {longest:.1f} s" if longest > seconds else None

    return check


def asked_once(observed: Observation) -> str | None:
    """The broken route was asked once."""
    tries = len(observed.broken)
    return f"the silent route was asked {tries} times" if tries > 1 else None


def left_within(seconds: float) -> Check:
    """The gateway gave up the broken route in time."""

    def check(observed: Observation) -> str | None:
        slow = observed.broken[0]
        if slow.left is None:
            return "waited for the slow route"
        waited = slow.left - slow.at
        return f"left the slow route after {waited:.1f} s" if waited > seconds else None

    return check


def healthy_afterwards(observed: Observation) -> str | None:
    """A healthy request afterwards is answered."""
    return f"unhealthy afterwards: {observed.healthy}" if observed.healthy else None


def at_once(seconds: float) -> Check:
    """The caller's stream ends when the deployment's does."""

    def check(observed: Observation) -> str | None:
        ended = observed.attempts[-1].ended
        late = observed.seen[-1].ended - ended if ended is not None else float("inf")
        return f"ended {late:.1f} s after the deployment had" if late > seconds else None

    return check


def usage_is(prompt_tokens: int) -> Check:
    """The tokens of whoever answered are reported."""

    def check(observed: Observation) -> str | None:
        usage = observed.seen[-1].usage
        return f"usage {usage}" if usage != (prompt_tokens, COMPLETION_TOKENS) else None

    return check


def tells(reason: str) -> Check:
    """The error has the deployment's own reason in it."""

    def check(observed: Observation) -> str | None:
        told = observed.seen[-1].error or ""
        return None if reason in told else f"the reason is not passed on: {told[:160]}"

    return check


def hides_nothing(observed: Observation) -> str | None:
    """The error is not that of an attempt which the caller never asked for."""
    told = observed.seen[-1].error or ""
    return "the fallback's refusal of a prefill masks the real error" if REASON_PREFILL in told else None


def back_within(seconds: float) -> Check:
    """The primary answers again, so soon after its outage."""

    def check(observed: Observation) -> str | None:
        back = _back(observed)
        if back is None:
            return "the primary was never used again"
        return f"back {back:.1f} s after recovery" if back > seconds else None

    return check


def _back(observed: Observation) -> float | None:
    """Seconds from the end of the outage to the primary's first answer."""
    return next((one.since - OUTAGE_SECONDS for one in observed.broken if one.did == ANSWERED), None)


def _outage(observed: Observation) -> str:
    tries = sum(one.did != ANSWERED for one in observed.broken)
    answered = sum(seen.outcome is Outcome.WHOLE for seen in observed.seen)
    return (
        f"{answered} answered, back {_back(observed):.1f} s after recovery, {tries} tries while it was down"
    )


def reports_fallback(observed: Observation) -> str | None:
    """The answer names the model that gave it."""
    model = observed.seen[-1].model
    return f"reported as {model!r}" if model != observed.fallback else None


_ANSWER = {Outcome.WHOLE: Grade.PASS}
_ERROR = {Outcome.ERROR: Grade.PASS}
_EITHER = {Outcome.WHOLE: Grade.PASS, Outcome.ERROR: Grade.HONEST}

RULES: Mapping[str, Rule] = {
    "S01": Rule(_ANSWER, (second_try_after(1.8),)),
    "S02": Rule(_ERROR, (at_most(4, within=3.0), at_most(6))),
    "S03": Rule(_ANSWER),
    "S04": Rule(_ANSWER),
    "S05": Rule(_ANSWER),
    "S06": Rule(_EITHER, (ended_within(100.0),), (asked_once,)),
    "S07": Rule(_ANSWER, (), (left_within(15.0),)),
    "S08": Rule(_EITHER),
    "S09": Rule(_EITHER, (ended_within(45.0), healthy_afterwards)),
    "S10": Rule(_EITHER, (healthy_afterwards,)),
    "S11": Rule(_ANSWER, (at_once(1.0), usage_is(PROMPT_TOKENS))),
    "S12": Rule(_ERROR, (at_most(1),)),
    "S13": Rule(_ERROR, (at_most(1), tells(REASON_FILTERED))),
    "S14": Rule(_EITHER, (hides_nothing,)),
    "S15": Rule(_ANSWER, (back_within(30.0),), note=_outage),
    "S16": Rule(_ANSWER, (reports_fallback, usage_is(PROMPT_TOKENS_OF_FALLBACK))),
}
"""By scenario. In S03 the only route is the failing one, in S04 it never works: an answer is proof."""
