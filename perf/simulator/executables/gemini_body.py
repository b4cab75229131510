"""Gemini's `generateContent`: which bodies are taken, and how the others are refused (wire §4.5, §5.4).

Choices where the wire document is unsure (u): adjacent contents of one role are one turn; a function declared
with JSON Schema may have any keyword; JSON output together with functions is refused by models before 3;
log probabilities are refused by models from 3 on.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from perf.simulator.executables import gemini_signatures
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.protojson import snake
from perf.simulator.models import Model

JSON_TYPE, ENUM_TYPE = "application/json", "text/x.enum"

_NAME = re.compile(r"[a-zA-Z_][\w.:-]{0,127}$", re.ASCII)
_ROLES = ("user", "model", "function")
_DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_MEDIA = re.compile(
    r"image/(png|jpeg|webp|heic|heif)$|application/pdf$|text/plain$|audio/[\w.-]+$|video/[\w.-]+$"
)
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "topP": (0, 1),
    "topK": (1, 64),
    "candidateCount": (1, 8),
    "maxOutputTokens": (1, 65536),
    "presencePenalty": (-2, 2),
    "frequencyPenalty": (-2, 2),
    "logprobs": (1, 20),
}
MAX_STOPS = 5
_UNEQUAL = (
    "Please ensure that the number of function response parts is equal to the number of function call parts "
    "of the function call turn."
)


class Thinking(msgspec.Struct, frozen=True):
    """How a model thinks, and what it lets a request say about it."""

    lowest: int
    highest: int
    tokens: int = 16
    """Thoughts when nothing is said."""
    can_be_off: bool = True
    levels: tuple[str, ...] = ()
    """Values of `thinkingLevel`, known from Gemini 3 on, as are thought signatures."""


THINKING: dict[str, Thinking] = {
    "gemini-2.5-flash-lite": Thinking(512, 24576, tokens=0),
    "gemini-3.1-flash-lite": Thinking(1, 32768, levels=("MINIMAL", "LOW", "MEDIUM", "HIGH")),
    "gemini-3.5-flash": Thinking(1, 32768, levels=("MINIMAL", "LOW", "MEDIUM", "HIGH")),
    "gemini-3.1-pro-preview-ea": Thinking(128, 32768, can_be_off=False, levels=("LOW", "MEDIUM", "HIGH")),
}


def check(body: dict[str, Any], model: Model) -> Thinking:
    """Refuse what the model does not take, and tell how it thinks. Raises Invalid."""
    thinking = THINKING.get(model.name)
    if thinking is None:
        raise Invalid(f"Model {model.name} does not support generateContent.")
    config = body.get("generationConfig", {})
    _check_ranges(config)
    _check_thinking(config.get("thinkingConfig", {}), thinking)
    _check_tools(body, thinking)
    _check_format(body, config, thinking)
    _check_contents(body.get("contents", []), signed=bool(thinking.levels))
    return thinking


def functions(body: dict[str, Any]) -> list[dict[str, Any]]:
    """All functions declared, whatever the grouping."""
    return [one for tool in body.get("tools", ()) for one in tool.get("functionDeclarations", ())]


def calling(body: dict[str, Any]) -> dict[str, Any]:
    """`functionCallingConfig`."""
    config: dict[str, Any] = body.get("toolConfig", {}).get("functionCallingConfig", {})
    return config


class Turn(msgspec.Struct, gc=False):
    """Adjacent contents of one role: clients send back each part of a stream as a content of its own."""

    role: str
    parts: list[dict[str, Any]]

    def count(self, name: str) -> int:
        """Parts of one kind."""
        return sum(name in part for part in self.parts)


def turns(contents: list[dict[str, Any]]) -> list[Turn]:
    """The conversation with adjacent contents of one role joined."""
    joined: list[Turn] = []
    for content in contents:
        role = "model" if content.get("role") == "model" else "user"
        if not joined or joined[-1].role != role:
            joined.append(Turn(role, []))
        joined[-1].parts += content["parts"]
    return joined


# generationConfig


def _check_ranges(config: dict[str, Any]) -> None:
    for name, (low, high) in _RANGES.items():
        value = config.get(name)
        if value is not None and not low <= value <= high:
            raise _unable(
                f"it has a {name} value of {value} but the supported range is from {low} to {high}. "
                "Update the value and try again."
            )
    stops = len(config.get("stopSequences", ()))
    if stops > MAX_STOPS:
        raise _unable(f"it has {stops} stopSequences but the maximum is {MAX_STOPS}.")


def _check_thinking(config: dict[str, Any], thinking: Thinking) -> None:
    budget, level = config.get("thinkingBudget"), config.get("thinkingLevel")
    if budget is not None and level is not None:
        raise Invalid("You can only set only one of thinking budget and thinking level.")
    if level is not None and level not in thinking.levels:
        kind = f"Thinking level {level}" if thinking.levels else "Thinking level"
        raise Invalid(f"{kind} is not supported for this model.")
    if budget == 0 and not thinking.can_be_off:
        raise Invalid("Budget 0 is invalid. This model only works in thinking mode.")
    if budget not in (None, 0, -1) and not thinking.lowest <= budget <= thinking.highest:
        raise Invalid(
            f"The thinking budget {budget} is invalid. Please choose a value between "
            f"{thinking.lowest} and {thinking.highest}."
        )
    if budget == 0 and config.get("includeThoughts"):
        raise _unable("thinking_config.include_thoughts is only enabled when thinking is enabled.")


def _check_format(body: dict[str, Any], config: dict[str, Any], thinking: Thinking) -> None:
    kind = config.get("responseMimeType", "text/plain")
    schemas = [name for name in ("responseSchema", "responseJsonSchema") if name in config]
    if kind not in ("text/plain", JSON_TYPE, ENUM_TYPE):
        raise _unable(f"it has a responseMimeType of {kind}, which is not supported.")
    if len(schemas) == 2:
        raise Invalid("Only one of response_schema and response_json_schema may be set.")
    if schemas and kind == "text/plain":
        raise Invalid(f"{schemas[0]} is only supported with a responseMimeType of {JSON_TYPE}.")
    if kind == JSON_TYPE and functions(body) and not thinking.levels:
        raise Invalid("Function calling with a response mime type: 'application/json' is unsupported")
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise Invalid("logprobs is only allowed when response_logprobs is true.")
    if config.get("responseLogprobs") and thinking.levels:
        raise Invalid("Logprobs is not supported for the requested model.")
    if config.get("responseModalities", ["TEXT"]) != ["TEXT"]:
        raise Invalid("Multi-modal output is not supported.")


# tools


def _check_tools(body: dict[str, Any], thinking: Thinking) -> None:
    declared = functions(body)
    others = any(set(tool) - {"functionDeclarations"} for tool in body.get("tools", ()))
    if declared and others and not thinking.levels:
        raise Invalid("Multiple tools are supported only when they are all search tools.")
    for function in declared:
        _check_function(function)
    config = calling(body)
    names = [function["name"] for function in declared]
    if len(set(names)) < len(names):
        raise Invalid(f"Duplicate function declaration found: {max(names, key=names.count)}")
    if config.get("mode") in ("ANY", "VALIDATED") and not declared:
        raise Invalid("Function calling config is set without function_declarations.")
    allowed = config.get("allowedFunctionNames", [])
    if allowed and config.get("mode") not in ("ANY", "VALIDATED"):
        raise Invalid("Allowed function names is only supported when function calling mode is ANY.")
    for name in allowed:
        if name not in names:
            raise Invalid(f"Allowed function name {name} is not among the function declarations.")


def _check_function(function: dict[str, Any]) -> None:
    if not _NAME.match(function.get("name", "")):
        raise Invalid(
            "Invalid function name. Must start with a letter or an underscore. Must be alphanumeric (a-z, "
            "A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128."
        )
    if "parameters" in function and "parametersJsonSchema" in function:
        raise Invalid("Only one of parameters and parameters_json_schema may be set.")
    kind = function.get("parameters", {}).get("type", "OBJECT")
    if kind != "OBJECT":
        raise _unable(
            f"`{function['name']}` functionDeclaration `parameters` schema should be of type OBJECT."
        )


# contents


def _check_contents(contents: list[dict[str, Any]], *, signed: bool) -> None:
    if not contents:
        raise _unable("at least one contents field is required.")
    for place, content in enumerate(contents):
        if content.get("role", "user") not in _ROLES:
            raise Invalid("Please use a valid role: user, model.")
        if not content.get("parts"):
            raise _unable("it must include at least one parts field, which describes the prompt input.")
        for number, part in enumerate(content["parts"]):
            _check_part(part, f"contents[{place}].parts[{number}]")
        if content["parts"] == [{"text": ""}] and content.get("role", "user") == "user":
            raise _unable("it has an empty text parameter. Add a value to the parameter and try again.")
    in_turn = turns(contents)
    _check_turns(in_turn)
    for place, turn in enumerate(in_turn):
        if signed and turn.role == "model":
            gemini_signatures.check(turn.parts, place)


def _check_part(part: dict[str, Any], where: str) -> None:
    data = [name for name in _DATA if name in part]
    if not data:
        raise Invalid(f"{where}.data: required oneof field 'data' must have one initialized field")
    if len(data) > 1:
        raise Invalid(
            f"Invalid value at '{where}' (oneof), oneof field 'data' is already set. Cannot set '{data[1]}'"
        )
    given = part[data[0]]
    if data[0] in ("inlineData", "fileData") and not _MEDIA.match(given.get("mimeType", "")):
        raise _unable(
            f"it has a mimeType parameter with value {given.get('mimeType', '')}, which is not supported. "
            "Update the mimeType and try again."
        )
    if data[0] in ("functionCall", "functionResponse") and not given.get("name"):
        raise Invalid(f"{where}.{snake(data[0])}.name: Name cannot be empty.")
    if data[0] == "functionResponse" and "response" not in given:
        raise Invalid(f"{where}.function_response.response: Field is required.")


def _check_turns(turns: list[Turn]) -> None:
    asked = 0
    for place, turn in enumerate(turns):
        calls, answers = turn.count("functionCall"), turn.count("functionResponse")
        if answers and not asked:
            raise Invalid(
                "Please ensure that function response turn comes immediately after a function call turn."
            )
        if answers != asked:
            raise Invalid(_UNEQUAL)
        if calls and (place == 0 or turn.role != "model"):
            raise Invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a "
                "function response turn."
            )
        asked = calls
    if asked:
        raise Invalid(_UNEQUAL)


def _unable(reason: str) -> Invalid:
    return Invalid(f"Unable to submit request because {reason}")
