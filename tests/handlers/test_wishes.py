"""What a request's head says of how it wants to be served."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest

from handlers.wishes import read_wishes
from services.asking import Ask
from services.calls import ANONYMOUS, Call
from services.errors import BadRequest
from services.translation.translate import prepare
from tests.handlers.fakes import request

STARTED = 100.0


def wishes(**headers: str) -> Ask:
    """A request with these head fields (underscores for dashes)."""
    call = Call(surface="chat", caller=ANONYMOUS, request_id="r", started=STARTED)
    prepared: Any = partial(prepare, surface="chat", stream=False)
    ask = Ask(model="m", body={}, prepare=prepared, call=call)
    fields: Any = headers
    read_wishes(request(**fields), ask)
    return ask


def test_nothing_is_wished() -> None:
    """No deadline, and no stream is held back."""
    ask = wishes()

    assert (math.inf, False) == (ask.deadline, ask.hold)


@pytest.mark.parametrize(("headers", "seconds"), [
    ({"x_request_timeout": "2.5"}, 2.5),
    ({"x_stainless_timeout": "600"}, 600),
    ({"x_server_timeout": "30"}, 30),
    ({"x_request_timeout": "9", "x_stainless_timeout": "600"}, 9),
    ({"x_request_timeout": "900", "x_stainless_timeout": "600"}, 600),
    ({"x_stainless_timeout": "NOT_GIVEN", "x_server_timeout": "30"}, 30),
])  # fmt: skip
def test_the_shortest_time_counts_from_the_requests_start(headers: dict[str, str], seconds: float) -> None:
    """Our own field, and what the SDKs of OpenAI, Anthropic and Google say by themselves."""
    assert STARTED + seconds == wishes(**headers).deadline


@pytest.mark.parametrize("value", ["NOT_GIVEN", "", "0", "-1", "inf", "nan", "10s"])
@pytest.mark.parametrize("name", ["x_stainless_timeout", "x_server_timeout"])
def test_what_an_sdk_cannot_mean_is_ignored(name: str, value: str) -> None:
    """Its user did not write it, and cannot change it."""
    assert math.inf == wishes(**{name: value}).deadline


@pytest.mark.parametrize("value", ["", "0", "-1", "inf", "nan", "10s", "soon"])
def test_a_timeout_that_makes_no_sense_is_refused(value: str) -> None:
    """By name: its caller did write it."""
    with pytest.raises(BadRequest, match="seconds above 0") as caught:
        wishes(x_request_timeout=value)

    assert "x-request-timeout" == caught.value.param


@pytest.mark.parametrize(("value", "hold"), [
    ("true", True), ("True", True), ("1", True), ("false", False), ("0", False),
])  # fmt: skip
def test_a_stream_can_be_held_back(value: str, hold: bool) -> None:
    """In any case of letters."""
    assert hold is wishes(x_aicore_hold=value).hold


@pytest.mark.parametrize("value", ["", "yes", "2", "maybe"])
def test_a_hold_that_makes_no_sense_is_refused(value: str) -> None:
    """By name, instead of guessing."""
    with pytest.raises(BadRequest, match="true or false") as caught:
        wishes(x_aicore_hold=value)

    assert "x-aicore-hold" == caught.value.param
