"""A request's members as the bytes that the caller sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.errors import BadRequest, UpstreamBroken
from services.translation import fields as f


def test_members_keep_their_bytes() -> None:
    """Neither spaces nor number forms nor escapes inside a member change."""
    parsed = f.parse(b' { "a" : [1.0,  1e5, "\\u00e9"] , "b":{} } ')

    assert {"a": b'[1.0,  1e5, "\\u00e9"]', "b": b"{}"} == {name: bytes(raw) for name, raw in parsed.items()}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"[1]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a":', "not JSON"),
        (b'{"a":1}x', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"\xff":1}', "not UTF-8"),
        (rb'{"a":"\ud83d"}', "half of a surrogate"),
        (rb'{"a":"\ud83d\ude00\ud83d more"}', "half of a surrogate"),
        (rb'{"a":"\\\udc00 more"}', "half of a surrogate"),
        (rb'{"a":"\ud83d\ude00 \\ud83d","b":x}', "not JSON: JSON is malformed"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_a_body_that_is_no_object_is_the_callers_fault(body: bytes, why: str) -> None:
    """It is a 400 that says what is wrong, whatever the bytes."""
    with pytest.raises(BadRequest, match=why) as caught:
        f.parse(body)
    assert 400 == caught.value.status


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (b'"x"', str, "x"),
        (b"true", bool, True),
        (b"7", int, 7),
        (b"0.5", float, 0.5),
        (b"null", str, None),
    ],
)
def test_a_member_is_read_in_its_kind(value: bytes, kind: type, expected: object) -> None:
    """Null is as good as missing."""
    assert expected == f.read({"m": msgspec.Raw(value)}, "m", kind)


def test_a_missing_member_is_none() -> None:
    """Reading what was not sent is no fault."""
    assert None is f.read({}, "m", str)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (b"1", str, "'m' must be a string"),
        (b'"1"', int, "'m' must be an integer"),
        (b'"true"', bool, "'m' must be true or false"),
        (b'"1"', float, "'m' must be a number"),
        (b"[]", f.Fields, "'m' must be an object"),
        (b"{}", list, "'m' must be an array"),
        (b'"\xff"', str, "'m' is not UTF-8"),
        (b"[" * 100_000, dict[str, Any], "'m' must be an object"),
    ],
)
def test_a_member_of_another_kind_is_named(value: bytes, kind: Any, words: str) -> None:
    """The 400 carries the member's name in `param`."""
    with pytest.raises(BadRequest, match=words) as caught:
        f.read({"m": msgspec.Raw(value)}, "m", kind)
    assert "m" == caught.value.param


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"\xff":1}', b'{"a":' + b"[" * 100_000])
def test_what_an_upstream_sent_and_nobody_can_read_is_its_fault(data: bytes) -> None:
    """It is UpstreamBroken, whatever the bytes, and says what could not be read."""
    with pytest.raises(UpstreamBroken, match=r"^the upstream's answer cannot be read: ."):
        f.decoded(f.decoder, data, f.ANSWER)


def test_text_that_an_upstream_sent_is_utf_8() -> None:
    """Anything else is UpstreamBroken too."""
    with pytest.raises(UpstreamBroken, match="stream is not UTF-8"):
        f.text_of(b"\xff", f.FRAME)
    assert "é" == f.text_of("é".encode(), f.FRAME)


def test_what_an_upstream_sent_is_read() -> None:
    """As its decoder reads it."""
    assert [1] == f.decoded(msgspec.json.Decoder(list[int]), b"[1]", f.FRAME)


@pytest.mark.parametrize("members", [{}, {"model": msgspec.Raw(b"null")}, {"model": msgspec.Raw(b'""')}])
def test_a_required_member_must_be_there_and_say_something(members: f.Fields) -> None:
    """Missing, null and empty are the same fault."""
    with pytest.raises(BadRequest, match="'model' is required") as caught:
        f.required(members, "model", str)
    assert "model" == caught.value.param


def test_a_required_member_is_returned() -> None:
    """As its value."""
    assert "gpt-5" == f.required({"model": msgspec.Raw(b'"gpt-5"')}, "model", str)


@pytest.mark.parametrize(
    ("raw", "null", "present"), [(b"", False, False), (b"null", True, False), (b"0", False, True)]
)
def test_null_and_missing_are_told_apart(raw: bytes, null: bool, present: bool) -> None:
    """A member that was not looked at is neither null nor present."""
    assert (null, present) == (f.is_null(msgspec.Raw(raw)), f.present(msgspec.Raw(raw)))


def test_the_first_byte_tells_the_kind() -> None:
    """It is read without a copy, and of nothing it is nothing."""
    assert [b"[", b'"', b""] == [f.first_byte(msgspec.Raw(raw)) for raw in (b"[1]", b'"a"', b"")]


def test_a_value_becomes_raw_json() -> None:
    """As it would stand in a body."""
    assert b'{"a":[1,"\xc3\xa9"]}' == bytes(f.raw({"a": [1, "é"]}))
