"""Answers for Anthropic clients, whole and as streams (wire §8.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from services.errors import GatewayError
from services.translation.callers.envelopes import anthropic_error
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
)
from services.translation.signatures import CALL_SIGNER, seal
from services.translation.turns import arguments_object

STOP_REASONS: Mapping[StopReason, str] = {  # wire §8.0
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "context_length": "model_context_window_exceeded",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "pause": "pause_turn",
    "malformed": "end_turn",
}

_encode = msgspec.json.encode


class Framing(msgspec.Struct, frozen=True):
    """How the events of a stream are put into bytes."""

    event: Callable[[str, bytes], bytes]
    """Of an event's type and its JSON."""
    fail: Callable[[GatewayError], bytes]
    """The last frame of a stream that cannot be completed."""


def sse(kind: str, data: bytes) -> bytes:
    """Return one server-sent event, with the `event:` line that Anthropic clients need (trap 2)."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


SSE = Framing(event=sse, fail=lambda error: sse("error", anthropic_error(error)))


# --- what both have in common --------------------------------------------------------------------------


def _usage(tokens: Tokens) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "input_tokens": tokens.uncached,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "output_tokens": tokens.output,
    }
    if tokens.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return usage


def _whole_usage(tokens: Tokens) -> dict[str, Any]:
    by_ttl = {
        "ephemeral_5m_input_tokens": tokens.cache_write_5m,
        "ephemeral_1h_input_tokens": tokens.cache_write_1h,
    }
    return _usage(tokens) | {"cache_creation": by_ttl}


def _stop(stopped: Stopped, *, refused: bool) -> dict[str, Any]:
    reason = "refusal" if refused else STOP_REASONS[stopped.reason]
    return {"stop_reason": reason, "stop_sequence": stopped.sequence or None}


def _message(info: ReplyInfo, content: Sequence[Any], tokens: Tokens, stop: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{info.id}",
        "type": "message",
        "role": "assistant",
        "model": info.model,
        "content": content,
        **stop,
        "usage": _whole_usage(tokens),
    }


def _thinking(signature: str, text: str = "") -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _redacted(piece: RedactedPiece) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": seal(piece.data, piece.origin)}


# --- whole answer --------------------------------------------------------------------------------------


def render(events: Sequence[Event], info: ReplyInfo) -> bytes:
    """Return the whole answer."""
    blocks = _Blocks()
    tokens, stopped, refused = Tokens(), Stopped("stop"), False
    for event in events:
        match event:
            case Counted(tokens):
                pass
            case Stopped():
                stopped = event
            case _:
                refused = refused or isinstance(event, RefusalPiece)
                blocks.add(event)
    return _encode(_message(info, blocks.whole(), tokens, _stop(stopped, refused=refused)))


class _Blocks:
    """Puts the pieces of an answer together, in the order in which they came."""

    def __init__(self) -> None:
        self._whole: list[dict[str, Any]] = []
        self._member = ""
        self._pieces: list[str] = []

    def add(self, event: Event) -> None:
        match event:
            case TextPiece(text) | RefusalPiece(text):
                self._piece("text", text)
            case ThinkingPiece(text):
                self._piece("thinking", text)
            case ToolPiece(arguments):
                self._pieces.append(arguments)
            case Signed(signature, origin):
                self._in("thinking")
                self._whole[-1]["signature"] = seal(signature, origin)
                self._close()
            case RedactedPiece():
                self._put(_redacted(event))
            case ToolOpened(id, name, signature):
                if signature:
                    self._put(_thinking(seal(signature, CALL_SIGNER)))
                self._put({"type": "tool_use", "id": id, "name": name}, member="input")
            case Cited(citation=citation) if citation is not None:
                self._in("text")
                self._whole[-1].setdefault("citations", []).append(citation)
            case _:
                pass

    def whole(self) -> list[dict[str, Any]]:
        """Return the blocks."""
        self._close()
        return self._whole

    def _piece(self, member: str, text: str) -> None:
        self._in(member)
        self._pieces.append(text)

    def _in(self, member: str) -> None:
        if self._member != member:
            self._put({"type": "text"} if member == "text" else _thinking(""), member=member)

    def _put(self, block: dict[str, Any], *, member: str = "") -> None:
        self._close()
        self._whole.append(block)
        self._member = member

    def _close(self) -> None:
        if self._member:
            text = "".join(self._pieces)
            self._whole[-1][self._member] = arguments_object(text) if self._member == "input" else text
        self._member, self._pieces = "", []


# --- stream --------------------------------------------------------------------------------------------

_OPENED: Mapping[str, dict[str, Any]] = {"text": {"type": "text", "text": ""}, "thinking": _thinking("")}
_PIECE_HEADS: Mapping[str, bytes] = {
    kind: b'{"type":"content_block_delta","index":%%d,"delta":{"type":"%b","%b":' % (delta, member)
    for kind, delta, member in (
        ("text", b"text_delta", b"text"),
        ("thinking", b"thinking_delta", b"thinking"),
        ("tool_use", b"input_json_delta", b"partial_json"),
    )
}
_PIECE_END = b"}}"


class MessagesWriter:
    """Writes one stream: block after block, each opened by its first piece; usage at both ends."""

    def __init__(self, info: ReplyInfo, framing: Framing = SSE) -> None:
        self._info = info
        self._framing = framing
        self._frame = framing.event
        self._started = False
        self._ended = False
        self._index = -1
        self._open = ""
        self._head = b""
        self._tokens = Tokens()
        self._stopped = Stopped("stop")
        self._refused = False

    def feed(self, event: Event) -> bytes:
        """Return the bytes for one event; empty for those that are told at the end."""
        write = _WRITERS.get(type(event))
        return b"" if write is None or self._ended else write(self, event)

    def close(self) -> bytes:
        """Return the end of a complete stream, with the whole usage."""
        if self._ended:
            return b""
        end = {
            "type": "message_delta",
            "delta": _stop(self._stopped, refused=self._refused),
            "usage": _usage(self._tokens),
        }
        out = self._start() + self._stop_block() + self._json(end) + self._json({"type": "message_stop"})
        self._ended = True
        return out

    def fail(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        if self._ended:
            return b""
        self._ended = True
        return self._framing.fail(error)

    # --- events ---

    def _text(self, piece: TextPiece) -> bytes:
        return self._in("text") + self._piece(piece.text)

    def _refusal(self, piece: RefusalPiece) -> bytes:
        self._refused = True
        return self._in("text") + self._piece(piece.text)

    def _thought(self, piece: ThinkingPiece) -> bytes:
        return self._in("thinking") + self._piece(piece.text)

    def _signed(self, piece: Signed) -> bytes:
        delta = {"type": "signature_delta", "signature": seal(piece.signature, piece.origin)}
        return self._in("thinking") + self._delta(delta) + self._stop_block()

    def _redacted(self, piece: RedactedPiece) -> bytes:
        return self._block(_redacted(piece)) + self._stop_block()

    def _call(self, call: ToolOpened) -> bytes:
        signed = b""
        if call.signature:
            signed = self._stop_block() + self._signed(Signed(call.signature, CALL_SIGNER))
        return signed + self._block({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})

    def _arguments(self, piece: ToolPiece) -> bytes:
        return self._piece(piece.arguments)

    def _cited(self, piece: Cited) -> bytes:
        if piece.citation is None:
            return b""
        return self._in("text") + self._delta({"type": "citations_delta", "citation": piece.citation})

    def _counted(self, event: Counted) -> bytes:
        self._tokens = event.tokens
        return b""

    def _stops(self, event: Stopped) -> bytes:
        self._stopped = event
        return b""

    # --- frames ---

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        message = _message(self._info, (), self._tokens, {"stop_reason": None, "stop_sequence": None})
        return self._json({"type": "message_start", "message": message})

    def _in(self, kind: str) -> bytes:
        return b"" if self._open == kind else self._block(_OPENED[kind])

    def _block(self, block: dict[str, Any]) -> bytes:
        before = self._start() + self._stop_block()
        kind: str = block["type"]
        self._index += 1
        self._open = kind
        if kind in _PIECE_HEADS:
            self._head = _PIECE_HEADS[kind] % self._index
        return before + self._json(
            {"type": "content_block_start", "index": self._index, "content_block": block}
        )

    def _stop_block(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return self._json({"type": "content_block_stop", "index": self._index})

    def _piece(self, text: str) -> bytes:
        return self._frame("content_block_delta", self._head + _encode(text) + _PIECE_END)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._json({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _json(self, event: dict[str, Any]) -> bytes:
        return self._frame(event["type"], _encode(event))


_WRITERS: Mapping[type, Callable[[MessagesWriter, Any], bytes]] = {
    TextPiece: MessagesWriter._text,
    RefusalPiece: MessagesWriter._refusal,
    ThinkingPiece: MessagesWriter._thought,
    Signed: MessagesWriter._signed,
    RedactedPiece: MessagesWriter._redacted,
    ToolOpened: MessagesWriter._call,
    ToolPiece: MessagesWriter._arguments,
    Cited: MessagesWriter._cited,
    Counted: MessagesWriter._counted,
    Stopped: MessagesWriter._stops,
}
