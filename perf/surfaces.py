"""What can be asked of a gateway: for each surface its path, its body, and how its answers are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from perf.dialects import BEDROCK, CHAT, GEMINI, MESSAGES, RESPONSES, Dialect

Body = dict[str, Any]

MAX_TOKENS = 1024
"""Where a limit is required and none was asked for."""

_STREAM = {"stream": True}
_STREAM_WITH_USAGE = {**_STREAM, "stream_options": {"include_usage": True}}


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask, before it has a dialect."""

    text: str = ""
    model: str | None = None
    max_tokens: int | None = None
    stream: bool = False

    def body(self, streamed: Body, **members: Any) -> Body:
        """The members that have a value, and those of a stream if it is one."""
        given = {name: value for name, value in members.items() if value is not None}
        return {**given, **streamed} if self.stream else given

    @property
    def messages(self) -> list[Body]:
        """The text as a conversation."""
        return [{"role": "user", "content": self.text}]


def _chat(asked: Question) -> Body:
    return asked.body(
        _STREAM_WITH_USAGE, model=asked.model, messages=asked.messages, max_tokens=asked.max_tokens
    )


def _completion(asked: Question) -> Body:
    return asked.body(_STREAM_WITH_USAGE, model=asked.model, prompt=asked.text, max_tokens=asked.max_tokens)


def _message(asked: Question) -> Body:
    limit = asked.max_tokens or MAX_TOKENS
    return asked.body(_STREAM, model=asked.model, max_tokens=limit, messages=asked.messages)


def _response(asked: Question) -> Body:
    # Not stored: a load test would leave all its answers behind.
    return asked.body(
        _STREAM, model=asked.model, input=asked.text, max_output_tokens=asked.max_tokens, store=False
    )


def _contents(asked: Question) -> Body:
    limit = {"maxOutputTokens": asked.max_tokens} if asked.max_tokens else None
    return asked.body(
        {}, contents=[{"role": "user", "parts": [{"text": asked.text}]}], generationConfig=limit
    )


def _invocation(asked: Question) -> Body:
    limit = asked.max_tokens or MAX_TOKENS
    return asked.body({}, anthropic_version="bedrock-2023-05-31", max_tokens=limit, messages=asked.messages)


def _texts(asked: Question) -> Body:
    return asked.body({}, model=asked.model, input=asked.text)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path to measure. `{model}` in a path is replaced by the model's name."""

    method: str
    path: str
    mark: bytes
    """What every good unary answer contains."""
    body: Callable[[Question], Body] | None = None
    dialect: Dialect = CHAT
    streams: bool = False
    stream_path: str = ""
    """Where streams have a path of their own."""

    def at(self, question: Question) -> str:
        """Path and query for a question."""
        path = self.stream_path if question.stream and self.stream_path else self.path
        return path.replace("{model}", quote(question.model or "", safe=""))

    def serves(self, path: str) -> bool:
        """Whether a path without query ends like this endpoint's, whatever stands before the operation."""
        return path.endswith(tuple(map(_operation, (self.path, self.stream_path or self.path))))


def _operation(path: str) -> str:
    """`/chat/completions`, say, or `:generateContent`."""
    return path.removeprefix("/v1").rpartition("{model}")[2].partition("?")[0]


ENDPOINTS: Mapping[str, Endpoint] = {
    "chat": Endpoint("POST", "/v1/chat/completions", b'"choices"', _chat, streams=True),
    "messages": Endpoint("POST", "/v1/messages", b'"content"', _message, MESSAGES, streams=True),
    "responses": Endpoint("POST", "/v1/responses", b'"output"', _response, RESPONSES, streams=True),
    "gemini": Endpoint(
        "POST", "/v1beta/models/{model}:generateContent", b'"candidates"', _contents, GEMINI, streams=True,
        stream_path="/v1beta/models/{model}:streamGenerateContent?alt=sse",
    ),
    "bedrock": Endpoint(
        "POST", "/model/{model}/invoke", b'"content"', _invocation, BEDROCK, streams=True,
        stream_path="/model/{model}/invoke-with-response-stream",
    ),
    "completions": Endpoint("POST", "/v1/completions", b'"choices"', _completion, streams=True),
    "embeddings": Endpoint("POST", "/v1/embeddings", b'"data"', _texts),
    "models": Endpoint("GET", "/v1/models", b'"data"'),
    "health": Endpoint("GET", "/health", b""),
    "ready": Endpoint("GET", "/health/ready", b""),
}  # fmt: skip


def endpoint_of(path: str) -> Endpoint:
    """The endpoint that answers questions at a path, in any of its spellings; chat if it is none of ours."""
    bare = path.partition("?")[0].rstrip("/")
    asked = (one for one in ENDPOINTS.values() if one.body is not None and one.serves(bare))
    return next(asked, ENDPOINTS["chat"])
