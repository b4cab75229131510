"""What strict mode finds wrong in a schema, and where."""

from __future__ import annotations

from typing import Any

import pytest

from perf.simulator.executables.strictness import complaint

CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def within(inner: dict[str, Any]) -> dict[str, Any]:
    """A strict object with another one inside."""
    return CLOSED | {"properties": {"a": {"anyOf": [{"type": "null"}, inner]}}}


@pytest.mark.parametrize("schema", [CLOSED, within(CLOSED), {"type": "string"}])
def test_a_strict_schema_is_taken(schema: dict[str, Any]) -> None:
    """Closed and all required, as deep as it goes."""
    assert complaint(schema) is None


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "object"}, "In context=(), 'additionalProperties' is required"),
        (CLOSED | {"required": []}, "In context=(), 'required' is required"),
        ({"properties": {}}, "In context=(), 'additionalProperties' is required"),
        (
            within(CLOSED | {"additionalProperties": True}),
            "In context=('properties', 'a', 'anyOf', '1'), 'additionalProperties' is required",
        ),
    ],
)
def test_a_lax_schema_is_refused_with_its_place(schema: dict[str, Any], text: str) -> None:
    """The way down to the object that is not strict."""
    assert text == (complaint(schema) or "")[: len(text)]
