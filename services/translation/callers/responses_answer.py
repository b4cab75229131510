"""The response object that Responses clients expect, at every stage of its life (wire §8.0, §8.10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from services.errors import GatewayError
from services.translation.conversation import Conversation
from services.translation.dialects import ReplyInfo
from services.translation.events import StopReason, Tokens

ENCRYPTED = "reasoning.encrypted_content"
"""What `include` asks for to get the thinking in a form that can go back."""


class Asked(Conversation, frozen=True):
    """A conversation, with what its answer repeats of the request."""

    echo: Mapping[str, Any] = {}
    """Members of the response object."""
    seals: bool = False
    """Whether the caller wants the thinking's proofs, to send them back."""


# wire §8.0: status, and the reason of an incomplete one
ENDINGS: Mapping[StopReason, tuple[str, str | None]] = {
    "stop": ("completed", None),
    "stop_sequence": ("completed", None),
    "length": ("incomplete", "max_output_tokens"),
    "context_length": ("incomplete", "max_output_tokens"),
    "tool_calls": ("completed", None),
    "content_filter": ("incomplete", "content_filter"),
    "pause": ("completed", None),
    "malformed": ("failed", None),
}

MALFORMED = {"code": "server_error", "message": "the model wrote something that is no answer; ask it again"}

# The codes that OpenAI's own clients know of a failed response (wire §8.10).
_CODES = ("server_error", "rate_limit_exceeded", "invalid_prompt")


def failure(error: GatewayError) -> dict[str, str]:
    """Return the `error` member for a failure."""
    if error.code in _CODES:
        code = error.code
    elif error.status == 429:
        code = "rate_limit_exceeded"
    else:
        code = "invalid_prompt" if error.status < 500 else "server_error"
    return {"code": code, "message": error.public}


def usage_of(tokens: Tokens) -> dict[str, Any]:
    """Return OpenAI's usage object."""
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {
            "cached_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write,
        },
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.prompt + tokens.output,
    }


def asked_of(info: ReplyInfo) -> Asked:
    """Return the conversation as this surface parsed it."""
    return cast(Asked, info.conversation)


def response(
    info: ReplyInfo,
    status: str,
    *,
    output: Sequence[msgspec.Raw] = (),
    usage: Tokens | None = None,
    reason: str | None = None,
    error: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the response object. Fields that the model did not take say so by being null."""
    asked = asked_of(info)
    settings, reasoning = asked.settings, asked.reasoning
    return {
        "id": f"resp_{info.id}",
        "object": "response",
        "created_at": info.created,
        "status": status,
        "background": False,
        "error": error,
        "incomplete_details": {"reason": reason} if reason else None,
        "max_output_tokens": asked.max_tokens,
        "max_tool_calls": None,
        "model": info.model,
        "output": output,
        "parallel_tool_calls": asked.parallel_tools is not False,
        "previous_response_id": None,
        "prompt_cache_key": settings.get("prompt_cache_key"),
        "reasoning": {
            "effort": (reasoning.effort or None) if reasoning else None,
            "summary": "auto" if reasoning and reasoning.shown else None,
        },
        "safety_identifier": settings.get("safety_identifier"),
        "service_tier": "default",
        "store": False,
        "temperature": settings.get("temperature"),
        "top_logprobs": settings.get("top_logprobs", 0),
        "top_p": settings.get("top_p"),
        "truncation": settings.get("truncation", "disabled"),
        "usage": usage_of(usage) if usage else None,
        "user": settings.get("user"),
        **asked.echo,
    }
