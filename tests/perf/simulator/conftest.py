"""One simulator process for all tests of this directory, and a client of each tenant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Self

import httpx
import pytest

from perf.simulator.launch import Simulator

VERSION = "?api-version=2025-04-01-preview"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the process is an end-to-end test."""
    for item in items:
        if "simulator_process" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[Simulator]:
    """The process, started once."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(simulator_process: Simulator) -> Simulator:
    """The process with counters at zero and no faults."""
    simulator_process.reset()
    return simulator_process


def fetch_token(sim: Simulator, tenant: str = "alpha") -> str:
    """A token of a tenant."""
    key = sim.service_key(tenant)
    form = {
        "grant_type": "client_credentials",
        "client_id": key["clientid"],
        "client_secret": key["clientsecret"],
    }
    token: str = httpx.post(f"{key['url']}/oauth/token", data=form).json()["access_token"]
    return token


class Tenant:
    """A client with a token and a resource group; a context manager that closes its connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def __init__(self, sim: Simulator, name: str = "alpha") -> None:
        self.sim = sim
        self.name = name
        self.client = httpx.Client(
            base_url=sim.base_url,
            headers={"authorization": f"Bearer {fetch_token(sim, name)}", "ai-resource-group": "default"},
            timeout=10,
        )

    def get(self, path: str, **parameters: str | int) -> httpx.Response:
        """A GET with the tenant's headers."""
        return self.client.get(path, params=parameters or None)

    def url(self, model: str) -> str:
        """The URL of a model's first deployment."""
        url: str = self.sim.deployments(model, tenant=self.name)[0]["url"]
        return url

    def chat(self, model: str = "gpt-5", said: str = "echo: hello there", **fields: Any) -> httpx.Response:
        """A chat completion with one user message; `fields` are added to the body."""
        body = {"messages": [{"role": "user", "content": said}], **fields}
        if not model.startswith("gpt-"):
            body.setdefault("model", model)
        query = VERSION if model.startswith("gpt-") else ""
        return self.client.post(f"{self.url(model)}/chat/completions{query}", json=body)

    def embed(self, given: Any, **fields: Any) -> httpx.Response:
        """Embeddings; `fields` are added to the body."""
        url = f"{self.url('text-embedding-3-small')}/embeddings{VERSION}"
        return self.client.post(url, json={"input": given, **fields})


@pytest.fixture
def alpha(sim: Simulator) -> Iterator[Tenant]:
    """The first tenant, which has every model."""
    with Tenant(sim) as tenant:
        yield tenant


@pytest.fixture
def beta(sim: Simulator) -> Iterator[Tenant]:
    """The second tenant."""
    with Tenant(sim, "beta") as tenant:
        yield tenant


def frames(text: str) -> list[Any]:
    """The payloads of a stream, `[DONE]` as text."""
    lines = [part.removeprefix("data: ") for part in text.split("\n\n") if part]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def said(events: list[Any]) -> str:
    """The content of a stream's first choice."""
    deltas = [e["choices"][0]["delta"] for e in events if e != "[DONE]" and e.get("choices")]
    return "".join(delta.get("content") or "" for delta in deltas)
