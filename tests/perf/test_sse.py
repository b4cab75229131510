"""Splitting and judging streams."""

from __future__ import annotations

import pytest

from perf.sse import MAX_FRAME, FrameSplitter, FrameTooLarge, StreamJudge
from tests.perf.stub import DONE, FAULTS, WHOLE, frame

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


def judged(pieces: list[bytes]) -> StreamJudge:
    """A judge that has seen these pieces."""
    judge = StreamJudge()
    for piece in pieces:
        judge.feed(piece)
    return judge


@pytest.mark.parametrize("cut", range(len(b"".join(WHOLE)) + 1))
def test_a_whole_stream_is_whole_at_every_cut(cut: int) -> None:
    """Three chunks with output, six frames, usage read, nothing missing."""
    whole = b"".join(WHOLE)
    judge = judged([whole[:cut], whole[cut:]])

    assert (judge.missing(), judge.failure) == (None, None)
    assert (judge.chunks, judge.frames, judge.prompt_tokens, judge.completion_tokens) == (3, 6, 9, 3)


def test_the_role_frame_is_no_output() -> None:
    """Time to first token waits for something that the model wrote."""
    judge = StreamJudge()

    assert (judge.feed(WHOLE[0]), judge.feed(WHOLE[1])) == (0, 1)


@pytest.mark.parametrize(("name", "missing"), [("no-done", "[DONE]"), ("no-finish", "finish reason")])
def test_a_truncated_stream_is_named(name: str, missing: str) -> None:
    """Without its finish reason, or without its terminator."""
    assert missing in str(judged(FAULTS[name]).missing())


def test_an_error_inside_a_stream_is_seen() -> None:
    """Also between frames that look healthy."""
    assert "exceeded token rate limit" in str(judged(FAULTS["error-event"]).failure)


def test_text_that_speaks_of_errors_is_no_error() -> None:
    """Only the key counts, not the word in an answer."""
    told = frame({"content": '{"error": "x", "finish_reason": "stop"}'})
    judge = judged([*WHOLE[:2], told])

    assert (judge.failure, judge.finished, judge.chunks) == (None, False, 2)


def test_an_anthropic_stream_ends_with_message_stop() -> None:
    """It has no [DONE]."""
    pieces = [
        b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"a"}}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ]
    judge = judged(pieces)

    assert (judge.missing(), judge.chunks) == (None, 1)


@pytest.mark.parametrize("payload", [b"data: {broken\n\n", b"data: [1]\n\n"])
def test_a_malformed_frame_raises(payload: bytes) -> None:
    """Not JSON, or not an object."""
    with pytest.raises(ValueError, match="not a JSON object"):
        StreamJudge().feed(payload)


def test_done_is_not_a_frame() -> None:
    """So chunks per stream compare with what the upstream sent."""
    assert judged([DONE]).frames == 0
