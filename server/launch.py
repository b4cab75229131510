"""Start Sanic's multi-worker manager on a configuration, and tell people when it serves."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from sanic import Sanic
from sanic.exceptions import SanicException
from sanic.worker.loader import AppLoader

from handlers.wire import DrainingProtocol
from server import create_app, logs
from server.app import GRACE_SECONDS, NAME, VERSION
from server.settings import Settings


class CannotListen(OSError):
    """The address cannot be listened on. The text says why, and what to do."""


def serve(settings: Settings) -> None:
    """Serve until a signal ends it. Raises CannotListen before anything is started."""
    _check_port(settings.host, settings.port)
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
        protocol=DrainingProtocol,
    )
    Sanic.serve(primary=app, app_loader=loader)
    _wait_for_workers(GRACE_SECONDS)


def _wait_for_workers(seconds: float) -> None:
    """Let draining workers finish: the manager gives up after ten seconds, and a container ends with us."""
    deadline = time.monotonic() + seconds
    for process in multiprocessing.active_children():
        process.join(max(0.0, deadline - time.monotonic()))


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
