"""A JSON object as its top-level members, each still the bytes that the caller sent.

What is not looked at is not parsed: a large conversation costs one scan, and members that nobody here
knows go on unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from services.errors import BadRequest, UpstreamBroken

T = TypeVar("T")
Fields = dict[str, msgspec.Raw]
Json = dict[str, Any]
"""A JSON object, decoded or to be encoded."""

ABSENT = msgspec.Raw(b"")
"""Default of a member that is looked at but not decoded."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are no JSON, no UTF-8, or nested too deeply."""

ANSWER = "the upstream's answer"
FRAME = "a frame of the upstream's stream"
"""What `decoded` is given nearly always."""

decoder = msgspec.json.Decoder(Fields)
_encode = msgspec.json.encode
_NULL = b"null"
_WORDS: dict[Any, str] = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    float: "a number",
    list: "an array",
}


def parse(body: bytes) -> Fields:
    """Return the members of a request body. Raises BadRequest for anything but a JSON object."""
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as exc:
        raise BadRequest(_fault(body, exc)) from exc
    except UnicodeDecodeError as exc:
        raise BadRequest("the request body is not UTF-8") from exc
    except RecursionError as exc:
        raise BadRequest("the request body is nested too deeply") from exc


def read(fields: Mapping[str, msgspec.Raw], name: str, kind: type[T]) -> T | None:
    """Return one member, None where it is missing or null. Raises BadRequest that names it."""
    raw = fields.get(name)
    if raw is None or is_null(raw):
        return None
    try:
        value: T = _reader(cast(Any, kind)).decode(raw)
        return value
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise BadRequest(f"'{name}' must be {_WORDS.get(kind, 'an object')}", param=name) from exc
    except UnicodeDecodeError as exc:
        raise BadRequest(f"'{name}' is not UTF-8", param=name) from exc


def decoded(decoder: msgspec.json.Decoder[T], data: bytes, what: str) -> T:
    """Return something that the upstream sent. Raises UpstreamBroken that says what cannot be read."""
    try:
        return decoder.decode(data)
    except UNREADABLE as exc:
        raise UpstreamBroken(f"{what} cannot be read: {exc}") from exc


def text_of(data: bytes, what: str) -> str:
    """Return something that the upstream sent, as text. Raises UpstreamBroken where it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise UpstreamBroken(f"{what} is not UTF-8") from exc


@cache
def _reader(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def required(fields: Mapping[str, msgspec.Raw], name: str, kind: type[T]) -> T:
    """Return one member that must be there. Raises BadRequest that names it."""
    value = read(fields, name, kind)
    if value is None or value == "":
        raise BadRequest(f"'{name}' is required", param=name)
    return value


def is_null(raw: msgspec.Raw) -> bool:
    """Whether the member was sent as null."""
    return len(raw) == len(_NULL) and bytes(raw) == _NULL


def present(raw: msgspec.Raw) -> bool:
    """Whether the member was sent, and not as null."""
    return len(raw) > 0 and not is_null(raw)


def first_byte(raw: msgspec.Raw) -> bytes:
    """Return the byte that tells the member's kind: `"`, `[`, `{`, a digit, … Nothing is copied."""
    return bytes(memoryview(raw)[:1])


def listed(raw: msgspec.Raw) -> msgspec.Raw:
    """Return an array as it is, anything else as an array of one."""
    return raw if first_byte(raw) == b"[" else msgspec.Raw(b"[" + bytes(raw) + b"]")


def raw(value: object) -> msgspec.Raw:
    """Return the value as encoded JSON."""
    return msgspec.Raw(_encode(value))


# Escapes only, so behind an even number of backslashes; the group is a half that stands alone.
_PAIR_OR_HALF = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def _fault(body: bytes, exc: msgspec.DecodeError) -> str:
    if not body.strip():
        return "the request body is empty; a JSON object is needed"
    if isinstance(exc, msgspec.ValidationError):
        return "the request body must be a JSON object"
    for found in _PAIR_OR_HALF.finditer(body):
        if half := found[1]:  # whoever cut a text cut an emoji
            return f"the request body is not JSON: {half.decode()} in a text is half of a surrogate pair"
    return f"the request body is not JSON: {exc}"
