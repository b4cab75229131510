"""Answers for chat clients: whole, and as a stream. All of them are valid for OpenAI's own SDK."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from openai.lib.streaming._deltas import accumulate_delta

from services.errors import UpstreamBroken
from services.translation.callers.chat import CALLER
from services.translation.callers.chat_answer import FINISH_REASONS
from services.translation.events import (
    Counted,
    Event,
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
from services.translation.signatures import seal
from tests.services.translation.callers.chat_samples import (
    ANSWERS,
    USAGE,
    asked,
    deltas,
    info,
    rendered,
    written,
)
from tests.services.translation.samples import frames

PATCH = {"type": "custom", "custom": {"name": "patch"}}
LEGACY = {"functions": [{"name": "now"}, {"name": "weather"}]}
USING = {"stream_options": {"include_usage": True}}


def message(name: str, **members: Any) -> dict[str, Any]:
    """The message of a whole answer."""
    return dict(rendered(ANSWERS[name], **members)["choices"][0]["message"])


# --- whole ---


def test_a_whole_answer() -> None:
    """Every member of the object."""
    assert {
        "id": "chatcmpl-ab12",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "our-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Grüße\u2028data: 😀", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    } == rendered(ANSWERS["text"])


def test_an_answer_without_content_is_empty_text() -> None:
    """Clients expect a string where there is neither a call nor a refusal."""
    assert "" == message("nothing")["content"]


def test_thinking_is_readable_and_replayable() -> None:
    """Its text for people, its blocks for the next request."""
    assert {
        "role": "assistant",
        "content": "so",
        "refusal": None,
        "reasoning_content": "hmm",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "hmm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "secret"},
        ],
    } == message("thinking")


def test_foreign_signatures_are_sealed() -> None:
    """They name their origin, so that no other upstream is shown them."""
    events = (Started(), ThinkingPiece("a"), TextPiece("b"), Signed("s", "gemini"), Stopped("stop"))
    whole = rendered(events)["choices"][0]["message"]

    assert "a" == whole["reasoning_content"]
    assert [{"type": "thinking", "thinking": "", "signature": seal("s", "gemini")}] == whole[
        "thinking_blocks"
    ]
    assert whole["thinking_blocks"] == [
        {name: value for name, value in block.items() if name != "index"}
        for delta in deltas(written(events))
        for block in delta.get("thinking_blocks", ())
    ]


def test_tool_calls() -> None:
    """Beside text, with Google's signature; a call without arguments has an empty object."""
    assert "I look." == message("tools")["content"]
    assert [
        {
            "id": "c1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city":"Ulm"}'},
            "extra_content": {"google": {"thought_signature": "gsig"}},
        },
        {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ] == message("tools")["tool_calls"]


def test_trap_31_content_is_null_when_there_are_only_calls() -> None:
    """Trap 31: as OpenAI has it."""
    assert message("only tools")["content"] is None


def test_refusals() -> None:
    """In their own member."""
    assert (None, "I cannot.") == (message("refusal")["content"], message("refusal")["refusal"])


def test_sources() -> None:
    """Those with an address; Anthropic's own kind has no place here."""
    citations = [one["url_citation"] for one in message("sources")["annotations"]]

    assert [("https://a.example", "A"), ("https://b.example", "")] == [
        (c["url"], c["title"]) for c in citations
    ]


@pytest.mark.parametrize("reason", FINISH_REASONS)
def test_trap_9_every_stop_reason_finishes(reason: StopReason) -> None:
    """Trap 9: whole and streamed alike, in one of OpenAI's words."""
    events = (Started(), TextPiece("x"), Stopped(reason))

    assert FINISH_REASONS[reason] == rendered(events)["choices"][0]["finish_reason"]
    assert FINISH_REASONS[reason] == written(events)[-2]["choices"][0]["finish_reason"]


# --- stream ---


def test_trap_9_the_frame_of_a_stream() -> None:
    """Trap 9: the role first, one id, time and model, an empty delta on the finish chunk, `[DONE]` last."""
    seen = written(ANSWERS["text"])

    head = {
        "id": "chatcmpl-ab12",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "our-model",
    }
    choices = [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None},
        {"index": 0, "delta": {"content": "Grü"}, "logprobs": None, "finish_reason": None},
        {"index": 0, "delta": {"content": "ße\u2028data: 😀"}, "logprobs": None, "finish_reason": None},
        {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"},
    ]
    assert [*(head | {"choices": [choice]} for choice in choices), "[DONE]"] == seen


def test_trap_8_usage_comes_when_it_was_asked_for() -> None:
    """Trap 8: once, without choices, behind the finish reason; it is null in every other chunk."""
    *chunks, usage, done = written(ANSWERS["text"], **USING)

    assert ([], USAGE, "[DONE]") == (usage["choices"], usage["usage"], done)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert all("usage" not in chunk for chunk in written(ANSWERS["text"])[:-1])


def test_the_last_count_holds() -> None:
    """Counts may come early and be corrected."""
    events = (
        Started(),
        Counted(Tokens(output=1)),
        TextPiece("x"),
        Counted(Tokens(output=2)),
        Stopped("stop"),
    )

    assert 2 == written(events, **USING)[-2]["usage"]["completion_tokens"]


def test_trap_33_tool_calls_in_pieces() -> None:
    """Trap 33: id and name once, an index that counts calls only, `{}` where no piece came."""
    assert [
        {"role": "assistant", "content": ""},
        {"content": "I look."},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": ""},
                    "extra_content": {"google": {"thought_signature": "gsig"}},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Ulm"}'}}]},
        {
            "tool_calls": [
                {"index": 1, "id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ] == deltas(written(ANSWERS["tools"]))


def test_content_is_null_until_there_is_text() -> None:
    """Trap 31: a stream of calls alone has no text."""
    assert {"role": "assistant", "content": None} == deltas(written(ANSWERS["only tools"]))[0]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_adds_up_to_the_whole_answer(name: str) -> None:
    """Put together the way OpenAI's SDK does it; only indexes are more."""
    made: Any = {}
    for delta in deltas(written(ANSWERS[name])):
        made = accumulate_delta(made, cast(Any, delta))

    whole = rendered(ANSWERS[name])["choices"][0]["message"]
    assert {key: value for key, value in whole.items() if value} == {
        key: _without_index(value) for key, value in made.items() if value
    }


def _without_index(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [{key: inner for key, inner in one.items() if key != "index"} for one in value]


# --- custom tools and legacy functions ---

PATCHED: tuple[Event, ...] = (
    Started(),
    ToolOpened("c1", "patch", "gsig"),
    ToolPiece('{"inp'),
    ToolPiece('ut":"a\\nb"}'),
    TextPiece("done"),
    Stopped("tool_calls"),
)
CUSTOM = {
    "id": "c1",
    "type": "custom",
    "custom": {"name": "patch", "input": "a\nb"},
    "extra_content": {"google": {"thought_signature": "gsig"}},
}


def test_calls_of_custom_tools_are_turned_back() -> None:
    """The model was given a function with one string; the caller gets plain text."""
    assert [CUSTOM] == rendered(PATCHED, tools=[PATCH])["choices"][0]["message"]["tool_calls"]


def test_calls_of_custom_tools_come_whole_in_a_stream() -> None:
    """Plain text cannot be taken from pieces of JSON. (The SDK's chunk type knows no custom calls yet.)"""
    writer = CALLER.writer(info(tools=[PATCH]))
    seen = frames(b"".join([writer.feed(event) for event in PATCHED]) + writer.close())

    assert [
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, **CUSTOM}]},
        {"content": "done"},
        {},
    ] == deltas(seen)


@pytest.mark.parametrize("arguments", ["", "plain", '{"input": 5}', "{}"])
def test_arguments_of_a_custom_tool_that_are_not_its_text(arguments: str) -> None:
    """A model that does not keep to the form is passed on as it is."""
    pieces = (ToolPiece(arguments),) if arguments else ()
    events = (Started(), ToolOpened("c1", "patch"), *pieces, Stopped("tool_calls"))
    call = rendered(events, tools=[PATCH])["choices"][0]["message"]["tool_calls"][0]

    assert (arguments or "{}") == call["custom"]["input"]


def test_legacy_functions_are_called_the_legacy_way() -> None:
    """One call, in its own member, under its own finish reason; a second one would have no place."""
    events = (
        Started(),
        ToolOpened("c1", "weather"),
        ToolPiece('{"city":"Ulm"}'),
        ToolOpened("c2", "now"),
        ToolPiece("{}"),
        Stopped("tool_calls"),
    )
    choice = rendered(events, **LEGACY)["choices"][0]
    seen = written(events, **LEGACY)

    call = {"name": "weather", "arguments": '{"city":"Ulm"}'}
    assert {"role": "assistant", "content": None, "refusal": None, "function_call": call} == choice["message"]
    assert "function_call" == choice["finish_reason"] == seen[-2]["choices"][0]["finish_reason"]
    assert [
        {"role": "assistant", "content": None},
        {"function_call": {"name": "weather", "arguments": ""}},
        {"function_call": {"arguments": '{"city":"Ulm"}'}},
        {},
    ] == deltas(seen)


def test_legacy_functions_that_were_not_called() -> None:
    """Then there is no such member."""
    assert "function_call" not in message("text", **LEGACY)


# --- the end ---


def test_nothing_goes_out_before_there_is_content() -> None:
    """What a writer is told first opens no stream."""
    writer = CALLER.writer(info())

    assert b"" == writer.feed(Started()) + writer.feed(Counted(Tokens())) + writer.feed(Stopped("stop"))


def test_an_answer_without_content_is_still_one() -> None:
    """Role, finish reason, `[DONE]`."""
    assert [{"role": "assistant", "content": ""}, {}] == deltas(written(ANSWERS["nothing"]))


def test_trap_24_a_failed_stream_has_no_end() -> None:
    """Trap 24: the error object is the last that comes: no finish reason, no `[DONE]`."""
    writer = CALLER.writer(info())
    before = writer.feed(TextPiece("x")) + writer.feed(Stopped("stop"))
    end = writer.fail(UpstreamBroken("cut short"))

    assert [{"role": "assistant", "content": ""}, {"content": "x"}] == deltas([*frames(before), None])
    assert ["cut short"] == [frame["error"]["message"] for frame in frames(end)]


@pytest.mark.parametrize("failed", [True, False])
def test_nothing_follows_the_end(failed: bool) -> None:
    """Neither after a good one nor after a bad one."""
    writer = CALLER.writer(info())
    error = UpstreamBroken("x")
    ended = writer.fail(error) if failed else writer.close()

    assert ended
    assert b"" == writer.feed(TextPiece("x")) + writer.close() + writer.fail(error)


def test_the_same_events_give_the_same_bytes() -> None:
    """No clock, no chance."""
    conversation = asked()
    events = ANSWERS["tools"]

    assert CALLER.render(events, info(conversation)) == CALLER.render(events, info(conversation))
    assert msgspec.json.encode(written(events)) == msgspec.json.encode(written(events))
