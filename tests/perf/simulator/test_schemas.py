"""Values made from a JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from perf.simulator.schemas import example_text

SCHEMAS: dict[str, dict[str, Any]] = {
    "object": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1.5}},
    },
    "enum": {"enum": ["a", "b"]},
    "const": {"const": 7},
    "nullable": {"type": ["null", "string"], "minLength": 20},
    "short": {"type": "string", "maxLength": 3},
    "any": {"anyOf": [{"type": "number", "exclusiveMinimum": 4}, {"type": "null"}]},
    "all": {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"type": "boolean"}}}]},
    "array": {"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 3},
    "maximum": {"type": "integer", "maximum": -5},
    "recursive": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            }
        },
        "$ref": "#/$defs/node",
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_value_satisfies_its_schema(name: str) -> None:
    """An independent validator accepts it."""
    jsonschema.validate(json.loads(example_text(SCHEMAS[name])), SCHEMAS[name])
