"""Answers for Anthropic clients, whole and as streams, read by Anthropic's own models and SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given, strategies as st

from services.errors import RateLimited, UpstreamBroken
from services.translation.callers.messages import CALLER
from services.translation.callers.messages_answer import MessagesWriter, render
from services.translation.events import (
    Cited,
    Counted,
    Event,
    RedactedPiece,
    RefusalPiece,
    Signed,
    Started,
    Stopped,
    StopReason,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
)
from tests.services.translation.messages_samples import INFO, PUBLIC, accumulated, events

CITATION = {
    "type": "char_location",
    "cited_text": "a",
    "document_index": 0,
    "document_title": "t",
    "start_char_index": 0,
    "end_char_index": 1,
}
TOKENS = Tokens(uncached=3, cache_read=4, cache_write_5m=5, cache_write_1h=6, output=7, reasoning=2)
EVERYTHING: tuple[Event, ...] = (
    Started(),
    Counted(Tokens(uncached=3)),
    ThinkingPiece("Hm, "),
    ThinkingPiece("so"),
    Signed("SIG", "claude"),
    RedactedPiece("DATA", "responses"),
    TextPiece("Grüße\u2028"),
    TextPiece("data: 😀"),
    Cited("u", "t", CITATION),
    ToolOpened("call_1", "look", "GS"),
    ToolPiece('{"a":'),
    ToolPiece(" 1.5}"),
    ToolOpened("call_2", "stop"),
    Stopped("tool_calls"),
    Counted(TOKENS),
)
BLOCKS = [
    {"type": "thinking", "thinking": "Hm, so", "signature": "SIG"},
    {"type": "redacted_thinking", "data": "aicore.responses.DATA"},
    {"type": "text", "text": "Grüße\u2028data: 😀", "citations": [CITATION]},
    {"type": "thinking", "thinking": "", "signature": "aicore.gemini.GS"},
    {"type": "tool_use", "id": "call_1", "name": "look", "input": {"a": 1.5}},
    {"type": "tool_use", "id": "call_2", "name": "stop", "input": {}},
]
USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 11,
    "cache_read_input_tokens": 4,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 2},
}


def whole(*told: Event) -> dict[str, Any]:
    """The rendered answer, checked by the SDK's model."""
    document: dict[str, Any] = json.loads(render(told, INFO))
    Message.model_validate(document)
    return document


def written(told: Sequence[Event]) -> bytes:
    """The whole stream."""
    writer = MessagesWriter(INFO)
    return b"".join([writer.feed(event) for event in told]) + writer.close()


def types(stream: bytes) -> list[str]:
    """The kinds of events in a stream."""
    return [event["type"] for event in events(stream)]


# --- whole ---


def test_a_whole_answer_has_every_block_in_its_order() -> None:
    """Thinking with its proof, text with its sources, calls with their arguments, and the usage."""
    answer = whole(*EVERYTHING)

    assert BLOCKS == answer["content"]
    assert (
        USAGE | {"cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 6}}
        == answer["usage"]
    )
    assert ("msg_01ab", "message", "assistant", PUBLIC, "tool_use", None) == tuple(
        answer[name] for name in ("id", "type", "role", "model", "stop_reason", "stop_sequence")
    )


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "end_turn"),
        ("stop_sequence", "stop_sequence"),
        ("length", "max_tokens"),
        ("context_length", "model_context_window_exceeded"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
        ("pause", "pause_turn"),
        ("malformed", "end_turn"),
    ],
)
def test_every_stop_reason_has_its_name(reason: StopReason, expected: str) -> None:
    """Wire §8.0, in both forms; the stop sequence is told where it is known."""
    stopped = Stopped(reason, "END" if reason == "stop_sequence" else "")
    delta = events(written([stopped]))[-2]["delta"]
    answer = whole(stopped)

    assert (expected, stopped.sequence or None) == (answer["stop_reason"], answer["stop_sequence"])
    assert {"stop_reason": expected, "stop_sequence": stopped.sequence or None} == delta


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("{}", {}),
        ('{"a": 12345678901234567890123}', {"a": 12345678901234567890123}),
        ('{"a":', {"_raw": '{"a":'}),
        ("[1]", {"_raw": "[1]"}),
        ("null", {"_raw": "null"}),
    ],
)
def test_arguments_that_are_no_object_are_not_lost(arguments: str, expected: Any) -> None:
    """Wire §8.0: what the model wrote goes down as it is, trap 33: nothing is an empty object."""
    pieces = [ToolPiece(arguments)] if arguments else []

    assert expected == whole(ToolOpened("i", "n"), *pieces)["content"][0]["input"]


def test_the_models_bytes_of_arguments_are_kept() -> None:
    """Number forms and order."""
    answer = render([ToolOpened("i", "n"), ToolPiece('{"z":1.10,"a":1e2}')], INFO)

    assert b'"input":{"z":1.10,"a":1e2}' in answer


def test_a_refusal_is_text_with_its_stop_reason() -> None:
    """Anthropic has no other place for it."""
    told = [RefusalPiece("I "), RefusalPiece("won't."), Stopped("stop")]
    answer, streamed = whole(*told), accumulated(written(told))

    assert ([{"type": "text", "text": "I won't."}], "refusal") == (answer["content"], answer["stop_reason"])
    assert ("I won't.", "refusal") == (streamed.content[0].text, streamed.stop_reason)  # type: ignore[union-attr]


def test_an_answer_without_content_is_one() -> None:
    """In both forms."""
    streamed = accumulated(written([Started(), Stopped("stop")]))

    assert ([], "end_turn") == (whole(Stopped("stop"))["content"], streamed.stop_reason)
    assert [] == streamed.content


def test_sources_without_anthropics_form_are_not_told() -> None:
    """There is no form for them here."""
    told = [TextPiece("a"), Cited("https://x", "t"), Stopped("stop")]

    assert [{"type": "text", "text": "a"}] == whole(*told)["content"]
    assert "citations_delta" not in str(events(written(told)))


# --- stream ---


def test_the_stream_has_anthropics_order() -> None:
    """Wire §8.7: index +1 for each block, one open at a time, each delta inside its block."""
    found = events(written(EVERYTHING))
    blocks = [event for event in found if event["type"].startswith("content_block")]

    assert ["message_start", "message_delta", "message_stop"] == [
        found[0]["type"],
        *types(written(EVERYTHING))[-2:],
    ]
    assert [0, 1, 2, 3, 4, 5] == [one["index"] for one in blocks if one["type"] == "content_block_start"]
    opened: int | None = None
    for one in blocks:
        if one["type"] == "content_block_start":
            assert opened is None
            opened = one["index"]
        assert opened == one["index"]
        opened = None if one["type"] == "content_block_stop" else opened
    assert opened is None


def test_the_sdk_reads_the_same_from_the_stream_as_from_the_whole_answer() -> None:
    """Its accumulation and its models."""
    streamed = accumulated(written(EVERYTHING)).to_dict()
    answer = whole(*EVERYTHING)

    for one in streamed["content"]:  # type: ignore[attr-defined]
        one.pop("parsed_output", None)
    assert answer["content"] == streamed["content"]
    assert answer["stop_reason"] == streamed["stop_reason"]
    assert USAGE.items() <= dict(streamed["usage"]).items()  # type: ignore[call-overload]


def test_the_start_tells_the_usage_that_is_known_by_then() -> None:
    """Zero where nothing is; the end tells all of it, cumulatively."""
    known, late = events(written(EVERYTHING)), events(written([TextPiece("a"), Counted(TOKENS)]))

    assert (3, 0) == (
        known[0]["message"]["usage"]["input_tokens"],
        late[0]["message"]["usage"]["input_tokens"],
    )
    assert USAGE == known[-2]["usage"] == late[-2]["usage"]


def test_nothing_is_written_before_content() -> None:
    """So that an error before it can still be answered with its own status (trap 18)."""
    writer = MessagesWriter(INFO)

    assert b"" == writer.feed(Started()) + writer.feed(Counted(TOKENS)) + writer.feed(Stopped("stop"))


def test_thinking_that_nobody_signed_has_an_empty_signature() -> None:
    """Wire §8.7: reasoning of chat models."""
    told = [ThinkingPiece("a"), TextPiece("b"), Stopped("stop")]
    streamed = accumulated(written(told)).content[0]

    assert {"type": "thinking", "thinking": "a", "signature": ""} == whole(*told)["content"][0]
    assert "signature_delta" not in written(told).decode()
    assert ("a", "") == (streamed.thinking, streamed.signature)  # type: ignore[union-attr]


def test_a_signature_needs_no_text() -> None:
    """The proof alone makes a block; the next thought begins another."""
    told = [Signed("A", "gemini"), ThinkingPiece("b"), Signed("B", "claude"), Stopped("stop")]
    blocks = [
        {"type": "thinking", "thinking": "", "signature": "aicore.gemini.A"},
        {"type": "thinking", "thinking": "b", "signature": "B"},
    ]

    assert blocks == whole(*told)["content"]
    assert blocks == [block.to_dict() for block in accumulated(written(told)).content]


def test_a_source_before_its_text_opens_the_block() -> None:
    """Anthropic's own streams do so too."""
    told = [Cited(citation=CITATION), TextPiece("a"), Stopped("stop")]

    assert [{"type": "text", "text": "a", "citations": [CITATION]}] == whole(*told)["content"]
    assert "a" == accumulated(written(told)).content[0].text  # type: ignore[union-attr]


# --- ends ---


def test_a_failed_stream_ends_with_the_error() -> None:
    """Trap 24: nothing that looks like an end."""
    writer = MessagesWriter(INFO)
    out = writer.feed(TextPiece("a")) + writer.fail(RateLimited("slow down"))

    assert ["message_start", "content_block_start", "content_block_delta", "error"] == types(out)
    assert {"type": "rate_limit_error", "message": "slow down"} == events(out)[-1]["error"]


@pytest.mark.parametrize("end", ["close", "fail"])
def test_after_the_end_nothing_is_written(end: str) -> None:
    """Whatever still comes."""
    writer = MessagesWriter(INFO)
    writer.close() if end == "close" else writer.fail(UpstreamBroken("cut"))

    assert b"" == writer.feed(TextPiece("a")) + writer.close() + writer.fail(UpstreamBroken("cut"))


def test_the_same_events_give_the_same_bytes() -> None:
    """Ids are given, and there is no clock."""
    assert written(EVERYTHING) == written(EVERYTHING)
    assert CALLER.render(EVERYTHING, INFO) == CALLER.render(EVERYTHING, INFO)


WORDS = st.text(min_size=1, max_size=20)
RUNS = st.lists(
    st.one_of(
        st.lists(WORDS.map(TextPiece), min_size=1, max_size=3),
        st.tuples(WORDS.map(ThinkingPiece), st.just(Signed("S", "claude"))),
        st.tuples(WORDS.map(RedactedPiece)),
        st.tuples(
            st.builds(ToolOpened, WORDS, WORDS, st.sampled_from(["", "S"])), st.just(ToolPiece('{"a":1}'))
        ),
    ),
    max_size=6,
)


@given(RUNS)
def test_any_answer_is_read_by_the_sdk_as_it_was_told(runs: list[Sequence[Event]]) -> None:
    """The stream and the whole answer are the same to it."""
    told = [event for run in runs for event in run]
    document = whole(*told)

    streamed = [block.to_dict() for block in accumulated(written(told)).content]
    for one in streamed:
        one.pop("parsed_output", None)
    assert document["content"] == streamed
