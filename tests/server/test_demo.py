"""`aicore-gateway demo` on machines that are not empty."""

from __future__ import annotations

import http.server
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from server import demo


class Running:
    """A process that goes on."""

    def poll(self) -> None:
        """Not ended."""


class Ready(http.server.BaseHTTPRequestHandler):
    """Answers 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not here."""


def test_a_proxy_is_not_asked_for_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a company's proxy is set for everything, the demo still sees its own gateway."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(demo, "_START_SECONDS", 2.0)
    with http.server.HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        running: Any = Running()
        demo._wait_ready(running, f"http://127.0.0.1:{server.server_port}/", tmp_path / "log")
        thread.join()


def test_a_second_signal_does_not_break_off_the_end() -> None:
    """What follows the first one is left to finish; afterwards all is as before."""
    before = signal.getsignal(signal.SIGINT)
    finished = False
    with demo._interruptible():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            finished = True

    assert finished
    assert before == signal.getsignal(signal.SIGINT)


def test_only_the_demos_own_configuration_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis or a limit in the environment is for another gateway."""
    seen: dict[str, Any] = {}

    class Started:
        def __init__(self, command: list[str], **options: Any) -> None:
            seen.update(options["env"])
            self.pid = 0

        def poll(self) -> int:
            return 0

    for name in ("REDIS_HOST", "RATE_LIMIT_PER_MINUTE", "HOST", "CONFIG_PATH"):
        monkeypatch.setenv(name, "foreign")
    monkeypatch.setattr(demo.subprocess, "Popen", Started)
    monkeypatch.setattr(demo, "_wait_ready", lambda *_: None)
    with demo._gateway(tmp_path, port=1, workers=1):
        pass

    assert not {"REDIS_HOST", "RATE_LIMIT_PER_MINUTE", "HOST", "CONFIG_PATH"} & seen.keys()
    assert "127.0.0.1" == seen["NO_PROXY"]
