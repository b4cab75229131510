"""What the gateway and nginx are given."""

from __future__ import annotations

import json
from pathlib import Path

from perf.faults.provoke import respond
from perf.faults.scenarios import SCENARIOS, cases
from perf.faults.stand import TIMEOUTS, configuration, render, template_values
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


def test_nginx_runs_from_our_own_templates(tmp_path: Path) -> None:
    """Every variable has a value, and logs stay in the directory."""
    main = render(tmp_path, template_values("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", tmp_path))
    texts = [main.read_text(), *(part.read_text() for part in (tmp_path / "conf.d").iterdir())]

    assert (4, False, False) == (
        len(texts), any("${" in text for text in texts), any("/dev/std" in text for text in texts),
    )  # fmt: skip
