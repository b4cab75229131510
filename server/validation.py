"""Check a document against its models and name every fault, with the nearest known name for an unknown key.

The parts that are wrong are cut out and the rest is checked again, so that what a fault hides is found too,
and later checks still have a document to look at.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from server.faults import Faults, Path, Wrong, shown, unknown

M = TypeVar("M", bound=BaseModel)

_MAX_ROUNDS = 8
_GONE = object()

# Names whose values are never shown.
_SECRET_NAMES = frozenset({"secret_authentication_tokens", "service_key", "password", "key"})

# pydantic's error type → what would be right.
_REMEDIES: Mapping[str, str] = {
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_from_float": "give a whole number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "finite_number": "give an ordinary number",
    "bool_type": "give true or false",
    "bool_parsing": "give true or false",
    "string_type": "give a text in quotes",
    "path_type": "give a path in quotes",
    "dict_type": "give an object: {{ … }}",
    "model_type": "give an object: {{ … }}",
    "tuple_type": "give a list: [ … ]",
    "list_type": "give a list: [ … ]",
    "string_too_short": "give a text that is not empty",
    "literal_error": "give {expected}",
    "greater_than": "give more than {gt:g}",
    "greater_than_equal": "give {ge:g} or more",
    "less_than_equal": "give {le:g} or less",
}


class Positions:
    """Which places of the written lists are left, so that a fault names the place that the reader sees."""

    def __init__(self) -> None:
        self._left: dict[Path, list[int]] = {}

    def written(self, path: Path) -> Path:
        """Return the path in the document as written."""
        found: Path = ()
        for key in path:
            left = self._left.get(found)
            found = (*found, left[key] if left is not None and isinstance(key, int) else key)
        return found

    def sweep(self, value: Any, path: Path = ()) -> Any:
        """Return a copy without what was cut, and remember which places are left."""
        if isinstance(value, dict):
            return {key: self.sweep(one, (*path, key)) for key, one in value.items() if one is not _GONE}
        if not isinstance(value, list):
            return value
        before = self._left.get(path) or list(range(len(value)))
        kept = [(place, one) for place, one in zip(before, value, strict=True) if one is not _GONE]
        self._left[path] = [place for place, _ in kept]
        return [self.sweep(one, (*path, place)) for place, one in kept]


def validated(
    kind: type[M], document: Mapping[str, Any], written: Mapping[str, Any], faults: Faults
) -> tuple[M | None, Positions]:
    """Return the document as a model, without the parts that are wrong, each of which becomes a fault.

    `written` is the document before variables were filled in: only that is ever shown. The model is None
    when nothing is left to check.
    """
    rest: Any = copy.deepcopy(dict(document))
    positions = Positions()

    def seen(path: Path) -> str:
        return _seen(path, document if path in faults.origins else written)

    for _ in range(_MAX_ROUNDS):
        try:
            return kind.model_validate(rest), positions
        except ValidationError as exc:
            found = [(error, _existing(error["loc"], rest)) for error in exc.errors(include_url=False)]
        for error, path in found:
            _report(kind, error, positions.written(path), seen, faults)
        for _error, path in found:
            _cut(rest, path)
        rest = positions.sweep(rest)
    return None, positions


def _report(
    kind: type[BaseModel], error: ErrorDetails, path: Path, seen: Callable[[Path], str], faults: Faults
) -> None:
    details = error.get("ctx", {})
    cause = details.get("error")
    if error["type"] == "extra_forbidden":
        faults.follow(path, "is unknown", unknown(str(path[-1]), _known_at(kind, error["loc"][:-1])))
    elif error["type"] == "missing":
        faults.follow((*path, error["loc"][-1]), "is missing", "add it")
    elif isinstance(cause, Wrong):
        faults.follow(path, cause.problem, cause.remedy)
    else:
        remedy = _REMEDIES.get(error["type"], error["msg"].lower()).format(**details)
        faults.follow(path, f"is {seen(path)}", remedy)


def _existing(loc: tuple[int | str, ...], document: Any) -> Path:
    """Follow an error's location as far as the document goes: short forms have no inside."""
    value: Any = document
    for length, key in enumerate(loc):
        inside = (isinstance(value, dict) and key in value) or (
            isinstance(value, list) and isinstance(key, int) and key < len(value)
        )
        if not inside:
            return loc[:length]
        value = value[key]
    return loc


def _seen(path: Path, written: Any) -> str:
    if _SECRET_NAMES.intersection(path):
        return "not usable"
    value = written
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return "not usable"
    return shown(value)


def _cut(document: Any, path: Path) -> None:
    if not path:
        document.clear()
        return
    for key in path[:-1]:
        document = document[key]
        if document is _GONE:
            return
    document[path[-1]] = _GONE


def _known_at(kind: Any, loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """Return the names that the model at a location has."""
    for key in loc:
        kind = _inside(kind, key)
    found = _model_in(kind)
    return tuple(field.alias or name for name, field in found.model_fields.items()) if found else ()


def _inside(kind: Any, key: int | str) -> Any:
    model = _model_in(kind)
    if model is not None:
        named = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        return named.get(str(key))
    container = _first(kind, lambda one: get_origin(one) in (dict, tuple, list))
    arguments = [one for one in get_args(container) if one is not Ellipsis]
    return arguments[-1] if arguments else None


def _model_in(kind: Any) -> type[BaseModel] | None:
    found: type[BaseModel] | None = _first(
        kind, lambda one: isinstance(one, type) and issubclass(one, BaseModel)
    )
    return found


def _first(kind: Any, wanted: Callable[[Any], bool]) -> Any:
    """Look through `Annotated` and unions, but into no container."""
    if wanted(kind):
        return kind
    if get_origin(kind) is Annotated:
        return _first(get_args(kind)[0], wanted)
    if get_origin(kind) in (Union, types.UnionType):
        return next((found for one in get_args(kind) if (found := _first(one, wanted)) is not None), None)
    return None
