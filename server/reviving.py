"""Start a worker anew that has died: Sanic's manager notices, and does nothing."""

from __future__ import annotations

import time
from typing import Any

import structlog
from sanic import Sanic

INTERVAL_SECONDS = 1.0
"""At most so often is a worker started anew that dies again and again."""

_DEAD = frozenset({"FAILED", "COMPLETED"})

log = structlog.get_logger()


async def revive_workers(app: Sanic[Any, Any]) -> None:
    """Have the manager look for dead workers whenever it looks at their states.

    The new worker takes over the dead one's column of the shared counters, and clears it.
    """
    manager: Any = getattr(app, "_manager", None)
    if manager is None:  # a single process, without a manager
        return
    sync_states = manager._sync_states
    revived: dict[str, float] = {}

    def sync_states_and_revive() -> None:
        sync_states()
        if manager._shutting_down:
            return
        now = time.monotonic()
        for process in list(manager.transient_processes):
            if process.state.name not in _DEAD or process.is_alive():
                continue
            if now - revived.get(process.name, 0.0) > INTERVAL_SECONDS:
                log.error("worker_died", worker=process.name, exit_status=process.exitcode)
                revived[process.name] = now
                process.restart()

    manager._sync_states = sync_states_and_revive
