"""Claude's streams as SAP AI Core sends them (wire §4.3), and what Anthropic's SDK reads of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anthropic
import httpx2
import msgspec
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from services.translation import fields
from services.translation.capabilities import ModelFacts, facts_for
from services.translation.conversation import Conversation
from services.translation.dialects import ReplyInfo
from services.translation.replies import Target

PUBLIC = "our-claude"
INFO = ReplyInfo("01ab", 1_760_000_000, PUBLIC, Conversation(turns=()))
EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

START = (
    '{"type":"message_start","message":{"id":"msg_bdrk_01A","type":"message","role":"assistant",'
    '"model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":null,"stop_sequence":null,'
    '"usage":{"input_tokens":28,"cache_creation_input_tokens":5,"cache_read_input_tokens":7,'
    '"output_tokens":1}}}'
)
TEXT_START = '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}'
TEXT = '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Grüße\u2028data: 😀"}}'
DELTA = (
    '{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},'
    '"usage":{"output_tokens":57}}'
)
STOP = (
    '{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":28,'
    '"outputTokenCount":57,"invocationLatency":976,"firstByteLatency":636}}'
)
CLAUDE = (
    START,
    '{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"",'
    '"signature":""}}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me "}}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqoB"}}',
    '{"type":"content_block_stop","index":0}',
    TEXT_START,
    TEXT,
    '{"type":"content_block_stop","index":1}',
    '{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_bdrk_01B",'
    '"name":"get_weather","input":{}}}',
    '{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":'
    '"{\\"city\\":"}}',
    '{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":'
    '" \\"Ulm\\"}"}}',
    '{"type":"content_block_stop","index":2}',
    DELTA,
    STOP,
)

ANSWER = {
    "id": "msg_bdrk_01A",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 3,
        "output_tokens": 4,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 20,
    },
}


def sse(*frames: str) -> bytes:
    """Frames as Bedrock's stream has them: data lines, no event lines."""
    return "".join(f"data: {frame}\n\n" for frame in frames).encode()


def request(**members: Any) -> fields.Fields:
    """A Messages body with these members; those that are `...` are left out."""
    whole = {"model": "asked", "max_tokens": 9_000, "messages": [{"role": "user", "content": "hi"}]} | members
    return fields.parse(
        msgspec.json.encode({name: value for name, value in whole.items() if value is not ...})
    )


def said(*blocks: Any, role: str = "user") -> list[dict[str, Any]]:
    """One message with these blocks."""
    return [{"role": role, "content": list(blocks)}]


def target(
    model: str = "anthropic--claude-4.6-sonnet",
    *,
    facts: ModelFacts | None = None,
    defaults: Mapping[str, Any] | None = None,
    **more: Any,
) -> Target:
    """A Claude to pass through to."""
    return Target(
        public_name=PUBLIC,
        backend_model=model,
        facts=facts or facts_for(model),
        api_version="",
        defaults={name: fields.raw(value) for name, value in (defaults or {}).items()},
        **more,
    )


def events(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream for a caller, each checked for its event line and by the SDK's own model."""
    found = []
    for event in stream.decode().removesuffix("\n\n").split("\n\n"):
        kind, data = event.split("\n")
        document = json.loads(data.removeprefix("data: "))
        if f"event: {document['type']}" != kind:
            raise AssertionError(event)
        if document["type"] not in ("error", "ping"):
            EVENTS.validate_python(document)
        found.append(document)
    return found


def accumulated(stream: bytes) -> Message:
    """What Anthropic's SDK makes of the stream."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    transport = httpx2.MockTransport(lambda _: answer)
    with (
        httpx2.Client(transport=transport) as http,
        anthropic.Anthropic(
            api_key="k", base_url="http://gateway", http_client=http, max_retries=0
        ) as client,
        client.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        ) as streamed,
    ):
        return streamed.get_final_message()


def bedrock_events(stream: bytes) -> list[dict[str, Any]]:
    """What boto reads of a binary stream: the events, and an exception as `{"exception": …}`."""
    from anthropic.lib.bedrock._stream_decoder import get_response_stream_shape
    from botocore.eventstream import EventStreamBuffer
    from botocore.parsers import EventStreamJSONParser

    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    found = []
    for event in buffer:
        response = event.to_response_dict()
        parsed = EventStreamJSONParser().parse(response, get_response_stream_shape())
        if response["status_code"] == 200:
            found.append(json.loads(parsed["chunk"]["bytes"]))
        else:
            found.append({"exception": parsed["Error"]})
    return found
