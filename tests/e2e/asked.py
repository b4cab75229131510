"""Requests that run beside the test: each on a connection and a thread of its own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from typing import Any

import httpx
import psutil

from perf.simulator.launch import CLIENT_KEY
from tests.e2e.bodies import CHAT, chat, within
from tests.e2e.gateway import Gateway


class Asked(threading.Thread):
    """One request, from its start on. What came is in the members once it has ended."""

    def __init__(self, gateway: Gateway, path: str, body: Mapping[str, Any], **heads: str) -> None:
        super().__init__(daemon=True)
        self.status = 0
        self.heads: Mapping[str, str] = {}
        self.data = b""
        self.failure: Exception | None = None
        """Why there is no whole answer: the connection was refused, or has ended within it."""
        self._head_is_here = threading.Event()
        self._begun = threading.Event()
        self._call = (gateway.url + path, body, heads | {"x-api-key": CLIENT_KEY})
        self.start()

    @property
    def text(self) -> str:
        """The body so far."""
        return self.data.decode(errors="replace")

    def begun(self, seconds: float = 10.0) -> Asked:
        """Wait for the first byte of the body."""
        assert self._begun.wait(seconds), self.failure
        return self

    def ended(self, seconds: float = 20.0) -> Asked:
        """Wait for the end."""
        self.join(seconds)
        assert not self.is_alive()
        return self

    def run(self) -> None:
        """Ask."""
        url, body, heads = self._call
        try:
            with httpx.stream("POST", url, json=body, headers=heads, timeout=30, trust_env=False) as answer:
                self.status, self.heads = answer.status_code, answer.headers
                for piece in answer.iter_raw():
                    self.data += piece
                    self._begun.set()
        except httpx.HTTPError as exc:
            self.failure = exc
        self._begun.set()


def stream(gateway: Gateway, tokens: int, **heads: str) -> Asked:
    """Ask for a chat stream of so many tokens, and return when it has begun."""
    return Asked(gateway, CHAT, chat(f"[[tokens:{tokens}]]", stream=True), **heads).begun()


def raw_request(gateway: Gateway, body: Mapping[str, Any]) -> socket.socket:
    """Send a chat request and return the connection, nothing read."""
    data = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nx-api-key: {CLIENT_KEY}\r\n"
    head += f"Content-Length: {len(data)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    connection.sendall(head.encode() + data)
    return connection


def ready_workers(gateway: Gateway) -> list[int]:
    """Return the process ids of the workers that have begun to serve, in that order."""
    return [json.loads(line)["pid"] for line in gateway.log().splitlines() if '"worker_ready"' in line]


def serving(pid: int, port: int) -> int:
    """Return how many connections to this port the process serves."""
    connections = psutil.Process(pid).net_connections("tcp")
    return sum(one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED for one in connections)


def on_both_workers(gateway: Gateway, tokens: int) -> list[Asked]:
    """Return streams of which both of the newest workers serve at least one; the kernel deals them out."""
    assert within(10, lambda: len(ready_workers(gateway)) >= 2)
    streams: list[Asked] = []
    while not all(serving(pid, gateway.port) for pid in ready_workers(gateway)[-2:]):
        assert len(streams) < 60
        streams += [stream(gateway, tokens) for _ in range(2)]
    return streams
