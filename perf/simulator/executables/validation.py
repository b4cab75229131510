"""Turns msgspec's complaints into the `message`, `param` and `code` that an OpenAI-like server gives."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from perf.simulator.errors import Problem

T = TypeVar("T")

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`(?: - at `\$\.?(?P<path>.*)`)?$")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`(?: - at `\$\.?(?P<path>.*)`)?$")
_OTHER = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)


class BadBody(Exception):
    """The body is not what the endpoint takes."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode and check a body. Raises BadBody."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadBody(_problem(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(Problem(400, f"We could not parse the JSON body of your request. ({error})")) from error


def convert(document: Any, kind: type[T]) -> T:
    """The same for what is decoded already. Raises BadBody."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise BadBody(_problem(str(error))) from error


def _problem(complaint: str) -> Problem:
    unknown = _UNKNOWN.match(complaint)
    if unknown and unknown["path"] is None:
        return Problem(400, f"Unrecognized request argument supplied: {unknown['name']}")
    if unknown:
        name = f"{unknown['path']}.{unknown['name']}"
        return Problem(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    missing = _MISSING.match(complaint)
    if missing:
        name = ".".join(filter(None, (missing["path"], missing["name"])))
        return Problem(
            400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    other: Any = _OTHER.match(complaint)
    path = other["path"] or None
    code = "invalid_type" if ", got `" in complaint else "invalid_value"
    return Problem(400, f"Invalid value for '{path or 'body'}': {other['what']}.", param=path, code=code)
