"""What Bedrock's `invoke` and `converse` have in common, in requests, answers and errors inside a 200."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from services.errors import UpstreamBroken, UpstreamError
from services.translation import fields as f, turns
from services.translation.capabilities import ModelFacts
from services.translation.conversation import Conversation
from services.translation.events import Event, Stopped, StopReason, ToolPiece
from services.translation.faults import error_inside
from services.translation.structured import emulated

MAX_MARKS = 4
"""Prompt-cache breakpoints that a request may have."""

MARKS_LOST = f"cache marks before the last {MAX_MARKS}"

_SAID = frozenset({"temperature", "top_p", "top_k", "stop", "n", "logprobs", "top_logprobs"})
"""Settings that go up, or that ask for what is so anyway (rules `one-choice`, `no-logprobs`)."""

# AWS's names for "too fast", as the codes that `error_inside` knows.
_LIMITS: Mapping[str, str] = {
    "throttlingexception": "throttling_exception",
    "toomanyrequests": "too_many_requests",
    "toomanyrequestsexception": "too_many_requests",
}
_NAMED = re.compile(r"\s*(\w+Exception|TooManyRequests)\b:?\s*(.*)", re.DOTALL)


# --- requests ----------------------------------------------------------------------------------------


def with_hint(conversation: Conversation, facts: ModelFacts) -> Conversation:
    """Return the conversation with a wish for JSON as a line of its system prompt (wire §8.2)."""
    return emulated(conversation, msgspec.structs.replace(facts, json_schema="hint"))[0]


def stop_sequences(conversation: Conversation) -> list[str]:
    """Return the stop sequences that hold more than white space: Claude refuses the others."""
    return [entry for entry in conversation.settings.get("stop", ()) if entry.strip()]


def unsaid(conversation: Conversation, origin: str) -> Iterable[str]:
    """Yield what neither way can say. `origin` is the one whose thinking goes back."""
    yield from turns.unsaid(conversation, origin)
    if len(stop_sequences(conversation)) < len(conversation.settings.get("stop", ())):
        yield "stop sequences of white space"
    yield from (name for name in conversation.settings if name not in _SAID)


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

_document = msgspec.json.Decoder(dict[str, Any])


def failure(body: bytes) -> UpstreamError:
    """Return what an answer without content is: the error that it reports, or UpstreamBroken."""
    return reported_in(body, f.ANSWER) or UpstreamBroken("the answer has no content")


def reported_in(data: bytes, what: str) -> UpstreamError | None:
    """Return the error as `reported` does. Raises UpstreamBroken for what is no JSON object."""
    return reported(f.decoded(_document, data, what))


def exception(name: str, message: str) -> UpstreamError:
    """Return the error for one of AWS's exceptions, such as `throttlingException`."""
    code = _LIMITS.get(name.lower(), name)
    return error_inside(msgspec.json.encode({"error": {"code": code, "message": message or name}}))


def reported(document: dict[str, Any]) -> UpstreamError | None:
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
    return error_inside(msgspec.json.encode(document))
