"""Answers of SAP's orchestration, whole and as a stream (wire §4.7).

Only `final_result` is read: it has the form of chat completions, with habits of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from services.translation import fields as f
from services.translation.dialects import ReplyInfo
from services.translation.events import Event, TextPiece, Tokens
from services.translation.faults import error_inside
from services.translation.upstreams.openai_reader import (
    NO_DETAILS,
    Completion,
    Creation,
    Delta,
    OpenAIReader,
    Usage,
)

ORIGIN = "orchestration"
"""Of the signatures in its answers."""


class _Frame(msgspec.Struct, gc=False):
    final_result: Completion | None = None
    error: msgspec.Raw = f.ABSENT
    message: msgspec.Raw = f.ABSENT
    """Of an error that is not wrapped (wire §6.1)."""


_frame = msgspec.json.Decoder(_Frame)
_NOTHING = Completion()


def answer(body: bytes, info: ReplyInfo) -> Sequence[Event]:
    """Return the events of a whole answer. Raises UpstreamBroken for none, or the error it reports."""
    return OrchestrationReader(info).whole(body)


class OrchestrationReader(OpenAIReader):
    """Reads one stream of frames that have a chunk of chat completions inside."""

    origin = ORIGIN

    def __init__(self, info: ReplyInfo) -> None:
        super().__init__(info)
        self._fence = _Fence() if info.conversation.output is not None else None

    def decoded(self, data: bytes) -> Completion:
        """Return what a frame holds. Raises UpstreamBroken, or the UpstreamError it reports."""
        frame = f.decoded(_frame, data, self._what)
        if f.present(frame.error) or (frame.final_result is None and f.present(frame.message)):
            raise error_inside(data)
        return frame.final_result or _NOTHING

    def said(self, delta: Delta) -> list[Event]:
        """Return what the model says besides calls; what may be a code fence is held back."""
        if self._fence is not None:
            text = self._fence.feed(delta.content or "")
            delta.content = text + self._fence.close() if delta.tool_calls else text
        return super().said(delta)

    def end(self) -> list[Event]:
        """Return what only the end tells: what was held back, sources, and why the model stopped."""
        rest = self._fence.close() if self._fence is not None else ""
        return [*self._calls.behind([TextPiece(rest)] if rest else []), *super().end()]

    def tokens(self, usage: Usage, model: str) -> Tokens:
        """Return the figures. Claude's prompt tokens leave out what the cache took and gave (wire §4.7)."""
        prompt, details = int(usage.prompt_tokens or 0), usage.prompt_tokens_details or NO_DETAILS
        read, written = int(details.cached_tokens or 0), int(details.cache_creation_tokens or 0)
        additive = written > 0 or read > prompt or model.startswith("claude-")
        long_lived = int((details.cache_creation_token_details or Creation()).ephemeral_1h_input_tokens or 0)
        return Tokens(
            uncached=prompt if additive else prompt - read,
            cache_read=read,
            cache_write_5m=max(0, written - long_lived),
            cache_write_1h=min(long_lived, written),
            output=int(usage.completion_tokens or 0),
            reasoning=int((usage.completion_tokens_details or NO_DETAILS).reasoning_tokens or 0),
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
