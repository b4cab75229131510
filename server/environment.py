"""Values that win over the file: the variables that the ancestors documented, then the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.faults import Faults, Path, shown

# Variable → path in the document. The document's own checks apply, and name the variable.
_VARIABLES: Mapping[str, Path] = {
    "HOST": ("host",),
    "PORT": ("port",),
    "LOG_LEVEL": ("log_level",),
    "HTTP_KEEPALIVE_CONNECTIONS": ("pool", "max_idle_per_upstream"),
    "REDIS_HOST": ("redis", "host"),
    "REDIS_PORT": ("redis", "port"),
}
_POOL_CONNECTIONS = "HTTP_POOL_CONNECTIONS"
_LIMIT_ENABLED = "RATE_LIMIT_ENABLED"
_LIMIT = "RATE_LIMIT_PER_MINUTE"
_LIMIT_PATH: Path = ("limits", "requests_per_minute")
_DEFAULT_LIMIT = 60

NAMES = frozenset({"CONFIG_PATH", *_VARIABLES, _POOL_CONNECTIONS, _LIMIT_ENABLED, _LIMIT})
"""Every variable that changes the configuration."""

_TRUTH: Mapping[str, bool] = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}

Document = dict[str, Any]


def apply_environment(
    document: Document, environ: Mapping[str, str], faults: Faults, notes: list[str]
) -> None:
    """Put the values of variables into the document. An empty variable counts as not set."""
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    for name, path in _VARIABLES.items():
        if name in given:
            value = given[name].lower() if name == "LOG_LEVEL" else given[name]
            _put(document, path, value, name, faults)
    _apply_limit(document, given, faults)
    if _POOL_CONNECTIONS in given:
        _note_pool_size(given[_POOL_CONNECTIONS], faults, notes)


def apply_overrides(document: Document, overrides: Mapping[str, Any], faults: Faults) -> None:
    """Put the command line's values into the document: dotted path → value; None counts as not given."""
    for dotted, value in overrides.items():
        if value is not None:
            option = f"--{dotted.replace('.', '-').replace('_', '-')}"
            _put(document, tuple(dotted.split(".")), value, option, faults)


def _put(document: Document, path: Path, value: Any, origin: str, faults: Faults) -> None:
    place: Any = document
    for key in path[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            return  # the file is wrong there already, and its fault will be told
    place[path[-1]] = value
    faults.origins[path] = origin


def _apply_limit(document: Document, given: Mapping[str, str], faults: Faults) -> None:
    """A limit given alone is on, as in the template that has these variables."""
    enabled = _TRUTH.get(given.get(_LIMIT_ENABLED, "").lower()) if _LIMIT_ENABLED in given else None
    if _LIMIT_ENABLED in given and enabled is None:
        faults.add_outside(_LIMIT_ENABLED, f"is {shown(given[_LIMIT_ENABLED])}", "give true or false")
    if _LIMIT in given and not _whole(given[_LIMIT]):
        faults.add_outside(_LIMIT, f"is {shown(given[_LIMIT])}", "give a whole number of 1 or more")
        return
    if enabled is False:
        _put(document, _LIMIT_PATH, None, _LIMIT_ENABLED, faults)
    elif _LIMIT in given:
        _put(document, _LIMIT_PATH, int(given[_LIMIT]), _LIMIT, faults)
    elif enabled and not _configured_limit(document):
        _put(document, _LIMIT_PATH, _DEFAULT_LIMIT, _LIMIT_ENABLED, faults)


def _configured_limit(document: Document) -> bool:
    limits = document.get("limits")
    return isinstance(limits, dict) and limits.get("requests_per_minute") is not None


def _whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) >= 1


def _note_pool_size(value: str, faults: Faults, notes: list[str]) -> None:
    if not _whole(value):
        faults.add_outside(
            _POOL_CONNECTIONS, f"is {shown(value)}", "give a whole number of 1 or more, or unset it"
        )
        return
    notes.append(f"{_POOL_CONNECTIONS} has no effect here: the pool has no fixed number of connections.")
