"""Words and budgets for thinking."""

from __future__ import annotations

import pytest

from services.translation.conversation import Reasoning
from services.translation.efforts import EFFORTS, MIN_BUDGET, budget_of, effort_of, nearest


@pytest.mark.parametrize(
    ("reasoning", "effort"),
    [
        (Reasoning(effort="xhigh"), "xhigh"),
        (Reasoning(effort="low", budget=9999), "low"),
        (Reasoning(budget=32000), "high"),
        (Reasoning(budget=4096), "high"),
        (Reasoning(budget=4095), "medium"),
        (Reasoning(budget=1024), "low"),
        (Reasoning(budget=1), "minimal"),
        (Reasoning(budget=0), "none"),
        (Reasoning(budget=-1), "medium"),
        (Reasoning(adaptive=True), "medium"),
        (Reasoning(), ""),
    ],
)
def test_a_budget_has_a_word(reasoning: Reasoning, effort: str) -> None:
    """Wire §8.0; a word of the caller's own comes first."""
    assert effort == effort_of(reasoning)


@pytest.mark.parametrize(
    ("reasoning", "budget"),
    [
        (Reasoning(budget=5), 5),
        (Reasoning(effort="none"), 0),
        (Reasoning(), 0),
        (Reasoning(effort="minimal"), MIN_BUDGET),
        (Reasoning(effort="max"), 16384),
        (Reasoning(budget=-1), 2048),
    ],
)
def test_a_word_has_a_budget(reasoning: Reasoning, budget: int) -> None:
    """Never less than Claude takes, but for none at all."""
    assert budget == budget_of(reasoning)


@pytest.mark.parametrize(
    ("effort", "supported", "expected"),
    [
        ("high", (), "high"),
        ("high", ("low", "high"), "high"),
        ("max", ("none", "low", "high"), "high"),
        ("minimal", ("none", "low"), "none"),
        ("medium", ("low", "high"), "low"),
        ("xhigh", ("low", "medium", "high", "max"), "high"),
    ],
)
def test_what_a_model_does_not_know_becomes_what_is_nearest(
    effort: str, supported: tuple[str, ...], expected: str
) -> None:
    """The lower of two: thinking costs."""
    assert expected == nearest(effort, supported)


def test_efforts_rise() -> None:
    """Budgets follow the words."""
    budgets = [budget_of(Reasoning(effort=effort)) for effort in EFFORTS]

    assert sorted(budgets) == budgets
