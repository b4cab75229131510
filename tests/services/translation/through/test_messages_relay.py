"""Claude's answers for Anthropic clients and the Bedrock form: passed on, the same at every cut."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given, strategies as st

from services.errors import RateLimited, UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamLimited
from services.translation.replies import Answer, Relay, Usage
from services.translation.through import bedrock, messages
from services.translation.through.messages_answer import MESSAGES, MessagesRelay, read_answer
from tests.services.translation.messages_samples import (
    ANSWER,
    CLAUDE,
    DELTA,
    PUBLIC,
    START,
    STOP,
    TEXT,
    TEXT_START,
    accumulated,
    bedrock_events,
    events,
    request,
    sse,
    target,
)

RECORDED = sse(*CLAUDE)
OPENING = (START, '{"type":"ping"}', TEXT_START)
THROTTLED = '{"type":"error","message":"ThrottlingException: Too many requests, please wait."}'
OVERLOADED = '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'


def relay(*, form: Any = messages) -> Relay:
    """A relay for one stream."""
    prepared = form.prepare(request(), target(), stream=True)
    return prepared.relay()  # type: ignore[no-any-return]


def relayed(*pieces: bytes, form: Any = messages) -> bytes:
    """The caller's whole stream."""
    one = relay(form=form)
    return b"".join([one.feed(piece) for piece in pieces]) + one.close()


def answer(document: Any, *, form: Any = messages) -> Answer:
    """The caller's whole answer."""
    prepared = form.prepare(request(), target(), stream=False)
    return prepared.answer(json.dumps(document).encode())  # type: ignore[no-any-return]


# --- the same at every cut ---


@pytest.mark.parametrize("form", [messages, bedrock])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_trap_11_a_stream_does_not_depend_on_where_its_bytes_are_cut(form: Any, end: str) -> None:
    """Cut at every byte, also inside a character, and byte by byte."""
    stream = RECORDED.replace(b"\n", end.encode())
    whole = relayed(stream, form=form)

    assert all(whole == relayed(stream[:cut], stream[cut:], form=form) for cut in range(0, len(stream), 3))
    assert whole == relayed(*(stream[at : at + 1] for at in range(len(stream))), form=form)


def test_nor_at_any_cut_of_the_usual_line_ends() -> None:
    """Every single one."""
    whole = relayed(RECORDED)

    assert all(whole == relayed(RECORDED[:cut], RECORDED[cut:]) for cut in range(len(RECORDED) + 1))


@given(st.lists(st.integers(0, len(RECORDED)), max_size=12))
def test_nor_on_how_many_pieces_there_are(cuts: list[int]) -> None:
    """Any split into any number of pieces."""
    bounds = [0, *sorted(cuts), len(RECORDED)]

    assert relayed(RECORDED) == relayed(*(RECORDED[a:b] for a, b in pairwise(bounds)))


# --- what the caller sees ---


def test_trap_2_every_frame_gets_its_event_line_and_keeps_its_bytes() -> None:
    """All but the first, which has the public name, and the last, which loses Bedrock's figures (trap 5)."""
    frames = relayed(RECORDED).decode().removesuffix("\n\n").split("\n\n")

    expected = [f"event: {json.loads(frame)['type']}\ndata: {frame}" for frame in CLAUDE[1:-1]]
    assert expected == frames[1:-1]
    assert START.replace("claude-sonnet-4-5-20250929", PUBLIC) == frames[0].split("data: ", 1)[1]
    assert 'event: message_stop\ndata: {"type":"message_stop"}' == frames[-1]


def test_the_sdk_reads_the_stream() -> None:
    """Traps 10, 12: also a line separator and a prefix inside the text; trap 7: there is no [DONE]."""
    message = accumulated(relayed(RECORDED))
    thinking, text, call = message.content

    assert ("Let me ", "EqoB") == (thinking.thinking, thinking.signature)  # type: ignore[union-attr]
    assert ("Grüße\u2028data: 😀", {"city": "Ulm"}) == (text.text, call.input)  # type: ignore[union-attr]
    assert (PUBLIC, "tool_use", 28, 57) == (
        message.model,
        message.stop_reason,
        message.usage.input_tokens,
        message.usage.output_tokens,
    )
    assert b"[DONE]" not in relayed(RECORDED)


def test_boto_reads_the_bedrock_form() -> None:
    """The same events, with the figures that clients of this form read."""
    found = bedrock_events(relayed(RECORDED, form=bedrock))

    expected = [json.loads(frame) for frame in CLAUDE]
    expected[0]["message"]["model"] = PUBLIC
    assert expected == found


def test_frames_of_the_future_pass_with_their_bytes() -> None:
    """Types and members that nobody knows yet, numbers as they were written."""
    new = '{"type":"content_block_hologram", "x":{ "a":1.10 }}'
    start = START.replace('"content":[]', '"content":[],"new":1e2')
    delta = (
        '{"type":"message_delta","delta":{"stop_reason":"bored","new":1},"usage":{"output_tokens":1,"x":2}}'
    )
    one = relay()
    out = one.feed(sse(start, new, delta, STOP)).decode()

    assert all(
        part in out for part in ('"new":1e2', f"event: content_block_hologram\ndata: {new}\n\n", delta)
    )
    assert "bored" == one.finish_reason


def test_the_log_learns_usage_and_finish_reason() -> None:
    """Trap 5: figures are running totals, the prompt includes what the cache read and wrote."""
    one = relay()
    none_yet = one.usage
    one.feed(RECORDED)

    assert (None, Usage(40, 57, 97), "tool_calls") == (none_yet, one.usage, one.finish_reason)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ('"usage":{"input_tokens":9,"output_tokens":2}', Usage(21, 2, 23)),
        ('"usage":{"input_tokens":null,"output_tokens":2.0}', Usage(40, 2.0, 42.0)),
        ('"usage":null', Usage(40, 1, 41)),
    ],
)
def test_later_figures_replace_earlier_ones(usage: str, expected: Usage) -> None:
    """Where they are told."""
    one = relay()
    one.feed(sse(START, '{"type":"message_delta","delta":{"stop_reason":"end_turn"},' + usage + "}"))

    assert expected == one.usage


def test_a_stream_without_usage_has_none() -> None:
    """Nothing is made up."""
    one = relay()
    one.feed(
        sse('{"type":"message_start","message":{}}', DELTA.replace('"usage":{"output_tokens":57}', '"x":1'))
    )

    assert one.usage is None


# --- errors inside a 200 ---


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (THROTTLED, UpstreamLimited),
        (OVERLOADED, UpstreamFailed),
        ('{"message":"TooManyRequests"}', UpstreamLimited),
        ('{"type":"error","error":{"type":"api_error","message":"x"}}', UpstreamFailed),
        ('{"error":{"message":"x"}}', UpstreamFailed),
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
def test_trap_14_an_error_before_content_is_raised(
    error: str, kind: type[UpstreamError], pieces: int
) -> None:
    """Trap 14: so that another deployment can be asked (wire §6.4); in one chunk or in two."""
    one = relay()
    opening, failing = sse(*OPENING), sse(error)

    with pytest.raises(kind):
        [one.feed(chunk) for chunk in ([opening + failing] if pieces == 1 else [opening, failing])]
    assert not one.began


def test_an_error_behind_content_in_the_same_piece_is_kept_for_later() -> None:
    """The caller gets what came before it."""
    one = relay()
    out = one.feed(sse(*OPENING, TEXT, THROTTLED, STOP))

    assert out.endswith(TEXT.encode() + b"\n\n")
    assert isinstance(one.failure, UpstreamLimited)


# --- ends ---


def test_a_stream_ends_at_its_message_stop() -> None:
    """What comes after it is not read any more."""
    one = relay()
    out = one.feed(sse(*CLAUDE) + b"data: no JSON\n\n")

    assert one.done
    assert (relayed(RECORDED), b"") == (out, one.close())


def test_a_missing_blank_line_at_the_end_does_not_matter() -> None:
    """Trap 11."""
    assert relayed(RECORDED) == relayed(RECORDED[:-2])


@pytest.mark.parametrize("seen", range(len(CLAUDE)))
def test_trap_24_an_end_without_message_stop_is_no_end(seen: int) -> None:
    """Wherever the stream was cut."""
    one = relay()
    one.feed(sse(*CLAUDE[:seen]))

    with pytest.raises(UpstreamBroken):
        one.close()


@pytest.mark.parametrize(
    "frame", ["no JSON", "[]", '{"no":"type"}', '{"type":"message_start","message":5}', '{"type":5}', "\xff"]
)
def test_a_frame_that_cannot_be_read_breaks_the_stream(frame: str) -> None:
    """It may have been content."""
    with pytest.raises(UpstreamBroken):
        relay().feed(b"data: " + frame.encode("latin-1") + b"\n\n")


def test_comments_and_empty_data_are_left_out() -> None:
    """Keep-alives of whoever is between."""
    assert b"" == relay().feed(b": ping\n\ndata:\n\n")


def test_trap_23_a_failed_stream_ends_with_the_error() -> None:
    """In the caller's dialect."""
    out, binary = (relay(form=form).fail(RateLimited("slow down")) for form in (messages, bedrock))

    assert [{"type": "rate_limit_error", "message": "slow down"}] == [event["error"] for event in events(out)]
    assert [{"exception": {"Code": "throttlingException", "Message": "slow down"}}] == bedrock_events(binary)


# --- whole answers ---


def test_a_whole_answer_is_unchanged_but_for_the_model() -> None:
    """Bedrock's figures are for its own clients."""
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}
    found = answer(ANSWER | {"new": {"a": 1}} | metrics)
    Message.model_validate_json(found.body)

    expected = ANSWER | {"model": PUBLIC, "new": {"a": 1}}
    assert expected == json.loads(found.body)
    assert expected | metrics == json.loads(answer(ANSWER | {"new": {"a": 1}} | metrics, form=bedrock).body)
    assert (Usage(33, 4, 37), "stop") == (found.usage, found.finish_reason)


def test_the_rest_of_an_answer_keeps_its_bytes() -> None:
    """Number forms and escapes."""
    body = b'{"content":[{"x": 1.10,"t":"\\u00e9"}],"stop_reason":"paused","model":"m"}'
    found = messages.prepare(request(), target(), stream=False).answer(body)

    assert body.replace(b'"m"', b'"our-claude"') == found.body
    assert (None, "paused") == (found.usage, found.finish_reason)


def test_a_call_keeps_its_own_member_of_that_name() -> None:
    """Only the answer's model has a public name."""
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"model": "up"}}
    document = {"content": [call], "stop_reason": "tool_use", "model": "up"}

    assert document | {"model": PUBLIC} == json.loads(answer(document).body)


def test_an_answer_without_a_model_gets_its_public_name() -> None:
    """Clients want one."""
    document = {"content": [], "stop_reason": "end_turn"}

    assert document | {"model": PUBLIC} == json.loads(answer(document).body)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("no JSON", UpstreamBroken),
        ("[]", UpstreamBroken),
        ("{}", UpstreamBroken),
        ('{"type":"message","content":[],"stop_reason":null}', UpstreamBroken),
        ('{"type":"message","stop_reason":"end_turn"}', UpstreamBroken),
        (OVERLOADED, UpstreamFailed),
        ('{"message":"ThrottlingException: wait"}', UpstreamLimited),
        ('{"error":{"message":"x"}}', UpstreamFailed),
    ],
)
def test_what_is_no_answer_is_an_error(body: str, kind: type[UpstreamError]) -> None:
    """Also an error object inside a 200."""
    with pytest.raises(kind):
        messages.prepare(request(), target(), stream=False).answer(body.encode())


@pytest.mark.parametrize(
    "reported", [b'{"type":"error","error":{"message":"\xff"}}', b'{"\xff":1,"type":""}']
)
def test_what_is_no_utf_8_is_broken(reported: bytes) -> None:
    """In a report of an error too: it must not fail as if the gateway had."""
    with pytest.raises(UpstreamBroken):
        read_answer(reported, form=MESSAGES, model="m")
    with pytest.raises(UpstreamBroken):
        MessagesRelay(form=MESSAGES, model="m").feed(b"data: " + reported + b"\n\n")
