"""The parts of the README that are made from code: `python -m server.readme` writes them anew.

Each stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; a test keeps them true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from server.config_schema import schema
from services.translation.capabilities import catalogue

README = Path(__file__).parents[1] / "README.md"

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


def fields() -> str:
    """Return the table of request fields that do not reach a model as they were sent."""
    rows = ["| Field | Models | What happens | Why |", "|---|---|---|---|"]
    for name, rules in catalogue().rules.items():
        users = _users(name)
        for field, why in rules.drop.items():
            rows.append(f"| `{field}` | {users} | left out, named in `x-aicore-dropped` | {why} |")
        for field, refusal in rules.refuse.items():
            allowed = " or ".join(f"`{value!r}`" for value in refusal.allowed)
            rows.append(
                f"| `{field}` | {users} | 400{f', unless {allowed}' if allowed else ''} | {refusal.why} |"
            )
        for field, to in rules.rename.items():
            rows.append(f"| `{field}` | {users} | sent as `{to}` | the name those deployments take |")
    return "\n".join(rows)


def _users(rule: str) -> str:
    """Return who a rule is for: dialects, models, and those of them that let a surface pass through."""
    known = catalogue()
    users = [name for name, one in known.dialects.items() if rule in one.rules]
    users += [name for entry in known.models if rule in entry.rules for name in entry.names]
    users += [f"{name} ({surface} passed through)" for name, surface in _natives(rule)]
    return ", ".join(dict.fromkeys(users))


def _natives(rule: str) -> Iterator[tuple[str, str]]:
    known = catalogue()
    named = [*((name, one.native) for name, one in known.dialects.items())]
    named += [(name, entry.native) for entry in known.models for name in entry.names]
    for name, native in named:
        for surface, rules in native.items():
            if rule in rules:
                yield name, surface


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


_PARTS: Mapping[str, Callable[[], str]] = {"configuration": configuration, "fields": fields}


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
