"""Commands and process trees, as tests start and look at them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from tests.e2e.gateway import FOREIGN, ROOT

SECONDS = 30.0


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would configure a gateway."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN and "AICORE" not in name}
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)} | more


def run(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `aicore-gateway` with these arguments to its end."""
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=cwd,
        env=environment(COLUMNS="200", **more),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        start_new_session=True,
    )


def start(*command: str, cwd: Path, output: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its output in a file."""
    with output.open("wb") as file:
        return subprocess.Popen(
            command, cwd=cwd, env=environment(**more), stdout=file, stderr=file, start_new_session=True
        )


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return all that the process has started, directly or not."""
    return psutil.Process(process.pid).children(recursive=True)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run."""
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def session_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the ids of processes in the session that began with this one."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == process.pid:
                found.append(pid)
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of it behind."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
