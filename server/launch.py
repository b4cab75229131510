"""Start Sanic's multi-worker manager on a configuration, and tell people when it serves."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.managers import SyncManager
from typing import Any

from sanic import Sanic
from sanic.exceptions import SanicException
from sanic.mixins import startup
from sanic.worker.loader import AppLoader

from handlers.wire import CallerConnection
from server import create_app, logs
from server.app import NAME, VERSION
from server.settings import Settings
from server.signals import asked

_ORPHAN_SECONDS = 1.0


class CannotListen(OSError):
    """The address cannot be listened on. The text says why, and what to do."""


def serve(settings: Settings) -> None:
    """Serve until a signal ends it. Raises CannotListen before anything is started."""
    _check_port(settings.host, settings.port)
    if not os.isatty(0):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are workers to renew
    logs.setup(settings.log_level)
    if sys.platform == "linux":
        # Workers share the imported modules instead of importing again: half the start-up time.
        Sanic.start_method = "fork"
        Sanic.START_METHOD_SET = False
    loader = AppLoader(factory=partial(_application, settings))
    app = loader.load()
    app.main_process_ready(partial(_announce, settings=settings))
    app.prepare(
        host=settings.host.strip("[]"),
        port=settings.port,
        workers=settings.workers,
        access_log=False,
        motd=False,
        protocol=CallerConnection,
    )
    startup.Manager = _start_state_process  # type: ignore[attr-defined]
    gc.freeze()  # workers inherit all this: their collectors need not walk it, and so copy its pages
    Sanic.serve(primary=app, app_loader=loader)
    if len(asked) > 1:  # not in order
        sys.exit(128 + asked[-1])


def _start_state_process() -> SyncManager:
    """Start the process that keeps what the manager and its workers know of each other, as Sanic does.

    Who signals every process of the gateway would end it at once, and the manager with it. And were the main
    process killed, nobody would end it at all.
    """
    manager = SyncManager()
    manager.start(_stay_with_parent, (os.getpid(),))
    return manager


def _stay_with_parent(parent: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _application(settings: Settings) -> Sanic[Any, Any]:
    """Make the application, in the main process and again in each worker.

    A forked worker inherits the main process's one, which it must not use: name and listeners belong there.
    So do the signal handlers, until the worker sets its own.
    """
    if "SANIC_WORKER_NAME" in os.environ:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(SanicException):
        Sanic.unregister_app(Sanic.get_app(NAME))
    return create_app(settings=settings)


async def _announce(app: Sanic[Any, Any], *, settings: Settings) -> None:
    host = f"[{settings.host.strip('[]')}]" if ":" in settings.host else settings.host
    workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    accounts = ", ".join(account.name for account in settings.sub_accounts)
    text = (
        f"aicore-gateway {VERSION} serves on http://{host}:{settings.port} with {workers}\n"
        f"configured by {settings.source}; sub-accounts: {accounts}"
    )
    print(text, file=sys.stderr, flush=True)


_REMEDIES: Mapping[int, str] = {
    errno.EADDRINUSE: "choose another port with --port, or stop what listens there",
    errno.EACCES: "choose a port of 1024 or above with --port",
}


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as exc:
            remedy = _REMEDIES.get(exc.errno or 0, "choose another address with --host")
            raise CannotListen(f"cannot listen on {host}:{port}: {exc.strerror}\n{remedy}") from exc
