"""Server-sent events from bytes: the same events however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from services.errors import UpstreamBroken
from services.translation.frames import DONE, SSEParser, event
from tests.services.translation.samples import AZURE, sse

# Bytes → the data of their events.
CASES: dict[str, tuple[bytes, list[bytes]]] = {
    "lf": (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "cr": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed ends": (b"data: a\r\n\ndata: b\n\rdata: c\r\r\n", [b"a", b"b", b"c"]),
    "bom": (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    "half a bom is none": (b"\xef\xbbdata: a\n\ndata: b\n\n", [b"b"]),
    "a bom after a line": (b"\n\xef\xbb\xbfdata: a\n\ndata: b\n\n", [b"b"]),
    "only half a bom": (b"\xef\xbb", []),
    "comment": (b": ping\n\ndata: a\n: in between\n\n:\n\n", [b"a"]),
    "other fields": (b"event: x\nid: 7\nretry: 10\ndata: a\n\nevent: y\n\n", [b"a"]),
    "several data lines": (b"data: a\ndata: b\n\ndata: c\n\n", [b"a\nb", b"c"]),
    "no space after the colon": (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
    "no colon": (b"data\n\ndatabase: x\n\n", [b""]),
    "no blank line at the end": (b"data: a\n\ndata: b", [b"a", b"b"]),
    "one line end at the end": (b"data: a\r\n\r\ndata: b\r\n", [b"a", b"b"]),
    "many blank lines": (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [b"a", b"b"]),
    "unicode line ends": (
        "data: a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n\n".encode(),
        ["a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg".encode()],
    ),
    "prefix inside the text": (b"data: say data: x\n\n", [b"say data: x"]),
    "nothing": (b"", []),
}


def parsed(*pieces: bytes) -> list[bytes]:
    """All events of these pieces."""
    parser = SSEParser()
    return [data for piece in pieces for data in parser.feed(piece)] + parser.close()


@pytest.mark.parametrize("name", CASES)
def test_trap_10_and_11_events_do_not_depend_on_where_the_bytes_are_cut(name: str) -> None:
    """Traps 10, 11: every split into two gives the events of the whole, as does one byte at a time."""
    stream, expected = CASES[name]

    for cut in range(len(stream) + 1):
        assert expected == parsed(stream[:cut], stream[cut:])
    assert expected == parsed(*(stream[at : at + 1] for at in range(len(stream))))


@pytest.mark.parametrize("name", CASES)
def test_empty_pieces_change_nothing(name: str) -> None:
    """A read that brings no bytes is harmless, even between the halves of a CRLF."""
    stream, expected = CASES[name]

    pieces = [piece for at in range(len(stream)) for piece in (b"", stream[at : at + 1], b"")]
    assert expected == parsed(*pieces)


@given(
    lines=st.lists(
        st.sampled_from([b"", b"data: a", b"data:b", b"data", b":", b"event: x", "data: \u2028é".encode()]),
        max_size=12,
    ),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    cuts=st.lists(st.integers(min_value=0, max_value=200), max_size=8),
)
def test_any_lines_in_any_pieces_are_read_alike(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    """Whatever the lines and their ends, the events are those of the specification, at every split."""
    stream = b"".join(line + end for line in lines)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    expected = _by_the_specification(lines)
    assert expected == parsed(*(stream[a:b] for a, b in pairwise(bounds)))


def _by_the_specification(lines: list[bytes]) -> list[bytes]:
    events: list[bytes] = []
    data: list[bytes] = []
    for line in [*lines, b""]:
        if not line and data:
            events.append(b"\n".join(data))
            data = []
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
    return events


def test_a_whole_event_is_given_out_at_once() -> None:
    """Nobody waits for the next event to get this one."""
    parser = SSEParser()

    assert [b"a"] == parser.feed(b"data: a\n\n")
    assert [b"b"] == parser.feed(b"data: b\r\n\r\n")


def test_an_event_without_end_is_refused_at_the_limit() -> None:
    """Nothing is collected without bound."""
    parser = SSEParser(max_frame_bytes=10)
    parser.feed(b"data: 1234")

    with pytest.raises(UpstreamBroken, match="exceeds 10 bytes"):
        parser.feed(b"5")


def test_the_limit_is_for_one_event_and_not_for_the_stream() -> None:
    """Many events in one piece may exceed it together."""
    parser = SSEParser(max_frame_bytes=10)

    assert [b"1"] * 20 + [b"2"] == parser.feed(b"data: 1\n\n" * 20 + b"data: 2\n\ndata")


def test_closing_twice_gives_the_last_event_once() -> None:
    """What was left over is given out once."""
    parser = SSEParser()
    parser.feed(b"data: a")

    assert [b"a"] == parser.close()
    assert [] == parser.close()


def test_an_event_that_is_written_can_be_read() -> None:
    """`event` is the parser's mirror."""
    assert [b'{"a":1}', DONE] == parsed(event(b'{"a":1}') + event(DONE))


def test_a_recorded_stream_gives_its_frames() -> None:
    """The Azure stream of wire §4.1 is read frame by frame."""
    assert [frame.encode() for frame in AZURE] == parsed(sse(*AZURE))
