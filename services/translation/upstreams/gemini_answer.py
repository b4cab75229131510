"""What Gemini answers, whole or in frames, into events (wire §4.5, §8.0, §8.4).

A frame is a partial answer of the same shape as a whole one, so one reader serves both. Function calls come
whole, usage is a running total, and only the end of the connection ends a stream: `Stopped` is held until
then, since usage and signatures may follow the finish reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from services.errors import UpstreamBroken
from services.translation import fields as f
from services.translation.dialects import ReplyInfo
from services.translation.events import (
    Cited,
    Counted,
    Event,
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
from services.translation.signatures import CALL_SIGNER

ORIGIN = CALL_SIGNER
"""Of the signatures that these models make, on calls too."""

_NO_ARGUMENTS = ("", "null", "{}")

# wire §8.0; what is in no table is an ordinary end
_REASONS: Mapping[str, StopReason] = {
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "LANGUAGE": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "MALFORMED_FUNCTION_CALL": "malformed",
    "MALFORMED_RESPONSE": "malformed",
    "UNEXPECTED_TOOL_CALL": "malformed",
    "TOO_MANY_TOOL_CALLS": "malformed",
    "MISSING_THOUGHT_SIGNATURE": "malformed",
}


def stop_reason(finish: str) -> StopReason:
    """Return what a `finishReason` means."""
    return "content_filter" if finish.startswith("IMAGE_") else _REASONS.get(finish, "stop")


# --- the form ----------------------------------------------------------------------------------------


class UsageMetadata(msgspec.Struct, gc=False, rename="camel"):
    """Tokens so far; the prompt includes what came from the cache."""

    prompt_token_count: float | None = None
    tool_use_prompt_token_count: float | None = None
    cached_content_token_count: float | None = None
    candidates_token_count: float | None = None
    thoughts_token_count: float | None = None

    def tokens(self) -> Tokens:
        """Return each token once (wire §8.0, trap 5)."""
        prompt = int(self.prompt_token_count or 0) + int(self.tool_use_prompt_token_count or 0)
        cached = int(self.cached_content_token_count or 0)
        thoughts = int(self.thoughts_token_count or 0)
        return Tokens(
            uncached=max(0, prompt - cached),
            cache_read=cached,
            output=int(self.candidates_token_count or 0) + thoughts,
            reasoning=thoughts,
        )


class PromptFeedback(msgspec.Struct, gc=False, rename="camel"):
    """Why a prompt was not answered at all."""

    block_reason: str | None = None


class _Call(msgspec.Struct, gc=False):
    name: str = ""
    args: msgspec.Raw = f.ABSENT


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _Call | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Source(msgspec.Struct, gc=False):
    uri: str | None = None
    title: str | None = None


class _Chunk(msgspec.Struct, gc=False, rename="camel"):
    web: _Source | None = None
    retrieved_context: _Source | None = None
    maps: _Source | None = None


class _Grounding(msgspec.Struct, gc=False, rename="camel"):
    grounding_chunks: list[_Chunk] | None = None


class _Citations(msgspec.Struct, gc=False):
    citations: list[_Source] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None
    citation_metadata: _Citations | None = None
    grounding_metadata: _Grounding | None = None


class _Response(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: UsageMetadata | None = None
    prompt_feedback: PromptFeedback | None = None
    error: msgspec.Raw = f.ABSENT


_response = msgspec.json.Decoder(_Response)


# --- to events ---------------------------------------------------------------------------------------


def answer(body: bytes, info: ReplyInfo) -> Sequence[Event]:
    """Return the events of a whole answer. Raises UpstreamBroken, or the UpstreamError inside it."""
    reader = Reader(info, f.ANSWER)
    return [*reader.feed(body), *reader.close()]


class Reader:
    """Reads one answer. A frame with nothing but a piece of text costs no more than its decoding."""

    done = False  # the end of the connection is the end: usage may follow the finish reason

    def __init__(self, info: ReplyInfo, what: str = f.FRAME) -> None:
        self._id = info.id
        self._what = what
        self._calls = 0
        self._started = False
        self._reason: StopReason | None = None
        self._usage: UsageMetadata | None = None
        self._cited: set[tuple[str, str]] = set()

    def feed(self, data: bytes) -> list[Event]:
        """Return the events of one frame. Raises UpstreamBroken, or the UpstreamError it reports."""
        if not data:
            return []
        response = decoded(data, _response, self._what)
        if f.present(response.error):
            raise error_inside(data)
        events: list[Event] = []
        if response.usage_metadata is not None:
            self._usage = response.usage_metadata
        if not self._started:
            self._started = True
            events.append(Started())
            events += self._counted()
        if response.prompt_feedback is not None and response.prompt_feedback.block_reason:
            self._reason = "content_filter"
        for candidate in response.candidates or ():
            if not candidate.index:  # one choice is all that is asked for
                self._take(candidate, events)
        return events

    def close(self) -> list[Event]:
        """Return usage and the finish. Raises UpstreamBroken when there was no finish reason."""
        if self._reason is None:
            raise UpstreamBroken("the upstream's answer ended before its finish reason")
        return [*self._counted(), Stopped(self._reason)]

    def _counted(self) -> list[Event]:
        return [] if self._usage is None else [Counted(self._usage.tokens())]

    def _take(self, candidate: _Candidate, events: list[Event]) -> None:
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                self._part(part, events)
        if candidate.finish_reason:
            self._reason = stop_reason(candidate.finish_reason)
        for source in _sources(candidate):
            found = (source.uri or "", source.title or "")
            if any(found) and found not in self._cited:
                self._cited.add(found)
                events.append(Cited(*found))

    def _part(self, part: _Part, events: list[Event]) -> None:
        if part.function_call is not None:
            self._call(part.function_call, part.thought_signature or "", events)
            return
        if part.text:
            events.append(ThinkingPiece(part.text) if part.thought else TextPiece(part.text))
        if part.thought_signature:
            events.append(Signed(part.thought_signature, ORIGIN))

    def _call(self, call: _Call, signature: str, events: list[Event]) -> None:
        events.append(ToolOpened(f"call_{self._id}_{self._calls}", call.name, signature))
        self._calls += 1
        arguments = f.text_of(bytes(call.args), "a tool call")
        if arguments not in _NO_ARGUMENTS:
            events.append(ToolPiece(arguments))


def decoded(data: bytes, decoder: msgspec.json.Decoder[f.T], what: str) -> f.T:
    """Return an answer or a frame. Raises UpstreamBroken, or the error in a list of one (wire §6.1)."""
    if data.startswith(b"["):
        raise error_inside(data)
    return f.decoded(decoder, data, what)


def _sources(candidate: _Candidate) -> Iterator[_Source]:
    if candidate.grounding_metadata is not None:
        for chunk in candidate.grounding_metadata.grounding_chunks or ():
            yield from filter(None, (chunk.web, chunk.retrieved_context, chunk.maps))
    if candidate.citation_metadata is not None:
        yield from candidate.citation_metadata.citations or ()
