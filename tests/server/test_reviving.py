"""Which worker is started when, as the main process decides it; the processes themselves are in tests/e2e."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess
from types import SimpleNamespace
from typing import Any

import pytest
from sanic.worker.constants import ProcessState

from server import reviving, runtime
from server.reviving import Crew
from services.board import Board


class Worker:
    """A worker of Sanic's, whose processes only stand for some."""

    pids = iter(range(1_000_000, 2_000_000))

    def __init__(self, name: str) -> None:
        self.name = name
        self.starts = 0
        self.exhausted = False
        self.state = ProcessState.ACKED
        self.exitcode = -9
        self.spawn()

    def spawn(self) -> None:
        self._current_process: Any = SimpleNamespace(pid=next(self.pids), alive=True)
        self._current_process.is_alive = lambda one=self._current_process: one.alive

    @property
    def pid(self) -> int:
        return int(self._current_process.pid)

    def is_alive(self) -> bool:
        return bool(self._current_process.alive)

    def set_state(self, state: ProcessState, force: bool) -> None:
        self.state = state

    def start(self) -> None:
        if self.exhausted:
            self._current_process.alive = False
            raise BlockingIOError("no more processes")
        self.starts += 1
        self.state = ProcessState.STARTED

    def die(self) -> None:
        self._current_process.alive = False
        self.state = ProcessState.FAILED


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What the crew did to the world: signals, and columns and gauges of the dead."""
    happened: list[tuple[str, Any]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: happened.append(("signal", (pid, number))))

    def joined(path: Any) -> Any:
        happened.append(("cleared", None))
        return SimpleNamespace(close=int)

    monkeypatch.setattr(reviving, "Board", joined)
    monkeypatch.setattr(reviving, "mark_process_dead", lambda pid: happened.append(("marked", pid)))
    return happened


def crew(*workers: Worker) -> Crew:
    """Who looks after these workers; it has seen them once."""
    manager = SimpleNamespace(_sync_states=lambda: None, _shutting_down=False, transient_processes=workers)
    one = Crew(manager)
    one.look()
    return one


def test_the_dead_are_cleared_before_another_is_started(told: list[tuple[str, Any]]) -> None:
    """Once, at the next look."""
    worker = Worker("one")
    watch = crew(worker)
    pid = worker.pid
    worker.die()
    for _ in range(3):
        watch.look()

    assert [("cleared", None), ("marked", pid)] == told
    assert 1 == worker.starts


def test_one_that_dies_again_and_again_is_started_once_a_second(told: list[tuple[str, Any]]) -> None:
    """A worker that cannot start must not use up the machine."""
    worker = Worker("one")
    watch = crew(worker)
    for _ in range(5):
        worker.die()
        watch.look()

    assert 1 == worker.starts


def test_an_old_worker_goes_when_the_new_one_serves(told: list[tuple[str, Any]]) -> None:
    """And only then comes the next one's turn."""
    first, second = Worker("one"), Worker("two")
    watch = crew(first, second)
    old = first.pid
    watch.renew(signal.SIGHUP, None)
    watch.look()
    watch.look()
    assert (1, 0, []) == (first.starts, second.starts, told)
    first.state = ProcessState.ACKED
    watch.look()

    assert [("signal", (old, signal.SIGHUP))] == told
    assert (1, 1) == (first.starts, second.starts)


def test_an_old_worker_that_is_dead_gets_no_signal(told: list[tuple[str, Any]]) -> None:
    """Its id may be another process's by now."""
    worker = Worker("one")
    watch = crew(worker)
    old = worker._current_process
    watch.renew(signal.SIGHUP, None)
    watch.look()
    old.alive = False
    worker.state = ProcessState.ACKED
    watch.look()

    assert [("cleared", None), ("marked", old.pid)] == told


def test_a_system_without_processes_does_not_end_the_gateway(
    told: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be started now is tried again, and the others go on serving."""
    worker, other = Worker("one"), Worker("two")
    watch = crew(worker, other)
    worker.die()
    worker.exhausted = True
    watch.look()
    worker.exhausted = False
    monkeypatch.setattr(reviving, "INTERVAL_SECONDS", -1.0)
    watch.look()

    assert (1, ProcessState.STARTED) == (worker.starts, worker.state)
    assert other.is_alive()


def test_nothing_is_started_while_the_gateway_stops(told: list[tuple[str, Any]]) -> None:
    """Neither for the dead nor for the old."""
    worker = Worker("one")
    watch = crew(worker)
    worker.die()
    watch.renew(signal.SIGHUP, None)
    watch._manager._shutting_down = True
    watch.look()

    assert 0 == worker.starts
    assert [] == told


def test_a_dead_workers_column_is_free_and_empty(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another column is free before it, which a new worker would take."""
    monkeypatch.setattr(runtime, "board_path", lambda: tmp_path / "board")
    mine = Board(tmp_path / "board", columns=8)
    context = multiprocessing.get_context("fork")

    def count() -> None:
        Board(tmp_path / "board").row("in flight").add(5)
        os._exit(1)

    other: BaseProcess = context.Process(target=count)
    other.start()
    other.join()
    seen = mine.row("in flight").total()
    Board(tmp_path / "board").close()

    assert (5, 0) == (seen, mine.row("in flight").total())
