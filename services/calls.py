"""One request's story, from its arrival to its log line, and who sent it."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from services.deployments import Deployment
from services.errors import GatewayError
from services.translation.replies import Answer, Relay, Usage


class Caller(msgspec.Struct, frozen=True):
    """Whoever holds a key. `id` is the key's SHA-256 and is never shown; `name` is for logs and metrics."""

    name: str
    id: bytes
    models: tuple[str, ...] = ()
    """Globs over public model names; empty means all."""
    requests_per_minute: int | None = None
    heartbeats: bool = True
    """Whether its streams get signs of life while the model is silent: some clients choke on them."""

    def may_use(self, model: str) -> bool:
        """Whether this key is open to the public model name."""
        return not self.models or any(fnmatchcase(model, glob) for glob in self.models)


ANONYMOUS = Caller(name="anonymous", id=b"")


class Reply(msgspec.Struct):
    """Where an answer came from. Shared by all requests that one upstream call serves."""

    model: str
    """The public name of the model that answers; another than was asked for after a fallback."""
    deployment: Deployment
    attempts: int
    dropped: tuple[str, ...]
    upstream_seconds: float
    """From the first attempt's start to the answer, or to the stream's first event."""
    upstream_id: str = ""
    answer: Answer | None = None
    relay: Relay | None = None
    cached: bool = False
    _farewell: bytes | None = None

    def farewell(self, error: GatewayError) -> bytes:
        """Return the end of a stream that cannot be completed: the same for all who share it."""
        if self._farewell is None:
            self._farewell = self.relay.fail(error) if self.relay is not None else b""
        return self._farewell

    @property
    def usage(self) -> Usage | None:
        """Tokens; of a stream known at its end."""
        part = self.answer or self.relay
        return part.usage if part is not None else None

    @property
    def finish_reason(self) -> str:
        """Why the model stopped; of a stream known at its end."""
        part = self.answer or self.relay
        return part.finish_reason if part is not None else ""


class Call:
    """What is known of one request while it is served. Times are `time.perf_counter` seconds."""

    __slots__ = (
        "attempts",
        "body_bytes",
        "caller",
        "coalesced",
        "error",
        "first_byte_at",
        "first_token_at",
        "model",
        "reply",
        "request_id",
        "started",
        "status",
        "stream",
        "surface",
        "upstream_since",
        "waited",
    )

    def __init__(self, *, surface: str, caller: Caller, request_id: str, started: float) -> None:
        self.surface = surface
        self.caller = caller
        self.request_id = request_id
        self.started = started
        self.model = ""
        self.body_bytes = 0
        self.stream = False
        self.attempts = 0
        self.upstream_since: float | None = None
        """When the first attempt began."""
        self.reply: Reply | None = None
        self.coalesced = False
        self.waited = 0.0
        """Seconds spent waiting for the upstream, or for the request that this one shares."""
        self.first_byte_at: float | None = None
        """When the first piece of a stream went out, which may be a heartbeat."""
        self.first_token_at: float | None = None
        self.error: BaseException | None = None
        self.status = 0

    def own_milliseconds(self) -> float:
        """Return the gateway's own share of the time until now: all of it but the wait for the upstream."""
        return max(0.0, (time.perf_counter() - self.started - self.waited) * 1000)

    def story(self) -> dict[str, Any]:
        """Return the fields of the log line: no body, no key, no prompt."""
        told: dict[str, Any] = {
            "request_id": self.request_id,
            "surface": self.surface,
            "caller": self.caller.name,
            "model": self.model,
            "status": self.status,
            "ms": _milliseconds(time.perf_counter() - self.started),
        }
        if self.stream:
            told["stream"] = True
        if self.first_token_at is not None:
            told["ttft_ms"] = _milliseconds(self.first_token_at - self.started)
        if self.reply is not None:
            self._tell_reply(told, self.reply)
        elif self.attempts:
            told["attempts"] = self.attempts
        return told

    def _tell_reply(self, told: dict[str, Any], reply: Reply) -> None:
        told["served_by"] = reply.model
        told["sub_account"] = reply.deployment.sub_account
        told["deployment"] = reply.deployment.id
        told["attempts"] = reply.attempts
        told["upstream_ms"] = _milliseconds(reply.upstream_seconds)
        if self.coalesced:
            told["coalesced"] = True
        if reply.cached:
            told["cached"] = True
        if reply.upstream_id:
            told["upstream_id"] = reply.upstream_id
        if (usage := reply.usage) is not None:
            told["prompt_tokens"] = usage.prompt_tokens
            told["completion_tokens"] = usage.completion_tokens
        if reason := reply.finish_reason:
            told["finish_reason"] = reason


def _milliseconds(seconds: float) -> float:
    """Return milliseconds with one decimal; `round` takes four times as long."""
    return int(seconds * 10_000 + 0.5) / 10
