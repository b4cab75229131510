"""Azure's Responses API: which bodies are taken, and how the others are refused (wire §4.2, §5.1).

Choices where the wire document is unsure (u): `conversation`, `prompt` and `context_management` are unknown
parameters; a background response must be stored; models that reason refuse every temperature, also 1.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeGuard

import msgspec

from perf.simulator.errors import Problem
from perf.simulator.executables import chat, strictness
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.responses_items import Item, Message
from perf.simulator.executables.validation import BadBody, convert
from perf.simulator.models import Model

MIN_OUTPUT_TOKENS = 16

_UNSUPPORTED = ("temperature", "top_p", "top_logprobs")
"""Refused by models that reason."""
_CHOICES = ("none", "auto", "required")
ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
_INCLUDABLE = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    ENCRYPTED,
    LOGPROBS,
)


class _Strict(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Has no members but those it names."""


class StreamOptions(_Strict, gc=False):
    """`stream_options`."""

    include_obfuscation: bool = True


class ReasoningOptions(_Strict, gc=False):
    """`reasoning`."""

    effort: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class Format(_Strict, gc=False):
    """`text.format`."""

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")] | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextOptions(_Strict, gc=False):
    """`text`."""

    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Tool(_Strict, gc=False):
    """A function that may be called. Strict unless it says otherwise (wire §8.8)."""

    type: Literal["function"]
    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    parameters: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None

    def function(self) -> chat.Function:
        """In the terms of the shared planner."""
        raw = msgspec.Raw(msgspec.json.encode(self.parameters)) if self.parameters else msgspec.Raw()
        return chat.Function(self.name, self.description, raw)


class CompactBody(_Strict, gc=False):
    """The request body of `responses/compact`."""

    input: str | list[Item]
    model: Any = None
    instructions: str | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None


class Body(_Strict, gc=False):
    """The request body of `responses`. `model` is ignored, the deployment decides."""

    input: str | list[Item]
    model: Any = None
    instructions: str | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    background: bool | None = None
    include: list[str] | None = None
    max_output_tokens: int | None = None
    max_tool_calls: Annotated[int, msgspec.Meta(ge=1)] | None = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningOptions | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    text: TextOptions | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: Annotated[list[Tool], msgspec.Meta(max_length=128)] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None

    @property
    def effort(self) -> str | None:
        """`reasoning.effort`."""
        return self.reasoning.effort if self.reasoning else None

    @property
    def format(self) -> Format:
        """`text.format`, plain text where nothing is said."""
        return (self.text and self.text.format) or Format("text")

    @property
    def choice(self) -> str | dict[str, Any]:
        """`tool_choice`, in the terms of the shared planner."""
        chosen = self.tool_choice or "auto"
        return str(chosen.get("mode", "auto")) if _allows(chosen) else chosen

    @property
    def functions(self) -> list[chat.Function]:
        """The tools that may be called."""
        chosen = self.tool_choice
        names = {tool.get("name") for tool in chosen["tools"]} if _allows(chosen) else None
        return [tool.function() for tool in self.tools or () if names is None or tool.name in names]


def _allows(choice: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(choice, dict) and choice.get("type") == "allowed_tools"


def read(raw: bytes, model: Model) -> Body:
    """Decode a body and refuse what needs no memory to be refused. Raises BadBody and Invalid."""
    document = _document(raw, Body)
    _check_tool_types(document.get("tools"), model)
    body = convert(document, Body)
    _check(body, model)
    return body


def read_compact(raw: bytes) -> CompactBody:
    """The same for `responses/compact`. Raises BadBody."""
    return convert(_document(raw, CompactBody), CompactBody)


def _document(raw: bytes, kind: type[Body | CompactBody]) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(Problem(400, f"We could not parse the JSON body of your request. ({error})")) from error
    if not isinstance(document, dict):
        raise BadBody(Problem(400, "The JSON body of your request must be an object."))
    for name in document:
        if name not in kind.__struct_fields__:
            raise Invalid(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    if isinstance(document.get("input"), list):
        document["input"] = [_typed(item) for item in document["input"]]
    return document


def _typed(item: Any) -> Any:
    """A message may come without its type."""
    return {"type": "message", **item} if isinstance(item, dict) and "role" in item else item


def _check_tool_types(tools: Any, model: Model) -> None:
    if not isinstance(tools, list):
        return
    kinds = {str(tool.get("type")) for tool in tools if isinstance(tool, dict)}
    *others, last = sorted(kinds - {"function"}) or [""]
    if last:
        named = f"{', '.join(others)} and {last}" if others else last
        raise Invalid(
            f"The following tools are not allowed for model '{model.name}': {named}.", param="tools"
        )


def _check(body: Body, model: Model) -> None:
    if model.dimensions:
        raise Invalid(
            f"The responses operation does not work with the specified model, {model.name}. "
            "Please choose different model and try again.",
            code="OperationNotSupported",
        )
    if body.max_output_tokens is not None and body.max_output_tokens < MIN_OUTPUT_TOKENS:
        raise Invalid(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= "
            f"{MIN_OUTPUT_TOKENS}, but got {body.max_output_tokens} instead.",
            param="max_output_tokens",
            code="integer_below_min_value",
        )
    if body.stream_options is not None and not body.stream:
        raise Invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    if body.background and body.store is False:
        raise Invalid("Background mode requires 'store' to be true.", param="background")
    for include in body.include or ():
        if include not in _INCLUDABLE:
            raise _unknown_value(include, _INCLUDABLE, "include")
    _check_reasoning(body, model)
    _check_tools(body)
    _check_format(body)


def _unknown_value(value: str, known: tuple[str, ...], param: str) -> Invalid:
    return Invalid(
        f"Invalid value: '{value}'. Supported values are: {', '.join(map(repr, known))}.",
        param=param,
        code="invalid_value",
    )


def _check_reasoning(body: Body, model: Model) -> None:
    if not model.efforts:
        if body.effort is not None:
            raise _unsupported("reasoning.effort")
        if ENCRYPTED in (body.include or ()):
            raise Invalid("Encrypted content is not supported with this model.", param="include")
        return
    for name in _UNSUPPORTED:
        if getattr(body, name) is not None:
            raise _unsupported(name)
    if body.effort is not None and body.effort not in model.efforts:
        raise Invalid(
            f"Unsupported value: '{body.effort}' is not supported with the '{model.name}' model. "
            f"Supported values are: {', '.join(map(repr, model.efforts))}.",
            param="reasoning.effort",
            code="unsupported_value",
        )


def _unsupported(name: str) -> Invalid:
    return Invalid(f"Unsupported parameter: '{name}' is not supported with this model.", param=name)


def _check_tools(body: Body) -> None:
    for place, tool in enumerate(body.tools or ()):
        fault = None if tool.strict is False else strictness.complaint(tool.parameters or {"type": "object"})
        if fault is not None:
            raise Invalid(
                f"Invalid schema for function '{tool.name}': {fault}",
                param=f"tools[{place}].parameters",
                code="invalid_function_parameters",
            )
    choice = body.tool_choice
    if isinstance(choice, str) and choice not in _CHOICES:
        raise _unknown_value(choice, _CHOICES, "tool_choice")
    if choice == "required" and not body.tools:
        raise Invalid("Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice")
    if isinstance(choice, dict):
        _check_named(choice, {tool.name for tool in body.tools or ()})


def _check_named(choice: dict[str, Any], known: set[str]) -> None:
    named = choice.get("tools") or [{}] if _allows(choice) else [choice]
    for tool in named:
        if tool.get("type") != "function" or tool.get("name") not in known:
            raise Invalid(
                f"Tool choice '{tool.get('name') or tool.get('type')}' not found in 'tools' parameter.",
                param="tool_choice",
            )


def _check_format(body: Body) -> None:
    wanted = body.format
    if wanted.type == "json_object" and not re.search("json", _said(body), re.IGNORECASE):
        raise Invalid(
            "Response input messages must contain the word 'json' in some form to use 'text.format' "
            "of type 'json_object'.",
            param="input",
        )
    if wanted.type != "json_schema":
        return
    for name in ("name", "schema"):
        if getattr(wanted, name) is None:
            where = f"text.format.{name}"
            raise Invalid(
                f"Missing required parameter: '{where}'.", param=where, code="missing_required_parameter"
            )
    fault = strictness.complaint(wanted.schema) if wanted.strict else None
    if fault is not None:
        raise Invalid(
            f"Invalid schema for response_format '{wanted.name}': {fault}",
            param="text.format.schema",
            code="invalid_json_schema",
        )


def _said(body: Body) -> str:
    if isinstance(body.input, str):
        return body.input
    messages = (item for item in body.input if isinstance(item, Message))
    return str([message.content for message in messages])
