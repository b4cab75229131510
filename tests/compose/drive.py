"""Bring the deployment up, run the checks, take it down; a table of what was seen. Called by run.sh."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from checks import CHECKS
from stack import CheckFailed, Stack

DOWN_SECONDS = 60.0
LOG_LINES = 25


def main() -> int:
    """Exit status: 0 if everything held."""
    signal.signal(signal.SIGTERM, _interrupt)
    limit = float(os.environ.get("COMPOSE_TEST_SECONDS", "240"))
    stack = Stack(deadline=time.monotonic() + limit)
    rows: list[tuple[bool, str, str]] = []
    print(f"compose-test: project {stack.project}, https on {stack.https_port}", flush=True)
    try:
        if all(_step(rows, name, run, stack) for name, run in (("build", build), ("bring up", bring_up))):
            for name, run in CHECKS:
                _step(rows, name, run, stack)
        if not all(held for held, _, _ in rows):
            print(_logs(stack))
    except KeyboardInterrupt:
        rows.append((False, "interrupted", ""))
    finally:
        stack.deadline = time.monotonic() + DOWN_SECONDS  # taken down even when time is up
        if not os.environ.get("COMPOSE_TEST_KEEP"):
            _step(rows, "take down", take_down, stack)
    failed = sum(not held for held, _, _ in rows)
    print(_table(rows), f"\n{len(rows) - failed} held, {failed} failed", flush=True)
    return 1 if failed else 0


def build(stack: Stack) -> str:
    """The image, from server/Dockerfile."""
    if not stack.builds:
        return "left out: GATEWAY_IMAGE is given"
    stack.compose("build", "-q", "gateway", seconds=200)
    return "done"


def bring_up(stack: Stack) -> str:
    """Everything healthy."""
    stack.compose("up", "-d", "--no-build", "--wait", "--wait-timeout", "90", seconds=100)
    return "all healthy"


def take_down(stack: Stack) -> str:
    """Nothing of the project is left."""
    stack.compose("down", "-v", "--remove-orphans", "-t", "5", seconds=DOWN_SECONDS)
    label = f"label=com.docker.compose.project={stack.project}"
    left = [stack.run("docker", kind, "ls", "-q", *extra, "--filter", label) for kind, extra in (
        ("container", ("-a",)), ("network", ()), ("volume", ()))]  # fmt: skip
    if any(left):
        raise CheckFailed(f"left behind: {' '.join(left)}")
    return "nothing left"


def _step(rows: list[tuple[bool, str, str]], name: str, run: Callable[[Stack], str], stack: Stack) -> bool:
    start = time.monotonic()
    try:
        held, seen = True, run(stack)
    except Exception as error:  # a check that breaks is a check that failed; the others still run
        held, seen = (
            False,
            str(error) if isinstance(error, CheckFailed) else f"{type(error).__name__}: {error}",
        )
    seen += f"  [{time.monotonic() - start:.1f} s]"
    rows.append((held, name, seen))
    print(f"  {'ok  ' if held else 'FAIL'} {name}: {seen}", flush=True)
    return held


def _logs(stack: Stack) -> str:
    try:
        return stack.compose("logs", "--no-color", f"--tail={LOG_LINES}") + "\n" + stack.compose("ps", "-a")
    except CheckFailed as failure:
        return f"(no logs: {failure})"


def _table(rows: list[tuple[bool, str, str]]) -> str:
    width = max(len(name) for _, name, _ in rows)
    lines = [
        f"{'ok  ' if held else 'FAIL'}  {name:{width}}  {seen[:150].partition(chr(10))[0]}"
        for held, name, seen in rows
    ]
    return "\n".join(["", *lines])


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
