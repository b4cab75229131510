"""Streams as SAP AI Core sends them, and the model facts that tests translate for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from services.translation import fields
from services.translation.capabilities import ModelFacts, facts_for
from services.translation.replies import Target

# wire §4.1, as recorded: the metadata frame, role, text, finish, usage, end.
AZURE = (
    '{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":'
    '[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}',
    '{"choices":[{"content_filter_results":{},"delta":{"content":"","role":"assistant"},"finish_reason":null,'
    '"index":0}],"created":1760000000,"id":"chatcmpl-A1","model":"gpt-5-2025-08-07",'
    '"object":"chat.completion.chunk","system_fingerprint":"fp_1","usage":null}',
    '{"choices":[{"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},'
    '"delta":{"content":"Grüße\u2028data: 😀"},"finish_reason":null,"index":0}],"created":1760000000,'
    '"id":"chatcmpl-A1","model":"gpt-5-2025-08-07","object":"chat.completion.chunk","usage":null}',
    '{"choices":[{"content_filter_results":{},"delta":{},"finish_reason":"stop","index":0}],'
    '"created":1760000000,"id":"chatcmpl-A1","model":"gpt-5-2025-08-07","object":"chat.completion.chunk",'
    '"usage":null}',
    '{"choices":[],"created":1760000000,"id":"chatcmpl-A1","model":"gpt-5-2025-08-07",'
    '"object":"chat.completion.chunk","usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,'
    '"completion_tokens_details":{"reasoning_tokens":8},"prompt_tokens_details":{"cached_tokens":0}}}',
    "[DONE]",
)

# wire §4.6: spaces in the JSON, tool calls under finish reason "stop", usage on the finish frame.
MISTRAL = (
    '{"id": "m1", "object": "chat.completion.chunk", "created": 1, "model": "mistral-small-2603", "choices": '
    '[{"index": 0, "delta": {"role": "assistant", "content": "", "tool_calls": []}, "finish_reason": null}]}',
    '{"id": "m1", "object": "chat.completion.chunk", "created": 1, "model": "mistral-small-2603", "choices": '
    '[{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": '
    '{"name": "weather", "arguments": "{\\"city\\": \\"Ulm\\"}"}}]}, "finish_reason": null}]}',
    '{"id": "m1", "object": "chat.completion.chunk", "created": 1, "model": "mistral-small-2603", "choices": '
    '[{"index": 0, "delta": {"content": ""}, "finish_reason": "stop", "stop_reason": null}], "usage": '
    '{"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, "extra": {"cached": 1}}}',
    "[DONE]",
)

PUBLIC = "our-model"


def sse(*frames: str, end: str = "\n") -> bytes:
    """The frames as a stream, every line ended like this."""
    return "".join(f"data: {frame}{end}{end}" for frame in frames).encode()


def frames(stream: bytes) -> list[Any]:
    """What a client reads: the JSON of every event, and the text of those that are none."""
    events = stream.decode().removesuffix("\n\n").split("\n\n") if stream else []
    datas = [event.removeprefix("data: ") for event in events]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


def chunk(
    *, index: int = 0, finish: str | None = None, model: str = "up", delta: Any = None, **more: Any
) -> str:
    """One chunk of a stream."""
    choice = {"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}
    return json.dumps({"id": "c", "model": model, "choices": [choice]} | more, separators=(",", ":"))


def target(
    model: str = "gpt-4o",
    *,
    facts: ModelFacts | None = None,
    public: str = PUBLIC,
    defaults: Mapping[str, Any] | None = None,
) -> Target:
    """A model to translate for."""
    return Target(
        public_name=public,
        backend_model=model,
        facts=facts or facts_for(model),
        api_version="2025-04-01-preview",
        defaults={name: fields.raw(value) for name, value in (defaults or {}).items()},
    )


def body(**members: Any) -> fields.Fields:
    """A chat request with these members besides its messages."""
    whole = {"model": "asked", "messages": [{"role": "user", "content": "hi"}]} | members
    return fields.parse(msgspec.json.encode(whole))


def sent(request: bytes) -> dict[str, Any]:
    """What went up, but for the messages."""
    members = json.loads(request)
    del members["messages"]
    return dict(members)
