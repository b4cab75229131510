"""Mistral and open-source servers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.perf.simulator.conftest import Tenant, frames, said

MISTRAL = "mistralai--mistral-small"
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"properties": {"x": {"type": "integer"}}}},
}
USER = {"role": "user", "content": "echo: hi"}
HELLO = {"role": "assistant", "content": "hello"}


def test_the_answer_has_the_extras(alpha: Tenant) -> None:
    """Wire §4.6."""
    answer = alpha.chat(MISTRAL).json()
    choice = answer["choices"][0]

    assert (None, None, []) == (
        answer["prompt_logprobs"],
        choice["stop_reason"],
        choice["message"]["tool_calls"],
    )
    assert "reasoning_content" in choice["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_finish_with_stop(alpha: Tenant, stream: bool) -> None:
    """The quirk that a gateway has to normalise."""
    answer = alpha.chat(MISTRAL, "call f", tools=[TOOL], stream=stream)
    if stream:
        events = frames(answer.text)[:-1]
        called = any(e["choices"][0]["delta"].get("tool_calls") for e in events)
        finish = events[-1]["choices"][0]["finish_reason"]
    else:
        choice = answer.json()["choices"][0]
        called, finish = bool(choice["message"]["tool_calls"]), choice["finish_reason"]

    assert (True, "stop") == (called, finish)


@pytest.mark.parametrize(("body", "status"), [({}, 400), ({"model": "other"}, 404)])
def test_the_model_must_be_named(alpha: Tenant, body: dict[str, str], status: int) -> None:
    """Missing is 400, another is 404."""
    answer = alpha.client.post(alpha.url(MISTRAL) + "/chat/completions", json={"messages": [USER], **body})

    assert (status, "model") == (answer.status_code, answer.json()["param"])


@pytest.mark.parametrize(
    "messages",
    [[USER, USER], [HELLO, USER], [USER, HELLO, HELLO], [USER, {"role": "system", "content": "s"}, USER]],
)
def test_mistral_wants_turns(alpha: Tenant, messages: list[Any]) -> None:
    """User and assistant alternate; Qwen does not mind."""
    assert 400 == alpha.chat(MISTRAL, messages=messages).status_code
    assert 200 == alpha.chat("qwen3-max", messages=messages).status_code


def test_a_tool_loop_is_in_turns(alpha: Tenant) -> None:
    """User, call, results, text, user."""
    calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ("a", "b")]
    messages = [
        {"role": "system", "content": "be brief"},
        USER,
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        HELLO,
        USER,
    ]

    assert 200 == alpha.chat(MISTRAL, messages=messages).status_code


def test_a_stream_ends_as_it_should(alpha: Tenant) -> None:
    """Role first, usage only when asked, `[DONE]` last."""
    events = frames(alpha.chat(MISTRAL, stream=True, stream_options={"include_usage": True}).text)

    assert ("assistant", "hello there") == (events[0]["choices"][0]["delta"]["role"], said(events))
    assert ([], "[DONE]") == (events[-2]["choices"], events[-1])


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_are_apart(alpha: Tenant, stream: bool) -> None:
    """In `reasoning_content`, when asked for."""
    answer = alpha.chat("qwen3-max", reasoning_effort="low", stream=stream)
    if stream:
        deltas = [e["choices"][0]["delta"] for e in frames(answer.text)[:-1]]
        thought = "".join(d.get("reasoning_content", "") for d in deltas)
    else:
        thought = answer.json()["choices"][0]["message"]["reasoning_content"]

    assert "Counting what was asked." == thought


def test_unknown_fields_are_ignored(alpha: Tenant) -> None:
    """As vLLM does."""
    assert 200 == alpha.chat(MISTRAL, store=True).status_code
