"""Azure chat: what is refused, and how answers look."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.perf.simulator.conftest import Tenant, frames, said

TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": properties}},
    }
    for name, properties in (
        ("get_weather", {"city": {"type": "string"}, "days": {"type": "integer"}}),
        ("get_time", {"zone": {"type": "string"}}),
    )
]
USER = {"role": "user", "content": "hi"}


def call(name: str, call_id: str = "call_1") -> dict[str, Any]:
    """A tool call of an assistant message."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"max_tokens": 5}, "max_tokens", "unsupported_parameter"),
        ({"temperature": 0.5}, "temperature", "unsupported_value"),
        ({"top_p": 0.5}, "top_p", "unsupported_parameter"),
        ({"presence_penalty": 1}, "presence_penalty", "unsupported_parameter"),
        ({"frequency_penalty": 1}, "frequency_penalty", "unsupported_parameter"),
        ({"logit_bias": {"1": 1}}, "logit_bias", "unsupported_parameter"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
        ({"stop": "x"}, "stop", "unsupported_parameter"),
        ({"n": 2}, "n", "unsupported_value"),
        ({"reasoning_effort": "xhigh"}, "reasoning_effort", "unsupported_value"),
    ],
)
def test_reasoning_models_refuse_sampling(
    alpha: Tenant, fields: dict[str, Any], param: str, code: str
) -> None:
    """400 that names the field (wire §5.1)."""
    answer = alpha.chat(**fields)
    error = answer.json()["error"]

    assert (400, param, code, "invalid_request_error") == (
        answer.status_code,
        error["param"],
        error["code"],
        error["type"],
    )


@pytest.mark.parametrize(
    "fields", [{"temperature": 1}, {"n": 1}, {"top_p": None}, {"max_completion_tokens": 500}]
)
def test_reasoning_models_take_the_defaults(alpha: Tenant, fields: dict[str, Any]) -> None:
    """1 and null are no sampling."""
    assert 200 == alpha.chat(**fields).status_code


def test_older_models_take_sampling(alpha: Tenant) -> None:
    """All of it."""
    fields = {
        "max_tokens": 50,
        "temperature": 0.2,
        "top_p": 0.5,
        "n": 2,
        "stop": ["x"],
        "seed": 1,
        "user": "u",
    }

    assert 200 == alpha.chat("gpt-4.1", **fields).status_code


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"foo": 1}, "Unrecognized request argument supplied: foo"),
        ({"metadata": {}}, "Unrecognized request argument supplied: metadata"),
        ({"reasoning_effort": "low"}, "Unrecognized request argument supplied: reasoning_effort"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "at the same time"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tool_choice": "auto"}, "'tool_choice' is only allowed"),
        ({"tools": []}, "too short"),
        ({"top_logprobs": 2}, "logprobs"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "no"}}}, "not found"),
        ({"response_format": {"type": "json_object"}}, "must contain the word 'json'"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}},
                }
            },
            "additionalProperties",
        ),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [USER | {"thinking": 1}]}, "Unknown parameter: 'messages[0].thinking'"),
        ({"messages": [{"role": "user", "content": None}]}, "got null"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "'file'"),
        ({"messages": [{"role": "user", "content": []}]}, "too short"),
        (
            {"messages": [USER, {"role": "tool", "content": "x", "tool_call_id": "c"}]},
            "must be a response to",
        ),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [call("f")]}]}, "call_1"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [call("f")]}, USER]}, "call_1"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": []}]}, "got null"),
    ],
)
def test_bad_bodies_are_refused(alpha: Tenant, fields: dict[str, Any], message: str) -> None:
    """400 with what is wrong."""
    answer = alpha.chat("gpt-4.1", **fields)

    assert (400, True) == (answer.status_code, message in answer.json()["error"]["message"])


def test_broken_json_is_refused(alpha: Tenant) -> None:
    """As Azure does."""
    url = alpha.url("gpt-5") + "/chat/completions?api-version=2025-04-01-preview"

    assert "parse the JSON" in alpha.client.post(url, content=b"{").json()["error"]["message"]


@pytest.mark.parametrize("query", ["", "?api-version=", "?api-version=latest"])
def test_the_api_version_is_required(alpha: Tenant, query: str) -> None:
    """404 `Resource not found`."""
    answer = alpha.client.post(alpha.url("gpt-5") + "/chat/completions" + query, json={"messages": [USER]})

    assert (404, "Resource not found") == (answer.status_code, answer.json()["error"]["message"])


def test_an_old_api_version_knows_no_reasoning_effort(alpha: Tenant) -> None:
    """It is not in the schema of 2024-10-21."""
    body = {"messages": [USER], "reasoning_effort": "low"}
    base = alpha.url("gpt-5") + "/chat/completions?api-version="
    statuses = [
        alpha.client.post(base + v, json=body).status_code for v in ("2024-10-21", "2025-04-01-preview")
    ]

    assert [400, 200] == statuses


def test_a_unary_answer_has_azures_extras(alpha: Tenant) -> None:
    """Filter results, snapshot name, usage with details; `model` in the body is ignored."""
    answer = alpha.chat(model="gpt-5", said="echo: hello there").json()
    choice = answer["choices"][0]

    assert ("hello there", "stop", "gpt-5-2025-08-07") == (
        choice["message"]["content"],
        choice["finish_reason"],
        answer["model"],
    )
    assert "hate" in choice["content_filter_results"]
    assert 0 == answer["prompt_filter_results"][0]["prompt_index"]
    usage = answer["usage"]
    assert 16 == usage["completion_tokens_details"]["reasoning_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_every_answer_has_its_own_id(alpha: Tenant) -> None:
    """Though the same bytes were sent."""
    assert alpha.chat().json()["id"] != alpha.chat().json()["id"]


def test_a_stream_is_as_in_the_wire_document(alpha: Tenant) -> None:
    """Odd first frame, role, content, finish, usage, `[DONE]` (wire §4.1)."""
    events = frames(alpha.chat(stream=True, stream_options={"include_usage": True}).text)
    first, role, *content, finish, usage, done = events

    assert ([], "", "", "") == (first["choices"], first["id"], first["model"], first["object"])
    assert "assistant" == role["choices"][0]["delta"]["role"]
    assert "hello there" == said(content)
    assert ("stop", {}) == (finish["choices"][0]["finish_reason"], finish["choices"][0]["delta"])
    assert ([], True) == (usage["choices"], usage["usage"]["total_tokens"] > 0)
    assert "[DONE]" == done
    assert 1 == len({event["id"] for event in events[1:-1]})


def test_usage_comes_only_when_asked_for(alpha: Tenant) -> None:
    """The frame before `[DONE]` is then the finish."""
    assert "stop" == frames(alpha.chat(stream=True).text)[-2]["choices"][0]["finish_reason"]


def test_the_answer_is_as_long_as_set(alpha: Tenant) -> None:
    """By the pace, and by the prompt."""
    alpha.sim.set_pace(answer_tokens=50, chunk_size=10)
    default = frames(alpha.chat(said="anything", stream=True).text)
    asked = frames(alpha.chat(said="[[tokens:30]]", stream=True).text)

    assert (5, 3) == (len(default) - 4, len(asked) - 4)


def test_a_limit_cuts_the_answer(alpha: Tenant) -> None:
    """Reasoning counts; with too little there is no content at all."""
    answers = [alpha.chat(said="[[tokens:30]]", max_completion_tokens=n).json() for n in (20, 10)]
    choices = [a["choices"][0] for a in answers]

    assert ["length", "length"] == [c["finish_reason"] for c in choices]
    assert [4, 0] == [len(c["message"]["content"].split()) for c in choices]
    assert [20, 10] == [a["usage"]["completion_tokens"] for a in answers]


def test_stop_ends_the_answer(alpha: Tenant) -> None:
    """The word itself is left out."""
    choice = alpha.chat("gpt-4.1", "echo: one two three", stop="two").json()["choices"][0]

    assert ("one ", "stop") == (choice["message"]["content"], choice["finish_reason"])


def test_several_choices_have_an_index(alpha: Tenant) -> None:
    """Whole and streamed."""
    whole = alpha.chat("gpt-4.1", n=2).json()["choices"]
    events = frames(alpha.chat("gpt-4.1", n=2, stream=True).text)
    streamed = {c["index"] for e in events[:-1] for c in e["choices"]}

    assert ([0, 1], {0, 1}) == ([c["index"] for c in whole], streamed)


def test_logprobs_score_every_token(alpha: Tenant) -> None:
    """With as many alternatives as asked for."""
    scores = alpha.chat("gpt-4.1", logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]

    assert ([("hello"), (" there")], {2}) == (
        [score["token"] for score in scores],
        {len(score["top_logprobs"]) for score in scores},
    )


@pytest.mark.parametrize(
    ("words", "fields", "names"),
    [
        ("use get_weather", {}, ["get_weather"]),
        ("get_time and get_weather", {}, ["get_weather", "get_time"]),
        ("get_time and get_weather", {"parallel_tool_calls": False}, ["get_weather"]),
        ("anything", {"tool_choice": "required"}, ["get_weather"]),
        ("anything", {"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, ["get_time"]),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called(
    alpha: Tenant, words: str, fields: dict[str, Any], names: list[str], stream: bool
) -> None:
    """Named in the message, required, or forced; streamed arguments come in fragments."""
    answer = alpha.chat(said=words, tools=TOOLS, stream=stream, **fields)
    if stream:
        events = frames(answer.text)
        finish, calls = events[-2]["choices"][0]["finish_reason"], assembled(events)
    else:
        choice = answer.json()["choices"][0]
        finish, calls = choice["finish_reason"], [c["function"] for c in choice["message"]["tool_calls"]]

    assert ("tool_calls", names) == (finish, [c["name"] for c in calls])
    assert all(json.loads(c["arguments"]) for c in calls)


def assembled(events: list[Any]) -> list[dict[str, str]]:
    """The calls of a stream, put together from their fragments."""
    calls: list[dict[str, str]] = []
    for event in events[1:-1]:
        for piece in event["choices"][0]["delta"].get("tool_calls", ()):
            if "id" in piece:
                calls.append({"name": piece["function"]["name"], "arguments": ""})
            calls[piece["index"]]["arguments"] += piece["function"]["arguments"]
    return calls


@pytest.mark.parametrize("choice", ["none", "auto"])
def test_tools_are_left_alone(alpha: Tenant, choice: str) -> None:
    """Forbidden, or not spoken of."""
    words = "get_weather" if choice == "none" else "nothing of it"

    assert (
        "stop"
        == alpha.chat(said=words, tools=TOOLS, tool_choice=choice).json()["choices"][0]["finish_reason"]
    )


def test_a_tool_result_is_answered_with_text(alpha: Tenant) -> None:
    """It is repeated."""
    messages = [
        {"role": "user", "content": "get_weather"},
        {"role": "assistant", "content": None, "tool_calls": [call("get_weather")]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    answer = alpha.chat(messages=messages, tools=TOOLS).json()

    assert "The tool answered: sunny" == answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
def test_old_functions_are_called_the_old_way(alpha: Tenant, stream: bool) -> None:
    """`function_call` in place of `tool_calls`."""
    functions = [tool["function"] for tool in TOOLS]
    answer = alpha.chat("gpt-4.1", "get_time", functions=functions, stream=stream)
    if stream:
        events = frames(answer.text)[1:-1]
        deltas = [e["choices"][0]["delta"].get("function_call", {}) for e in events]
        name, finish = "".join(d.get("name", "") for d in deltas), events[-1]["choices"][0]["finish_reason"]
    else:
        choice = answer.json()["choices"][0]
        name, finish = choice["message"]["function_call"]["name"], choice["finish_reason"]

    assert ("get_time", "function_call") == (name, finish)


def test_a_schema_is_satisfied(alpha: Tenant) -> None:
    """Structured output is JSON of that shape."""
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    answer = alpha.chat(response_format=wanted).json()

    assert {"n": 1} == json.loads(answer["choices"][0]["message"]["content"])


def test_an_embedding_model_does_not_chat(alpha: Tenant) -> None:
    """`OperationNotSupported`."""
    url = alpha.url("text-embedding-3-small") + "/chat/completions?api-version=2025-04-01-preview"

    assert (
        "OperationNotSupported" == alpha.client.post(url, json={"messages": [USER]}).json()["error"]["code"]
    )


def test_a_large_prompt_is_read(alpha: Tenant) -> None:
    """Beyond what is remembered of a body."""
    answer = alpha.chat(said="word " * 400_000)

    assert 500_000 < answer.json()["usage"]["prompt_tokens"] < 500_100
