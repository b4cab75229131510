"""How the answers of each surface are read: one row of a table for each dialect.

Output is what the model wrote: text, thoughts, calls of tools. Roles, opened blocks, signatures and usage are
none, so the first output is what a caller waits for, whichever dialect he speaks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from perf.eventstream import MessageSplitter
from perf.sse import FrameSplitter

Event = dict[str, Any]


class Splitter(Protocol):
    """Bytes in, JSON payloads of complete frames out, wherever the bytes are cut."""

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads of the frames that these bytes complete. Raises ValueError."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What must be known of a surface to judge its answers."""

    plain: Callable[[bytes], bool]
    """Whether a frame is more output and nothing besides, told without parsing: asked of nearly every frame.
    In doubt it is not. Quotes inside JSON strings are escaped, so quoted words can only be keys or values."""
    output: Callable[[Event], bool]
    """Whether an event carries output."""
    stopped: Callable[[Event], bool]
    """Whether an event says why the model stopped."""
    ends: frozenset[str]
    """Payloads or event types, one of which announces the end; empty where the body just ends."""
    usage: tuple[tuple[str, ...], ...]
    """Where in an event its figures are; later ones replace earlier ones."""
    prompt: tuple[str, ...]
    """Names of the figures that make up the tokens of a prompt, cached ones included."""
    completion: tuple[str, ...]
    """Names of the figures that make up the tokens of an answer, reasoning included."""
    splitter: Callable[[], Splitter] = FrameSplitter
    content_type: bytes = b"text/event-stream"


# --- chat completions, and the legacy completions ------------------------------------------------------


def _chat_plain(payload: bytes) -> bool:
    return b'"finish_reason":null' in payload and b'"error"' not in payload


def _chat_output(event: Event) -> bool:
    return any(
        choice.get("text") or any((choice.get("delta") or {}).get(key) for key in _DELTAS)
        for choice in event.get("choices") or ()
    )


_DELTAS = ("content", "reasoning_content", "tool_calls", "refusal")


def _chat_stopped(event: Event) -> bool:
    return any(choice.get("finish_reason") for choice in event.get("choices") or ())


CHAT = Dialect(
    plain=_chat_plain,
    output=_chat_output,
    stopped=_chat_stopped,
    ends=frozenset({"[DONE]"}),
    usage=(("usage",),),
    prompt=("prompt_tokens",),
    completion=("completion_tokens",),
)

# --- Anthropic's Messages ------------------------------------------------------------------------------


def _messages_plain(payload: bytes) -> bool:
    return payload.startswith(b'{"type":"content_block_delta"') and b'"type":"text_delta"' in payload


def _messages_output(event: Event) -> bool:
    if event.get("type") == "content_block_start":
        return bool(event["content_block"].get("name"))  # the call of a tool begins
    delta = event.get("delta") or {}
    return any(delta.get(key) for key in ("text", "thinking", "partial_json"))


def _messages_stopped(event: Event) -> bool:
    return event.get("type") == "message_delta" and bool((event.get("delta") or {}).get("stop_reason"))


MESSAGES = Dialect(
    plain=_messages_plain,
    output=_messages_output,
    stopped=_messages_stopped,
    ends=frozenset({"message_stop"}),
    usage=(("message", "usage"), ("usage",)),
    prompt=("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    completion=("output_tokens",),
)

BEDROCK = replace(MESSAGES, splitter=MessageSplitter, content_type=b"application/vnd.amazon.eventstream")
"""The same events in Amazon's binary frames."""

# --- OpenAI's Responses --------------------------------------------------------------------------------

_COMPLETED = frozenset({"response.completed", "response.incomplete"})


def _responses_plain(payload: bytes) -> bool:
    return payload.startswith(b'{"type":"response.output_text.delta"')


def _responses_output(event: Event) -> bool:
    kind = str(event.get("type"))
    if kind == "response.output_item.added":
        return bool(event["item"].get("name"))  # the call of a function begins
    return kind.endswith(".delta") and bool(event.get("delta"))


RESPONSES = Dialect(
    plain=_responses_plain,
    output=_responses_output,
    stopped=lambda event: event.get("type") in _COMPLETED,
    ends=_COMPLETED,
    usage=(("response", "usage"),),
    prompt=("input_tokens",),
    completion=("output_tokens",),
)

# --- Gemini --------------------------------------------------------------------------------------------

_PARTS = ("text", "functionCall", "inlineData", "executableCode", "codeExecutionResult")
_NOT_PLAIN = (b'"finishReason"', b'"error"', b'"text":""')


def _gemini_plain(payload: bytes) -> bool:
    return b'"text":"' in payload and not any(word in payload for word in _NOT_PLAIN)


def _gemini_output(event: Event) -> bool:
    return any(
        part.get(key)
        for candidate in event.get("candidates") or ()
        for part in (candidate.get("content") or {}).get("parts") or ()
        for key in _PARTS
    )


def _gemini_stopped(event: Event) -> bool:
    blocked = (event.get("promptFeedback") or {}).get("blockReason")
    return bool(blocked) or any(one.get("finishReason") for one in event.get("candidates") or ())


GEMINI = Dialect(
    plain=_gemini_plain,
    output=_gemini_output,
    stopped=_gemini_stopped,
    ends=frozenset(),
    usage=(("usageMetadata",),),
    prompt=("promptTokenCount",),
    completion=("candidatesTokenCount", "thoughtsTokenCount"),
)
