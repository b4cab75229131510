"""Streams of each family as SAP AI Core sends them, and callers of each surface that ask for one."""

from __future__ import annotations

from typing import Any

import msgspec

from services.translation import fields
from services.translation.replies import Prepared, Relay
from services.translation.translate import prepare
from tests.services.translation.gemini_samples import CALLS as GEMINI
from tests.services.translation.responses_samples import STREAM as RESPONSES
from tests.services.translation.samples import AZURE, MISTRAL, sse, target
from tests.services.translation.upstreams.bedrock_samples import CLAUDE, CONVERSE, json_sse, repr_sse
from tests.services.translation.upstreams.test_cohere import TOOLS as COHERE

# wire §4.7: empty ids and reasons, the role on each frame, `[DONE]` at the end.
_ORCHESTRATION = (
    '{"request_id":"5bd8","intermediate_results":{"templating":[{"role":"user","content":"hi"}]},"final_result":'
    '{"id":"","object":"","created":0,"model":"","choices":[{"index":0,"delta":{"role":"","content":""},'
    '"finish_reason":""}]}}',
    '{"request_id":"5bd8","final_result":{"id":"c1","object":"chat.completion.chunk","created":1,"model":"abap",'
    '"choices":[{"index":0,"delta":{"role":"assistant","content":"Grüße\u2028data: 😀"},'
    '"finish_reason":""}]}}',
    '{"request_id":"5bd8","final_result":{"id":"c1","object":"chat.completion.chunk","created":1,"model":"abap",'
    '"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}],'
    '"usage":{"completion_tokens":5,"prompt_tokens":7,"total_tokens":12}}}',
    "[DONE]",
)

STREAMS: dict[str, bytes] = {
    "gpt-4.1": sse(*AZURE),
    "gpt-5.3-codex": sse(*RESPONSES),
    "sap-abap-1": sse(*_ORCHESTRATION),
    "mistralai--mistral-small": sse(*MISTRAL),
    "anthropic--claude-4.6-sonnet": json_sse(CLAUDE),
    "amazon--nova-pro": repr_sse(CONVERSE),
    "gemini-3.5-flash": sse(*GEMINI),
    "cohere--command-a-reasoning": sse(*COHERE),
}
"""Backend model → one of its streams; `TALKERS` call no tool."""
TALKERS = ("gpt-4.1", "sap-abap-1")

_HI = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": _HI},
    "completions": {"model": "m", "prompt": "hi"},
    "messages": {"model": "m", "max_tokens": 99, "messages": _HI},
    "bedrock": {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 99, "messages": _HI},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "responses": {"model": "m", "input": "hi"},
}
"""Surface → the least that it can be asked."""


def asked(surface: str, model: str, *, stream: bool = False, **members: Any) -> Prepared:
    """A request of this surface, as it goes up to this model."""
    said = {"stream": stream} if "model" in BODIES[surface] else {}  # elsewhere the path says it
    body = fields.parse(msgspec.json.encode(BODIES[surface] | said | members))
    return prepare(body, target(model), surface=surface, stream=stream)


def relay(surface: str, model: str, **members: Any) -> Relay:
    """The way down of a stream."""
    prepared = asked(surface, model, stream=True, **members)
    assert prepared.relay is not None
    return prepared.relay()


def streamed(surface: str, model: str, *pieces: bytes, **members: Any) -> bytes:
    """What the caller gets of these pieces; of the family's own stream if there are none."""
    way = relay(surface, model, **members)
    out = [way.feed(piece) for piece in pieces or (STREAMS[model],)]
    assert way.failure is None
    return b"".join([*out, way.close()])


def chunks(stream: bytes) -> list[dict[str, Any]]:
    """The JSON of a stream's events; the end marker and `event:` lines left out."""
    lines = [line.removeprefix(b"data: ") for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [msgspec.json.decode(line) for line in lines if line != b"[DONE]"]
