"""One simulator and one gateway of two workers for the whole run; a test that wants its own asks `stack`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.callers import forget
from tests.e2e.gateway import Gateway

RESTRICTED_KEY = "sk-only-mistral"
HASHED_KEY = "sk-known-by-its-digest"
OTHER_KEY = "sk-somebody-else"
KEYS = [
    CLIENT_KEY,
    {"name": "restricted", "key": RESTRICTED_KEY, "models": ["mistral*"]},
    f"sha256:{hashlib.sha256(HASHED_KEY.encode()).hexdigest()}",
    {"name": "other", "key": OTHER_KEY},
]
BODY_LIMIT = 1_000_000


@dataclass(frozen=True)
class Stack:
    """A gateway and the tenants behind it."""

    tenant: Simulator
    gateway: Gateway

    @property
    def sent(self) -> int:
        """Requests that came upstream with a good token."""
        stats = self.tenant.stats()
        return int(stats["requests"] - stats["statuses"].get("401", 0))

    def client(self, key: str = CLIENT_KEY) -> httpx.Client:
        """Return a client that shows this key; to be closed."""
        return httpx.Client(
            base_url=self.gateway.url,
            headers={"authorization": f"Bearer {key}"},
            timeout=20,
            trust_env=False,
        )

    def openai(self, **options: Any) -> OpenAI:
        """Return the SDK's client, without retries of its own; to be closed."""
        return OpenAI(base_url=f"{self.gateway.url}/v1", api_key=CLIENT_KEY, max_retries=0, **options)


Starter = Callable[..., Stack]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Starter]:
    """Start a simulator with these options and a gateway of one's own."""
    with ExitStack() as opened:

        def start(*options: str, workers: int = 2, **extra: Any) -> Stack:
            tenant = opened.enter_context(Simulator(*options, write_config=tmp_path))
            gateway = Gateway(tmp_path / "config.json", workers=workers, extra=extra)
            return Stack(tenant, opened.enter_context(gateway))

        yield start


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The pair that most tests share."""
    folder = tmp_path_factory.mktemp("shared")
    extra: dict[str, Any] = {"secret_authentication_tokens": KEYS, "limits": {"body_bytes": BODY_LIMIT}}
    extra["routing"] = {"queue_seconds": 0.5}  # tests with a tenant at its limit want to hear so
    with (
        Simulator(write_config=folder) as tenant,
        Gateway(folder / "config.json", workers=2, extra=extra) as gateway,
    ):
        yield Stack(tenant, gateway)


@pytest.fixture
def shared(shared_stack: Stack) -> Stack:
    """The shared pair, with the simulator as it was at its start, and all deployments well."""
    shared_stack.tenant.reset()
    forget(shared_stack.gateway)
    return shared_stack


@pytest.fixture
def tenant(shared: Stack) -> Simulator:
    """The shared simulator."""
    return shared.tenant


@pytest.fixture
def http(shared: Stack) -> Iterator[httpx.Client]:
    """A plain HTTP client with a good key."""
    with shared.client() as client:
        yield client


@pytest.fixture
def anonymous(shared: Stack) -> Iterator[httpx.Client]:
    """A plain HTTP client without any key."""
    with httpx.Client(base_url=shared.gateway.url, timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def sdk(shared: Stack) -> Iterator[OpenAI]:
    """OpenAI's client, without retries of its own."""
    with shared.openai() as client:
        yield client
