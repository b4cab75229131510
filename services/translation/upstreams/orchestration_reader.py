"""Answers of SAP's orchestration, whole and as a stream (wire §4.7).

Only `final_result` is read: it has the form of chat completions, with habits of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
    TextPiece,
    ThinkingPiece,
    Tokens,
)
from services.translation.faults import error_inside
from services.translation.frames import DONE
from services.translation.upstreams.openai_reader import STOPS, CallPiece, Calls

ORIGIN = "orchestration"
"""Of the signatures in its answers."""

# --- the form ----------------------------------------------------------------------------------------


class _Thought(msgspec.Struct, gc=False):
    content: str | None = None
    signature: str | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | list[_Thought] | None = None
    refusal: str | None = None
    tool_calls: list[CallPiece] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Written(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: float | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: float | None = None
    cache_creation_tokens: float | None = None
    cache_creation_token_details: _Written | None = None


class _AnswerDetails(msgspec.Struct, gc=False):
    reasoning_tokens: float | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _AnswerDetails | None = None


class _Source(msgspec.Struct, gc=False):
    url: str | None = None
    title: str | None = None


class _Result(msgspec.Struct, gc=False):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    citations: list[str | _Source] | None = None


class _Frame(msgspec.Struct, gc=False):
    final_result: _Result | None = None
    error: msgspec.Raw = f.ABSENT
    message: msgspec.Raw = f.ABSENT
    """Of an error that is not wrapped (wire §6.1)."""


_frame = msgspec.json.Decoder(_Frame)
_NOTHING = _Result()


def answer(body: bytes, info: ReplyInfo) -> Sequence[Event]:
    """Return the events of a whole answer. Raises UpstreamBroken for none, or the error it reports."""
    reader = OrchestrationReader(info)
    events = reader.feed(body)
    if not events or not isinstance(events[0], Started):
        raise UpstreamBroken("the upstream's answer has no choices")
    return [*events, *reader.end()]


class OrchestrationReader:
    """Reads one stream. Why it ended is told last of all: usage and sources may come behind the reason."""

    def __init__(self, info: ReplyInfo) -> None:
        self.done = False
        self._calls = Calls(info)
        self._fence = _Fence() if info.conversation.output is not None else None
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
        try:
            frame = _frame.decode(data)
        except f.UNREADABLE as exc:
            raise UpstreamBroken(f"the upstream's answer cannot be read: {exc}") from exc
        result = frame.final_result
        if f.present(frame.error) or (result is None and f.present(frame.message)):
            raise error_inside(data)
        return self._read(result or _NOTHING)

    def close(self) -> list[Event]:
        """Return the end. Raises UpstreamBroken without a finish reason; `[DONE]` may be missing."""
        if self._finish is None:
            raise UpstreamBroken("the upstream's stream ended before its finish reason")
        return self.end()

    def end(self) -> list[Event]:
        """Return what only the end tells: what was held back, sources, and why the model stopped."""
        cited = (Cited(url=url, title=title) for url, title in self._sources.items())
        stopped = [] if self._finish is None else [Stopped(STOPS.get(self._finish, "stop"))]
        return [*self._unfenced(), *self._calls.close(), *cited, *stopped]

    def _read(self, result: _Result) -> list[Event]:
        out: list[Event] = []
        for choice in result.choices or ():
            if choice.index == 0:
                self._take(choice, out)
        if result.usage is not None:
            out.append(Counted(_tokens(result.usage, result.model or "")))
        for source in result.citations or ():
            self._note(source)
        return out

    def _take(self, choice: _Choice, out: list[Event]) -> None:
        if not self._started:
            self._started = True
            out.append(Started())
        delta = choice.delta or choice.message
        if delta is not None:
            out += self._calls.behind(self._said(delta))
            if delta.tool_calls:
                out += self._unfenced()
            for place, piece in enumerate(delta.tool_calls or ()):
                out += self._calls.add(piece, place)
        self._finish = choice.finish_reason or self._finish

    def _said(self, delta: _Delta) -> list[Event]:
        out: list[Event] = []
        if delta.reasoning_content:
            out += _thoughts(delta.reasoning_content)
        if delta.content:  # most deltas repeat an empty one
            text = delta.content if self._fence is None else self._fence.feed(delta.content)
            if text:
                out.append(TextPiece(text))
        if delta.refusal:
            out.append(RefusalPiece(delta.refusal))
        return out

    def _unfenced(self) -> list[Event]:
        rest = self._fence.close() if self._fence is not None else ""
        return self._calls.behind([TextPiece(rest)]) if rest else []

    def _note(self, source: str | _Source) -> None:
        """Remember a source once: a stream may repeat the list."""
        url, title = (source, "") if isinstance(source, str) else (source.url or "", source.title or "")
        if url:
            self._sources[url] = title or self._sources.get(url, "")


def _thoughts(reasoning: str | list[_Thought]) -> list[Event]:
    """Return the thoughts; a signature ends a block, and may come in a frame of its own."""
    if isinstance(reasoning, str):
        return [ThinkingPiece(reasoning)]
    out: list[Event] = []
    for thought in reasoning:
        if thought.content:
            out.append(ThinkingPiece(thought.content))
        if thought.signature:
            out.append(Signed(thought.signature, ORIGIN))
    return out


def _tokens(usage: _Usage, model: str) -> Tokens:
    """Return the figures. Claude's prompt tokens leave out what the cache took and gave (wire §4.7)."""
    prompt, details = int(usage.prompt_tokens or 0), usage.prompt_tokens_details or _PromptDetails()
    read, written = int(details.cached_tokens or 0), int(details.cache_creation_tokens or 0)
    additive = written > 0 or read > prompt or model.startswith("claude-")
    long_lived = int((details.cache_creation_token_details or _Written()).ephemeral_1h_input_tokens or 0)
    return Tokens(
        uncached=prompt if additive else prompt - read,
        cache_read=read,
        cache_write_5m=max(0, written - long_lived),
        cache_write_1h=min(long_lived, written),
        output=int(usage.completion_tokens or 0),
        reasoning=int((usage.completion_tokens_details or _AnswerDetails()).reasoning_tokens or 0),
    )


class _Fence:
    """Takes the code fence off an answer that was asked to be JSON; Claude puts one around it (wire §5.2)."""

    _OPENING = re.compile(r"\s*```[A-Za-z]*[ \t]*\r?\n")
    _MAY_OPEN = re.compile(r"\s*(?:`{0,2}|```[A-Za-z]*[ \t]*\r?)\Z")

    def __init__(self) -> None:
        self._held = ""
        self._is_open: bool | None = None

    def feed(self, text: str) -> str:
        """Return what is certainly part of the JSON."""
        self._held += text
        if self._is_open is None:
            if self._MAY_OPEN.match(self._held):
                return ""
            opening = self._OPENING.match(self._held)
            self._is_open = opening is not None
            self._held = self._held[opening.end() :] if opening else self._held
        end = len(_unclosed(self._held)) if self._is_open else len(self._held)
        told, self._held = self._held[:end], self._held[end:]
        return told

    def close(self) -> str:
        """Return what is left when nothing more comes."""
        rest, self._held = self._held, ""
        return _unclosed(rest) if self._is_open else rest


def _unclosed(text: str) -> str:
    """Return the text without what closes a fence, or begins to: JSON itself never ends so."""
    return text.rstrip().rstrip("`").rstrip()
