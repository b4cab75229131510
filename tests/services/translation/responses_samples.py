"""Azure's Responses streams as SAP AI Core sends them (wire §4.2), and what OpenAI's SDK reads of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from services.translation import fields
from services.translation.capabilities import ModelFacts, facts_for
from services.translation.replies import Target

PUBLIC = "our-gpt"
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CALLER = "0123456789abcdef"
ORIGIN = "main/d1a2b3c4"


def frame(number: int, kind: str, **members: Any) -> str:
    """One event as Azure sends it."""
    return json.dumps({"type": kind, "sequence_number": number, **members}, separators=(",", ":"))


def response(status: str, **members: Any) -> dict[str, Any]:
    """A response object with Azure's extras."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1760000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "gpt-5-2025-08-07",
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
        "content_filters": None,
    } | members


USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 4},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 8},
    "total_tokens": 42,
}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}],
    "encrypted_content": "gAAAAAB-cipher",
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Grüße\u2028data: 😀", "annotations": []}],
}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city":"Ulm"}',
}
OUTPUT = [REASONING, MESSAGE, CALL]
DONE = response("completed", output=OUTPUT, usage=USAGE)
_TEXT = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
_SUMMARY = {"item_id": "rs_1", "output_index": 0}

CREATED = frame(0, "response.created", response=response("in_progress"))
IN_PROGRESS = frame(1, "response.in_progress", response=response("in_progress"))
DELTA = frame(8, "response.output_text.delta", **_TEXT, delta="Grüße\u2028", logprobs=[], obfuscation="k3")
COMPLETED = frame(19, "response.completed", response=DONE)
STREAM = (
    CREATED,
    IN_PROGRESS,
    frame(2, "response.output_item.added", output_index=0, item={**REASONING, "summary": []}),
    frame(3, "response.reasoning_summary_text.delta", **_SUMMARY, summary_index=0, delta="One."),
    frame(4, "response.reasoning_summary_text.delta", **_SUMMARY, summary_index=1, delta="Two."),
    frame(5, "response.output_item.done", output_index=0, item=REASONING),
    frame(6, "response.output_item.added", output_index=1, item={**MESSAGE, "content": []}),
    frame(7, "response.content_part.added", **_TEXT, part={"type": "output_text", "text": ""}),
    DELTA,
    frame(9, "response.output_text.delta", **_TEXT, delta="data: 😀", logprobs=[], obfuscation="k3"),
    frame(10, "response.output_text.done", **_TEXT, text="Grüße\u2028data: 😀", logprobs=[]),
    frame(11, "response.from.the.future", response="who knows", delta={"x": 1}, item=[]),
    frame(12, "response.output_item.done", output_index=1, item=MESSAGE),
    frame(13, "response.output_item.added", output_index=2, item={**CALL, "arguments": ""}),
    frame(14, "response.function_call_arguments.delta", item_id="fc_1", output_index=2, delta='{"city"'),
    frame(15, "response.function_call_arguments.delta", item_id="fc_1", output_index=2, delta=':"Ulm"}'),
    frame(16, "response.function_call_arguments.done", output_index=2, arguments='{"city":"Ulm"}'),
    frame(17, "response.output_item.done", output_index=2, item=CALL),
    COMPLETED,
)
THROTTLE = frame(3, "error", error={"type": "too_many_requests", "code": "too_many_requests", "message": "m"})
# wire §4.2, as captured on gpt-5.5
THROTTLED = (CREATED, frame(2, "response.failed", response=response("failed")), THROTTLE)
FAILED = frame(
    9, "response.failed", response=response("failed", error={"code": "server_error", "message": "broke"})
)


def target(
    model: str = "gpt-5", *, facts: ModelFacts | None = None, defaults: dict[str, Any] | None = None
) -> Target:
    """A model to translate for."""
    return Target(
        public_name=PUBLIC,
        backend_model=model,
        facts=facts or facts_for(model),
        api_version="2025-04-01-preview",
        defaults={name: fields.raw(value) for name, value in (defaults or {}).items()},
        caller=CALLER,
    )


def body(**members: Any) -> fields.Fields:
    """A Responses request with these members."""
    return fields.parse(msgspec.json.encode({"model": "asked", "input": "hi"} | members))


def told(stream: bytes) -> list[dict[str, Any]]:
    """What the SDK reads of a stream: each event is one that it knows, and its line names it."""
    events = []
    for block in stream.decode().removesuffix("\n\n").split("\n\n") if stream else []:
        line, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert f"event: {event['type']}" == line
        EVENTS.validate_python(event)
        events.append(event)
    return events


def whole(answer: bytes) -> dict[str, Any]:
    """What the SDK reads of a whole answer."""
    Response.model_validate_json(answer, strict=True)
    return dict(json.loads(answer))


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    """The types of events, without what they all have in common."""
    return [event["type"].removeprefix("response.") for event in events]
