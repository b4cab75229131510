"""Splitting server-sent events."""

from __future__ import annotations

import pytest

from perf.sse import MAX_FRAME, FrameSplitter, FrameTooLarge

RECORDED = (
    b': heartbeat\n\ndata: {"a":1}\n\nevent: x\ndata: two\ndata: lines\r\n\r\n'
    b"data:no space\r\rdata: \xe2\x80\xa8 stays\n\n\ndata: [DONE]\n\ndata: never ended"
)
PAYLOADS = [b'{"a":1}', b"two\nlines", b"no space", b"\xe2\x80\xa8 stays", b"[DONE]"]


@pytest.mark.parametrize("cut", range(len(RECORDED) + 1))
def test_payloads_do_not_depend_on_where_the_bytes_are_cut(cut: int) -> None:
    """Two pieces give what one gives, with LF, CRLF and CR mixed."""
    splitter = FrameSplitter()

    assert splitter.feed(RECORDED[:cut]) + splitter.feed(RECORDED[cut:]) == PAYLOADS


def test_payloads_do_not_depend_on_the_size_of_the_pieces() -> None:
    """Byte by byte, too."""
    splitter = FrameSplitter()

    assert [
        payload for n in range(len(RECORDED)) for payload in splitter.feed(RECORDED[n : n + 1])
    ] == PAYLOADS


def test_a_frame_without_an_end_is_refused() -> None:
    """What a stream may make us keep is bounded."""
    with pytest.raises(FrameTooLarge):
        FrameSplitter().feed(b"x" * (MAX_FRAME + 1))
