"""Answers of the Responses API, as events (wire §8.8)."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from services.errors import UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamLimited
from services.translation.callers.responses import CALLER
from services.translation.dialects import ReplyInfo
from services.translation.events import (
    Cited,
    Counted,
    Event,
    RedactedPiece,
    RefusalPiece,
    Signed,
    Started,
    Stopped,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
    collect,
)
from services.translation.translate import Telling, Translation
from services.translation.upstreams.responses import UPSTREAM
from tests.services.translation import responses_samples as sample
from tests.services.translation.responses_samples import CALL, CREATED, DONE, STREAM, THROTTLED, frame
from tests.services.translation.samples import sse

INFO = ReplyInfo("01ab", 1_760_000_000, "our-gpt", CALLER.parse(sample.body(store=False)))


def read(*frames: str) -> list[Event]:
    """All events of these frames."""
    reader = UPSTREAM.reader(INFO)
    events = [event for data in frames for event in reader.feed(data.encode())]
    return events + reader.close()


def during(*frames: str) -> list[Event]:
    """The events of these frames between begin and end."""
    events = read(CREATED, *frames, frame(9, "response.completed", response=sample.response("completed")))

    assert (Started(), Stopped("stop")) == (events[0], events[-1])
    return events[1:-1]


def answered(**members: Any) -> list[Event]:
    """The events of a whole answer."""
    return list(UPSTREAM.answer(json.dumps(sample.response("completed", **members)).encode(), INFO))


TOKENS = Tokens(uncached=16, cache_read=10, cache_write_5m=4, output=12, reasoning=8)
EVENTS: list[Event] = [
    Started(),
    ThinkingPiece("One."),
    ThinkingPiece("\n\nTwo."),
    Signed("gAAAAAB-cipher", "responses"),
    TextPiece("Grüße\u2028"),
    TextPiece("data: 😀"),
    ToolOpened("call_1", "weather"),
    ToolPiece('{"city"'),
    ToolPiece(':"Ulm"}'),
    Counted(TOKENS),
    Stopped("stop"),
]


def test_a_stream() -> None:
    """Reasoning with its proof, text, a call, usage, the end; a kind from the future says nothing."""
    assert EVENTS == read(*STREAM)


def test_a_whole_answer_says_the_same() -> None:
    """Put together, both are one message."""
    assert collect(EVENTS) == collect(UPSTREAM.answer(json.dumps(DONE).encode(), INFO))


# --- the same at every cut ---


def translated(*pieces: bytes) -> bytes:
    """The stream for a Responses caller."""
    one = Translation(UPSTREAM.reader(INFO), CALLER.writer(INFO), Telling({}))
    return b"".join([one.feed(piece) for piece in pieces]) + one.close()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_trap_11_a_stream_does_not_depend_on_where_its_bytes_are_cut(end: str) -> None:
    """Traps 10, 11, 12: cut at every byte, also inside a character, the caller gets the same."""
    stream = sse(*STREAM, end=end)
    expected = translated(stream)

    assert "response.completed" == sample.told(expected)[-1]["type"]
    for cut in range(len(stream)):
        assert expected == translated(stream[:cut], stream[cut:])


@given(st.lists(st.integers(0, 5_000), max_size=12))
def test_nor_on_how_many_pieces_there_are(cuts: list[int]) -> None:
    """Any split into any number of pieces."""
    stream = sse(*STREAM)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    assert translated(stream) == translated(*(stream[a:b] for a, b in pairwise(bounds)))


@pytest.mark.parametrize("count", range(len(STREAM)))
def test_trap_24_a_stream_that_is_cut_never_looks_complete(count: int) -> None:
    """Trap 24: whichever frame was the last."""
    with pytest.raises(UpstreamBroken):
        read(*STREAM[:count])


# --- reasoning ---


def test_reasoning_without_summary_is_for_the_model_alone() -> None:
    """It goes back whole."""
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "c"}

    assert [RedactedPiece("c", "responses")] == during(
        frame(1, "response.output_item.added", output_index=0, item=item),
        frame(2, "response.output_item.done", output_index=0, item=item),
    )


def test_reasoning_that_was_told_in_one_piece() -> None:
    """Without deltas the item itself has the text, also as raw `reasoning_text`."""
    said = {"id": "rs_1", "type": "reasoning", "summary": [], "content": [{"text": "a"}, {"text": "b"}]}

    assert [ThinkingPiece("a\n\nb")] == during(
        frame(1, "response.output_item.done", output_index=0, item=said)
    )


def test_raw_reasoning_is_thinking() -> None:
    """Open models do not summarise."""
    delta = frame(1, "response.reasoning_text.delta", output_index=0, content_index=0, delta="a")

    assert [ThinkingPiece("a")] == during(delta)


# --- text ---


def test_a_refusal() -> None:
    """Its pieces are no text; the response is complete all the same."""
    delta = frame(1, "response.refusal.delta", output_index=0, content_index=0, delta="I won't")

    assert [RefusalPiece("I won't")] == during(delta)


def test_a_message_without_deltas() -> None:
    """The item that is done has it all."""
    content = [
        {"type": "output_text", "text": "a", "annotations": [{"type": "url_citation", "url": "https://a"}]},
        {"type": "refusal", "refusal": "b"},
        {"type": "output_text", "text": ""},
    ]
    item = {"type": "message", "role": "assistant", "content": content}

    expected = [TextPiece("a"), Cited("https://a"), RefusalPiece("b")]
    assert expected == during(frame(1, "response.output_item.done", output_index=0, item=item))


def test_sources_of_the_text() -> None:
    """Those with a URL; SAP AI Core keeps no files to cite."""

    def annotated(**annotation: str) -> str:
        return frame(2, "response.output_text.annotation.added", output_index=0, annotation=annotation)

    text = frame(1, "response.output_text.delta", output_index=0, delta="a")
    expected = [TextPiece("a"), Cited("https://a", "A")]
    assert expected == during(text, annotated(url="https://a", title="A"), annotated(file_id="f"))


def test_no_piece_is_empty() -> None:
    """Azure may send empty deltas."""
    empty = [
        frame(1, f"response.{kind}.delta", output_index=0, delta="")
        for kind in ("output_text", "refusal", "reasoning_summary_text", "function_call_arguments")
    ]

    assert [] == during(*empty)


# --- calls ---


def call(index: int, kind: str, **members: Any) -> str:
    """A frame about a call."""
    item = CALL | {"call_id": f"call_{index}", **members}
    return frame(1, f"response.output_item.{kind}", output_index=index, item=item)


def arguments(index: int, kind: str, **members: Any) -> str:
    """A frame with arguments."""
    return frame(1, f"response.function_call_arguments.{kind}", output_index=index, **members)


def test_arguments_that_come_at_once() -> None:
    """`done` counts only if no piece was seen before, and so does the item."""
    frames = (
        call(0, "added", arguments=""),
        arguments(0, "done", arguments="{}"),
        call(0, "done", arguments="{}"),
        call(1, "done", arguments='{"a":1}'),
        call(2, "added", arguments=""),
        arguments(2, "done", arguments=""),
        call(2, "done", arguments=""),
    )

    expected = [
        ToolOpened("call_0", "weather"),
        ToolPiece("{}"),
        ToolOpened("call_1", "weather"),
        ToolPiece('{"a":1}'),
        ToolOpened("call_2", "weather"),
    ]
    assert expected == during(*frames)


def test_calls_that_interleave_are_put_in_order() -> None:
    """One is told to its end, then the next (trap 33)."""
    frames = (
        call(0, "added"),
        call(1, "added"),
        call(2, "added"),
        arguments(1, "delta", delta='{"b"'),
        arguments(0, "delta", delta='{"a"'),
        arguments(2, "delta", delta='{"c"'),
        arguments(1, "delta", delta=":1}"),
        call(1, "done"),
        arguments(0, "delta", delta=":0}"),
        call(0, "done"),
        arguments(2, "delta", delta=":2}"),
    )

    expected = [
        ToolOpened("call_0", "weather"), ToolPiece('{"a"'), ToolPiece(":0}"),
        ToolOpened("call_1", "weather"), ToolPiece('{"b"'), ToolPiece(":1}"),
        ToolOpened("call_2", "weather"), ToolPiece('{"c"'), ToolPiece(":2}"),
    ]  # fmt: skip
    assert expected == during(*frames)


def test_what_still_waits_comes_before_the_end() -> None:
    """Nothing is lost if an item never ends."""
    frames = (call(0, "added"), call(1, "added"), arguments(0, "delta", delta="{}"))

    expected = [ToolOpened("call_0", "weather"), ToolPiece("{}"), ToolOpened("call_1", "weather")]
    assert expected == during(*frames)


def test_items_of_unknown_kind_say_nothing() -> None:
    """They come from the future."""
    item = {"type": "hologram", "content": "x"}

    assert [] == during(
        frame(1, "response.output_item.added", output_index=0, item=item),
        frame(2, "response.output_item.done", output_index=0, item=item),
    )


# --- the end ---


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        ({"reason": "from the future"}, "length"),
        (None, "length"),
    ],
)
def test_an_incomplete_answer(why: dict[str, str] | None, reason: Any) -> None:
    """Trap 41: with its usage; filters are no lack of tokens (wire §6.3, §8.0)."""
    cut = sample.response("incomplete", incomplete_details=why, usage={"input_tokens": 3, "output_tokens": 2})
    expected = [Counted(Tokens(uncached=3, output=2)), Stopped(reason)]

    assert [Started(), *expected] == read(frame(0, "response.incomplete", response=cut))
    assert [Started(), *expected] == list(UPSTREAM.answer(json.dumps(cut).encode(), INFO))


def test_an_answer_without_created_begins_all_the_same() -> None:
    """Whoever writes it needs the start."""
    delta = frame(1, "response.output_text.delta", output_index=0, delta="a")

    assert [Started(), TextPiece("a")] == UPSTREAM.reader(INFO).feed(delta.encode())


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        (THROTTLED, UpstreamLimited),
        ((CREATED, sample.FAILED), UpstreamFailed),
        (THROTTLED[:2], UpstreamFailed),
        ((CREATED, frame(1, "response.cancelled", response=sample.response("cancelled"))), UpstreamFailed),
        (('{"error":{"code":"429","message":"m"}}',), UpstreamLimited),
        ((frame(1, "error", code="rate_limit_exceeded", message="m"),), UpstreamLimited),
        (("no json",), UpstreamBroken),
        (('{"type":"response.completed"}',), UpstreamBroken),
    ],
)
def test_trap_14_errors_inside_a_stream(frames: tuple[str, ...], error: type[UpstreamError]) -> None:
    """Trap 14: throttled, failed with and without a reason, cancelled, and what cannot be read."""
    with pytest.raises(error) as caught:
        read(*frames)

    assert error is type(caught.value)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (json.dumps(sample.response("failed", error={"code": "rate_limit_exceeded"})), UpstreamLimited),
        (json.dumps(sample.response("failed")), UpstreamFailed),
        (json.dumps(sample.response("queued")), UpstreamBroken),
        ('{"error":{"message":"m"}}', UpstreamFailed),
        ("[]", UpstreamBroken),
        ("no json", UpstreamBroken),
        (
            json.dumps(sample.response("completed", output=[{"type": "message", "content": 1}])),
            UpstreamBroken,
        ),
    ],
)
def test_errors_instead_of_an_answer(body: str, error: type[UpstreamError]) -> None:
    """A failed response is no answer."""
    with pytest.raises(error) as caught:
        UPSTREAM.answer(body.encode(), INFO)

    assert error is type(caught.value)


def test_an_answer_without_usage() -> None:
    """Nothing is counted, and nothing made up."""
    assert [Started(), Stopped("stop")] == answered(usage=None)


def test_usage_with_gaps_and_floats() -> None:
    """They are no reason to call an answer broken."""
    usage = {"input_tokens": 3.0, "output_tokens": None, "input_tokens_details": {"cached_tokens": 1.0}}

    assert Counted(Tokens(2, cache_read=1)) in answered(usage=usage)


# --- frames of another form ---


def test_a_frame_from_the_future_may_have_another_form() -> None:
    """Its kind is unknown, so nothing in it has to fit."""
    future = frame(1, "response.future.delta", delta={"x": 1}, output_index="one", arguments=[])

    assert [] == during(future)


@pytest.mark.parametrize(
    "members", [{"delta": 5}, {"output_index": []}, {"output_index": "0"}, {"summary_index": None}]
)
@pytest.mark.parametrize("kind", ["output_text.delta", "reasoning_summary_text.delta", "output_item.done"])
def test_a_known_frame_of_another_form_is_broken(kind: str, members: dict[str, Any]) -> None:
    """Never something that fails later."""
    with pytest.raises(UpstreamBroken):
        read(CREATED, frame(1, f"response.{kind}", **{"output_index": 0, "delta": "x"} | members))


def test_arguments_of_a_call_that_was_not_opened_come_with_its_item() -> None:
    """A piece without a call would belong to another one."""
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    kind = "response.function_call_arguments"

    assert [ToolOpened("c", "f"), ToolPiece("{}")] == during(
        frame(1, f"{kind}.delta", output_index=0, delta="{}"),
        frame(2, f"{kind}.done", output_index=0, arguments="{}"),
        frame(3, "response.output_item.done", output_index=0, item=item),
    )
