"""Azure OpenAI and OpenAI-like deployments, for callers who do not speak chat (wire §4.1, §4.6, §8.7).

Chat callers pass through (`through.chat`). Answers are read by `openai_reader`.
"""

from __future__ import annotations

import msgspec

from services.errors import BadRequest
from services.translation import fields as f
from services.translation.conversation import Conversation
from services.translation.dialects import Sent, Upstream
from services.translation.efforts import effort_of, nearest
from services.translation.fields import Json
from services.translation.replies import Target
from services.translation.rules import apply_rules
from services.translation.turns import UNTOLD, check_inputs
from services.translation.upstreams.chat_form import (
    lost,
    messages,
    response_format,
    tool,
    tool_choice,
)
from services.translation.upstreams.openai_reader import OpenAIReader, answer

_UNKNOWN = ("truncation",)  # Responses only


def request(conversation: Conversation, target: Target) -> Sent:
    """Return the request. Raises BadRequest for what such a deployment, or its answer, cannot say."""
    facts = target.facts
    check_inputs(conversation, facts)
    body: Json = {"messages": messages(conversation, facts), **_parameters(conversation, target)}
    if conversation.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    ruled, dropped = apply_rules({name: f.raw(value) for name, value in body.items()}, facts.fields)
    path = "/chat/completions"
    if facts.model_in_body:
        ruled["model"] = f.raw(target.backend_model)
    else:
        path = f"{path}?api-version={target.api_version}"
    unsaid = (name for name in _UNKNOWN if name in conversation.settings)
    return Sent(path, msgspec.json.encode(ruled), (*dropped, *lost(conversation), *unsaid))


def _parameters(conversation: Conversation, target: Target) -> Json:
    out = {name: value for name, value in conversation.settings.items() if name not in _UNKNOWN}
    for name, harmless in UNTOLD.items():
        if out.pop(name, harmless) != harmless:
            own = conversation.name_of(name)
            raise BadRequest(f"'{own}' needs a chat completions client", param=own)
    optional: Json = {
        "max_tokens": _max_tokens(conversation, target),
        "reasoning_effort": _effort(conversation, target),
        "response_format": conversation.output and response_format(conversation.output),
    }
    if conversation.tools:
        optional["tools"] = [tool(one) for one in conversation.tools]
        optional["tool_choice"] = conversation.tool_choice and tool_choice(conversation.tool_choice)
        optional["parallel_tool_calls"] = conversation.parallel_tools
    return out | {name: value for name, value in optional.items() if value is not None}


def _max_tokens(conversation: Conversation, target: Target) -> int | None:
    """Return the limit, no higher than the model's own: more is refused, and never reached (wire §8.7)."""
    most = target.facts.max_output_tokens
    asked = conversation.max_tokens
    return min(asked, most) if asked and most else asked


def _effort(conversation: Conversation, target: Target) -> str | None:
    effort = effort_of(conversation.reasoning) if conversation.reasoning else ""
    return nearest(effort, target.facts.efforts) if effort else None


UPSTREAM = Upstream(request=request, answer=answer, reader=OpenAIReader)
