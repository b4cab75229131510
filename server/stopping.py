"""Let a signal end Sanic's manager in order, at whatever moment it comes."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

from sanic import Sanic

from server.signals import asked


async def stop_cleanly(app: Sanic[Any, Any]) -> None:
    """Mend four things about how the manager stops.

    It speaks to its state's process inside the signal handler: where the signal interrupts it in the middle
    of such a talk, it waits for ever for an answer that the handler has taken. It keeps the listening socket
    until all workers have drained: connections would be accepted by the kernel and answered by nobody. And
    while it waits for workers to come up it goes on waiting for those that the signal has ended, and then
    kills its whole process group. A signal that comes before it runs does not keep it from starting them.
    """
    manager: Any = getattr(app, "_manager", None)
    if manager is None:  # a single process, without a manager
        return
    poll, shut_down, all_up, run = (
        manager._poll_monitor, manager.shutdown, manager._all_workers_ack, manager.run,
    )  # fmt: skip

    def note(number: int, frame: object) -> None:
        if asked:  # the second one means it
            manager.kill()
        asked.append(number)

    def stopping() -> bool:
        return bool(asked) or manager._shutting_down

    def refuse_and_shut_down() -> None:
        _refuse(app, manager)
        shut_down()

    def poll_or_stop() -> Any:
        if asked and not manager._shutting_down:
            manager.shutdown()
            manager.monitor_publisher.send(None)  # ends the manager's loop
        return poll()

    manager.run = lambda: None if stopping() else run()
    manager.shutdown = refuse_and_shut_down
    manager._poll_monitor = poll_or_stop
    manager._all_workers_ack = lambda: stopping() or all_up()
    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)


def _refuse(app: Sanic[Any, Any], manager: Any) -> None:
    """Stop listening, and end the workers that do not serve yet."""
    for server in app.state.server_info:
        if listening := server.settings.get("sock"):
            listening.close()
    for process in manager.processes:
        if not _is_up(manager, process):
            _kill(process)


def _is_up(manager: Any, process: Any) -> bool:
    """Whether the worker has come as far as to take the signal that asks it to drain."""
    return bool(manager.worker_state.get(process.name, {}).get("state") == "ACKED")


def _kill(process: Any) -> None:
    """End a worker that serves nothing yet: just forked, it would take a signal for its parent's."""
    with suppress(AttributeError, AssertionError, ProcessLookupError):  # never started, or gone
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
