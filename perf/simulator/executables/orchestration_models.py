"""The model behind orchestration: which parameters it takes, and what it decides (wire §4.7, §5.5).

GPT models check what they are sent as they do behind chat completions. For the others, a parameter that is
not in the family's table is refused with a text that names parameter and model (u).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from perf.simulator import text
from perf.simulator.executables import azure_body, azure_chat, chat, orchestration_usage, signatures
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.orchestration_body import ModelDetails, Prompt
from perf.simulator.executables.orchestration_errors import LLM, Failure, fails
from perf.simulator.executables.orchestration_messages import (
    AssistantMessage,
    DeveloperMessage,
    FilePart,
    Message,
    SystemMessage,
    ToolMessage,
    role,
)
from perf.simulator.executables.validation import BadBody, convert, decode
from perf.simulator.models import MODELS, Model

API_VERSION = "2025-04-01-preview"
"""The one orchestration calls Azure with (u)."""

_AZURE = msgspec.json.Decoder(azure_body.ChatBody)

THOUGHTS = 8
"""Tokens of thoughts that are shown."""

_BASIC = frozenset({"max_tokens", "temperature", "top_p", "stop", "stream_options", "tool_choice"})
_COMMON = _BASIC | {"max_completion_tokens", "parallel_tool_calls"}


class Family(msgspec.Struct, frozen=True):
    """What the models of one provider have in common."""

    params: frozenset[str] = _COMMON | {
        "n",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "reasoning_effort",
    }
    answer_id: str = "chatcmpl-{}"
    call_id: str = "call_{}"
    formats: bool = True
    """Whether it takes `response_format` (wire §5.3)."""
    fenced: bool = False
    """Whether structured answers come in fences (wire §5.2)."""
    signs: bool = False
    """Whether thoughts are signed."""
    fields: Mapping[str, Any] = {}
    """Members that its answers have besides."""
    details: bool = True
    """Whether usage comes with details."""


_CLAUDE = Family(
    _COMMON | {"top_k", "stop_sequences", "thinking", "output_config", "reasoning_effort"},
    "msg_bdrk_{}",
    "toolu_bdrk_{}",
    fenced=True,
    signs=True,
    fields={"citations": []},
)
_FAMILIES = {
    "azure-openai": Family(fields={"system_fingerprint": "fp_5158a1b5d3"}),
    "aws-bedrock": Family(_COMMON, formats=False),
    "gcp-vertexai": Family(
        Family().params | {"top_k", "generationConfig", "thinkingConfig"},
        "",
        signs=True,
        fields={"citations": []},
        details=False,
    ),
    "aicore-cohere": Family(_BASIC | {"parallel_tool_calls", "thinking"}, formats=False),
}


def family(model: Model) -> Family:
    """The family of a model."""
    return _CLAUDE if model.claude else _FAMILIES.get(model.executable, Family())


class Reasoned(msgspec.Struct):
    """What a model decided."""

    plan: chat.Plan
    choices: int
    thoughts: tuple[str, ...]
    """Shown; empty if it hides them or has none."""
    usage: dict[str, Any]
    shows_usage: bool
    """Whether a stream ends with the usage."""

    @property
    def signature(self) -> str:
        """Of the thoughts."""
        return signatures.sign("".join(self.thoughts))


def find(details: ModelDetails) -> Model:
    """The model of that name and version. Raises Failure (wire §6.2)."""
    model = MODELS.get(details.name)
    if model is None or model.dimensions or model.responses_only:
        raise Failure(f"400 - Request Body: Model {details.name} not supported.", "Request Body")
    if details.version not in ("latest", model.version):
        raise fails(LLM, f"Model {details.name} in version {details.version} not found.")
    return model


def reason(
    model: Model,
    messages: list[Message],
    prompt: Prompt,
    params: dict[str, Any],
    *,
    stream: bool,
    answer_tokens: int,
) -> Reasoned:
    """Let the model answer. Raises Failure for what it does not take."""
    try:
        decide = _reason_gpt if model.executable == "azure-openai" else _reason
        return decide(model, messages, prompt, params, stream, answer_tokens)
    except (Invalid, BadBody) as error:
        raise fails(LLM, error.problem.message, error.problem.status) from error


def _reason_gpt(
    model: Model,
    messages: list[Message],
    prompt: Prompt,
    params: dict[str, Any],
    stream: bool,
    answer_tokens: int,
) -> Reasoned:
    document = params | {"messages": [_azure_message(message) for message in messages]}
    if stream:
        document["stream"] = True
    for name in ("tools", "response_format"):
        value = getattr(prompt, name)
        if value:
            document[name] = _without_marks(msgspec.to_builtins(value))
    body = decode(_AZURE, msgspec.json.encode(document))
    azure_body.check(body, model, API_VERSION)
    plan = chat.plan(azure_chat.wish(body, model, answer_tokens))
    given = chat.prompt_tokens(body.messages, [tool.function for tool in body.tools or ()])
    usage = orchestration_usage.inclusive(given, plan, body.n or 1)
    return Reasoned(plan, body.n or 1, (), usage, _shows_usage(params))


def _azure_message(message: Message) -> dict[str, Any]:
    """The message without what is only for other models."""
    shown: dict[str, Any] = _without_marks(msgspec.to_builtins(message))
    shown.pop("reasoning_content", None)
    return shown


def _without_marks(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_marks(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_marks(one) for name, one in value.items() if name != "cache_control"}
    return value


def _reason(
    model: Model,
    messages: list[Message],
    prompt: Prompt,
    params: dict[str, Any],
    stream: bool,
    answer_tokens: int,
) -> Reasoned:
    kin = family(model)
    _check_params(model, kin, params, stream)
    if model.executable == "orchestration":
        _check_no_system(model, messages)
    if prompt.response_format and not kin.formats:
        raise Invalid(f"Unsupported parameter 'response_format' for model '{model.name}'.")
    if model.claude:
        _check_claude(model, params)
        _check_signatures(messages)
    said = [_chat_message(message) for message in messages]
    chat.check_messages(said)
    functions = _functions(prompt)
    thoughts = text.filler(THOUGHTS) if _thinks(params) else ()
    wish = chat.Wish(
        last=said[-1],
        default_tokens=answer_tokens,
        functions=functions,
        tool_choice=params.get("tool_choice"),
        parallel=params.get("parallel_tool_calls") is not False,
        response_format=_format(prompt),
        stop=_stops(params),
        limit=params.get("max_completion_tokens") or params.get("max_tokens"),
        reasoning_tokens=len(thoughts),
    )
    plan = chat.plan(wish)
    if kin.fenced and wish.response_format and wish.response_format.type != "text" and not plan.calls:
        plan.tokens = ("```json\n", *plan.tokens, "\n```")
    choices = params.get("n") or 1
    if model.claude:
        usage = orchestration_usage.additive(messages, prompt, plan)
    else:
        given = chat.prompt_tokens(said, functions)
        usage = orchestration_usage.inclusive(given, plan, choices, details=kin.details)
    return Reasoned(plan, choices, thoughts[: plan.reasoning_tokens], usage, _shows_usage(params))


def _check_params(model: Model, kin: Family, params: dict[str, Any], stream: bool) -> None:
    for name in params:
        if name not in kin.params:
            raise Invalid(f"Unsupported parameter '{name}' for model '{model.name}'.")
    if "stream_options" in params and not stream:
        raise Invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.")


def _check_no_system(model: Model, messages: list[Message]) -> None:
    if any(isinstance(message, SystemMessage | DeveloperMessage) for message in messages):
        raise Invalid(f"System prompts are not supported for model '{model.name}'.")


def _check_claude(model: Model, params: dict[str, Any]) -> None:
    rules = model.claude
    assert rules is not None
    thinking = params.get("thinking") or {}
    kind = thinking.get("type", "disabled")
    if kind not in (*rules.thinking, "disabled"):
        raise Invalid(f"{kind} thinking is not supported on this model")
    if kind == "enabled" and thinking.get("budget_tokens", 0) < 1024:
        raise Invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    sampled = [name for name in ("temperature", "top_p", "top_k") if params.get(name) is not None]
    if sampled and not rules.sampling:
        raise Invalid(f"`{sampled[0]}` is deprecated for this model.")
    if kind != "disabled" and params.get("temperature", 1) != 1:
        raise Invalid("`temperature` may only be set to 1 when thinking is enabled.")
    if "output_config" in params and not rules.efforts:
        raise Invalid("output_config: Extra inputs are not permitted")


def _check_signatures(messages: list[Message]) -> None:
    for place, message in enumerate(messages):
        blocks = message.reasoning_content if isinstance(message, AssistantMessage) else ()
        for number, block in enumerate(blocks or ()):
            if not signatures.genuine(block.content, block.signature):
                raise Invalid(f"messages.{place}.content.{number}: Invalid `signature` in `thinking` block")


def _thinks(params: dict[str, Any]) -> bool:
    """Whether any of the families' ways to ask for thoughts is used (wire §5.5)."""
    if params.get("reasoning_effort") not in (None, "none"):
        return True
    if (params.get("thinking") or {}).get("type", "disabled") != "disabled":
        return True
    generation = params.get("generationConfig") or {}
    config = params.get("thinkingConfig") or generation.get("thinkingConfig") or {}
    return bool(config) and config.get("thinkingBudget") != 0


def _chat_message(message: Message) -> chat.Message:
    """In the terms of the shared planner; a file counts as an empty text."""
    content: chat.Content = None
    if isinstance(message.content, str):
        content = message.content
    elif message.content:
        content = [
            chat.Part("text", text="") if isinstance(part, FilePart) else convert(_part(part), chat.Part)
            for part in message.content
        ]
    calls = message.tool_calls if isinstance(message, AssistantMessage) else UNSET
    return chat.Message(
        role(message),  # type: ignore[arg-type]
        content,
        tool_calls=convert(msgspec.to_builtins(calls), list[chat.ToolCall]) if calls else None,
        tool_call_id=message.tool_call_id if isinstance(message, ToolMessage) else None,
    )


def _part(part: Any) -> Any:
    return _without_marks(msgspec.to_builtins(part))


def _functions(prompt: Prompt) -> list[chat.Function]:
    found = []
    for tool in prompt.tools or ():
        schema = tool.function.parameters
        raw = msgspec.Raw(msgspec.json.encode(schema)) if schema else msgspec.Raw()
        found.append(chat.Function(tool.function.name, tool.function.description or None, raw))
    return found


def _format(prompt: Prompt) -> chat.ResponseFormat | None:
    if not prompt.response_format:
        return None
    return convert(msgspec.to_builtins(prompt.response_format), chat.ResponseFormat)


def _stops(params: dict[str, Any]) -> list[str]:
    stop = params.get("stop") or params.get("stop_sequences") or []
    return [stop] if isinstance(stop, str) else list(stop)


def _shows_usage(params: dict[str, Any]) -> bool:
    return bool((params.get("stream_options") or {}).get("include_usage"))
