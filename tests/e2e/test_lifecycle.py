"""Starting and stopping the real process: streams finish, statuses tell, nothing is left."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e import processes
from tests.e2e.bodies import CHAT, chat, content, events, said, within
from tests.e2e.conftest import Stack, Starter
from tests.e2e.gateway import Gateway, free_port

pytestmark = pytest.mark.e2e

SERVE = (sys.executable, "-m", "server", "serve", "--config")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the gateway makes its folders, instead of /tmp."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


class Streams:
    """Callers that each read one stream to its end."""

    def __init__(self, stack: Stack, count: int, tokens: int) -> None:
        self.texts: list[str] = []
        self._begun = threading.Semaphore(0)
        self._stack = stack
        self._threads = [threading.Thread(target=self._read, args=(tokens,)) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            assert self._begun.acquire(timeout=10)

    def _read(self, tokens: int) -> None:
        body = chat(f"[[tokens:{tokens}]]", stream=True)
        with self._stack.client() as client, client.stream("POST", CHAT, json=body) as answer:
            text = ""
            for piece in answer.iter_text():
                if not text:
                    self._begun.release()
                text += piece
        self.texts.append(text)

    def join(self) -> list[list[Any]]:
        for thread in self._threads:
            thread.join(20)
        return [events(text) for text in self.texts]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_streams_finish_before_the_end(stack: Starter, scratch: Path, number: int) -> None:
    """A signal lets running streams come to their end; then the status is 0 and nothing is left."""
    started = stack("--chunk-interval-ms", "30")
    process = started.gateway.process
    assert process is not None
    family = processes.children(process)
    assert list(scratch.glob("aicore-gateway-*"))
    streams = Streams(started, count=6, tokens=50)
    status = started.gateway.stop(number)
    read = streams.join()

    assert 0 == status
    assert ["[DONE]"] * 6 == [one[-1] for one in read]
    assert 1 == len({said(one) for one in read})
    assert len(family) >= 2
    assert [] == processes.alive(family)
    assert [] == list(scratch.iterdir())


def test_idle_connections_do_not_delay_the_end(stack: Starter) -> None:
    """Kept connections without a request are closed; the end comes in a few seconds."""
    started = stack()
    with started.client() as client:
        assert 200 == client.post(CHAT, json=chat()).status_code
        since = time.monotonic()
        status = started.gateway.stop()

    assert 0 == status
    assert time.monotonic() - since < 5


def test_the_port_is_free_at_once(stack: Starter) -> None:
    """The same address can be served again right after the end."""
    started = stack()
    with started.client() as client:
        assert 200 == client.post(CHAT, json=chat()).status_code
    assert 0 == started.gateway.stop()
    started.gateway.start()
    with started.client() as client:
        assert 200 == client.post(CHAT, json=chat()).status_code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", [0.05, 0.4, 0.6, 1.0])
def test_a_signal_while_starting(tmp_path: Path, scratch: Path, after: float, number: int) -> None:
    """At whatever moment of the start it comes, all ends within five seconds and nothing is left."""
    key = tmp_path / "alpha.key.json"
    key.write_text(
        json.dumps(
            {
                "clientid": "a",
                "clientsecret": "b",
                "url": "http://127.0.0.1:9",
                "serviceurls": {"AI_API_URL": "http://127.0.0.1:9"},
            }
        )
    )
    config = tmp_path / "config.json"
    account = {"service_key_json": "alpha.key.json"}
    config.write_text(json.dumps({"subAccounts": {"alpha": account}, "port": free_port(), "workers": 2}))
    process = processes.start(*SERVE, str(config), cwd=tmp_path, output=tmp_path / "log")
    try:
        time.sleep(after)
        process.send_signal(number)
        process.wait(5)
        left = processes.session_of(process)
    finally:
        processes.end(process)

    assert [] == left
    assert [] == list(scratch.iterdir()), (tmp_path / "log").read_text()
    if number == signal.SIGTERM or after > 0.1:  # before, Python itself tells of Ctrl-C
        assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_taken_port_is_said_in_a_line(tmp_path: Path) -> None:
    """Another listener on the port: status 1, the address and what to do; no traceback."""
    with Simulator(write_config=tmp_path), socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = processes.run(
            "serve", "--config", "config.json", "--port", str(port), "--workers", "1", cwd=tmp_path
        )
    errors = [line for line in done.stderr.splitlines() if not line.startswith("note:")]

    assert 1 == done.returncode
    assert f"127.0.0.1:{port}" in errors[0]
    assert "--port" in done.stderr
    assert len(errors) <= 2


def test_a_broken_configuration_lists_every_fault(tmp_path: Path) -> None:
    """Status 1, and each fault with the path of its key, in one go."""
    config = {
        "subAccounts": {"a": {"service_key_json": "missing.json"}, "b": {"resource_group": 5}},
        "secret_authentication_tokens": ["${NOT_SET_ANYWHERE}"],
        "port": "many",
        "routing": {"stratgy": "ordered"},
        "dedup": {"mode": "sometimes"},
        "timeouts": {"stall": -1},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = processes.run("serve", "--config", "config.json", cwd=tmp_path)

    assert 1 == done.returncode
    for told in (
        "missing.json",
        "subAccounts.b",
        "NOT_SET_ANYWHERE",
        "port",
        "stratgy",
        "strategy",
        "dedup.mode",
        "timeouts.stall",
    ):
        assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_anonymous_service_beyond_loopback_is_refused(tmp_path: Path) -> None:
    """Without keys the gateway does not listen on other addresses, unless it is told to (trap 50)."""
    with Simulator(write_config=tmp_path):
        document = json.loads((tmp_path / "config.json").read_text()) | {"secret_authentication_tokens": []}
        (tmp_path / "config.json").write_text(json.dumps(document))
        done = processes.run("serve", "--config", "config.json", "--host", "0.0.0.0", cwd=tmp_path)

    assert 1 == done.returncode
    assert "allow" in done.stderr


def ready_workers(started: Stack) -> list[int]:
    """Return the process ids of the workers that have begun to serve, in that order."""
    lines = [json.loads(line) for line in started.gateway.log().splitlines() if '"worker_ready"' in line]
    return [line["pid"] for line in lines]


def test_a_worker_that_dies_is_replaced(stack: Starter) -> None:
    """One worker is killed: the gateway serves on and has its number of workers again."""
    started = stack(workers=2)
    process = started.gateway.process
    assert process is not None
    assert within(10, lambda: len(ready_workers(started)) == 2)
    before = processes.children(process)
    os.kill(ready_workers(started)[0], signal.SIGKILL)

    def served() -> bool:
        try:
            with started.client() as client:
                return content(client.post(CHAT, json=chat())) == "hello there"
        except httpx.HTTPError:
            return False

    assert within(10, lambda: len(ready_workers(started)) == 3)
    assert within(5, lambda: served() and len(processes.alive(processes.children(process))) == len(before))
    assert all(served() for _ in range(10))


def test_sanics_own_command_line(tmp_path: Path, scratch: Path) -> None:
    """`sanic server:create_app --factory --workers 2` serves the configuration that CONFIG_PATH names."""
    sanic = Path(sys.executable).with_name("sanic")
    command = [str(sanic), "server:create_app", "--factory", "--host", "127.0.0.1", "--port", "{port}"]
    with (
        Simulator(write_config=tmp_path) as tenant,
        Gateway(tmp_path / "config.json", command=[*command, "--workers", "2", "--no-motd"]) as gateway,
    ):
        with Stack(tenant, gateway).client() as client:
            answers = [client.post(CHAT, json=chat(stream=stream)) for stream in (False, True)]
        status = gateway.stop()

    assert [200, 200] == [answer.status_code for answer in answers]
    assert 0 == status
    assert [] == list(scratch.iterdir())


def test_the_gateway_is_ready_without_any_tenant(tmp_path: Path) -> None:
    """With every tenant down the process is alive but not ready, and it recovers by itself."""
    port = free_port()
    with Simulator(write_config=tmp_path, port=port):
        pass
    gateway = Gateway(tmp_path / "config.json", extra={"discovery": {"refresh_seconds": 1}})
    process = processes.start(*SERVE, str(gateway.config), cwd=tmp_path, output=gateway.log_path)

    def status(path: str) -> int:
        try:
            return httpx.get(gateway.url + path, trust_env=False, timeout=5).status_code
        except httpx.HTTPError:
            return 0

    def asked() -> int:
        key = {"x-api-key": CLIENT_KEY}
        return httpx.post(gateway.url + CHAT, json=chat(), headers=key, trust_env=False).status_code

    try:
        assert within(10, lambda: status("/health/live") == 200)
        assert 503 == status("/health/ready")
        with Simulator(write_config=tmp_path, port=port):
            assert within(15, lambda: status("/health/ready") == 200)
            # The sub-accounts come back one after the other; the first makes it ready for what it has.
            assert within(15, lambda: asked() == 200)
        process.send_signal(signal.SIGTERM)
        ended = process.wait(10)
    finally:
        processes.end(process)

    assert 0 == ended


def test_the_main_process_says_where_it_serves(stack: Starter) -> None:
    """The log has the address, the number of workers and the sub-accounts; no line tells of a failure."""
    started = stack()
    text = started.gateway.log()

    assert f"http://127.0.0.1:{started.gateway.port}" in text
    assert "2 workers" in text
    assert "alpha, beta" in text
    assert '"level":"error"' not in text


def test_help_is_quick_and_whole(tmp_path: Path) -> None:
    """--help names each command without loading the server."""
    done = processes.run("--help", cwd=tmp_path)

    assert 0 == done.returncode
    for command in ("serve", "demo", "check", "models", "init", "keys"):
        assert command in done.stdout
