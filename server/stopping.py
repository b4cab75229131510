"""Let a signal end Sanic's manager in order, at whatever moment it comes."""

from __future__ import annotations

import signal
from typing import Any

from sanic import Sanic


async def stop_cleanly(app: Sanic[Any, Any]) -> None:
    """Mend three things about how the manager stops.

    It speaks to its state's process inside the signal handler: where the signal interrupts it in the middle
    of such a talk, it waits for ever for an answer that the handler has taken. It keeps the listening socket
    until all workers have drained: connections would be accepted by the kernel and answered by nobody. And
    while it waits for workers to come up it goes on waiting for those that the signal has ended, and then
    kills its whole process group.
    """
    manager: Any = getattr(app, "_manager", None)
    if manager is None:  # a single process, without a manager
        return
    poll, shut_down, all_up = manager._poll_monitor, manager.shutdown, manager._all_workers_ack
    signals: list[int] = []

    def note(number: int, frame: object) -> None:
        if signals:  # the second one means it
            manager.kill()
        signals.append(number)

    def refuse_and_shut_down() -> None:
        for server in app.state.server_info:
            if listening := server.settings.get("sock"):
                listening.close()
        shut_down()

    def poll_or_stop() -> Any:
        if signals and not manager._shutting_down:
            manager.shutdown()
            manager.monitor_publisher.send(None)  # ends the manager's loop
        return poll()

    manager.shutdown = refuse_and_shut_down
    manager._poll_monitor = poll_or_stop
    manager._all_workers_ack = lambda: bool(signals) or manager._shutting_down or all_up()
    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
