"""There and back through an orchestration deployment, for every family of models."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from perf.simulator.answers import EventStream, Reply
from services.translation import fields, translate
from services.translation.faults import error_for
from services.translation.replies import Prepared
from tests.perf.simulator.executables.orchestrated import send
from tests.services.translation.upstreams.orchestration_samples import BRACES, target

MODELS = (
    "gpt-5", "gpt-4.1", "gpt-5.5", "anthropic--claude-4.5-sonnet", "anthropic--claude-4.8-opus",
    "gemini-3.5-flash", "mistralai--mistral-small", "amazon--nova-pro", "cohere--command-a-reasoning",
)  # fmt: skip
TOOL = {
    "type": "function",
    "function": {"name": "look", "description": BRACES, "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": "{{?x}}"}'}}
MESSAGES = (
    {"role": "system", "content": BRACES},
    {"role": "user", "content": BRACES},
    {"role": "assistant", "content": BRACES, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": BRACES},
)


def prepared(model: str, *, stream: bool, **members: Any) -> Prepared:
    """A chat caller's request."""
    body = {"model": "our-model", "messages": MESSAGES, "tools": [TOOL]} | members
    asked = fields.parse(msgspec.json.encode(body))
    return translate.prepare(asked, target(model), surface="chat", stream=stream)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("effort", [None, "high"])
def test_a_whole_answer(model: str, effort: str | None) -> None:
    """The deployment takes the request; braces come back as they went up."""
    request = prepared(model, stream=False, reasoning_effort=effort, max_tokens=9_000, temperature=0.5)
    reply = send(request.body)
    assert isinstance(reply, Reply)
    answer = request.answer(reply.body)
    message = ChatCompletion.model_validate_json(answer.body).choices[0].message

    assert (200, f"The tool answered: {BRACES}") == (reply.status, message.content)
    assert answer.usage is not None
    assert answer.usage.total_tokens


@pytest.mark.parametrize("model", [model for model in MODELS if model != "gpt-5.5"])
def test_a_stream(model: str) -> None:
    """The same, piece by piece, with its usage."""
    request = prepared(model, stream=True, stream_options={"include_usage": True})
    answer = send(request.body)
    assert isinstance(answer, EventStream)
    assert request.relay is not None
    relay = request.relay()
    steps = [step for step in answer.frames if isinstance(step, bytes)]
    told = b"".join([*map(relay.feed, steps), relay.feed(answer.done), relay.close()])

    assert told.endswith(b"data: [DONE]\n\n")
    assert (True, "stop", True) == (relay.done, relay.finish_reason, bool(relay.usage))


def test_a_stream_that_has_to_be_asked_for_whole() -> None:
    """The refusal brings another form of the request, and its answer is told as a stream."""
    request = prepared("gpt-5.5", stream=True)
    reply = send(request.body)
    assert isinstance(reply, Reply)
    assert request.relay is not None
    relay = request.relay()
    told = relay.feed(reply.body) + relay.close()

    assert (200, True) == (reply.status, told.endswith(b"data: [DONE]\n\n"))


def test_a_refused_stream_is_asked_for_whole() -> None:
    """Also where nobody knew it before."""
    request = prepared("gpt-4.1", stream=True)
    assert request.amend is not None
    body = b'{"error":{"code":400,"message":"Streaming is not supported for this model.","location":"LLM"}}'
    other = request.amend(error_for(400, body))

    assert other is not None
    assert isinstance(send(other.body), Reply)


def test_a_filtered_prompt_keeps_its_code() -> None:
    """Never tried again, with the filter's verdict (wire §6.3)."""
    strict = {"filters": [{"type": "azure_content_safety", "config": {"violence": 0}}]}
    request = prepared(
        "gpt-4.1",
        stream=False,
        messages=[{"role": "user", "content": "[[violence:6]]"}],
        orchestration={"filtering": {"input": strict}},
    )
    reply = send(request.body)
    assert isinstance(reply, Reply)
    error = error_for(reply.status, reply.body)

    assert (400, "content_filter", False) == (error.status, error.code, error.retryable)
    assert 6 == error.extra["input_filtering"]["data"]["azure_content_safety"]["violence"]
