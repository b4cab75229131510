"""Orchestration behind chat requests: its modules, its refusals, and text that looks like a template."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.e2e.conftest import Starter
from tests.e2e.test_openai_sdk import HELLO, WEATHER, asked_for, text_of

pytestmark = pytest.mark.e2e

README = Path(__file__).resolve().parents[2] / "README.md"
FILTERING: Any = {"input": {"filters": [{"type": "azure_content_safety", "config": {"hate": 0}}]}}
MODELS = ["gpt-5", "anthropic--claude-4.6-sonnet", "gemini-3.5-flash", "mistralai--mistral-small"]
BRACES = "echo: {{?name}} {% if x %} {# y #} {{ z }}"


def through(**modules: Any) -> Any:
    """The extension of a chat request."""
    return {"orchestration": modules}


def test_the_readmes_request_is_answered(sdk: OpenAI) -> None:
    """As it stands there."""
    section = README.read_text(encoding="utf-8").split("## Orchestration")[1].split("\n## ")[0]
    asked = json.loads(re.search(r"```json\n(.*?)```", section, re.S)[1])  # type: ignore[index]
    modules = asked.pop("orchestration")

    raw = sdk.chat.completions.with_raw_response.create(**asked, extra_body=through(**modules))

    assert raw.parse().choices[0].message.content
    assert "gpt-5" == raw.headers["x-aicore-model"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_reached_through_it(sdk: OpenAI, model: str, streamed: bool) -> None:
    """Although it has deployments of its own; braces in the text stay what they are."""
    messages: Any = [{"role": "system", "content": "{{?s}}"}, {"role": "user", "content": BRACES}]
    asked: Any = {"model": model, "messages": messages, "extra_body": through(filtering=FILTERING)}
    if streamed:
        text = text_of(list(sdk.chat.completions.create(**asked, stream=True)))
    else:
        text = sdk.chat.completions.create(**asked).choices[0].message.content or ""

    assert BRACES.removeprefix("echo: ") == text


@pytest.mark.parametrize("model", MODELS[:3])
def test_a_tool_loop(sdk: OpenAI, model: str) -> None:
    """With modules around it."""
    messages: Any = asked_for("get_weather")
    around: Any = {"model": model, "tools": [WEATHER], "extra_body": through(filtering=FILTERING)}
    first = sdk.chat.completions.create(messages=messages, **around)
    call = (first.choices[0].message.tool_calls or [])[0]

    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "{{sunny}}"})
    second = sdk.chat.completions.create(messages=messages, **around)

    assert ("stop", True) == (second.choices[0].finish_reason, bool(second.choices[0].message.content))


def test_what_a_filter_stops_is_told_and_not_tried_again(sdk: OpenAI) -> None:
    """400, with the filter's verdict."""
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(
            model="gpt-5",
            messages=[{"role": "user", "content": "[[hate:4]]"}],
            extra_body=through(filtering=FILTERING),
        )
    assert "content_filter" == caught.value.code


def test_a_model_that_it_does_not_stream_is_replayed(sdk: OpenAI) -> None:
    """Asked whole, and told as a stream (wire §4.7)."""
    chunks = list(
        sdk.chat.completions.create(
            model="gpt-5.5", messages=HELLO, stream=True, extra_body=through(filtering=FILTERING)
        )
    )

    assert "hello there, you" == text_of(chunks)
    assert "stop" == next(c.choices[0].finish_reason for c in reversed(chunks) if c.choices)


def test_an_unknown_module_is_refused_by_name(sdk: OpenAI) -> None:
    """It would be lost otherwise."""
    with pytest.raises(openai.BadRequestError, match="blessing") as caught:
        sdk.chat.completions.create(model="gpt-5", messages=HELLO, extra_body=through(blessing={}))
    assert str(caught.value.param).startswith("orchestration")


def test_configured_modules_hold_for_every_request(stack: Starter) -> None:
    """A caller cannot take them off."""
    running = stack(workers=1, models={"gpt-5": {"orchestration": {"filtering": FILTERING}}})
    with running.openai() as client:
        with pytest.raises(openai.BadRequestError) as filtered:
            client.chat.completions.create(
                model="gpt-5", messages=[{"role": "user", "content": "[[hate:4]]"}]
            )
        with pytest.raises(openai.BadRequestError) as weakened:
            client.chat.completions.create(
                model="gpt-5", messages=HELLO, extra_body={"orchestration": {"filtering": None}}
            )
        answer = client.chat.completions.create(model="gpt-5", messages=HELLO)

    assert ("content_filter", "hello there, you") == (filtered.value.code, answer.choices[0].message.content)
    assert str(weakened.value.param).startswith("orchestration")
