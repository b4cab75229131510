"""Azure's chat completions: which bodies are taken, and how the others are refused (wire §4.1, §5.1)."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from perf.simulator.executables import chat
from perf.simulator.executables.chat import Invalid
from perf.simulator.models import Model

_UNSUPPORTED = ("top_p", "presence_penalty", "frequency_penalty", "logit_bias", "stop", "top_logprobs")
"""Refused by models that reason."""
_ONLY_ONE = ("temperature", "n")
"""Of these they take 1 only."""
_NEWER = ("reasoning_effort", "verbosity", "prompt_cache_key", "safety_identifier")
"""Not in the schema of 2024-10-21; a later api-version is needed."""


class AzureMessage(chat.Message, forbid_unknown_fields=True, gc=False):
    """A message, with nothing in it that the schema does not name."""

    annotations: list[Any] | None = None
    """Part of every answer (wire §4.1), so a client that appends the answer to its conversation sends it."""


Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Limit = Annotated[int, msgspec.Meta(ge=1)]


class ChatBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The request body."""

    messages: Annotated[list[AzureMessage], msgspec.Meta(min_length=1)]
    model: Any = None
    stream: bool | None = None
    stream_options: chat.StreamOptions | None = None
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=4)] | None = None
    seed: int | None = None
    user: str | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: chat.ResponseFormat | None = None
    tools: Annotated[list[chat.Tool], msgspec.Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[chat.Function] | None = None
    function_call: str | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None


def check(body: ChatBody, model: Model, api_version: str) -> None:
    """Refuse what the model does not take. Raises Invalid, with the field in `param`."""
    if model.dimensions or model.responses_only:
        raise Invalid(
            "The chatCompletion operation does not work with the specified model, "
            f"{model.name}. Please choose different model and try again.",
            code="OperationNotSupported",
        )
    if api_version[:10] <= "2024-10-21":
        _refuse_newer(body)
    _check_combinations(body)
    if model.efforts:
        _check_reasoning(body, model)
    elif body.reasoning_effort is not None:
        raise Invalid("Unrecognized request argument supplied: reasoning_effort")
    if body.response_format is not None:
        _check_format(body)
    chat.check_messages(body.messages)


def _refuse_newer(body: ChatBody) -> None:
    for name in _NEWER:
        if getattr(body, name) is not None:
            raise Invalid(f"Unrecognized request argument supplied: {name}")


def _check_combinations(body: ChatBody) -> None:
    if body.stream_options is not None and not body.stream:
        raise Invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise Invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
        )
    if body.top_logprobs is not None and not body.logprobs:
        raise Invalid("'top_logprobs' is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    if not body.tools:
        _check_without_tools(body)
    if body.verbosity not in (None, "low", "medium", "high"):
        raise _unsupported_value("verbosity", body.verbosity, "'low', 'medium' and 'high'")


def _check_without_tools(body: ChatBody) -> None:
    if body.tools is not None:
        raise Invalid("[] is too short - 'tools'", param="tools", code="empty_array")
    for name in ("tool_choice", "parallel_tool_calls"):
        if getattr(body, name) is not None:
            raise Invalid(f"'{name}' is only allowed when 'tools' are specified.", param=name)
    if body.function_call is not None and not body.functions:
        raise Invalid(
            "'function_call' is only allowed when 'functions' are specified.", param="function_call"
        )


def _check_reasoning(body: ChatBody, model: Model) -> None:
    if body.max_tokens is not None:
        raise _unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
    for name in _UNSUPPORTED:
        if getattr(body, name) is not None:
            raise _unsupported(name)
    if body.logprobs:
        raise _unsupported("logprobs")
    for name in _ONLY_ONE:
        if getattr(body, name) not in (None, 1):
            raise _unsupported_value(name, getattr(body, name), "only the default (1)")
    if model.tools_or_effort and body.tools and body.reasoning_effort is not None:
        raise Invalid(
            f"Function tools with reasoning_effort are not supported for {model.snapshot}-dz-std in "
            "/v1/chat/completions. Please use /v1/responses instead.",
            param="reasoning_effort",
        )
    if body.reasoning_effort is not None and body.reasoning_effort not in model.efforts:
        raise _unsupported_value(
            "reasoning_effort", body.reasoning_effort, ", ".join(map(repr, model.efforts))
        )


def _unsupported(name: str, hint: str = "") -> Invalid:
    message = f"Unsupported parameter: '{name}' is not supported with this model.{hint}"
    return Invalid(message, param=name, code="unsupported_parameter")


def _unsupported_value(name: str, value: Any, supported: str) -> Invalid:
    message = (
        f"Unsupported value: '{name}' does not support {value!r} with this model. Supported: {supported}."
    )
    return Invalid(message, param=name, code="unsupported_value")


def _check_format(body: ChatBody) -> None:
    wanted = body.response_format
    assert wanted is not None
    if wanted.type == "json_object" and not any(
        re.search("json", message.text(), re.IGNORECASE) for message in body.messages
    ):
        raise Invalid(
            "'messages' must contain the word 'json' in some form, "
            "to use 'response_format' of type 'json_object'.",
            param="messages",
        )
    if wanted.type == "json_schema" and (wanted.json_schema is None or wanted.json_schema.schema is None):
        name = "response_format.json_schema" + ("" if wanted.json_schema is None else ".schema")
        raise Invalid(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if wanted.json_schema is not None and wanted.json_schema.strict:
        _check_strict(wanted.json_schema)


def _check_strict(wanted: chat.JsonSchema) -> None:
    waiting: list[Any] = [wanted.schema]
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, list):
            waiting += schema
        elif isinstance(schema, dict):
            if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
                raise Invalid(
                    f"Invalid schema for response_format '{wanted.name}': "
                    "'additionalProperties' is required to be supplied and to be false.",
                    param="response_format",
                )
            waiting += schema.values()
