"""The parts of the README that are made from code: `python -m server.readme` writes them anew.

Each stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; a test keeps them true.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from server.config_schema import schema
from services.translation.capabilities import catalogue

README = Path(__file__).parents[1] / "README.md"
_LOSSES = README.parent / "services" / "translation" / "losses.toml"

_ELSEWHERE = frozenset(
    # the flat format repeats a sub-account's keys at the top
    (
        *("resource_group", "service_key_json", "service_key", "deployment_models", "deployment_ids"),
        *("model_filters", "discover", "include", "exclude", "$schema"),
    )
)


def filled(text: str) -> str:
    """Return the README with its generated parts as the code has them. Raises KeyError for an unknown one."""

    def part(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- begin {name} -->\n{_PARTS[name]()}\n<!-- end {name} -->"

    return re.sub(r"<!-- begin (?P<name>\w+) -->\n.*?<!-- end (?P=name) -->", part, text, flags=re.DOTALL)


def configuration() -> str:
    """Return the table of every configuration key."""
    rows = ["| Key | Default | Meaning |", "|---|---|---|"]
    rows += [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in _keys()]
    return "\n".join(rows)


def families() -> str:
    """Return the table of model families, by the dialect that their deployments speak."""
    rows = [
        "| Family | Models, by today's names | Executable | How the gateway speaks to it |",
        "|---|---|---|---|",
    ]
    for dialect, family in losses().families.items():
        runs = [name for name, one in catalogue().executables.items() if one.dialect == dialect]
        runs += [entry.executable for entry in catalogue().models if entry.dialect == dialect]
        executables = ", ".join(f"`{name}`" for name in dict.fromkeys(runs))
        rows.append(f"| {family.name} | {_code(_served(dialect))} | {executables} | {family.api} |")
    return "\n".join(rows)


def lost() -> str:
    """Return the table of what does not reach a model, or a caller, as it was sent."""
    rows = ["| What | Said by | Lost to | What happens | Told |", "|---|---|---|---|---|"]
    for loss in losses().losses:
        said = ", ".join(loss.surfaces) or "any"
        to = "; ".join(losses().families[dialect].name for dialect in loss.to)
        rows.append(f"| {loss.what} | {said} | {to} | {loss.happens} | {_told(loss)} |")
    return "\n".join([*rows, *_ruled()])


# --- what translations lose ----------------------------------------------------------------------------


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What people call the models of a dialect, and the API that they are reached by."""

    name: str
    api: str


class Loss(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"surfaces": "from"}):
    """One thing that does not arrive; `losses.toml` explains the members."""

    what: str
    to: tuple[str, ...]
    happens: str
    surfaces: tuple[str, ...] = ()
    dropped: str = ""
    silent: tuple[str, ...] = ()
    refused: str = ""
    found: str = ""
    lacks: str = ""
    models: Mapping[str, str] = {}
    example: Mapping[str, str] = {}
    answers: Mapping[str, str] = {}


class Losses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole data file."""

    families: Mapping[str, Family]
    losses: tuple[Loss, ...]


@cache
def losses() -> Losses:
    """Read `losses.toml`, which nothing that serves needs."""
    return msgspec.convert(tomllib.loads(_LOSSES.read_text(encoding="utf-8")), Losses)


def _told(loss: Loss) -> str:
    if loss.refused:
        return f"400 naming `{loss.refused}`"
    if not loss.dropped:
        return "here"
    unnamed = ", ".join(losses().families[dialect].name for dialect in loss.silent)
    return f"`{loss.dropped}`{f'; {unnamed}: here' if unnamed else ''}"


# --- the rules of the catalogue ------------------------------------------------------------------------

_Fate = tuple[str, str]
"""What happens to a field, and how it is told."""


def _ruled() -> Iterator[str]:
    """Yield the rows of the field rules: a row for all fields that the same models treat alike."""
    users: dict[tuple[str, str, _Fate], dict[str, None]] = {}
    for field, fate, name in _fates():
        for said, who in _users(name):
            users.setdefault((field, said, fate), {})[who] = None
    rows: dict[tuple[str, str, _Fate], list[str]] = {}
    for (field, said, fate), whose in users.items():
        rows.setdefault((said, "; ".join(whose), fate), []).append(field)
    for (said, those, (happens, told)), fields in rows.items():
        yield f"| {_code(fields)} | {said} | {those} | {happens} | {told} |"


def _fates() -> Iterator[tuple[str, _Fate, str]]:
    """Yield each field of each rule with its fate and the name of the rule."""
    for name, rules in catalogue().rules.items():
        for field, why in rules.drop.items():
            yield field, (f"left out: {why}", "its name"), name
        for field, refusal in rules.refuse.items():
            allowed = " or ".join(f"`{msgspec.json.encode(value).decode()}`" for value in refusal.allowed)
            happens = f"400{f', unless {allowed}' if allowed else ''}: {refusal.why}"
            yield field, (happens, "400 naming it"), name
        for field, to in rules.rename.items():
            yield field, (f"sent as `{to}`, the name those deployments take", "here"), name


def _users(rule: str) -> Iterator[tuple[str, str]]:
    """Yield who a rule is for, and on which surface: families first, then models."""
    known = catalogue()
    ruled: dict[str, list[str]] = {}
    for dialect, manner in known.dialects.items():
        for said in _surfaces(rule, manner.rules, manner.native):
            yield said, losses().families[dialect].name
    for entry in known.models:
        for said in _surfaces(rule, entry.rules, entry.native):
            ruled.setdefault(said, []).extend(entry.names)
    for said, names in ruled.items():
        yield from ((said, name) for name in _some(names))


def _surfaces(rule: str, rules: Iterable[str], native: Mapping[str, Iterable[str]]) -> Iterator[str]:
    if rule in rules:
        yield "any"
    yield from (surface for surface, its in native.items() if rule in its)


def _served(dialect: str) -> list[str]:
    """Return the names of the catalogue whose deployments speak a dialect."""
    known = catalogue()
    spoken = {name: one.dialect for name, one in known.executables.items()}
    return _short(
        name
        for entry in known.models
        if (entry.dialect or spoken[entry.executable]) == dialect
        for name in entry.names
    )


def _short(names: Iterable[str]) -> list[str]:
    """Return the names without those that a pattern among them covers."""
    names = list(dict.fromkeys(names))
    return [name for name in names if not any(_covers(one, name) for one in names if one != name)]


def _some(names: Iterable[str]) -> list[str]:
    """Return the names as the table shows them; a pattern that others of the catalogue fit too is a rest."""
    names = list(dict.fromkeys(names))
    known = [name for entry in catalogue().models for name in entry.names]
    rests = {one for one in names if any(_covers(one, name) and name not in names for name in known)}
    whole = _short(name for name in names if name not in rests)
    return [*(f"`{name}`" for name in whole), *(f"other `{name}`" for name in names if name in rests)]


def _covers(pattern: str, name: str) -> bool:
    return "*" in pattern and fnmatchcase(name, pattern)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# --- the configuration ---------------------------------------------------------------------------------


def _keys() -> Iterator[tuple[str, str, str]]:
    document = schema()
    for name, member in document["properties"].items():
        if name not in _ELSEWHERE:
            yield from _rows(name, member, document["$defs"])


def _rows(
    key: str, member: Mapping[str, Any], definitions: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Describe a key, unless it only holds others, and the keys inside it."""
    if "$ref" not in member:
        yield key, _default(member), member.get("description", "")
    for definition, way in dict(_inside(member)).items():
        for name, one in definitions[definition]["properties"].items():
            yield from _rows(f"{key}{way}.{name}", one, definitions)


def _inside(member: Any, way: str = "") -> Iterator[tuple[str, str]]:
    """Find the objects in a key's value and the way to them: `.*` for any name, `[]` for any place."""
    if not isinstance(member, dict):
        return
    if "$ref" in member:
        yield member["$ref"].rsplit("/", 1)[-1], way
    for one in member.get("anyOf", ()):
        yield from _inside(one, way)
    yield from _inside(member.get("additionalProperties"), f"{way}.*")
    yield from _inside(member.get("items"), f"{way}[]")


def _default(member: Mapping[str, Any]) -> str:
    value = member.get("default")
    return (
        ""
        if value is None or value in ({}, [])
        else f"`{str(value).lower() if isinstance(value, bool) else value}`"
    )


_PARTS: Mapping[str, Callable[[], str]] = {
    "configuration": configuration,
    "families": families,
    "lost": lost,
}


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
