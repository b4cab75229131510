"""`aicore-gateway check`: no failure hides behind another sub-account or a fallback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perf.simulator.launch import Simulator
from server.config import load
from server.doctor import Step, examine, faulty
from server.faults import ConfigError, Fault

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A tenant with two sub-accounts, alpha and beta."""
    with Simulator(write_config=tmp_path_factory.mktemp("tenant")) as simulator:
        yield simulator


async def examined(tenant: Simulator, **more: Any) -> dict[tuple[str, str], Step]:
    """Check the simulator's configuration, with these keys changed."""
    folder = tenant.config_directory
    assert folder is not None
    document = json.loads((folder / "config.json").read_text()) | more
    file = folder / "checked.json"
    file.write_text(json.dumps(document))
    return {(step.sub_account, step.name): step async for step in examine(load(file, environ={}))}


async def test_a_sub_account_answers_for_itself(tenant: Simulator) -> None:
    """Its model fails although the other one's would have answered."""
    tenant.set_fault("500", tenant="beta", model="gpt-5")
    try:
        steps = await examined(tenant)
    finally:
        tenant.clear_faults()

    assert (True, False) == (steps["alpha", "model gpt-5"].ok, steps["beta", "model gpt-5"].ok)
    assert steps["alpha", "model gpt-5-mini"].ok


async def test_a_fallback_answers_for_nobody(tenant: Simulator) -> None:
    """The model itself is what was asked about."""
    tenant.set_fault("500", model="gpt-5")
    try:
        steps = await examined(tenant, models={"gpt-5": {"fallbacks": ["gpt-5-mini"]}})
    finally:
        tenant.clear_faults()

    assert steps["alpha", "model gpt-5"].ok is False


async def test_a_model_that_nobody_serves_is_told_once(tenant: Simulator) -> None:
    """It belongs to no sub-account."""
    steps = await examined(tenant, models={"gpt-9": {}})

    assert steps["", "model gpt-9"].ok is False
    assert ("alpha", "model gpt-9") not in steps


def test_each_fault_of_the_configuration_is_a_step() -> None:
    """With what would be right as its advice."""
    (step,) = faulty(ConfigError([Fault("port", "is 0", "give 1 or more")], source="c.json"))

    assert (False, "port: is 0", "give 1 or more") == (step.ok, step.text, step.advice)


def test_a_broken_configuration_is_json_when_asked_for(tmp_path: Path) -> None:
    """A script gets steps and status 1, not a text."""
    (tmp_path / "c.json").write_text('{"port": 0, "hots": 1}')
    command = [sys.executable, "-m", "server", "check", "--json", "--config", str(tmp_path / "c.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert 1 == done.returncode
    assert {"port: is 0", "hots: is unknown"} <= {step["text"] for step in json.loads(done.stdout)}
