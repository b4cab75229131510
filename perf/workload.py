"""What is sent: requests with a prompt of a given size, ready as bytes, and where they go."""

from __future__ import annotations

import itertools
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ujson

from perf.http1 import request_head
from perf.surfaces import Endpoint, Question

_WORDS = "the harbour was quiet before dawn and every boat had come home with its nets full of silver light "
_COUNTER = "#0000000000"
# Starts where the clock is: a second run must not find the answers of the first in a gateway's cache.
_numbers = itertools.count(time.time_ns() // 1000)


_BESIDE_V1 = ("/v1/", "/v1beta/", "/health", "/model/", "/anthropic/", "/openai/")
"""Paths that stand beside `/v1`, not below it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A base URL taken apart. Raises ValueError when it is not an absolute http(s) URL."""

    base_url: str
    tls: ssl.SSLContext | None = None
    host: str = field(init=False)
    port: int = field(init=False)
    prefix: str = field(init=False)
    authority: str = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{self.base_url!r} is not an http:// or https:// URL")
        if parts.username is not None or parts.password is not None:  # results quote the URL
            raise ValueError("a URL must not carry a password: give the key with --key")
        set_ = object.__setattr__
        set_(self, "host", parts.hostname)
        set_(self, "port", parts.port or {"http": 80, "https": 443}[parts.scheme])
        set_(self, "prefix", parts.path.rstrip("/"))
        set_(self, "authority", parts.netloc)
        if parts.scheme == "https" and self.tls is None:
            set_(self, "tls", ssl.create_default_context())

    def path(self, path: str) -> str:
        """The path below the base URL; a `/v1` at the end of the base is not said twice."""
        prefix = self.prefix
        if prefix.endswith("/v1") and path.startswith(_BESIDE_V1):
            prefix = prefix.removesuffix("/v1")
        return prefix + path


def tls_context(*, ca: Path | None = None, insecure: bool = False) -> ssl.SSLContext:
    """Verification against `ca` (PEM) or the system's store; none at all when `insecure`."""
    context = ssl.create_default_context(cafile=str(ca) if ca else None)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def prompt(size: int) -> str:
    """Text of exactly `size` ASCII characters."""
    return (_WORDS * (size // len(_WORDS) + 1))[:size]


def _counter() -> bytes:
    """As long as `_COUNTER`, and another one each time."""
    return b"#%010d" % (next(_numbers) % 10_000_000_000)


def fresh_prompt(size: int) -> str:
    """Text of exactly `size` ASCII characters that no other request has; where there is room for a number."""
    return prompt(size) if size < len(_COUNTER) else _counter().decode() + prompt(size - len(_COUNTER))


def encode(body: Mapping[str, Any]) -> bytes:
    """JSON as the usual clients write it."""
    return ujson.dumps(body, ensure_ascii=False, escape_forward_slashes=False).encode()


class Workload:
    """Requests of one kind, ready as bytes.

    Each differs from the last by a number in its prompt, or a gateway that shares the work of identical
    requests would be measured doing nothing; `identical` asks for just that. `headers` may carry a key:
    it is never part of a result.
    """

    def __init__(
        self,
        label: str,
        target: Target,
        endpoint: Endpoint,
        question: Question,
        *,
        headers: Mapping[str, str] | None = None,
        identical: bool = False,
    ) -> None:
        self.label = label
        self.stream = question.stream
        self.dialect = endpoint.dialect
        self._mark = endpoint.mark
        payload = b"" if endpoint.body is None else encode(endpoint.body(question))
        before, self._after = (payload, None) if identical else _split(payload)
        fields = {"accept": self.dialect.content_type.decode() if self.stream else "application/json"}
        fields |= headers or {}
        if payload:
            fields.setdefault("content-type", "application/json")
        path = target.path(endpoint.at(question))
        self._before = request_head(endpoint.method, path, target.authority, fields, len(payload)) + before

    def parts(self) -> Sequence[bytes]:
        """The next request, as buffers to be written one after the other."""
        if self._after is None:
            return (self._before,)
        return (self._before + _counter(), self._after)

    def accepts(self, body: bytes) -> bool:
        """Whether a unary answer carries the endpoint's mark."""
        return self._mark in body


def _split(payload: bytes) -> tuple[bytes, bytes | None]:
    """Cut out room for a number in the prompt; None where the prompt is too short for one."""
    at = payload.find(_WORDS[: len(_COUNTER)].encode())
    if at < 0:
        return payload, None
    return payload[:at], payload[at + len(_COUNTER) :]


def bearer(key: str | None) -> dict[str, str]:
    """The header that carries a key; none without one."""
    return {"authorization": f"Bearer {key}"} if key else {}
