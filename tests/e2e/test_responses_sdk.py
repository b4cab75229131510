"""OpenAI's Responses API through its SDK: GPT passed through, every other family translated."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.conftest import OTHER_KEY, Stack

pytestmark = pytest.mark.e2e

GPT = "gpt-5"
FAMILIES = [
    GPT, "gpt-5.5", "gpt-5.3-codex", "anthropic--claude-4.6-sonnet", "anthropic--claude-4.5-haiku",
    "amazon--nova-pro", "gemini-3.5-flash", "mistralai--mistral-small", "cohere--command-a-reasoning",
]  # fmt: skip
REASONERS = [GPT, "gpt-5.5", "gpt-5.3-codex", "anthropic--claude-4.6-sonnet", "gemini-3.5-flash"]
HELLO = "echo: hello there, you"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.mark.parametrize("model", FAMILIES)
def test_an_answer(sdk: OpenAI, model: str) -> None:
    """Whole, under the name it was asked for."""
    answer = sdk.responses.create(model=model, input=HELLO)

    assert ("hello there, you", "completed", model) == (answer.output_text, answer.status, answer.model)
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0


@pytest.mark.parametrize("model", FAMILIES)
def test_a_stream(sdk: OpenAI, model: str) -> None:
    """The full sequence of events, numbered from 0, with one end."""
    with sdk.responses.stream(model=model, input=HELLO) as stream:
        events = list(stream)
        final = stream.get_final_response()

    kinds = [event.type for event in events]
    numbers = [event.sequence_number for event in events if hasattr(event, "sequence_number")]
    assert ("hello there, you", model) == (final.output_text, final.model)
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert sorted(set(numbers)) == numbers
    assert 1 == sum(
        kind in ("response.completed", "response.failed", "response.incomplete") for kind in kinds
    )


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", FAMILIES)
def test_a_stateless_tool_loop(sdk: OpenAI, model: str, streamed: bool) -> None:
    """Codex's way: the whole history goes up each time, encrypted reasoning with it."""
    items: list[Any] = [{"role": "user", "content": "please call get_weather for me"}]
    asked: dict[str, Any] = {"model": model, "tools": [WEATHER], "store": False}
    if model in REASONERS:
        asked |= {
            "reasoning": {"effort": "high", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
        }
    first = _said(sdk, streamed, input=items, **asked)
    calls = [item for item in first.output if item.type == "function_call"]
    assert ["get_weather"] == [call.name for call in calls]
    assert {"city", "days"} == set(json.loads(calls[0].arguments))
    if model in REASONERS:
        assert any(item.type == "reasoning" for item in first.output)

    items += first.output
    items.append({"type": "function_call_output", "call_id": calls[0].call_id, "output": "sunny"})
    second = _said(sdk, streamed, input=items, **asked)
    assert ("completed", True) == (second.status, bool(second.output_text))


def _said(sdk: OpenAI, streamed: bool, **asked: Any) -> Any:
    if not streamed:
        return sdk.responses.create(**asked)
    with sdk.responses.stream(**asked) as stream:
        return stream.get_final_response()


class Trip(BaseModel):
    city: str
    days: int


@pytest.mark.parametrize("model", FAMILIES)
def test_structured_output(sdk: OpenAI, model: str) -> None:
    """The SDK's `parse`."""
    answer = sdk.responses.parse(model=model, input="Plan a trip.", text_format=Trip)

    assert isinstance(answer.output_parsed, Trip)


@pytest.mark.parametrize("model", [GPT, "gpt-5.5"])
def test_stored_answers_are_found_again_whichever_worker_is_asked(sdk: OpenAI, model: str) -> None:
    """Ids are bound to the deployment that made them; there are two of both."""
    for _ in range(6):  # over both workers and both sub-accounts
        first = sdk.responses.create(model=model, input="echo: one")
        again = sdk.responses.retrieve(first.id)
        second = sdk.responses.create(model=model, input="echo: two", previous_response_id=first.id)

        assert (first.id, "one", "two", first.id) == (
            again.id,
            again.output_text,
            second.output_text,
            second.previous_response_id,
        )
        sdk.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            sdk.responses.retrieve(first.id)


def test_a_background_answer_is_polled(sdk: OpenAI) -> None:
    """From queued to completed."""
    answer = sdk.responses.create(model=GPT, input=HELLO, background=True)
    deadline = time.monotonic() + 10
    while answer.status in ("queued", "in_progress") and time.monotonic() < deadline:
        answer = sdk.responses.retrieve(answer.id)

    assert ("completed", "hello there, you") == (answer.status, answer.output_text)


def test_a_background_answer_is_cancelled(sdk: OpenAI) -> None:
    """Before it is done."""
    answer = sdk.responses.create(model=GPT, input=HELLO, background=True)

    assert "cancelled" == sdk.responses.cancel(answer.id).status


def test_a_synchronous_answer_cannot_be_cancelled(sdk: OpenAI) -> None:
    """The upstream says why."""
    answer = sdk.responses.create(model=GPT, input=HELLO)

    with pytest.raises(openai.BadRequestError, match="synchronous"):
        sdk.responses.cancel(answer.id)


def test_other_callers_do_not_find_it(sdk: OpenAI, shared: Stack) -> None:
    """404, as if it were not there."""
    answer = sdk.responses.create(model=GPT, input=HELLO)
    with (
        OpenAI(base_url=f"{shared.gateway.url}/v1", api_key=OTHER_KEY, max_retries=0) as other,
        pytest.raises(openai.NotFoundError),
    ):
        other.responses.retrieve(answer.id)


@pytest.mark.parametrize("identifier", ["resp_1", "resp_" + "x" * 80, "nonsense"])
def test_an_id_that_is_none_is_not_found(sdk: OpenAI, identifier: str) -> None:
    """In OpenAI's words."""
    with pytest.raises(openai.NotFoundError, match="not found"):
        sdk.responses.retrieve(identifier)


def test_other_families_keep_no_answers(sdk: OpenAI) -> None:
    """400 that says what to send."""
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(model="gemini-3.5-flash", input=HELLO, previous_response_id="resp_1")
    assert "previous_response_id" == caught.value.param


def test_tools_that_ai_core_rejects_are_left_out_and_named(sdk: OpenAI) -> None:
    """Codex sends such (wire §4.2); the answer says what was dropped."""
    raw = sdk.responses.with_raw_response.create(
        model="gpt-5.5",
        input=HELLO,
        tools=[WEATHER, {"type": "web_search"}, {"type": "custom", "name": "apply_patch"}],
    )

    dropped = raw.headers["x-aicore-dropped"]
    assert ("web_search" in dropped, "custom" in dropped or "apply_patch" in dropped) == (True, True)


@pytest.mark.parametrize("model", ["anthropic--claude-4.6-sonnet", "gemini-3.5-flash"])
def test_a_freeform_tool_of_codex_works_on_other_families(sdk: OpenAI, model: str) -> None:
    """It becomes a function with one string, and the call a custom call again."""
    answer = sdk.responses.create(
        model=model,
        input="please call apply_patch for me",
        tools=[{"type": "custom", "name": "apply_patch", "description": "Patches files."}],
    )

    assert ["apply_patch"] == [item.name for item in answer.output if item.type == "custom_tool_call"]


@pytest.mark.parametrize("model", [GPT, "anthropic--claude-4.6-sonnet"])
def test_a_cut_stream_fails(sdk: OpenAI, tenant: Simulator, model: str) -> None:
    """`response.failed`, never something that looks complete."""
    tenant.set_fault("cut", model=model)
    kinds = [event.type for event in sdk.responses.create(model=model, input="Hi", stream=True)]

    assert "response.completed" not in kinds
    assert {"response.failed", "error"} & set(kinds)


def test_a_throttled_stream_goes_to_the_other_deployment(sdk: OpenAI, tenant: Simulator) -> None:
    """created → failed → error inside a 200 (wire §4.2) is a 429 in disguise."""
    tenant.set_fault("throttled", model="gpt-5.5", times=1)
    events = list(sdk.responses.create(model="gpt-5.5", input=HELLO, stream=True))

    assert "response.completed" == events[-1].type
    assert 1 == sum(event.type == "response.created" for event in events)


def test_fields_from_the_future_pass_both_ways(shared: Stack) -> None:
    """What nobody here knows goes up, where its own rules decide."""
    with shared.client(CLIENT_KEY) as http:
        refused = http.post("/v1/responses", json={"model": GPT, "input": "Hi", "from_the_future": 1})

    assert 400 == refused.status_code
    assert "from_the_future" in refused.json()["error"]["message"]
