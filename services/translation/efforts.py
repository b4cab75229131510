"""How much a model is to think: words and token budgets, and what comes nearest (wire §8.0)."""

from __future__ import annotations

from collections.abc import Sequence

from services.translation.conversation import Reasoning

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""In rising order."""

MIN_BUDGET = 1024
"""The least that Claude takes."""

_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
_BY_BUDGET = ((4096, "high"), (2048, "medium"), (1024, "low"))
_USUAL = "medium"


def effort_of(reasoning: Reasoning) -> str:
    """Return the effort in a word; "none" is off."""
    if reasoning.effort:
        return reasoning.effort
    if reasoning.budget is None:
        return _USUAL if reasoning.adaptive else ""
    if reasoning.budget == 0:
        return "none"
    if reasoning.budget < 0:  # Gemini's "as much as you like"
        return _USUAL
    return next((word for least, word in _BY_BUDGET if reasoning.budget >= least), "minimal")


def budget_of(reasoning: Reasoning) -> int:
    """Return the effort in tokens; 0 is off."""
    if reasoning.budget is not None and reasoning.budget >= 0:
        return reasoning.budget
    return _BUDGETS.get(effort_of(reasoning), 0)


def nearest(effort: str, supported: Sequence[str]) -> str:
    """Return the supported effort that comes nearest, the lower of two; `effort` itself if none is known."""
    if not supported or effort in supported:
        return effort
    place = EFFORTS.index(effort)
    return min(supported, key=lambda one: (abs(EFFORTS.index(one) - place), EFFORTS.index(one)))
