"""Streamed answers for OpenAI's chat completions clients (wire §8.0, §8.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, cast

import msgspec

from services.errors import GatewayError
from services.translation.callers.chat_answer import Habits, annotation_of, proof_of, usage_of
from services.translation.callers.envelopes import openai_error
from services.translation.conversation import Redacted, Thinking
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
from services.translation.frames import DONE, event as frame

_encode = msgspec.json.encode


class ChunkWriter:
    """The frame around every chunk of one stream: one id, one time and one model for all (trap 9)."""

    def __init__(self, info: ReplyInfo, *, prefix: str, kind: str) -> None:
        self._wants_usage = info.conversation.wants_usage
        head = {"id": prefix + info.id, "object": kind, "created": info.created, "model": info.model}
        self._head = b"data: " + _encode(head)[:-1]
        self._tokens = Tokens()
        self.ended = False
        self.before = self._head + b',"choices":[{"index":0,'
        self.after = b"}]" + (b',"usage":null' if self._wants_usage else b"") + b"}\n\n"

    def count(self, tokens: Tokens) -> None:
        """Remember what the answer cost so far."""
        self._tokens = tokens

    def end(self) -> bytes:
        """Return what follows the last choice: the usage if it was asked for, and `[DONE]`."""
        self.ended = True
        if not self._wants_usage:
            return frame(DONE)
        usage = self._head + b',"choices":[],"usage":' + usage_of(self._tokens) + b"}\n\n"
        return usage + frame(DONE)

    def fail(self, error: GatewayError) -> bytes:
        """Return the frame of an error; no `[DONE]` follows it."""
        if self.ended:
            return b""
        self.ended = True
        return frame(openai_error(error))


class ChatWriter:
    """Writes `chat.completion.chunk` objects.

    The finish reason waits for `close`, so that nothing looks like an end before the end is certain.
    """

    def __init__(self, info: ReplyInfo) -> None:
        self._chunks = ChunkWriter(info, prefix="chatcmpl-", kind="chat.completion.chunk")
        self._habits = Habits(info.conversation)
        self._stop: StopReason = "stop"
        self._opened = False
        self._in_text = False
        self._thinking: list[str] = []
        self._proofs = 0
        self._sources = 0
        self._call: _Call | None = None
        self._calls = 0
        self._before = self._chunks.before + b'"delta":'
        self._after = b',"logprobs":null,"finish_reason":null' + self._chunks.after
        self._text_before = self._before + b'{"content":'
        self._text_after = b"}" + self._after

    def feed(self, event: Event) -> bytes:
        """Return the chunks of one event."""
        if self._chunks.ended:
            return b""
        kind = type(event)
        if kind is TextPiece and self._in_text:
            return self._text(event)
        write = self._WRITERS.get(kind)
        if write is None:
            return self._note(event)
        before = self._close_call() + self._open(b'""' if kind is TextPiece else b"null")
        self._in_text = kind is TextPiece
        if kind is not ThinkingPiece and kind is not Signed:
            self._thinking.clear()
        return before + write(self, event)

    def close(self) -> bytes:
        """Return the end of a complete answer: finish reason, usage if it was asked for, `[DONE]`."""
        if self._chunks.ended:
            return b""
        reason = _encode(self._habits.finish_reason(self._stop))
        finish = self._before + b'{},"logprobs":null,"finish_reason":' + reason + self._chunks.after
        return self._close_call() + self._open(b'""') + finish + self._chunks.end()

    def fail(self, error: GatewayError) -> bytes:
        """Return the end of a stream that cannot be completed."""
        return self._chunks.fail(error)

    def _note(self, event: Event) -> bytes:
        match event:
            case ToolPiece(arguments) if self._call is not None:
                return self._call.piece(arguments)
            case Counted(tokens):
                self._chunks.count(tokens)
            case Stopped(reason):
                self._stop = reason
            case _:
                pass
        return b""

    def _open(self, content: bytes) -> bytes:
        """Return the chunk with the role, which comes once and first (trap 9)."""
        if self._opened:
            return b""
        self._opened = True
        return self._before + b'{"role":"assistant","content":' + content + b"}" + self._after

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        return self._before + _encode(delta) + self._after

    def _text(self, event: Event) -> bytes:
        return self._text_before + _encode(cast(TextPiece, event).text) + self._text_after

    def _refusal(self, event: RefusalPiece) -> bytes:
        return self._delta({"refusal": event.text})

    def _thought(self, event: ThinkingPiece) -> bytes:
        self._thinking.append(event.text)
        return self._delta({"reasoning_content": event.text})

    def _signed(self, event: Signed) -> bytes:
        text = "".join(self._thinking)
        self._thinking.clear()
        return self._proof(Thinking(text, event.signature, event.origin))

    def _redacted(self, event: RedactedPiece) -> bytes:
        return self._proof(Redacted(event.data, event.origin))

    def _proof(self, block: Thinking | Redacted) -> bytes:
        # The whole block at once; the index lets clients that put lists together piece by piece do so.
        delta = self._delta({"thinking_blocks": [{"index": self._proofs, **proof_of(block)}]})
        self._proofs += 1
        return delta

    def _cited(self, event: Cited) -> bytes:
        if not event.url:
            return b""
        delta = self._delta({"annotations": [{"index": self._sources, **annotation_of(event)}]})
        self._sources += 1
        return delta

    # --- tool calls ---

    def _tool(self, event: ToolOpened) -> bytes:
        index = self._calls  # tools only are counted (wire §8.2)
        self._calls += 1
        if self._habits.legacy:
            return self._legacy_tool(event, first=index == 0)
        call = partial(self._habits.call, event.id, event.name, signature=event.signature)
        if event.name in self._habits.freeform:
            self._call = _Held(
                lambda arguments: self._delta({"tool_calls": [{"index": index, **call(arguments)}]})
            )
            return b""
        self._call = _Flowing(
            self._before + b'{"tool_calls":[{"index":%d,"function":{"arguments":' % index,
            b"}}]}" + self._after,
        )
        return self._delta({"tool_calls": [{"index": index, **call("")}]})

    def _legacy_tool(self, event: ToolOpened, *, first: bool) -> bytes:
        if not first:  # as in `_calls`
            self._call = _Held(lambda arguments: b"")
            return b""
        self._call = _Flowing(self._before + b'{"function_call":{"arguments":', b"}}" + self._after)
        return self._delta({"function_call": {"name": event.name, "arguments": ""}})

    def _close_call(self) -> bytes:
        call, self._call = self._call, None
        return b"" if call is None else call.close()

    _WRITERS: ClassVar[Mapping[type[Event], Callable[[ChatWriter, Any], bytes]]] = {
        TextPiece: _text,
        RefusalPiece: _refusal,
        ThinkingPiece: _thought,
        Signed: _signed,
        RedactedPiece: _redacted,
        ToolOpened: _tool,
        Cited: _cited,
    }


class _Flowing:
    """A call whose arguments go out as they come."""

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after
        self._empty = True

    def piece(self, arguments: str) -> bytes:
        self._empty = False
        return self._before + _encode(arguments) + self._after

    def close(self) -> bytes:
        return self.piece("{}") if self._empty else b""


class _Held:
    """A call that goes out whole: plain text cannot be taken from pieces of JSON."""

    def __init__(self, write: Callable[[str], bytes]) -> None:
        self._write = write
        self._pieces: list[str] = []

    def piece(self, arguments: str) -> bytes:
        self._pieces.append(arguments)
        return b""

    def close(self) -> bytes:
        return self._write("".join(self._pieces) or "{}")


_Call = _Flowing | _Held
