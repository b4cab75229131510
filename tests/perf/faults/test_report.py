"""The table: what it says, where it goes, and what the command refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner

from perf.faults import __main__ as command, report
from perf.faults.board import Result
from perf.faults.judge import Grade, Verdict
from perf.faults.scenarios import SCENARIOS, Case, Mode, cases
from tests.perf.faults.observations import broken, observation, seen

S08 = next(one for one in SCENARIOS if one.id == "S08")


def result(mode: Mode, grade: Grade, surface: str = "chat", scenario: Any = S08) -> Result:
    case = Case(scenario, surface, "gpt", mode)
    return Result(case, observation(seen(), broken(0.0, did="40 tokens")), Verdict(grade, "because"))


MIXED = [result("whole", Grade.PASS), result("stream", Grade.HONEST), result("held", Grade.PASS)]


def test_the_cases_have_models_of_their_own() -> None:
    """No state of one case can leak into another."""
    models = [case.model for case in cases(SCENARIOS, translated=True)]

    assert len(models) == len(set(models))


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (MIXED, "whole, held: pass; stream: honest"),
        (MIXED[:1], "pass"),
        ([], "–"),
    ],
)
def test_a_cell_says_which_modes_differ(results: Sequence[Result], expected: str) -> None:
    """One word where all agree."""
    assert expected == report.cell(results, say=str)


def test_the_markdown_has_a_row_for_each_scenario_and_says_how_it_came_about() -> None:
    """A table without its conditions is no evidence."""
    table = report.markdown([*MIXED, result("stream", Grade.FAIL, "responses")], "2026-11-21, 2 workers.")

    assert (
        "|  | Fault | Required | chat → GPT | responses → GPT |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| S08 | cut after 40 of 60 tokens | whole answer elsewhere, or a clear error; never “success” "
        "| whole, held: pass; stream: honest error | **fail** |\n"
        "\n"
        "2026-11-21, 2 workers. 4 cases: 2 pass, 0 partial, 1 honest, 1 fail."
    ) == table


@pytest.mark.parametrize(("grade", "status"), [(Grade.FAIL, True), (Grade.HONEST, False)])
def test_only_a_fail_fails(grade: Grade, status: bool) -> None:
    """An honest error is what can be had."""
    assert status == report.failed([*MIXED, result("stream", grade)])


def test_a_failure_is_told_with_its_attempts() -> None:
    """Enough to find it in the log."""
    line = report.complaint(result("stream", Grade.FAIL))

    assert "fail     S08 chat → GPT, stream: because\n         0.00 s one 40 tokens" == line


def test_the_document_has_every_case() -> None:
    """For machines: scenario, grade, reason, what was seen, what was tried."""
    assert [("S08", "whole", Grade.PASS), ("S08", "stream", Grade.HONEST), ("S08", "held", Grade.PASS)] == [
        (one["scenario"], one["mode"], one["grade"]) for one in report.document(MIXED)
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--readme", "--only", "S08"], "--readme needs all of it"),
        (["--readme", "--no-nginx"], "--readme needs all of it"),
        (["--only", "S17"], "is not one of"),
        (["--only", "S11", "--surface", "responses"], "nothing to do"),
    ],
)
def test_half_a_scoreboard_is_not_published(arguments: list[str], said: str) -> None:
    """Usage errors say what is wrong before anything starts."""
    answer = CliRunner().invoke(command.main, arguments)

    assert (2, True) == (answer.exit_code, said in answer.output)


def test_help_teaches() -> None:
    """The grades and examples are in it."""
    output = CliRunner().invoke(command.main, ["--help"]).output

    assert all(word in output for word in ("honest", "python -m perf.faults --only S08"))


@pytest.mark.parametrize("failing", [True, False])
def test_the_exit_status_tells_whether_something_failed(
    failing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For CI."""
    done = [result("stream", Grade.FAIL if failing else Grade.PASS)]
    monkeypatch.setattr(command, "_run", lambda *_, **__: done)
    answer = CliRunner().invoke(command.main, ["--only", "S08", "--json"])

    assert int(failing) == answer.exit_code
