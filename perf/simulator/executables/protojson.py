"""JSON as Google's front end reads a protocol buffer: camelCase or snake_case, and every unknown name told.

A message is a table from camelCase names to kinds. A kind is the name of a scalar (`_SCALARS`), `value` or
`struct` for free JSON, a tuple of an enum's values, `Many` or `Keyed` of a kind, or another message's name.
A single object where a list is due counts as a list of one (wire §4.5).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from perf.simulator.errors import Problem
from perf.simulator.executables.validation import BadBody


class Many(msgspec.Struct, frozen=True):
    """A repeated field."""

    of: Kind


class Keyed(msgspec.Struct, frozen=True):
    """A map from names to values of one kind."""

    of: Kind


Kind = str | tuple[str, ...] | Many | Keyed
Messages = Mapping[str, Mapping[str, Kind]]


def read(body: bytes, message: str, messages: Messages) -> dict[str, Any]:
    """The body as one message, every name in camelCase, enums in capitals. Raises BadBody with all faults."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(Problem(400, f"Invalid JSON payload received. {error}")) from error
    if not isinstance(document, dict):
        root = 'Invalid JSON payload received. Unknown name "": Root element must be a message.'
        raise BadBody(Problem(400, root))
    reader = _Reader(messages)
    found = reader.message(message, document, "")
    if reader.violations:
        raise BadBody(Problem(400, "\n".join(reader.violations.values()), inner=_detail(reader.violations)))
    return found


def _detail(violations: dict[str, str]) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [
            {"field": field.rpartition("#")[0], "description": description}
            for field, description in violations.items()
        ],
    }


def _base64(given: Any) -> str | None:
    """Text in either alphabet of base64; None for anything else."""
    if not isinstance(given, str):
        return None
    try:
        base64.b64decode(given.translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError):
        return None
    return given


def _integer(given: Any) -> int | None:
    try:
        return None if isinstance(given, bool) or int(given) != float(given) else int(given)
    except (TypeError, ValueError, OverflowError):
        return None


def _number(given: Any) -> float | None:
    try:
        return None if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        return None


_STANDARD = str.maketrans("-_", "+/")
_SCALARS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "string": ("TYPE_STRING", lambda given: given if isinstance(given, str) else None),
    "bool": ("TYPE_BOOL", lambda given: given if isinstance(given, bool) else None),
    "int32": ("TYPE_INT32", _integer),
    "float": ("TYPE_FLOAT", _number),
    "bytes": ("TYPE_BYTES", _base64),
    "struct": (
        "type.googleapis.com/google.protobuf.Struct",
        lambda given: given if isinstance(given, dict) else None,
    ),
}


class _Reader:
    def __init__(self, messages: Messages) -> None:
        self.violations: dict[str, str] = {}
        self._messages = messages

    def message(self, name: str, given: dict[str, Any], path: str) -> dict[str, Any]:
        fields = self._messages[name]
        found = {}
        for spelled, value in given.items():
            field = spelled if spelled in fields else _camel(spelled)
            kind = fields.get(field)
            if kind is None:
                self._unknown(path, spelled, "Cannot find field.")
            elif value is not None:
                found[field] = self._value(kind, value, path, spelled)
        return found

    def _value(self, kind: Kind, given: Any, path: str, spelled: str) -> Any:
        here = f"{path}.{snake(spelled)}".lstrip(".")
        if kind == "value":
            return given
        if isinstance(kind, Many):
            items = given if isinstance(given, list) else [given]
            return [self._one(kind.of, item, f"{here}[{place}]") for place, item in enumerate(items)]
        if isinstance(given, list):
            self._unknown(path, spelled, "Proto field is not repeating, cannot start list.")
            return None
        if isinstance(kind, Keyed) and isinstance(given, dict):
            return {
                key: self._one(kind.of, value, f"{here}[{place}].value")
                for place, (key, value) in enumerate(given.items())
            }
        return self._one(kind, given, here)

    def _one(self, kind: Kind, given: Any, here: str) -> Any:
        if isinstance(kind, tuple):
            chosen = given.upper() if isinstance(given, str) else None
            return chosen if chosen in kind else self._invalid(here, "TYPE_ENUM", given)
        if kind in _SCALARS:
            label, convert = _SCALARS[str(kind)]
            value = convert(given)
            return self._invalid(here, label, given) if value is None else value
        if isinstance(kind, str) and isinstance(given, dict):
            return self.message(kind, given, here)
        return self._invalid(here, f"type.googleapis.com/google.cloud.aiplatform.v1.{kind}", given)

    def _unknown(self, path: str, spelled: str, complaint: str) -> None:
        where = f" at '{path}'" if path else ""
        self.violations[f"{path}#{spelled}"] = (
            f'Invalid JSON payload received. Unknown name "{spelled}"{where}: {complaint}'
        )

    def _invalid(self, here: str, label: str, given: Any) -> None:
        shown = msgspec.json.encode(given).decode()[:100]
        if label == "TYPE_BYTES" and isinstance(given, str):
            shown = f"Base64 decoding failed for {shown}"
        self.violations[f"{here}#"] = f"Invalid value at '{here}' ({label}), {shown}"


def _camel(name: str) -> str:
    return re.sub("_([a-z0-9])", lambda found: found[1].upper(), name)


def snake(name: str) -> str:
    """A camelCase name as the protocol buffer spells it."""
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)
