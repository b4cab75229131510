"""Binds the socket, runs the loop, and ends cleanly on SIGINT and SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
from collections.abc import Callable

import uvloop

from perf.simulator.app import Simulator
from perf.simulator.player import Wheel
from perf.simulator.protocol import Connection

BACKLOG = 4096


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one. Raises OSError."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def tls_context(certificate: str, key: str, client_authority: str | None) -> ssl.SSLContext:
    """TLS for the listener; with an authority, clients may show a certificate of it. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_authority:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def serve(
    simulator: Simulator,
    listener: socket.socket,
    *,
    tls: ssl.SSLContext | None = None,
    tick_ms: int = 1,
    ready: Callable[[], None],
) -> None:
    """Serve until a signal; `ready` is called once connections are accepted."""
    uvloop.run(_serve(simulator, listener, tls, tick_ms, ready))


async def _serve(
    simulator: Simulator,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    tick_ms: int,
    ready: Callable[[], None],
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    wheel = Wheel(loop, tick_ms=tick_ms)
    # Requests leave no cycles behind, so the collector only has to look now and then.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    server = await loop.create_server(
        lambda: Connection(simulator.answer, simulator.stats, wheel), sock=listener, ssl=tls, backlog=BACKLOG
    )
    ready()
    await ended.wait()
    server.close()  # open connections end with the loop
