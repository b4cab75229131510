"""Whole streams of every dialect, as the gateway sends them, and what is in them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from perf.dialects import BEDROCK, CHAT, GEMINI, MESSAGES, RESPONSES, Dialect
from perf.simulator.executables import eventstream


def frame(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One chat chunk as a frame."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = [frame({"role": "assistant", "content": ""}), frame({"content": "a"}), frame({"content": "b"}),
         frame({"content": "c"}), frame({}, "stop"), USAGE, DONE]  # fmt: skip
FAULTS: dict[str, list[bytes]] = {
    "no-done": WHOLE[:-1],
    "no-finish": WHOLE[:3],
    "error-event": [*WHOLE[:2], b'data: {"error":{"code":"429","message":"exceeded token rate limit"}}\n\n'],
}


def data(event: Any) -> bytes:
    """One event as a frame without a name."""
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


def named(event: Any) -> bytes:
    """One event as a frame with its type as the name."""
    return b"event: %b\n%b" % (event["type"].encode(), data(event))


def binary(event: Any) -> bytes:
    """One event as a message of Amazon's."""
    inner = base64.b64encode(json.dumps(event, separators=(",", ":")).encode()).decode()
    return eventstream.event("chunk", json.dumps({"bytes": inner}).encode())


def piece(**delta: str) -> Any:
    """A piece of a Messages block."""
    return {"type": "content_block_delta", "index": 0, "delta": delta}


PROMPT = {"input_tokens": 2, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4}
MESSAGE = [
    {"type": "message_start", "message": {"role": "assistant", "usage": {**PROMPT, "output_tokens": 1}}},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    piece(type="thinking_delta", thinking="hm"),
    piece(type="signature_delta", signature="EqoB"),
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    piece(type="text_delta", text="a"),
    piece(type="text_delta", text="b"),
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]
RESPONSE: list[Any] = [
    {"type": "response.created", "response": {"status": "in_progress", "error": None, "usage": None}},
    {"type": "response.output_item.added", "item": {"type": "reasoning", "summary": []}},
    {"type": "response.reasoning_summary_text.delta", "delta": "hm"},
    {"type": "response.output_item.added", "item": {"type": "message", "content": []}},
    {"type": "response.output_text.delta", "delta": "a", "logprobs": []},
    {"type": "response.output_text.delta", "delta": "b", "logprobs": []},
    {"type": "response.output_text.done", "text": "ab"},
    {"type": "response.completed", "response": {"usage": {"input_tokens": 9, "output_tokens": 7}}},
]


def part(value: Any, **candidate: Any) -> Any:
    """A Gemini event with one part, and the usage so far."""
    content = {"role": "model", "parts": [value]}
    usage = {"promptTokenCount": 9, "totalTokenCount": 9}
    return {"candidates": [{"content": content, **candidate, "index": 0}], "usageMetadata": usage}


CONTENTS: list[Any] = [
    part({"text": "hm", "thought": True}),
    part({"text": "a"}),
    part({"functionCall": {"name": "f", "args": {}}}),
    part({"text": ""}, finishReason="STOP")
    | {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 3, "thoughtsTokenCount": 4}},
]


@dataclass(frozen=True)
class Sample:
    """A whole stream, and which of its frames is the first with output."""

    dialect: Dialect
    frames: list[bytes]
    first: int
    completion_tokens: int = 7


SAMPLES = {
    "chat": Sample(CHAT, WHOLE, 1, completion_tokens=3),
    "messages": Sample(MESSAGES, [named(event) for event in MESSAGE], 3),
    "bedrock": Sample(BEDROCK, [binary(event) for event in MESSAGE], 3),
    "responses": Sample(RESPONSES, [named(event) for event in RESPONSE], 2),
    "gemini": Sample(GEMINI, [data(event) for event in CONTENTS], 0),
}
"""Each has three pieces of output and nine tokens of prompt."""
