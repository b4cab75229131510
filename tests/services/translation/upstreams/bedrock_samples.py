"""Streams of Bedrock as the wire document has them (§4.3, §4.4), and a caller that writes events as lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from services.errors import GatewayError
from services.translation.conversation import Block, Conversation, Text, Turn
from services.translation.dialects import Reader, ReplyInfo, Sent
from services.translation.events import Event
from services.translation.translate import Telling, Translation

START = {
    "type": "message_start",
    "message": {
        "id": "msg_bdrk_01A",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 28,
            "cache_creation_input_tokens": 7,
            "cache_read_input_tokens": 5,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
            "output_tokens": 1,
        },
    },
}
METRICS = {
    "inputTokenCount": 28,
    "outputTokenCount": 57,
    "invocationLatency": 976,
    "firstByteLatency": 636,
    "cacheReadInputTokenCount": 5,
    "cacheWriteInputTokenCount": 7,
}
STOP = {"type": "message_stop", "amazon-bedrock-invocationMetrics": METRICS}


def opened(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index: int, kind: str, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind} | delta}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ending(reason: str | None, *, usage: Any = None, sequence: str | None = None) -> dict[str, Any]:
    delta = {"stop_reason": reason, "stop_sequence": sequence}
    return {"type": "message_delta", "delta": delta} | ({"usage": usage} if usage else {})


CLAUDE: tuple[dict[str, Any], ...] = (
    START,
    opened(0, type="thinking", thinking="", signature=""),
    piece(0, "thinking_delta", thinking="Let me "),
    piece(0, "signature_delta", signature="EqoB"),
    piece(0, "signature_delta", signature="…"),
    closed(0),
    {"type": "ping"},
    opened(1, type="redacted_thinking", data="c2VjcmV0"),
    closed(1),
    opened(2, type="text", text=""),
    piece(2, "text_delta", text="Grüße\u2028data: 😀"),
    closed(2),
    opened(3, type="tool_use", id="toolu_bdrk_01B", name="get_weather", input={}),
    piece(3, "input_json_delta", partial_json=""),
    piece(3, "input_json_delta", partial_json='{"city":'),
    piece(3, "input_json_delta", partial_json=' "Ulm"}'),
    closed(3),
    ending("tool_use", usage={"output_tokens": 57, "output_tokens_details": {"thinking_tokens": 20}}),
    STOP,
)

CONVERSE: tuple[dict[str, Any], ...] = (
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "Hm, "}}, "contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"reasoningContent": {"signature": "Sig"}}, "contentBlockIndex": 0}},
    {"contentBlockStop": {"contentBlockIndex": 0}},
    {
        "contentBlockDelta": {
            "delta": {"reasoningContent": {"redactedContent": b"\x00'\xff"}},
            "contentBlockIndex": 1,
        }
    },
    {"contentBlockStop": {"contentBlockIndex": 1}},
    {"contentBlockDelta": {"delta": {"text": "It's "}, "contentBlockIndex": 2}},
    {"contentBlockDelta": {"delta": {"text": '"Grüße"\n\'data: 😀\u2028'}, "contentBlockIndex": 2}},
    {"contentBlockStop": {"contentBlockIndex": 2}},
    {
        "contentBlockStart": {
            "start": {"toolUse": {"toolUseId": "tooluse_1", "name": "f"}},
            "contentBlockIndex": 3,
        }
    },
    {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"city": "Ulm"}'}}, "contentBlockIndex": 3}},
    {"contentBlockStop": {"contentBlockIndex": 3}},
    {"messageStop": {"stopReason": "tool_use", "additionalModelResponseFields": None}},
    {
        "metadata": {
            "usage": {
                "inputTokens": 12,
                "outputTokens": 9,
                "totalTokens": 27,
                "cacheReadInputTokens": 4,
                "cacheWriteInputTokens": 2,
            },
            "metrics": {"latencyMs": 512},
        }
    },
)


def json_sse(frames: Sequence[Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(frame, ensure_ascii=False).encode() + b"\n\n" for frame in frames)


def repr_sse(frames: Sequence[Any]) -> bytes:
    return b"".join(f"data: {frame!r}\n\n".encode() for frame in frames)


def conversation(*blocks: Block, **members: Any) -> Conversation:
    """A user's turn with these blocks, "hi" if there are none."""
    turns = members.pop("turns", (Turn("user", blocks or (Text("hi"),)),))
    return Conversation(turns=turns, **members)


INFO = ReplyInfo("0" * 24, 0, "our-model", conversation())


def said(sent: Sent) -> dict[str, Any]:
    """The body that goes up."""
    body = json.loads(sent.body)
    assert isinstance(body, dict)
    return body


class Lines:
    """A writer that says each event on a line of its own."""

    def feed(self, event: Event) -> bytes:
        return type(event).__name__.encode() + b" " + msgspec.json.encode(event) + b"\n"

    def close(self) -> bytes:
        return b"end\n"

    def fail(self, error: GatewayError) -> bytes:
        return b"fail\n"


def translated(reader: Reader, *chunks: bytes) -> bytes:
    """What a caller gets of a stream that comes in these chunks."""
    translation = Translation(reader, Lines(), Telling({}))
    fed = [translation.feed(chunk) for chunk in chunks]
    return b"".join([*fed, translation.close()])
