"""Anthropic's own SDK against the real process: Claude passed through, every other family translated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AnthropicBedrock

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.conftest import Stack

pytestmark = pytest.mark.e2e

CLAUDE = "anthropic--claude-4.6-sonnet"
FAMILIES = [
    "anthropic--claude-4.5-haiku", CLAUDE, "anthropic--claude-4.8-opus", "amazon--nova-pro",
    "gemini-3.5-flash", "gemini-2.5-flash-lite", "gpt-5", "gpt-5.5", "gpt-4.1", "gpt-5.3-codex",
    "mistralai--mistral-small", "qwen3-max", "cohere--command-a-reasoning", "sonar", "sap-abap-1",
]  # fmt: skip
WITH_TOOLS = [name for name in FAMILIES if name not in ("sonar", "sap-abap-1")]
HELLO: Any = [{"role": "user", "content": "echo: hello there, you"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}


@pytest.fixture
def claude(shared: Stack) -> Iterator[Anthropic]:
    with Anthropic(base_url=shared.gateway.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def bedrock(shared: Stack) -> Iterator[AnthropicBedrock]:
    with AnthropicBedrock(
        base_url=shared.gateway.url,
        aws_access_key="none",
        aws_secret_key="none",
        aws_region="eu-central-1",
        default_headers={"x-api-key": CLIENT_KEY},
        max_retries=0,
    ) as client:
        yield client


@pytest.mark.parametrize("model", FAMILIES)
def test_a_message(claude: Anthropic, model: str) -> None:
    """Whole, under the name it was asked for, with its usage."""
    message = claude.messages.create(model=model, max_tokens=1000, messages=HELLO)

    assert ("hello there, you", "end_turn", model) == (
        "".join(block.text for block in message.content if block.type == "text"),
        message.stop_reason,
        message.model,
    )
    assert message.usage.output_tokens > 0


@pytest.mark.parametrize("model", FAMILIES)
def test_a_streamed_message(claude: Anthropic, model: str) -> None:
    """Through the SDK's own accumulation."""
    with claude.messages.stream(model=model, max_tokens=1000, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()

    assert ("hello there, you", "end_turn", model) == (text, message.stop_reason, message.model)
    assert message.usage.output_tokens > 0


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", WITH_TOOLS)
def test_a_tool_loop(claude: Anthropic, model: str, streamed: bool) -> None:
    """The call, a result with an error mark, and the answer."""
    messages: list[Any] = [{"role": "user", "content": "please call get_weather for me"}]
    first = _said(claude, streamed, model=model, messages=messages)
    calls = [block for block in first.content if block.type == "tool_use"]
    assert ("tool_use", ["get_weather"]) == (first.stop_reason, [call.name for call in calls])
    assert {"city", "days"} == set(calls[0].input)

    result = {"type": "tool_result", "tool_use_id": calls[0].id, "content": "no such city", "is_error": True}
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = _said(claude, streamed, model=model, messages=messages)

    assert "end_turn" == second.stop_reason
    assert any(block.type == "text" and block.text for block in second.content)


def _said(client: Anthropic, streamed: bool, **asked: Any) -> Any:
    asked = {"max_tokens": 9000, "tools": [WEATHER], **asked}
    if not streamed:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        return stream.get_final_message()


THINKERS = [
    ("anthropic--claude-4.5-sonnet", {"type": "enabled", "budget_tokens": 2048}),
    ("anthropic--claude-4.6-sonnet", {"type": "adaptive"}),
    ("anthropic--claude-4.8-opus", {"type": "adaptive"}),
    ("anthropic--claude-4.8-opus", {"type": "enabled", "budget_tokens": 2048}),
    ("anthropic--claude-4.5-haiku", {"type": "adaptive"}),
    ("gemini-3.5-flash", {"type": "enabled", "budget_tokens": 2048}),
    ("gpt-5.5", {"type": "adaptive"}),
    ("gpt-5.3-codex", {"type": "enabled", "budget_tokens": 4096}),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("model", "thinking"), THINKERS)
def test_thinking_goes_through_a_tool_loop(
    claude: Anthropic, model: str, thinking: Any, streamed: bool
) -> None:
    """The proof comes back to the model that thought, through two turns (trap 29)."""
    messages: list[Any] = [{"role": "user", "content": "please call get_weather for me"}]
    first = _said(claude, streamed, model=model, messages=messages, thinking=thinking)
    kinds = [block.type for block in first.content]
    assert {"thinking", "redacted_thinking"} & set(kinds)
    assert kinds[-1] == "tool_use"

    call = first.content[-1]
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]
    second = _said(claude, streamed, model=model, messages=messages, thinking=thinking)
    assert "end_turn" == second.stop_reason


def test_count_tokens(claude: Anthropic) -> None:
    """An estimate, for every family; more text is more tokens (trap 59)."""
    short = claude.messages.count_tokens(model=CLAUDE, messages=HELLO, extra_body={"max_tokens": None})
    long = claude.messages.count_tokens(model="gpt-5", messages=HELLO, system="x" * 4000, tools=[WEATHER])

    assert 0 < short.input_tokens < long.input_tokens


def test_what_claude_code_sends(claude: Anthropic, tenant: Simulator) -> None:
    """Wire §8.7: beta query, beta list, scoped cache marks, context management, metadata, a 1m mark
    (traps 27, 31, 59)."""
    with claude.beta.messages.stream(
        model="claude-sonnet-4-5-20250929[1m]",
        max_tokens=32000,
        betas=["claude-code-20250219", "context-1m-2025-08-07", "prompt-caching-scope-2026-01-05"],
        system=[
            {
                "type": "text",
                "text": "You are a coder.",
                "cache_control": {"type": "ephemeral", "ttl": "1h", "scope": "global"},
            }  # type: ignore[typeddict-unknown-key]
        ],
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "echo: done"}, {"type": "text", "text": " "}],
            },
        ],
        tools=[WEATHER, {"type": "web_search_20250305", "name": "web_search"}],
        metadata={"user_id": "u"},
        extra_body={"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
    ) as stream:
        message = stream.get_final_message()

    assert "done" == message.content[0].text  # type: ignore[union-attr]


def test_a_dated_haiku_is_found(claude: Anthropic) -> None:
    """The background requests of coding tools name one (trap 59)."""
    message = claude.messages.create(model="claude-haiku-4-5-20251001", max_tokens=100, messages=HELLO)

    assert "end_turn" == message.stop_reason


def test_the_models_in_anthropics_shape(claude: Anthropic) -> None:
    """One page, and one by any of its names."""
    page = claude.models.list()
    one = claude.models.retrieve("claude-sonnet-4-6")

    assert (True, False, CLAUDE) == (CLAUDE in [model.id for model in page.data], page.has_more, one.id)


@pytest.mark.parametrize(
    ("wrong", "kind", "status"),
    [
        ({"model": "claude-9"}, anthropic.NotFoundError, 404),
        ({"messages": [{"role": "user"}]}, anthropic.BadRequestError, 400),
        ({"messages": []}, anthropic.BadRequestError, 400),
        ({"max_tokens": 0}, anthropic.BadRequestError, 400),
    ],
)
@pytest.mark.parametrize("model", [CLAUDE, "gpt-5"])
def test_errors_are_anthropics(claude: Anthropic, model: str, wrong: Any, kind: Any, status: int) -> None:
    """In its envelope, with its types."""
    with pytest.raises(kind) as caught:
        claude.messages.create(**{"model": model, "max_tokens": 10, "messages": HELLO, **wrong})

    body = caught.value.body
    assert (status, "error") == (caught.value.status_code, body["type"])
    assert body["error"]["message"]


def test_a_wrong_key_is_an_authentication_error(shared: Stack) -> None:
    """401 in Anthropic's words."""
    with (
        Anthropic(base_url=shared.gateway.url, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        client.messages.create(model=CLAUDE, max_tokens=10, messages=HELLO)
    assert "authentication_error" == caught.value.body["error"]["type"]  # type: ignore[index,call-overload]


@pytest.mark.parametrize("model", [CLAUDE, "gpt-5", "amazon--nova-pro"])
def test_a_cut_stream_ends_with_an_error_event(claude: Anthropic, tenant: Simulator, model: str) -> None:
    """It never looks complete (trap 14)."""
    tenant.set_fault("cut", model=model)
    with (
        pytest.raises(anthropic.APIError),
        claude.messages.stream(
            model=model, max_tokens=1000, messages=[{"role": "user", "content": "Hi"}]
        ) as stream,
    ):
        stream.get_final_message()


@pytest.mark.parametrize("model", [CLAUDE, "gpt-5", "gemini-3.5-flash"])
def test_the_bedrock_form(bedrock: AnthropicBedrock, model: str) -> None:
    """Whole, and as an AWS event stream."""
    whole = bedrock.messages.create(model=model, max_tokens=1000, messages=HELLO)
    with bedrock.messages.stream(model=model, max_tokens=1000, messages=HELLO) as stream:
        streamed = stream.get_final_message()

    texts = ["".join(b.text for b in m.content if b.type == "text") for m in (whole, streamed)]
    assert ["hello there, you"] * 2 == texts


def test_fields_from_the_future_pass_both_ways(shared: Stack, tenant: Simulator) -> None:
    """What nobody here knows goes up to Claude, where its own rules decide."""
    with shared.client() as http:
        refused = http.post(
            "/v1/messages", json={"model": CLAUDE, "max_tokens": 9, "messages": HELLO, "from_the_future": 1}
        )

    assert (400, "from_the_future") == (
        refused.status_code,
        json.loads(refused.text)["error"]["message"][:15],
    )
