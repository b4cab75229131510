"""What strict mode asks of a JSON Schema, with OpenAI's complaints."""

from __future__ import annotations

from typing import Any


def complaint(schema: Any, context: tuple[str, ...] = ()) -> str | None:
    """Why a schema is not strict; None if it is. Every object must be closed and require all it has."""
    if isinstance(schema, list):
        parts = [(part, (*context, str(place))) for place, part in enumerate(schema)]
    elif isinstance(schema, dict):
        fault = _open_object(schema, context)
        if fault is not None:
            return fault
        parts = [(part, (*context, name)) for name, part in schema.items()]
    else:
        return None
    faults = (complaint(part, inner) for part, inner in parts)
    return next((fault for fault in faults if fault is not None), None)


def _open_object(schema: dict[str, Any], context: tuple[str, ...]) -> str | None:
    properties = schema.get("properties")
    if schema.get("type") != "object" and not isinstance(properties, dict):
        return None
    where = f"In context=({', '.join(map(repr, context))}), "
    if schema.get("additionalProperties") is not False:
        return f"{where}'additionalProperties' is required to be supplied and to be false."
    missing = [name for name in properties or () if name not in (schema.get("required") or ())]
    if not missing:
        return None
    return (
        f"{where}'required' is required to be supplied and to be an array including every key in properties. "
        f"Missing '{missing[0]}'."
    )
