"""What happened, for assertions: counters, peaks, and the last request each deployment saw."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

import msgspec

MAX_KEPT_BODY = 1 << 20
"""Larger request bodies are counted, not kept."""


class Gauge(msgspec.Struct):
    """Requests of one deployment, or of all."""

    requests: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    streams: int = 0
    cancelled_streams: int = 0

    def begin(self) -> None:
        """A request came in."""
        self.requests += 1
        self.in_flight += 1
        if self.in_flight > self.peak_in_flight:
            self.peak_in_flight = self.in_flight

    def end(self, status: int) -> None:
        """Its answer is complete, or its client gone."""
        self.in_flight -= 1
        self.statuses[status] += 1


class Stats:
    """Counters of the whole process. Nothing in it grows with the number of requests."""

    def __init__(self) -> None:
        self.connections_accepted = 0
        self.connections_open = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything but the connections that are open, and what is still in flight."""
        flying = getattr(self, "deployments", {})
        self.deployments: dict[str, Gauge] = {
            name: Gauge(in_flight=g.in_flight, peak_in_flight=g.in_flight)
            for name, g in flying.items()
            if g.in_flight
        }
        in_flight = sum(g.in_flight for g in self.deployments.values())
        self.all = Gauge(in_flight=in_flight, peak_in_flight=in_flight)
        self.management: Counter[str] = Counter()
        self.token_fetches: Counter[str] = Counter()
        self.token_refusals: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.cancelled: deque[dict[str, Any]] = deque(maxlen=1000)
        self.last: dict[str, Any] = {}
        """The last request of each deployment, as the protocol read it."""
        self.connections_accepted = self.connections_open

    def begin(self, deployment_id: str) -> None:
        """A request for this deployment came in."""
        self.all.begin()
        gauge = self.deployments.get(deployment_id)
        if gauge is None:
            gauge = self.deployments[deployment_id] = Gauge()
        gauge.begin()

    def end(self, deployment_id: str, status: int) -> None:
        """Its answer is complete, or its client gone."""
        self.all.end(status)
        gauge = self.deployments.get(deployment_id)
        if gauge is not None and gauge.in_flight:
            gauge.end(status)

    def stream_cancelled(self, deployment_id: str, frames_sent: int) -> None:
        """The client closed while a stream was still being sent."""
        self.all.cancelled_streams += 1
        self.deployments[deployment_id].cancelled_streams += 1
        self.cancelled.append({"deployment": deployment_id, "frames_sent": frames_sent, "at": time.time()})

    def report(self) -> dict[str, Any]:
        """The answer to `GET /_sim/stats`, but for the last requests."""
        return {
            **msgspec.to_builtins(self.all, str_keys=True),
            "deployments": msgspec.to_builtins(self.deployments, str_keys=True),
            "management": self.management,
            "token_fetches": self.token_fetches.total(),
            "token_fetches_by_tenant": self.token_fetches,
            "token_refusals": self.token_refusals.total(),
            "faults": self.faults,
            "cancelled": list(self.cancelled),
            "connections": {"accepted": self.connections_accepted, "open": self.connections_open},
        }
