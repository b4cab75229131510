"""OpenAI's Responses API as clients send it, into the pivot (wire §8.10). Answers: `responses_stream`.

This is the way to models that do not speak it themselves: nothing is stored, so every request has to
bring the whole history. GPT models are reached by `through.responses`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from services.errors import BadRequest
from services.translation.callers.chat import LIMIT, MODES, Grammar, described
from services.translation.callers.decoding import (
    Form,
    decoded,
    decoded_whole,
    take,
    take_settings,
    take_whole,
    unknown,
)
from services.translation.callers.envelopes import openai_error
from services.translation.callers.responses_answer import ENCRYPTED, Asked
from services.translation.callers.responses_items import read_items
from services.translation.callers.responses_stream import ResponsesWriter, render
from services.translation.capabilities import RESPONSES
from services.translation.conversation import OutputFormat, Reasoning, Text, Tool, ToolChoice
from services.translation.dialects import Caller
from services.translation.fields import ABSENT, Fields, present

# --- the form ----------------------------------------------------------------------------------------

_Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class _Function(msgspec.Struct, tag_field="type", tag="function"):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Grammar(Grammar):
    type: str = "text"


class _Custom(msgspec.Struct, tag_field="type", tag="custom"):
    name: str
    description: str | None = None
    format: _Grammar | None = None


class _Kind(msgspec.Struct):
    type: str


class _Choice(msgspec.Struct):
    type: str
    name: str = ""
    mode: Literal["auto", "required"] = "auto"
    tools: list[_Choice] = []


class _Reasoning(msgspec.Struct):
    effort: _Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    name: str = "output"
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class _StreamOptions(msgspec.Struct):
    include_obfuscation: bool | None = None


class _TextOptions(msgspec.Struct):
    format: _Format | None = None
    verbosity: str | None = None


_word = msgspec.json.Decoder(str)
_words = msgspec.json.Decoder(list[str])
_flag = msgspec.json.Decoder(bool)
_labels = msgspec.json.Decoder(dict[str, str])
_list: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_kind = msgspec.json.Decoder(_Kind)
_function: Form[_Function] = Form(_Function)
_custom: Form[_Custom] = Form(_Custom)
_choice: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Literal["none", "auto", "required"] | _Choice)
_reasoning: Form[_Reasoning] = Form(_Reasoning)
_stream_options: Form[_StreamOptions] = Form(_StreamOptions)
_text_options: Form[_TextOptions] = Form(_TextOptions)

_LOGPROBS = "message.output_text.logprobs"
_SETTINGS = (
    "temperature", "top_p", "top_logprobs", "user", "safety_identifier", "prompt_cache_key", "service_tier",
    "store", "truncation",
)  # fmt: skip
_SAYS_NOTHING: Any = {
    "store": (False,),
    "service_tier": ("auto", "default"),
    "truncation": ("disabled",),
    "top_logprobs": (0,),
}
"""Values that ask for what is done anyway."""

_REFUSED = {
    "previous_response_id": "this model's answers are not stored; send the whole history in 'input'",
    "conversation": "this model's conversations are not stored; send the whole history in 'input'",
    "prompt": "SAP AI Core keeps no prompt templates; send the prompt itself",
}
_KNOWN = frozenset(
    {
        "background", "include", "input", "instructions", "max_output_tokens", "metadata", "model",
        "parallel_tool_calls", "reasoning", "stream", "stream_options", "text", "tool_choice", "tools",
        *_REFUSED, *_SETTINGS,
    }
)  # fmt: skip
_NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "logprobs": "include",
}
_CALLABLE = ("function", "custom")


# --- to the pivot ------------------------------------------------------------------------------------


def parse(body: Fields) -> Asked:
    """Return what the caller asks. Raises BadRequest naming the field."""
    _check_stateless(body)
    items = read_items(body)
    instructions = take(body, "instructions", _word)
    lost = _unsaid_of_stream(body)
    text = take_whole(body, "text", _text_options, lost) or _TextOptions()
    tools = _Tools(body)
    include = take(body, "include", _words) or []
    seals = ENCRYPTED in include or take(body, "store", _flag) is False
    return Asked(
        turns=items.turns,
        system=(*((Text(instructions),) if instructions else ()), *items.system),
        tools=tools.callable,
        tool_choice=tools.choice,
        parallel_tools=take(body, "parallel_tool_calls", _flag),
        max_tokens=take(body, "max_output_tokens", LIMIT),
        reasoning=_reasoned(take_whole(body, "reasoning", _reasoning, lost)),
        output=_output(text.format),
        settings=_settings(body, text, include),
        names=_NAMES,
        dropped=(
            *unknown(body, _KNOWN),
            *items.dropped,
            *dict.fromkeys(tools.dropped),
            *lost,
            *(name for name in include if name not in (ENCRYPTED, _LOGPROBS)),
        ),
        seals=seals,
        echo={"instructions": instructions, **_echo(body, text, tools)},
    )


def _echo(body: Fields, text: _TextOptions, tools: _Tools) -> dict[str, Any]:
    """Return members of the response object that repeat the request."""
    return {
        "metadata": take(body, "metadata", _labels) or {},
        "tools": tools.shown,
        "tool_choice": body["tool_choice"] if tools.choice else "auto",
        "text": _shown(text) | {"format": _shown(text.format or _Format("text"))},
    }


def _unsaid_of_stream(body: Fields) -> list[str]:
    """Return what of `stream_options` is not done: a stream is never padded against those who listen."""
    lost: list[str] = []
    options = take_whole(body, "stream_options", _stream_options, lost)
    return [*lost, "stream_options.include_obfuscation"] if options and options.include_obfuscation else lost


def _check_stateless(body: Fields) -> None:
    for name, why in _REFUSED.items():
        if present(body.get(name, ABSENT)):
            raise BadRequest(f"'{name}' cannot be honoured: {why}", param=name)
    if take(body, "background", _flag):
        raise BadRequest(
            "'background' cannot be honoured: this model's answers are not stored; use 'stream'",
            param="background",
        )


def _settings(body: Fields, text: _TextOptions, include: list[str]) -> dict[str, Any]:
    settings = take_settings(body, _SETTINGS)
    asked = {name: value for name, value in settings.items() if value not in _SAYS_NOTHING.get(name, ())}
    if text.verbosity is not None:
        asked["verbosity"] = text.verbosity
    if _LOGPROBS in include:
        asked["logprobs"] = True
    return asked


def _reasoned(asked: _Reasoning | None) -> Reasoning | None:
    if asked is None:
        return None
    return Reasoning(
        effort=asked.effort or "", shown=True if asked.summary or asked.generate_summary else None
    )


def _output(wanted: _Format | None) -> OutputFormat | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return OutputFormat()
    if wanted.schema is None:
        raise BadRequest("'text.format.schema' is required", param="text.format.schema")
    return OutputFormat(wanted.schema, wanted.name, wanted.description or "", wanted.strict)


def _shown(struct: msgspec.Struct) -> dict[str, Any]:
    """Return the members that say something."""
    members = {name: getattr(struct, name) for name in struct.__struct_fields__}
    if isinstance(struct, _Format) and struct.type != "json_schema":
        return {"type": struct.type}
    return {name: value for name, value in members.items() if value is not None}


# --- tools -------------------------------------------------------------------------------------------


class _Tools:
    """The tools of a request: those that can be called, and what became of the others."""

    def __init__(self, body: Fields) -> None:
        self.shown: list[msgspec.Raw] = []
        self.dropped: list[str] = []
        self.callable: tuple[Tool, ...] = tuple(self._read(body))
        self._offered = {tool.name for tool in self.callable}
        self.choice = self._chosen(take(body, "tool_choice", _choice))

    def _read(self, body: Fields) -> list[Tool]:
        tools = []
        asked: list[msgspec.Raw] = take(body, "tools", _list) or []
        for n, raw in enumerate(asked):
            place = f"tools[{n}]"
            kind = decoded(raw, place, _kind).type
            if kind not in _CALLABLE:
                self.dropped.append(kind)
                continue
            self.shown.append(raw)
            tools.append(self._custom(raw, place) if kind == "custom" else self._function(raw, place))
        return tools

    def _function(self, raw: msgspec.Raw, place: str) -> Tool:
        tool = decoded_whole(raw, place, _function, self.dropped)
        return Tool(tool.name, tool.description or "", tool.parameters or {}, tool.strict)

    def _custom(self, raw: msgspec.Raw, place: str) -> Tool:
        tool = decoded_whole(raw, place, _custom, self.dropped)
        if tool.format is not None and tool.format.type != "text":
            self.dropped.append("tools.format")
        return Tool(tool.name, described(tool.description, tool.format), freeform=True)

    def _chosen(self, wanted: str | _Choice | None) -> ToolChoice | None:
        """Return how tools are to be called; a choice among tools that were dropped is dropped with them."""
        if wanted is None or (not self.callable and wanted in ("auto", "none")):
            return None
        if not self.callable or (
            isinstance(wanted, _Choice) and wanted.type not in (*_CALLABLE, "allowed_tools")
        ):
            self.dropped.append("tool_choice")
            return None
        if isinstance(wanted, str):
            return MODES[wanted]
        if wanted.type == "allowed_tools":
            return self._allowed(wanted)
        self._check_offered(wanted.name, "tool_choice.name")
        return ToolChoice("tool", wanted.name)

    def _allowed(self, wanted: _Choice) -> ToolChoice | None:
        names = {one.name for one in wanted.tools if one.type in _CALLABLE}
        if not names:
            self.dropped.append("tool_choice")
            return None
        for n, one in enumerate(wanted.tools):
            if one.type in _CALLABLE:
                self._check_offered(one.name, f"tool_choice.tools[{n}].name")
            else:
                self.dropped.append(f"tool_choice.{one.type}")
        self.callable = tuple(tool for tool in self.callable if tool.name in names)
        return MODES[wanted.mode]

    def _check_offered(self, name: str, place: str) -> None:
        if name not in self._offered:
            raise BadRequest(f"'{place}' names a tool that is not offered: '{name}'", param=place)


CALLER = Caller(surface=RESPONSES, parse=parse, render=render, writer=ResponsesWriter, envelope=openai_error)
