"""Claude Code, headless: a tool call and its result, background requests, the probe."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.conftest import KEY, Client, Run
from tests.e2e.gateway import Gateway

HAIKU = "claude-haiku-4-5-20251001"
MODELS = [
    "anthropic--claude-4.6-sonnet",
    "anthropic--claude-4.6-sonnet[1m]",
    "claude-sonnet-4-6",
    "claude-sonnet-4-5-20250929",
    "claude-opus-4-8",
    "gpt-5.5",
    "gpt-5",
    "gpt-4.1",
    "gemini-3.5-flash",
    "amazon--nova-pro",
    "mistralai--mistral-small",
    "cohere--command-a-reasoning",
]


def ask(claude: Client, prompt: str, *, model: str, tools: str) -> Run:
    return claude.run(
        *("-p", prompt, "--tools", tools, "--output-format", "stream-json", "--verbose", "--max-turns", "4"),
        ANTHROPIC_BASE_URL=claude.tap.url,
        ANTHROPIC_AUTH_TOKEN=KEY,
        ANTHROPIC_MODEL=model,
        ANTHROPIC_DEFAULT_HAIKU_MODEL=HAIKU,
        DISABLE_AUTOUPDATER="1",
        DISABLE_TELEMETRY="1",
        DISABLE_ERROR_REPORTING="1",
    )


def blocks(run: Run, kind: str) -> list[dict[str, Any]]:
    messages = (event["message"] for event in run.events if event["type"] in ("assistant", "user"))
    return [block for message in messages for block in message["content"] if block["type"] == kind]


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_is_called_and_its_result_read(claude: Client, model: str) -> None:
    """Two requests, and the answer tells the result."""
    run = ask(claude, "Please use TaskList now.", model=model, tools="TaskList")

    result = run.events[-1]
    assert (0, "result", False) == (run.status, result["type"], result["is_error"]), run.output
    assert ["TaskList"] == [call["name"] for call in blocks(run, "tool_use")]
    assert ["No tasks found"] == [answer["content"] for answer in blocks(run, "tool_result")]
    assert "No tasks found" in result["result"]


def test_a_failed_tool_call_goes_on(claude: Client) -> None:
    """Its result says that it is an error."""
    run = ask(claude, "Please use Read now.", model="gpt-5.5", tools="Read")

    assert [True] == [answer["is_error"] for answer in blocks(run, "tool_result")]
    assert not run.events[-1]["is_error"]


def test_background_requests_with_a_dated_haiku(claude: Client, gateway: Gateway) -> None:
    """They ask for an answer in a form (the session's title), which this Haiku gives by a tool."""
    run = ask(claude, "Please use TaskList now.", model="anthropic--claude-4.6-sonnet", tools="TaskList")

    asked = [body["model"] for body in claude.tap.bodies("/v1/messages")]
    assert HAIKU in asked, asked
    assert HAIKU in run.events[-1]["modelUsage"], run.output
    served = [one for one in gateway.requests() if one.get("model") == "anthropic--claude-4.5-haiku"]
    assert {200} == {one["status"] for one in served}


def test_the_probe_comes_first(claude: Client) -> None:
    """It shows no key and is answered; then messages, with `?beta=true`."""
    run = ask(claude, "Hello", model="anthropic--claude-4.6-sonnet", tools="TaskList")

    probe, *others = claude.tap.requests()
    assert ("HEAD /", {"POST /v1/messages?beta=true"}) == (probe, set(others))
    assert not run.events[-1]["is_error"], run.output
