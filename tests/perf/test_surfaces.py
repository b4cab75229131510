"""What each surface is asked, and which surface a path belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from perf.dialects import BEDROCK, CHAT, GEMINI, MESSAGES, RESPONSES, Dialect
from perf.surfaces import ENDPOINTS, Question, endpoint_of
from perf.workload import encode
from services.translation import fields
from services.translation.callers import CALLERS

ASKED = Question("hi", "m/1", 5, stream=True)
TALK = [{"role": "user", "content": "hi"}]
BODIES: dict[str, Any] = {
    "chat": {"model": "m/1", "messages": TALK, "max_tokens": 5, "stream": True,
             "stream_options": {"include_usage": True}},
    "messages": {"model": "m/1", "max_tokens": 5, "messages": TALK, "stream": True},
    "responses": {"model": "m/1", "input": "hi", "max_output_tokens": 5, "store": False, "stream": True},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}],
               "generationConfig": {"maxOutputTokens": 5}},
    "bedrock": {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": TALK},
    "completions": {"model": "m/1", "prompt": "hi", "max_tokens": 5, "stream": True,
                    "stream_options": {"include_usage": True}},
    "embeddings": {"model": "m/1", "input": "hi"},
}  # fmt: skip


@pytest.mark.parametrize(("surface", "body"), BODIES.items(), ids=BODIES)
def test_each_surface_is_asked_in_its_own_form(surface: str, body: Any) -> None:
    """The same question, the same limit, as a stream where there are streams."""
    build = ENDPOINTS[surface].body
    assert build is not None

    assert body == build(ASKED)


@pytest.mark.parametrize("surface", [name for name in BODIES if name in CALLERS])
def test_the_gateway_understands_each_body(surface: str) -> None:
    """As one question of the user's."""
    build = ENDPOINTS[surface].body
    assert build is not None
    (turn,) = CALLERS[surface].parse(fields.parse(encode(build(ASKED)))).turns

    assert ("user", "hi") == (turn.role, getattr(turn.blocks[0], "text", None))


@pytest.mark.parametrize(
    ("surface", "stream", "path"),
    [
        ("chat", True, "/v1/chat/completions"),
        ("gemini", False, "/v1beta/models/m%2F1:generateContent"),
        ("gemini", True, "/v1beta/models/m%2F1:streamGenerateContent?alt=sse"),
        ("bedrock", True, "/model/m%2F1/invoke-with-response-stream"),
    ],
)
def test_the_model_is_in_the_path_where_it_belongs(surface: str, stream: bool, path: str) -> None:
    """And a stream has a path of its own, or has not."""
    assert path == ENDPOINTS[surface].at(Question(model="m/1", stream=stream))


@pytest.mark.parametrize(
    ("path", "surface", "dialect"),
    [
        ("/v1/chat/completions", "chat", CHAT),
        ("/openai/deployments/gpt-5/chat/completions?api-version=x", "chat", CHAT),
        ("/v1/completions", "completions", CHAT),
        ("/completions", "completions", CHAT),
        ("/v1/messages", "messages", MESSAGES),
        ("/anthropic/v1/messages?beta=true", "messages", MESSAGES),
        ("/openai/responses/", "responses", RESPONSES),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", "gemini", GEMINI),
        ("/v1/models/m:generateContent", "gemini", GEMINI),
        ("/model/m/invoke-with-response-stream", "bedrock", BEDROCK),
        ("/model/m/invoke", "bedrock", BEDROCK),
        ("/embeddings", "embeddings", CHAT),
        ("/of/something/else", "chat", CHAT),
    ],
)
def test_a_path_tells_its_surface(path: str, surface: str, dialect: Dialect) -> None:
    """In every spelling that clients use."""
    assert (ENDPOINTS[surface], dialect) == (endpoint_of(path), endpoint_of(path).dialect)
