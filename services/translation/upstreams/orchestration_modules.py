"""Modules around the model: what the configuration puts there, and what a caller asks for (wire §4.7).

A caller of chat completions may send an `orchestration` object. Its modules replace configured ones of the
same name; what the configuration filters or masks stays at least as strict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.errors import BadRequest
from services.translation.fields import Json

MODULES = ("filtering", "masking", "grounding", "translation")
"""What an `orchestration` object may put around the model."""

STREAM = "stream"
"""What the configuration calls `config.stream`'s further members: `chunk_size` and `delimiters`."""

_PROTECTED = ("filtering", "masking")


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Names something in the prompt registry, by id or by scenario, name and version."""

    id: str = ""
    scenario: str = ""
    name: str = ""
    version: str = ""
    scope: str = ""


class Around(msgspec.Struct, frozen=True):
    """What goes around the model."""

    modules: Mapping[str, Any]
    """Module name → its configuration."""
    stream: Mapping[str, Any] = {}
    placeholder_values: Mapping[str, str] = {}
    fallbacks: tuple[str, ...] = ()
    """Backend models to try in order when the first one fails."""
    config_ref: Reference | None = None
    template_ref: Reference | None = None


def around(asked: Mapping[str, Any] | None, configured: Mapping[str, Any]) -> Around:
    """Return what the caller asks for, over what is configured. Raises BadRequest naming the member."""
    modules = {name: module for name, module in configured.items() if name != STREAM}
    if asked is None:
        return Around(modules, configured.get(STREAM, {}))
    for name, value in asked.items():
        if name in MODULES:
            _overlay(modules, name, value, configured)
        elif name not in _OTHERS:
            known = ", ".join((*MODULES, *_OTHERS))
            raise _refusal(name, f"is not known; there are: {known}")
    others = {name: _converted(asked, name) for name in _OTHERS if asked.get(name) is not None}
    _check(others, configured)
    return Around(modules, configured.get(STREAM, {}), **others)


def _overlay(modules: Json, name: str, value: Any, configured: Mapping[str, Any]) -> None:
    protected = configured.get(name) if name in _PROTECTED else None
    if value is None or value is False:
        if protected is not None:
            raise _refusal(name, "is configured for this model and cannot be turned off")
        modules.pop(name, None)
    elif not isinstance(value, dict):
        raise _refusal(name, "must be an object")
    elif protected is not None and not _keeps(name, value, protected):
        raise _refusal(name, "is configured for this model and cannot be made weaker; leave it out")
    else:
        modules[name] = value


def _keeps(name: str, asked: Any, configured: Any) -> bool:
    """Whether the caller's module protects as much as the configured one."""
    if asked == configured:
        return True
    if name != "filtering":
        return False  # which masking is the stronger one is not for us to say
    return all(way in asked and _filters_keep(asked[way], configured[way]) for way in configured)


def _filters_keep(asked: Any, configured: Any) -> bool:
    """Whether every configured filter of one direction is there, and lets no more through."""
    if not isinstance(asked, dict) or not isinstance(configured, dict):
        return False
    given = asked.get("filters")
    return (
        isinstance(given, list)
        and asked | {"filters": ()} == configured | {"filters": ()}
        and all(any(_is_as_strict(one, own) for one in given) for own in configured.get("filters", ()))
    )


def _is_as_strict(asked: Any, configured: Any) -> bool:
    """Whether a filter is of the same type, with the same switches on and no threshold higher."""
    if isinstance(asked, dict) and isinstance(configured, dict):
        return asked.keys() == configured.keys() and all(
            _is_as_strict(asked[name], own) for name, own in configured.items()
        )
    if type(asked) is not type(configured):
        return False
    if isinstance(configured, bool):
        return bool(asked or not configured)
    return bool(asked <= configured if isinstance(configured, int) else asked == configured)


_OTHERS: Mapping[str, Any] = {
    "placeholder_values": dict[str, str],
    "fallbacks": tuple[str, ...],
    "config_ref": Reference,
    "template_ref": Reference,
}
"""The other members of an `orchestration` object, and their types."""


def _converted(asked: Mapping[str, Any], name: str) -> Any:
    try:
        return msgspec.convert(asked[name], _OTHERS[name])
    except msgspec.ValidationError as exc:
        raise _refusal(name, f"cannot be read: {exc}") from exc


def _check(others: Mapping[str, Any], configured: Mapping[str, Any]) -> None:
    """Raise BadRequest for what would go round the configuration, or excludes something else."""
    if "config_ref" not in others:
        return
    if any(name in configured for name in _PROTECTED):
        raise _refusal("config_ref", "cannot be used: filtering or masking is configured for this model")
    if "fallbacks" in others:
        raise _refusal("fallbacks", "and 'orchestration.config_ref' exclude each other")


def _refusal(name: str, why: str) -> BadRequest:
    param = f"orchestration.{name}"
    return BadRequest(f"'{param}' {why}", param=param)
