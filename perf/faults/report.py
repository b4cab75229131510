"""The scoreboard for people and for the README."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

from perf import console
from perf.faults.board import Result
from perf.faults.judge import Grade
from perf.faults.scenarios import NATIVE, SURFACES, Scenario
from perf.tables import markdown_table

_STYLES = {Grade.PASS: "green", Grade.PARTIAL: "yellow", Grade.HONEST: "cyan", Grade.FAIL: "bold red"}
_MARK = {Grade.PASS: "pass", Grade.PARTIAL: "partial", Grade.HONEST: "honest error", Grade.FAIL: "**fail**"}
_NAMES = {"gpt": "GPT", "claude": "Claude"}


def columns(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Surface and family of each column: those of one dialect first."""
    asked = {(result.case.surface, result.case.family) for result in results}
    return sorted(asked, key=lambda pair: (NATIVE[pair[0]] != pair[1], SURFACES.index(pair[0])))


def title(pair: tuple[str, str]) -> str:
    """`messages → Claude`."""
    surface, family = pair
    return f"{surface} → {_NAMES[family]}"


def cell(results: Sequence[Result], *, say: Callable[[Grade], str]) -> str:
    """The grades of one scenario in one column: one word if they agree, else mode by mode; – without any."""
    by_grade: dict[Grade, list[str]] = {}
    for result in results:
        by_grade.setdefault(result.verdict.grade, []).append(result.case.mode)
    if not by_grade:
        return "–"
    if len(by_grade) == 1:
        return say(next(iter(by_grade)))
    return "; ".join(f"{', '.join(modes)}: {say(grade)}" for grade, modes in by_grade.items())


def rows(results: Sequence[Result], *, say: Callable[[Grade], str]) -> list[list[str]]:
    """One row for each scenario, in the order of their numbers."""
    pairs = columns(results)
    found: dict[str, Scenario] = {result.case.scenario.id: result.case.scenario for result in results}

    def cells(scenario: Scenario) -> list[str]:
        mine = [result for result in results if result.case.scenario is scenario]
        of = {pair: [one for one in mine if (one.case.surface, one.case.family) == pair] for pair in pairs}
        return [cell(of[pair], say=say) for pair in pairs]

    return [
        [name, scenario.fault, scenario.required, *cells(scenario)]
        for name, scenario in sorted(found.items())
    ]


def show(results: Sequence[Result]) -> None:
    """The table, and the reason of everything that did not simply pass."""
    view = Table("", "fault", *map(title, columns(results)), title="Under faults", title_justify="left")
    for name, fault, _, *cells in rows(results, say=lambda grade: f"[{_STYLES[grade]}]{grade}[/]"):
        view.add_row(name, fault, *cells)
    console.out.print(view)
    for result in results:
        if result.verdict.grade not in (Grade.PASS, Grade.HONEST):
            console.out.print(complaint(result), style=_STYLES[result.verdict.grade], markup=False)
    console.out.print(summary(results))


def complaint(result: Result) -> str:
    """One line on a case."""
    case, verdict = result.case, result.verdict
    where = f"{case.scenario.id} {title((case.surface, case.family))}, {case.mode}"
    tries = " · ".join(attempt_line(result, number) for number in range(len(result.observed.attempts[:6])))
    return f"{verdict.grade:8} {where}: {verdict.reason}\n         {tries or 'no attempt'}"


def attempt_line(result: Result, number: int) -> str:
    """When it came, on which route, what it was told, and whether it was left."""
    attempts = result.observed.attempts
    attempt = attempts[number]
    line = f"{attempt.at - attempts[0].at:.2f} s {attempt.route} {attempt.did}"
    return line if attempt.left is None else f"{line}, left after {attempt.left - attempt.at:.1f} s"


def progress(results: Sequence[Result]) -> str:
    """One line on a scenario that is done."""
    scenario = results[0].case.scenario
    grades = [result.verdict.grade for result in results]
    counts = ", ".join(f"{grades.count(grade)} {grade}" for grade in Grade if grade in grades)
    return f"{scenario.id}  {scenario.fault:32} {counts}"


def summary(results: Sequence[Result]) -> str:
    """All grades, counted."""
    grades = [result.verdict.grade for result in results]
    return f"{len(grades)} cases: " + ", ".join(f"{grades.count(grade)} {grade}" for grade in Grade)


def markdown(results: Sequence[Result], condition: str) -> str:
    """The table as Markdown, with how it came about."""
    heads = ["", "Fault", "Required", *map(title, columns(results))]
    table = markdown_table(heads, rows(results, say=_MARK.__getitem__), words=True)
    return f"{table}\n\n{condition} {summary(results)}."


def document(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Everything, for machines; times in seconds."""
    return [
        {
            "scenario": result.case.scenario.id,
            "surface": result.case.surface,
            "family": result.case.family,
            "mode": result.case.mode,
            "grade": result.verdict.grade,
            "reason": result.verdict.reason,
            "seen": [
                {"outcome": seen.outcome, "status": seen.status, "seconds": round(seen.seconds, 3),
                 "model": seen.model, "usage": seen.usage, "error": seen.error}
                for seen in result.observed.seen
            ],
            "attempts": [attempt_line(result, number) for number in range(len(result.observed.attempts))],
        }
        for result in results
    ]  # fmt: skip


def failed(results: Sequence[Result]) -> bool:
    """Whether anything failed."""
    return any(one.verdict.grade is Grade.FAIL for one in results)
