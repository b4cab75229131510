"""The deployment's files: what reaches the gateway's container, and the certificate of a first start."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from server.drain import LAST_SECONDS
from server.settings import Settings

ROOT = Path(__file__).parents[2]
PASSED_ON = ROOT / "server" / "passed-on.env"
SCRIPT = ROOT / "nginx" / "self-signed.sh"


def has_compose() -> bool:
    """Tell whether `docker compose` is there; it needs no engine to show its configuration."""
    return (
        bool(shutil.which("docker"))
        and not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not has_compose(), reason="needs docker compose")
@pytest.mark.parametrize(
    ("written", "shell", "expected"),
    [
        ("AICORE_CLIENT_SECRET=file", {}, "file"),
        ("", {"AICORE_CLIENT_SECRET": "shell"}, "shell"),
        ("AICORE_CLIENT_SECRET=file", {"AICORE_CLIENT_SECRET": "shell"}, "shell"),
        ("", {}, None),
    ],
)
def test_variables_reach_the_container(
    tmp_path: Path, written: str, shell: dict[str, str], expected: str | None
) -> None:
    """From gateway.env and from the shell, which wins; one that neither has is not there at all."""
    (tmp_path / "server").mkdir()
    shutil.copy(PASSED_ON, tmp_path / "server")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    (tmp_path / "gateway.env").write_text(f"{written}\nOF_MY_OWN=x\n")
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", str(tmp_path)), **shell}
    shown = subprocess.run(
        ["docker", "compose", "config", "--format", "json"],
        cwd=tmp_path, env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    variables = json.loads(shown.stdout)["services"]["gateway"]["environment"]

    assert expected == variables.get("AICORE_CLIENT_SECRET")
    assert ("x", "0.0.0.0") == (variables["OF_MY_OWN"], variables["HOST"])
    assert (expected is not None) == ("AICORE_CLIENT_SECRET" in variables)


def sign(directory: Path, names: str) -> bytes:
    """Run the script; return the certificate."""
    environ = {"PATH": os.environ["PATH"], "TLS_NAMES": names}
    subprocess.run(["sh", str(SCRIPT), str(directory)], env=environ, capture_output=True, check=True)
    return (directory / "fullchain.pem").read_bytes()


needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")


@needs_openssl
def test_a_certificate_stays_until_other_names_are_asked_for(tmp_path: Path) -> None:
    """A restart keeps it; a change of TLS_NAMES makes a new one, with a key for its owner only."""
    first = sign(tmp_path, "localhost,127.0.0.1")
    again = sign(tmp_path, "localhost,127.0.0.1")
    other = sign(tmp_path, "gateway.example,127.0.0.1,::1")

    assert first == again
    assert first != other
    assert 0o600 == (tmp_path / "privkey.pem").stat().st_mode & 0o777
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-text"], input=other, capture_output=True, check=True
    ).stdout.decode()
    assert "DNS:gateway.example, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in shown


@needs_openssl
def test_a_certificate_of_somebody_else_stays(tmp_path: Path) -> None:
    """Whatever the names are."""
    (tmp_path / "fullchain.pem").write_text("theirs")
    (tmp_path / "privkey.pem").write_text("theirs")

    assert b"theirs" == sign(tmp_path, "gateway.example")


def test_everyone_waits_for_the_gateway_to_drain() -> None:
    """Whoever stops it kills later than it ends by itself, and nginx cuts nothing before that."""
    longest = Settings(sub_accounts=()).drain_seconds + LAST_SECONDS
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    graces = [services[name]["stop_grace_period"] for name in ("gateway", "nginx")]
    killed = [int(seconds) for seconds in re.findall(r"STOP_GRACE:-(\d+)s", " ".join(graces))]
    (cut,) = re.findall(r"^worker_shutdown_timeout (\d+)s;", (ROOT / "nginx/nginx.conf").read_text(), re.M)

    assert 2 == len(killed)
    assert longest < int(cut) < min(killed)
