"""OpenAI chat completions as clients send them, into the pivot (wire §8.1 to §8.5).

Answers are in `chat_answer` and `chat_writer`. Requests to models that speak this dialect themselves pass
`through.chat` instead. One extension is ours: `orchestration`, an object of SAP's orchestration modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from services.errors import BadRequest
from services.translation.callers.chat_answer import render
from services.translation.callers.chat_messages import read_messages
from services.translation.callers.chat_parts import CacheControl, mark
from services.translation.callers.chat_writer import ChatWriter
from services.translation.callers.decoding import Form, take, take_settings, take_whole, unknown
from services.translation.callers.envelopes import openai_error
from services.translation.capabilities import CHAT
from services.translation.conversation import (
    SETTINGS,
    Conversation,
    OutputFormat,
    Reasoning,
    Tool,
    ToolChoice,
)
from services.translation.dialects import Caller
from services.translation.efforts import EFFORTS
from services.translation.fields import ABSENT, Fields, present

# --- the form ----------------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None


class Grammar(msgspec.Struct):
    """What the input of a custom tool has to fit."""

    syntax: str = ""
    definition: str = ""


class _Format(msgspec.Struct):
    type: str
    grammar: Grammar | None = None


class _Custom(msgspec.Struct):
    name: str
    description: str | None = None
    format: _Format | None = None


class _FunctionTool(msgspec.Struct, tag_field="type", tag="function"):
    function: _Function
    cache_control: CacheControl | None = None


class _CustomTool(msgspec.Struct, tag_field="type", tag="custom"):
    custom: _Custom
    cache_control: CacheControl | None = None


class _Name(msgspec.Struct):
    name: str


class _NamedFunction(msgspec.Struct, tag_field="type", tag="function"):
    function: _Name

    @property
    def name(self) -> str:
        return self.function.name


class _NamedCustom(msgspec.Struct, tag_field="type", tag="custom"):
    custom: _Name

    @property
    def name(self) -> str:
        return self.custom.name


class _Allowed(msgspec.Struct):
    mode: Literal["auto", "required"]
    tools: list[_NamedFunction | _NamedCustom]


class _AllowedTools(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    allowed_tools: _Allowed


class _Text(msgspec.Struct, tag_field="type", tag="text"):
    pass


class _JsonObject(msgspec.Struct, tag_field="type", tag="json_object"):
    pass


class _Schema(msgspec.Struct):
    name: str = "output"
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class _JsonSchema(msgspec.Struct, tag_field="type", tag="json_schema"):
    json_schema: _Schema


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_Decoder = msgspec.json.Decoder
_TOOLS: Form[list[_FunctionTool | _CustomTool]] = Form(list[_FunctionTool | _CustomTool])
_FUNCTIONS: Form[list[_Function]] = Form(list[_Function])
_CHOICE: Form[Any] = Form(Literal["none", "auto", "required"] | _NamedFunction | _NamedCustom | _AllowedTools)
_FUNCTION_CALL: Form[Any] = Form(Literal["none", "auto"] | _Name)
_FORMAT: Form[_Text | _JsonObject | _JsonSchema] = Form(_Text | _JsonObject | _JsonSchema)
_STREAM_OPTIONS: Form[_StreamOptions] = Form(_StreamOptions)
_FLAG, _WORD, _OBJECT = _Decoder(bool), _Decoder(str), _Decoder(dict[str, Any])

LIMIT: msgspec.json.Decoder[int] = _Decoder(Annotated[int, msgspec.Meta(ge=1)])
"""Of a number of tokens."""

_SETTINGS = SETTINGS.keys() - {"truncation"}
_RARE = frozenset(
    {
        "tools", "tool_choice", "functions", "function_call", "parallel_tool_calls", "max_completion_tokens",
        "reasoning_effort", "response_format", "stream_options", "orchestration",
    }
)  # fmt: skip
"""What most short requests have nothing of."""
_KNOWN = frozenset({"model", "messages", "max_tokens", "stream", *_RARE, *_SETTINGS})

_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "tools": "functions", "tool_choice": "function_call"}
MODES = {"none": ToolChoice("none"), "auto": ToolChoice("auto"), "required": ToolChoice("any")}


# --- to the pivot ------------------------------------------------------------------------------------


def parse(body: Fields) -> Conversation:
    """Return what the caller asks. Raises BadRequest naming the field."""
    dropped = list(unknown(body, _KNOWN))
    system, turns = read_messages(body, dropped)
    members = {} if _RARE.isdisjoint(body) else _rare(body, dropped)
    members.setdefault("max_tokens", take(body, "max_tokens", LIMIT))
    return Conversation(
        turns=turns,
        system=system,
        settings=take_settings(body, _SETTINGS),
        dropped=tuple(dict.fromkeys(dropped)),
        **members,
    )


def _rare(body: Fields, dropped: list[str]) -> dict[str, Any]:
    """Return the members of the conversation that the `_RARE` fields are for."""
    names = {name: own for name, own in _OTHER_NAMES.items() if present(body.get(own, ABSENT))}
    legacy = "tools" in names
    tools = _legacy_tools(body, dropped) if legacy else _tools_of(body, dropped)
    tools, choice = _chosen(body, tools, dropped)
    if "max_tokens" in names and present(body.get("max_tokens", ABSENT)):
        dropped.append("max_tokens")
    return {
        "tools": tools,
        "tool_choice": choice,
        "parallel_tools": False if legacy else take(body, "parallel_tool_calls", _FLAG),
        "max_tokens": take(body, names.get("max_tokens", "max_tokens"), LIMIT),
        "reasoning": _reasoning(body),
        "output": _output(body, dropped),
        "names": names,
        "orchestration": take(body, "orchestration", _OBJECT),
        "wants_usage": wants_usage(body, dropped),
    }


def wants_usage(body: Fields, dropped: list[str]) -> bool:
    """Whether a stream is to tell its usage. Raises BadRequest."""
    options = take_whole(body, "stream_options", _STREAM_OPTIONS, dropped)
    return bool(options and options.include_usage)


def _reasoning(body: Fields) -> Reasoning | None:
    effort = take(body, "reasoning_effort", _WORD)
    if effort is not None and effort not in EFFORTS:
        words = ", ".join(EFFORTS)
        raise BadRequest(f"'reasoning_effort' must be one of: {words}", param="reasoning_effort")
    return None if effort is None else Reasoning(effort=effort)


def _output(body: Fields, dropped: list[str]) -> OutputFormat | None:
    wanted = take_whole(body, "response_format", _FORMAT, dropped)
    if isinstance(wanted, _JsonSchema):
        schema = wanted.json_schema
        return OutputFormat(schema.schema, schema.name, schema.description or "", schema.strict)
    return OutputFormat() if isinstance(wanted, _JsonObject) else None


# --- tools -------------------------------------------------------------------------------------------


def _tools_of(body: Fields, dropped: list[str]) -> tuple[Tool, ...]:
    asked = take_whole(body, "tools", _TOOLS, dropped)
    return tuple(_tool(tool, dropped) for tool in asked or ())


def _tool(tool: _FunctionTool | _CustomTool, dropped: list[str]) -> Tool:
    if isinstance(tool, _FunctionTool):
        return _function(tool.function, tool.cache_control or tool.function.cache_control)
    custom, form = tool.custom, tool.custom.format or _Format("text")
    if form.type != "text":
        dropped.append("tools.custom.format")
    description = described(custom.description, form.grammar)
    return Tool(custom.name, description, cache=mark(tool.cache_control), freeform=True)


def described(description: str | None, grammar: Grammar | None) -> str:
    """Return the description of a custom tool. A grammar becomes a part of it: nobody enforces it."""
    rule = ""
    if grammar is not None and grammar.definition:
        rule = f"The input has to fit this {grammar.syntax} grammar:\n{grammar.definition}"
    return "\n\n".join(filter(None, (description, rule)))


def _function(function: _Function, control: CacheControl | None) -> Tool:
    schema = function.parameters or {}
    return Tool(function.name, function.description or "", schema, function.strict, mark(control))


def _legacy_tools(body: Fields, dropped: list[str]) -> tuple[Tool, ...]:
    if present(body.get("tools", ABSENT)):
        raise BadRequest("'functions' and 'tools' exclude each other; use 'tools'", param="functions")
    asked = take_whole(body, "functions", _FUNCTIONS, dropped) or []
    return tuple(_function(one, one.cache_control) for one in asked)


def _chosen(
    body: Fields, tools: tuple[Tool, ...], dropped: list[str]
) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    """Return the tools that may be called, and how."""
    wanted, place = take_whole(body, "tool_choice", _CHOICE, dropped), "tool_choice"
    older = take_whole(body, "function_call", _FUNCTION_CALL, dropped)
    if wanted is None:
        wanted, place = older, "function_call"
    elif older is not None:
        dropped.append("function_call")
    match wanted:
        case None:
            return tools, None
        case str():
            return tools, MODES[wanted]
        case _AllowedTools(allowed_tools=allowed):
            place += ".allowed_tools.tools"
            names = {_offered(one.name, tools, f"{place}[{n}]") for n, one in enumerate(allowed.tools)}
            return tuple(tool for tool in tools if tool.name in names), MODES[allowed.mode]
        case _:
            return tools, ToolChoice("tool", _offered(wanted.name, tools, place))


def _offered(name: str, tools: Sequence[Tool], place: str) -> str:
    if all(tool.name != name for tool in tools):
        raise BadRequest(f"'{place}' names a tool that is not offered: '{name}'", param=place)
    return name


CALLER = Caller(surface=CHAT, parse=parse, render=render, writer=ChatWriter, envelope=openai_error)
