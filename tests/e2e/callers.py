"""Callers on raw sockets, who can hang up or stop reading at any moment; and what they leave behind."""

from __future__ import annotations

import json
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

from perf.simulator.launch import CLIENT_KEY, Simulator
from services.board import Board
from tests.e2e.bodies import within
from tests.e2e.gateway import Gateway
from tests.e2e.nginx_server import NginxServer

POLL_SECONDS = 0.005
SETTLE_SECONDS = 0.5
"""From the end that caller and upstream see to the counters of a worker on a busy machine."""
HOST = "127.0.0.1"
_LEFT = re.compile(r"^aicore_callers_left_total\{.*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Way:
    """A way to the gateway: straight to its port, or through nginx with TLS."""

    port: int
    tls: ssl.SSLContext | None = None

    @classmethod
    def to(cls, server: Gateway | NginxServer) -> Way:
        """Return the way through this server."""
        if isinstance(server, Gateway):
            return cls(server.port)
        return cls(server.https_port, server.ssl_context())


class RawCaller:
    """One request on a connection of its own. Nothing is read until it is asked for."""

    def __init__(
        self, way: Way, path: str, body: Mapping[str, Any], *, buffer: int | None = None, **heads: str
    ) -> None:
        data = json.dumps(body).encode()
        fields = {
            "host": "localhost",
            "authorization": f"Bearer {CLIENT_KEY}",
            "content-type": "application/json",
            "content-length": str(len(data)),
            **{name.replace("_", "-"): value for name, value in heads.items()},
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        plain = socket.socket()
        plain.settimeout(20)
        if buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.connect((HOST, way.port))
        self.socket = way.tls.wrap_socket(plain, server_hostname="localhost") if way.tls else plain
        self.socket.sendall(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + data)
        self.data = bytearray()

    def until(self, part: bytes, *, seconds: float = 20.0) -> Self:
        """Read until this has come. Raises TimeoutError, or EOFError if it cannot come any more."""
        deadline = time.monotonic() + seconds
        seen = 0
        while self.data.find(part, max(0, seen - len(part))) < 0:
            seen = len(self.data)
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            piece = self.socket.recv(65_536)
            if not piece:
                raise EOFError(self.data[-500:])
            self.data += piece
        return self

    def leave(self) -> float:
        """Hang up; return when (`time.monotonic`)."""
        self.socket.close()
        return time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()


@contextmanager
def full_backlog() -> Iterator[socket.socket]:
    """A listening socket whose queue is full: further connections stay half open."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server((HOST, 0), backlog=0))
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener


def accounts_with_unreachable(config: Path, model: str, listener: socket.socket) -> dict[str, Any]:
    """Return the configuration's sub-accounts, with a deployment of `model` behind that full queue."""
    accounts: dict[str, Any] = json.loads(config.read_text())["subAccounts"]
    url = f"http://{HOST}:{listener.getsockname()[1]}/v2/inference/deployments/d0"
    accounts["alpha"]["deployment_models"] = {model: [url]}
    return accounts


def seconds_until(claim: Callable[[], bool], *, since: float, most: float = 3.0) -> float:
    """Return how long after `since` the claim became true; infinity if it did not in that time."""
    while time.monotonic() < since + most:
        if claim():
            return time.monotonic() - since
        time.sleep(POLL_SECONDS)
    return math.inf


def counted(gateway: Gateway, tenant: Simulator) -> dict[str, int]:
    """Return what the workers' shared counters say is in flight, without what is zero."""
    names = ["in-flight"]
    names += [
        f"in-flight {name}/{one['id']}" for name in tenant.tenants for one in tenant.deployments(tenant=name)
    ]
    with closing(Board(_board_path(gateway))) as board:
        totals = {name: board.row(name).total() for name in names}
    return {name: total for name, total in totals.items() if total}


def left_counted(gateway: Gateway, tenant: Simulator) -> dict[str, int]:
    """Return what is still counted when everybody has seen the end, and the workers have had time to."""
    within(SETTLE_SECONDS, lambda: not counted(gateway, tenant))
    return counted(gateway, tenant)


def workers(gateway: Gateway) -> list[psutil.Process]:
    """Return the worker processes: those that have the shared counters before them."""
    assert gateway.process is not None
    children = psutil.Process(gateway.process.pid).children(recursive=True)
    return [child for child in children if _boards(child)]


def callers_left(gateway: Gateway) -> float:
    """Return how many callers the metrics say have hung up; workers are up to a second late."""
    heads = {"authorization": f"Bearer {CLIENT_KEY}"}
    text = httpx.get(f"{gateway.url}/metrics", headers=heads, trust_env=False, timeout=10).text
    return sum(map(float, _LEFT.findall(text)))


def ends(gateway: Gateway, request_id: str) -> list[dict[str, Any]]:
    """Return the request lines of the log with this id."""
    return [line for line in gateway.requests() if line["request_id"] == request_id]


def forget(gateway: Gateway) -> None:
    """Have the workers know nothing of their deployments' health: what a test did to them is over.

    Only while nothing is in flight, for that is counted in the same place.
    """
    with closing(Board(_board_path(gateway))) as board:
        if within(2, lambda: board.row("in-flight").total() == 0):
            board._memory[board._cells_at :] = bytes(len(board._memory) - board._cells_at)


@cache
def _board_path(gateway: Gateway) -> Path:
    return next(iter(_boards(workers(gateway)[0])))


def _boards(process: psutil.Process) -> set[Path]:
    mapped: Iterable[Any] = process.memory_maps()
    return {Path(one.path) for one in mapped if one.path.endswith("/board")}
