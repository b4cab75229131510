"""The reply side of the neutral pivot: what a model says, piece by piece.

A reader turns an upstream's frames into these, a writer turns these into the caller's bytes. A whole answer
is the same sequence at once. The order is part of the contract:

* `Started` first, `Stopped` once, `Counted` any number of times (the last one holds), also after `Stopped`;
* content in between comes block by block, one open at a time: a run of `TextPiece`s is a text block, a run of
  `ThinkingPiece`s a thinking block that `Signed` ends, `ToolOpened` with the `ToolPiece`s behind it a call.
  Upstreams that interleave tool calls are put in order by their reader;
* no piece is empty, except that a call may have no `ToolPiece` at all, which means `{}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from services.translation.conversation import Redacted, Text, Thinking, ToolUse
from services.translation.replies import Usage

StopReason = Literal[
    "stop",  # the model had said all
    "stop_sequence",
    "length",  # max_tokens is used up
    "context_length",  # the model's context window is full
    "tool_calls",
    "content_filter",  # a filter, or the model's own refusal
    "pause",
    "malformed",  # the model wrote something that is no answer, such as a broken tool call
]


class Tokens(msgspec.Struct, frozen=True):
    """Tokens of one answer, each counted once (wire §8.0). `output` includes `reasoning`."""

    uncached: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def cache_write(self) -> int:
        """Tokens written to the prompt cache."""
        return self.cache_write_5m + self.cache_write_1h

    @property
    def prompt(self) -> int:
        """All input tokens, OpenAI's way."""
        return self.uncached + self.cache_read + self.cache_write_5m + self.cache_write_1h

    def usage(self) -> Usage:
        """Return the figures for the log and the metrics."""
        prompt = self.prompt
        return Usage(prompt, self.output, prompt + self.output)


class Started(msgspec.Struct, frozen=True, gc=False):
    """The model has begun."""


class TextPiece(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer's text."""

    text: str


class RefusalPiece(msgspec.Struct, frozen=True, gc=False):
    """A piece of the model's explanation why it does not answer (OpenAI's `refusal`)."""

    text: str


class ThinkingPiece(msgspec.Struct, frozen=True, gc=False):
    """A piece of the thinking that the caller may read."""

    text: str


class Signed(msgspec.Struct, frozen=True, gc=False):
    """Ends a thinking block with its proof; the block may have no text. `origin` as in `Thinking`."""

    signature: str
    origin: str


class RedactedPiece(msgspec.Struct, frozen=True, gc=False):
    """A whole block of thinking that only the model can read."""

    data: str
    origin: str = "claude"


class ToolOpened(msgspec.Struct, frozen=True, gc=False):
    """The model begins to call a tool. `signature` as in `ToolUse`."""

    id: str
    name: str
    signature: str = ""


class ToolPiece(msgspec.Struct, frozen=True, gc=False):
    """A piece of the JSON arguments of the call opened last."""

    arguments: str


class Cited(msgspec.Struct, frozen=True, gc=False):
    """A source for the text before it. `citation` is Anthropic's own form, for its own callers."""

    url: str = ""
    title: str = ""
    citation: Any = None


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What the answer cost so far."""

    tokens: Tokens


class Stopped(msgspec.Struct, frozen=True, gc=False):
    """Why the model stopped. `sequence` is the stop sequence, where the upstream names it."""

    reason: StopReason
    sequence: str = ""


Event = (
    Started | TextPiece | RefusalPiece | ThinkingPiece | Signed | RedactedPiece | ToolOpened | ToolPiece
    | Cited | Counted | Stopped
)  # fmt: skip


class Message(msgspec.Struct, frozen=True):
    """A whole answer."""

    blocks: tuple[Text | Thinking | Redacted | ToolUse, ...]
    stop: Stopped
    tokens: Tokens
    refusal: str = ""
    citations: tuple[Cited, ...] = ()

    @property
    def text(self) -> str:
        """All of the text, joined as it came."""
        return "".join(block.text for block in self.blocks if isinstance(block, Text))


def collect(events: Sequence[Event]) -> Message:
    """Put the pieces of an answer together."""
    match events:
        case [Started(), TextPiece(text), Counted(tokens), Stopped() as stop]:  # nearly all there is
            return Message((Text(text),), stop, tokens)
    made = _Assembly()
    for event in events:
        made.add(event)
    return made.message()


class _Assembly:
    def __init__(self) -> None:
        self._blocks: list[Text | Thinking | Redacted | ToolUse] = []
        self._pieces: list[str] = []
        self._open: type[TextPiece] | type[ThinkingPiece] | ToolOpened | None = None
        self._stop = Stopped("stop")
        self._tokens = Tokens()
        self._refusal: list[str] = []
        self._citations: list[Cited] = []

    def add(self, event: Event) -> None:
        self._TAKE[type(event)](self, event)

    def _arguments(self, event: ToolPiece) -> None:
        self._pieces.append(event.arguments)

    def _tool(self, event: ToolOpened) -> None:
        self._close()
        self._open = event

    def _proof(self, event: Signed) -> None:
        text = "".join(self._pieces) if self._open is ThinkingPiece else ""
        if self._open is not ThinkingPiece:
            self._close()
        self._open, self._pieces = None, []
        self._blocks.append(Thinking(text, event.signature, event.origin))

    def _redacted(self, event: RedactedPiece) -> None:
        self._close()
        self._blocks.append(Redacted(event.data, event.origin))

    def _refused(self, event: RefusalPiece) -> None:
        self._refusal.append(event.text)

    def _counted(self, event: Counted) -> None:
        self._tokens = event.tokens

    def _stopped(self, event: Stopped) -> None:
        self._stop = event

    def _cited(self, event: Cited) -> None:
        self._citations.append(event)

    def _nothing(self, event: Started) -> None:
        return

    def _piece(self, event: TextPiece | ThinkingPiece) -> None:
        kind = type(event)
        if self._open is not kind:
            self._close()
            self._open = kind
        self._pieces.append(event.text)

    def _close(self) -> None:
        whole, opened = "".join(self._pieces), self._open
        self._open, self._pieces = None, []
        if isinstance(opened, ToolOpened):
            self._blocks.append(ToolUse(opened.id, opened.name, whole or "{}", opened.signature))
        elif opened is ThinkingPiece:
            self._blocks.append(Thinking(whole))
        elif opened is TextPiece:
            self._blocks.append(Text(whole))

    def message(self) -> Message:
        self._close()
        return Message(
            blocks=tuple(self._blocks),
            stop=self._stop,
            tokens=self._tokens,
            refusal="".join(self._refusal),
            citations=tuple(self._citations),
        )

    # A table and no chain of cases: most of the time that an answer took was spent there.
    _TAKE: ClassVar[Mapping[type[Event], Callable[[Any, Any], None]]] = {
        TextPiece: _piece,
        ThinkingPiece: _piece,
        ToolPiece: _arguments,
        ToolOpened: _tool,
        Signed: _proof,
        RedactedPiece: _redacted,
        RefusalPiece: _refused,
        Cited: _cited,
        Counted: _counted,
        Stopped: _stopped,
        Started: _nothing,
    }
