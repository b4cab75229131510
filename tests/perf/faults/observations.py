"""Observations by hand: what a caller saw and what a deployment was asked, in one line each."""

from __future__ import annotations

from typing import Any

from perf.faults.caller import Seen
from perf.faults.forms import ANSWER, COMPLETION_TOKENS, PROMPT_TOKENS
from perf.faults.judge import Observation
from perf.faults.tenant import Attempt

HALF = " ".join(ANSWER.split()[:40])


def seen(seconds: float = 1.0, **members: Any) -> Seen:
    """A whole answer, but for the members given."""
    whole = {"status": 200, "text": ANSWER, "finished": True, "usage": (PROMPT_TOKENS, COMPLETION_TOKENS)}
    return Seen(asked=0.0, ended=seconds, **{**whole, **members})


def refused(error: str = "The model is overloaded", *, status: int = 503, seconds: float = 1.0) -> Seen:
    """A clear error."""
    return seen(seconds, status=status, text="", finished=False, error=error, usage=(0, 0))


def cut(**members: Any) -> Seen:
    """Forty words, then a clean end of the connection that says nothing."""
    return seen(text=HALF, finished=False, **members)


def broken(*times: float, route: str = "one", **members: Any) -> list[Attempt]:
    """Attempts on the broken route."""
    members.setdefault("ended", times[-1])
    return [
        Attempt(route, at, number=number, since=at - times[0], **members)
        for number, at in enumerate(times, start=1)
    ]


def other(at: float, *, route: str = "two", **members: Any) -> Attempt:
    """An attempt on a healthy route."""
    return Attempt(route, at, did="answered", **{"ended": at, **members})


def observation(
    answers: Seen | list[Seen], *attempts: Attempt | list[Attempt], **members: Any
) -> Observation:
    """All of it together."""
    flat = [one for part in attempts for one in (part if isinstance(part, list) else [part])]
    return Observation(answers if isinstance(answers, list) else [answers], flat, **members)
