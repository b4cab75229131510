"""Which fault meets which request."""

from __future__ import annotations

import pytest

from perf.simulator.faults import KINDS, Fault, FaultBook, parse_kind, parse_option
from perf.simulator.mishaps import _PLAIN, _PROBLEMS, _STREAMED, _UNARY, _WIRE
from perf.simulator.prompts import directive


def test_a_fault_is_used_up() -> None:
    """Two times means two times."""
    book = FaultBook()
    book.add(Fault("500", times=2))

    assert [True, True, False] == [book.pick("inference", "alpha") is not None for _ in range(3)]


def test_every_given_field_must_match() -> None:
    """A fault for a model of one tenant spares the same model of another."""
    book = FaultBook()
    book.add(Fault("500", model="gpt-5", tenant="beta"))

    assert book.pick("inference", "alpha", "d1", "gpt-5") is None
    assert book.pick("inference", "beta", "d2", "gpt-5") is not None


def test_planes_are_apart() -> None:
    """A fault of inference does not hit the token endpoint."""
    book = FaultBook()
    book.add(Fault("500"))

    assert book.pick("oauth", "") is None


def test_probability_is_reproducible() -> None:
    """The same seed hits the same requests, and about as many as asked."""
    hits = []
    for _ in range(2):
        book = FaultBook(seed=7)
        book.add(Fault("500", probability=0.3))
        hits.append([book.pick("inference", "alpha") is not None for _ in range(1000)])

    assert hits[0] == hits[1]
    assert 200 < sum(hits[0]) < 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpt-5=429:0.5:2", Fault("429", arg=2, probability=0.5, model="gpt-5")),
        ("*=reset", Fault("reset")),
        ("beta=cut::3", Fault("cut", arg=3, tenant="beta")),
        ("oauth=500:0.2", Fault("500", probability=0.2, plane="oauth")),
        ("d97b3192b1019652=stall", Fault("stall", deployment="d97b3192b1019652")),
    ],
)
def test_an_option_names_its_target(text: str, expected: Fault) -> None:
    """Model, everything, tenant, plane or deployment."""
    assert expected == parse_option(text, tenants=("alpha", "beta"))


@pytest.mark.parametrize(
    "text", ["gpt-5", "=429", "gpt-5=nonsense", "gpt-5=429:2", "gpt-5=429:x", "gpt-5=slow:1:-4"]
)
def test_an_option_without_sense_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError):
        parse_option(text, tenants=())


def test_kind_and_argument_are_read() -> None:
    """As in the header."""
    assert Fault("cut", arg=3) == parse_kind("cut:3")


def test_every_kind_does_something() -> None:
    """The help text and the tables of effects name the same kinds."""
    assert set(KINDS) == {*_PLAIN, *_PROBLEMS, *_STREAMED, *_UNARY, *_WIRE}


def test_a_directive_counts_only_in_the_last_user_message() -> None:
    """A conversation that once asked for a fault is not haunted by it."""
    old = b'{"messages":[{"role":"user","content":"[[fault:500]]"},{"role":"user","content":"again"}]}'
    new = b'{"messages":[{"role":"user","content":"[[fault:cut:2]] please"}]}'

    assert (None, "cut:2") == (directive(old), directive(new))
