"""Requests to SAP's orchestration, its streams as recorded, and what is read from them (wire §4.7)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from services.translation.capabilities import ORCHESTRATION, facts_for
from services.translation.conversation import Conversation, OutputFormat, Text, Turn
from services.translation.dialects import ReplyInfo, Sent
from services.translation.replies import Target
from services.translation.upstreams.orchestration import UPSTREAM

CLAUDE = "anthropic--claude-4.5-sonnet"
NEWER_CLAUDE = "anthropic--claude-4.6-opus"
GPT = "gpt-4.1"
GEMINI = "gemini-3.5-flash"

BRACES = "{{?x}} {{ y }} {% raw %} {# no #} }}"
"""Text that a template engine would choke on."""


def target(model: str = GPT, *, version: str = "latest", modules: Mapping[str, Any] | None = None) -> Target:
    """A model behind orchestration."""
    return Target(
        public_name="our-model",
        backend_model=model,
        facts=facts_for(model, ORCHESTRATION),
        api_version="unused",
        defaults={},
        version=version,
        modules=modules or {},
    )


def turn(*blocks: Any) -> Turn:
    """The user's turn; text stands for a block of it."""
    return Turn("user", tuple(Text(one) if isinstance(one, str) else one for one in blocks))


def model_turn(*blocks: Any) -> Turn:
    """The model's turn."""
    return Turn("assistant", tuple(Text(one) if isinstance(one, str) else one for one in blocks))


def talk(*turns: Turn, **members: Any) -> Conversation:
    """A conversation; without turns the user says hello."""
    return Conversation(turns=turns or (turn("Hello"),), **members)


def request(
    conversation: Conversation, model: str = GPT, *, modules: Mapping[str, Any] | None = None
) -> Sent:
    """The request for a model."""
    return UPSTREAM.request(conversation, target(model, modules=modules))


def body(conversation: Conversation, model: str = GPT, *, modules: Mapping[str, Any] | None = None) -> Any:
    """The request's document."""
    return json.loads(request(conversation, model, modules=modules).body)


def templating(document: Any) -> Any:
    """The module that must be there, of the only module configuration."""
    return document["config"]["modules"]["prompt_templating"]


def params(conversation: Conversation, model: str = GPT) -> Any:
    """What the model is told besides the messages."""
    return templating(body(conversation, model))["model"]["params"]


def history(conversation: Conversation, model: str = GPT) -> Any:
    """The messages that no template engine reads."""
    return body(conversation, model).get("messages_history", [])


# --- answers -----------------------------------------------------------------------------------------

INFO = ReplyInfo("0" * 24, 1, "our-model", talk())
JSON_INFO = ReplyInfo("0" * 24, 1, "our-model", talk(output=OutputFormat()))


def frame(
    delta: Mapping[str, Any] | None = None, *, finish: str | None = "", model: str = "gpt-5", **more: Any
) -> bytes:
    """One frame of a stream, with the members that the wire repeats."""
    said = {"role": "assistant", "content": ""} | dict(delta or {})
    choice: dict[str, Any] = {"index": 0, "delta": said, "logprobs": {}}
    if finish is not None:
        choice["finish_reason"] = finish
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 0, "model": model}
    result = chunk | {"choices": [choice]} | more
    return json.dumps({"request_id": "r", "final_result": result}).encode()


def whole(message: Mapping[str, Any], *, finish: str = "stop", model: str = "gpt-5", **more: Any) -> bytes:
    """A whole answer."""
    choice = {"index": 0, "message": {"role": "assistant"} | dict(message), "finish_reason": finish}
    result = {"id": "", "object": "chat.completion", "model": model, "choices": [choice]} | more
    return msgspec.json.encode(
        {"request_id": "r", "intermediate_results": {"llm": {"choices": []}}, "final_result": result}
    )


TEMPLATING = (
    b'{"request_id": "5bd8", "intermediate_results": {"templating": [{"role": "user", "content": "Hello"}]}, '
    b'"final_result": {"id": "", "object": "", "created": 0, "model": "", "system_fingerprint": "", '
    b'"choices": [{"index": 0, "delta": {"role": "", "content": ""}, "finish_reason": ""}]}}'
)
"""The first frame, as recorded."""

SURE = (
    b'{"request_id": "5bd8", "intermediate_results": {"llm": {"id": "chatcmpl-1", "object": '
    b'"chat.completion.chunk", "created": 1732802814, "model": "gpt-5", "choices": [{"index": 0, "delta": '
    b'{"role": "assistant", "content": "Sure"}, "finish_reason": ""}]}}, "final_result": '
    b'{"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1732802814, '
    b'"model": "gpt-5", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Sure"}, '
    b'"finish_reason": ""}]}}'
)
"""The first frame with text: the model's own chunk stands in it a second time."""
