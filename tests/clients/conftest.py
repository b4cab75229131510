"""Command line clients from the npm registry, against the simulator: `make client-test`, outside CI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.clients.tap import Tap
from tests.e2e.gateway import ROOT, Gateway

collect_ignore_glob = [] if os.environ.get("CLIENT_TEST") else ["test_*.py"]

PACKAGES = {"claude": "@anthropic-ai/claude-code", "codex": "@openai/codex"}
FOLDER = ROOT / "build" / "clients"
INSTALL_SECONDS = 900
RUN_SECONDS = 120
NOT_RUN = 3
"""Exit status where a client could not be had: nothing was tested, which is no success."""


@dataclass(frozen=True)
class Run:
    """What a client did."""

    status: int
    events: list[dict[str, Any]]
    """The JSON lines that it printed."""
    output: str
    """The end of what it said, for whoever has to find a fault."""


class Client:
    """A command with an environment of its own: none of this machine's settings reach it."""

    def __init__(self, name: str, home: Path, tap: Tap) -> None:
        self.home = home
        self.tap = tap
        self._command = FOLDER / "node_modules" / ".bin" / name
        home.mkdir(exist_ok=True)

    def run(self, *arguments: str, **environment: str) -> Run:
        """Run it without a terminal, in an empty folder."""
        work = self.home / "work"
        work.mkdir(exist_ok=True)
        done = subprocess.run(
            [self._command, *arguments],
            cwd=work,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return Run(done.returncode, events, (done.stdout + done.stderr)[-3000:])


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """The newest clients, in a scratch folder. Where they cannot be had the run ends, with the reason."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.exit(f"client-test needs {tool}, which is not installed: nothing was tested", NOT_RUN)
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-save", "--prefix", str(FOLDER), *PACKAGES.values()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if done.returncode:
        pytest.exit(f"npm could not install the clients, nothing was tested:\n{done.stderr}", NOT_RUN)
    for name, package in PACKAGES.items():
        about = json.loads((FOLDER / "node_modules" / package / "package.json").read_text())
        print(f"{name} {about['version']}")


@pytest.fixture(scope="session")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    folder = tmp_path_factory.mktemp("clients")
    with Simulator(write_config=folder) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def gateway(tenant: Simulator) -> Iterator[Gateway]:
    assert tenant.config_directory is not None
    with Gateway(tenant.config_directory / "config.json", workers=1) as running:
        yield running


@pytest.fixture
def tap(gateway: Gateway) -> Iterator[Tap]:
    with Tap(gateway.port) as relay:
        yield relay


@pytest.fixture
def claude(tmp_path: Path, tap: Tap) -> Client:
    return Client("claude", tmp_path / "claude", tap)


@pytest.fixture
def codex(tmp_path: Path, tap: Tap) -> Client:
    """With the README's configuration, but for address and model."""
    client = Client("codex", tmp_path / "codex", tap)
    folder = client.home / ".codex"
    folder.mkdir()
    provider = {"name": "gateway", "base_url": f"{tap.url}/v1", "env_key": "KEY", "wire_api": "responses"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in provider.items()]
    config = "\n".join(['model_provider = "aicore"', "[model_providers.aicore]", *lines])
    (folder / "config.toml").write_text(config)
    return client


KEY = CLIENT_KEY
