"""What orchestration's answers say, whole and as a stream (wire §4.7)."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from services.errors import UpstreamBroken, UpstreamFailed, UpstreamLimited, UpstreamRefused
from services.translation import fields, translate
from services.translation.dialects import ReplyInfo
from services.translation.events import (
    Cited,
    Counted,
    Event,
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
from services.translation.upstreams.orchestration import UPSTREAM
from tests.services.translation.upstreams.orchestration_samples import (
    INFO,
    JSON_INFO,
    SURE,
    TEMPLATING,
    frame,
    target,
    whole,
)

DONE = b"[DONE]"
USAGE = {"completion_tokens": 5, "prompt_tokens": 7, "total_tokens": 12}


def read(*frames: bytes, info: ReplyInfo = INFO) -> list[Event]:
    """Every event of a stream."""
    reader = UPSTREAM.reader(info)
    return [*(event for one in frames for event in reader.feed(one)), *reader.close()]


def told(body: bytes, info: ReplyInfo = INFO) -> list[Event]:
    """Every event of a whole answer."""
    return list(UPSTREAM.answer(body, info))


def calls(*pieces: dict[str, Any]) -> bytes:
    """A frame with pieces of tool calls."""
    return frame({"tool_calls": list(pieces)}, finish=None)


def test_a_recorded_stream() -> None:
    """The templating frame says nothing, empty text is no piece, the reason comes last."""
    frames = (TEMPLATING, SURE, frame({"content": "!"}, finish="stop", usage=USAGE), DONE)
    wanted = [Started(), TextPiece("Sure"), TextPiece("!"), Counted(Tokens(uncached=7, output=5))]

    assert [*wanted, Stopped("stop")] == read(*frames)


def test_done_ends_the_stream() -> None:
    """Nothing is read behind it."""
    reader = UPSTREAM.reader(INFO)
    reader.feed(frame({"content": "a"}, finish="stop"))
    before = reader.done
    reader.feed(DONE)

    assert (False, True) == (before, reader.done)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"request_id":"r","intermediate_results":{}}', b'{"new":1}'])
def test_frames_of_another_kind_are_passed_over(data: bytes) -> None:
    """They come from the future, or from a module."""
    assert [] == UPSTREAM.reader(INFO).feed(data)


def test_only_the_first_choice_is_read() -> None:
    """One answer is what the events can tell."""
    second = json.loads(frame({"content": "other"}))
    second["final_result"]["choices"][0]["index"] = 1

    assert [] == UPSTREAM.reader(INFO).feed(json.dumps(second).encode())


def test_thinking_ends_with_a_signature_of_its_own_frame() -> None:
    """Its pieces come with empty signatures, the signature with empty content."""
    events = read(
        frame({"reasoning_content": [{"content": "Let ", "signature": ""}]}),
        frame({"reasoning_content": [{"content": "me", "signature": ""}]}),
        frame({"reasoning_content": [{"content": "", "signature": "EpAC"}]}),
        frame({"content": "Yes"}, finish="stop"),
    )
    wanted = [Started(), ThinkingPiece("Let "), ThinkingPiece("me"), Signed("EpAC", "orchestration")]

    assert [*wanted, TextPiece("Yes"), Stopped("stop")] == events


def test_thinking_of_a_whole_answer() -> None:
    """Content and signature stand together, before the text."""
    body = whole({"content": "42", "reasoning_content": [{"content": "6 × 7", "signature": "s"}]})
    wanted = [Started(), ThinkingPiece("6 × 7"), Signed("s", "orchestration"), TextPiece("42")]

    assert [*wanted, Stopped("stop")] == told(body)


def test_thinking_may_be_plain_text() -> None:
    """Open-source models write it so."""
    assert ThinkingPiece("hm") in told(whole({"content": "a", "reasoning_content": "hm"}))


def test_a_refusal_is_told_as_one() -> None:
    """OpenAI's member."""
    assert RefusalPiece("No.") in told(whole({"refusal": "No."}))


def test_tool_calls_that_come_in_turns_are_put_in_order() -> None:
    """Trap 33: each call is told in one piece, by its index."""
    events = read(
        calls({"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}),
        calls({"index": 0, "function": {"arguments": '{"a"'}}),
        calls({"index": 1, "id": "call_2", "function": {"name": "sub", "arguments": "{}"}}),
        calls({"index": 0, "function": {"arguments": ": 2}"}}),
        frame(finish="tool_calls"),
    )
    first = [ToolOpened("call_1", "add"), ToolPiece('{"a"'), ToolPiece(": 2}")]
    second = [ToolOpened("call_2", "sub"), ToolPiece("{}")]

    assert [Started(), *first, *second, Stopped("tool_calls")] == events


def test_gemini_leaves_ids_and_lists_empty() -> None:
    """`id: ""`, `tool_calls: []`, `citations: []`; usage without details."""
    body = whole({"content": "Hi", "tool_calls": []}, citations=[], usage=USAGE)
    events = told(body)

    assert [Started(), TextPiece("Hi"), Counted(Tokens(uncached=7, output=5)), Stopped("stop")] == events


def test_a_call_without_an_id_gets_one() -> None:
    """Gemini's calls have none."""
    piece = {"id": "", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    assert ToolOpened("call_" + "0" * 24 + "0", "f") in told(whole({"tool_calls": [piece]}))


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("something_new", "stop"),
    ],
)
def test_why_it_stopped(reason: str, stop: str) -> None:
    """Trap 9: an unknown reason still finishes."""
    assert Stopped(stop) == read(frame(finish=reason))[-1]  # type: ignore[arg-type]


def test_the_reason_may_come_without_a_delta() -> None:
    """Nothing is said then."""
    data = b'{"final_result":{"choices":[{"index":0,"finish_reason":"stop"}]}}'

    assert [Started(), Stopped("stop")] == read(data)


def test_an_answer_that_the_output_filter_took_away() -> None:
    """A 200 without content (wire §6.3)."""
    assert [Started(), Stopped("content_filter")] == told(whole({"content": ""}, finish="content_filter"))


@pytest.mark.parametrize(
    ("usage", "model", "tokens"),
    [
        (
            {"prompt_tokens": 3, "completion_tokens": 9, "prompt_tokens_details":
             {"cached_tokens": 34217, "cache_creation_tokens": 8991, "cache_creation_token_details":
              {"ephemeral_5m_input_tokens": 8000, "ephemeral_1h_input_tokens": 991}}},
            "model-of-any-name",
            Tokens(3, 34217, 8000, 991, 9),
        ),
        (
            {"prompt_tokens": 30, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 20}},
            "claude-sonnet-4-5-20250929",
            Tokens(30, 20, output=1),
        ),
        (
            {"prompt_tokens": 30, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 20},
             "completion_tokens_details": {"reasoning_tokens": 6}},
            "gpt-5",
            Tokens(10, 20, output=8, reasoning=6),
        ),
        (
            {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 20}},
            "",
            Tokens(3, 20, output=1),
        ),
        ({"prompt_tokens": None, "completion_tokens": 2.0}, "gpt-5", Tokens(output=2)),
    ],
    ids=["cache was written", "claude by name", "gpt", "more read than asked", "no numbers"],
)  # fmt: skip
def test_trap_5_what_a_prompt_token_is_differs(usage: dict[str, Any], model: str, tokens: Tokens) -> None:
    """Trap 5: Claude counts cached tokens besides the prompt's, OpenAI among them."""
    assert Counted(tokens) in told(whole({"content": "a"}, model=model, usage=usage))


def test_sources_are_told_once() -> None:
    """A stream may repeat the list; a source is an address, or an object with a title."""
    sources: list[Any] = ["https://a", {"url": "https://b", "title": "B"}, {"title": "no address"}]
    events = read(
        frame({"content": "a"}, citations=sources), frame(finish="stop", citations=[*sources, "https://b"])
    )

    assert [Cited("https://a"), Cited("https://b", "B"), Stopped("stop")] == events[-3:]


# --- fences ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('\n```\n{"a": "```"}\n```\n', '{"a": "```"}'),
        ('```JSON \r\n{"a": 1}', '{"a": 1}'),
        ('{"a": 1}\n', '{"a": 1}\n'),
        ("` no fence", "` no fence"),
        ("``", "``"),
        ("```json", "```json"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 99])
def test_a_fence_around_json_is_taken_off(answer: str, text: str, size: int) -> None:
    """Claude puts one around an answer that has to be JSON (wire §5.2), in pieces of any size."""
    pieces = [answer[start : start + size] for start in range(0, len(answer), size)]
    events = read(*(frame({"content": one}) for one in pieces), frame(finish="stop"), info=JSON_INFO)

    assert text == collect(events).text


def test_a_fence_stays_where_no_json_was_asked() -> None:
    """It is the answer then."""
    assert TextPiece("```json\n{}\n```") in told(whole({"content": "```json\n{}\n```"}))


def test_text_that_was_held_comes_before_the_calls() -> None:
    """What may be a fence waits, but not for the end."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    events = read(frame({"content": "``"}), calls(call), frame(finish="tool_calls"), info=JSON_INFO)

    assert [TextPiece("``"), ToolOpened("c", "f")] == events[1:3]


# --- errors ------------------------------------------------------------------------------------------

FAILURE = {"request_id": "r", "code": 500, "message": "it broke", "location": "LLM Module"}


@pytest.mark.parametrize("shape", [{"error": FAILURE}, {"error": [{"code": 429}, FAILURE]}, FAILURE])
@pytest.mark.parametrize("opened", [True, False])
def test_an_error_frame_is_raised(shape: dict[str, Any], opened: bool) -> None:
    """Wrapped, as the list of all fallbacks, and bare; also in the middle."""
    reader = UPSTREAM.reader(INFO)
    if opened:
        reader.feed(SURE)
    with pytest.raises(UpstreamFailed, match="it broke") as caught:
        reader.feed(json.dumps(shape).encode())

    assert {"location": "LLM Module"} == caught.value.extra


def test_throttling_inside_a_200_is_known() -> None:
    """Trap 14: with the time to wait that the error's own headers say."""
    error = {"code": 429, "message": "429 - Too many requests.", "location": "LLM"}
    with pytest.raises(UpstreamLimited) as caught:
        told(json.dumps({"error": error | {"headers": {"x-retry-after": "30"}}}).encode())

    assert 30 == caught.value.retry_after


def test_a_filtered_prompt_inside_a_200_is_never_tried_again() -> None:
    """The filter would say the same."""
    error = {"code": 400, "message": "Prompt filtered", "location": "Filtering Module - Input Filter"}
    with pytest.raises(UpstreamRefused) as caught:
        UPSTREAM.reader(INFO).feed(json.dumps(error).encode())

    assert ("content_filter", False) == (caught.value.code, caught.value.retryable)


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"final_result":{"choices":{}}}', b"{}", b""])
def test_an_answer_that_is_none(body: bytes) -> None:
    """It cannot be read, or has no choices."""
    with pytest.raises(UpstreamBroken):
        told(body)


def test_a_stream_without_a_reason_is_broken() -> None:
    """Trap 24: an interrupted stream never looks complete."""
    with pytest.raises(UpstreamBroken):
        read(TEMPLATING, SURE)


def test_an_answer_without_a_reason_does_not_stop() -> None:
    """`translate` makes an error of it."""
    assert [Started(), TextPiece("a")] == told(whole({"content": "a"}, finish=""))


# --- bytes -------------------------------------------------------------------------------------------

STREAM = b"".join(
    b"data: " + one + b"\n\n"
    for one in (
        TEMPLATING,
        frame({"reasoning_content": [{"content": "Grüße 😀", "signature": ""}]}),
        frame({"reasoning_content": [{"content": "", "signature": "s"}]}),
        json.dumps(json.loads(frame({"content": "data: a\u2028b ü"})), ensure_ascii=False).encode(),
        calls({"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":'}}),
        calls({"index": 0, "function": {"arguments": "1}"}}),
        frame(finish="tool_calls", usage=USAGE),
        DONE,
    )
)


def relayed(*pieces: bytes) -> bytes:
    """The stream of a chat caller, from these bytes."""
    members = {"messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": True}}
    asked = fields.parse(msgspec.json.encode(members))
    prepared = translate.prepare(asked, target(), surface="chat", stream=True)
    assert prepared.relay is not None
    relay = prepared.relay()
    return b"".join([*map(relay.feed, pieces), relay.close()])


def test_traps_11_and_12_a_stream_may_be_cut_anywhere() -> None:
    """Traps 11, 12: two pieces give what one gives, inside of characters too."""
    written = relayed(STREAM)

    assert [] == [cut for cut in range(1, len(STREAM)) if written != relayed(STREAM[:cut], STREAM[cut:])]


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_a_stream_may_be_cut_everywhere(cuts: list[int]) -> None:
    """Any number of pieces."""
    ends = [0, *sorted(cuts), len(STREAM)]

    assert relayed(STREAM) == relayed(*(STREAM[a:b] for a, b in pairwise(ends)))
