"""Callers who hang up: the upstream is closed, and nothing stays behind."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from perf.simulator.launch import CLIENT_KEY
from tests.e2e.bodies import CHAT, chat, within
from tests.e2e.conftest import Stack

pytestmark = pytest.mark.e2e

SECONDS = 1.0


def raw_request(shared: Stack, body: object) -> socket.socket:
    """Send a request and return the connection, nothing read."""
    data = json.dumps(body).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {CLIENT_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", shared.gateway.port), timeout=10)
    connection.sendall(head.encode() + data)
    return connection


def in_flight(shared: Stack) -> int:
    return int(shared.tenant.stats()["in_flight"])


@pytest.mark.parametrize("model", ["gpt-5", "qwen3-max"])
def test_leaving_a_stream_closes_the_upstream(shared: Stack, model: str) -> None:
    """Within a second of the caller's leaving, the upstream sees the end of the connection (trap 17)."""
    shared.tenant.set_pace(chunk_interval_ms=50)
    with shared.client() as client:
        body = chat("[[tokens:600]]", model=model, stream=True)
        with client.stream("POST", CHAT, json=body) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: ")
        left_at = time.monotonic()

    assert within(SECONDS, lambda: shared.tenant.stats()["cancelled_streams"] == 1)
    assert time.monotonic() - left_at < SECONDS
    assert 0 == in_flight(shared)


def test_leaving_before_the_first_event_closes_the_upstream(shared: Stack) -> None:
    """A stream whose opening came from the upstream, but no content yet, is closed as well (trap 17)."""
    shared.tenant.set_fault("slow-token", arg=20, model="gpt-4.1")
    connection = raw_request(shared, chat(model="gpt-4.1", stream=True))
    assert within(3, lambda: in_flight(shared) == 1)
    connection.recv(100)
    connection.close()

    assert within(SECONDS, lambda: in_flight(shared) == 0)


def test_leaving_twenty_streams_at_once(shared: Stack) -> None:
    """No stream stays behind when many callers leave together, and the gateway answers on."""
    shared.tenant.set_pace(chunk_interval_ms=50)
    body = chat("[[tokens:600]]", stream=True)
    connections = [raw_request(shared, body) for _ in range(20)]
    assert all(connection.recv(10) for connection in connections)
    for connection in connections:
        connection.close()

    assert within(2, lambda: shared.tenant.stats()["cancelled_streams"] == 20)
    shared.tenant.reset()
    with shared.client() as client:
        assert 200 == client.post(CHAT, json=chat()).status_code


def test_one_who_left_is_in_the_log(shared: Stack) -> None:
    """The request's line says 499 or the status that was sent, and caller_left."""
    shared.tenant.set_pace(chunk_interval_ms=50)
    with shared.client() as client:
        heads = {"x-request-id": "left-early"}
        body = chat("[[tokens:600]]", stream=True)
        with client.stream("POST", CHAT, json=body, headers=heads) as answer:
            next(answer.iter_lines())

    def codes() -> list[str]:
        return [
            str(line.get("code")) for line in shared.gateway.requests() if line["request_id"] == "left-early"
        ]

    assert within(2, lambda: bool(codes()))
    assert ["caller_left"] == codes()


def test_a_slow_reader_gets_it_all(shared: Stack) -> None:
    """Back pressure: a reader slower than the upstream still gets every byte."""
    connection = raw_request(shared, chat("[[tokens:20000]]", stream=True))
    connection.settimeout(20)
    data = b""
    time.sleep(0.5)
    while not data.endswith(b"0\r\n\r\n"):
        piece = connection.recv(100_000)
        assert piece
        data += piece
    connection.close()

    assert b"data: [DONE]" in data
    assert data.count(b'"content":"') >= 20_000


def test_probes_answer_while_streams_run(shared: Stack) -> None:
    """Thirty open streams do not delay /health/live."""
    shared.tenant.set_pace(chunk_interval_ms=20)
    connections = [raw_request(shared, chat("[[tokens:400]]", stream=True)) for _ in range(30)]
    assert all(connection.recv(10) for connection in connections)
    statuses = [httpx.get(f"{shared.gateway.url}/health/live", trust_env=False, timeout=2).status_code]
    for connection in connections:
        connection.close()

    assert [200] == statuses
    assert within(2, lambda: shared.tenant.stats()["cancelled_streams"] == 30)


def test_leaving_a_whole_answer_closes_the_upstream(shared: Stack) -> None:
    """The same for an answer that is not streamed and has not begun (trap 17)."""
    shared.tenant.set_pace(latency_ms=3000)
    connection = raw_request(shared, chat())
    assert within(3, lambda: in_flight(shared) == 1)
    connection.close()

    assert within(SECONDS, lambda: in_flight(shared) == 0)
