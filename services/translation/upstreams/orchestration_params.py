"""What a model is told besides the messages, in `model.params` (wire §4.7, §5.5, §8.5).

Orchestration passes parameters on in the names of chat completions, but each family has its own way to be
asked to think.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import msgspec

from services.translation import fields as f
from services.translation.capabilities import ORCHESTRATION, RESPONSES, ModelFacts, facts_for
from services.translation.conversation import Conversation, Reasoning
from services.translation.efforts import effort_of, nearest
from services.translation.fields import Fields, Json
from services.translation.rules import apply_rules, suited
from services.translation.signatures import CLAUDE
from services.translation.turns import arranged
from services.translation.upstreams import cohere
from services.translation.upstreams.bedrock import stop_sequences
from services.translation.upstreams.chat_form import tool_choice
from services.translation.upstreams.claude_thinking import plan, sampling
from services.translation.upstreams.gemini import thinking_config
from services.translation.upstreams.orchestration_reader import ORIGIN

_Told = tuple[Json, tuple[str, ...]]
"""Parameters, and the names of what was left out."""

GEMINI = "gemini"
SIGNED_BY = (ORIGIN, CLAUDE)
"""Whose signatures Claude takes back through orchestration."""

_EFFORT = "reasoning_effort"


class Backend(msgspec.Struct, frozen=True):
    """A model behind orchestration."""

    name: str
    version: str
    facts: ModelFacts
    native: ModelFacts
    """Of its own deployments: their dialect tells the family."""

    @property
    def family(self) -> str:
        """The dialect of the model's own deployments; empty for a model that the catalogue does not know."""
        return self.native.dialect


_native = lru_cache(maxsize=256)(facts_for)


def backend(name: str, version: str, facts: ModelFacts) -> Backend:
    """Return the model that was asked for."""
    return Backend(name, version, facts, _native(name))


def fallback(name: str) -> Backend:
    """Return a model that the caller names in `orchestration.fallbacks`."""
    return backend(name, "latest", _native(name, ORCHESTRATION))


def parameters(conversation: Conversation, model: Backend) -> tuple[Fields, tuple[str, ...]]:
    """Return the model's parameters, and the names of what it does not take.

    Raises BadRequest for what the model does not take and that must not be left out.
    """
    fitting = suited(conversation, model.facts, {})
    dropped = fitting.dropped[len(conversation.dropped) :]
    params, unsaid = _REASONING.get(model.family, _by_effort)(fitting, model)
    params = dict(fitting.settings) | params | _tool_choice(fitting)
    if fitting.max_tokens is not None:
        # More than the model's own limit is refused, and never reached (wire §8.7).
        most = model.facts.max_output_tokens or fitting.max_tokens
        params["max_tokens"] = min(fitting.max_tokens, most)
    if fitting.stream:
        params["stream_options"] = {"include_usage": True}
    taken = {name: f.raw(value) for name, value in params.items() if name not in unsaid}
    ruled, refused = apply_rules(taken, model.facts.fields)
    return ruled, (*dropped, *unsaid, *refused)


def _tool_choice(conversation: Conversation) -> Json:
    if not conversation.tools:
        return {}
    choice = conversation.tool_choice and tool_choice(conversation.tool_choice)
    asked = {"tool_choice": choice, "parallel_tool_calls": conversation.parallel_tools}
    return {name: value for name, value in asked.items() if value is not None}


# --- thinking, by family (wire §5.5) -----------------------------------------------------------------


def _claude(conversation: Conversation, model: Backend) -> _Told:
    thoughts = plan(conversation, arranged(conversation, *SIGNED_BY)[1], model.facts)
    thinks = thoughts.thinking is not None
    params, unsampled = sampling(conversation.settings, thinks=thinks)
    if thinks:
        params["thinking"] = thoughts.thinking
    if thoughts.effort:
        params["output_config"] = {"effort": thoughts.effort}
    stops, kept = conversation.settings.get("stop", ()), stop_sequences(conversation)
    if kept:
        params["stop"] = kept
    lost = ("stop sequences of white space" if kept else "stop",) if len(kept) < len(stops) else ()
    return params, (*thoughts.dropped, *unsampled, *lost)


def _gemini(conversation: Conversation, model: Backend) -> _Told:
    if conversation.reasoning is None:
        return {}, ()
    config, honoured = thinking_config(conversation.reasoning, model.facts)
    return {"thinkingConfig": config} if config else {}, () if honoured else (_EFFORT,)


def _cohere(conversation: Conversation, model: Backend) -> _Told:
    reasoning = conversation.reasoning
    if reasoning is None or not effort_of(reasoning):
        return {}, ()
    return {"thinking": cohere.thinking(reasoning)}, ()


def _by_effort(conversation: Conversation, model: Backend) -> _Told:
    effort = effort_of(conversation.reasoning or Reasoning())
    if not effort:
        return {}, ()
    if conversation.tools and effort != "none" and model.native.tools_with_effort == RESPONSES:
        # The model takes both by Responses only, which orchestration has not (wire §5.1).
        return {}, (_EFFORT,)
    return {_EFFORT: nearest(effort, model.facts.efforts)}, ()


_REASONING: Mapping[str, Callable[[Conversation, Backend], _Told]] = {
    CLAUDE: _claude,
    GEMINI: _gemini,
    "cohere": _cohere,
}
