"""What Gemini answers, as events."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given, strategies as st

from services.errors import UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamLimited
from services.translation.events import (
    Cited,
    Counted,
    Event,
    Signed,
    Started,
    Stopped,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
)
from services.translation.upstreams.gemini import UPSTREAM
from services.translation.upstreams.gemini_answer import Reader, stop_reason
from tests.services.translation.gemini_samples import (
    BLOCKED,
    CALLS,
    ERROR,
    Events,
    frame,
    info,
    translation,
)
from tests.services.translation.samples import sse

SAID = [
    Started(),
    Counted(Tokens(uncached=8)),
    ThinkingPiece("Thinking…"),
    TextPiece("Grüße\u2028data: 😀"),
    ToolOpened("call_ab12_0", "f", "CsQB"),
    ToolPiece('{"city":"Ulm"}'),
    ToolOpened("call_ab12_1", "g"),
    Counted(Tokens(uncached=5, cache_read=3, output=42, reasoning=30)),
    Stopped("stop"),
]


def read(*frames: str) -> list[Event]:
    reader = Reader(info())
    return [event for one in frames for event in reader.feed(one.encode())] + reader.close()


def content(*frames: str) -> list[Event]:
    return [event for event in read(*frames) if not isinstance(event, Started | Counted | Stopped)]


def relayed(*pieces: bytes) -> list[Event]:
    writer = Events()
    stream = translation(writer)
    for piece in pieces:
        stream.feed(piece)
    stream.close()
    return writer.all


# --- streams -----------------------------------------------------------------------------------------


def test_a_stream_is_read_into_events_in_the_promised_order() -> None:
    """Traps 5, 13: the prompt includes the cache, thoughts are output; the first part may be a thought, and
    calls come whole under finish reason STOP."""
    assert SAID == read(*CALLS)


def test_the_recording_is_what_google_sends() -> None:
    """Google's own types read it."""
    read_by_google = [types.GenerateContentResponse.model_validate_json(one) for one in CALLS]

    assert types.FinishReason.STOP == read_by_google[-1].candidates[0].finish_reason  # type: ignore[index]


STREAMS = {
    "LF": sse(*CALLS),
    "CRLF": sse(*CALLS, end="\r\n"),
    "no blank line at the end": sse(*CALLS)[:-2],
    "blocked": sse(BLOCKED),
}


@pytest.mark.parametrize("name", STREAMS)
def test_trap_11_a_stream_does_not_depend_on_where_its_bytes_are_cut(name: str) -> None:
    """Traps 10, 11, 12: cut at every byte, also inside a character, the events are the same."""
    stream = STREAMS[name]
    whole = relayed(stream)

    for cut in range(len(stream)):
        assert whole == relayed(stream[:cut], stream[cut:])
    assert whole == relayed(*(stream[at : at + 1] for at in range(len(stream))))


@given(st.sampled_from(list(STREAMS)), st.lists(st.integers(0, 1_500), max_size=12))
def test_nor_on_how_many_pieces_there_are(name: str, cuts: list[int]) -> None:
    """Any split into any number of pieces."""
    stream = STREAMS[name]
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    assert relayed(stream) == relayed(*(stream[a:b] for a, b in pairwise(bounds)))


def test_calls_make_the_finish_reason_tool_calls() -> None:
    """Trap 13: STOP is what Gemini says."""
    assert Stopped("tool_calls") == relayed(sse(*CALLS))[-1]


def test_the_stream_ends_with_its_connection() -> None:
    """Usage that follows the finish reason is counted; the reader never says that it is done."""
    reader = Reader(info())
    reader.feed(frame({"text": "a"}, finish="STOP").encode())
    reader.feed(b'{"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":1}}')

    assert (False, [Counted(Tokens(uncached=2, output=1)), Stopped("stop")]) == (reader.done, reader.close())


@pytest.mark.parametrize("frames", [[], CALLS[:1], CALLS[:3], ["{}"]])
def test_trap_24_a_stream_without_finish_reason_is_broken(frames: list[str]) -> None:
    """Trap 24: it never looks complete."""
    with pytest.raises(UpstreamBroken, match="finish reason"):
        read(*frames)


def test_an_empty_frame_says_nothing() -> None:
    """A keep-alive of whoever is in between."""
    assert [] == Reader(info()).feed(b"")


@pytest.mark.parametrize(
    "data", [b"{", b"no json", b'{"candidates":1}', b'{"candidates":[{"content":"\xff"}]}']
)
def test_a_frame_that_cannot_be_read_breaks_the_stream(data: bytes) -> None:
    """It is no answer."""
    with pytest.raises(UpstreamBroken, match="cannot be read"):
        Reader(info()).feed(data)


def test_arguments_that_are_no_text_break_the_stream() -> None:
    """They are kept as bytes until here."""
    frame = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\xff"}}}]}}]}'

    with pytest.raises(UpstreamBroken, match="UTF-8"):
        Reader(info()).feed(frame)


@pytest.mark.parametrize("error", [ERROR, f"[{ERROR}]"])
def test_trap_14_an_error_frame_is_that_error(error: str) -> None:
    """Trap 14: alone or in a list of one (wire §6.1), a throttle is recognised."""
    with pytest.raises(UpstreamLimited, match="Quota exceeded"):
        Reader(info()).feed(error.encode())


def test_other_errors_are_failures() -> None:
    """Their words are kept."""
    with pytest.raises(UpstreamFailed, match="internal") as caught:
        Reader(info()).feed(b'{"error":{"code":500,"message":"internal","status":"INTERNAL"}}')

    assert "internal" == caught.value.public


def test_what_came_before_an_error_is_still_the_callers() -> None:
    """The error follows it."""
    stream = translation(Events())

    assert (b"..", True) == (
        stream.feed(sse(CALLS[1], ERROR)),
        isinstance(stream.failure, UpstreamError),
    )


# --- parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "events"),
    [
        ([{"text": "a", "thoughtSignature": "S"}], [TextPiece("a"), Signed("S", "gemini")]),
        ([{"text": "", "thoughtSignature": "S"}], [Signed("S", "gemini")]),
        (
            [{"text": "t", "thought": True, "thoughtSignature": "S"}],
            [ThinkingPiece("t"), Signed("S", "gemini")],
        ),
        ([{"text": "t", "thought": False}], [TextPiece("t")]),
        ([{"text": ""}, {"text": None}, {}], []),
        ([{"functionCall": {"name": "f", "args": {}}}], [ToolOpened("call_ab12_0", "f")]),
        ([{"functionCall": {"name": "f", "args": None}}], [ToolOpened("call_ab12_0", "f")]),
        ([{"fromTheFuture": {"a": 1}}], []),
    ],
)  # fmt: skip
def test_each_kind_of_part(parts: list[Any], events: list[Event]) -> None:
    """Trap 45: signatures of calls stay with their call, others come behind their block."""
    assert events == content(frame(*parts), frame(finish="STOP"))


def test_arguments_keep_their_bytes() -> None:
    """Order of members, forms of numbers, whole numbers of any size."""
    arguments = '{"b":1.10,"a":123456789012345678901234567890,"é":"\\u00e9"}'
    call = '{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":' + arguments + "}}]}}]}"

    assert ToolPiece(arguments) == content(call, frame(finish="STOP"))[1]


@pytest.mark.parametrize(
    "candidates", ["null", "[{}]", '[{"content":null}]', '[{"content":{"role":"model"}}]']
)
def test_a_frame_may_have_no_parts(candidates: str) -> None:
    """Traps 6, 13: nothing is taken for granted."""
    assert [] == content(f'{{"candidates":{candidates}}}', frame(finish="MAX_TOKENS"))


def test_other_choices_are_not_mixed_in() -> None:
    """One is all that was asked for."""
    assert [TextPiece("a")] == content(
        frame({"text": "a"}, finish="STOP", index=None), frame({"text": "b"}, index=1)
    )


def test_sources_are_told_once() -> None:
    """Grounding and citations, from whatever store; those without a name or an address are none."""
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "u1", "title": "t1"}},
            {"retrievedContext": {"uri": "u2"}},
            {"maps": {"title": "t3"}},
            {"web": {}},
        ]
    }
    citations = {"citations": [{"uri": "u1", "title": "t1"}, {"uri": "u4"}]}
    frames = (
        frame({"text": "a"}, groundingMetadata=grounding),
        frame(finish="STOP", groundingMetadata=grounding, citationMetadata=citations),
        frame(finish="STOP", groundingMetadata={}, citationMetadata={}),
    )

    assert [TextPiece("a"), Cited("u1", "t1"), Cited("u2"), Cited("", "t3"), Cited("u4")] == content(*frames)


# --- the end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("finish", [one.value for one in types.FinishReason])
def test_trap_9_every_finish_reason_finishes(finish: str) -> None:
    """Trap 9, wire §8.0: whatever Google's SDK knows ends the answer."""
    expected = {
        "content_filter": {
            "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR",
            "ESCALATION", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "IMAGE_RECITATION",
        },
        "length": {"MAX_TOKENS", "CONTINUATION"},
        "malformed": {
            "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE",
            "MISSING_THOUGHT_SIGNATURE",
        },
    }  # fmt: skip
    reason = next((reason for reason, names in expected.items() if finish in names), "stop")

    assert [Started(), Stopped(reason)] == read(frame(finish=finish))  # type: ignore[arg-type]


def test_a_finish_reason_of_the_future_is_an_ordinary_end() -> None:
    """Trap 9."""
    assert "stop" == stop_reason("BORED")


def test_trap_46_a_blocked_prompt_is_filtered_content() -> None:
    """Trap 46: there are no candidates at all."""
    assert [
        Started(),
        Counted(Tokens(uncached=8)),
        Counted(Tokens(uncached=8)),
        Stopped("content_filter"),
    ] == (read(BLOCKED))


def test_feedback_without_a_reason_blocks_nothing() -> None:
    """Safety ratings may come alone."""
    assert [Started(), Stopped("stop")] == read('{"promptFeedback":{}}', frame(finish="STOP"))


def test_tokens_of_tools_belong_to_the_prompt() -> None:
    """Wire §8.0; a cache that exceeds its prompt counts no negative tokens."""
    usage = '{"usageMetadata":{"promptTokenCount":3,"toolUsePromptTokenCount":4,"cachedContentTokenCount":9}}'

    assert Counted(Tokens(uncached=0, cache_read=9)) == read(usage, frame(finish="STOP"))[1]


def test_whole_numbers_of_tokens_may_be_written_as_floats() -> None:
    """They are no reason to call an answer broken."""
    usage = '{"usageMetadata":{"promptTokenCount":3.0,"candidatesTokenCount":null,"thoughtsTokenCount":2.0}}'

    assert Counted(Tokens(3, output=2, reasoning=2)) == read(usage, frame(finish="STOP"))[1]


# --- whole answers -----------------------------------------------------------------------------------


def test_a_whole_answer_is_one_frame() -> None:
    """The same events."""
    whole = json.loads(CALLS[3]) | {
        "candidates": [
            {
                "content": {"parts": [p for one in CALLS[:3] for p in _parts(one)]},
                "finishReason": "STOP",
            }
        ]
    }

    usage = SAID[-2]
    assert [Started(), usage, *SAID[2:]] == list(UPSTREAM.answer(msgspec.json.encode(whole), info()))


def _parts(one: str) -> list[Any]:
    return list(json.loads(one)["candidates"][0]["content"]["parts"])


@pytest.mark.parametrize("body", ["{}", frame({"text": "a"}), "<html>"])
def test_a_whole_answer_without_its_end_is_broken(body: str) -> None:
    """Nor is a page of some proxy an answer."""
    with pytest.raises(UpstreamBroken):
        UPSTREAM.answer(body.encode(), info())


def test_an_error_inside_a_whole_answer() -> None:
    """Wire §6.4."""
    with pytest.raises(UpstreamLimited):
        UPSTREAM.answer(ERROR.encode(), info())
