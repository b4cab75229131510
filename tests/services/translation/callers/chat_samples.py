"""Answers and requests that the tests of OpenAI's surfaces share."""

from __future__ import annotations

from typing import Any

import msgspec
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from services.translation import fields
from services.translation.callers.chat import CALLER
from services.translation.conversation import Conversation
from services.translation.dialects import ReplyInfo
from services.translation.events import (
    Cited,
    Counted,
    Event,
    RedactedPiece,
    RefusalPiece,
    Signed,
    Started,
    Stopped,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
)
from tests.services.translation.samples import frames

TOKENS = Tokens(uncached=5, cache_read=3, cache_write_5m=2, output=7, reasoning=4)
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 7,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 4},
}

# What models say, by what is special about it.
ANSWERS: dict[str, tuple[Event, ...]] = {
    "text": (Started(), TextPiece("Grü"), TextPiece("ße\u2028data: 😀"), Stopped("stop"), Counted(TOKENS)),
    "nothing": (Started(), Stopped("stop"), Counted(TOKENS)),
    "thinking": (
        Started(),
        ThinkingPiece("hm"),
        ThinkingPiece("m"),
        Signed("sig", "claude"),
        RedactedPiece("secret"),
        TextPiece("so"),
        Stopped("stop"),
        Counted(TOKENS),
    ),
    "tools": (
        Started(),
        TextPiece("I look."),
        ToolOpened("c1", "weather", signature="gsig"),
        ToolPiece('{"city":'),
        ToolPiece('"Ulm"}'),
        ToolOpened("c2", "now"),
        Stopped("tool_calls"),
        Counted(TOKENS),
    ),
    "only tools": (
        Started(),
        ToolOpened("c1", "now"),
        ToolPiece("{}"),
        Stopped("tool_calls"),
        Counted(TOKENS),
    ),
    "refusal": (Started(), RefusalPiece("I can"), RefusalPiece("not."), Stopped("stop"), Counted(TOKENS)),
    "sources": (
        Started(),
        TextPiece("so [1]"),
        Cited(url="https://a.example", title="A"),
        Cited(url="https://b.example"),
        Cited(citation={"cited_text": "x"}),
        Stopped("length"),
        Counted(TOKENS),
    ),
}


def asked(**members: Any) -> Conversation:
    """What a chat caller asks, with these members besides a message."""
    whole = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | members
    return CALLER.parse(fields.parse(msgspec.json.encode(whole)))


def info(conversation: Conversation | None = None, **members: Any) -> ReplyInfo:
    """What an answer to these members of a request is made with."""
    return ReplyInfo("ab12", 1700000000, "our-model", conversation or asked(**members))


def rendered(events: tuple[Event, ...], **members: Any) -> dict[str, Any]:
    """The whole answer, valid for the SDK."""
    body = CALLER.render(events, info(**members))
    ChatCompletion.model_validate_json(body)
    return dict(msgspec.json.decode(body))


def written(events: tuple[Event, ...], **members: Any) -> list[Any]:
    """What a client reads of the stream; every chunk is valid for the SDK."""
    writer = CALLER.writer(info(**members))
    seen = frames(b"".join([writer.feed(event) for event in events]) + writer.close())
    for chunk in seen[:-1]:
        ChatCompletionChunk.model_validate(chunk)
    return seen


def deltas(seen: list[Any]) -> list[dict[str, Any]]:
    """The deltas of a stream."""
    return [choice["delta"] for chunk in seen[:-1] for choice in chunk["choices"]]
