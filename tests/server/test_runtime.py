"""The folder that the processes of one gateway share."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from server import runtime

ROOT = Path(__file__).parents[2]
PREPARE = "from server import runtime; print(runtime.prepare(), flush=True); "


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process of these tests looks here."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv(runtime.VARIABLE, raising=False)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)


def run(code: str) -> Path:
    """Run this in a process of its own and return the folder that it had."""
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    return Path(made.stdout.splitlines()[0])


def test_the_folder_goes_with_its_process() -> None:
    """A process that ends by itself leaves nothing."""
    assert not run(PREPARE).exists()


def test_a_killed_processes_folder_is_removed_by_the_next() -> None:
    """Its lock is free, and nobody needs it."""
    left = run(PREPARE + "import os; os.kill(os.getpid(), 9)")
    assert left.exists()
    run(PREPARE)

    assert not left.exists()


def test_a_folder_in_use_stays() -> None:
    """Another gateway on the same machine keeps its counters."""
    code = PREPARE + "import sys; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        used = Path(other.stdout.readline().strip())
        run(PREPARE)
        still_there = used.exists()
        other.communicate("")

    assert still_there


def test_a_folder_is_locked_before_others_look_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that starts at the same moment takes a free lock for one of the dead."""
    seen: list[list[Path]] = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for variable in (runtime.VARIABLE, "PROMETHEUS_MULTIPROC_DIR"):
        monkeypatch.setenv(variable, "")  # so that it is restored
    monkeypatch.setattr(fcntl, "flock", lambda *_: seen.append(list(tmp_path.glob("*/lock"))))
    folder = runtime.prepare()

    assert [[]] == seen
    assert (folder / "lock").exists()


def test_a_child_finds_its_parents_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the environment."""
    monkeypatch.setenv(runtime.VARIABLE, str(tmp_path))

    assert tmp_path == runtime.prepare()
    assert os.environ[runtime.VARIABLE] == str(tmp_path)
