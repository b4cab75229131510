"""Codex CLI, headless: a tool call and its result, and a list of tools that SAP AI Core does not take."""

from __future__ import annotations

import pytest

from perf.simulator.launch import Simulator
from tests.clients.conftest import KEY, Client, Run

MODELS = [
    "gpt-5.5",
    "gpt-5.3-codex",
    "gpt-4.1",
    "anthropic--claude-4.6-sonnet",
    "gemini-3.5-flash",
    "amazon--nova-pro",
    "mistralai--mistral-small",
    "cohere--command-a-reasoning",
]


def ask(codex: Client, prompt: str, *, model: str) -> Run:
    return codex.run("exec", "--skip-git-repo-check", "--json", "-m", model, prompt, KEY=KEY)


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_is_called_and_its_result_read(codex: Client, model: str) -> None:
    """Two requests, and the answer tells the result."""
    run = ask(codex, "Please use get_goal now.", model=model)

    items = [event["item"] for event in run.events if event["type"] == "item.completed"]
    said = [item["text"] for item in items if item["type"] == "agent_message"]
    assert (0, "turn.completed") == (run.status, run.events[-1]["type"]), run.output
    assert "The tool answered" in said[-1]
    assert 2 == len(codex.tap.bodies("/v1/responses"))


def test_tools_that_sap_ai_core_rejects_do_not_reach_it(codex: Client, tenant: Simulator) -> None:
    """Codex cannot be told to leave them out (trap 41)."""
    run = ask(codex, "Hello", model="gpt-5.3-codex")
    assert "turn.completed" == run.events[-1]["type"], run.output

    (asked,) = codex.tap.bodies("/v1/responses")
    assert {"function"} < {tool["type"] for tool in asked["tools"]}
    ids = [one["id"] for one in tenant.deployments("gpt-5.3-codex")]
    sent = [tenant.last_request(one)["body"] for one in ids if one in tenant.stats(bodies=True)["last"]]
    assert {"function"} == {tool["type"] for body in sent for tool in body["tools"]}
