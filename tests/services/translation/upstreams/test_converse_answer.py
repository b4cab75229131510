"""Answers and streams of Bedrock's converse."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from services.errors import UpstreamBroken, UpstreamFailed, UpstreamLimited, UpstreamRefused
from services.translation.conversation import Redacted, Text, Thinking, ToolUse
from services.translation.events import (
    Counted,
    Event,
    Started,
    Stopped,
    StopReason,
    TextPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
    collect,
)
from services.translation.upstreams.converse import UPSTREAM
from tests.services.translation.upstreams.bedrock_samples import (
    CONVERSE,
    INFO,
    json_sse,
    repr_sse,
    translated,
)

STREAM = repr_sse(CONVERSE)
TOKENS = Tokens(uncached=12, cache_read=4, cache_write_5m=2, output=9)
BLOCKS = (
    Thinking("Hm, ", "Sig", "converse"),
    Redacted("ACf/", "converse"),
    Text("It's \"Grüße\"\n'data: 😀\u2028"),
    ToolUse("tooluse_1", "f", '{"city": "Ulm"}'),
)
CONTENT: list[dict[str, Any]] = [
    {"reasoningContent": {"reasoningText": {"text": "Hm, ", "signature": "Sig"}}},
    {"reasoningContent": {"redactedContent": "ACf/"}},
    {"text": "It's \"Grüße\"\n'data: 😀\u2028"},
    {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": {"city": "Ulm"}}},
]
ANSWER: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": CONTENT}},
    "stopReason": "tool_use",
    "usage": CONVERSE[-1]["metadata"]["usage"],
    "metrics": {"latencyMs": 800},
}


def read(*frames: Any) -> list[Event]:
    reader = UPSTREAM.reader(INFO)
    return [event for frame in frames for event in reader.feed(repr(frame).encode())]


def answer(*content: Any, **members: Any) -> list[Event]:
    whole = ANSWER | {"output": {"message": {"content": content}}} if content else ANSWER
    return list(UPSTREAM.answer(json.dumps(whole | members).encode(), INFO))


# --- whole answer ------------------------------------------------------------------------------------


def test_a_whole_answer() -> None:
    """Blocks, tokens and the reason, each once; input leaves out what the cache did (trap 5)."""
    message = collect(answer())

    assert BLOCKS == message.blocks
    assert TOKENS == message.tokens
    assert Stopped("tool_calls") == message.stop


def test_arguments_keep_every_digit() -> None:
    """A call's input is passed on as bytes, not as numbers."""
    body = json.dumps(ANSWER).replace('{"city": "Ulm"}', '{"n":12345678901234567890123,"a":1.10}')

    assert ToolPiece('{"n":12345678901234567890123,"a":1.10}') in UPSTREAM.answer(body.encode(), INFO)


def test_blocks_that_say_nothing_are_no_events() -> None:
    """Empty text, calls without input, thinking without text or proof, and kinds that nobody here knows."""
    events = answer(
        {"text": ""},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}},
        {"reasoningContent": {"reasoningText": {"text": ""}}},
        {"fromTheFuture": {}},
        usage=None,
    )

    assert [Started(), ToolOpened("t", "f"), Stopped("tool_calls")] == events


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop_sequence"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "context_length"),
        ("tool_use", "tool_calls"),
        ("content_filtered", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("malformed_model_output", "malformed"),
        ("malformed_tool_use", "malformed"),
        ("from_the_future", "stop"),
    ],
)
def test_stop_reasons(reason: str, expected: StopReason) -> None:
    """Every reason ends the answer, also one that nobody here knows (trap 9)."""
    assert Stopped(expected) == answer(stopReason=reason)[-1]
    assert [Stopped(expected)] == read({"messageStop": {"stopReason": reason}})


def test_an_answer_without_a_reason_has_no_end() -> None:
    """It is not for the reader to make one up."""
    assert not any(isinstance(event, Stopped) for event in answer(stopReason=""))


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"{'output': {}}", UpstreamBroken, "cannot be read"),
        (b'{"output":{"message":{}}}', UpstreamBroken, "cannot be read"),
        (
            b'{"output":{"message":{"content":[{"toolUse":{"toolUseId":"1","name":"f","input":{"a":"\xff"}}}]}}}',
            UpstreamBroken,
            "not UTF-8",
        ),
        (b"{}", UpstreamBroken, "no content"),
        (b'{"message":"Too many tokens"}', UpstreamFailed, "Too many tokens"),
        (b'{"error":{"message":"oops"}}', UpstreamFailed, "oops"),
    ],
)
def test_answers_that_are_none(body: bytes, kind: type[Exception], message: str) -> None:
    """An error inside a 200 is that error, anything else is broken (trap 24)."""
    with pytest.raises(kind, match=message) as caught:
        UPSTREAM.answer(body, INFO)

    assert kind is type(caught.value)


# --- stream ------------------------------------------------------------------------------------------


def test_a_stream_of_python_text() -> None:
    """Quotes of both kinds, escapes, bytes, None and text without a start event (traps 1, 3)."""
    message = collect(read(*CONVERSE))

    assert b"'additionalModelResponseFields': None" in STREAM
    assert BLOCKS == message.blocks
    assert TOKENS == message.tokens
    assert Stopped("tool_calls") == message.stop


def test_a_stream_of_json() -> None:
    """The same as JSON, where redacted thinking is base64 already (trap 1)."""
    frames = json.loads(json.dumps(CONVERSE, default=lambda blob: "ACf/"))

    assert translated(UPSTREAM.reader(INFO), STREAM) == translated(UPSTREAM.reader(INFO), json_sse(frames))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXTS)
def test_any_text_survives(text: str) -> None:
    """Whatever Python writes is read, the short way or by the parser (trap 1)."""
    assert [TextPiece(text)] == read({"contentBlockDelta": {"delta": {"text": text}, "contentBlockIndex": 0}})


def test_a_start_of_a_text_block_says_nothing() -> None:
    """Only calls are announced; an empty start is text's (trap 3)."""
    frames = (
        {"contentBlockStart": {"start": {}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"text": ""}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": ""}}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"reasoningContent": {"text": ""}}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"fromTheFuture": {}}, "contentBlockIndex": 0}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"fromTheFuture": {"a": 1}},
        {"metadata": {"metrics": {"latencyMs": 1}}},
    )

    assert [] == read(*frames)


def test_usage_comes_behind_the_reason() -> None:
    """The stream is done with it, and complete without it (trap 4)."""
    reader = UPSTREAM.reader(INFO)
    for frame in CONVERSE[:-1]:
        reader.feed(repr(frame).encode())
    done_before = reader.done

    assert [] == reader.close()
    assert [Counted(TOKENS)] == reader.feed(repr(CONVERSE[-1]).encode())
    assert [False, True] == [done_before, reader.done]


def test_text_about_surrogates_is_text() -> None:
    """Only half a character itself cannot be passed on."""
    assert [TextPiece("\\ud83d is half of 😀")] == read(
        {"contentBlockDelta": {"delta": {"text": "\\ud83d is half of 😀"}, "contentBlockIndex": 0}}
    )


def test_usage_before_the_reason_is_not_the_end() -> None:
    """Nothing is done before the reason is known."""
    reader = UPSTREAM.reader(INFO)
    reader.feed(repr(CONVERSE[-1]).encode())

    assert reader.done is False


def test_the_events_do_not_depend_on_where_the_bytes_are_cut() -> None:
    """Cuts inside a line or a character change nothing (traps 10, 11, 12)."""
    cuts = range(len(STREAM) + 1)

    assert {translated(UPSTREAM.reader(INFO), STREAM)} == {
        translated(UPSTREAM.reader(INFO), STREAM[:cut], STREAM[cut:]) for cut in cuts
    }


@given(st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_nor_on_how_many_pieces_there_are(cuts: list[int]) -> None:
    """The same for many cuts at once."""
    edges = [0, *cuts, len(STREAM)]
    chunks = [STREAM[start:end] for start, end in pairwise(edges)]

    assert translated(UPSTREAM.reader(INFO), STREAM) == translated(UPSTREAM.reader(INFO), *chunks)


@pytest.mark.parametrize("count", range(len(CONVERSE) - 1))
def test_a_stream_that_is_cut_short_is_broken(count: int) -> None:
    """Without `messageStop` nothing looks complete (trap 24)."""
    with pytest.raises(UpstreamBroken, match="messageStop"):
        translated(UPSTREAM.reader(INFO), repr_sse(CONVERSE[:count]))


@pytest.mark.parametrize(
    ("frame", "kind", "message"),
    [
        (b"{'throttlingException': {'message': 'slow'}}", UpstreamLimited, "slow"),
        (b'{"throttlingException":{"message":"slow"}}', UpstreamLimited, "slow"),
        (b"{'modelStreamErrorException': {'message': 'broke'}}", UpstreamFailed, "broke"),
        (b"{'internalServerException': {'message': 'oops'}}", UpstreamFailed, "oops"),
        (b"{'validationException': {'message': 'bad'}}", UpstreamRefused, "bad"),
        (b"{'serviceUnavailableException': {'message': 'later'}}", UpstreamFailed, "later"),
        (b"{'message': 'no'}", UpstreamFailed, "no"),
        (b"{'error': {'code': '429', 'message': 'slow'}}", UpstreamLimited, "slow"),
        (b"__import__('os').getcwd()", UpstreamBroken, "cannot be read"),
        (b"{'messageStart': {'role'", UpstreamBroken, "cannot be read"),
        (b"{[]: 1}", UpstreamBroken, "cannot be read"),
        (b"(" * 100_000, UpstreamBroken, "cannot be read"),
        (b"['messageStart']", UpstreamBroken, "no object"),
        (b"{'messageStop': {}}", UpstreamBroken, "cannot be read"),
        (b"{'contentBlockDelta': {'delta': {'text': '\\ud83d'}}}", UpstreamBroken, "half a character"),
        (b"{'contentBlockDelta': {'delta': {'toolUse': {'input': '{'}}}}", UpstreamBroken, "did not open"),
        (b"{'contentBlockDelta': {'delta': {'text': 1}}}", UpstreamBroken, "cannot be read"),
        (b"{'a': '\xff'}", UpstreamBroken, "not UTF-8"),
        (
            b"{'contentBlockDelta': {'delta': {'text': '\xff'}, 'contentBlockIndex': 0}}",
            UpstreamBroken,
            "not UTF-8",
        ),
    ],
)
def test_errors_inside_a_stream(frame: bytes, kind: type[Exception], message: str) -> None:
    """Exceptions are keys of a frame; what is neither JSON nor a literal is never run (traps 1, 14)."""
    reader = UPSTREAM.reader(INFO)
    reader.feed(repr(CONVERSE[0]).encode())

    with pytest.raises(kind, match=message) as caught:
        reader.feed(frame)

    assert kind is type(caught.value)
