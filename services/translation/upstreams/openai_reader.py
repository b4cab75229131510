"""Answers of chat completions deployments, whole and as a stream (wire §4.1, §4.6, §8.7).

The form is that of every upstream that answers so, and has members that only some of them send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from services.errors import UpstreamBroken
from services.translation import fields as f
from services.translation.dialects import ReplyInfo
from services.translation.events import (
    Cited,
    Counted,
    Event,
    RefusalPiece,
    Signed,
    Started,
    Stopped,
    StopReason,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
)
from services.translation.faults import error_inside
from services.translation.frames import DONE

# --- the form ----------------------------------------------------------------------------------------


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class CallPiece(msgspec.Struct, gc=False):
    """A piece of a tool call, or a whole one."""

    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Thought(msgspec.Struct, gc=False):
    content: str | None = None
    text: str | None = None
    signature: str | None = None


class Delta(msgspec.Struct, gc=False):
    """A piece of what the model says, or all of it."""

    content: str | None = None
    reasoning_content: str | list[str | _Thought] | None = None
    refusal: str | None = None
    tool_calls: list[CallPiece] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class Creation(msgspec.Struct, frozen=True, gc=False):
    """How long what the cache took is kept."""

    ephemeral_1h_input_tokens: float | None = None


class UsageDetails(msgspec.Struct, frozen=True, gc=False):
    """Parts of a sum; what the cache took has two names."""

    cached_tokens: float | None = None
    cache_write_tokens: float | None = None
    cache_creation_tokens: float | None = None
    cache_creation_token_details: Creation | None = None
    reasoning_tokens: float | None = None


class Usage(msgspec.Struct, gc=False):
    """The tokens of an answer, or of a stream so far."""

    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_tokens_details: UsageDetails | None = None
    completion_tokens_details: UsageDetails | None = None


class _Source(msgspec.Struct, gc=False):
    url: str | None = None
    title: str | None = None


class Completion(msgspec.Struct, gc=False):
    """A whole answer, or a chunk of one."""

    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    citations: list[str | _Source] | None = None
    search_results: list[_Source] | None = None
    error: msgspec.Raw = f.ABSENT


NO_DETAILS = UsageDetails()
_completion = msgspec.json.Decoder(Completion)

# wire §8.0; `model_length` is Mistral's word
_STOPS: Mapping[str, StopReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "context_length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def answer(body: bytes, info: ReplyInfo) -> Sequence[Event]:
    """Return the events of a whole answer. Raises UpstreamBroken for none, or the error it reports."""
    return OpenAIReader(info).whole(body)


class OpenAIReader:
    """Reads one stream. Why it ended is told last of all: usage and sources may come behind the reason."""

    origin: ClassVar[str] = ""
    """Of the signatures of thoughts; empty where they are not told."""

    def __init__(self, info: ReplyInfo) -> None:
        self.done = False
        self._what = f.FRAME
        self._calls = Calls(info)
        self._started = False
        self._finish: str | None = None
        self._sources: dict[str, str] = {}

    def feed(self, data: bytes) -> list[Event]:
        """Return the events of one frame. Raises UpstreamBroken, or the UpstreamError it reports."""
        if data.startswith(DONE):
            self.done = True
            return []
        if not data:
            return []
        completion = self.decoded(data)
        out: list[Event] = []
        for choice in completion.choices or ():
            if choice.index == 0:
                self._take(choice, out)
        if completion.usage is not None:
            out.append(Counted(self.tokens(completion.usage, completion.model or "")))
        if completion.citations or completion.search_results:
            self._note_sources(completion)
        return out

    def whole(self, body: bytes) -> list[Event]:
        """Return the events of an answer that is no stream. Raises as `feed` does, and for no choices."""
        self._what = f.ANSWER
        events = self.feed(body)
        if not self._started:
            raise UpstreamBroken("the upstream's answer has no choices")
        return [*events, *self.end()]

    def close(self) -> list[Event]:
        """Return the end. Raises UpstreamBroken without a finish reason; `[DONE]` may be missing."""
        if self._finish is None:
            raise UpstreamBroken("the upstream's stream ended before its finish reason")
        return self.end()

    # what upstreams do in their own way

    def decoded(self, data: bytes) -> Completion:
        """Return what a frame holds. Raises UpstreamBroken, or the UpstreamError it reports."""
        completion = f.decoded(_completion, data, self._what)
        if f.present(completion.error):
            raise error_inside(data)
        return completion

    def said(self, delta: Delta) -> list[Event]:
        """Return what the model says besides calls."""
        out: list[Event] = []
        if delta.reasoning_content:
            out += self._thoughts(delta.reasoning_content)
        if delta.content:
            out.append(TextPiece(delta.content))
        if delta.refusal:
            out.append(RefusalPiece(delta.refusal))
        return out

    def tokens(self, usage: Usage, model: str) -> Tokens:
        """Return the figures (wire §8.0)."""
        prompt, details = int(usage.prompt_tokens or 0), usage.prompt_tokens_details or NO_DETAILS
        read, written = int(details.cached_tokens or 0), int(details.cache_write_tokens or 0)
        return Tokens(
            uncached=max(0, prompt - read - written),
            cache_read=read,
            cache_write_5m=written,
            output=int(usage.completion_tokens or 0),
            reasoning=int((usage.completion_tokens_details or NO_DETAILS).reasoning_tokens or 0),
        )

    def end(self) -> list[Event]:
        """Return what only the end tells: calls that waited, sources, and why the model stopped."""
        cited = (Cited(url=url, title=title) for url, title in self._sources.items())
        stopped = [] if self._finish is None else [Stopped(_STOPS.get(self._finish, "stop"))]
        return [*self._calls.close(), *cited, *stopped]

    def _take(self, choice: _Choice, out: list[Event]) -> None:
        if not self._started:
            self._started = True
            out.append(Started())
        delta = choice.delta or choice.message
        if delta is not None:
            out += self._calls.behind(self.said(delta))
            if delta.tool_calls:
                for place, piece in enumerate(delta.tool_calls):
                    out += self._calls.add(piece, place)
        if choice.finish_reason:
            self._finish = choice.finish_reason

    def _thoughts(self, reasoning: str | list[str | _Thought]) -> list[Event]:
        """Return the thoughts; a signature ends a block, and may come in a frame of its own."""
        out: list[Event] = []
        for one in [reasoning] if isinstance(reasoning, str) else reasoning:
            thought = _Thought(one) if isinstance(one, str) else one
            if text := thought.content or thought.text:
                out.append(ThinkingPiece(text))
            if thought.signature and self.origin:
                out.append(Signed(thought.signature, self.origin))
        return out

    def _note_sources(self, completion: Completion) -> None:
        """Remember each source once, in the order of the numbers that the text cites (wire §4.6, §4.7)."""
        for one in (*(completion.citations or ()), *(completion.search_results or ())):
            source = _Source(one) if isinstance(one, str) else one
            if source.url:
                self._sources[source.url] = source.title or self._sources.get(source.url, "")


# --- tool calls --------------------------------------------------------------------------------------


class Calls:
    """Tells tool calls one after the other, although their pieces may come mixed (wire §8.7, point 4).

    One call is told as it comes. It gives way to the next when its arguments are whole; until then the pieces
    of others wait, and whatever the model says behind a call waits for the end.
    """

    def __init__(self, info: ReplyInfo) -> None:
        self._info = info
        self._calls: dict[int, _Call] = {}
        self._order: list[_Call] = []
        self._at = 0
        self._behind: list[Event] = []

    def add(self, piece: CallPiece, place: int) -> list[Event]:
        """Return what can be told now. `place` is the call's index where it has none."""
        index = place if piece.index is None else piece.index
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = _Call(f"call_{self._info.id}{index}")
            self._order.append(call)
        call.learn(piece)
        out = self._order[self._at].told()
        while self._at + 1 < len(self._order) and self._order[self._at].is_whole():
            self._at += 1
            out += self._order[self._at].told()
        return out

    def behind(self, said: list[Event]) -> list[Event]:
        """Return what the model says besides calls, unless it has to wait for them."""
        if not self._order:
            return said
        self._behind += said
        return []

    def close(self) -> list[Event]:
        """Return all that waited. Raises UpstreamBroken for a piece that belongs to no call."""
        waited = [event for call in self._order[self._at :] for event in call.told()]
        if any(call.waits() for call in self._order):
            raise UpstreamBroken("a tool call has no name, or goes on behind its end")
        return [*waited, *self._behind]


class _Call:
    """One call, as far as it is known."""

    def __init__(self, identifier: str) -> None:
        self._id = identifier
        self._name = ""
        self._opened = False
        self._waiting: list[str] = []
        self._arguments: list[str] = []
        self._is_whole: bool | None = None

    def learn(self, piece: CallPiece) -> None:
        self._id = piece.id or self._id
        if piece.function is not None:
            self._name = piece.function.name or self._name
            self._waiting += [piece.function.arguments] if piece.function.arguments else []

    def told(self) -> list[Event]:
        """Return what was not told yet; nothing before the name is known."""
        if not self._name:
            return []
        out: list[Event] = [] if self._opened else [ToolOpened(self._id, self._name)]
        self._opened = True
        out += (ToolPiece(arguments) for arguments in self._waiting)
        if self._waiting:
            self._arguments += self._waiting
            self._waiting = []
            self._is_whole = None
        return out

    def is_whole(self) -> bool:
        """Whether the arguments that were told are a JSON object; asked for each piece of the next call."""
        if self._is_whole is None:
            self._is_whole = _is_object("".join(self._arguments))
        return self._is_whole

    def waits(self) -> bool:
        return not self._name or any(piece.strip() for piece in self._waiting)


def _is_object(text: str) -> bool:
    try:
        f.decoder.decode(text)
    except f.UNREADABLE:
        return False
    return True
