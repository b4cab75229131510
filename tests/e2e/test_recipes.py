"""The recipes of the README as they stand: the Python runs, settings of the others lead where they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from typing import Any

import httpx
import pytest

from perf.simulator.launch import CLIENT_KEY
from server.readme import README
from tests.e2e.conftest import Stack, Starter

pytestmark = pytest.mark.e2e

TEXT = README.read_text(encoding="utf-8")
CLIENTS = TEXT[TEXT.index("## Clients") : TEXT.index("## Orchestration")]
ADDRESS = "http://127.0.0.1:3001"
EXAMPLE = json.loads(README.with_name("config.example.json").read_text())
SECONDS = 60


def recipes(language: str) -> dict[str, str]:
    """Client → its recipe in this language: the fenced block behind the client's name in bold."""
    found = re.finditer(
        rf"^\*\*(?P<client>[^*]+)\*\*(?:(?!^\*\*).)*?^```{language}\n(?P<code>.*?)^```", CLIENTS, re.M | re.S
    )
    return {one["client"]: one["code"] for one in found}


PYTHON = recipes("python")
SAYS: dict[str, str] = {
    "OpenAI SDK": r"\S+ .*\n?1536\n",
    "LangChain": r"\S+ .*\n3072\n",
}
"""Client → what it prints, where that is more than words."""


def exported(code: str) -> dict[str, str]:
    return dict(re.findall(r"^(?:export )?([A-Z_]+)=(\S+)$", code, re.M))


def at(stack: Stack, url: str) -> str:
    """The recipe's address, where the gateway of this test listens."""
    assert url.startswith(ADDRESS)
    return url.replace(ADDRESS, stack.gateway.url)


@pytest.mark.parametrize("client", PYTHON)
def test_a_python_recipe_runs(shared: Stack, client: str) -> None:
    """It ends well and prints the answer; only its address is changed."""
    code = PYTHON[client].replace(ADDRESS, shared.gateway.url)
    environment = {"PATH": os.environ["PATH"], "PYTHONUTF8": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=SECONDS
    )

    assert (0, "") == (run.returncode, run.stderr if run.returncode else "")
    assert re.search(SAYS.get(client, r"\w+ \w+"), run.stdout, re.S), run.stdout


def test_every_client_has_its_recipe() -> None:
    """Those that are told to work."""
    named = set(re.findall(r"^\*\*([^*]+)\*\*", CLIENTS, re.M))

    assert {
        *(
            "OpenAI SDK",
            "Azure OpenAI SDK",
            "Anthropic SDK",
            "AnthropicBedrock",
            "Google Gen AI SDK",
            "LangChain",
        ),
        *("Claude Code", "Codex CLI", "Cursor", "Cline"),
    } == named
    assert 6 == len(PYTHON)


def test_claude_codes_settings(shared: Stack) -> None:
    """The probe is answered, and both models speak at the path that it asks."""
    said = exported(recipes("sh")["Claude Code"])
    base = at(shared, said["ANTHROPIC_BASE_URL"])
    head = {"authorization": f"Bearer {said['ANTHROPIC_AUTH_TOKEN']}", "anthropic-version": "2023-06-01"}
    with httpx.Client(base_url=base, headers=head, trust_env=False) as http:
        assert 200 == http.head("/", headers={"authorization": ""}).status_code
        for name in ("ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL"):
            body = {"model": said[name], "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
            answer = http.post("/v1/messages?beta=true", json=body)

            assert (200, said[name]) == (answer.status_code, answer.json().get("model"))


def test_codex_settings(shared: Stack) -> None:
    """A Responses stream comes to its end at the address, with the key, from the model."""
    config = tomllib.loads(recipes("toml")["Codex CLI"])
    provider = config["model_providers"][config["model_provider"]]
    assert ("responses", True) == (provider["wire_api"], bool(provider["env_key"]))

    with httpx.Client(base_url=at(shared, provider["base_url"]), trust_env=False) as http:
        answer = http.post(
            "/responses",
            headers={"authorization": f"Bearer {CLIENT_KEY}"},
            json={"model": config["model"], "stream": True, "store": False, "input": "Hi"},
        )

    assert 200 == answer.status_code
    assert "event: response.completed" in answer.text


def test_the_settings_of_the_others(shared: Stack) -> None:
    """The list of models, where Open WebUI asks for it."""
    said = exported(recipes("sh")["Cline"])
    head = {"authorization": f"Bearer {said['OPENAI_API_KEY']}"}
    answer = httpx.get(f"{at(shared, said['OPENAI_API_BASE_URL'])}/models", headers=head, trust_env=False)

    assert "gpt-5" in [model["id"] for model in answer.json()["data"]]


def test_cursors_aliases_are_those_of_the_example() -> None:
    """No alias has a name in it that Cursor refuses."""
    (recipe,) = re.findall(r"^```json\n(.*?)^```", CLIENTS, re.M | re.S)
    aliases = [alias for model in EXAMPLE["models"].values() for alias in model["aliases"]]

    assert not any("claude" in alias for alias in aliases)
    assert json.loads(recipe)["models"].items() <= EXAMPLE["models"].items()


@pytest.mark.parametrize("surface", ["chat/completions", "messages"])
def test_the_example_configuration_serves_its_aliases(stack: Starter, surface: str) -> None:
    """Each, with a mark for the long context too, and any Haiku that a client asks for in the background."""
    asked: dict[str, Any] = {
        **{alias: name for name, model in EXAMPLE["models"].items() for alias in model["aliases"]},
        "sonnet-4.6[1m]": "anthropic--claude-4.6-sonnet",
        "claude-haiku-4-5-20251001": "anthropic--claude-4.5-haiku",
        "claude-3-5-haiku-latest": "anthropic--claude-4.5-haiku",
    }
    running = stack(workers=1, models=EXAMPLE["models"])
    with running.client() as http:
        for alias, name in asked.items():
            if "*" in alias:
                continue
            body = {"model": alias, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
            answer = http.post(f"/v1/{surface}", json=body)

            assert (200, name) == (answer.status_code, answer.headers.get("x-aicore-model")), alias
