"""Objects of a Gemini request, read the way Google's front end reads protocol buffers (wire §4.5).

Names are camelCase or snake_case, a single object may stand where a list is due, null is as if absent, a
whole number may be written as 40.0. Faults name the place, such as `contents[2].parts[0].functionCall.name`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, cast

import msgspec

from services.errors import BadRequest
from services.translation import fields as f
from services.translation.fields import Fields

_HUMP = re.compile(r"_([a-z0-9])")
_INDEX = re.compile(r"\[\d+\]")
_KINDS: dict[Any, str] = {
    str: "a string",
    bool: "true or false",
    float: "a number",
    list[str]: "a list of strings",
    dict[str, Any]: "an object",
}


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


@lru_cache(maxsize=1024)  # names come from callers
def camel(name: str) -> str:
    """Return the camelCase form of a name."""
    return _HUMP.sub(lambda found: found[1].upper(), name)


class Message:
    """One object and its place in the body. It remembers what was asked for: the rest is `unread`."""

    def __init__(self, members: Fields, place: str = "") -> None:
        self._members = {camel(name): raw for name, raw in members.items() if not f.is_null(raw)}
        self._asked: set[str] = set()
        self.place = place

    def __contains__(self, name: str) -> bool:
        """Whether the member is there and not null."""
        return name in self._members

    def path(self, name: str) -> str:
        """Return the place of a member."""
        return f"{self.place}.{name}" if self.place else name

    def raw(self, name: str) -> msgspec.Raw | None:
        """Return a member as it came."""
        self._asked.add(name)
        return self._members.get(name)

    def get(self, name: str, kind: type[f.T]) -> f.T | None:
        """Return a member; None where there is none. Raises BadRequest that names it."""
        raw = self.raw(name)
        if raw is None:
            return None
        try:
            value: f.T = _decoder(cast(Any, kind)).decode(raw)
            return value
        except f.UNREADABLE as exc:
            raise self.refusal(name, f"must be {_KINDS[kind]}") from exc

    def need(self, name: str, kind: type[f.T]) -> f.T:
        """Return a member that must be there and not be empty. Raises BadRequest that names it."""
        value = self.get(name, kind)
        if value is None or value == "":
            raise self.refusal(name, "is required")
        return value

    def whole(self, name: str) -> int | None:
        """Return an integer, also one that is written with a decimal point. Raises BadRequest."""
        raw = self.raw(name)
        if raw is None:
            return None
        number = self.get(name, float)
        if number is None or not number.is_integer():
            raise self.refusal(name, "must be an integer")
        return int(number)

    def word(self, name: str) -> str:
        """Return an enum's value in capitals; empty where there is none, or one that says so."""
        value = (self.get(name, str) or "").upper()
        return "" if value.endswith("_UNSPECIFIED") else value

    def object_text(self, name: str) -> str | None:
        """Return the JSON text of an object, as it came. Raises BadRequest for anything else."""
        raw = self.raw(name)
        if raw is None:
            return None
        if f.first_byte(raw) != b"{":
            raise self.refusal(name, "must be an object")
        try:
            return bytes(raw).decode()
        except UnicodeDecodeError as exc:
            raise self.refusal(name, "is not UTF-8") from exc

    def only(self) -> str:
        """Return the name of the only member; empty where there are more, or none."""
        return next(iter(self._members)) if len(self._members) == 1 else ""

    def message(self, name: str) -> Message | None:
        """Return a member that is an object. Raises BadRequest."""
        raw = self.raw(name)
        return None if raw is None else self._message(name, raw)

    def messages(self, name: str) -> list[Message]:
        """Return a member that is a list of objects, or a single one. Raises BadRequest."""
        raw = self.raw(name)
        if raw is None:
            return []
        try:
            entries: list[msgspec.Raw] = _decoder(list[msgspec.Raw]).decode(f.listed(raw))
        except f.UNREADABLE as exc:
            raise self.refusal(name, "cannot be read") from exc
        return [self._message(f"{name}[{at}]", entry) for at, entry in enumerate(entries)]

    def _message(self, name: str, raw: msgspec.Raw) -> Message:
        try:
            return Message(f.decoder.decode(raw), self.path(name))
        except f.UNREADABLE as exc:
            raise self.refusal(name, "must be an object") from exc

    def refusal(self, name: str, why: str) -> BadRequest:
        """Return the 400 for a member."""
        path = self.path(name)
        return BadRequest(f"'{path}' {why}", param=path)

    def unread(self) -> Iterator[str]:
        """Yield the members that nobody asked for, without the numbers in their place."""
        return (_INDEX.sub("", self.path(name)) for name in self._members if name not in self._asked)
