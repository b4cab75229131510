"""How the main process stops, as far as it decides; the processes themselves are in tests/e2e."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from server import stopping


class Worker:
    """A process that drains when it has heard of it."""

    name, pid = "Sanic-Server-0-0", 1_000_000

    def __init__(self, *, deaf: int) -> None:
        self.deaf = deaf
        """How many signals it misses."""
        self.alive = True
        self.killed = False
        self.waited: list[float] = []

    def join(self, seconds: float | None = None) -> None:
        self.waited.append(seconds or 0.0)

    def terminate(self) -> None:
        self.deaf -= 1
        self.alive = self.deaf >= 0

    def kill(self) -> None:
        self.killed, self.alive = True, False


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    one = Worker(deaf=1)
    monkeypatch.setattr(stopping, "workers", lambda: [one] if one.alive else [])
    return one


def test_a_worker_that_was_deaf_is_asked_again(worker: Worker) -> None:
    """It has just come up: between its parent's signal handlers and its own it hears nothing."""
    stopping._wait_for_workers(60.0)

    assert (False, False) == (worker.alive, worker.killed)


def test_a_worker_that_never_ends_is_killed(worker: Worker) -> None:
    """When its time is over."""
    stopping._wait_for_workers(0.0)

    assert worker.killed


@pytest.fixture
def asked() -> list[int]:
    """The signals that count."""
    return []


@pytest.fixture
async def handler(monkeypatch: pytest.MonkeyPatch, asked: list[int]) -> Callable[[], None]:
    """What a signal does."""
    handlers: dict[int, Any] = {}
    monkeypatch.setattr("server.stopping.asked", asked)
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    manager = SimpleNamespace(_poll_monitor=None, _all_workers_ack=None, run=None, _shutting_down=False)
    app: Any = SimpleNamespace(_manager=manager)
    await stopping.stop_cleanly(app, seconds=1.0)
    return lambda: handlers[signal.SIGTERM](signal.SIGTERM, None)


@pytest.mark.parametrize(("after", "killed"), [(0.001, False), (0.1, True)])
def test_only_a_signal_of_its_own_means_it(
    worker: Worker,
    asked: list[int],
    handler: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    after: float,
    killed: bool,
) -> None:
    """`timeout` signals its child and then its group: that is one wish, and requests may finish."""
    now = 1000.0
    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=lambda: now))
    handler()
    now += after
    handler()

    assert (killed, 2 if killed else 1) == (worker.killed, len(asked))
