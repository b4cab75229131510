"""Configuration files of the older proxy, as they are, against tenants whose discovery does not work."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from perf.simulator.launch import Simulator
from tests.e2e.bodies import CHAT, chat, content, events, said, within
from tests.e2e.conftest import Stack
from tests.e2e.gateway import Gateway, free_port
from tests.e2e.processes import end, start

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def undiscovered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulator, Path]]:
    """A tenant that answers every question about deployments with 403."""
    folder = tmp_path_factory.mktemp("older")
    with Simulator("--fault", "management=403", write_config=folder) as tenant:
        yield tenant, folder


def flat(folder: Path) -> Path:
    """The older proxy's flat format, for one tenant."""
    static = json.loads((folder / "config.static.json").read_text())
    alpha = static["subAccounts"]["alpha"]
    document: dict[str, Any] = {
        "service_key_json": alpha["service_key_json"],
        "deployment_models": alpha["deployment_models"],
        "resource_group": alpha["resource_group"],
        "secret_authentication_tokens": static["secret_authentication_tokens"],
        "host": "127.0.0.1",
        "port": 3001,
    }
    path = folder / "config.flat.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("form", ["sub-accounts", "flat"])
def test_an_older_configuration_serves(undiscovered: tuple[Simulator, Path], form: str) -> None:
    """Both formats serve all configured models, whole, streamed and embedded, from their URLs alone."""
    tenant, folder = undiscovered
    config = flat(folder) if form == "flat" else folder / "config.static.json"
    with Gateway(config) as gateway, Stack(tenant, gateway).client() as client:
        names = {model["id"] for model in client.get("/v1/models").json()["data"]}
        chatting = sorted(name for name in names if "embed" not in name)
        whole = [content(client.post(CHAT, json=chat(model=name))) for name in chatting]
        streams = [client.post(CHAT, json=chat(model=name, stream=True)).text for name in chatting]
        vectors = client.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "one"})

    assert {"gpt-5", "gpt-5-mini", "gpt-4.1", "mistralai--mistral-small", "qwen3-max"} <= set(chatting)
    assert {"hello there"} == set(whole)
    assert {"hello there"} == {said(events(text)) for text in streams}
    assert 1536 == len(vectors.json()["data"][0]["embedding"])


def test_two_sub_accounts_share_the_work(undiscovered: tuple[Simulator, Path]) -> None:
    """The older format's two sub-accounts both serve a model that both have."""
    tenant, folder = undiscovered
    with Gateway(folder / "config.static.json") as gateway, Stack(tenant, gateway).client() as client:
        served = {
            client.post(CHAT, json=chat(model="gpt-4.1")).headers["x-aicore-sub-account"] for _ in range(12)
        }

    assert {"alpha", "beta"} == served


def test_the_file_itself_is_enough(undiscovered: tuple[Simulator, Path], tmp_path: Path) -> None:
    """Without any option the working directory's config.json is served, on the port that PORT names."""
    _, folder = undiscovered
    document = (folder / "config.static.json").read_text()
    (tmp_path / "config.json").write_text(document)
    for key in folder.glob("*.key.json"):
        (tmp_path / key.name).write_bytes(key.read_bytes())
    port = free_port()
    command = (sys.executable, "-m", "server", "serve", "--workers", "1")
    process = start(*command, cwd=tmp_path, output=tmp_path / "log", PORT=str(port))

    def ready() -> bool:
        try:
            url = f"http://127.0.0.1:{port}/health/ready"
            return httpx.get(url, trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        assert within(15, ready), (tmp_path / "log").read_text()
        process.terminate()
        status = process.wait(10)
    finally:
        end(process)

    assert 0 == status
    assert document == (tmp_path / "config.json").read_text()
