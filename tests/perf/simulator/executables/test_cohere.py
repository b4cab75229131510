"""Cohere's v2 chat (wire §4.6, §5.6)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.perf.simulator.executables.direct import streamed, unary

MODEL = "cohere--command-a-reasoning"
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"properties": {"x": {"type": "integer"}}}}}
    for name in ("f", "gg")
]
OFF: dict[str, Any] = {"thinking": {"type": "disabled"}}


def body(said: str = "echo: hi you", **fields: Any) -> dict[str, Any]:
    """A request with one user message."""
    return {"model": MODEL, "messages": [{"role": "user", "content": said}], **fields}


def chat(said: str = "echo: hi you", **fields: Any) -> Any:
    """A unary answer."""
    status, answer = unary(MODEL, "v2/chat", body(said, **fields))
    assert 200 == status, answer
    return answer


def test_a_reasoning_model_thinks_first() -> None:
    """Blocks of thinking and text, and the usage in tokens."""
    answer = chat()

    assert ["thinking", "text"] == [block["type"] for block in answer["message"]["content"]]
    assert ("hi you", "COMPLETE") == (answer["message"]["content"][1]["text"], answer["finish_reason"])
    assert 6 == answer["usage"]["tokens"]["output_tokens"]


def test_thinking_can_be_disabled() -> None:
    """Then there is only text."""
    assert [{"type": "text", "text": "hi you"}] == chat(**OFF)["message"]["content"]


@pytest.mark.parametrize(
    ("said", "fields", "finish"),
    [
        ("echo: a", {}, "COMPLETE"),
        ("echo: a b c", {"max_tokens": 2, **OFF}, "MAX_TOKENS"),
        ("echo: a b c", {"stop_sequences": ["b"]}, "STOP_SEQUENCE"),
        ("echo: a b c", {"stop_sequences": ["z"]}, "COMPLETE"),
        ("call f", {"tools": TOOLS}, "TOOL_CALL"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_finish_reasons(said: str, fields: dict[str, Any], finish: str, stream: bool) -> None:
    """In both forms."""
    if stream:
        told = streamed(MODEL, "v2/chat", body(said, stream=True, **fields))[-1]["delta"]
    else:
        told = chat(said, **fields)

    assert finish == told["finish_reason"]


def test_calls_come_with_a_plan_when_nothing_is_thought() -> None:
    """`tool_plan`, and arguments as text."""
    message = chat("call f and gg", tools=TOOLS, **OFF)["message"]

    assert ("I will ask the tools.", []) == (message["tool_plan"], message["content"])
    assert [{"name": "f", "arguments": '{"x": 1}'}, {"name": "gg", "arguments": '{"x": 1}'}] == [
        call["function"] for call in message["tool_calls"]
    ]
    assert 2 == len({call["id"] for call in message["tool_calls"]})


def test_a_required_tool_is_called() -> None:
    """And with NONE none is."""
    assert "TOOL_CALL" == chat(tools=TOOLS, tool_choice="REQUIRED")["finish_reason"]
    assert "COMPLETE" == chat("call f", tools=TOOLS, tool_choice="NONE")["finish_reason"]


def test_a_result_is_answered_in_words() -> None:
    """Text or documents."""
    call = {"id": "f_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    result = [{"type": "document", "document": {"data": "42"}}]
    messages = [
        {"role": "user", "content": "call f"},
        {"role": "assistant", "tool_plan": "I will.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "f_1", "content": result},
    ]
    answer = chat(messages=messages, tools=TOOLS, **OFF)

    assert "The tool answered: 42" == answer["message"]["content"][0]["text"]


def test_json_follows_the_schema() -> None:
    """`response_format.json_schema`."""
    schema = {"type": "object", "properties": {"n": {"const": 3}}}
    answer = chat(response_format={"type": "json_object", "json_schema": schema}, **OFF)

    assert '{"n": 3}' == answer["message"]["content"][0]["text"]


def test_blocks_stream_one_after_the_other() -> None:
    """Numbered, opened and closed; the usage comes with the end, and nothing after it."""
    events = streamed(MODEL, "v2/chat", body(stream=True))
    kinds = [event["type"] for event in events]
    block = ["content-start", "content-delta", "content-end"]

    assert ["message-start", *block, *block, "message-end"] == [
        kind for place, kind in enumerate(kinds) if place == 0 or kind != kinds[place - 1]
    ]
    assert [0] * 6 + [1] * 4 == [event["index"] for event in events[1:-1]]
    assert 6 == events[-1]["delta"]["usage"]["tokens"]["output_tokens"]


def test_streamed_text_is_the_whole_text() -> None:
    """Joined."""
    events = streamed(MODEL, "v2/chat", body(stream=True, **OFF))
    deltas = [e["delta"]["message"]["content"]["text"] for e in events if e["type"] == "content-delta"]

    assert "hi you" == "".join(deltas)


def test_streamed_calls_come_in_fragments() -> None:
    """Plan, then for each call a start with its id and name, its arguments, an end."""
    events = streamed(MODEL, "v2/chat", body("call f and gg", tools=TOOLS, stream=True, **OFF))
    starts = [e["delta"]["message"]["tool_calls"] for e in events if e["type"] == "tool-call-start"]
    arguments = [
        e["delta"]["message"]["tool_calls"]["function"]["arguments"]
        for e in events
        if e["type"] == "tool-call-delta" and e["index"] == 1
    ]
    plan = [e["delta"]["message"]["tool_plan"] for e in events if e["type"] == "tool-plan-delta"]

    assert ["f", "gg"] == [start["function"]["name"] for start in starts]
    assert ('{"x": 1}', "I will ask the tools.") == ("".join(arguments), "".join(plan))
    assert 2 == sum(e["type"] == "tool-call-end" for e in events)


@pytest.mark.parametrize("name", ["n", "max_completion_tokens", "stream_options", "top_p", "user"])
def test_openai_fields_are_refused_by_name(name: str) -> None:
    """Wire §5.6."""
    status, answer = unary(MODEL, "v2/chat", body() | {name: 1})

    assert (400, f"unknown field: parameter '{name}' is not a valid field") == (status, answer["message"])


ASKED = {
    "role": "assistant",
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"model": None}, "invalid request: Expected `str`, got `null` - at `$.model`"),
        (
            {"messages": [USER | {"name": "x"}]},
            "unknown field: parameter 'messages[0].name' is not a valid",
        ),
        ({"tools": TOOLS, "response_format": {"type": "json_object"}}, "not supported with tools"),
        ({"tool_choice": "NONE"}, "tool_choice can only be specified if tools are specified"),
        ({"messages": [USER, ASKED, USER]}, "missing tool results for tool calls: c"),
        (
            {"messages": [USER, {"role": "tool", "tool_call_id": "c", "content": "1"}]},
            "messages[1]: tool call id not found in previous tool calls",
        ),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0]: must have non-empty content"),
        (
            {"messages": [USER, {"role": "assistant", "content": "a"}]},
            "the last message must have the role user or tool",
        ),
        ({"messages": [{"role": "developer", "content": "a"}]}, "Invalid enum value 'developer'"),
        ({"stop_sequences": list("abcdef")}, "length <= 5"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], text: str) -> None:
    """400 with the reason in `message`."""
    status, answer = unary(MODEL, "v2/chat", body(**fields))

    assert 400 == status
    assert text in answer["message"]


@pytest.mark.parametrize(
    ("name", "status"),
    [("cohere--command-a-reasoning", 200), ("command-a-reasoning-08-2025", 200), ("command-r", 404)],
)
def test_the_model_must_be_named(name: str, status: int) -> None:
    """The catalogue's name or Cohere's own."""
    assert status == unary(MODEL, "v2/chat", body(model=name))[0]


def test_a_missing_model_is_told() -> None:
    """By name."""
    status, answer = unary(MODEL, "v2/chat", {"messages": [USER]})

    assert (400, "invalid request: model is required") == (status, answer["message"])
