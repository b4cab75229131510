"""The HTTP/1.1 reader and the request head."""

from __future__ import annotations

import pytest

from perf.http1 import MAX_HEAD, AnswerReader, MalformedAnswer, request_head

COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Request-Id: 1\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: text/event-stream\r\n\r\n3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n"
)


@pytest.mark.parametrize("answer", [COUNTED, CHUNKED])
def test_the_body_does_not_depend_on_where_the_bytes_are_cut(answer: bytes) -> None:
    """Every cut of an answer with a length, and of a chunked one with extension and trailer."""
    found = set()
    for cut in range(len(answer) + 1):
        reader = AnswerReader()
        body = (
            b"".join(reader.feed(answer[:cut]) + reader.feed(answer[cut:]))
            if cut
            else b"".join(reader.feed(answer))
        )
        found.add((reader.status, body, reader.complete, reader.keep_alive))

    assert {(200, b"hello", True, True)} == found


def test_byte_by_byte_gives_the_same() -> None:
    """The worst network there is."""
    reader = AnswerReader()
    body = b"".join(piece for n in range(len(CHUNKED)) for piece in reader.feed(CHUNKED[n : n + 1]))

    assert (body, reader.complete) == (b"hello", True)


def test_an_answer_without_length_ends_with_the_connection() -> None:
    """And the connection cannot be used again."""
    reader = AnswerReader()
    reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")

    assert (reader.complete, reader.eof(), reader.keep_alive) == (False, True, False)


def test_a_chunked_answer_that_the_connection_cuts_is_not_whole() -> None:
    """However clean the closing was."""
    reader = AnswerReader()
    reader.feed(CHUNKED[:-10])

    assert reader.eof() is False


def test_no_content_has_no_body() -> None:
    """204 is complete with its head."""
    reader = AnswerReader()
    reader.feed(b"HTTP/1.1 204 No Content\r\n\r\n")

    assert reader.complete


@pytest.mark.parametrize(
    "bytes_",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
        b"x" * (MAX_HEAD + 1),
    ],
)
def test_what_is_not_http_is_refused(bytes_: bytes) -> None:
    """With an error of its own."""
    with pytest.raises(MalformedAnswer):
        AnswerReader().feed(bytes_)


def test_a_line_break_in_a_header_is_refused() -> None:
    """A recording must not be able to smuggle a second request."""
    with pytest.raises(ValueError, match="line break"):
        request_head("GET", "/", "h", {"x": "1\r\nevil: 1"}, 0)


def test_the_head_carries_the_length_of_the_body() -> None:
    """And names in small letters."""
    head = b"POST /p HTTP/1.1\r\nhost: h:1\r\naccept: a\r\ncontent-length: 7\r\n\r\n"

    assert head == request_head("POST", "/p", "h:1", {"Accept": "a"}, 7)
