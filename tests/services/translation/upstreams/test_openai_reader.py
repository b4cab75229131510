"""Answers of chat completions deployments."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from services.errors import UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamLimited
from services.translation.callers.chat import CALLER
from services.translation.events import (
    Cited,
    Counted,
    Event,
    RefusalPiece,
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
from services.translation.upstreams.openai import UPSTREAM
from tests.services.translation.callers.chat_samples import info
from tests.services.translation.samples import AZURE, MISTRAL, chunk, sse

# wire §8.7, point 4: two calls whose pieces come mixed, and text behind them.
MIXED = (
    chunk(delta={"role": "assistant", "content": None}),
    chunk(delta={"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}]}),
    chunk(delta={"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}]}),
    chunk(delta={"tool_calls": [{"index": 1, "function": {"arguments": '{"y"'}}]}),
    chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
    chunk(delta={"tool_calls": [{"index": 1, "function": {"arguments": ":2}"}}]}),
    chunk(delta={"content": "done"}),
    chunk(finish="tool_calls"),
    "[DONE]",
)
PERPLEXITY = (
    chunk(
        delta={"content": "so [1]"},
        citations=["https://a.example"],
        search_results=[{"title": "A", "url": "https://a.example", "date": None}, {"title": "none"}],
    ),
    chunk(
        delta={"content": ""},
        finish="stop",
        citations=["https://b.example", "https://a.example"],
        search_results=[{"title": "A", "url": "https://a.example"}],
    ),
)


def read(*frames: str) -> list[Event]:
    """The events of a stream."""
    reader = UPSTREAM.reader(info())
    events = [event for frame in frames for event in reader.feed(frame.encode())]
    return [*events, *reader.close()]


def calls(*pieces: dict[str, Any], finish: str = "tool_calls") -> list[Event]:
    """The events of these pieces of calls, without the first and the last."""
    return read(*(chunk(delta={"tool_calls": [piece]}) for piece in pieces), chunk(finish=finish))[1:-1]


def piece(index: int, arguments: str = "", name: str | None = None) -> dict[str, Any]:
    """A piece of a call."""
    call = {"index": index, "function": {"name": name, "arguments": arguments}}
    return call | ({"id": f"c{index}"} if name else {})


def whole(finish: str | None = "stop", **members: Any) -> list[Event]:
    """The events of a whole answer with these members in its message."""
    message = {"role": "assistant", "content": None} | members
    choices = [{"index": 0, "message": message, "finish_reason": finish}]
    return list(UPSTREAM.answer(json.dumps({"choices": choices}).encode(), info()))


# --- recorded streams ---


def test_trap_6_azure() -> None:
    """Trap 6: frames without choices come first and last; the usage is told behind the finish reason."""
    assert [
        Started(),
        TextPiece("Grüße\u2028data: 😀"),
        Counted(Tokens(uncached=9, output=12, reasoning=8)),
        Stopped("stop"),
    ] == read(*AZURE)


def test_mistral() -> None:
    """Wire §4.6: usage on the finish frame; the wrong finish reason is put right behind the reader."""
    assert [
        Started(),
        ToolOpened("c1", "weather"),
        ToolPiece('{"city": "Ulm"}'),
        Counted(Tokens(uncached=5, output=7)),
        Stopped("stop"),
    ] == read(*MISTRAL)


def test_perplexity() -> None:
    """Sources are told once each, with their titles, in the order in which they came."""
    assert [
        Started(),
        TextPiece("so [1]"),
        Cited("https://a.example", "A"),
        Cited("https://b.example"),
        Stopped("stop"),
    ] == read(*PERPLEXITY)


# --- the same at every cut ---

STREAMS = {
    "azure": sse(*AZURE),
    "azure, CRLF": sse(*AZURE, end="\r\n"),
    "mistral": sse(*MISTRAL),
    "mixed": sse(*MIXED),
    "perplexity": sse(*PERPLEXITY),
}


def translated(*pieces: bytes) -> bytes:
    """The stream of a chat caller."""
    asked = info(stream_options={"include_usage": True})
    one = Translation(UPSTREAM.reader(asked), CALLER.writer(asked), Telling({}))
    return b"".join([one.feed(piece) for piece in pieces]) + one.close()


@pytest.mark.parametrize("name", STREAMS)
def test_trap_11_a_stream_does_not_depend_on_where_its_bytes_are_cut(name: str) -> None:
    """Trap 11: cut at every byte, also inside a character, and byte by byte, the caller gets the same."""
    stream = STREAMS[name]
    expected = translated(stream)

    for cut in range(len(stream)):
        assert expected == translated(stream[:cut], stream[cut:])
    assert expected == translated(*(stream[at : at + 1] for at in range(len(stream))))
    assert expected.endswith(b"data: [DONE]\n\n")


@given(st.sampled_from(list(STREAMS)), st.lists(st.integers(0, 2_500), max_size=12))
def test_nor_on_how_many_pieces_there_are(name: str, cuts: list[int]) -> None:
    """Any split into any number of pieces."""
    stream = STREAMS[name]
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    assert translated(stream) == translated(*(stream[a:b] for a, b in pairwise(bounds)))


# --- content ---


@pytest.mark.parametrize(
    ("reasoning", "events"),
    [
        ("hm", [ThinkingPiece("hm")]),
        (["h", "m"], [ThinkingPiece("h"), ThinkingPiece("m")]),
        ([{"content": "h"}, {"text": "m"}, {"type": "other"}], [ThinkingPiece("h"), ThinkingPiece("m")]),
        ("", []),
        (None, []),
    ],
)
def test_reasoning_content(reasoning: Any, events: list[Event]) -> None:
    """A string or a list, before the text."""
    delta = {"reasoning_content": reasoning, "content": "so"}

    assert [Started(), *events, TextPiece("so"), Stopped("stop")] == read(chunk(delta=delta, finish="stop"))


def test_signatures_of_thoughts_are_not_told() -> None:
    """No such deployment takes one back."""
    delta = {"reasoning_content": [{"content": "hm", "signature": "s"}]}

    assert [Started(), ThinkingPiece("hm"), Stopped("stop")] == read(chunk(delta=delta, finish="stop"))


def test_refusals() -> None:
    """In their own member."""
    assert RefusalPiece("no") in read(chunk(delta={"refusal": "no"}, finish="stop"))


def test_other_choices_are_not_read() -> None:
    """They were not asked for. A choice may also say nothing at all."""
    empty = '{"choices":[{"index":0,"finish_reason":null}]}'

    assert [Started(), Stopped("stop")] == read(
        chunk(index=1, delta={"content": "b"}), empty, chunk(finish="stop")
    )


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("model_length", "context_length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("new", "stop"),
    ],
)
def test_trap_9_every_finish_reason(finish: str, reason: Any) -> None:
    """Trap 9: also those that nobody knows."""
    assert Stopped(reason) == read(chunk(finish=finish))[-1]
    assert Stopped(reason) == whole(finish)[-1]


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 2.0}, Tokens(uncached=10, output=2)),
        ({"prompt_tokens": None, "prompt_tokens_details": None}, Tokens()),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 3, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Tokens(uncached=1, cache_read=6, cache_write_5m=3, output=5, reasoning=4),
        ),
    ],
)
def test_trap_5_each_token_is_counted_once(usage: Any, tokens: Tokens) -> None:
    """Trap 5: OpenAI's prompt holds what was cached."""
    assert Counted(tokens) in read(chunk(finish="stop", usage=usage))


# --- tool calls ---


def test_trap_33_calls_one_after_the_other() -> None:
    """Trap 33: told as they come; id and name once, though some repeat them."""
    assert [
        ToolOpened("c0", "f"),
        ToolPiece('{"x":'),
        ToolPiece("1}"),
        ToolOpened("c1", "g"),
        ToolPiece("{}"),
    ] == calls(piece(0, '{"x":', "f"), piece(0, "1}", "f"), piece(1, "{}", "g"))


def test_trap_33_mixed_calls_are_put_in_order() -> None:
    """Trap 33: the later one waits until the earlier one is whole, text waits for both."""
    assert [
        Started(),
        ToolOpened("a", "f"),
        ToolPiece('{"x"'),
        ToolPiece(":1}"),
        ToolOpened("b", "g"),
        ToolPiece('{"y"'),
        ToolPiece(":2}"),
        TextPiece("done"),
        Stopped("tool_calls"),
    ] == read(*MIXED)


def test_calls_that_are_never_whole_come_at_the_end() -> None:
    """Broken arguments, and calls without any, are the model's own; none is lost."""
    assert [
        ToolOpened("c0", "f"),
        ToolOpened("c1", "g"),
        ToolPiece("{broken"),
        ToolOpened("c2", "h"),
    ] == calls(piece(0, "", "f"), piece(1, "{broken", "g"), piece(2, "", "h"))


def test_arguments_before_the_name() -> None:
    """They wait for it."""
    assert [ToolOpened("c0", "f"), ToolPiece('{"x"'), ToolPiece(":1}")] == calls(
        piece(0, '{"x"'), piece(0, ":1}", "f"), {"index": 0}
    )


def test_a_call_without_an_id_gets_one() -> None:
    """Made of the answer's own, so that it is the same each time."""
    assert [ToolOpened("call_ab120", "f")] == calls({"index": 0, "function": {"name": "f"}})


def test_calls_without_an_index_count_by_their_place() -> None:
    """As whole answers have them."""
    pieces = [
        {"id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "function": {"name": "g"}},
    ]

    assert [ToolOpened("a", "f"), ToolPiece("{}"), ToolOpened("b", "g")] == whole(tool_calls=pieces)[1:-1]


@pytest.mark.parametrize(
    "pieces",
    [
        [{"index": 0, "id": "a", "function": {"arguments": "{}"}}],
        [piece(0, "{}", "f"), piece(1, "{}", "g"), piece(0, "more")],
    ],
)
def test_pieces_that_belong_nowhere(pieces: list[dict[str, Any]]) -> None:
    """A call without a name, or behind its end, is not guessed at."""
    with pytest.raises(UpstreamBroken):
        calls(*pieces)


def test_white_space_behind_a_whole_call() -> None:
    """It says nothing."""
    assert [ToolOpened("c0", "f"), ToolPiece("{}"), ToolOpened("c1", "g")] == calls(
        piece(0, "{}", "f"), piece(1, "", "g"), piece(0, "\n")
    )


# --- whole answers ---


def test_a_whole_answer() -> None:
    """The same members, all at once."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "so", "reasoning_content": "hm", "tool_calls": []},
        "finish_reason": "stop",
    }
    body = {
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        "citations": ["https://a"],
    }
    message = collect(UPSTREAM.answer(json.dumps(body).encode(), info()))

    assert "so" == message.text
    assert Tokens(uncached=1, output=2) == message.tokens
    assert (Cited("https://a"),) == message.citations


def test_an_answer_without_a_finish_reason_does_not_look_complete() -> None:
    """Whoever joins the parts refuses it."""
    assert [Started(), TextPiece("x")] == whole(None, content="x")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"choices":[]}', b"null", b"{", b'{"choices":[{"message":"x"}]}', b"[DONE]"]
)
def test_what_is_no_answer(body: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(UpstreamBroken):
        UPSTREAM.answer(body, info())


# --- faults ---


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "429", "message": "exceeded token rate limit"}, UpstreamLimited),
        ({"message": "boom"}, UpstreamFailed),
    ],
)
def test_trap_14_an_error_inside_a_200(error: Any, kind: type[UpstreamError]) -> None:
    """Trap 14: whole or in a stream; a throttle is recognised."""
    data = json.dumps({"error": error}).encode()

    with pytest.raises(kind, match=error["message"]):
        UPSTREAM.answer(data, info())
    with pytest.raises(kind):
        UPSTREAM.reader(info()).feed(data)


def test_frames_that_are_no_json() -> None:
    """A broken stream is not guessed at."""
    with pytest.raises(UpstreamBroken):
        UPSTREAM.reader(info()).feed(b"{oops")


@pytest.mark.parametrize("frames", [(), (AZURE[0],), (chunk(delta={"content": "x"}),), (chunk(), "[DONE]")])
def test_trap_24_a_stream_cut_short_does_not_look_complete(frames: tuple[str, ...]) -> None:
    """Trap 24: without a finish reason there is no end, not even behind `[DONE]`."""
    with pytest.raises(UpstreamBroken):
        read(*frames)


def test_done() -> None:
    """`[DONE]` says that nothing more comes; without it a finish reason is end enough."""
    reader = UPSTREAM.reader(info())
    told = [reader.feed(data) for data in (chunk(finish="stop").encode(), b"", b"[DONE]")]

    assert [[Started()], [], []] == told
    assert reader.done
    assert [Stopped("stop")] == reader.close() == read(chunk(finish="stop"))[1:]
