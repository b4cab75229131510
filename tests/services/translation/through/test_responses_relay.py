"""Azure's answers on their way to a Responses client (wire §4.2)."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from services.errors import UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamLimited
from services.translation import stored
from services.translation.replies import Answer, Prepared, Relay, Usage
from services.translation.through import responses
from tests.services.translation import responses_samples as sample
from tests.services.translation.responses_samples import (
    CALLER,
    COMPLETED,
    CREATED,
    DELTA,
    DONE,
    FAILED,
    IN_PROGRESS,
    ORIGIN,
    PUBLIC,
    STREAM,
    THROTTLE,
    THROTTLED,
    body,
    frame,
    kinds,
    target,
)
from tests.services.translation.samples import sse

SEALED = stored.seal("resp_1", ORIGIN, CALLER)


def bound() -> Prepared:
    """A streamed request for one deployment."""
    bind = responses.prepare(body(stream=True), target(), stream=True).bind
    assert bind is not None
    return bind(ORIGIN)


def relay() -> Relay:
    """A relay for one of its streams."""
    make = bound().relay
    assert make is not None
    return make()


def relayed(*pieces: bytes) -> bytes:
    """The caller's whole stream."""
    one = relay()
    return b"".join([one.feed(piece) for piece in pieces]) + one.close()


def through(*frames: str) -> list[dict[str, Any]]:
    """What the caller reads of these frames."""
    return read(relayed(sse(*frames)))


def read(stream: bytes) -> list[dict[str, Any]]:
    """The data of each event."""
    blocks = stream.decode().removesuffix("\n\n").split("\n\n") if stream else []
    return [json.loads(block.partition("data: ")[2]) for block in blocks]


# --- the same at every cut ---

RECORDED = {
    "azure": sse(*STREAM),
    "azure, CRLF": sse(*STREAM, end="\r\n"),
    "no blank line at the end": sse(*STREAM)[:-2],
}


@pytest.mark.parametrize("name", RECORDED)
def test_trap_11_a_stream_does_not_depend_on_where_its_bytes_are_cut(name: str) -> None:
    """Traps 10, 11, 12: cut at every byte, also inside a character, the caller gets the same."""
    stream = RECORDED[name]
    whole = relayed(stream)

    for cut in range(len(stream)):
        assert whole == relayed(stream[:cut], stream[cut:])


@given(st.lists(st.integers(0, 5_000), max_size=12))
def test_nor_on_how_many_pieces_there_are(cuts: list[int]) -> None:
    """Any split into any number of pieces."""
    stream = RECORDED["azure"]
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    assert relayed(stream) == relayed(*(stream[a:b] for a, b in pairwise(bounds)))


# --- what the caller sees ---


def test_every_frame_gets_a_line_with_its_type() -> None:
    """Azure sends none, OpenAI does; there is no `[DONE]` (traps 2, 7)."""
    stream = relayed(sse(*STREAM, "[DONE]"))
    types = [json.loads(data)["type"] for data in STREAM]

    lines = [block.split("\n")[0] for block in stream.decode().removesuffix("\n\n").split("\n\n")]
    assert [f"event: {kind}" for kind in types] == lines


def test_frames_keep_their_bytes() -> None:
    """Spaces, number forms, escapes, and members from the future."""
    odd = '{"type":"response.output_text.delta", "sequence_number":2,"delta":"\\u00e9","new":{ "a" : 1.10 }}'
    stream = relayed(sse(CREATED, odd, COMPLETED))

    assert f"event: response.output_text.delta\ndata: {odd}\n\n".encode() in stream


def test_a_frame_without_type_has_no_such_line() -> None:
    """Nothing is made up."""
    assert b"\n\ndata: {}\n\n" in relayed(sse(CREATED, "{}", COMPLETED))


def test_a_response_has_the_public_name_and_an_id_that_leads_back() -> None:
    """Trap 41: in every frame that holds one; all else in it as it came."""
    before = sample.response("in_progress", previous_response_id="resp_0", future={"x": [1]})
    events = through(frame(0, "response.created", response=before), DELTA, COMPLETED)

    expected = before | {
        "id": SEALED,
        "model": PUBLIC,
        "previous_response_id": stored.seal("resp_0", ORIGIN, CALLER),
    }
    assert expected == events[0]["response"]
    assert DONE | {"id": SEALED, "model": PUBLIC} == events[-1]["response"]
    assert ("resp_1", ORIGIN) == stored.unseal(events[-1]["response"]["id"], CALLER)


def test_a_response_that_is_bound_to_nothing_keeps_its_id() -> None:
    """Before a deployment is chosen."""
    make = responses.prepare(body(), target(), stream=True).relay
    assert make is not None
    first, *_ = read(make().feed(sse(CREATED, COMPLETED)))

    assert ("resp_1", PUBLIC) == (first["response"]["id"], first["response"]["model"])


@pytest.mark.parametrize("member", ['"who knows"', "[]", "null", "5"])
def test_a_response_from_the_future_is_not_looked_at(member: str) -> None:
    """It passes as it is."""
    odd = '{"type":"response.hologram","response":' + member + "}"

    assert odd.encode() in relayed(sse(CREATED, odd, COMPLETED))


def test_usage_and_the_reason_are_known_at_the_end() -> None:
    """For the log."""
    one = relay()
    one.feed(sse(*STREAM[:-1]))
    before = (one.usage, one.finish_reason, one.done)
    one.feed(sse(COMPLETED))

    assert (None, "", False) == before
    assert (Usage(30, 12, 42), "tool_calls", True) == (one.usage, one.finish_reason, one.done)


@pytest.mark.parametrize(
    ("final", "reason"),
    [
        (sample.response("completed"), "stop"),
        (sample.response("incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (sample.response("incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        (sample.response("incomplete"), "length"),
        (sample.response("cancelled"), "cancelled"),
        ({"id": "resp_1"}, ""),
    ],
)
def test_how_a_response_ends(final: dict[str, Any], reason: str) -> None:
    """In the words of chat completions."""
    one = relay()
    kind = f"response.{final.get('status', 'completed')}"
    one.feed(sse(CREATED, frame(1, kind, response=final), DELTA))

    assert (b"", reason, None) == (one.close(), one.finish_reason, one.usage)


# --- failures ---


def test_an_answer_may_have_no_content() -> None:
    """Its end is one all the same."""
    assert ["created", "completed"] == kinds(through(CREATED, COMPLETED))


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize(
    ("frames", "error"),
    [
        (THROTTLED, UpstreamLimited),
        ((CREATED, IN_PROGRESS, FAILED), UpstreamFailed),
        ((CREATED, THROTTLE, COMPLETED), UpstreamLimited),
        ((CREATED, '{"error":{"code":"429"}}', COMPLETED), UpstreamLimited),
        ((CREATED, "no json", COMPLETED), UpstreamBroken),
        ((CREATED, "[]", COMPLETED), UpstreamBroken),
    ],
)
def test_trap_14_a_failure_before_any_content_is_an_error(
    frames: tuple[str, ...], error: type[UpstreamError], pieces: int
) -> None:
    """Trap 14: so that another deployment may do better; in one chunk or in several."""
    one = relay()
    chunks = [sse(*frames)] if pieces == 1 else [sse(data) for data in frames]

    with pytest.raises(error) as caught:
        [one.feed(chunk) for chunk in chunks]
    assert (error, True, False) == (type(caught.value), caught.value.retryable, one.began)


def test_a_failure_without_any_reason_is_told_at_the_end() -> None:
    """The error that should follow never came."""
    one = relay()
    seen = one.feed(sse(*THROTTLED[:2]))

    with pytest.raises(UpstreamFailed):
        one.close()
    assert (["created"], False) == (kinds(read(seen)), one.began)


# --- failures in mid-stream ---


def begun() -> Relay:
    """A stream whose caller has seen something."""
    one = relay()
    one.feed(sse(CREATED, DELTA))
    return one


def test_a_response_that_fails_later_is_passed_on() -> None:
    """With its reason; the gateway adds no end of its own, but knows."""
    one = begun()
    [failed] = read(one.feed(sse(FAILED)))

    assert ("failed", SEALED) == (failed["response"]["status"], failed["response"]["id"])
    assert isinstance(one.failure, UpstreamFailed)
    assert b"" == one.fail(one.failure)


def test_one_that_fails_without_a_reason_gets_it_from_the_error_behind() -> None:
    """The caller reads one `response.failed` that says why."""
    one = begun()

    assert b"" == one.feed(sse(THROTTLED[1]))
    with pytest.raises(UpstreamLimited) as caught:
        one.feed(sse(THROTTLE))
    [failed] = sample.told(one.fail(caught.value))
    assert {"code": "rate_limit_exceeded", "message": "m"} == failed["response"]["error"]
    assert (SEALED, 3) == (failed["response"]["id"], failed["sequence_number"])


@pytest.mark.parametrize("pieces", [1, 2])
def test_an_error_behind_content_passes_once_and_nothing_follows(pieces: int) -> None:
    """It is the upstream's own last word; in one chunk or in several."""
    one = relay()
    chunks = (
        [sse(CREATED, DELTA, THROTTLE, DELTA)] if pieces == 1 else [sse(CREATED, DELTA), sse(THROTTLE, DELTA)]
    )
    out = b"".join([one.feed(chunk) for chunk in chunks])

    assert ["created", "output_text.delta", "error"] == kinds(read(out))
    assert THROTTLE == out.decode().removesuffix("\n\n").rpartition("data: ")[2]
    assert isinstance(one.failure, UpstreamLimited)
    assert (b"", False) == (one.fail(one.failure), one.done)


@pytest.mark.parametrize("count", range(1, len(STREAM)))
def test_trap_24_a_stream_that_is_cut_ends_in_a_failure(count: int) -> None:
    """Trap 24: whichever frame was the last, it never looks complete."""
    one = relay()
    seen = one.feed(sse(*STREAM[:count]))

    with pytest.raises(UpstreamBroken) as caught:
        one.close()
    events = read(seen + one.fail(caught.value))
    assert "response.created" == events[0]["type"]
    assert ("response.failed", "failed") == (events[-1]["type"], events[-1]["response"]["status"])
    assert SEALED == events[-1]["response"]["id"]
    assert b"" == one.fail(caught.value)


# --- whole answers ---


def answered(**members: Any) -> Answer:
    """The caller's answer."""
    return bound().answer(json.dumps(DONE | members).encode())


def test_a_whole_answer() -> None:
    """Its name and its ids; all else keeps its bytes."""
    upstream = b'{"future": {"a" : 1.10},"id":"resp_1","model":"gpt-5-2025-08-07","status":"completed"}'
    expected = f'{{"future":{{"a" : 1.10}},"id":"{SEALED}","model":"{PUBLIC}","status":"completed"}}'

    assert expected.encode() == bound().answer(upstream).body


def test_what_the_log_knows_of_it() -> None:
    """Tokens, and why the model stopped."""
    answer = answered()

    assert (Usage(30, 12, 42), "tool_calls") == (answer.usage, answer.finish_reason)


def test_one_in_the_background_is_not_done() -> None:
    """Its status says so."""
    assert "queued" == answered(status="queued").finish_reason


@pytest.mark.parametrize(
    ("upstream", "error"),
    [
        (json.dumps(sample.response("failed", error={"code": "rate_limit_exceeded"})), UpstreamLimited),
        ('{"error":{"message":"m"}}', UpstreamFailed),
        ('{"object":"list"}', UpstreamBroken),
        ("[]", UpstreamBroken),
        ("no json", UpstreamBroken),
    ],
)
def test_errors_instead_of_an_answer(upstream: str, error: type[UpstreamError]) -> None:
    """Also those inside a 200."""
    with pytest.raises(error) as caught:
        bound().answer(upstream.encode())

    assert error is type(caught.value)


def test_a_stored_response_may_have_failed() -> None:
    """That is what was asked."""
    request = responses.keeping({}, target(), response_id=SEALED, method="GET")
    failed = sample.response("failed", error={"code": "server_error", "message": "broke"}, usage=sample.USAGE)
    answer = request.answer(json.dumps(failed).encode())

    assert "failed" == json.loads(answer.body)["status"]
    assert (None, "") == (answer.usage, answer.finish_reason)


def test_an_error_about_a_stored_response_is_one() -> None:
    """It has no id."""
    request = responses.keeping({}, target(), response_id=SEALED, method="GET")

    with pytest.raises(UpstreamFailed):
        request.answer(b'{"error":{"message":"m"}}')
