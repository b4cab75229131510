"""A small value that satisfies a JSON Schema, as a model with structured output would give."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

MAX_DEPTH = 5
"""Deeper, only required properties are filled in; twice as deep nothing is: a schema may contain itself."""

_FORMATS = {
    "date-time": "2026-03-03T12:02:12Z",
    "date": "2026-03-03",
    "time": "12:02:12",
    "email": "someone@example.org",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.org/",
}


def example_text(schema: dict[str, Any]) -> str:
    """The value as JSON text, with spaces, so that it streams in several tokens."""
    text = msgspec.json.encode(example(schema, root=schema))
    return msgspec.json.format(text, indent=0).decode()


Maker = Callable[[dict[str, Any], dict[str, Any], int], Any]


def example(schema: Any, *, root: dict[str, Any], depth: int = 0) -> Any:
    """A value that the schema accepts; patterns of strings are not looked at."""
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return example(schema[choice][-1 if depth > MAX_DEPTH else 0], root=root, depth=depth + 1)
    maker = _MAKERS.get(_kind(schema, depth))
    return maker(schema, root, depth) if maker else None


def _resolved(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    for _ in range(20):
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        schema = root
        for step in reference.lstrip("#/").split("/"):
            schema = schema.get(step, {}) if step and isinstance(schema, dict) else schema
    merged: dict[str, Any] = {}
    for part in schema.get("allOf", ()):
        merged |= _resolved(part, root)
    return {**merged, **schema}


def _kind(schema: dict[str, Any], depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = (
            "null" if depth > MAX_DEPTH and "null" in kind else next((k for k in kind if k != "null"), "null")
        )
    if kind is None:
        kind = "object" if depth == 0 or "properties" in schema else "string"
    return str(kind)


def _object(schema: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    required = schema.get("required") or []
    wanted = schema.get("properties") or {}
    if depth > 2 * MAX_DEPTH:
        return {}
    return {
        name: example(inner, root=root, depth=depth + 1)
        for name, inner in wanted.items()
        if name in required or depth < MAX_DEPTH
    }


def _array(schema: dict[str, Any], root: dict[str, Any], depth: int) -> list[Any]:
    count = max(int(schema.get("minItems", 0)), 1 if depth < MAX_DEPTH and schema.get("maxItems", 1) else 0)
    return [example(schema.get("items", {}), root=root, depth=depth + 1) for _ in range(min(count, 100))]


def _string(schema: dict[str, Any], root: dict[str, Any], depth: int) -> str:
    text = _FORMATS.get(schema.get("format", ""), "simulated")
    text = text.ljust(min(int(schema.get("minLength", 0)), 10_000), "x")
    return text[: int(schema.get("maxLength", len(text)))]


def _number(schema: dict[str, Any], root: dict[str, Any], depth: int) -> int | float:
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1  # type: ignore[no-any-return]
    low, high = schema.get("minimum"), schema.get("maximum")
    value: int | float = low if low is not None else 1
    return high if high is not None and high < value else value


_MAKERS: dict[str, Maker] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _number,
    "integer": lambda schema, root, depth: math.ceil(_number(schema, root, depth)),
    "boolean": lambda schema, root, depth: True,
}
