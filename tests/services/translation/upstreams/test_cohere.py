"""Cohere's chat: requests and answers (wire §4.6)."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from services.errors import (
    BadRequest,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamRefused,
)
from services.translation.callers.chat import CALLER
from services.translation.conversation import (
    Conversation,
    Document,
    OutputFormat,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.events import (
    Counted,
    Event,
    Started,
    Stopped,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
)
from services.translation.translate import Telling, Translation
from services.translation.upstreams.cohere import UPSTREAM
from tests.services.translation.callers.chat_samples import info
from tests.services.translation.samples import sse, target

MODEL = "cohere--command-a-reasoning"
HI = Turn("user", (Text("hi"),))
F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
G = {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}


def body(*turns: Turn, **members: Any) -> dict[str, Any]:
    """What goes up."""
    conversation = Conversation(turns or (HI,), **members)
    return dict(msgspec.json.decode(UPSTREAM.request(conversation, target(MODEL)).body))


def frame(kind: str, message: Any = None, **delta: Any) -> str:
    """One frame of a stream."""
    inner = delta if message is None else delta | {"message": message}
    return json.dumps({"type": kind, "index": 0, "delta": inner})


END = frame(
    "message-end", finish_reason="COMPLETE", usage={"tokens": {"input_tokens": 9.0, "output_tokens": 4}}
)
TEXT = (
    json.dumps(
        {"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant", "content": []}}}
    ),
    frame("content-start", {"content": {"type": "thinking", "thinking": ""}}),
    frame("content-delta", {"content": {"thinking": "hm"}}),
    json.dumps({"type": "content-end", "index": 0}),
    frame("content-start", {"content": {"type": "text", "text": ""}}),
    frame("content-delta", {"content": {"text": "Grüße\u2028😀"}}),
    frame("citation-start", {"citations": {"start": 0, "end": 2, "text": "Gr"}}),
    END,
)
TOOLS = (
    frame("message-start", {"role": "assistant", "content": [], "tool_calls": []}),
    frame("tool-plan-delta", {"tool_plan": "I look."}),
    frame("tool-call-start", {"tool_calls": {"id": "a", "function": {"name": "f", "arguments": ""}}}),
    frame("tool-call-delta", {"tool_calls": {"function": {"arguments": '{"x":'}}}),
    frame("tool-call-delta", {"tool_calls": {"function": {"arguments": "1}"}}}),
    frame("tool-call-end"),
    frame("tool-call-start", {"tool_calls": {"id": "b", "function": {"name": "g", "arguments": ""}}}),
    frame("message-end", finish_reason="TOOL_CALL"),
)


def read(*frames: str) -> list[Event]:
    """The events of a stream."""
    reader = UPSTREAM.reader(info())
    events = [event for one in frames for event in reader.feed(one.encode())]
    return [*events, *reader.close()]


def whole(**members: Any) -> list[Event]:
    """The events of a whole answer."""
    return list(UPSTREAM.answer(json.dumps(members).encode(), info()))


# --- requests ---


def test_a_request() -> None:
    """The model and the stream flag are in the body, settings under Cohere's names."""
    settings = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "stop": ["x"],
        "seed": 1,
        "presence_penalty": 0.1,
    }
    conversation = Conversation((HI,), system=(Text("s"),), settings=settings, max_tokens=5, stream=True)
    request = UPSTREAM.request(conversation, target(MODEL))

    assert "/v2/chat" == request.path
    assert () == request.dropped
    assert {
        "model": MODEL,
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}],
        "stream": True,
        "temperature": 0.5,
        "p": 0.9,
        "k": 3,
        "stop_sequences": ["x"],
        "seed": 1,
        "presence_penalty": 0.1,
        "max_tokens": 5,
    } == msgspec.json.decode(request.body)


def test_a_tool_loop() -> None:
    """Messages are those of chat completions; thinking is left out, and that is reported."""
    turns = (
        HI,
        Turn("assistant", (Thinking("hm"), ToolUse("a", "f", '{"x":1}'))),
        Turn("user", (ToolResult("a", (Text("1"),)),)),
    )
    conversation = Conversation(turns, tools=(Tool("f", strict=True),))
    request = UPSTREAM.request(conversation, target(MODEL))

    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    assert [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ] == msgspec.json.decode(request.body)["messages"]
    assert ("thinking", "strict") == request.dropped


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"tools": [F, G]}),
        (ToolChoice(), {"tools": [F, G]}),
        (ToolChoice("any"), {"tools": [F, G], "tool_choice": "REQUIRED"}),
        (ToolChoice("none"), {"tools": [F, G], "tool_choice": "NONE"}),
        (ToolChoice("tool", "g"), {"tools": [G], "tool_choice": "REQUIRED"}),
    ],
)
def test_tools(choice: ToolChoice | None, expected: dict[str, Any]) -> None:
    """A named tool is required by offering no other."""
    whole_body = body(tools=(Tool("f"), Tool("g", strict=False)), tool_choice=choice)

    assert expected == {name: whole_body[name] for name in ("tools", "tool_choice") if name in whole_body}


def test_a_choice_without_tools() -> None:
    """There is nothing to choose."""
    assert {"model", "messages", "stream"} == set(body(tool_choice=ToolChoice("any")))


@pytest.mark.parametrize(
    ("reasoning", "thinking"),
    [
        (Reasoning(effort="none"), {"type": "disabled"}),
        (Reasoning(effort="medium"), {"type": "enabled", "token_budget": 2048}),
        (Reasoning(budget=500), {"type": "enabled", "token_budget": 500}),
        (Reasoning(shown=True), None),
    ],
)
def test_thinking(reasoning: Reasoning, thinking: Any) -> None:
    """On with a budget, off, or as the model likes."""
    assert thinking == body(reasoning=reasoning).get("thinking")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (OutputFormat(), {"type": "json_object"}),
        (OutputFormat({"z": 1}), {"type": "json_object", "json_schema": {"z": 1}}),
    ],
)
def test_response_formats(output: OutputFormat, expected: dict[str, Any]) -> None:
    """Cohere has one kind."""
    assert expected == body(output=output)["response_format"]


def test_what_the_model_does_not_take_is_refused() -> None:
    """Naming the caller's field."""
    with pytest.raises(BadRequest, match="pdf"):
        body(Turn("user", (Document("application/pdf", "JVBE"),)))


@pytest.mark.parametrize("error", [UpstreamDenied("403"), UpstreamMissing("404")])
def test_the_other_path_is_tried_where_the_first_is_refused(error: UpstreamError) -> None:
    """SAP documents one and its SDK takes the other: the same body, once."""
    request = UPSTREAM.request(Conversation((HI,)), target(MODEL))
    other = request.amend(error) if request.amend else None

    assert other is not None
    assert ("/chat", request.body) == (other.path, other.body)
    assert other.amend is None


def test_other_refusals_are_not_about_the_path() -> None:
    """The same request would be refused again."""
    request = UPSTREAM.request(Conversation((HI,)), target(MODEL))

    assert request.amend
    assert request.amend(UpstreamRefused("400")) is None


def test_trap_55_the_conversation_is_not_changed() -> None:
    """Trap 55: the same again for a further attempt."""
    conversation = Conversation((HI,), tools=(Tool("f", strict=True),), settings={"stop": ["x"]})
    before = msgspec.json.encode(conversation)

    first, second = (UPSTREAM.request(conversation, target(MODEL)).body for _ in range(2))
    assert first == second
    assert before == msgspec.json.encode(conversation)


# --- streams ---


def test_text_and_thinking() -> None:
    """Empty starts say nothing, citations have no address to tell."""
    assert [
        Started(),
        ThinkingPiece("hm"),
        TextPiece("Grüße\u2028😀"),
        Counted(Tokens(uncached=9, output=4)),
        Stopped("stop"),
    ] == read(*TEXT)


def test_trap_33_tool_calls() -> None:
    """Trap 33: a plan, and calls in pieces; one without arguments has no piece."""
    assert [
        Started(),
        ThinkingPiece("I look."),
        ToolOpened("a", "f"),
        ToolPiece('{"x":'),
        ToolPiece("1}"),
        ToolOpened("b", "g"),
        Stopped("tool_calls"),
    ] == read(*TOOLS)


def translated(*pieces: bytes) -> bytes:
    """The stream of a chat caller."""
    asked = info(stream_options={"include_usage": True})
    one = Translation(UPSTREAM.reader(asked), CALLER.writer(asked), Telling({}))
    return b"".join([one.feed(piece) for piece in pieces]) + one.close()


STREAMS = {"text": sse(*TEXT), "tools": sse(*TOOLS), "CRLF": sse(*TEXT, end="\r\n")}


@pytest.mark.parametrize("name", STREAMS)
def test_trap_11_a_stream_does_not_depend_on_where_its_bytes_are_cut(name: str) -> None:
    """Trap 11: cut at every byte, and byte by byte, the caller gets the same."""
    stream = STREAMS[name]
    expected = translated(stream)

    for cut in range(len(stream)):
        assert expected == translated(stream[:cut], stream[cut:])
    assert expected == translated(*(stream[at : at + 1] for at in range(len(stream))))


@given(st.sampled_from(list(STREAMS)), st.lists(st.integers(0, 1_500), max_size=12))
def test_nor_on_how_many_pieces_there_are(name: str, cuts: list[int]) -> None:
    """Any split into any number of pieces."""
    stream = STREAMS[name]
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    assert translated(stream) == translated(*(stream[a:b] for a, b in pairwise(bounds)))


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop_sequence"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("ERROR_TOXIC", "content_filter"),
        ("NEW", "stop"),
    ],
)
def test_trap_9_every_finish_reason(finish: str, reason: Any) -> None:
    """Trap 9: also those that nobody knows."""
    assert Stopped(reason) == read(frame("message-end", finish_reason=finish))[-1]
    assert Stopped(reason) == whole(message={}, finish_reason=finish)[-1]


@pytest.mark.parametrize("finish", ["ERROR", "TIMEOUT"])
def test_trap_24_a_failure_is_no_end(finish: str) -> None:
    """Trap 24: what was said so far is not the answer."""
    with pytest.raises(UpstreamFailed, match=finish):
        read(frame("message-end", finish_reason=finish))


def test_trap_24_a_stream_cut_short_does_not_look_complete() -> None:
    """Trap 24: the end is `message-end`, which also says that nothing more comes."""
    with pytest.raises(UpstreamBroken):
        read(*TEXT[:-1])
    reader = UPSTREAM.reader(info())
    reader.feed(END.encode())
    assert reader.done


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ('{"type":"error","error":{"code":"429","message":"slow"}}', UpstreamLimited),
        (
            '{"type":"message-end","delta":{"error":{"message":"slow"},"finish_reason":"ERROR"}}',
            UpstreamFailed,
        ),
        ("{oops", UpstreamBroken),
    ],
)
def test_trap_14_errors_inside_a_200(data: str, kind: type[UpstreamError]) -> None:
    """Trap 14: in a frame of their own, in the last one, or as something else than JSON."""
    with pytest.raises(kind):
        read(data)


# --- whole answers ---


def test_a_whole_answer() -> None:
    """Plan, content and calls, in this order; each token counted once (trap 5)."""
    assert [
        Started(),
        ThinkingPiece("plan"),
        ThinkingPiece("hm"),
        TextPiece("so"),
        ToolOpened("a", "f"),
        ToolPiece("{}"),
        Counted(Tokens(uncached=6, cache_read=3, output=4)),
        Stopped("tool_calls"),
    ] == whole(
        id="m",
        message={
            "role": "assistant",
            "tool_plan": "plan",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "so"}],
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}, {}],
        },
        finish_reason="TOOL_CALL",
        usage={"tokens": {"input_tokens": 9, "output_tokens": 4.0}, "cached_tokens": 3},
    )


def test_an_answer_without_a_finish_reason_does_not_look_complete() -> None:
    """Whoever joins the parts refuses it; billed units are no tokens."""
    usage = {"billed_units": {"input_tokens": 1}}

    assert [Started(), Counted(Tokens())] == whole(message={"content": None}, usage=usage)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"message":"no"}'])
def test_what_is_no_answer(data: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(UpstreamBroken):
        UPSTREAM.answer(data, info())


def test_an_error_instead_of_an_answer() -> None:
    """Under status 200."""
    with pytest.raises(UpstreamFailed, match="boom"):
        whole(error={"message": "boom"})


# --- out of order ---

_ARGUMENTS = '{"type":"tool-call-delta","delta":{"message":{"tool_calls":{"function":{"arguments":"{}"}}}}}'
_CALL = '{"type":"tool-call-start","delta":{"message":{"tool_calls":{"id":"a","function":{"name":"f"}}}}}'
_SAID = '{"type":"content-delta","delta":{"message":{"content":{"text":"x"}}}}'


@pytest.mark.parametrize("frames", [[_ARGUMENTS], [_CALL, _SAID, _ARGUMENTS]])
def test_arguments_without_a_call_are_broken(frames: list[str]) -> None:
    """Nobody could tell whose they are."""
    with pytest.raises(UpstreamBroken, match="arguments"):
        read(*frames)


def test_an_error_that_is_a_text_comes_without_its_quotes() -> None:
    """Cohere's own form at the end of a stream."""
    with pytest.raises(UpstreamFailed) as failed:
        read('{"type":"message-end","delta":{"error":"too slow","finish_reason":"ERROR"}}')

    assert "too slow" == failed.value.public
