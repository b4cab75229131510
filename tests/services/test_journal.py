"""The end of every request: one line, its metrics, its recording."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services import metrics
from services.calls import ANONYMOUS, Call
from services.errors import CallerLeft, UpstreamFailed
from services.journal import Journal
from services.recorder import Recorder


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def call(**fields: Any) -> Call:
    """A call that has ended."""
    one = Call(surface="chat", caller=ANONYMOUS, request_id="r-1", started=time.perf_counter())
    one.status = 200
    for name, value in fields.items():
        setattr(one, name, value)
    return one


async def test_one_line_is_logged(logged: list[Any]) -> None:
    """With the request's id."""
    Journal().close_call(call())

    assert [("request", "info", "r-1")] == [
        (line["event"], line["log_level"], line["request_id"]) for line in logged
    ]


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (UpstreamFailed("for the log", public="for the caller"), "upstream_error", "for the log"),
        (ZeroDivisionError("oops"), "internal_error", "oops"),
        (CallerLeft("gone"), "caller_left", None),
    ],
)
async def test_a_failure_is_told_with_its_detail(
    error: Exception, code: str, detail: str | None, logged: list[Any]
) -> None:
    """What the caller does not read stands here; a caller's leaving needs no words."""
    Journal().close_call(call(error=error, status=502))

    assert (code, detail) == (logged[0]["code"], logged[0].get("detail"))


async def test_a_recording_gets_its_line(tmp_path: Path, logged: list[Any]) -> None:
    """It is in the file once the journal is closed."""
    journal = Journal(Recorder(tmp_path / "r"))
    ended = call()
    ended.body_bytes = 2
    journal.close_call(ended)
    await journal.close()

    assert 1 == len((tmp_path / "r").read_bytes().splitlines())


async def test_closing_writes_the_last_counts(logged: list[Any]) -> None:
    """A worker that stops loses none."""
    journal = Journal()
    journal.close_call(call())
    assert metrics._counting
    await journal.close()

    assert not metrics._counting
