"""Members of a request, decoded strictly: an error names the place in the caller's own words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from services.errors import BadRequest
from services.translation.conversation import SETTINGS
from services.translation.fields import UNREADABLE, is_null

T = TypeVar("T")

_PLACE = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]+)`")
_KINDS: Mapping[str, Any] = {**SETTINGS, "stop": str | list[str]}
_SETTINGS = {name: msgspec.json.Decoder(kind) for name, kind in _KINDS.items()}


def take(body: Mapping[str, msgspec.Raw], name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Return one member, None where it is missing or null.

    Raises BadRequest whose `param` is the place of the fault, such as `messages[2].content[0].type`.
    """
    raw = body.get(name)
    if raw is None or is_null(raw):
        return None
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as exc:
        raise _misfit(name, str(exc)) from exc
    except UNREADABLE as exc:
        raise BadRequest(f"'{name}' cannot be read: {exc}", param=name) from exc


def _misfit(name: str, text: str) -> BadRequest:
    found = _PLACE.search(text)
    place = name + (found[1] if found else "")
    missing = _MISSING.search(text)
    if missing:
        place = f"{place}.{missing[1]}"
        return BadRequest(f"'{place}' is required", param=place)
    return BadRequest(f"'{place}': {_PLACE.sub('', text)}", param=place)


def take_settings(body: Mapping[str, msgspec.Raw], names: Iterable[str]) -> dict[str, Any]:
    """Return those of the canonical settings that the body has; `stop` is a list. Raises BadRequest."""
    taken = {name: take(body, name, _SETTINGS[name]) for name in names if name in body}
    if isinstance(taken.get("stop"), str):
        taken["stop"] = [taken["stop"]]
    return {name: value for name, value in taken.items() if value not in (None, [])}


def unknown(body: Mapping[str, msgspec.Raw], known: Collection[str]) -> tuple[str, ...]:
    """Return the names of members that say something and are not `known`, in their order."""
    return tuple(name for name, raw in body.items() if name not in known and not is_null(raw))
