"""Perplexity's chat (wire §4.6, §5.6)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.perf.simulator.executables.direct import streamed, unary

USER = {"role": "user", "content": "echo: hi you"}
BOT = {"role": "assistant", "content": "hello"}


def body(**fields: Any) -> dict[str, Any]:
    """A request with one user message."""
    return {"model": "sonar", "messages": [USER], **fields}


def test_the_answer_names_its_sources() -> None:
    """`citations` and `search_results`."""
    status, answer = unary("sonar", "chat/completions", body(temperature=0.2, top_k=3))

    assert (200, "hi you") == (status, answer["choices"][0]["message"]["content"])
    assert answer["citations"] == [source["url"] for source in answer["search_results"]]
    assert 2 == answer["usage"]["completion_tokens"]


def test_sources_come_with_the_last_frame() -> None:
    """The usage with every one, and `[DONE]`."""
    *events, done = streamed("sonar", "chat/completions", body(stream=True))

    assert "[DONE]" == done
    assert [False, False, False, True] == ["citations" in event for event in events]
    assert [0, 1, 2, 2] == [event["usage"]["completion_tokens"] for event in events]
    assert "hi you" == "".join(event["choices"][0]["delta"]["content"] for event in events)
    assert [None, None, None, "stop"] == [event["choices"][0]["finish_reason"] for event in events]


@pytest.mark.parametrize("name", ["tools", "tool_choice", "functions", "parallel_tool_calls"])
def test_tools_are_refused(name: str) -> None:
    """Even an empty list."""
    status, answer = unary("sonar", "chat/completions", body(**{name: []}))

    assert (400, f"Tool calling is not supported for this model: '{name}'.") == (
        status,
        answer["error"]["message"],
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"model": "sonar-pro"}, "Invalid model 'sonar-pro'."),
        ({"messages": [USER, USER]}, "should alternate with assistant message(s)."),
        ({"messages": [BOT, USER]}, "should alternate with assistant message(s)."),
        ({"messages": [USER, BOT]}, "Last message must have role `user`."),
        ({"temperature": 2}, "Invalid value for 'temperature'"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], text: str) -> None:
    """400 in Perplexity's shape."""
    status, answer = unary("sonar", "chat/completions", body(**fields))

    assert (400, 400) == (status, answer["error"]["code"])
    assert text in answer["error"]["message"]


def test_trap_39_the_model_must_be_named() -> None:
    """Trap 39: required in the body, and no api-version."""
    status, answer = unary("sonar", "chat/completions", {"messages": [USER]})

    assert (400, "Missing required parameter: 'model'.") == (status, answer["error"]["message"])
