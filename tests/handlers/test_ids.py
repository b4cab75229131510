"""The request id: the caller's if it is a sane one."""

from __future__ import annotations

import pytest

from handlers.ids import new_id, request_id
from tests.handlers.fakes import request


@pytest.mark.parametrize("given", ["a", "0123-abc", "trace.1:2_3", "x" * 128])
def test_a_sane_id_is_taken_over(given: str) -> None:
    """So that one id follows a request through every log."""
    assert given == request_id(request(x_request_id=given))


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\nb", "a\n", "é", "a/b", "<script>", "a;b"])
def test_another_one_is_replaced(given: str) -> None:
    """It goes into heads and log lines: nothing but plain characters."""
    made = request_id(request(x_request_id=given))

    assert (32, True) == (len(made), set(made) <= set("0123456789abcdef"))


def test_it_stays_the_same() -> None:
    """However often it is asked for."""
    one = request()

    assert request_id(one) == request_id(one)


def test_new_ids_differ() -> None:
    """Every request can be found."""
    assert 1000 == len({new_id() for _ in range(1000)})
