"""Google's own kind of schema, that of OpenAPI 3.0, as JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.translation.callers.gemini_message import camel

Schema = dict[str, Any]

_RENAMED: Mapping[str, str] = {"ref": "$ref", "defs": "$defs"}
_LEFT_OUT = ("nullable", "propertyOrdering")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
"""64-bit numbers, which protocol buffers write as strings."""


def json_schema(schema: Any) -> Any:
    """Return the same schema in JSON Schema's words; what is no object stays as it is.

    Types are in lower case, null is one of the types, `example` is a list, and members may be in snake_case.
    """
    if not isinstance(schema, dict):
        return schema
    own = {camel(name): value for name, value in schema.items() if value is not None}
    made: Schema = {}
    for name, value in own.items():
        if name not in _LEFT_OUT:
            name, value = _TURNED.get(name, _kept)(name, value)
            made[_RENAMED.get(name, name)] = value
    if made.get("format") == "enum":  # says that the values are listed, as they are
        del made["format"]
    if made.get("type") == "type_unspecified":
        del made["type"]
    return _nullable(made) if own.get("nullable") is True else made


def _nullable(schema: Schema) -> Schema:
    if "anyOf" in schema:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*schema["enum"], None]
    return schema


def _kept(name: str, value: Any) -> tuple[str, Any]:
    return name, value


def _type(name: str, value: Any) -> tuple[str, Any]:
    return name, value.lower() if isinstance(value, str) else value


def _inner(name: str, value: Any) -> tuple[str, Any]:
    return name, json_schema(value)


def _listed(name: str, value: Any) -> tuple[str, Any]:
    return name, [json_schema(one) for one in value] if isinstance(value, list) else value


def _named(name: str, value: Any) -> tuple[str, Any]:
    return name, {key: json_schema(one) for key, one in value.items()} if isinstance(value, dict) else value


def _count(name: str, value: Any) -> tuple[str, Any]:
    return name, int(value) if isinstance(value, str) and value.isdecimal() else value


def _example(name: str, value: Any) -> tuple[str, Any]:
    return "examples", [value]


_TURNED: Mapping[str, Callable[[str, Any], tuple[str, Any]]] = {
    "type": _type,
    "items": _inner,
    "additionalProperties": _inner,
    "anyOf": _listed,
    "prefixItems": _listed,
    "properties": _named,
    "defs": _named,
    "example": _example,
    **dict.fromkeys(_COUNTS, _count),
}
