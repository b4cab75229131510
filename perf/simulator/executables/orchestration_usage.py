"""Usage as orchestration tells it: each provider counts in its own way (wire §4.7, §8.0)."""

from __future__ import annotations

from typing import Any

import msgspec

from perf.simulator.executables import bedrock_plan, chat
from perf.simulator.executables.orchestration_body import Prompt
from perf.simulator.executables.orchestration_messages import AssistantMessage, Message, TextPart, texts


def inclusive(given: int, plan: chat.Plan, choices: int, *, details: bool = True) -> dict[str, Any]:
    """`prompt_tokens` are all of the prompt; some providers leave out the details."""
    made = plan.completion_tokens * choices
    usage: dict[str, Any] = {
        "completion_tokens": made,
        "prompt_tokens": given,
        "total_tokens": given + made,
    }
    if details:
        usage["prompt_tokens_details"] = {"cached_tokens": 0}
        usage["completion_tokens_details"] = {"reasoning_tokens": plan.reasoning_tokens * choices}
    return usage


def additive(messages: list[Message], prompt: Prompt, plan: chat.Plan) -> dict[str, Any]:
    """Claude's: what was read from the cache or written to it is no part of `prompt_tokens`."""
    spent = _cached(messages, prompt)
    written = {"5m": 0, "1h": 0} | {spent.ttl: spent.written}
    return {
        "completion_tokens": plan.completion_tokens,
        "prompt_tokens": spent.fresh,
        "total_tokens": spent.fresh + plan.completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": spent.read,
            "cache_creation_tokens": spent.written,
            "cache_creation_token_details": {
                "ephemeral_5m_input_tokens": written["5m"],
                "ephemeral_1h_input_tokens": written["1h"],
            },
        },
        "completion_tokens_details": {"reasoning_tokens": plan.reasoning_tokens},
    }


def _cached(messages: list[Message], prompt: Prompt) -> bedrock_plan.Usage:
    counted = bedrock_plan.Prompt()
    for tool in prompt.tools or ():
        _add(counted, len(msgspec.json.encode(tool.function)), tool)
    for message in messages:
        if isinstance(message, AssistantMessage):
            counted.answered()
        if isinstance(message.content, list):
            for part in message.content:
                _add(counted, len(part.text) if isinstance(part, TextPart) else 0, part)
        else:
            counted.add(sum(map(len, texts(message))))
    return counted.usage()


def _add(counted: bedrock_plan.Prompt, characters: int, marked: Any) -> None:
    counted.add(characters)
    if marked.cache_control:
        counted.mark(marked.cache_control.ttl or "5m")
