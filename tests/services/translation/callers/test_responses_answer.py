"""Answers for Responses clients, as OpenAI's own SDK reads them (wire §8.10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from services.errors import BadRequest, GatewayError, UpstreamBroken, UpstreamLimited
from services.translation.callers.responses import CALLER
from services.translation.callers.responses_items import sealed
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
)
from tests.services.translation.responses_samples import body, kinds, told, whole

TOOLS = [{"type": "function", "name": "f", "parameters": {}}, {"type": "custom", "name": "patch"}]
TOKENS = Tokens(uncached=16, cache_read=10, cache_write_5m=3, cache_write_1h=1, output=12, reasoning=8)


def info(**members: Any) -> ReplyInfo:
    """What an answer to this request is made with."""
    return ReplyInfo("01ab", 1_760_000_000, "our-claude", CALLER.parse(body(**{"store": False} | members)))


def stream(*events: Event, **members: Any) -> list[dict[str, Any]]:
    """The whole stream of these events, as the SDK reads it."""
    writer = CALLER.writer(info(**members))
    return told(b"".join([writer.feed(event) for event in events]) + writer.close())


def answer(*events: Event, **members: Any) -> dict[str, Any]:
    """The whole answer, which has to be what the stream's last event says."""
    made = whole(CALLER.render(events, info(**members)))
    assert stream(*events, **members)[-1]["response"] == made
    return made


EVERYTHING = (
    Started(),
    ThinkingPiece("Let me "),
    ThinkingPiece("see."),
    Signed("EqoB", "claude"),
    TextPiece("Grüße"),
    TextPiece("\u2028!"),
    ToolOpened("call_1", "f"),
    ToolPiece('{"a"'),
    ToolPiece(":1}"),
    Stopped("tool_calls"),
    Counted(TOKENS),
)
REASONING = {
    "id": "rs_01ab_0",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Let me see."}],
    "encrypted_content": "aicore.claude.EqoB",
}
MESSAGE = {
    "id": "msg_01ab_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Grüße\u2028!", "annotations": [], "logprobs": []}],
}
CALL = {
    "id": "fc_01ab_2",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"a":1}',
}


def test_a_stream_is_what_the_wire_document_says() -> None:
    """Every event of wire §8.10 in its order; no `[DONE]` (trap 7)."""
    expected = [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added",
        "reasoning_summary_text.delta", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip

    assert expected == kinds(stream(*EVERYTHING))


def test_trap_41_numbers_rise_and_places_stay() -> None:
    """Trap 41: numbered from 0, each added item gets done at its place, with its id."""
    events = stream(*EVERYTHING)
    places = [
        (event["output_index"], event["item"]["id"])
        for event in events
        if event["type"] == "response.output_item.added"
    ]
    done = [
        (event["output_index"], event["item"]["id"])
        for event in events
        if event["type"] == "response.output_item.done"
    ]

    assert list(range(len(events))) == [event["sequence_number"] for event in events]
    assert places == done == [(0, "rs_01ab_0"), (1, "msg_01ab_1"), (2, "fc_01ab_2")]


def test_trap_9_one_id_one_time_one_model() -> None:
    """Trap 9: in every response object of the stream."""
    responses = [event["response"] for event in stream(*EVERYTHING) if "response" in event]

    expected = {("resp_01ab", 1_760_000_000, "our-claude")}
    assert expected == {(one["id"], one["created_at"], one["model"]) for one in responses}
    assert ["in_progress", "in_progress", "completed"] == [one["status"] for one in responses]


def test_a_whole_answer() -> None:
    """All items, and the usage with all of its details (wire §8.0)."""
    made = answer(*EVERYTHING)

    usage = {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 4},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 8},
        "total_tokens": 42,
    }
    assert [REASONING, MESSAGE, CALL] == made["output"]
    assert ("completed", usage, False) == (made["status"], made["usage"], made["store"])


def test_pieces_come_as_they_are() -> None:
    """One delta for each."""
    deltas = [event["delta"] for event in stream(*EVERYTHING) if event["type"].endswith(".delta")]

    assert ["Let me ", "see.", "Grüße", "\u2028!", '{"a"', ":1}"] == deltas


def test_the_answer_repeats_the_request() -> None:
    """As far as it was honoured: a dropped tool is not shown as one that could have been called."""
    made = answer(
        TextPiece("x"),
        Stopped("stop"),
        instructions="be brief",
        metadata={"a": "b"},
        tools=[*TOOLS, {"type": "web_search"}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=99,
        reasoning={"effort": "high", "summary": "detailed"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"a": 1}}, "verbosity": "low"},
        truncation="auto",
        prompt_cache_key="k",
        safety_identifier="s",
        user="u",
    )

    expected = {
        "instructions": "be brief",
        "metadata": {"a": "b"},
        "tools": TOOLS,
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 99,
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"a": 1}}, "verbosity": "low"},
        "truncation": "auto",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "user": "u",
        "previous_response_id": None,
        "background": False,
    }
    assert expected == {name: made[name] for name in expected}


def test_what_was_not_asked_has_openais_defaults() -> None:
    """Members that clients require are there."""
    made = answer(TextPiece("x"), Stopped("stop"))

    expected = {
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "metadata": {},
        "text": {"format": {"type": "text"}},
        "reasoning": {"effort": None, "summary": None},
        "truncation": "disabled",
        "usage": None,
        "error": None,
        "incomplete_details": None,
    }
    assert expected == {name: made[name] for name in expected}


# --- reasoning ---


@pytest.mark.parametrize(
    ("event", "proof"),
    [
        (Signed("EqoB", "claude"), sealed("EqoB", "claude")),
        (Signed("gAAAAAB", "responses"), "gAAAAAB"),
        (RedactedPiece("EmwK"), sealed("EmwK", "claude", redacted=True)),
        (RedactedPiece("gAAAAAB", "responses"), "gAAAAAB"),
    ],
)
def test_a_proof_without_thinking_is_an_item(event: Event, proof: str) -> None:
    """It goes back as it came."""
    [reasoning, _] = answer(event, TextPiece("x"), Stopped("stop"))["output"]

    assert {"id": "rs_01ab_0", "type": "reasoning", "summary": [], "encrypted_content": proof} == reasoning


@pytest.mark.parametrize(
    ("members", "there"),
    [
        ({"store": False}, True),
        ({"store": True, "include": ["reasoning.encrypted_content"]}, True),
        ({"store": True}, False),
    ],
)
def test_proofs_are_for_those_who_asked(members: dict[str, Any], there: bool) -> None:
    """By `include`, or because nothing is to be stored."""
    events = (ThinkingPiece("a"), Signed("EqoB", "claude"), RedactedPiece("EmwK"), TextPiece("x"))
    output = answer(*events, Stopped("stop"), **members)["output"]

    assert there == any("encrypted_content" in item for item in output)
    assert (3 if there else 2) == len(output)


def test_an_empty_proof_is_none() -> None:
    """Nothing could be sent back with it."""
    [item] = answer(ThinkingPiece("a"), Signed("", "claude"), Stopped("stop"))["output"]

    assert "encrypted_content" not in item


def test_thinking_without_proof_ends_where_the_text_begins() -> None:
    """Open models sign nothing."""
    output = answer(ThinkingPiece("a"), TextPiece("b"), ThinkingPiece("c"), Stopped("stop"))["output"]

    assert ["reasoning", "message", "reasoning"] == [item["type"] for item in output]


def test_redacted_thinking_does_not_mix_with_what_can_be_read() -> None:
    """It is an item of its own."""
    output = answer(ThinkingPiece("a"), RedactedPiece("EmwK"), Stopped("stop"))["output"]

    assert [1, 0] == [len(item["summary"]) for item in output]


def test_the_signature_of_a_call_goes_before_it() -> None:
    """Where the next request finds it (wire §5.4)."""
    events = (ToolOpened("call_1", "f", "sig"), Stopped("tool_calls"))
    [proof, call] = answer(*events, tools=TOOLS)["output"]

    assert (sealed("sig", "gemini"), "call_1") == (proof["encrypted_content"], call["call_id"])


# --- messages ---


def test_a_refusal_is_a_part_of_its_own() -> None:
    """And text behind it another."""
    events = (TextPiece("a"), RefusalPiece("no"), RefusalPiece("!"), TextPiece("b"), Stopped("stop"))
    [message] = answer(*events)["output"]

    expected = [("output_text", "a"), ("refusal", "no!"), ("output_text", "b")]
    assert expected == [(p["type"], p.get("text") or p.get("refusal")) for p in message["content"]]


def test_sources_are_annotations_of_the_text_before_them() -> None:
    """Several of one passage have the same range; Anthropic's own form is for its own callers."""
    events = (
        TextPiece("12345"),
        Cited("https://a", "A"),
        Cited("https://b"),
        TextPiece("678"),
        Cited("https://c"),
        Cited(citation={"type": "char_location"}),
        Stopped("stop"),
    )
    [message] = answer(*events)["output"]

    ranges = [
        (one["url"], one["title"], one["start_index"], one["end_index"])
        for one in message["content"][0]["annotations"]
    ]
    assert [("https://a", "A", 0, 5), ("https://b", "", 0, 5), ("https://c", "", 5, 8)] == ranges
    assert 3 == kinds(stream(*events)).count("output_text.annotation.added")


@pytest.mark.parametrize("before", [(), (RefusalPiece("no"),)])
def test_a_source_without_text_is_not_lost(before: tuple[Event, ...]) -> None:
    """It opens the text."""
    [message] = answer(*before, Cited("https://a"), Stopped("stop"))["output"]

    assert "https://a" == message["content"][-1]["annotations"][0]["url"]


# --- calls ---


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """In its piece as well: some clients put pieces together."""
    events = stream(ToolOpened("call_1", "f"), Stopped("tool_calls"))

    assert ["{}", "{}"] == [
        event.get("delta") or event.get("arguments") for event in events if "arguments." in event["type"]
    ]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (['{"inp', 'ut":"*** x\\n"}'], "*** x\n"),
        (["*** x"], "*** x"),
        (['{"other":1}'], '{"other":1}'),
        ([], ""),
    ],
)
def test_a_call_of_a_custom_tool_is_custom_again(pieces: Sequence[str], text: str) -> None:
    """Its text comes whole; what keeps to no form is the text itself."""
    events: list[Event] = [
        ToolOpened("call_1", "patch"),
        *(ToolPiece(piece) for piece in pieces),
        Stopped("tool_calls"),
    ]
    [call] = answer(*events, tools=TOOLS)["output"]

    assert ("custom_tool_call", "patch", text) == (call["type"], call["name"], call["input"])
    expected = ["output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done"]
    assert expected == kinds(stream(*events, tools=TOOLS))[2:5]


# --- the end ---


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("stop", "completed", None),
        ("stop_sequence", "completed", None),
        ("pause", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("context_length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        ("malformed", "failed", None),
    ],
)
def test_why_it_ends(reason: Any, status: str, why: dict[str, str] | None) -> None:
    """Wire §8.0; trap 41: with usage, whichever way."""
    made = answer(TextPiece("a"), Counted(TOKENS), Stopped(reason))

    assert (status, why) == (made["status"], made["incomplete_details"])
    assert ("failed" == status) == (made["error"] is not None)
    assert 42 == made["usage"]["total_tokens"]


@pytest.mark.parametrize("event", [TextPiece("a"), ToolOpened("call_1", "f")])
def test_what_was_cut_says_so(event: Event) -> None:
    """And no arguments are made up for a call that was cut."""
    [item] = answer(event, Stopped("length"))["output"]

    assert "incomplete" == item["status"]
    assert "" == item.get("arguments", "")


def test_an_answer_without_content_is_a_correct_one() -> None:
    """`Started` and `Counted` alone write nothing before the end."""
    writer = CALLER.writer(info())

    assert b"" == writer.feed(Started()) + writer.feed(Counted(TOKENS)) + writer.feed(Stopped("stop"))
    assert ["created", "in_progress", "completed"] == kinds(told(writer.close()))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamBroken("cut"), "server_error"),
        (UpstreamLimited("busy"), "rate_limit_exceeded"),
        (GatewayError("slow", status=429), "rate_limit_exceeded"),
        (BadRequest("wrong"), "invalid_prompt"),
    ],
)
def test_trap_24_a_stream_that_breaks_fails(error: GatewayError, code: str) -> None:
    """Trap 24: what was begun is not done, and nothing looks like an end."""
    writer = CALLER.writer(info())
    begun = writer.feed(TextPiece("a"))
    events = told(begun + writer.fail(error))

    assert ["output_text.delta", "failed"] == kinds(events)[-2:]
    failed = events[-1]["response"]
    assert ("failed", {"code": code, "message": error.public}) == (failed["status"], failed["error"])
    assert [] == failed["output"]


def test_a_stream_that_breaks_before_it_began_begins_first() -> None:
    """Codex wants to know which response failed."""
    failed = CALLER.writer(info()).fail(UpstreamBroken("cut"))

    assert ["created", "in_progress", "failed"] == kinds(told(failed))


@pytest.mark.parametrize("ended", ["close", "fail"])
def test_nothing_comes_after_the_end(ended: str) -> None:
    """Whichever end it was."""
    writer = CALLER.writer(info())
    if ended == "close":
        writer.close()
    else:
        writer.fail(UpstreamBroken("cut"))

    assert b"" == writer.feed(TextPiece("a")) + writer.close() + writer.fail(UpstreamBroken("cut"))
