"""Let a signal end Sanic's manager in order, at whatever moment it comes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

import structlog
from sanic import Sanic
from sanic.worker.process import Worker, WorkerProcess

from server.signals import asked

SPARE_SECONDS = 10.0
"""Beyond the time that workers take by themselves, before they are killed."""
TWICE_SECONDS = 0.05
"""So soon a second signal is still the first: `timeout`, for one, signals its child and then its group."""
_REPEAT_SECONDS = 1.0

_WORKER_PREFIX = f"{Worker.WORKER_PREFIX}-{WorkerProcess.SERVER_LABEL}"

log = structlog.get_logger()


def workers() -> list[BaseProcess]:
    """Return the worker processes that live: those of the manager, and those it has replaced."""
    return [one for one in multiprocessing.active_children() if one.name.startswith(_WORKER_PREFIX)]


async def stop_cleanly(app: Sanic[Any, Any], *, seconds: float) -> None:
    """Mend how the manager stops. `seconds` is how long workers may take.

    It speaks to its state's process inside the signal handler: where the signal interrupts it in the middle
    of such a talk, it waits for ever for an answer that the handler has taken. It keeps the listening socket
    until all workers have drained: connections would be accepted by the kernel and answered by nobody. It
    gives workers ten seconds. At the second signal it kills its whole process group, perhaps a shell's. And
    while it waits for workers to come up it goes on waiting for those that the signal has ended, and then
    kills the group as well. A signal that comes before it runs does not keep it from starting them.
    """
    manager: Any = getattr(app, "_manager", None)
    if manager is None:  # a single process, without a manager
        return
    poll, all_up, run = manager._poll_monitor, manager._all_workers_ack, manager.run

    first = 0.0

    def note(number: int, frame: object) -> None:
        nonlocal first
        now = time.monotonic()
        if not asked:
            first = now
        elif now - first < TWICE_SECONDS:
            return
        else:  # the second one means it
            _kill_workers()
        asked.append(number)

    def stopping() -> bool:
        return bool(asked) or manager._shutting_down

    def shut_down() -> None:
        manager._shutting_down = True
        _refuse(app)
        for process in workers():
            _end(manager, process)

    def poll_or_stop() -> Any:
        if asked and not manager._shutting_down:
            manager.shutdown()
            manager.monitor_publisher.send(None)  # ends the manager's loop
        return poll()

    manager.run = lambda: None if stopping() else run()
    manager.shutdown = shut_down
    manager.join = lambda: _wait_for_workers(seconds + SPARE_SECONDS)
    manager._poll_monitor = poll_or_stop
    manager._all_workers_ack = lambda: stopping() or all_up()
    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)


def _refuse(app: Sanic[Any, Any]) -> None:
    """Stop listening. The workers have the socket as well, and close it in their own time."""
    for server in app.state.server_info:
        if listening := server.settings.get("sock"):
            listening.close()


def _end(manager: Any, process: BaseProcess) -> None:
    """Ask a worker to drain. One that does not serve yet has no ears: just forked, it has its parent's."""
    newest = {one.name: one for one in manager.transient_processes}[process.name]
    serves = newest.pid != process.pid or manager.worker_state[process.name].get("state") == "ACKED"
    with suppress(ProcessLookupError):
        os.kill(process.pid or 0, signal.SIGTERM if serves else signal.SIGKILL)


def _kill_workers() -> None:
    for process in workers():
        process.kill()


def _wait_for_workers(seconds: float) -> None:
    """Wait until all have drained, and kill those that never do.

    They are asked again and again: one that has just come up is deaf for a moment, between its parent's
    signal handlers and its own. One that has heard takes no notice.
    """
    deadline = time.monotonic() + seconds
    while (left := workers()) and time.monotonic() < deadline:
        left[0].join(min(_REPEAT_SECONDS, deadline - time.monotonic()))
        for process in workers():
            process.terminate()
    for process in workers():
        log.error("worker_killed", worker=process.name, pid=process.pid, seconds=seconds)
        process.kill()
        process.join()
