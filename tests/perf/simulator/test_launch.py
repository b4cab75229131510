"""The process: how it starts, is found, and ends."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trustme

from perf.simulator.launch import Simulator

pytestmark = pytest.mark.e2e


def test_it_ends_cleanly_with_a_stream_open() -> None:
    """SIGTERM gives status 0, at once, and nothing on its output."""
    simulator = Simulator("--chunk-interval-ms", "1000")
    simulator.start()
    key = simulator.service_key()
    form = {
        "grant_type": "client_credentials",
        "client_id": key["clientid"],
        "client_secret": key["clientsecret"],
    }
    token = httpx.post(key["url"] + "/oauth/token", data=form).json()["access_token"]
    url = simulator.deployments("gpt-5")[0]["url"] + "/chat/completions?api-version=2025-04-01-preview"
    headers = {"authorization": f"Bearer {token}", "ai-resource-group": "default"}
    body = {"messages": [{"role": "user", "content": "go on"}], "stream": True}
    with httpx.stream("POST", url, json=body, headers=headers) as answer:
        pieces = answer.iter_raw()
        next(pieces)

        assert 0 == simulator.stop()


def test_interrupt_ends_it_too() -> None:
    """Ctrl-C shows no traceback."""
    command = [sys.executable, "-m", "perf.simulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("simulator ready on http://127.0.0.1:")
        process.send_signal(signal.SIGINT)

        assert (0, "") == (process.wait(5), process.stderr.read())


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--fault", "gpt-5=nonsense"], "nonsense"),
        (["--tenants", "99"], "tenants"),
        (["--rpm", "0"], "--rpm"),
        (["--tls-cert", "x"], "--tls-key"),
        (["--tokens-per-second", "0"], "--tokens-per-second"),
        (["--latency-ms", "-1"], "latency_ms"),
    ],
)
def test_options_without_sense_are_explained(options: list[str], word: str) -> None:
    """The launcher hands on what the process said."""
    with pytest.raises(RuntimeError, match=word):
        Simulator(*options).start()


def test_help_lists_every_fault() -> None:
    """The help text teaches."""
    from perf.simulator.cli import parser
    from perf.simulator.faults import KINDS

    text = parser().format_help()

    assert all(f"    {kind} " in text for kind in KINDS)


def test_configurations_are_written(tmp_path: Path) -> None:
    """The older proxy's format, with and without deployment URLs, and keys only the owner reads."""
    with Simulator(write_config=tmp_path) as simulator:
        discovered = json.loads((tmp_path / "config.json").read_text())
        static = json.loads((tmp_path / "config.static.json").read_text())
        key = json.loads((tmp_path / discovered["subAccounts"]["alpha"]["service_key_json"]).read_text())
        variables = json.loads((tmp_path / "beta.aicore.json").read_text())

        assert simulator.service_key("alpha") == key
        assert simulator.environment("beta") == variables
        assert 2 == len(static["subAccounts"]["alpha"]["deployment_models"]["gpt-5"])
        assert "deployment_models" not in discovered["subAccounts"]["beta"]
        assert 0o600 == (tmp_path / "alpha.key.json").stat().st_mode & 0o777


def test_a_client_certificate_gets_a_token(tmp_path: Path) -> None:
    """Over TLS, with no secret (wire §2.1); without the certificate the same form is refused."""
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    server.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "client.pem"
    )
    pem = str(tmp_path / "server.pem")
    with Simulator("--tls-cert", pem, "--tls-key", pem, "--client-ca", str(tmp_path / "ca.pem")) as simulator:
        key = simulator.service_key()
        form = {"grant_type": "client_credentials", "client_id": key["clientid"]}
        statuses = []
        for certificate in (str(tmp_path / "client.pem"), None):
            context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
            if certificate:
                context.load_cert_chain(certificate)
            statuses.append(httpx.post(key["url"] + "/oauth/token", data=form, verify=context).status_code)

    assert [200, 401] == statuses
