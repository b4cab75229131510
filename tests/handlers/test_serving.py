"""What stands in the head of an answer."""

from __future__ import annotations

from handlers.serving import _listed


def test_names_that_a_caller_made_up_stay_in_their_line() -> None:
    """A member of the body called like a head field becomes none."""
    assert b"top_k, x%0D%0Aset-cookie: a=b, %C3%A9" == _listed(("top_k", "x\r\nset-cookie: a=b", "é"))


def test_a_list_of_names_is_bounded() -> None:
    """Proxies refuse large heads; how many are not named is told."""
    line = _listed([f"unknown_{n:04}" for n in range(1000)])

    assert line.startswith(b"unknown_0000, unknown_0001, ")
    assert line.endswith(b", unknown_0145, and 854 more")
    assert len(line) < 2100


def test_one_endless_name_is_counted_only() -> None:
    """Nothing of it is shown."""
    assert b"and 1 more" == _listed(["x" * 100_000])
