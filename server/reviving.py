"""The main process's eye on its workers: the dead are replaced, and at SIGHUP the living, one by one.

Sanic's manager notices a death and does nothing. Its own restart ends all workers at once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import structlog
from prometheus_client.multiprocess import mark_process_dead
from sanic import Sanic
from sanic.worker.constants import ProcessState

from server import runtime
from services.board import Board

INTERVAL_SECONDS = 1.0
"""At most so often is a worker started anew that dies again and again."""

_DEAD = frozenset({ProcessState.FAILED, ProcessState.COMPLETED})

log = structlog.get_logger()


async def revive_workers(app: Sanic[Any, Any]) -> None:
    """Have the manager look for dead workers whenever it looks at their states, ten times a second."""
    manager: Any = getattr(app, "_manager", None)
    if manager is None:  # a single process, without a manager
        return
    crew = Crew(manager)
    manager._sync_states = crew.look
    if not os.isatty(0):  # else it is the terminal that has been closed
        signal.signal(signal.SIGHUP, crew.renew)


class Crew:
    """The manager's workers."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._sync_states: Callable[[], None] = manager._sync_states
        self._known: dict[int, BaseProcess] = {}
        self._cleared: set[int] = set()
        """Of the workers that are dead and not yet started anew."""
        self._revived: dict[str, float] = {}
        self._renewal_asked = False
        self._to_renew: list[Any] = []
        self._predecessors: dict[Any, BaseProcess] = {}
        """Who goes when the new worker serves; one at a time."""
        self._retired: list[BaseProcess] = []

    def renew(self, number: int, frame: object) -> None:
        """Replace every worker by a new one. A signal handler: only a wish."""
        self._renewal_asked = True

    def look(self) -> None:
        """See who has died and who has come up, and do what follows from it."""
        self._sync_states()
        if self._manager._shutting_down:
            return
        self._clear_after_the_dead()
        self._revive()
        self._go_on_renewing()

    def _clear_after_the_dead(self) -> None:
        """Nothing that a dead worker counted may count, not even until another takes its place."""
        now = {worker.pid: worker._current_process for worker in self._manager.transient_processes}
        self._known |= {pid: process for pid, process in now.items() if pid and pid not in self._cleared}
        dead = {pid for pid, process in self._known.items() if not process.is_alive()}
        if dead:
            Board(runtime.board_path()).close()  # whoever joins clears after the dead
        for pid in dead:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
            del self._known[pid]
        self._cleared = (self._cleared | dead) & now.keys()

    def _revive(self) -> None:
        now = time.monotonic()
        for worker in self._manager.transient_processes:
            if worker.state not in _DEAD or worker.is_alive():
                continue
            if now - self._revived.get(worker.name, 0.0) > INTERVAL_SECONDS:
                log.error("worker_died", worker=worker.name, exit_status=worker.exitcode)
                self._revived[worker.name] = now
                _start(worker)

    def _go_on_renewing(self) -> None:
        """Start a new worker; when it serves, let the old one finish what it has, and start the next.

        So there is always one more who accepts, and never more than twice as many processes: the next renewal
        waits until the last of the old ones has gone.
        """
        for worker, predecessor in list(self._predecessors.items()):
            if worker.state is not ProcessState.ACKED:
                return
            log.info("worker_renewed", worker=worker.name, old=predecessor.pid, new=worker.pid)
            del self._predecessors[worker]
            self._retired.append(predecessor)
            if predecessor.is_alive():  # else its id may be another process's
                os.kill(predecessor.pid or 0, signal.SIGHUP)
        self._retired = [process for process in self._retired if process.is_alive()]
        if self._renewal_asked and not self._to_renew and not self._retired:
            self._renewal_asked = False
            self._to_renew = list(self._manager.transient_processes)
        if self._to_renew:
            worker = self._to_renew.pop(0)
            self._predecessors[worker] = worker._current_process
            _start(worker)


def _start(worker: Any) -> None:
    """Start a new process for the worker. Where the system has none to give, it counts as one that died."""
    worker.set_state(ProcessState.RESTARTING, force=True)
    worker.spawn()
    try:
        worker.start()
    except OSError as exc:
        log.error("worker_not_started", worker=worker.name, reason=str(exc))
        worker.set_state(ProcessState.FAILED, force=True)
