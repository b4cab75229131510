"""Checkers from which the rules of a request body are put together.

A check takes a value and where it stands, and raises `Invalid` with the place in front of the complaint,
as in `messages.0.content.1.text.text: Field required`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from perf.simulator.executables.chat import Invalid

Check = Callable[[Any, str], None]

EXTRA = "Extra inputs are not permitted"
REQUIRED = "Field required"


def read(body: bytes) -> Any:
    """The document in a body. Raises Invalid if it is not JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(
            f"Malformed input request: {error}, please reformat your input and try again."
        ) from error


def join(where: str, name: str | int) -> str:
    """The place of a member."""
    return f"{where}.{name}" if where else str(name)


def anything(value: Any, where: str) -> None:
    """No check at all."""


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these members, and no others."""
    known = {**required, **(optional or {})}

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise Invalid(f"{where or 'body'}: Input should be a valid dictionary")
        for name in required:
            if name not in value:
                raise Invalid(f"{join(where, name)}: {REQUIRED}")
        for name, inner in value.items():
            if name not in known:
                raise Invalid(f"{join(where, name)}: {EXTRA}")
            known[name](inner, join(where, name))

    return check


def tagged(kinds: Mapping[str, Check]) -> Check:
    """An object whose `type` says which of the checks its other members must pass."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise Invalid(f"{where}: Input should be a valid dictionary")
        if "type" not in value:
            raise Invalid(f"{join(where, 'type')}: {REQUIRED}")
        tag = value["type"]
        if tag not in kinds:
            expected = ", ".join(map(repr, kinds))
            raise Invalid(
                f"{where}: Input tag '{tag}' found using 'type' does not match any of the expected tags: "
                f"{expected}"
            )
        kinds[tag]({name: inner for name, inner in value.items() if name != "type"}, join(where, tag))

    return check


def single(members: Mapping[str, Check]) -> Check:
    """A union in Amazon's way: an object with exactly one of these members."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict) or len(value) != 1:
            raise Invalid(f"{where}: exactly one of {', '.join(members)} must be set")
        record({}, members)(value, where)

    return check


def array(item: Check, *, least: int = 0) -> Check:
    """A list of such items."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise Invalid(f"{where}: Input should be a valid list")
        if len(value) < least:
            raise Invalid(
                f"{where}: List should have at least {least} item after validation, not {len(value)}"
            )
        for place, inner in enumerate(value):
            item(inner, join(where, place))

    return check


def text(pattern: str = "") -> Check:
    """A string, if wanted of a form."""
    form = re.compile(pattern, re.DOTALL)

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str):
            raise Invalid(f"{where}: Input should be a valid string")
        if not form.match(value):
            raise Invalid(f"{where}: String should match pattern '{pattern}'")

    return check


def text_or(other: Check) -> Check:
    """A string, or else what the other check takes."""
    return lambda value, where: None if isinstance(value, str) else other(value, where)


def whole(low: int) -> Check:
    """An integer of at least `low`."""

    def check(value: Any, where: str) -> None:
        if type(value) is not int:
            raise Invalid(f"{where}: Input should be a valid integer")
        if value < low:
            raise Invalid(f"{where}: Input should be greater than or equal to {low}")

    return check


def unit(value: Any, where: str) -> None:
    """A number from 0 to 1."""
    if type(value) not in (int, float):
        raise Invalid(f"{where}: Input should be a valid number")
    if not 0 <= value <= 1:
        raise Invalid(f"{where}: range: 0..1")


def boolean(value: Any, where: str) -> None:
    """True or false."""
    if type(value) is not bool:
        raise Invalid(f"{where}: Input should be a valid boolean")


def mapping(value: Any, where: str) -> None:
    """An object, whatever it holds."""
    if not isinstance(value, dict):
        raise Invalid(f"{where}: Input should be a valid dictionary")


def choice(*values: str) -> Check:
    """One of these strings."""
    *others, last = map(repr, values)
    expected = f"{', '.join(others)} or {last}" if others else last

    def check(value: Any, where: str) -> None:
        if value not in values:
            raise Invalid(f"{where}: Input should be {expected}")

    return check


def base64_bytes(value: Any, where: str) -> None:
    """Base64 of at least one byte."""
    try:
        decoded = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise Invalid(f"{where}: invalid base64 data") from error
    if not decoded:
        raise Invalid(f"{where}: data cannot be empty")


def both(first: Check, second: Check) -> Check:
    """What passes the first must pass the second too."""

    def check(value: Any, where: str) -> None:
        first(value, where)
        second(value, where)

    return check


def typed(kind: str) -> Check:
    """A JSON Schema of this type."""

    def check(value: Any, where: str) -> None:
        if "type" not in value:
            raise Invalid(f"{where}.type: {REQUIRED}")
        if value["type"] != kind:
            raise Invalid(f"{where}.type: Input should be '{kind}'")

    return check


def closed(schema: Any, where: str) -> None:
    """A JSON Schema whose objects forbid additional properties."""
    waiting: list[Any] = [schema]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, list):
            waiting += inner
        elif isinstance(inner, dict):
            if inner.get("type") == "object" and inner.get("additionalProperties") is not False:
                raise Invalid(
                    f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false"
                )
            waiting += inner.values()
