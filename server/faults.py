"""What is wrong with a configuration: where, what, and what would be right; always all of it at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

Key = str | int
Path = tuple[Key, ...]
"""The way from the top of the document to a value: names and positions."""

_PLAIN_NAME = re.compile(r"[$\w-]+\Z")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that must change before the gateway can start."""

    where: str
    """The path of a key, or the name of a file, a variable or an option."""
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.remedy}"


class ConfigError(Exception):
    """The configuration cannot be used. `faults` has every reason."""

    def __init__(self, faults: Iterable[Fault], *, source: str) -> None:
        self.faults = tuple(faults)
        self.source = source
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"{count} in {source}", *(f"  {fault}" for fault in self.faults)]))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (self.faults, self.source)


def _rebuilt(faults: tuple[Fault, ...], source: str) -> ConfigError:
    return ConfigError(faults, source=source)


class Wrong(ValueError):
    """Raised by the checks of a single value; the reader of the document knows where that is."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class Faults:
    """Collects faults; the first one about a place is kept, since later ones there follow from it."""

    def __init__(self) -> None:
        self._found: dict[Path, Fault] = {}
        self.origins: dict[Path, str] = {}
        """Values that are not from the document: path → the variable or option that set them."""

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._found.values())

    def add(self, path: Path, problem: str, remedy: str) -> None:
        """Note a fault at a path of the document."""
        place = self.origins.get(path) or spelled(path)
        self._found.setdefault(path, Fault(place, problem, remedy))

    def add_outside(self, place: str, problem: str, remedy: str) -> None:
        """Note a fault of something that is not in the document: a file, a variable."""
        self._found.setdefault((place,), Fault(place, problem, remedy))

    def follow(self, path: Path, problem: str, remedy: str) -> None:
        """Note a fault, unless one at, above or below that path is known: it may only follow from that."""
        if not any(_related(path, known) for known in self._found):
            self.add(path, problem, remedy)


def _related(one: Path, other: Path) -> bool:
    return all(a == b for a, b in zip(one, other, strict=False))


def spelled(path: Sequence[Key]) -> str:
    """Write a path as a reader would: `subAccounts.prod.deployment_models["gpt-4.1"][0].url`."""
    text = "".join(_spelled(key) for key in path)
    return text.removeprefix(".") or "the document"


def _spelled(key: Key) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if _PLAIN_NAME.match(key) else f"[{json.dumps(key, ensure_ascii=False)}]"


def unknown(name: str, known: Iterable[str]) -> str:
    """Say what would be right instead of an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known here: {', '.join(names)}" if names else "remove it"


def shown(value: object) -> str:
    """Write a value for a fault, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"
