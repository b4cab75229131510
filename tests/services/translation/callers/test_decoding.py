"""Members of a request: strictly decoded, and compared with what was sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.errors import BadRequest
from services.translation.callers.decoding import Form, decoded_whole, strangers, take_whole


class Inner(msgspec.Struct, tag_field="kind", tag="inner"):
    known: int | None = None
    any: Any = None
    raw: msgspec.Raw = msgspec.Raw(b"")


class Outer(msgspec.Struct):
    inner: Inner | str | None = None
    items: list[Inner | None] = []


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ('{"inner": {"kind": "inner", "known": 1}}', []),
        ('{"inner": "text", "future": null}', []),
        ('{"inner": {"kind": "inner", "any": {"x": 1}, "raw": {"x": 1}}}', []),
        ('{"a": 1, "inner": {"kind": "inner", "b": [], "c": {}}}', ["o.a", "o.inner.b", "o.inner.c"]),
        ('{"items": [{"kind": "inner", "x": 1}, null, {"kind": "inner", "x": 2}]}', ["o.items.x"]),
        ('{"skipped": 1e999, "future": 1}', []),
    ],
)  # fmt: skip
def test_what_a_form_does_not_know_is_found(sent: str, found: list[str]) -> None:
    """Once, at any depth; not in what is taken as it comes, nor in what nobody can read."""
    body = {"o": msgspec.Raw(sent.encode())}
    lost: list[str] = []

    assert take_whole(body, "o", Form(Outer), lost) is not None
    assert found == lost


def test_a_member_that_is_not_there_loses_nothing() -> None:
    """Null is as if it were not there."""
    lost: list[str] = []

    assert take_whole({"o": msgspec.Raw(b"null")}, "o", Form(Outer), lost) is None
    assert [] == lost


class Whole(msgspec.Struct):
    count: int
    items: list[int] = []


@pytest.mark.parametrize("sent", [b'{"count": 1}', b'{"count": 1, "items": [], "more": null}'])
def test_the_strict_reading_is_the_same_as_the_other(sent: bytes) -> None:
    """Of the same kind, with its defaults; a null that nobody knows says nothing."""
    lost: list[str] = []
    taken = decoded_whole(msgspec.Raw(sent), "o[3]", Form[Whole](Whole), lost)

    assert (1, [], []) == (taken.count, taken.items, lost)
    assert isinstance(taken, Whole)


def test_a_fault_has_its_place_whatever_else_there_is() -> None:
    """With a member that nobody knows in front of it, too."""
    with pytest.raises(BadRequest) as caught:
        take_whole({"o": msgspec.Raw(b'{"x": 1, "items": [{"known": "a"}]}')}, "o", Form[Outer](Outer), [])

    assert "o.items[0].known" == caught.value.param


def test_items_that_are_left_out_are_not_compared() -> None:
    """Who leaves one out says so itself."""
    sent = msgspec.Raw(b'[{"kind": "inner", "x": 1}, {"kind": "inner", "y": 1}]')

    assert ["o.y"] == list(strangers(sent, [None, Inner()], "o"))
