"""Read a configuration file, JSON or YAML, into plain values, and fill in `${NAME}`.

Stricter than the standard readers where leniency hides mistakes: a key given twice is a fault. YAML is read
by its version 1.2 rules for plain words, so that `off` and `2024-10-21` are the texts they look like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any, Final

from server.faults import Faults, Path

YAML_ENDINGS = (".yaml", ".yml")

UNREADABLE: Final = object()
"""What the parsers return for a text that leaves a fault; None is a value of both languages."""

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}|\$\{")


class Repeating(dict[str, Any]):
    """An object as read, which remembers the keys it was given twice."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        super().__init__()
        self.repeated: list[str] = []
        for key, value in pairs:
            if key in self:
                self.repeated.append(key)
            self[key] = value


def read_document(file: FilePath, faults: Faults) -> dict[str, Any]:
    """Return the file's document; an empty one, and a fault, when it cannot be read."""
    place = str(file)
    text = read_text(file, place, faults)
    if text is None:
        return {}
    parse = parse_yaml if file.suffix.lower() in YAML_ENDINGS else parse_json
    document = parse(text, place, faults)
    if document is UNREADABLE:
        return {}
    if not isinstance(document, dict):
        faults.add_outside(place, "is not an object", "put the keys of the configuration at the top level")
        return {}
    plain: dict[str, Any] = _plain(document, (), faults)
    return plain


def is_there(file: FilePath) -> bool:
    """Tell whether there is a file. One that may not be looked at counts: reading it says what is wrong."""
    try:
        return file.is_file()
    except OSError:
        return True


def read_text(file: FilePath, place: str, faults: Faults) -> str | None:
    """Return the text of a file; None, and a fault, when there is none."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        faults.add_outside(place, f"there is no file {file}", "give the path of an existing file")
    except UnicodeDecodeError as exc:
        faults.add_outside(place, f"{file} is not UTF-8 text (byte {exc.start})", "save it as UTF-8")
    except OSError as exc:
        faults.add_outside(place, f"{file} cannot be read: {exc.strerror}", "make it a readable file")
    return None


def parse_json(text: str, place: str, faults: Faults) -> Any:
    """Return what a JSON text says; UNREADABLE, and a fault with line and column, when it is not JSON."""
    try:
        return json.loads(text, object_pairs_hook=Repeating, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        problem = f"is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}"
        faults.add_outside(place, problem, "correct it there, or just before")
    except ValueError as exc:
        faults.add_outside(place, f"is not JSON: {exc}", "use an ordinary number")
    except RecursionError:
        faults.add_outside(place, "is nested too deeply", "a configuration needs about five levels")
    return UNREADABLE


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def parse_yaml(text: str, place: str, faults: Faults) -> Any:
    """Return what a YAML text says; UNREADABLE, and a fault with line and column, when it is not YAML."""
    import yaml  # slow to import, and most configurations are JSON

    try:
        return yaml.load(text, Loader=_yaml_loader())  # derived from SafeLoader
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        at = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        faults.add_outside(
            place, f"is not YAML: {exc.problem or exc.context}{at}", "correct it there, or just before"
        )
    except yaml.YAMLError as exc:
        faults.add_outside(place, f"is not YAML: {' '.join(str(exc).split())}", "save it as plain UTF-8 text")
    except RecursionError:
        faults.add_outside(place, "is nested too deeply", "a configuration needs about five levels")
    return UNREADABLE


def _yaml_loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain words are texts, but for true, false, null and numbers; every key is a text."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            self.flatten_mapping(node)
            pairs = ((self._name(key), self.construct_object(value, deep=True)) for key, value in node.value)
            found = Repeating(pairs)
            # A merged (`<<`) key may be given again, that is what merging is for.
            found.repeated = sorted({key for key in keys if keys.count(key) > 1})
            return found  # type: ignore[return-value]  # every text is hashable

        def _name(self, key: yaml.Node) -> str:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain text", key.start_mark
                )
            return str(key.value)

        def construct_object_whole(self, node: yaml.MappingNode) -> dict[Hashable, Any]:
            return self.construct_mapping(node, deep=True)

    Loader.add_constructor("tag:yaml.org,2002:map", Loader.construct_object_whole)
    Loader.yaml_implicit_resolvers = {
        first: [
            (tag, pattern) for tag, pattern in found if tag.rpartition(":")[2] not in ("bool", "timestamp")
        ]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"(?:true|false)\Z", re.I), list("tTfF")
    )
    return Loader


def _plain(value: Any, path: Path, faults: Faults) -> Any:
    if isinstance(value, dict):
        for key in getattr(value, "repeated", ()):
            faults.add((*path, key), "is given twice", "keep one of them")
        return {key: _plain(one, (*path, key), faults) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, (*path, place), faults) for place, one in enumerate(value)]
    return value


def filled_in(value: Any, environ: Mapping[str, str], faults: Faults, path: Path = ()) -> Any:
    """Return a copy with `${NAME}` and `${NAME:-default}` replaced in every text; `$${` stands for `${`."""
    if isinstance(value, dict):
        return {key: filled_in(one, environ, faults, (*path, key)) for key, one in value.items()}
    if isinstance(value, list):
        return [filled_in(one, environ, faults, (*path, place)) for place, one in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _REFERENCE.sub(lambda match: _value_of(match, environ, faults, path), value)
    return value


def _value_of(match: re.Match[str], environ: Mapping[str, str], faults: Faults, path: Path) -> str:
    if match[0] == "$${":
        return "${"
    name, default = match["name"], match["default"]
    if name is None:
        faults.add(
            path, "has ${ without a name and }", "write ${NAME}, ${NAME:-default}, or $${ for a plain ${"
        )
        return match[0]
    if default is not None:
        return environ.get(name) or default
    if name not in environ:
        faults.add(
            path, f"needs the variable {name}, which is not set", f"set {name}, or write ${{{name}:-default}}"
        )
    return environ.get(name, "")
