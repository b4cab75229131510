"""Gemini's answers as SAP AI Core sends them (wire §4.5), and a model to ask."""

from __future__ import annotations

import json
from typing import Any

from services.errors import UpstreamFailed
from services.translation.conversation import Block, Conversation, Reasoning, Text, Turn
from services.translation.dialects import ReplyInfo, Writer
from services.translation.events import Event
from services.translation.translate import Telling, Translation
from services.translation.upstreams.gemini_answer import Reader
from tests.services.translation.samples import PUBLIC

FLASH = "gemini-2.5-flash-lite"  # thinks by budget
PRO = "gemini-2.5-pro"  # by budget, and always
FLASH_3 = "gemini-3.5-flash"  # thinks by level, signs its calls
PRO_3 = "gemini-3.1-pro-preview-ea"  # the same, always

# A thought, text, a signed call and an unsigned one, the finish with the whole usage.
CALLS = (
    '{"candidates":[{"content":{"role":"model","parts":[{"text":"Thinking…","thought":true}]},"index":0}],'
    '"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8,"trafficType":"ON_DEMAND"},'
    '"modelVersion":"gemini-3.5-flash","responseId":"r1"}',
    '{"candidates":[{"content":{"role":"model","parts":[{"text":"Grüße\u2028data: 😀"}]},"index":0}],'
    '"modelVersion":"gemini-3.5-flash","responseId":"r1"}',
    '{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"f","args":{"city":"Ulm"}},'
    '"thoughtSignature":"CsQB"},{"functionCall":{"name":"g"}}]},"index":0}],'
    '"modelVersion":"gemini-3.5-flash","responseId":"r1"}',
    '{"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"STOP","index":0,'
    '"safetyRatings":[{"category":"HARM_CATEGORY_HARASSMENT","probability":"NEGLIGIBLE"}]}],'
    '"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":12,"thoughtsTokenCount":30,'
    '"cachedContentTokenCount":3,"totalTokenCount":50},"modelVersion":"gemini-3.5-flash","responseId":"r1"}',
)
BLOCKED = (
    '{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT","blockReasonMessage":"The prompt was blocked."},'
    '"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8},"modelVersion":"gemini-3.5-flash"}'
)
ERROR = '{"error":{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED"}}'


def frame(*parts: Any, finish: str | None = None, index: int | None = 0, **more: Any) -> str:
    """One frame with these parts, or a whole answer."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if index is not None:
        candidate["index"] = index
    if finish:
        candidate["finishReason"] = finish
    return json.dumps({"candidates": [candidate | more]}, separators=(",", ":"), ensure_ascii=False)


def asked(*blocks: Block, **members: Any) -> Conversation:
    """A conversation of one user turn, or of `turns`."""
    turns = members.pop("turns", (Turn("user", blocks or (Text("hi"),)),))
    return Conversation(turns=turns, **members)


def info(conversation: Conversation | None = None) -> ReplyInfo:
    """What answers are made with."""
    return ReplyInfo("ab12", 1_760_000_000, PUBLIC, conversation or asked())


def hidden() -> ReplyInfo:
    """The same, for a caller who does not want to read thoughts."""
    return info(asked(reasoning=Reasoning(effort="high", shown=False)))


class Events:
    """A writer that keeps the events."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def feed(self, event: Event) -> bytes:
        self.all.append(event)
        return b"."

    def close(self) -> bytes:
        return b""

    def fail(self, error: Any) -> bytes:
        return b""


def translation(writer: Writer) -> Translation:
    """A stream of Gemini's, on its way to this writer."""
    return Translation(Reader(info()), writer, Telling({}))


FAILURE = UpstreamFailed("detail for the log", public="it broke")
