"""SIGTERM: readiness fails first, what runs may end, and what never ends gets an answer that says so."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e import processes
from tests.e2e.asked import Asked, on_both_workers, raw_request, ready_workers, stream
from tests.e2e.bodies import CHAT, chat, events, said, within
from tests.e2e.conftest import Starter
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e

PACE = ("--chunk-interval-ms", "50")
LONG = 600  # tokens: thirty seconds at this pace
SECONDS = 1.0

CLAUDE, GEMINI = "anthropic--claude-4.6-sonnet", "gemini-3.5-flash"


def question(text: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the path and the body of each surface's way to ask this, not streamed where the body says."""
    turn = [{"role": "user", "content": text}]
    contents = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    return {
        "chat": (CHAT, {"model": "gpt-5", "messages": turn}),
        "messages": ("/v1/messages", {"model": CLAUDE, "max_tokens": 100, "messages": turn}),
        "responses": ("/v1/responses", {"model": "gpt-5", "input": text}),
        "gemini": (f"/v1beta/models/{GEMINI}:generateContent", contents),
        "bedrock": (
            f"/model/{CLAUDE}/invoke",
            {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": turn},
        ),
    }


STREAM_PATHS = {
    "gemini": f"/v1beta/models/{GEMINI}:streamGenerateContent?alt=sse",
    "bedrock": f"/model/{CLAUDE}/invoke-with-response-stream",
}
SURFACES = ["chat", "messages", "responses", "gemini", "bedrock"]


@dataclass
class Drained:
    """A gateway that was stopped while requests ran that would have gone on for long."""

    gateway: Gateway
    status: int
    took: float
    streams: dict[str, Asked]
    wholes: dict[str, Asked]
    silent: Asked
    """A stream that had no event yet."""


@pytest.fixture(scope="module")
def drained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drained]:
    """Five dialects, streamed and whole, and one second for all of it."""
    folder = tmp_path_factory.mktemp("drained")
    with (
        Simulator(*PACE, write_config=folder) as tenant,
        Gateway(folder / "config.json", extra={"drain_seconds": SECONDS}) as gateway,
    ):
        streams = {
            surface: Asked(gateway, STREAM_PATHS.get(surface, path), body | _streamed(surface))
            for surface, (path, body) in question(f"[[tokens:{LONG}]]").items()
        }
        for one in streams.values():
            one.begun()
        tenant.set_pace(latency_ms=30_000)
        wholes = {surface: Asked(gateway, *asked) for surface, asked in question("hello").items()}
        silent = Asked(gateway, CHAT, chat(stream=True))
        asked = len(streams) + len(wholes) + 1
        assert within(5, lambda: tenant.stats()["in_flight"] == asked)
        since = time.monotonic()
        status = gateway.stop()
        took = time.monotonic() - since
        for one in (*streams.values(), *wholes.values(), silent):
            one.ended()
        yield Drained(gateway, status, took, streams, wholes, silent)


def _streamed(surface: str) -> dict[str, Any]:
    return {} if surface in STREAM_PATHS else {"stream": True}


# Surface → what the end of an interrupted stream says.
FAREWELLS = {
    "chat": ('"code":"shutting_down"',),
    "messages": ("event: error\n", '"type":"overloaded_error"'),
    "responses": ("event: response.failed\n", '"error":{"code":"server_error"'),
    "gemini": ('"status":"UNAVAILABLE"',),
    "bedrock": ("serviceUnavailableException",),
}


@pytest.mark.parametrize("surface", SURFACES)
def test_a_stream_that_goes_on_too_long_ends_with_an_error(drained: Drained, surface: str) -> None:
    """It is told in the caller's dialect, in a body that is whole."""
    asked = drained.streams[surface]

    assert asked.failure is None
    assert 200 == asked.status
    for told in (*FAREWELLS[surface], "restarts"):
        assert told in asked.text
    assert "[DONE]" not in asked.text
    assert "message_stop" not in asked.text


# Surface → what an error's body has, besides its text.
ENVELOPES: dict[str, dict[str, Any]] = {
    "chat": {"error": {"type": "api_error", "code": "shutting_down", "param": None}},
    "messages": {"type": "error", "error": {"type": "overloaded_error"}},
    "responses": {"error": {"type": "api_error", "code": "shutting_down", "param": None}},
    "gemini": {"error": {"code": 503, "status": "UNAVAILABLE"}},
    "bedrock": {},
}


@pytest.mark.parametrize("surface", SURFACES)
def test_an_answer_that_takes_too_long_is_a_503(drained: Drained, surface: str) -> None:
    """In the caller's dialect; it says what happened and when to come back."""
    asked = drained.wholes[surface]
    body = json.loads(asked.data)
    text = body.get("error", body).pop("message")
    body.pop("request_id", None)

    assert 503 == asked.status
    assert "restarts" in text
    assert "send the request again" in text
    assert ENVELOPES[surface] == body
    assert "1" == asked.heads["retry-after"]
    assert "close" == asked.heads["connection"]


def test_a_stream_that_has_not_begun_is_a_503(drained: Drained) -> None:
    """Its status is still to be sent."""
    assert 503 == drained.silent.status
    assert "shutting_down" in drained.silent.text


def test_the_process_ends_in_order_and_in_time(drained: Drained) -> None:
    """With status 0, when the time to drain is over and not long after."""
    assert 0 == drained.status
    assert SECONDS < drained.took < SECONDS + 4


def test_the_log_knows_why_they_ended(drained: Drained) -> None:
    """No caller has left."""
    codes = [line.get("code") for line in drained.gateway.requests()]

    assert ["shutting_down"] * 11 == codes
    assert "Traceback" not in drained.gateway.log()


# --- before that ---


def ready(client: httpx.Client) -> tuple[int, str, str]:
    """Ask whether requests are wanted: status, what it says, and what becomes of the connection."""
    answer = client.get("/health/ready")
    return answer.status_code, answer.json()["status"], answer.headers["connection"]


def test_readiness_fails_first(stack: Starter) -> None:
    """In the lead /health/ready says 503, and everything is served, on old connections and on new ones."""
    started = stack(drain_lead_seconds=3.0)
    process = started.gateway.process
    assert process is not None

    def new() -> tuple[int, str, str]:
        with started.client() as client:
            return ready(client)

    with started.client() as old:
        assert (200, "ok", "keep-alive") == ready(old)
        process.send_signal(signal.SIGTERM)
        # Each worker hears of the stop by itself.
        assert within(2, lambda: all(new() == (503, "draining", "close") for _ in range(8)))
        assert within(0.5, lambda: ready(old)[0] == 503)
    asked = Asked(started.gateway, CHAT, chat()).ended()
    assert 200 == asked.status
    assert "close" == asked.heads["connection"]
    assert 0 == process.wait(20)


def test_nothing_new_is_accepted_while_draining(stack: Starter) -> None:
    """Connections are refused, so that a balancer asks another instance; a stream goes on to its end."""
    started = stack(*PACE)
    running = stream(started.gateway, 60)
    process = started.gateway.process
    assert process is not None
    process.send_signal(signal.SIGTERM)

    assert within(1, started.gateway.refuses)
    assert running.is_alive()
    assert "[DONE]" == events(running.ended().text)[-1]
    assert 0 == process.wait(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_at_once(
    stack: Starter, tmp_path: Path, number: int, monkeypatch: Any
) -> None:
    """Streams are cut, no process and no file is left, and the status tells the signal."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    started = stack(*PACE)
    running = stream(started.gateway, LONG)
    process = started.gateway.process
    assert process is not None
    family = processes.children(process)
    process.send_signal(number)
    assert within(2, lambda: _refuses(started.gateway.port))
    time.sleep(0.1)  # sooner it would be the same wish once more
    since = time.monotonic()
    process.send_signal(number)
    status = process.wait(10)

    assert 128 + number == status
    assert time.monotonic() - since < 3
    assert running.ended().failure is not None
    assert [] == processes.alive(family)
    assert [] == list(tmp_path.glob("aicore-gateway-*"))


def test_a_signal_that_is_repeated_at_once_is_one(stack: Starter) -> None:
    """`timeout` signals its child and then its group, and the child is in it: requests may finish."""
    started = stack(*PACE)
    running = stream(started.gateway, 40)
    process = started.gateway.process
    assert process is not None
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.001)

    assert "[DONE]" == events(running.ended().text)[-1]
    assert 0 == process.wait(10)


def _refuses(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return True
    connection.close()
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_every_process_drains_as_well(stack: Starter, number: int) -> None:
    """As a terminal's Ctrl-C does: that workers then hear of it twice is no second signal."""
    started = stack(*PACE)
    running = [stream(started.gateway, 40) for _ in range(4)]
    process = started.gateway.process
    assert process is not None
    family = processes.children(process)
    os.killpg(process.pid, number)
    status = process.wait(20)

    assert ["[DONE]"] * 4 == [events(one.ended().text)[-1] for one in running]
    assert 0 == status
    assert [] == processes.alive(family)
    assert "Traceback" not in started.gateway.log()


def test_a_worker_that_is_killed_while_draining(stack: Starter) -> None:
    """Only its own streams are cut, none takes its place, and the end is in order."""
    started = stack(*PACE, drain_seconds=2)
    running = on_both_workers(started.gateway, LONG)
    process = started.gateway.process
    assert process is not None
    family = processes.children(process)
    process.send_signal(signal.SIGTERM)
    assert within(2, lambda: _refuses(started.gateway.port))
    os.kill(ready_workers(started.gateway)[0], signal.SIGKILL)
    status = process.wait(20)
    cut = [one for one in running if one.ended().failure is not None]
    told = [one for one in running if "shutting_down" in one.text]

    assert 0 == status
    assert len(running) == len(cut) + len(told)
    assert cut
    assert told
    assert 2 == started.gateway.log().count('"worker_ready"')
    assert [] == processes.alive(family)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "stream"])
def test_leaving_while_draining_closes_the_upstream(stack: Starter, whole: bool) -> None:
    """Within 200 ms, as at any other time, and the end does not wait for it."""
    started = stack(*PACE)
    tenant = started.tenant
    body = chat("[[fault:slow:30]]") if whole else chat(f"[[tokens:{LONG}]]", stream=True)
    connection = raw_request(started.gateway, body)
    assert within(3, lambda: tenant.stats()["in_flight"] == 1)
    process = started.gateway.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    assert within(2, lambda: _refuses(started.gateway.port))
    connection.close()
    since = time.monotonic()
    assert within(1, lambda: tenant.stats()["in_flight"] == 0)
    took = time.monotonic() - since

    assert took < 0.2
    assert 0 == process.wait(5)


def test_callers_with_work_to_do_lose_nothing_in_the_lead(stack: Starter) -> None:
    """Connections that are in use end with an answer that says so; none is closed under a request."""
    started = stack(drain_lead_seconds=2.0)
    process = started.gateway.process
    assert process is not None
    statuses: list[int] = []
    headed = threading.Event()

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", started.gateway.port, timeout=5)
        closing = False
        while not closing:
            connection.request("POST", CHAT, json.dumps(chat()), {"x-api-key": CLIENT_KEY})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            closing = answer.getheader("connection") == "close"
            headed.set()
        connection.close()

    callers = [threading.Thread(target=call, daemon=True) for _ in range(8)]
    for caller in callers:
        caller.start()
    assert headed.wait(5)
    process.send_signal(signal.SIGTERM)
    for caller in callers:
        caller.join(10)

    assert not any(caller.is_alive() for caller in callers)
    assert {200} == set(statuses)
    assert 0 == process.wait(10)


def test_content_is_whole_up_to_the_error(drained: Drained) -> None:
    """What came before the error event is a part of the answer, in order."""
    chunks = events(drained.streams["chat"].text)

    assert said(chunks[:-1])
    assert "error" in chunks[-1]
    assert not any("error" in chunk for chunk in chunks[:-1])
