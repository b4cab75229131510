"""What Bedrock's `invoke` and `converse` have in common, in requests, answers and errors inside a 200."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from services.errors import UpstreamBroken, UpstreamError
from services.translation import fields as f, turns
from services.translation.capabilities import ModelFacts
from services.translation.conversation import CacheMark, Conversation
from services.translation.events import Event, Stopped, StopReason, ToolPiece
from services.translation.faults import error_in
from services.translation.fields import Json
from services.translation.structured import emulated

MAX_MARKS = 4
"""Prompt-cache breakpoints that a request may have."""

MARKS_LOST = f"cache marks before the last {MAX_MARKS}"

_SAID = frozenset({"temperature", "top_p", "top_k", "stop"})
"""Settings that go up."""

# AWS's names for "too fast", as the codes that `error_in` knows.
_LIMITS: Mapping[str, str] = {
    "throttlingexception": "throttling_exception",
    "toomanyrequests": "too_many_requests",
    "toomanyrequestsexception": "too_many_requests",
}
_NAMED = re.compile(r"\s*(\w+Exception|TooManyRequests)\b:?\s*(.*)", re.DOTALL)


# --- requests ----------------------------------------------------------------------------------------


def with_hint(conversation: Conversation, facts: ModelFacts) -> Conversation:
    """Return the conversation with a wish for JSON as a line of its system prompt (wire §8.2)."""
    if conversation.output is None:
        return conversation
    return emulated(conversation, msgspec.structs.replace(facts, json_schema="hint"))[0]


def stop_sequences(conversation: Conversation) -> list[str]:
    """Return the stop sequences that hold more than white space: Claude refuses the others."""
    return [entry for entry in conversation.settings.get("stop", ()) if entry.strip()]


def unsaid(conversation: Conversation, origin: str) -> list[str]:
    """Return what neither way can say. `origin` is the one whose thinking goes back."""
    lost = turns.unsaid(conversation, origin)
    settings = conversation.settings
    if settings:
        if len(stop_sequences(conversation)) < len(settings.get("stop", ())):
            lost.append("stop sequences of white space")
        lost += (
            name for name, value in settings.items() if name not in _SAID and turns.UNTOLD.get(name) != value
        )
    return lost


class Marks:
    """The cache marks of one request, of which Claude takes a few."""

    def __init__(self) -> None:
        self._marked: list[Json] = []

    def put(self, part: Json, cache: CacheMark | None) -> Json:
        """Return the part, with the mark if there is one."""
        if cache is not None:
            part["cache_control"] = {"type": "ephemeral"} | ({"ttl": cache.ttl} if cache.ttl else {})
            self._marked.append(part)
        return part

    def thinned(self) -> tuple[str, ...]:
        """Take off the first ones beyond the limit; return what there is to report.

        The last ones stay: each covers everything before it.
        """
        surplus = self._marked[:-MAX_MARKS]
        for part in surplus:
            del part["cache_control"]
        return (MARKS_LOST,) if surplus else ()


# --- answers -----------------------------------------------------------------------------------------

NO_INPUT = msgspec.Raw(b"{}")
"""The arguments of a call that has none."""

_REASONS: Mapping[str, StopReason] = {  # wire §8.0
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "context_length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "pause_turn": "pause",
    "malformed_model_output": "malformed",
    "malformed_tool_use": "malformed",
}


def stopped(reason: str, sequence: str | None = None) -> Stopped:
    """Return why the model stopped, from Anthropic's word for it or AWS's."""
    return Stopped(_REASONS.get(reason, "stop"), sequence or "")


def arguments(given: msgspec.Raw) -> list[Event]:
    """Return the arguments of a whole call. Raises UpstreamBroken where they are not UTF-8."""
    return [] if given == NO_INPUT else [ToolPiece(f.text_of(bytes(given), "a tool call"))]


# --- errors inside a 200 (wire §4.3, §6.4, §8.3) -----------------------------------------------------

_document = msgspec.json.Decoder(Json)


def failure(body: bytes) -> UpstreamError:
    """Return what an answer without content is: the error that it reports, or UpstreamBroken."""
    return reported_in(body, f.ANSWER) or UpstreamBroken("the answer has no content")


def reported_in(data: bytes, what: str) -> UpstreamError | None:
    """Return the error as `reported` does. Raises UpstreamBroken for what is no JSON object."""
    return reported(f.decoded(_document, data, what))


def exception(name: str, message: str) -> UpstreamError:
    """Return the error for one of AWS's exceptions, such as `throttlingException`."""
    code = _LIMITS.get(name.lower(), name)
    return error_in({"error": {"code": code, "message": message or name}})


def reported(document: Json) -> UpstreamError | None:
    """Return the error that a frame or an answer reports, None if it reports none.

    It may be an `error` object of Anthropic's or SAP's, a bare `message`, which often opens with the name of
    AWS's exception, or an object under such a name.
    """
    for name, value in document.items():
        if name.endswith("Exception"):
            return exception(name, str(value.get("message") or "") if isinstance(value, dict) else str(value))
    message = document.get("message")
    if isinstance(message, str):
        named = _NAMED.match(message)
        if named:
            return exception(named[1], named[2])
    elif not document.get("error") and not document.get("errors") and document.get("type") != "error":
        return None
    return error_in(document)
