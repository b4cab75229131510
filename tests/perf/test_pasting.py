"""Results find their place in the README."""

from __future__ import annotations

import pytest

from perf.pasting import README, pasted


def test_a_result_is_pasted_in_its_place() -> None:
    """Only between its own marks, as often as one likes."""
    text = "a\n<!-- begin run:chaos -->\nold\n<!-- end run:chaos -->\nb <!-- begin run:soak -->\n"
    once = pasted(text, "chaos", r"new \1")

    assert once == text.replace("old", r"new \1")
    assert once == pasted(once, "chaos", r"new \1")


def test_a_result_without_a_place_is_refused() -> None:
    """A README that has lost its marks does not swallow a result."""
    with pytest.raises(KeyError, match="run:chaos"):
        pasted("nothing", "chaos", "new")


@pytest.mark.parametrize("name", ["bench", "chaos", "faults", "soak"])
def test_the_readme_has_a_place_for_each_run(name: str) -> None:
    """Else a run would end in an error after all its minutes."""
    text = README.read_text()

    assert text != pasted(text, name, "another result")
