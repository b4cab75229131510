"""Every model family through OpenAI's SDK: whole, streamed, with tools, with a schema."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel

from tests.e2e.test_openai_sdk import CLOCK, HELLO, WEATHER, asked_for, assembled, text_of

pytestmark = pytest.mark.e2e

FAMILIES = [
    "anthropic--claude-4.5-haiku", "anthropic--claude-4.5-sonnet", "anthropic--claude-4.6-sonnet",
    "anthropic--claude-4.8-opus", "amazon--nova-pro", "gemini-2.5-flash-lite", "gemini-3.5-flash",
    "cohere--command-a-reasoning", "sonar", "gpt-5.3-codex", "sap-abap-1",
]  # fmt: skip
WITH_TOOLS = [name for name in FAMILIES if name not in ("sonar", "sap-abap-1")]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)


@pytest.mark.parametrize("model", FAMILIES)
def test_a_whole_answer(sdk: OpenAI, model: str) -> None:
    """Under the name it was asked for, complete, with its usage."""
    answer = sdk.chat.completions.create(model=model, messages=HELLO)

    assert ("hello there, you", "stop", model) == (
        answer.choices[0].message.content,
        answer.choices[0].finish_reason,
        answer.model,
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == answer.usage.total_tokens
    assert answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", FAMILIES)
def test_a_stream(sdk: OpenAI, model: str) -> None:
    """One id, one model, role first, usage last because it was asked for."""
    chunks = list(
        sdk.chat.completions.create(
            model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )

    assert ("hello there, you", {model}, 1) == (
        text_of(chunks),
        {chunk.model for chunk in chunks},
        len({chunk.id for chunk in chunks}),
    )
    assert "assistant" == chunks[0].choices[0].delta.role
    assert "stop" == next(c.choices[0].finish_reason for c in reversed(chunks) if c.choices)
    assert chunks[-1].usage is not None
    assert [] == chunks[-1].choices


@pytest.mark.parametrize("model", WITH_TOOLS)
def test_a_tool_loop(sdk: OpenAI, model: str) -> None:
    """The call, its result, and the answer made of it: two calls at once."""
    messages: list[Any] = [{"role": "user", "content": "please call get_weather and get_time for me"}]
    first = sdk.chat.completions.create(model=model, messages=messages, tools=[WEATHER, CLOCK])
    message = first.choices[0].message
    calls = [
        one for one in message.tool_calls or () if isinstance(one, ChatCompletionMessageFunctionToolCall)
    ]
    assert "tool_calls" == first.choices[0].finish_reason
    assert {"get_weather", "get_time"} >= {call.function.name for call in calls}
    assert calls

    messages.append(message.model_dump(exclude_none=True))
    for call in calls:
        json.loads(call.function.arguments)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": '{"ok": true}'})
    second = sdk.chat.completions.create(model=model, messages=messages, tools=[WEATHER, CLOCK])

    assert ("stop", True) == (second.choices[0].finish_reason, bool(second.choices[0].message.content))


@pytest.mark.parametrize("model", WITH_TOOLS)
def test_a_streamed_tool_loop(sdk: OpenAI, model: str) -> None:
    """Arguments arrive in pieces and are JSON in the end."""
    messages: list[Any] = asked_for("get_weather")
    chunks = list(sdk.chat.completions.create(model=model, messages=messages, tools=[WEATHER], stream=True))
    calls = assembled(chunks)
    extras = [
        piece.model_extra for chunk in chunks for choice in chunk.choices
        for piece in choice.delta.tool_calls or () if piece.model_extra
    ]  # fmt: skip

    assert ["get_weather"] == [call["name"] for call in calls.values()]
    assert {"city", "days"} == set(json.loads(calls[0]["arguments"]))
    assert "tool_calls" == next(c.choices[0].finish_reason for c in reversed(chunks) if c.choices)

    call: dict[str, Any] = {
        "id": calls[0]["id"],
        "type": "function",
        "function": {"name": calls[0]["name"], "arguments": calls[0]["arguments"]},
        **(extras[0] if extras else {}),
    }
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    again = list(sdk.chat.completions.create(model=model, messages=messages, tools=[WEATHER], stream=True))
    assert text_of(again)


@pytest.mark.parametrize("model", WITH_TOOLS)
def test_a_forced_tool(sdk: OpenAI, model: str) -> None:
    """By name; the model has no choice."""
    answer = _forced(sdk, model)

    call = (answer.choices[0].message.tool_calls or [None])[0]
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert "get_time" == call.function.name


def _forced(sdk: OpenAI, model: str) -> Any:
    return sdk.chat.completions.create(
        model=model,
        messages=HELLO,
        tools=[WEATHER, CLOCK],
        tool_choice={"type": "function", "function": {"name": "get_time"}},
    )


class Trip(BaseModel):
    city: str
    days: int


@pytest.mark.parametrize("model", WITH_TOOLS)
def test_structured_output(sdk: OpenAI, model: str) -> None:
    """The SDK's `parse` gets an object, natively or emulated."""
    answer = sdk.chat.completions.parse(
        model=model, messages=[{"role": "user", "content": "Plan a trip."}], response_format=Trip
    )

    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Trip)
    assert "stop" == answer.choices[0].finish_reason


@pytest.mark.parametrize("model", [m for m in FAMILIES if m.startswith(("anthropic", "amazon", "gemini"))])
def test_a_picture(sdk: OpenAI, model: str) -> None:
    """As a data URL."""
    answer = sdk.chat.completions.create(
        model=model,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "echo: seen"},
                    {"type": "image_url", "image_url": {"url": PIXEL}},
                ],
            }
        ],
    )

    assert "seen" == answer.choices[0].message.content


def test_a_remote_picture_is_not_fetched_unless_wanted(sdk: OpenAI) -> None:
    """400 that says what to send instead."""
    with pytest.raises(openai.BadRequestError, match="base64"):
        sdk.chat.completions.create(
            model="anthropic--claude-4.6-sonnet",
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://x.example/y.png"}}],
                }
            ],
        )


@pytest.mark.parametrize(
    "model", ["anthropic--claude-4.5-sonnet", "anthropic--claude-4.8-opus", "gemini-3.5-flash"]
)
def test_reasoning_is_shown_and_goes_back(sdk: OpenAI, model: str) -> None:
    """Through a tool loop: the proof of what was thought travels in the message."""
    messages: list[Any] = asked_for("get_weather")
    first = sdk.chat.completions.create(
        model=model, messages=messages, tools=[WEATHER], reasoning_effort="high", max_completion_tokens=9000
    )
    message = first.choices[0].message.model_dump(exclude_none=True)
    assert message.get("reasoning_content")

    messages.append(message)
    messages += [
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in message["tool_calls"]
    ]
    second = sdk.chat.completions.create(
        model=model, messages=messages, tools=[WEATHER], reasoning_effort="high", max_completion_tokens=9000
    )
    assert "stop" == second.choices[0].finish_reason


@pytest.mark.parametrize(("field", "value"), [("n", 2), ("logprobs", True)])
def test_what_cannot_be_honoured_is_refused_by_name(sdk: OpenAI, field: str, value: Any) -> None:
    """Never an answer without it."""
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="anthropic--claude-4.6-sonnet", messages=HELLO, **{field: value})
    assert field == caught.value.param


def test_what_is_lost_is_named(sdk: OpenAI) -> None:
    """In a head field."""
    raw = sdk.chat.completions.with_raw_response.create(
        model="anthropic--claude-4.8-opus", messages=HELLO, temperature=0.3, seed=7
    )

    assert {"temperature", "seed"} == set(raw.headers["x-aicore-dropped"].split(", "))


@pytest.mark.parametrize("model", FAMILIES)
def test_the_legacy_form(sdk: OpenAI, model: str) -> None:
    """Completions of chat models, whole and streamed."""
    whole = sdk.completions.create(model=model, prompt="echo: as of old")
    pieces = [piece.choices[0].text for piece in sdk.completions.create(
        model=model, prompt="echo: as of old", stream=True) if piece.choices]  # fmt: skip

    assert ("as of old", "as of old") == (whole.choices[0].text, "".join(pieces))


EMBEDDERS = [
    "text-embedding-3-small",
    "amazon--titan-embed-text",
    "gemini-embedding",
    "nvidia--llama-3.2-nv-embedqa-1b",
]


@pytest.mark.parametrize("model", EMBEDDERS)
def test_embeddings(sdk: OpenAI, model: str) -> None:
    """Several texts, in order, as base64 because the SDK asks for it; the same vector for the same text."""
    answer = sdk.embeddings.create(model=model, input=["one", "two", "one"])

    vectors = [item.embedding for item in answer.data]
    assert ([0, 1, 2], True, False) == (
        [item.index for item in answer.data],
        vectors[0] == vectors[2],
        vectors[0] == vectors[1],
    )
    assert answer.usage.prompt_tokens > 0


@pytest.mark.parametrize(
    "name",
    [
        "anthropic--claude-4.5-sonnet", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929",
        "claude-4.5-sonnet",
        "claude-sonnet-4-5-20250929[1m]",
    ],
)  # fmt: skip
def test_trap_36_models_by_every_name_that_users_type(sdk: OpenAI, name: str) -> None:
    """Traps 36, 59: all of them mean the same model."""
    raw = sdk.chat.completions.with_raw_response.create(model=name, messages=HELLO)

    assert "anthropic--claude-4.5-sonnet" == raw.headers["x-aicore-model"]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("sonnet", "anthropic--claude-4.6-sonnet"),
        ("haiku", "anthropic--claude-4.5-haiku"),
        ("opus", "anthropic--claude-4.8-opus"),
    ],
)
def test_short_names(sdk: OpenAI, name: str, model: str) -> None:
    """The newest that is served."""
    raw = sdk.chat.completions.with_raw_response.create(model=name, messages=HELLO)

    assert model == raw.headers["x-aicore-model"]
