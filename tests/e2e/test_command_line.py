"""The command line against a simulated tenant: check, models, init, keys, demo."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from perf.simulator.launch import Simulator
from tests.e2e import processes
from tests.e2e.bodies import CHAT, chat, content, events, within
from tests.e2e.conftest import Stack
from tests.e2e.gateway import Gateway, free_port

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulator, Path]]:
    folder = tmp_path_factory.mktemp("commands")
    with Simulator(write_config=folder) as tenant:
        yield tenant, folder


Place = tuple[Simulator, Path]


def changed(folder: Path, name: str, **changes: Any) -> str:
    """Write the configuration with another sub-account section; return the file's name."""
    document = json.loads((folder / "config.json").read_text())
    document["subAccounts"] = {"alpha": {**document["subAccounts"]["alpha"], **changes}}
    (folder / name).write_text(json.dumps(document))
    return name


def steps_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = json.loads(done.stdout)
    return steps


def test_check_of_a_good_configuration(place: Place) -> None:
    """Status 0; every step is shown, the models are called."""
    tenant, folder = place
    tenant.reset()
    done = processes.run("check", "--config", "config.json", cwd=folder)

    assert 0 == done.returncode, done.stdout + done.stderr
    for told in ("alpha", "beta", "service key", "token", "resource group", "deployments", "gpt-5"):
        assert told in done.stdout
    assert tenant.stats()["requests"] >= 6


def test_check_as_json(place: Place) -> None:
    """--json is a list of steps that scripts can read."""
    _, folder = place
    done = processes.run("check", "--config", "config.json", "--json", cwd=folder)
    steps = steps_of(done)

    assert 0 == done.returncode
    assert {True, None} >= {step["ok"] for step in steps}
    assert {"alpha", "beta"} <= {step["sub_account"] for step in steps}
    assert any(step["ok"] and step["name"] == "model gpt-5" for step in steps)


def test_check_without_calls(place: Place) -> None:
    """--no-calls costs no tokens."""
    tenant, folder = place
    tenant.reset()
    done = processes.run("check", "--config", "config.json", "--no-calls", cwd=folder)

    assert (0, 0) == (done.returncode, tenant.stats()["requests"])


def test_check_of_a_wrong_resource_group(place: Place) -> None:
    """Status 1; the step fails and says what to do."""
    _, folder = place
    name = changed(folder, "group.json", resource_group="nobodys")
    done = processes.run("check", "--config", name, "--json", cwd=folder)
    (failed,) = [step for step in steps_of(done) if step["name"] in ("resource group", "deployments")]

    assert (1, False) == (done.returncode, failed["ok"])
    assert "nobodys" in failed["advice"]


def test_check_of_a_wrong_secret(place: Place) -> None:
    """Status 1; the token's step fails, says what to do, and does not show the secret."""
    _, folder = place
    key = json.loads((folder / "alpha.key.json").read_text()) | {"clientsecret": "canary-wrong-secret"}
    (folder / "wrong.key.json").write_text(json.dumps(key))
    name = changed(folder, "secret.json", service_key_json="wrong.key.json")
    done = processes.run("check", "--config", name, cwd=folder)

    assert 1 == done.returncode
    assert "service key" in done.stdout
    assert "FAILED" in done.stdout
    assert "canary-wrong-secret" not in done.stdout + done.stderr


def test_check_of_an_unreachable_tenant(place: Place) -> None:
    """Status 1 in bounded time."""
    _, folder = place
    key = json.loads((folder / "alpha.key.json").read_text())
    key |= {"url": "http://127.0.0.1:9", "serviceurls": {"AI_API_URL": "http://127.0.0.1:9"}}
    (folder / "nowhere.key.json").write_text(json.dumps(key))
    name = changed(folder, "nowhere.json", service_key_json="nowhere.key.json")
    done = processes.run("check", "--config", name, "--json", cwd=folder)

    assert 1 == done.returncode
    assert any(step["ok"] is False and step["name"] == "token" for step in steps_of(done))


def test_models(place: Place) -> None:
    """The models with family, deployments, sub-accounts and state."""
    _, folder = place
    done = processes.run("models", "--config", "config.json", "--json", cwd=folder)
    rows = {row["model"]: row for row in json.loads(done.stdout)}

    assert 0 == done.returncode
    assert ("azure-openai", ["alpha", "beta"], "served") == (
        rows["gpt-5"]["family"],
        rows["gpt-5"]["sub_accounts"],
        rows["gpt-5"]["state"],
    )
    assert 3 == len(rows["gpt-5"]["deployments"])
    assert "aicore-opensource" == rows["qwen3-max"]["family"]


def test_models_as_a_table(place: Place) -> None:
    """The same for people."""
    _, folder = place
    done = processes.run("models", "--config", "config.json", cwd=folder)

    assert 0 == done.returncode
    assert re.search(r"mistralai--mistral-small.*aicore-mistralai.*alpha, beta.*served", done.stdout)


def test_init_writes_a_configuration_that_serves(place: Place, tmp_path: Path) -> None:
    """From a service key file to an answer, with the client key that `init` showed."""
    tenant, folder = place
    config = tmp_path / "made.json"
    made = processes.run(
        "init", "--service-key", str(folder / "alpha.key.json"), "--output", str(config), cwd=tmp_path
    )
    shown = re.search(r"sk-aicore-\S+", made.stdout)

    assert 0 == made.returncode, made.stderr
    assert shown
    assert shown[0] not in config.read_text()
    with Gateway(config) as gateway, Stack(tenant, gateway).client(shown[0]) as client:
        assert "hello there" == content(client.post(CHAT, json=chat()))


def test_init_from_variables(place: Place, tmp_path: Path) -> None:
    """The AICORE_* variables do as well; the secret stays out of the file, and the file serves with them."""
    tenant, _ = place
    variables = tenant.environment("beta")
    made = processes.run("init", cwd=tmp_path, **variables)
    text = (tmp_path / "config.json").read_text()
    checked = processes.run("check", "--no-calls", "--config", "config.json", cwd=tmp_path, **variables)

    assert (0, 0) == (made.returncode, checked.returncode), made.stderr + checked.stdout
    assert variables["AICORE_CLIENT_SECRET"] not in text
    assert "gpt-4.1-mini" in made.stdout


def test_init_overwrites_nothing(place: Place, tmp_path: Path) -> None:
    """A file that is there stays as it is without --force."""
    _, folder = place
    (tmp_path / "config.json").write_text("mine")
    done = processes.run("init", "--service-key", str(folder / "alpha.key.json"), cwd=tmp_path)

    assert 1 == done.returncode
    assert "--force" in done.stderr
    assert "mine" == (tmp_path / "config.json").read_text()


def test_a_new_key_works(place: Place, tmp_path: Path) -> None:
    """The key opens a gateway that knows only its SHA-256."""
    tenant, folder = place
    made = processes.run("keys", "new", cwd=tmp_path).stdout
    key, digest = (re.search(rf"^{name}:\s*(\S+)$", made, re.MULTILINE) for name in ("key", "sha256"))
    assert key
    assert digest
    extra = {"secret_authentication_tokens": [digest[1]]}

    with Gateway(folder / "config.json", workers=1, extra=extra) as gateway:
        stack = Stack(tenant, gateway)
        with stack.client(key[1]) as good, stack.client(digest[1]) as bad:
            assert [200, 401] == [one.post(CHAT, json=chat()).status_code for one in (good, bad)]


def test_no_configuration_at_all(place: Place, tmp_path: Path) -> None:
    """Without a file the AICORE_* variables serve, on loopback and without keys."""
    tenant, _ = place
    done = processes.run("check", "--no-calls", "--json", cwd=tmp_path, **tenant.environment("alpha"))

    assert 0 == done.returncode, done.stdout + done.stderr
    assert any(step["name"] == "model gpt-5" for step in steps_of(done))


def test_nothing_at_all_says_what_to_do(tmp_path: Path) -> None:
    """Neither file nor variables: status 1 and a hint, no traceback."""
    done = processes.run("serve", cwd=tmp_path, HOME=str(tmp_path))

    assert 1 == done.returncode
    assert "AICORE_" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo prints a curl line that streams an answer as it stands; a signal ends all of it."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    output = tmp_path / "demo.log"
    port = str(free_port())
    command = (sys.executable, "-m", "server", "demo", "--port", port)
    process = processes.start(*command, cwd=tmp_path, output=output)
    family: list[Any] = []
    try:
        assert within(25, lambda: "Ctrl-C ends it all" in output.read_text()), output.read_text()
        family = processes.children(process)
        line = re.search(r"^  curl -N .*?(?<!\\)$", output.read_text(), re.MULTILINE | re.DOTALL)
        assert line
        answer = subprocess.run(["bash", "-c", line[0]], capture_output=True, text=True, timeout=20)
        process.send_signal(number)
        status = process.wait(15)
    finally:
        left = processes.alive(family)
        for one in left:
            one.kill()
        processes.end(process)

    assert "[DONE]" == events(answer.stdout)[-1]
    assert 0 == status
    assert "nothing is left running" in output.read_text()
    assert len(family) >= 4
    assert [] == left
    assert [] == list(scratch.iterdir())
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health/live", trust_env=False)


def test_demo_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C while it still starts ends it too, in seconds, with nothing left."""
    output = tmp_path / "demo.log"
    command = (sys.executable, "-m", "server", "demo", "--port", str(free_port()))
    process = processes.start(*command, cwd=tmp_path, output=output)
    family: list[Any] = []
    try:
        assert within(10, lambda: "starting the gateway" in output.read_text()), output.read_text()
        time.sleep(0.3)
        family = processes.children(process)
        process.send_signal(signal.SIGINT)
        status = process.wait(15)
    finally:
        left = processes.alive(family)
        for one in left:
            one.kill()
        processes.end(process)

    assert 0 == status
    assert [] == left
    assert "Traceback" not in output.read_text()
