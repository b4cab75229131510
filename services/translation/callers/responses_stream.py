"""Answers as Responses clients expect them, as a stream and whole (wire §8.10).

One writer makes both: a whole answer is what the stream's last event says. `responses_output` has the items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from services.errors import GatewayError
from services.translation.callers.responses_answer import ENDINGS, MALFORMED, asked_of, failure, response
from services.translation.callers.responses_items import sealed
from services.translation.callers.responses_output import (
    CustomCall,
    FunctionCall,
    Item,
    Message,
    Numbered,
    Reasoning,
)
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
from services.translation.signatures import CALL_SIGNER


def render(events: Sequence[Event], info: ReplyInfo) -> bytes:
    """Return the whole answer."""
    writer = ResponsesWriter(info)
    for event in events:
        writer.feed(event)
    writer.close()
    return msgspec.json.encode(writer.response)


class ResponsesWriter:
    """Writes one stream. Items come one after the other; each that is added gets done (trap 41)."""

    def __init__(self, info: ReplyInfo) -> None:
        self.response: dict[str, Any] = {}
        """The response object as last told."""
        self._info = info
        self._events = Numbered()
        self._freeform = {tool.name for tool in info.conversation.tools if tool.freeform}
        self._seals = asked_of(info).seals
        self._output: list[msgspec.Raw] = []
        self._item: Item | None = None
        self._items = 0
        self._stop = Stopped("stop")
        self._tokens: Tokens | None = None
        self._over = False

    def feed(self, event: Event) -> bytes:
        """Return the caller's bytes; empty for what this dialect says at the end, or not at all."""
        return b"" if self._over else _WRITE[type(event)](self, event)

    def close(self) -> bytes:
        """Return the rest of an answer that is complete."""
        if self._over:
            return b""
        status, reason = ENDINGS[self._stop.reason]
        out = self._opened() + self._item_closed("completed" if status == "completed" else "incomplete")
        return out + self._ended(status, reason=reason, error=MALFORMED if status == "failed" else None)

    def fail(self, error: GatewayError) -> bytes:
        """Return the end of an answer that is not: what was begun stays undone (trap 24)."""
        return b"" if self._over else self._opened() + self._ended("failed", error=failure(error))

    # the response

    def _opened(self) -> bytes:
        if self.response:
            return b""
        self.response = response(self._info, "in_progress")
        return self._told("response.created") + self._told("response.in_progress")

    def _ended(
        self, status: str, *, reason: str | None = None, error: Mapping[str, str] | None = None
    ) -> bytes:
        self._over = True
        self.response = response(
            self._info, status, output=self._output, usage=self._tokens, reason=reason, error=error
        )
        return self._told(f"response.{status}")

    def _told(self, kind: str) -> bytes:
        return self._events.event(kind, response=self.response)

    # items

    def _begun(self, make: Callable[[Numbered, str, int], Item]) -> bytes:
        """Close the open item and open another."""
        out = self._opened() + self._item_closed()
        self._item = make(self._events, f"{self._info.id}_{self._items}", self._items)
        self._items += 1
        return out + self._item.opened()

    def _item_closed(self, status: str = "completed") -> bytes:
        if self._item is None:
            return b""
        out, item = self._item.closed(status)
        self._item = None
        self._output.append(item)
        return out

    # events

    def _text(self, event: TextPiece) -> bytes:
        item = self._item
        if type(item) is Message:
            return item.text(event.text)
        return self._in_message(lambda message: message.text(event.text))

    def _refusal(self, event: RefusalPiece) -> bytes:
        return self._in_message(lambda message: message.refusal(event.text))

    def _cited(self, event: Cited) -> bytes:
        if not event.url:
            return b""  # Anthropic's own form, for its own callers
        return self._in_message(lambda message: message.cited(event.url, event.title))

    def _in_message(self, write: Callable[[Message], bytes]) -> bytes:
        out = b"" if isinstance(self._item, Message) else self._begun(Message)
        assert isinstance(self._item, Message)
        return out + write(self._item)

    def _thinking(self, event: ThinkingPiece) -> bytes:
        out = b"" if isinstance(self._item, Reasoning) else self._begun(Reasoning)
        assert isinstance(self._item, Reasoning)
        return out + self._item.text(event.text)

    def _signed(self, event: Signed) -> bytes:
        return self._proven(sealed(event.signature, event.origin))

    def _redacted(self, event: RedactedPiece) -> bytes:
        return self._item_closed() + self._proven(sealed(event.data, event.origin, redacted=True))

    def _proven(self, proof: str) -> bytes:
        """End the open reasoning with its proof; where none is open, the proof is an item."""
        if not (self._seals and proof):
            return self._item_closed() if isinstance(self._item, Reasoning) else b""
        out = b"" if isinstance(self._item, Reasoning) else self._begun(Reasoning)
        assert isinstance(self._item, Reasoning)
        self._item.proof = proof
        return out + self._item_closed()

    def _tool_opened(self, event: ToolOpened) -> bytes:
        out = self._item_closed()
        if event.signature:
            out += self._proven(sealed(event.signature, CALL_SIGNER))
        form = CustomCall if event.name in self._freeform else FunctionCall
        return out + self._begun(lambda events, name, index: form(events, name, index, event.id, event.name))

    def _tool_piece(self, event: ToolPiece) -> bytes:
        assert isinstance(self._item, FunctionCall | CustomCall)
        return self._item.arguments(event.arguments)

    def _counted(self, event: Counted) -> bytes:
        self._tokens = event.tokens
        return b""

    def _stopped(self, event: Stopped) -> bytes:
        self._stop = event
        return b""

    def _started(self, event: Started) -> bytes:
        return b""


_WRITE: Mapping[type[Event], Callable[[ResponsesWriter, Any], bytes]] = {
    TextPiece: ResponsesWriter._text,
    RefusalPiece: ResponsesWriter._refusal,
    ThinkingPiece: ResponsesWriter._thinking,
    Signed: ResponsesWriter._signed,
    RedactedPiece: ResponsesWriter._redacted,
    ToolOpened: ResponsesWriter._tool_opened,
    ToolPiece: ResponsesWriter._tool_piece,
    Cited: ResponsesWriter._cited,
    Counted: ResponsesWriter._counted,
    Stopped: ResponsesWriter._stopped,
    Started: ResponsesWriter._started,
}
