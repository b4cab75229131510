"""Judging streams of every dialect: first output, end, errors, tokens."""

from __future__ import annotations

from typing import Any

import pytest

from perf.dialects import BEDROCK, CHAT, GEMINI, MESSAGES, RESPONSES, Dialect
from perf.judge import StreamJudge
from perf.simulator.executables import eventstream
from tests.perf.streams import (
    CONTENTS,
    DONE,
    FAULTS,
    MESSAGE,
    RESPONSE,
    SAMPLES,
    WHOLE,
    Sample,
    binary,
    data,
    frame,
    named,
    part,
    piece,
)  # fmt: skip


def judged(dialect: Dialect, *pieces: bytes) -> StreamJudge:
    """A judge that has seen these pieces."""
    judge = StreamJudge(dialect)
    for one in pieces:
        judge.feed(one)
    return judge


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_whole_stream_is_whole_at_every_cut(sample: Sample) -> None:
    """Three chunks with output, all frames counted, usage read, nothing missing."""
    whole = b"".join(sample.frames)
    found = set()
    for cut in range(len(whole) + 1):
        judge = judged(sample.dialect, whole[:cut], whole[cut:])
        tokens = judge.prompt_tokens, judge.completion_tokens
        found.add((judge.missing(), judge.failure, judge.chunks, judge.frames, *tokens))

    frames = len(sample.frames) - (sample.dialect is CHAT)
    assert {(None, None, 3, frames, 9, sample.completion_tokens)} == found


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_the_first_output_is_what_the_model_wrote(sample: Sample) -> None:
    """Roles, opened messages and opened blocks are what a caller does not wait for."""
    judge = StreamJudge(sample.dialect)
    counts = [judge.feed(one) for one in sample.frames]

    assert sample.first == counts.index(1)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_stream_cut_between_two_frames_is_truncated(sample: Sample) -> None:
    """Wherever it is cut: no part of a stream passes for the whole."""
    missing = [
        judged(sample.dialect, *sample.frames[:count]).missing() for count in range(len(sample.frames))
    ]

    assert all(missing)


@pytest.mark.parametrize(
    ("dialect", "frames", "missing"),
    [
        (CHAT, FAULTS["no-done"], "[DONE]"),
        (CHAT, FAULTS["no-finish"], "finish reason"),
        (CHAT, [*FAULTS["no-finish"], DONE], "finish reason"),
        (MESSAGES, [named(event) for event in MESSAGE[:-1]], "message_stop"),
        (MESSAGES, [named(event) for event in MESSAGE[:-2]], "finish reason"),
        (RESPONSES, [named(event) for event in RESPONSE[:-1]], "finish reason"),
        (RESPONSES, [named(event) for event in RESPONSE[:-1]] + [DONE], "finish reason"),
        (GEMINI, [data(event) for event in CONTENTS[:-1]], "finish reason"),
    ],
)
def test_what_a_truncated_stream_lacks_is_named(dialect: Dialect, frames: list[bytes], missing: str) -> None:
    """Its finish reason, or its terminator; another dialect's terminator is none."""
    assert missing in str(judged(dialect, *frames).missing())


@pytest.mark.parametrize(
    ("dialect", "frames"),
    [
        (RESPONSES, [named({"type": "response.incomplete", "response": {"incomplete_details": {}}})]),
        (GEMINI, [data({"promptFeedback": {"blockReason": "SAFETY"}})]),
        (MESSAGES, [named(MESSAGE[-2]), named(MESSAGE[-1]), DONE]),
    ],
)
def test_other_endings_are_whole_too(dialect: Dialect, frames: list[bytes]) -> None:
    """An answer cut by its limit, a blocked prompt, and a [DONE] where none belongs."""
    assert judged(dialect, *frames).missing() is None


TOO_MANY = {"type": "error", "error": {"type": "too_many_requests", "message": "slow down"}}
FAILED: dict[str, Any] = {"type": "response.failed", "response": {"error": None}}


@pytest.mark.parametrize(
    ("dialect", "frames", "failure"),
    [
        (CHAT, FAULTS["error-event"], "exceeded token rate limit"),
        (MESSAGES, [named(TOO_MANY)], "slow down"),
        (MESSAGES, [data({"type": "error", "message": "ThrottlingException: x"})], "ThrottlingException"),
        (RESPONSES, [named(FAILED)], "response.failed"),
        (RESPONSES, [named(FAILED | {"response": {"error": {"message": "boom"}}})], "boom"),
        (RESPONSES, [named(FAILED), named(TOO_MANY)], "slow down"),
        (RESPONSES, [named({"type": "error", "code": "x", "message": "flat"})], "flat"),
        (GEMINI, [data({"error": {"code": 429, "message": "RESOURCE_EXHAUSTED"}})], "RESOURCE_EXHAUSTED"),
        (BEDROCK, [eventstream.exception("throttlingException", b'{"message":"slow down"}')], "slow down"),
    ],
)
def test_an_error_inside_a_stream_is_seen(dialect: Dialect, frames: list[bytes], failure: str) -> None:
    """In the words of whoever sent it."""
    assert failure in str(judged(dialect, *frames).failure)


TELLING = '{"error": "x", "finish_reason": "stop", "finishReason": "STOP", "type": "message_stop"}'


@pytest.mark.parametrize(
    ("dialect", "opening", "told"),
    [
        (CHAT, WHOLE[1], frame({"content": TELLING})),
        (MESSAGES, named(piece(type="text_delta", text="a")), named(piece(type="text_delta", text=TELLING))),
        (BEDROCK, binary(piece(type="text_delta", text="a")), binary(piece(type="text_delta", text=TELLING))),
        (
            RESPONSES,
            named({"type": "response.output_text.delta", "delta": "a"}),
            named({"type": "response.output_text.delta", "delta": TELLING}),
        ),
        (GEMINI, data(part({"text": "a"})), data(part({"text": TELLING}))),
    ],
)
def test_text_that_speaks_of_ends_and_errors_is_neither(
    dialect: Dialect, opening: bytes, told: bytes
) -> None:
    """Only the keys count, not the words in an answer."""
    judge = judged(dialect, opening, told)

    assert (judge.failure, judge.finished, judge.done, judge.chunks) == (None, False, False, 2)


@pytest.mark.parametrize(
    ("dialect", "called"),
    [
        (MESSAGES, {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}}),
        (RESPONSES, {"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}}),
        (GEMINI, part({"functionCall": {"name": "f"}})),
        (CHAT, {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f"}}]}}]}),
        (CHAT, {"choices": [{"text": "legacy", "finish_reason": None}]}),
    ],
)
def test_a_call_is_output_as_soon_as_it_is_named(dialect: Dialect, called: Any) -> None:
    """So that the first output is the same moment in every dialect; and a legacy completion's text."""
    assert judged(dialect, data(called)).chunks == 1


@pytest.mark.parametrize(
    ("dialect", "payload"),
    [
        (CHAT, b"data: {broken\n\n"),
        (CHAT, b"data: [1]\n\n"),
        (CHAT, b'data: {"choices":7}\n\n'),
        (MESSAGES, b'data: {"type":"content_block_start"}\n\n'),
        (BEDROCK, eventstream.event("chunk", b"{}")[:-1] + b"\0"),
        (BEDROCK, eventstream.event("chunk", b"{broken")),
        (BEDROCK, b"HTTP/1.1 502"),
    ],
)
def test_a_malformed_frame_raises(dialect: Dialect, payload: bytes) -> None:
    """Not JSON, not an object, of an unknown shape, or a damaged binary message."""
    with pytest.raises(ValueError, match=r"frame|binary message"):
        judged(dialect, payload)


def test_done_is_not_a_frame() -> None:
    """So chunks per stream compare with what the upstream sent."""
    assert judged(CHAT, DONE).frames == 0


def test_a_figure_of_null_forgets_nothing() -> None:
    """A later event may name what it does not know."""
    judge = judged(
        MESSAGES, named(MESSAGE[0]), data({"type": "message_delta", "usage": {"input_tokens": None}})
    )

    assert judge.prompt_tokens == 9
