"""The parts of the README that are made from code: `python -m server.readme` writes them anew.

Each stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; a test keeps them true (trap 62).
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
    executables = [name for name, one in catalogue().executables.items() if rule in one.rules]
    models = [name for entry in catalogue().models if rule in entry.rules for name in entry.names]
    return ", ".join(executables or models)


def _keys() -> Iterator[tuple[str, str, str]]:
    document = schema()
    definitions: Mapping[str, Any] = document["$defs"]
    for name, member in document["properties"].items():
        if name in _ELSEWHERE:
            continue
        reference = member.get("$ref", "").rsplit("/", 1)[-1]
        if reference:
            for inner, one in definitions[reference]["properties"].items():
                yield f"{name}.{inner}", _default(one), one.get("description", "")
        else:
            yield name, _default(member), member.get("description", "")
            yield from _nested(name, definitions)


def _nested(name: str, definitions: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    inside = {"subAccounts": "SubAccountDocument", "models": "ModelDocument"}.get(name)
    if inside:
        for inner, one in definitions[inside]["properties"].items():
            yield f"{name}.*.{inner}", _default(one), one.get("description", "")


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
