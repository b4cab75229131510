"""What healthy and refusing deployments say, in the three forms of wire §4.1, §4.2 and §4.3.

Every answer is the same sixty words, one a frame, so that a lost one is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

Form = Literal["chat", "responses", "claude"]
Json = dict[str, Any]
Refusal = Literal["limited", "failed", "unavailable", "too long", "filtered", "prefill"]

ANSWER = (
    "A gateway is trusted for what it does on bad days: when the model behind it stalls, limits or breaks, "
    "it asks again elsewhere or says plainly that no answer came, and never passes half a thought for a "
    "whole one, because whoever reads it will act on every single word and cannot know what was lost on "
    "the way"
)
TOKENS = tuple(f" {word}" if number else word for number, word in enumerate(ANSWER.split()))

CREATED = 1_760_000_000
PROMPT_TOKENS = 9
PROMPT_TOKENS_OF_FALLBACK = 23
COMPLETION_TOKENS = len(TOKENS)

REASON_TOO_LONG = "too long for its context window of 8192 tokens"
REASON_FILTERED = "stopped by the content filter: violence, severity medium"
REASON_PREFILL = "must end with a turn of the user"

_STATUS: Mapping[Refusal, tuple[int, str, str, str]] = {
    "limited": (429, "429", "too_many_requests", "exceeded the call rate limit"),
    "failed": (500, "internal_error", "server_error", "The server had an error while processing the request"),
    "unavailable": (503, "service_unavailable", "server_error", "The model is overloaded"),
    "too long": (400, "context_length_exceeded", "invalid_request_error", f"The prompt is {REASON_TOO_LONG}"),
    "filtered": (400, "content_filter", "invalid_request_error", f"The prompt was {REASON_FILTERED}"),
    "prefill": (400, "invalid_prefill", "invalid_request_error", f"The conversation {REASON_PREFILL}"),
}
_FILTERED: Json = {
    "code": "ResponsibleAIPolicyViolation",
    "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
}


@dataclass(frozen=True, slots=True)
class Script:
    """A whole stream, in parts: before the first token, the tokens, what follows, the mark of its end."""

    head: tuple[bytes, ...]
    tokens: tuple[bytes, ...]
    tail: tuple[bytes, ...]
    end: tuple[bytes, ...] = ()


def refusal(form: Form, kind: Refusal) -> tuple[int, bytes]:
    """Status and body of an error, in the shape of its origin (wire §6.1)."""
    status, code, family, message = _STATUS[kind]
    if form == "claude":
        return status, msgspec.json.encode({"message": message})
    error: Json = {"code": code, "message": message, "param": None, "type": family}
    if kind == "filtered":
        error["innererror"] = _FILTERED
    return status, msgspec.json.encode({"error": error})


def whole(form: Form, prompt_tokens: int) -> bytes:
    """The body of a unary answer."""
    return msgspec.json.encode(_WHOLE[form](prompt_tokens))


def script(form: Form, prompt_tokens: int) -> Script:
    """The frames of a streamed answer."""
    return _SCRIPTS[form](prompt_tokens)


def frame(event: Json) -> bytes:
    """One event: `data:` lines only, in all three forms."""
    return b"data: %b\n\n" % msgspec.json.encode(event)


def _openai_usage(prompt_tokens: int) -> Json:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": COMPLETION_TOKENS,
        "total_tokens": prompt_tokens + COMPLETION_TOKENS,
    }


def _chat_whole(prompt_tokens: int) -> Json:
    message = {"role": "assistant", "content": ANSWER}
    return {
        "id": "chatcmpl-A1", "object": "chat.completion", "created": CREATED, "model": "gpt-5-2025-08-07",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "content_filter_results": {}}],
        "usage": _openai_usage(prompt_tokens),
    }  # fmt: skip


def _chunk(choices: list[Json], usage: Json | None = None) -> bytes:
    return frame(
        {
            "choices": choices, "created": CREATED, "id": "chatcmpl-A1", "model": "gpt-5-2025-08-07",
            "object": "chat.completion.chunk", "usage": usage,
        }
    )  # fmt: skip


def _delta(delta: Json, finish: str | None = None) -> bytes:
    return _chunk([{"content_filter_results": {}, "delta": delta, "finish_reason": finish, "index": 0}])


def _chat_script(prompt_tokens: int) -> Script:
    filters: Json = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
    filters["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": {}}]
    return Script(
        head=(frame(filters), _delta({"content": "", "role": "assistant"})),
        tokens=tuple(_delta({"content": token}) for token in TOKENS),
        tail=(_delta({}, "stop"), _chunk([], _openai_usage(prompt_tokens))),
        end=(b"data: [DONE]\n\n",),
    )


def _response(prompt_tokens: int) -> Json:
    text = {"type": "output_text", "text": ANSWER, "annotations": []}
    item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [text]}
    usage = {
        "input_tokens": prompt_tokens, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": COMPLETION_TOKENS, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + COMPLETION_TOKENS,
    }  # fmt: skip
    return {**_begun("completed"), "output": [item], "usage": usage}


def _begun(status: str) -> Json:
    return {
        "id": "resp_1", "object": "response", "created_at": CREATED, "status": status, "error": None,
        "incomplete_details": None, "model": "gpt-5-2025-08-07", "output": [], "tools": [],
        "tool_choice": "auto", "parallel_tool_calls": True,
    }  # fmt: skip


def _responses_script(prompt_tokens: int) -> Script:
    whole = _response(prompt_tokens)
    item = whole["output"][0]
    part = item["content"][0]
    place: Json = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    opened = {**item, "status": "in_progress", "content": []}
    head: list[Json] = [
        {"type": "response.created", "response": _begun("in_progress")},
        {"type": "response.in_progress", "response": _begun("in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": opened},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
    ]
    tokens: list[Json] = [{"type": "response.output_text.delta", **place, "delta": token} for token in TOKENS]
    tail: list[Json] = [
        {"type": "response.output_text.done", **place, "text": ANSWER},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    frames = tuple(
        frame({**event, "sequence_number": number}) for number, event in enumerate([*head, *tokens, *tail])
    )
    first, after = len(head), len(head) + len(tokens)
    return Script(head=frames[:first], tokens=frames[first:after], tail=frames[after:])


def _message(prompt_tokens: int, output_tokens: int) -> Json:
    return {
        "id": "msg_bdrk_01A", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
        "content": [], "stop_reason": None, "stop_sequence": None,
        "usage": {
            "input_tokens": prompt_tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
        },
    }  # fmt: skip


def _claude_whole(prompt_tokens: int) -> Json:
    told = {"content": [{"type": "text", "text": ANSWER}], "stop_reason": "end_turn"}
    return {**_message(prompt_tokens, COMPLETION_TOKENS), **told}


def _claude_script(prompt_tokens: int) -> Script:
    block = {"type": "text", "text": ""}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    metrics = {"inputTokenCount": prompt_tokens, "outputTokenCount": COMPLETION_TOKENS}
    return Script(
        head=(
            frame({"type": "message_start", "message": _message(prompt_tokens, 1)}),
            frame({"type": "content_block_start", "index": 0, "content_block": block}),
        ),
        tokens=tuple(
            frame({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": token}})
            for token in TOKENS
        ),
        tail=(
            frame({"type": "content_block_stop", "index": 0}),
            frame({"type": "message_delta", "delta": stop, "usage": {"output_tokens": COMPLETION_TOKENS}}),
        ),
        end=(frame({"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics}),),
    )


_WHOLE: Mapping[Form, Callable[[int], Json]] = {
    "chat": _chat_whole,
    "responses": _response,
    "claude": _claude_whole,
}
_SCRIPTS: Mapping[Form, Callable[[int], Script]] = {
    "chat": _chat_script,
    "responses": _responses_script,
    "claude": _claude_script,
}
