"""Answers as OpenAI's chat completions clients expect them (wire §8.0, §8.2); streams are in `chat_writer`.

Two extensions carry what a later request has to bring back: `thinking_blocks`, thinking with its proof, and
Google's `extra_content` on tool calls. Clients that know neither lose nothing of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.translation.conversation import Conversation, Redacted, Text, Thinking, ToolUse
from services.translation.dialects import ReplyInfo
from services.translation.events import Cited, Event, Message, StopReason, Tokens, collect
from services.translation.signatures import seal
from services.translation.turns import freeform_input

_encode = msgspec.json.encode

# wire §8.0
FINISH_REASONS: Mapping[StopReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context_length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "pause": "stop",
    "malformed": "stop",
}


_USAGE = (
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
    b'"prompt_tokens_details":{"cached_tokens":%d,"cache_write_tokens":%d},'
    b'"completion_tokens_details":{"reasoning_tokens":%d}}'
)


def usage_of(tokens: Tokens) -> bytes:
    """Return OpenAI's usage object, encoded."""
    prompt, output = tokens.prompt, tokens.output
    return _USAGE % (
        prompt,
        output,
        prompt + output,
        tokens.cache_read,
        tokens.cache_write,
        tokens.reasoning,
    )


# --- parts that both forms have ------------------------------------------------------------------------


class Habits:
    """What the caller's tools ask of the form of their calls."""

    def __init__(self, conversation: Conversation) -> None:
        tools = conversation.tools
        self.freeform = frozenset(tool.name for tool in tools if tool.freeform) if tools else frozenset()
        self.legacy = conversation.name_of("tools") == "functions"

    def finish_reason(self, reason: StopReason) -> str:
        """Return why the model stopped, in this caller's words."""
        return "function_call" if self.legacy and reason == "tool_calls" else FINISH_REASONS[reason]

    def call(self, identifier: str, name: str, arguments: str, signature: str) -> dict[str, Any]:
        """Return one tool call; of a freeform tool the text instead of its JSON."""
        call: dict[str, Any] = {"id": identifier, "type": "function"}
        if name in self.freeform:
            call |= {"type": "custom", "custom": {"name": name, "input": freeform_input(arguments)}}
        else:
            call["function"] = {"name": name, "arguments": arguments}
        if signature:
            call["extra_content"] = {"google": {"thought_signature": signature}}
        return call


def annotation_of(cited: Cited) -> dict[str, Any]:
    """Return a source as OpenAI tells it."""
    # Where in the text the source belongs is not known: 0 to 0 marks nothing.
    citation = {"url": cited.url, "title": cited.title, "start_index": 0, "end_index": 0}
    return {"type": "url_citation", "url_citation": citation}


def proof_of(block: Thinking | Redacted) -> dict[str, Any]:
    """Return an entry of `thinking_blocks`."""
    if isinstance(block, Redacted):
        return {"type": "redacted_thinking", "data": seal(block.data, block.origin)}
    return {
        "type": "thinking",
        "thinking": block.text,
        "signature": seal(block.signature, block.origin),
    }


# --- whole -------------------------------------------------------------------------------------------


_WHOLE = (
    b'{"id":"chatcmpl-%b","object":"chat.completion","created":%d,"model":%b,"choices":[{"index":0,'
    b'"message":%b,"logprobs":null,"finish_reason":"%b"}],"usage":%b}'
)


def render(events: Sequence[Event], info: ReplyInfo) -> bytes:
    """Return a `chat.completion` object."""
    whole = collect(events)
    habits = Habits(info.conversation)
    return _WHOLE % (
        info.id.encode(),
        info.created,
        _encode(info.model),
        _encode(_message(whole, habits)),
        habits.finish_reason(whole.stop.reason).encode(),
        usage_of(whole.tokens),
    )


def _message(whole: Message, habits: Habits) -> dict[str, Any]:
    texts: list[str] = []
    uses: list[ToolUse] = []
    thoughts: list[Thinking | Redacted] = []
    for block in whole.blocks:
        match block:
            case Text(text):
                texts.append(text)
            case ToolUse():
                uses.append(block)
            case _:
                thoughts.append(block)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if not texts and (uses or whole.refusal) else "".join(texts),
        "refusal": whole.refusal or None,
    }
    if thoughts:
        message |= _thoughts(thoughts)
    if sources := [annotation_of(cited) for cited in whole.citations if cited.url]:
        message["annotations"] = sources
    if uses:
        message |= _calls(uses, habits)
    return message


def _thoughts(thoughts: Sequence[Thinking | Redacted]) -> dict[str, Any]:
    told = {
        "reasoning_content": "".join(block.text for block in thoughts if isinstance(block, Thinking)),
        "thinking_blocks": [proof_of(block) for block in thoughts if _is_proven(block)],
    }
    return {name: value for name, value in told.items() if value}


def _is_proven(block: Thinking | Redacted) -> bool:
    return isinstance(block, Redacted) or bool(block.signature)


def _calls(uses: Sequence[ToolUse], habits: Habits) -> dict[str, Any]:
    if habits.legacy:
        # It has room for one call only; the model makes another again when it has the first one's result.
        return {"function_call": {"name": uses[0].name, "arguments": uses[0].arguments}}
    return {"tool_calls": [habits.call(use.id, use.name, use.arguments, use.signature) for use in uses]}
