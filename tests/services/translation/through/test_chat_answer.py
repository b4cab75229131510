"""Whole chat answers: the model's name, usage, finish reason; all else passes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.errors import UpstreamBroken, UpstreamFailed, UpstreamLimited
from services.translation.fields import parse
from services.translation.replies import Usage
from services.translation.through.chat import prepare, read_answer
from tests.services.translation.samples import PUBLIC, body, target

ANSWER = (
    b'{"id":"c1", "model":"gpt-5-2025-08-07","prompt_filter_results":[{"a": 1.0}],"choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"\xe2\x80\xa8"},"finish_reason":"stop","new": [ ]}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"x":{"y":1}},"zeta":{ "b":1e2}}'
)


def answer(*choices: dict[str, Any]) -> bytes:
    """A whole answer with these choices."""
    return json.dumps({"id": "c", "model": "up", "choices": choices, "zeta": 1.5}).encode()


def calls(finish: str | None = "stop", index: int = 0) -> dict[str, Any]:
    """A choice with a tool call."""
    message = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"arguments": "{}"}}]}
    return {"index": index, "message": message, "finish_reason": finish, "extra": [1]}


TEXT = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}


def test_only_the_models_name_changes() -> None:
    """Every other member keeps its bytes."""
    down = parse(read_answer(ANSWER, model=PUBLIC).body)

    expected = {name: bytes(raw) for name, raw in parse(ANSWER).items()} | {"model": b'"our-model"'}
    assert expected == {name: bytes(raw) for name, raw in down.items()}


def test_usage_and_finish_reason_are_read() -> None:
    """For the log and the metrics."""
    read = read_answer(ANSWER, model=PUBLIC)

    assert (Usage(3, 4, 7), "stop") == (read.usage, read.finish_reason)


def test_the_first_finish_reason_counts() -> None:
    """A choice without one is passed over; none at all is empty."""
    one = {**TEXT, "finish_reason": None}

    assert "length" == read_answer(answer(one, {**TEXT, "finish_reason": "length"}), model="m").finish_reason
    assert "" == read_answer(answer(one), model="m").finish_reason


def test_tool_calls_do_not_end_with_stop() -> None:
    """Wire §4.6: where the deployment mislabels them, in each choice that needs it and in no other."""
    down = json.loads(read_answer(answer(calls(), TEXT, calls("length")), model="m", finish_fix=True).body)

    assert ["tool_calls", "stop", "length"] == [choice["finish_reason"] for choice in down["choices"]]
    assert ([1], 1.5) == (down["choices"][0]["extra"], down["zeta"])


@pytest.mark.parametrize(
    "choice",
    [TEXT, {**TEXT, "message": {"tool_calls": []}}, {**TEXT, "message": None}, {**TEXT, "message": {}}],
)
def test_a_choice_without_calls_keeps_its_reason(choice: dict[str, Any]) -> None:
    """An empty list of calls is none."""
    down = json.loads(read_answer(answer(choice, calls()), model="m", finish_fix=True).body)

    assert choice == down["choices"][0]


def test_other_deployments_are_believed() -> None:
    """Without the rule nothing is put right."""
    assert "stop" == json.loads(read_answer(answer(calls()), model="m").body)["choices"][0]["finish_reason"]


@pytest.mark.parametrize(
    ("upstream", "kind"),
    [
        (b'{"error":{"message":"boom"}}', UpstreamFailed),
        (b'{"error":{"code":"429","message":"slow"},"choices":[]}', UpstreamLimited),
    ],
)
def test_an_error_inside_a_200_is_raised(upstream: bytes, kind: type[Exception]) -> None:
    """It is no answer."""
    with pytest.raises(kind):
        read_answer(upstream, model="m")


@pytest.mark.parametrize(
    "upstream",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"choices":',
        b'{"choices":[]}',
        b'{"choices":null}',
        b"{}",
        b'{"\xff":1}',
        b"[" * 100_000,
        b'{"error":null}',
    ],
)
def test_what_is_no_answer_is_broken(upstream: bytes) -> None:
    """Empty, cut, of another kind or without choices: never a 200."""
    with pytest.raises(UpstreamBroken):
        read_answer(upstream, model="m")


def test_a_prepared_request_reads_its_answer() -> None:
    """With the public name and the rules of its model."""
    request = prepare(body(), target("mistralai--mistral-small"), stream=False)
    down = json.loads(request.answer(answer(calls())).body)

    assert (PUBLIC, "tool_calls") == (down["model"], down["choices"][0]["finish_reason"])


@pytest.mark.parametrize("model", ["up", 'u"p'])
@pytest.mark.parametrize("place", [b"zeta", b"extra"])
def test_what_is_no_utf_8_is_broken(place: bytes, model: str) -> None:
    """Wherever it stands: it is taken apart to be put right, and must not fail as if the gateway had."""
    upstream = answer(calls()).replace(b'"up"', json.dumps(model).encode()).replace(place, b"\xff", 1)

    with pytest.raises(UpstreamBroken):
        read_answer(upstream, model=model, finish_fix=True)


def test_the_log_learns_the_reason_that_the_caller_reads() -> None:
    """The first choice's, put right."""
    assert "tool_calls" == read_answer(answer(calls(), TEXT), model="m", finish_fix=True).finish_reason
