"""Amazon's binary event stream, read by Amazon's own parser (wire §4.3, §4.4)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import pytest
from botocore.eventstream import (  # type: ignore[import-untyped]  # it has none
    ChecksumMismatch,
    EventStreamBuffer,
)

from perf.simulator.answers import EventStream
from perf.simulator.errors import Problem
from tests.perf.simulator.executables.bedrock_calls import (
    EVENTSTREAM,
    NOVA,
    SONNET_45,
    call,
    claude,
    claude_events,
    converse_events,
    stream,
    talk,
)

SAID = "echo: It's größer"
ROUTES = [
    ("invoke-with-response-stream", claude(SAID), SONNET_45),
    ("converse-stream", talk(SAID), NOVA),
]


def parsed(pieces: Iterable[bytes]) -> list[tuple[dict[str, Any], Any]]:
    """Headers and payload of each message."""
    buffer = EventStreamBuffer()
    found = []
    for piece in pieces:
        buffer.add_data(piece)
        found += [(message.headers, json.loads(message.payload)) for message in buffer]
    return found


def binary(subpath: str, body: Any, model: str) -> bytes:
    """The stream as it is sent to who accepts binary messages."""
    return stream(subpath, body, model, accept=EVENTSTREAM)


def test_invoke_wraps_each_event_in_a_chunk() -> None:
    """Base64 of the same events that the text stream has."""
    messages = parsed([binary(*ROUTES[0])])
    events = [json.loads(base64.b64decode(payload["bytes"])) for _, payload in messages]
    text = claude_events(stream(*ROUTES[0]))

    assert {("event", "chunk", "application/json")} == {
        (h[":message-type"], h[":event-type"], h[":content-type"]) for h, _ in messages
    }
    assert text[1:] == events[1:]
    assert text[0]["message"]["usage"] == events[0]["message"]["usage"]


def test_converse_names_each_event() -> None:
    """In a header; the payload is what stands behind the name."""
    messages = parsed([binary(*ROUTES[1])])

    assert converse_events(stream(*ROUTES[1])) == [
        {headers[":event-type"]: payload} for headers, payload in messages
    ]


@pytest.mark.parametrize("route", ROUTES, ids=[route[0] for route in ROUTES])
def test_messages_do_not_depend_on_where_the_bytes_are_cut(route: Any) -> None:
    """Two pieces give the same messages as one, at every cut."""
    raw = binary(*route)
    expected = parsed([raw])

    assert expected
    assert all(expected == parsed([raw[:cut], raw[cut:]]) for cut in range(len(raw) + 1))


@pytest.mark.parametrize("route", ROUTES, ids=[route[0] for route in ROUTES])
def test_the_content_type_follows_the_accept_header(route: Any) -> None:
    """Text unless binary is asked for."""
    subpath, body, model = route
    answers = [call(subpath, body, model, accept=accept) for accept in (b"*/*", b"x, " + EVENTSTREAM)]

    assert [b"text/event-stream; charset=utf-8", EVENTSTREAM] == [answer.content_type for answer in answers]


@pytest.mark.parametrize("route", ROUTES, ids=[route[0] for route in ROUTES])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "validationException"),
        (429, "throttlingException"),
        (500, "internalServerException"),
        (503, "serviceUnavailableException"),
    ],
)
def test_an_error_is_an_exception_message(route: Any, status: int, kind: str) -> None:
    """Named in a header."""
    subpath, body, model = route
    answer = call(subpath, body, model, accept=EVENTSTREAM)
    assert isinstance(answer, EventStream)
    assert answer.failed is not None
    ((headers, payload),) = parsed([answer.failed(Problem(status, "no"))])

    assert ("exception", kind) == (headers[":message-type"], headers[":exception-type"])
    assert {"message": "no"} == payload


@pytest.mark.parametrize("route", ROUTES, ids=[route[0] for route in ROUTES])
def test_a_malformed_message_has_a_wrong_checksum(route: Any) -> None:
    """Which a client must notice."""
    subpath, body, model = route
    answer = call(subpath, body, model, accept=EVENTSTREAM)
    assert isinstance(answer, EventStream)
    with pytest.raises(ChecksumMismatch):
        parsed([answer.malformed or b""])
