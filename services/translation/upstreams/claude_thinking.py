"""How Claude is asked to think, by `invoke` or `converse`, and what it refuses while it does (wire §5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.errors import BadRequest
from services.translation.capabilities import ModelFacts
from services.translation.conversation import (
    Conversation,
    Reasoning,
    Redacted,
    Thinking,
    ToolResult,
    Turn,
)
from services.translation.efforts import MIN_BUDGET, budget_of, effort_of, nearest

DEFAULT_MAX_TOKENS = 8192
"""Of the answer, besides the thinking, for callers that set no limit (wire §8.2)."""

SAMPLING = ("temperature", "top_p", "top_k")
_LEAST_TOP_P = 0.95
_REASONING = "reasoning_effort"


class Plan(msgspec.Struct, frozen=True):
    """What becomes of a caller's wish that Claude thinks."""

    max_tokens: int
    thinking: Mapping[str, Any] | None = None
    effort: str = ""
    """For `output_config`; empty where the model takes none or the caller named none."""
    dropped: tuple[str, ...] = ()


def plan(conversation: Conversation, turns: Sequence[Turn], facts: ModelFacts) -> Plan:
    """Return how the model is to think. `turns` are the conversation's, as they go up."""
    reasoning = conversation.reasoning
    if reasoning is None or effort_of(reasoning) in ("", "none"):
        return Plan(_limit(conversation, facts, 0))
    budget = max(budget_of(reasoning), MIN_BUDGET)
    limit = _limit(conversation, facts, budget)
    effort = _named_effort(reasoning, facts)
    if not facts.thinking or _forced(conversation) or turns[-1].role == "assistant":
        return Plan(limit, effort=effort, dropped=(_REASONING,))
    if not _by_budget(reasoning, facts):
        return Plan(limit, {"type": "adaptive"}, effort)
    if budget >= limit:
        budget = max(limit // 2, MIN_BUDGET)
    if budget >= limit or _loop_without_thinking(turns):
        return Plan(limit, dropped=(_REASONING,))
    return Plan(limit, {"type": "enabled", "budget_tokens": budget})


def sampling(
    settings: Mapping[str, Any], *, thinks: bool, free: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the sampling parameters that may go up, under canonical names, and the names of the others.

    Bedrock's temperature ends at 1. Claude takes it or top_p, not both; while it `thinks` it takes no
    temperature but 1, no top_k, and no top_p below 0.95. Models that are `free` of such rules are not Claude.
    """
    if not settings:
        return {}, ()
    given = {name: settings[name] for name in SAMPLING if name in settings}
    if "temperature" in given:
        given["temperature"] = min(max(given["temperature"], 0), 1)
    refused: set[str] = set()
    if thinks:
        refused = {"temperature", "top_k"} | ({"top_p"} if given.get("top_p", 1) < _LEAST_TOP_P else set())
        if given.get("temperature") == 1:  # what it thinks at anyway
            del given["temperature"]
    elif "temperature" in given and not free:
        refused = {"top_p"}
    dropped = tuple(name for name in given if name in refused)
    for name in dropped:
        del given[name]
    return given, dropped


def check_end(conversation: Conversation, turns: Sequence[Turn], facts: ModelFacts) -> None:
    """Raise BadRequest when the model is to continue an assistant's turn and does not do that (trap 35)."""
    if turns[-1].role == "assistant" and "no-prefill" in facts.flags:
        raise BadRequest(
            "this model does not continue an assistant message; the last message has to be the user's",
            param=conversation.name_of("messages"),
        )


def _limit(conversation: Conversation, facts: ModelFacts, budget: int) -> int:
    if conversation.max_tokens is not None:
        return conversation.max_tokens
    wanted = DEFAULT_MAX_TOKENS + budget
    return min(wanted, facts.max_output_tokens or wanted)


def _named_effort(reasoning: Reasoning, facts: ModelFacts) -> str:
    named = reasoning.effort or (reasoning.budget or 0) > 0
    return nearest(effort_of(reasoning), facts.efforts) if named and "effort" in facts.flags else ""


def _by_budget(reasoning: Reasoning, facts: ModelFacts) -> bool:
    """Whether thinking is asked for in tokens: models that take both get what the caller said."""
    if facts.thinking != "either":
        return facts.thinking == "budget"
    return not reasoning.effort and (reasoning.budget or 0) > 0


def _forced(conversation: Conversation) -> bool:
    choice = conversation.tool_choice
    return bool(conversation.tools) and choice is not None and choice.mode in ("any", "tool")


def _loop_without_thinking(turns: Sequence[Turn]) -> bool:
    """Whether the model is in the middle of calling tools and its thoughts before that are lost.

    With a budget, Claude refuses to think on from there.
    """
    first: Turn | None = None
    for turn in reversed(turns):
        if turn.role == "assistant":
            first = turn
        elif not any(isinstance(block, ToolResult) for block in turn.blocks):
            break
    return first is not None and not isinstance(first.blocks[0], Thinking | Redacted)
