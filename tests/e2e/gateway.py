"""The real gateway process, as tests start it: on a free port, in its own session, stopped by its id."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0
STOP_SECONDS = 90.0
FOREIGN = ("HOST", "PORT", "CONFIG_PATH", "LOG_LEVEL", "REDIS_HOST", "REDIS_PORT", "RATE_LIMIT_ENABLED")


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gateway:
    """`aicore-gateway serve` with this configuration file. `extra` is merged into the file's document.

    Another `command` is told the port where it says `{port}`, and the configuration by CONFIG_PATH.
    """

    def __init__(
        self,
        config: Path,
        *,
        workers: int = 2,
        extra: dict[str, Any] | None = None,
        command: list[str] | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        document = {**json.loads(config.read_text()), **(extra or {}), "port": self.port, "workers": workers}
        self.config = config.with_name(f"gateway-{self.port}.json")
        self.config.write_text(json.dumps(document))
        self.log_path = self.config.with_suffix(".log")
        command = command or [sys.executable, "-m", "server", "serve", "--config", str(self.config)]
        self._command = [part.replace("{port}", str(self.port)) for part in command]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the process and return when it is ready."""
        environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        environment |= {"CONFIG_PATH": str(self.config), "PYTHONUNBUFFERED": "1"}
        with self.log_path.open("wb") as log:
            # Its own session: Sanic's manager kills its process group when a worker cannot start.
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self._until_ready()
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask the process to end and return its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End everything that was started, at once."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def refuses(self) -> bool:
        """Whether nobody listens any more."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False

    def log(self) -> str:
        """Return all that the process wrote."""
        return self.log_path.read_text(errors="replace")

    def requests(self) -> list[dict[str, Any]]:
        """Return the log's request lines."""
        lines = [line for line in self.log().splitlines() if line.startswith("{")]
        return [entry for line in lines if (entry := json.loads(line)).get("event") == "request"]

    def _until_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the gateway ended at once:\n{self.log()}")
            try:
                with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the gateway was not ready in time:\n{self.log()}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # nothing of it may outlive the test
