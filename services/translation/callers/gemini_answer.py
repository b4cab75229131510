"""Answers in Gemini's form: whole, or as the data-only events that `streamGenerateContent` sends (wire §4.5).

Every frame is a partial answer with at least one part: clients throw a conversation away that has a content
without. There is no `[DONE]` (trap 7); the last frame has the finish reason and all of the usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from services.errors import GatewayError
from services.translation.callers.envelopes import google_error
from services.translation.callers.gemini_seals import seal
from services.translation.conversation import Redacted, Text, Thinking, ToolUse
from services.translation.dialects import ReplyInfo
from services.translation.events import (
    Cited,
    Counted,
    Event,
    RedactedPiece,
    RefusalPiece,
    Signed,
    Stopped,
    StopReason,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
    collect,
)
from services.translation.fields import Json
from services.translation.frames import event
from services.translation.turns import arguments_object
from services.translation.upstreams.gemini_answer import ORIGIN

_encode = msgspec.json.encode

# wire §8.0
_FINISH: Mapping[StopReason, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "tool_calls": "STOP",
    "pause": "STOP",
    "length": "MAX_TOKENS",
    "context_length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "malformed": "MALFORMED_FUNCTION_CALL",
}


def render(events: Sequence[Event], info: ReplyInfo) -> bytes:
    """Return a whole answer."""
    message, shown = collect(events), _shows_thoughts(info)
    parts = [part for block in message.blocks if (part := _part(block, shown=shown))]
    if message.refusal:
        parts.append({"text": message.refusal})
    counted = message.tokens if any(isinstance(one, Counted) for one in events) else None
    return _encode(_ending(parts, message.stop, message.citations, counted) | _about(info))


class Writer:
    """Writes one stream. A piece of text is put between bytes that are made once."""

    def __init__(self, info: ReplyInfo) -> None:
        self._info = info
        self._shown = _shows_thoughts(info)
        self._tail = b'},"index":0}],' + _encode(_about(info))[1:] + b"\n\n"
        self._call: ToolOpened | None = None
        self._arguments: list[str] = []
        self._thought = False
        self._withheld = False
        self._stop = Stopped("stop")
        self._tokens: Tokens | None = None
        self._cited: list[Cited] = []
        self._ended = False

    def feed(self, event: Event) -> bytes:
        """Return the caller's bytes; a call is held until all of its arguments are here."""
        if self._ended:
            return b""
        match event:
            case TextPiece(text) | RefusalPiece(text):
                return self._finished_call() + self._frame(b'{"text":' + _encode(text) + b"}")
            case ThinkingPiece(text):
                return self._thinking(text)
            case ToolPiece(arguments):
                self._arguments.append(arguments)
            case ToolOpened():
                done = self._finished_call()
                self._call = event
                return done
            case Signed(signature, origin):
                return self._signed(signature, origin)
            case RedactedPiece(data, origin):
                return self._finished_call() + self._frame(_encode(_redacted(data, origin)))
            case Cited():
                self._cited.append(event)
            case Counted(tokens):
                self._tokens = tokens
            case Stopped():
                self._stop = event
            case _:
                pass  # the first content is the beginning
        return b""

    def close(self) -> bytes:
        """Return the end of a stream that is complete."""
        if self._ended:
            return b""
        rest = self._finished_call()
        self._ended = True
        ending = _ending([{"text": ""}], self._stop, self._cited, self._tokens)
        return rest + event(_encode(ending | _about(self._info)))

    def fail(self, error: GatewayError) -> bytes:
        """Return the end of a stream that is not: a call without its end is never shown."""
        if self._ended:
            return b""
        self._ended = True
        return event(google_error(error))

    def _frame(self, part: bytes) -> bytes:
        self._thought = self._withheld = False
        return b'data: {"candidates":[{"content":{"role":"model","parts":[' + part + b"]" + self._tail

    def _finished_call(self) -> bytes:
        if self._call is None:
            return b""
        opened, arguments = self._call, "".join(self._arguments)
        self._call, self._arguments = None, []
        return self._frame(_encode(_call(ToolUse(opened.id, opened.name, arguments, opened.signature))))

    def _thinking(self, text: str) -> bytes:
        done = self._finished_call()
        if not self._shown:
            self._withheld = True
            return done
        done += self._frame(b'{"text":' + _encode(text) + b',"thought":true}')
        self._thought = True
        return done

    def _signed(self, signature: str, origin: str) -> bytes:
        done = self._finished_call()
        if self._withheld:
            self._withheld = False
            return done
        return done + self._frame(_encode(_thought("", signature, origin, thought=self._thought)))


def _shows_thoughts(info: ReplyInfo) -> bool:
    reasoning = info.conversation.reasoning
    return reasoning is None or reasoning.shown is not False


def _about(info: ReplyInfo) -> Json:
    return {"modelVersion": info.model, "responseId": info.id}


# --- parts -------------------------------------------------------------------------------------------


def _part(block: Text | Thinking | Redacted | ToolUse, *, shown: bool) -> Json | None:
    if isinstance(block, Text):
        return {"text": block.text}
    if isinstance(block, ToolUse):
        return _call(block)
    if isinstance(block, Redacted):
        return _redacted(block.data, block.origin)
    if block.text and not shown:
        return None  # a signature without its text proves nothing
    return _thought(block.text, block.signature, block.origin, thought=bool(block.text))


def _call(use: ToolUse) -> Json:
    call = {"id": use.id, "name": use.name, "args": arguments_object(use.arguments)}
    return {"functionCall": call} | ({"thoughtSignature": use.signature} if use.signature else {})


def _thought(text: str, signature: str, origin: str, *, thought: bool) -> Json:
    """Return a thought; Gemini's own signature without one stands on an empty text, as Gemini sends it."""
    part: Json = {"text": text} | ({"thought": True} if thought or origin != ORIGIN else {})
    return part | ({"thoughtSignature": seal(signature, origin)} if signature else {})


def _redacted(data: str, origin: str) -> Json:
    return {"text": "", "thought": True, "thoughtSignature": seal(data, origin, redacted=True)}


# --- the end -----------------------------------------------------------------------------------------


def _ending(parts: list[Json], stop: Stopped, cited: Iterable[Cited], tokens: Tokens | None) -> Json:
    candidate: Json = {
        "content": {"role": "model", "parts": parts or [{"text": ""}]},
        "finishReason": _FINISH[stop.reason],
        "index": 0,
    }
    chunks = [{"web": _source(one)} for one in cited if one.url or one.title]
    if chunks:
        candidate["groundingMetadata"] = {"groundingChunks": chunks}
    ending: Json = {"candidates": [candidate]}
    return ending if tokens is None else ending | {"usageMetadata": _usage(tokens)}


def _source(cited: Cited) -> Json:
    return {name: value for name, value in (("uri", cited.url), ("title", cited.title)) if value}


def _usage(tokens: Tokens) -> Json:
    usage = {
        "promptTokenCount": tokens.prompt,
        "candidatesTokenCount": tokens.output - tokens.reasoning,
        "totalTokenCount": tokens.prompt + tokens.output,
    }
    if tokens.reasoning:
        usage["thoughtsTokenCount"] = tokens.reasoning
    if tokens.cache_read:
        usage["cachedContentTokenCount"] = tokens.cache_read
    return usage
