"""Gemini's API, to gcp-vertexai deployments and back (wire §4.5, §5.4).

The request goes up with the few edits that the wire document requires, frames come down with the model's
public name in them, and members that nobody here knows survive both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.errors import BadRequest, GatewayError, UpstreamBroken
from services.translation import fields as f
from services.translation.callers.envelopes import google_error
from services.translation.callers.gemini_message import camel
from services.translation.callers.gemini_seals import MARK, is_foreign
from services.translation.conversation import Reasoning
from services.translation.faults import error_inside
from services.translation.fields import Fields
from services.translation.frames import event
from services.translation.replies import Answer, Prepared, Target, Usage
from services.translation.rules import apply_rules, deterministic
from services.translation.through.relay import FrameRelay, renamed, says_more
from services.translation.upstreams.gemini import NO_SIGNATURE, SETTINGS, thinking_config
from services.translation.upstreams.gemini_answer import (
    PromptFeedback,
    UsageMetadata,
    decoded,
    stop_reason,
)

_encode = msgspec.json.encode

_CONFIG = "generationConfig"
_OWN_NAMES: Mapping[str, str] = {
    **SETTINGS,
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
}
"""Canonical name of a default → member of `generationConfig`."""

_EDITED = (b'"id"', MARK)
"""One of these is in contents that may need an edit."""
_CALLS = (b'"functionCall"', b'"function_call"')
"""And one of these, where calls have to be signed."""


class _Part(msgspec.Struct, gc=False, rename="camel"):
    function_call: msgspec.Raw = f.ABSENT


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None


class _Response(msgspec.Struct, gc=False, rename="camel"):
    """What is looked at in an answer or a frame; everything else passes unseen."""

    candidates: list[_Candidate] | None = None
    usage_metadata: UsageMetadata | None = None
    prompt_feedback: PromptFeedback | None = None
    model_version: str | None = None
    error: msgspec.Raw = f.ABSENT


class _Open(msgspec.Struct, rename="camel"):
    """The same, while nothing has begun: whatever may be in it counts."""

    candidates: list[dict[str, Any]] | None = None
    prompt_feedback: PromptFeedback | None = None


_response = msgspec.json.Decoder(_Response)
_open = msgspec.json.Decoder(_Open)
_many = msgspec.json.Decoder(list[Fields])
_word = msgspec.json.Decoder(str | None)


# --- request -----------------------------------------------------------------------------------------


def prepare(body: Fields, target: Target, *, stream: bool) -> Prepared:
    """Return the request for the model's deployments. Raises BadRequest naming a field it cannot honour."""
    if not f.present(body.get("contents", f.ABSENT)):
        raise BadRequest("'contents' is required", param="contents")
    out, dropped = apply_rules(body, target.facts.native.get("gemini", {}))
    out["contents"] = _edited(out["contents"], signs="signed-calls" in target.facts.flags)
    config = _with_defaults(out, target)
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return Prepared(
        path=f"/models/{target.backend_model}:{method}",
        body=_encode(out),
        dropped=dropped,
        deterministic=deterministic(config),
        answer=lambda answer: read_answer(answer, model=target.public_name),
        relay=(lambda: GeminiRelay(model=target.public_name)) if stream else None,
    )


def _with_defaults(out: Fields, target: Target) -> Fields:
    """Put the model's defaults under the caller's `generationConfig`; return what it is then."""
    defaults = target.defaults
    name = next((name for name in out if camel(name) == _CONFIG), _CONFIG)
    given = f.read(out, name, Fields) or {}
    said = {camel(member) for member in given}
    added = {_OWN_NAMES[name]: value for name, value in defaults.items() if name in _OWN_NAMES}
    if "stop" in defaults:
        added[_OWN_NAMES["stop"]] = f.listed(defaults["stop"])
    effort = Reasoning(f.read(defaults, "reasoning_effort", str) or "", shown=False)
    if thinking := thinking_config(effort, target.facts)[0]:
        added["thinkingConfig"] = f.raw(thinking)
    added = {member: value for member, value in added.items() if member not in said}
    if added:
        out[name] = f.raw(added | given)
    return added | given


def _edited(contents: msgspec.Raw, *, signs: bool) -> msgspec.Raw:
    """Return contents without what Vertex refuses: ids of calls (wire §5.4), and proofs of other models.

    Where the model `signs` its calls it refuses unsigned ones: those get a stand-in (wire §8.4).
    Contents of another shape go up as they are: the refusal is the upstream's.
    """
    given = bytes(contents)
    if not any(mark in given for mark in (_EDITED + _CALLS if signs else _EDITED)):
        return contents
    try:
        edited = [_edited_content(content, signs=signs) for content in _many.decode(f.listed(contents))]
    except f.UNREADABLE:
        return contents
    return f.raw([content for content in edited if content is not None])


def _edited_content(content: Fields, *, signs: bool) -> Fields | None:
    """Return the content; None where nothing is left of it but its role."""
    if "parts" not in content:
        return content
    parts = [_edited_part(part) for part in _many.decode(f.listed(content["parts"]))]
    kept = [part for part in parts if part is not None]
    if signs:
        _sign_first_call(kept)
    return content | {"parts": f.raw(kept)} if kept or not parts else None


def _sign_first_call(parts: list[Fields]) -> None:
    """Put the stand-in for a signature on the first call, if another model made it: only that one has any."""
    for at, part in enumerate(parts):
        names = {camel(name) for name in part}
        if "functionCall" in names:
            if "thoughtSignature" not in names:
                parts[at] = part | {"thoughtSignature": f.raw(NO_SIGNATURE)}
            return


def _edited_part(part: Fields) -> Fields | None:
    """Return the part; None for a thought that another model signed."""
    names = {camel(name): name for name in part}
    signature = names.get("thoughtSignature")
    if signature and is_foreign(_word.decode(part[signature]) or ""):
        if "thought" in names:
            return None
        part = {name: raw for name, raw in part.items() if name != signature}
    for name in ("functionCall", "functionResponse"):
        if name in names:
            inner = f.decoder.decode(part[names[name]])
            if inner.pop("id", None) is not None:
                part = part | {names[name]: f.raw(inner)}
    return part


# --- answer ------------------------------------------------------------------------------------------


class _Seen:
    """What the log wants to know of an answer, gathered frame by frame; and its public name."""

    def __init__(self, model: str) -> None:
        self.usage: Usage | None = None
        self.finish_reason = ""
        self._model = model
        self._called = False
        self._begun: set[int] = set()
        self._finished: set[int] = set()

    def take(self, data: bytes, what: str) -> bytes:
        """Return the answer, or the frame. Raises UpstreamBroken, or the UpstreamError inside it."""
        response = decoded(data, _response, what)
        if f.present(response.error):
            raise error_inside(data)
        if response.usage_metadata is not None:
            self.usage = response.usage_metadata.tokens().usage()
        if response.prompt_feedback is not None and response.prompt_feedback.block_reason:
            self.finish_reason = "content_filter"
        for candidate in response.candidates or ():
            self._follow(candidate)
        if not response.model_version:
            return data
        return renamed(data, "modelVersion", response.model_version, self._model, what)

    def end(self) -> None:
        """Raise UpstreamBroken when a choice has no finish reason."""
        if self._begun - self._finished or not self.finish_reason:
            raise UpstreamBroken("the upstream's answer ended before its finish reason")

    def _follow(self, candidate: _Candidate) -> None:
        index = candidate.index or 0
        parts = candidate.content.parts if candidate.content is not None else None
        self._called = self._called or any(f.present(part.function_call) for part in parts or ())
        self._begun.add(index)
        if candidate.finish_reason:
            self._finished.add(index)
            reason = stop_reason(candidate.finish_reason)
            self.finish_reason = "tool_calls" if reason == "stop" and self._called else reason


def read_answer(body: bytes, *, model: str) -> Answer:
    """Return the caller's answer. Raises UpstreamBroken for what is none, UpstreamError for its error."""
    seen = _Seen(model)
    answer = seen.take(body, f.ANSWER)
    seen.end()
    return Answer(body=answer, usage=seen.usage, finish_reason=seen.finish_reason)


class GeminiRelay(FrameRelay):
    """One stream, passed on frame by frame. There is no `[DONE]` (trap 7): its end is the connection's."""

    def __init__(self, *, model: str) -> None:
        super().__init__()  # never `done` before the end: usage may follow the finish reason
        self._seen = _Seen(model)

    @property
    def usage(self) -> Usage | None:
        """Tokens, as far as they are known."""
        return self._seen.usage

    @property
    def finish_reason(self) -> str:
        """Why the model stopped; empty before."""
        return self._seen.finish_reason

    def close(self) -> bytes:
        """Return what is left. Raises UpstreamBroken when no finish reason was seen."""
        rest = self._rest()
        self._seen.end()
        return rest

    def fail(self, error: GatewayError) -> bytes:
        """Return the frame that ends a stream which cannot be completed."""
        return event(google_error(error))

    def _frame(self, data: bytes) -> bytes:
        if not data:
            return b""
        out = event(self._seen.take(data, f.FRAME))
        if not self.began:
            self.began = _begins(data)
        return out


_OF_CANDIDATES = frozenset(
    {"index", "content", "safetyRatings", "tokenCount", "avgLogprobs", "logprobsResult"}
)
_OF_CONTENTS = frozenset({"role", "parts"})
_OF_PARTS = frozenset({"thought"})
"""Members that are no content."""


def _begins(data: bytes) -> bool:
    frame = f.decoded(_open, data, f.FRAME)
    blocked = frame.prompt_feedback is not None and frame.prompt_feedback.block_reason
    return bool(blocked) or any(_answers(candidate) for candidate in frame.candidates or ())


def _answers(candidate: Mapping[str, Any]) -> bool:
    content = candidate.get("content") or {}
    parts = content.get("parts") or ()
    return (
        says_more(candidate, _OF_CANDIDATES)
        or says_more(content, _OF_CONTENTS)
        or any(says_more(part, _OF_PARTS) for part in parts)
    )
