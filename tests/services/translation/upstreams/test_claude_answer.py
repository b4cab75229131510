"""Answers and streams of Claude by Bedrock's invoke."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import anthropic.types
import pydantic
import pytest
from hypothesis import given, strategies as st

from services.errors import UpstreamBroken, UpstreamFailed, UpstreamLimited
from services.translation.conversation import Redacted, Text, Thinking, ToolUse
from services.translation.events import (
    Cited,
    Counted,
    Event,
    Signed,
    Started,
    Stopped,
    StopReason,
    TextPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
    collect,
)
from services.translation.upstreams.claude import UPSTREAM
from tests.services.translation.samples import sse
from tests.services.translation.upstreams.bedrock_samples import (
    CLAUDE,
    INFO,
    METRICS,
    START,
    STOP,
    closed,
    ending,
    json_sse,
    opened,
    piece,
    translated,
)

TOKENS = Tokens(uncached=28, cache_read=5, cache_write_5m=3, cache_write_1h=4, output=57, reasoning=20)
BLOCKS = (
    Thinking("Let me ", "EqoB…", "claude"),
    Redacted("c2VjcmV0"),
    Text("Grüße\u2028data: 😀"),
    ToolUse("toolu_bdrk_01B", "get_weather", '{"city": "Ulm"}'),
)
ANSWER: dict[str, Any] = START["message"] | {  # type: ignore[operator]  # a dict
    "content": [
        {"type": "thinking", "thinking": "Let me ", "signature": "EqoB…"},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        {"type": "text", "text": "Grüße\u2028data: 😀"},
        {"type": "tool_use", "id": "toolu_bdrk_01B", "name": "get_weather", "input": {"city": "Ulm"}},
    ],
    "stop_reason": "tool_use",
    "usage": START["message"]["usage"]  # type: ignore[index]
    | {"output_tokens": 57, "output_tokens_details": {"thinking_tokens": 20}},
}
STREAM = json_sse(CLAUDE)


def read(*frames: Any) -> list[Event]:
    reader = UPSTREAM.reader(INFO)
    return [event for frame in frames for event in reader.feed(json.dumps(frame).encode())]


def answer(**members: Any) -> list[Event]:
    return list(UPSTREAM.answer(json.dumps(ANSWER | members).encode(), INFO))


def test_the_samples_are_anthropics() -> None:
    """What these tests read is what Anthropic's own types describe."""
    adapter = pydantic.TypeAdapter[Any](anthropic.types.RawMessageStreamEvent)
    types = [adapter.validate_python(frame).type for frame in CLAUDE if frame["type"] != "ping"]

    assert "message_start" == types[0]
    assert "tool_use" == anthropic.types.Message.model_validate(ANSWER).stop_reason


# --- whole answer ------------------------------------------------------------------------------------


def test_a_whole_answer() -> None:
    """Blocks, tokens and the reason, each once; the input of a call as it was written."""
    message = collect(answer())

    assert BLOCKS == (*message.blocks[:3], ToolUse("toolu_bdrk_01B", "get_weather", '{"city": "Ulm"}'))
    assert '{"city": "Ulm"}' == message.blocks[3].arguments  # type: ignore[union-attr]
    assert TOKENS == message.tokens
    assert Stopped("tool_calls") == message.stop


def test_arguments_keep_every_digit() -> None:
    """A call's input is passed on as bytes, not as numbers."""
    body = json.dumps(ANSWER).replace('{"city": "Ulm"}', '{"n":12345678901234567890123,"a":1.10}')
    message = collect(UPSTREAM.answer(body.encode(), INFO))

    assert '{"n":12345678901234567890123,"a":1.10}' == message.blocks[3].arguments  # type: ignore[union-attr]


def test_a_call_without_input_has_no_pieces() -> None:
    """Then it means an empty object (trap 33)."""
    events = answer(content=[{"type": "tool_use", "id": "t", "name": "f", "input": {}}])

    assert [Started(), ToolOpened("t", "f")] == events[:2]
    assert isinstance(events[2], Counted)


CITATIONS: list[dict[str, Any]] = [
    {"type": "page_location", "document_title": "a.pdf", "start_page_number": 1},
    {"type": "search_result_location", "source": "x", "title": None},
    {"type": "web_search_result_location", "url": "https://x.test", "title": "X"},
]
CITED = [
    Cited("", "a.pdf", CITATIONS[0]),
    Cited("", "", CITATIONS[1]),
    Cited("https://x.test", "X", CITATIONS[2]),
]


def test_citations_of_an_answer() -> None:
    """They follow the text they belong to."""
    events = answer(content=[{"type": "text", "text": "a", "citations": CITATIONS}])

    assert [TextPiece("a"), *CITED] == events[1:5]


def test_blocks_that_say_nothing_are_no_events() -> None:
    """Empty text, thinking without text, and kinds of blocks that nobody here knows."""
    content = [
        {"type": "text", "text": "", "citations": None},
        {"type": "thinking", "thinking": "", "signature": "s"},
        {"type": "from_the_future", "content": 1},
    ]

    assert [Started(), Signed("s", "claude")] == answer(content=content)[:2]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop_sequence"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "context_length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause"),
        ("from_the_future", "stop"),
    ],
)
def test_stop_reasons(reason: str, expected: StopReason) -> None:
    """Every reason ends the answer, also one that nobody here knows (trap 9), and the sequence is told."""
    stopped = Stopped(expected, "END")

    assert stopped == answer(stop_reason=reason, stop_sequence="END")[-1]
    assert [stopped] == read(ending(reason, sequence="END"))


def test_an_answer_without_a_reason_has_no_end() -> None:
    """It is not for the reader to make one up."""
    assert not any(isinstance(event, Stopped) for event in answer(stop_reason=None))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Tokens()),
        ({"input_tokens": 3, "output_tokens": None}, Tokens(uncached=3)),
        ({"cache_creation_input_tokens": 5}, Tokens(cache_write_5m=5)),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 2}}, Tokens(cache_write_5m=2)),
        (
            {"cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 5}},
            Tokens(cache_write_1h=5),
        ),
    ],
)
def test_tokens(usage: Any, expected: Tokens) -> None:
    """Each token is counted once, whichever members there are (trap 5)."""
    assert Counted(expected) in answer(usage=usage)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"", UpstreamBroken, "cannot be read"),
        (b'{"content":[{"type":1}]}', UpstreamBroken, "cannot be read"),
        (b'{"content":[],"usage":{"input_tokens":"many"}}', UpstreamBroken, "cannot be read"),
        (b'{"content":[],"usage":{"cache_creation":[]}}', UpstreamBroken, "cannot be read"),
        (
            b'{"content":[{"type":"tool_use","id":"1","name":"f","input":{"a":"\xff"}}]}',
            UpstreamBroken,
            "not UTF-8",
        ),
        (b'{"type":"error","error":"\xff"}', UpstreamBroken, "cannot be read"),
        (b"{}", UpstreamBroken, "no content"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', UpstreamFailed, "busy"),
        (b'{"error":{"message":"oops"}}', UpstreamFailed, "oops"),
        (b'{"message":"ThrottlingException: slow"}', UpstreamLimited, "slow"),
    ],
)
def test_answers_that_are_none(body: bytes, kind: type[Exception], message: str) -> None:
    """An error inside a 200 is that error, anything else is broken (trap 24)."""
    with pytest.raises(kind, match=message) as caught:
        UPSTREAM.answer(body, INFO)

    assert kind is type(caught.value)


# --- stream ------------------------------------------------------------------------------------------


def test_a_stream() -> None:
    """It says what the whole answer says."""
    message = collect(read(*CLAUDE))

    assert BLOCKS == message.blocks
    assert TOKENS == message.tokens
    assert Stopped("tool_calls") == message.stop


def test_input_tokens_are_known_at_the_start() -> None:
    """They come with `message_start`, whose one output token is a placeholder."""
    expected = Tokens(uncached=28, cache_read=5, cache_write_5m=3, cache_write_1h=4)

    assert [Started(), Counted(expected)] == read(START)


def test_running_totals_are_not_summed() -> None:
    """`message_delta` repeats what is known, and may leave members null (trap 5)."""
    usage = {"input_tokens": 28, "cache_read_input_tokens": None, "output_tokens": 9}
    events = read(START, ending(None, usage={"output_tokens": 4}), ending("end_turn", usage=usage), STOP)
    counted = [event.tokens.output for event in events if isinstance(event, Counted)]

    assert [0, 4, 9] == counted
    assert 5 == collect(events).tokens.cache_read


def test_bedrocks_metrics_fill_in_for_usage() -> None:
    """A stream without usage is still counted, and one with it is not counted anew."""
    bare = START | {"message": {"usage": None}}

    assert [Counted(Tokens(28, 5, 7, 0, 57))] == read(bare, ending("end_turn"), STOP)[-1:]
    assert [Stopped("stop")] == read(START, ending("end_turn", usage={"output_tokens": 3}), STOP)[-1:]
    assert METRICS["outputTokenCount"] == collect(read(START, ending("end_turn"), STOP)).tokens.output


def test_a_call_whose_input_came_at_once() -> None:
    """It is told when no pieces of it came."""
    block = opened(0, type="tool_use", id="t", name="f", input={"a": 1})

    assert [ToolOpened("t", "f"), ToolPiece('{"a": 1}')] == read(block, closed(0))
    assert [ToolOpened("t", "f"), ToolPiece("{}")] == read(
        block, piece(0, "input_json_delta", partial_json="{}"), closed(0)
    )


def test_a_call_without_input() -> None:
    """No piece means an empty object (trap 33)."""
    assert [ToolOpened("t", "f")] == read(opened(0, type="tool_use", id="t", name="f", input={}), closed(0))


def test_calls_of_the_servers_own_tools_are_not_the_callers() -> None:
    """Nothing of them is told."""
    block = opened(0, type="server_tool_use", id="t", name="f", input={"a": 1})

    assert [] == read(block, piece(0, "input_json_delta", partial_json='{"a'), closed(0))


def test_a_signature_at_the_blocks_start() -> None:
    """A thinking block may have its signature and no text."""
    assert [Signed("s", "claude")] == read(opened(0, type="thinking", thinking="", signature="s"), closed(0))


def test_citations_of_a_stream() -> None:
    """They follow the text they belong to."""
    frames = [piece(0, "citations_delta", citation=citation) for citation in CITATIONS]

    assert [TextPiece("a"), *CITED] == read(piece(0, "text_delta", text="a"), *frames)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "ping"},
        {"type": "from_the_future", "message": "no error"},
        {"neither": 1},
        piece(0, "from_the_future", more=1),
        piece(0, "text_delta", text=""),
    ],
)
def test_frames_from_the_future_are_ignored(frame: Any) -> None:
    """What nobody here knows says nothing."""
    assert [] == read(frame)


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


@pytest.mark.parametrize("count", range(len(CLAUDE)))
def test_a_stream_that_is_cut_short_is_broken(count: int) -> None:
    """Without `message_stop` nothing looks complete (trap 24)."""
    with pytest.raises(UpstreamBroken, match="message_stop"):
        translated(UPSTREAM.reader(INFO), json_sse(CLAUDE[:count]))


def test_a_stream_without_a_stop_reason_is_broken() -> None:
    """`message_stop` alone is no reason."""
    with pytest.raises(UpstreamBroken, match="finish reason"):
        translated(UPSTREAM.reader(INFO), json_sse([START, STOP]))


@pytest.mark.parametrize("finished", [True, False])
def test_the_end_is_known(finished: bool) -> None:
    """`message_stop` says that nothing more comes; there is no `[DONE]` (trap 7)."""
    reader = UPSTREAM.reader(INFO)
    for frame in CLAUDE if finished else CLAUDE[:-1]:
        reader.feed(json.dumps(frame).encode())

    assert finished is reader.done


@pytest.mark.parametrize(
    ("frame", "kind", "message"),
    [
        ('{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', UpstreamFailed, "busy"),
        ('{"type":"error","message":"ThrottlingException: slow"}', UpstreamLimited, "slow"),
        ('{"error":{"message":"oops"}}', UpstreamFailed, "oops"),
        ('{"message":"ServiceUnavailableException: later"}', UpstreamFailed, "later"),
        ('{"throttlingException":{"message":"slow"}}', UpstreamLimited, "slow"),
        ("no JSON", UpstreamBroken, "cannot be read"),
        ('{"type":"content_block_delta","delta":{"text":1}}', UpstreamBroken, "cannot be read"),
        ('{"type":"message_start","message":"x"}', UpstreamBroken, "cannot be read"),
        ('["type"]', UpstreamBroken, "cannot be read"),
    ],
)
def test_errors_inside_a_stream(frame: str, kind: type[Exception], message: str) -> None:
    """Both shapes of wire §4.3 are read, and a throttle is told from a failure (traps 14, 23)."""
    reader = UPSTREAM.reader(INFO)
    reader.feed(json.dumps(START).encode())

    with pytest.raises(kind, match=message) as caught:
        reader.feed(sse(frame)[6:-2])

    assert kind is type(caught.value)
