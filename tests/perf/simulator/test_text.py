"""Predictable text."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from perf.simulator import text


def test_filler_has_exactly_the_tokens_asked_for() -> None:
    """A hundred tokens are a hundred pieces, and the same ones each time."""
    assert 100 == len(text.filler(100))
    assert text.filler(100) == text.split("".join(text.filler(100)))


@given(st.text())
def test_tokens_joined_are_the_text(given_text: str) -> None:
    """Cutting loses nothing."""
    assert given_text == "".join(text.split(given_text))


def test_grouping_keeps_the_rest() -> None:
    """The last frame may be shorter."""
    assert ("ab", "c") == text.group(("a", "b", "c"), 2)


@pytest.mark.parametrize("before", ["", "[", "[[", "[" * 63, "[" * 64, "[" * 65, "[[fault" * 40, "é[ "])
@pytest.mark.parametrize("after", ["", "[[", "[[fault:503]]"])
def test_a_mark_is_found_behind_any_number_of_its_beginnings(before: str, after: str) -> None:
    """In text as in bytes; and not where only its beginning is."""
    for words in (before + "[[fault:", before):
        expected = "[[fault:" in words + after
        found = text.holds(words + after, "[[fault:"), text.holds((words + after).encode(), b"[[fault:")

        assert (expected, expected) == found
