"""OpenAI's legacy completions, served by chat models: the prompt is what the user says (wire §8.1).

What only a completion model can do is refused by name: continuing a suffix, echoing the prompt, token
probabilities, the best of several, several prompts at once, and prompts of token numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.errors import BadRequest, GatewayError
from services.translation.callers.chat import LIMIT, wants_usage
from services.translation.callers.chat_answer import FINISH_REASONS, usage_of
from services.translation.callers.chat_writer import ChunkWriter
from services.translation.callers.decoding import take, take_settings, unknown
from services.translation.callers.envelopes import openai_error
from services.translation.conversation import Conversation, Text, Turn
from services.translation.dialects import Caller, ReplyInfo
from services.translation.events import (
    Counted,
    Event,
    RefusalPiece,
    Stopped,
    StopReason,
    TextPiece,
    collect,
)
from services.translation.fields import Fields

_SETTINGS = (
    "temperature", "top_p", "n", "stop", "presence_penalty", "frequency_penalty", "seed", "user",
    "logit_bias",
)  # fmt: skip

_ANYTHING = msgspec.json.Decoder()
_PROMPT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(str | list[Any])

# Name → the values that ask for nothing, and why others cannot be had.
_REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "suffix": (("",), "chat models cannot fill in before a suffix"),
    "best_of": ((1,), "chat models give one answer"),
    "echo": ((False,), "chat models do not repeat the prompt"),
    "logprobs": ((), "token probabilities are not passed on; use /v1/chat/completions"),
}
_KNOWN = frozenset({"model", "prompt", "max_tokens", "stream", "stream_options", *_REFUSED, *_SETTINGS})

# A model that was given no tools calls none.
_FINISH_REASONS = {**FINISH_REASONS, "tool_calls": "stop"}


def parse(body: Fields) -> Conversation:
    """Return what the caller asks. Raises BadRequest naming the field."""
    dropped = list(unknown(body, _KNOWN))
    for name, (harmless, why) in _REFUSED.items():
        value = take(body, name, _ANYTHING)
        if value is not None and value not in harmless:
            raise BadRequest(f"'{name}' cannot be honoured: {why}", param=name, code="unsupported_parameter")
    return Conversation(
        turns=(Turn("user", (Text(_prompt_of(body)),)),),
        max_tokens=take(body, "max_tokens", LIMIT),
        settings=take_settings(body, _SETTINGS),
        wants_usage=wants_usage(body, dropped),
        dropped=tuple(dropped),
    )


def _prompt_of(body: Fields) -> str:
    prompt = take(body, "prompt", _PROMPT)
    match prompt:
        case str() | [str()] if prompt not in ("", [""]):
            return prompt if isinstance(prompt, str) else prompt[0]
        case [str(), *_]:
            raise BadRequest("several prompts need several requests", param="prompt")
        case [_, *_]:
            raise BadRequest("a prompt of token numbers cannot be read; send it as text", param="prompt")
        case _:
            raise BadRequest("'prompt' is required", param="prompt")


def _choice(text: str, reason: StopReason) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": _FINISH_REASONS[reason]}


def render(events: Sequence[Event], info: ReplyInfo) -> bytes:
    """Return a `text_completion` object."""
    whole = collect(events)
    return msgspec.json.encode(
        {
            "id": f"cmpl-{info.id}",
            "object": "text_completion",
            "created": info.created,
            "model": info.model,
            "choices": [_choice(whole.text + whole.refusal, whole.stop.reason)],
            "usage": msgspec.Raw(usage_of(whole.tokens)),
        }
    )


class CompletionsWriter:
    """Writes `text_completion` objects, a piece of text each. Thinking has no place in them."""

    def __init__(self, info: ReplyInfo) -> None:
        self._chunks = ChunkWriter(info, prefix="cmpl-", kind="text_completion")
        self._before = self._chunks.before + b'"text":'
        self._after = b',"logprobs":null,"finish_reason":null' + self._chunks.after
        self._stop: StopReason = "stop"

    def feed(self, event: Event) -> bytes:
        """Return the chunk of one event."""
        if self._chunks.ended:
            return b""
        match event:
            case TextPiece(text) | RefusalPiece(text):
                return self._before + msgspec.json.encode(text) + self._after
            case Counted(tokens):
                self._chunks.count(tokens)
            case Stopped(reason):
                self._stop = reason
            case _:
                pass
        return b""

    def close(self) -> bytes:
        """Return the end of a complete answer: finish reason, usage if it was asked for, `[DONE]`."""
        if self._chunks.ended:
            return b""
        reason = msgspec.json.encode(_FINISH_REASONS[self._stop])
        finish = self._before + b'"","logprobs":null,"finish_reason":' + reason + self._chunks.after
        return finish + self._chunks.end()

    def fail(self, error: GatewayError) -> bytes:
        """Return the end of a stream that cannot be completed."""
        return self._chunks.fail(error)


CALLER = Caller(
    surface="completions", parse=parse, render=render, writer=CompletionsWriter, envelope=openai_error
)
