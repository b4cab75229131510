"""The command lines, each once against the stub on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from perf.run import until_interrupted
from tests.perf.stub import StubServer, stub_server

TOOLS = ("load", "replay", "monitor", "run", "report", "bench")


@pytest.fixture
def stub() -> Iterator[StubServer]:
    """A stub in a loop of its own: the commands run theirs."""
    ready: list[StubServer] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with stub_server() as server:
            ready.append(server)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait(2)
    yield ready[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(2)
    loop.close()


def invoke(tool: str, *arguments: object) -> Result:
    """Run a tool's command line."""
    return CliRunner().invoke(import_module(f"perf.{tool}").main, [str(argument) for argument in arguments])


def read(path: Path) -> dict[str, Any]:
    """A result file."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.mark.parametrize("tool", TOOLS)
def test_help_shows_examples(tool: str) -> None:
    """Every tool teaches how it is used."""
    result = invoke(tool, "--help")

    assert (result.exit_code, f"python -m perf.{tool}" in result.output) == (0, True)


@pytest.mark.e2e
def test_load_writes_a_result_without_the_key(stub: StubServer, tmp_path: Path) -> None:
    """The key was sent, and is nowhere in what is kept or shown."""
    output = tmp_path / "load.json"
    result = invoke(
        "load",
        "--base-url",
        stub.url,
        "--key",
        "canary-key",
        "--stream",
        "--requests",
        20,
        "--output",
        output,
    )

    assert (result.exit_code, read(output)["measured"]["ok"]) == (0, 20)
    assert stub.seen[0][1]["authorization"] == "Bearer canary-key"
    assert "canary-key" not in output.read_text() + result.output


@pytest.mark.e2e
@pytest.mark.parametrize("surface", ["embeddings", "models", "health"])
def test_load_calls_what_has_no_streams(stub: StubServer, surface: str) -> None:
    """Each with its own path."""
    assert invoke("load", "--base-url", stub.url, "--surface", surface, "--requests", 5).exit_code == 0


@pytest.mark.e2e
def test_load_fails_when_nothing_succeeded(stub: StubServer) -> None:
    """Exit status 1, and the kind of error with its count."""
    result = invoke("load", "--base-url", stub.url, "--model", "busy", "--requests", 3)

    assert (result.exit_code, "status 429" in result.output) == (1, True)


@pytest.mark.e2e
def test_run_judges_and_writes_both_files(
    stub: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its options from the environment."""
    settings = {"BACKEND_URL": stub.url, "CONCURRENCY": "2", "DURATION": "0.6", "OUTPUT_DIR": str(tmp_path)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    result = invoke("run", "--pid", os.getpid(), "--interval", 0.1)
    (judged,) = (read(path) for path in tmp_path.glob("perf_test_*.json"))
    (watched,) = (read(path) for path in tmp_path.glob("resources_*.json"))

    assert (result.exit_code, [one["grade"] for one in judged["verdicts"]]) == (0, ["excellent"] * 3)
    assert watched["summary"]["samples"] > 2


@pytest.mark.e2e
def test_run_fails_when_a_target_is_missed(stub: StubServer, tmp_path: Path) -> None:
    """An upstream that refuses everything keeps no target."""
    result = invoke(
        "run",
        "--base-url",
        stub.url,
        "--model",
        "busy",
        "--target",
        "chat",
        "--duration",
        0.2,
        "--output-dir",
        tmp_path,
    )

    assert (result.exit_code, "no answer" in (next(tmp_path.glob("perf_test_*")).read_text())) == (1, True)


@pytest.mark.e2e
def test_an_interrupted_run_keeps_what_it_measured(stub: StubServer, tmp_path: Path) -> None:
    """Ctrl-C after a moment of an hour: the target under way is judged and written, the others left out."""
    command = [sys.executable, "-m", "perf.run", "--base-url", stub.url, "--duration", "3600",
               "--target", "chat", "--target", "models", "--output-dir", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 10
    while not stub.seen and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=10)
    (judged,) = (read(path) for path in tmp_path.glob("perf_test_*.json"))

    assert (1, True) == (process.returncode, "interrupted; left out: models" in told)
    assert (["chat"], True) == ([*judged["targets"]], judged["targets"]["chat"]["ok"] > 0)


def test_an_interrupt_between_two_targets_keeps_the_first() -> None:
    """No loop is there to catch the signal."""

    def measure_one(name: str, _: float) -> dict[str, Any]:
        if name == "models":
            raise KeyboardInterrupt
        return {"interrupted": False}

    assert {"chat": {"interrupted": False}} == until_interrupted([("chat", 1), ("models", 1)], measure_one)


@pytest.mark.parametrize("tool", ["load", "run"])
@pytest.mark.parametrize("key", ["canary\nx-evil: 1", "canary\r", "canary€"])
def test_a_key_that_no_header_can_carry_is_a_usage_error(tool: str, key: str) -> None:
    """Named by its option, and not quoted."""
    result = invoke(tool, "--key", key)

    assert (2, True, False) == (result.exit_code, "--key" in result.output, "canary" in result.output)


@pytest.mark.e2e
def test_monitor_watches_this_process(tmp_path: Path) -> None:
    """And writes what it saw."""
    output = tmp_path / "resources.json"
    result = invoke(
        "monitor", "--pid", os.getpid(), "--duration", 0.2, "--interval", 0.05, "--output", output
    )

    assert (result.exit_code, read(output)["summary"]["rss"]["max"] > 2**20) == (0, True)


@pytest.mark.e2e
def test_replay_reports_both_sides(stub: StubServer, tmp_path: Path) -> None:
    """Recorded and replayed latency, and where to resume."""
    recording, output = tmp_path / "t.jsonl", tmp_path / "replay.json"
    recording.write_text('{"at":0,"path":"/v1/models","method":"GET","status":200,"total_ms":5}\n' * 3)
    result = invoke("replay", recording, "--base-url", stub.url, "--output", output)
    found = read(output)

    assert (result.exit_code, found["next"], found["measured"]["ok"]) == (0, 3, 3)
    assert found["recorded"]["latency_ms"]["p50"] == pytest.approx(5, rel=1e-3)


def test_a_bad_url_is_a_usage_error() -> None:
    """Named, before anything is sent."""
    result = invoke("load", "--base-url", "http://user:secret@h")

    assert (result.exit_code, "must not carry a password" in result.output) == (2, True)
