"""AWS event streams, as boto reads them."""

from __future__ import annotations

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, strategies as st

from services.translation.frames import aws_event, aws_headers

HEADERS = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
PAYLOADS = (b"", b"{}", b'{"bytes":"e30="}', "Grüße 😀".encode(), b"x" * 70_000)
STREAM = b"".join(aws_event(aws_headers(HEADERS), payload) for payload in PAYLOADS[:4])


def read(*pieces: bytes) -> list[tuple[dict[str, str], bytes]]:
    """Headers and payloads, checksums verified."""
    buffer = EventStreamBuffer()
    found = []
    for piece in pieces:
        buffer.add_data(piece)
        found += [(message.headers, message.payload) for message in buffer]
    return found


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_message_is_read_as_it_was_written(payload: bytes) -> None:
    """Headers and payload survive, both checksums hold."""
    assert [(HEADERS, payload)] == read(aws_event(aws_headers(HEADERS), payload))


def test_messages_follow_each_other_at_every_cut() -> None:
    """The lengths say where one ends."""
    whole = [(HEADERS, payload) for payload in PAYLOADS[:4]]

    assert all(whole == read(STREAM[:cut], STREAM[cut:]) for cut in range(len(STREAM) + 1))


@given(st.dictionaries(st.text(min_size=1, max_size=40), st.text(max_size=200), max_size=5), st.binary())
def test_any_headers_and_bytes_survive(headers: dict[str, str], payload: bytes) -> None:
    """Lengths are those of the UTF-8 bytes."""
    assert [(headers, payload)] == read(aws_event(aws_headers(headers), payload))
