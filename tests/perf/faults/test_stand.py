"""What the gateway and nginx are given."""

from __future__ import annotations

import json
from pathlib import Path

from perf.faults.provoke import respond
from perf.faults.scenarios import SCENARIOS, cases
from perf.faults.stand import TIMEOUTS, configuration
from perf.faults.tenant import deployments
from perf.faults.upstream import Upstream
from server.config import load


def test_the_gateway_takes_the_configuration(tmp_path: Path) -> None:
    """Its limits are what the README says of the run."""
    some = list(cases(SCENARIOS, translated=False))
    upstream = Upstream(deployments(some), respond)
    upstream.base_url = "http://127.0.0.1:1"
    path = tmp_path / "config.json"
    path.write_text(json.dumps(configuration(some, upstream, "sk-test-key")))
    settings = load(path)

    assert TIMEOUTS == {name: getattr(settings.timeouts, name) for name in TIMEOUTS}
