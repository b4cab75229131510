"""Gemini's `generateContent` as clients send it, into the pivot (wire §4.5, §8.4).

Gemini models themselves are served by `through.gemini`. Here it is about every other model: what only
Google's own servers can do is refused, or dropped by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.translation.callers.envelopes import google_error
from services.translation.callers.gemini_answer import Writer, render
from services.translation.callers.gemini_contents import Contents
from services.translation.callers.gemini_message import Message
from services.translation.callers.gemini_schema import json_schema
from services.translation.conversation import Conversation, OutputFormat, Reasoning, Tool, ToolChoice
from services.translation.dialects import Caller
from services.translation.efforts import EFFORTS
from services.translation.fields import Fields

_SETTINGS: Mapping[str, tuple[str, type]] = {
    "temperature": ("temperature", float),
    "top_p": ("topP", float),
    "top_k": ("topK", int),
    "stop": ("stopSequences", list[str]),
    "seed": ("seed", int),
    "n": ("candidateCount", int),
    "presence_penalty": ("presencePenalty", float),
    "frequency_penalty": ("frequencyPenalty", float),
    "logprobs": ("responseLogprobs", bool),
    "top_logprobs": ("logprobs", int),
}
"""Canonical name → member of `generationConfig`, and its type."""

_NAMES: Mapping[str, str] = {
    "messages": "contents",
    "system": "systemInstruction",
    "tool_choice": "toolConfig.functionCallingConfig",
    "max_tokens": "generationConfig.maxOutputTokens",
    "reasoning_effort": "generationConfig.thinkingConfig",
    "response_format": "generationConfig.responseMimeType",
    **{name: f"generationConfig.{own}" for name, (own, _) in _SETTINGS.items()},
}

_MODES: Mapping[str, ToolChoice] = {
    "AUTO": ToolChoice("auto"),
    "VALIDATED": ToolChoice("auto"),
    "ANY": ToolChoice("any"),
    "NONE": ToolChoice("none"),
}
_LIMITING = ("ANY", "VALIDATED")
"""Modes that a list of functions goes with."""

_JSON = "application/json"
_TEXT = ("", "text/plain")
_SCHEMAS = ("responseSchema", "responseJsonSchema")


def parse(body: Fields) -> Conversation:
    """Return what the caller asks. Raises BadRequest naming the field."""
    return _Reading(Message(body)).conversation()


class _Reading:
    """Reads one request; `dropped` fills on the way."""

    def __init__(self, request: Message) -> None:
        self._request = request
        self._contents = Contents()
        self._dropped: list[str] = []

    def conversation(self) -> Conversation:
        """Return it all. Raises BadRequest."""
        request = self._request
        contents = request.messages("contents")
        if not contents:
            raise request.refusal("contents", "is required")
        if request.get("cachedContent", str):
            raise request.refusal("cachedContent", "cannot be used: SAP AI Core keeps no contents")
        if request.messages("safetySettings"):
            self._dropped.append("safetySettings")
        tools, choice = self._calling(self._tools())
        config = request.message("generationConfig") or Message({}, "generationConfig")
        _check_modalities(config)
        read = Conversation(
            turns=self._contents.turns(contents),
            system=self._contents.system(request.message("systemInstruction")),
            tools=tools,
            tool_choice=choice,
            max_tokens=config.whole("maxOutputTokens"),
            reasoning=self._reasoning(config),
            output=_output(config),
            settings=_settings(config),
            names=_NAMES,
            wants_usage=True,
        )
        self._leave(config)
        self._leave(request)
        dropped = dict.fromkeys((*self._contents.dropped, *self._dropped))
        return msgspec.structs.replace(read, dropped=tuple(dropped))

    def _leave(self, message: Message) -> None:
        self._dropped += message.unread()

    # tools

    def _tools(self) -> tuple[Tool, ...]:
        tools = []
        for group in self._request.messages("tools"):
            tools += [self._tool(function) for function in group.messages("functionDeclarations")]
            self._leave(group)
        return tuple(tools)

    def _tool(self, function: Message) -> Tool:
        parameters = function.get("parameters", dict[str, Any])
        schema = function.get("parametersJsonSchema", dict[str, Any])
        tool = Tool(
            name=function.need("name", str),
            description=function.get("description", str) or "",
            schema=json_schema(parameters) if schema is None and parameters else schema or {},
        )
        self._leave(function)
        return tool

    def _calling(self, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], ToolChoice | None]:
        """Return the tools that may be called, and whether one has to be."""
        config = self._request.message("toolConfig")
        if config is None:
            return tools, None
        calling = config.message("functionCallingConfig") or Message({})
        self._leave(config)
        mode, allowed = calling.word("mode"), calling.get("allowedFunctionNames", list[str]) or []
        self._leave(calling)
        if mode and mode not in _MODES:
            raise calling.refusal("mode", "must be AUTO, ANY, VALIDATED or NONE")
        if mode == "VALIDATED":
            self._dropped.append(f"{calling.path('mode')}=VALIDATED")
        if not allowed:
            return tools, _MODES.get(mode)
        if mode not in _LIMITING or not {tool.name for tool in tools}.issuperset(allowed):
            raise calling.refusal("allowedFunctionNames", "can name declared functions, in mode ANY")
        if mode == "ANY" and len(allowed) == 1:
            return tools, ToolChoice("tool", allowed[0])
        return tuple(tool for tool in tools if tool.name in allowed), _MODES[mode]

    # generationConfig

    def _reasoning(self, config: Message) -> Reasoning | None:
        """Return how much to think; thoughts are hidden unless they are asked for, as at Google."""
        thinking = config.message("thinkingConfig")
        if thinking is None:
            return None
        shown = thinking.get("includeThoughts", bool) or False
        budget, effort = thinking.whole("thinkingBudget"), thinking.word("thinkingLevel").lower()
        if effort and effort not in EFFORTS:
            raise thinking.refusal("thinkingLevel", "must be MINIMAL, LOW, MEDIUM or HIGH")
        self._leave(thinking)
        if not effort and (budget == -1 or (shown and budget is None)):
            return Reasoning(adaptive=True, shown=shown)  # Google's models think without being told to
        return Reasoning(effort=effort, budget=budget, shown=shown)


def _settings(config: Message) -> dict[str, Any]:
    taken = {
        name: config.whole(own) if kind is int else config.get(own, kind)
        for name, (own, kind) in _SETTINGS.items()
    }
    return {name: value for name, value in taken.items() if value is not None}


def _check_modalities(config: Message) -> None:
    wanted = config.get("responseModalities", list[str]) or ["TEXT"]
    if [one.upper() for one in wanted] != ["TEXT"]:
        raise config.refusal("responseModalities", "can only be TEXT: SAP AI Core offers text output only")


def _output(config: Message) -> OutputFormat | None:
    kind = (config.get("responseMimeType", str) or "").lower()
    google, schema = (config.get(name, dict[str, Any]) for name in _SCHEMAS)
    if kind in _TEXT:
        given = next((name for name in _SCHEMAS if name in config), None)
        if given:
            raise config.refusal(given, f"needs a responseMimeType of '{_JSON}'")
        return None
    if kind != _JSON:
        raise config.refusal("responseMimeType", f"must be 'text/plain' or '{_JSON}' for this model")
    return OutputFormat(schema=json_schema(google) if schema is None and google else schema)


CALLER = Caller(surface="gemini", parse=parse, render=render, writer=Writer, envelope=google_error)
