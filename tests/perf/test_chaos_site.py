"""What chaos does to the site, and what it looks for afterwards."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from perf.chaos import cli
from perf.chaos.disorder import ARGUMENTS, BLOWS, WIDE, Fault, draw_fault
from perf.chaos.site import WORKERS, Workers
from perf.chaos.traces import MORE_BYTES, MORE_FILES, Traces, in_flight, left_behind
from perf.chaos.verdicts import Verdict
from perf.simulator import faults
from services.board import Board

BEFORE = Traces(workers=WORKERS, files=100, memory=80 << 20, counted=0, upstream=0)


def drawn(count: int, seed: int = 1) -> list[Fault]:
    chance = random.Random(seed)
    return [draw_fault(chance) for _ in range(count)]


def test_faults_come_from_a_seed() -> None:
    """The same seed draws the same faults, another one others."""
    assert drawn(50) == drawn(50)
    assert drawn(50) != drawn(50, seed=2)


def test_every_kind_of_fault_is_drawn_and_can_be_set() -> None:
    """None of the simulator's kinds is left out, and none is refused by it."""
    found = drawn(3000)
    for one in found:
        faults.Fault(one.kind, arg=one.arg, model=one.model, plane=one.plane, probability=one.probability)

    assert set(faults.KINDS) == {one.kind for one in found if one.plane == "inference"}
    assert set(faults.PLANES) == {one.plane for one in found}
    assert set(ARGUMENTS) <= set(faults.KINDS)


def test_a_fault_of_every_model_leaves_a_chance() -> None:
    """What hits all inference does so to a share of the requests only."""
    wide = [one for one in drawn(3000) if one.plane == "inference" and one.model is None]

    assert 0 < len(wide)
    assert max(one.probability for one in wide) <= WIDE


def test_the_shared_counters_are_read_as_the_gateway_writes_them(tmp_path: Path) -> None:
    """In-flight requests of all workers are summed; other rows are not counted."""
    board = Board(tmp_path / "board", columns=4)
    board.row("in-flight alpha/d1").add(3)
    board.row("in-flight alpha/d2").add(2)
    board.row("rest alpha/d1").put(99)
    seen = (tmp_path / "board").read_bytes()
    board.row("in-flight alpha/d1").add(-3)
    later = (tmp_path / "board").read_bytes()
    board.close()

    assert 5 == in_flight(seen, ["alpha/d1", "alpha/d2", "alpha/d3"])
    assert 2 == in_flight(later, ["alpha/d1", "alpha/d2", "alpha/d3"])


def test_another_kind_of_file_is_refused() -> None:
    """Counters that this tool cannot read are not taken for zero."""
    with pytest.raises(ValueError, match="another form"):
        in_flight(b"AICBRD99" + bytes(100), [])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"workers": 1}, "1 workers"),
        ({"files": 101 + MORE_FILES}, "open files"),
        ({"memory": (80 << 20) + MORE_BYTES + 1}, "a worker of 112 MiB"),
        ({"counted": 1}, "shared counters"),
        ({"counted": -1}, "shared counters"),
        ({"upstream": 2}, "at the tenant"),
    ],
)
def test_what_is_left_behind_is_told(change: dict[str, int], told: str) -> None:
    """Each trace by itself; a counter below zero is one too."""
    found = left_behind(BEFORE, replace(BEFORE, **change))

    assert 1 == len(found)
    assert told in found[0]


def test_nothing_left_behind() -> None:
    """The same again, or less, is fine."""
    assert [] == left_behind(BEFORE, replace(BEFORE, files=90, memory=70 << 20))


def test_workers_are_known_from_the_log(tmp_path: Path) -> None:
    """Those alive that said that they serve; half a line waits for its rest."""
    log = tmp_path / "log"
    line = json.dumps({"event": "worker_ready", "pid": os.getpid()})
    gone = json.dumps({"event": "worker_ready", "pid": 2**22 + 1})
    log.write_text(f"serves\n{gone}\n{line[:20]}")
    workers = Workers(log)
    before = list(workers.alive())
    with log.open("a") as more:
        more.write(f"{line[20:]}\n")

    assert [] == before
    assert [os.getpid()] == workers.alive()
    assert [os.getpid()] == workers.alive()


def test_what_is_told_has_the_counts() -> None:
    """Date, length, each blow, each verdict, and what was left."""
    verdicts = Counter({str(verdict): number for number, verdict in enumerate(Verdict, 10)})
    text = cli.told(
        {
            "started_at": "2026-01-02T03:04:05+00:00",
            "options": {"seconds": 600.0, "rate": 60.0, "seed": 1},
            "requests": 36000,
            "verdicts": dict(verdicts),
            "disorder": {"worker killed": 7, "inference cut": 5, "oauth 500": 4},
            "before": BEFORE.as_dict(),
            "after": BEFORE.as_dict(),
        }
    )

    assert "2026-01-02: 600 s at 60 requests/s, seed 1; 9 faults of the tenant, worker killed 7×" in text
    assert all(name in text for name in BLOWS)
    assert "| 36000 requests | 10 | 11 | 12 | 13 | 14 | 15 |" in text
    assert "open files 100 and 100, largest worker 80.0 MiB and 80.0 MiB" in text


@pytest.mark.e2e
def test_a_short_run_is_judged_by_what_it_counts(tmp_path: Path) -> None:
    """Five seconds for real: the result is written, and the exit status is its verdict."""
    done = CliRunner().invoke(
        cli.main, ["--seconds", "5", "--rate", "20", "--output-dir", str(tmp_path), "--quiet"]
    )
    assert (tmp_path / "chaos.json").exists(), done.output
    content = json.loads((tmp_path / "chaos.json").read_text())
    bad = content["verdicts"][str(Verdict.WRONG)] + content["verdicts"][str(Verdict.HUNG)]
    calm = content["calm"][str(Verdict.WRONG)] + content["calm"][str(Verdict.HUNG)]

    assert content["passed"] == (not bad and not calm and not content["left_behind"])
    assert (0 if content["passed"] else 1) == done.exit_code
    assert 0 < content["verdicts"][str(Verdict.RIGHT)]
    assert content["requests"] == sum(content["verdicts"].values())


@pytest.mark.parametrize("tool", ["chaos.cli", "soak"])
def test_help_shows_examples(tool: str) -> None:
    """Both commands teach how they are used, and when they fail."""
    result = CliRunner().invoke(import_module(f"perf.{tool}").main, ["--help"])

    assert 0 == result.exit_code
    assert f"python -m perf.{tool.partition('.')[0]} --seconds" in result.output
    assert "Exit status 1" in result.output
