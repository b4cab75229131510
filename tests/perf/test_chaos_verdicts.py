"""What chaos makes of an answer: the right one passes, and every kind of wrong one is found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from perf.chaos.questions import KINDS, Asked, Asking, questions
from perf.chaos.verdicts import GRACE_SECONDS, Chronicle, Event, Tally, Verdict, judge
from perf.engine import judge_answer
from perf.judge import StreamJudge
from perf.texts import TEXTS
from perf.workload import Target

TARGET = Target("http://127.0.0.1:1")
TEXT = "n1 harbour lantern end-of-n1"
PIECES = ("n1 harbour", " lantern", " end-of-n1")
AT = 100.0
"""When the exchanges of these tests ended; they took a second."""


def asked(surface: str, *, stream: bool) -> Asked:
    return Asked(TARGET, "key", surface=surface, model="gpt-5", stream=stream, text=TEXT, shared=False)


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chat(text: str, finish: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


def message(text: str) -> bytes:
    delta = {"type": "text_delta", "text": text}
    return event({"type": "content_block_delta", "index": 0, "delta": delta})


def response(text: str) -> bytes:
    return event({"type": "response.output_text.delta", "delta": text})


def contents(text: str, finish: str | None = None) -> bytes:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": finish}
    return event({"candidates": [candidate]})


STREAMS: dict[str, Sequence[bytes]] = {
    "chat": [*map(chat, PIECES), chat("", "stop"), b"data: [DONE]\n\n"],
    "messages": [
        *map(message, PIECES),
        event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        event({"type": "message_stop"}),
    ],
    "responses": [*map(response, PIECES), event({"type": "response.completed", "response": {}})],
    "gemini": [*map(contents, PIECES), contents("", "STOP")],
}
WHOLE: dict[str, Any] = {
    "chat": {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]},
    "messages": {
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
    },
    "responses": {
        "status": "completed",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": TEXT}]},
        ],
    },
    "gemini": {
        "candidates": [
            {"content": {"parts": [{"text": "hm", "thought": True}, {"text": TEXT}]}, "finishReason": "STOP"}
        ]
    },
}
OPENAI = {"message": "no", "type": "api_error", "param": None, "code": "upstream_error"}
ERRORS: dict[str, Any] = {
    "chat": {"error": OPENAI},
    "messages": {"type": "error", "error": {"type": "api_error", "message": "no"}},
    "responses": {"error": OPENAI},
    "gemini": {"error": {"code": 502, "message": "no", "status": "INTERNAL"}},
}
FAILED: dict[str, Any] = {
    **ERRORS,
    "responses": {
        "type": "response.failed",
        "response": {"error": {"code": "server_error", "message": "no"}},
    },
}


def streamed(surface: str, frames: Sequence[bytes], *, whole: bool = True) -> Asking:
    """An exchange whose stream had these frames; not `whole` means that the connection broke after them."""
    exchange = ended(asked(surface, stream=True), 200)
    exchange.judge = StreamJudge(exchange.work.dialect)
    try:
        for frame in frames:
            exchange.judge.feed(frame)
    except ValueError as exc:
        exchange.fail("malformed", str(exc))
    if not whole:
        exchange.fail("truncated", "the connection was closed early")
    elif exchange.failure is None:
        judge_answer(exchange)
    return exchange


def answered(surface: str, body: Any, status: int = 200, *, stream: bool = False) -> Asking:
    """An exchange with this whole answer."""
    exchange = ended(asked(surface, stream=stream), status)
    exchange.body = [body if isinstance(body, bytes) else json.dumps(body).encode()]
    judge_answer(exchange)
    return exchange


def ended(work: Asked, status: int) -> Asking:
    exchange = Asking(work, AT - 1)
    exchange.sent, exchange.ended, exchange.status = AT - 1, AT, status
    return exchange


def ruled(exchange: Asking, *, leaver: bool = False, **chronicle: list[Event]) -> Verdict:
    return judge(exchange, Chronicle(**chronicle), leaver=leaver)[0]


@pytest.mark.parametrize("surface", TEXTS)
def test_right_answers(surface: str) -> None:
    """The whole text with its dialect's end is right, streamed and whole."""
    assert Verdict.RIGHT == ruled(streamed(surface, STREAMS[surface]))
    assert Verdict.RIGHT == ruled(answered(surface, WHOLE[surface]))


@pytest.mark.parametrize("surface", TEXTS)
def test_a_stream_that_ends_politely_and_early_is_wrong(surface: str) -> None:
    """A stream without its end is wrong wherever it stops, even in the moment of a blow."""
    frames = STREAMS[surface]
    blows = [Event("worker killed", None, AT - 0.1, AT)]

    for count in range(len(frames)):
        assert Verdict.WRONG == ruled(streamed(surface, frames[:count]), blows=blows), count


@pytest.mark.parametrize("surface", TEXTS)
@pytest.mark.parametrize("missing", range(3))
def test_a_stream_without_one_piece_is_wrong(surface: str, missing: int) -> None:
    """It has its end, and still some words are not there."""
    frames = [frame for number, frame in enumerate(STREAMS[surface]) if number != missing]

    assert Verdict.WRONG == ruled(streamed(surface, frames))


@pytest.mark.parametrize("surface", TEXTS)
def test_a_stream_that_begins_again_is_wrong(surface: str) -> None:
    """A retry behind what was sent already repeats words."""
    frames = [STREAMS[surface][0], *STREAMS[surface]]

    assert Verdict.WRONG == ruled(streamed(surface, frames))


@pytest.mark.parametrize("surface", TEXTS)
def test_half_a_text_is_wrong(surface: str) -> None:
    """A whole answer with half the words, or with another's, is wrong."""
    text = json.dumps(WHOLE[surface])

    assert Verdict.WRONG == ruled(answered(surface, text.replace(TEXT, TEXT[:9]).encode()))
    assert Verdict.WRONG == ruled(answered(surface, text.replace("n1", "n2").encode()))
    assert Verdict.WRONG == ruled(answered(surface, text.encode()[: len(text) // 2]))


@pytest.mark.parametrize(
    ("surface", "old", "new"),
    [
        ("chat", '"stop"', '"length"'),
        ("messages", "end_turn", "max_tokens"),
        ("responses", "completed", "incomplete"),
        ("gemini", "STOP", "MAX_TOKENS"),
    ],
)
def test_an_answer_that_says_it_is_not_finished_is_wrong(surface: str, old: str, new: str) -> None:
    """The text is right by chance; nobody asked for less."""
    body = json.dumps(WHOLE[surface]).replace(old, new).encode()

    assert Verdict.WRONG == ruled(answered(surface, body))


def test_an_empty_answer_is_wrong() -> None:
    """A 200 without a body is no answer."""
    assert Verdict.WRONG == ruled(answered("chat", b""))
    assert Verdict.WRONG == ruled(answered("chat", b"", stream=True))


@pytest.mark.parametrize("surface", TEXTS)
def test_an_error_in_the_dialect_is_honest(surface: str) -> None:
    """A true status with the dialect's error object."""
    assert Verdict.HONEST == ruled(answered(surface, ERRORS[surface], 502))
    assert Verdict.HONEST == ruled(answered(surface, ERRORS[surface], 502, stream=True))


@pytest.mark.parametrize("surface", TEXTS)
def test_an_error_in_another_form_is_wrong(surface: str) -> None:
    """A page, an empty body, or the error of another dialect help nobody."""
    other = ERRORS["gemini" if surface != "gemini" else "chat"]

    assert Verdict.WRONG == ruled(answered(surface, b"<html>Bad Gateway</html>", 502))
    assert Verdict.WRONG == ruled(answered(surface, b"", 502))
    assert Verdict.WRONG == ruled(answered(surface, {"error": "no"}, 502))
    assert Verdict.WRONG == ruled(answered(surface, other | {"type": ""}, 502))


def test_nginx_speaks_for_a_gateway_that_is_not_there() -> None:
    """Its error has OpenAI's form for everybody."""
    body = {"error": {"message": "…", "type": "api_error", "code": "gateway_unreachable"}, "type": "error"}

    assert {Verdict.HONEST} == {ruled(answered(surface, body, 502)) for surface in TEXTS}


def test_the_status_of_googles_error_is_said_twice() -> None:
    """A body that contradicts the status is wrong."""
    assert Verdict.WRONG == ruled(answered("gemini", ERRORS["gemini"], 503))


@pytest.mark.parametrize("status", [401, 403, 418, 422])
def test_a_status_that_blames_the_callers_key_is_wrong(status: int) -> None:
    """The caller's key and request were good: the tenant's refusals are not his."""
    assert Verdict.WRONG == ruled(answered("chat", ERRORS["chat"], status))


@pytest.mark.parametrize(
    ("model", "began", "verdict"),
    [
        ("gpt-5", AT - 2, Verdict.HONEST),
        (None, AT - 2, Verdict.HONEST),
        ("sonar", AT - 2, Verdict.WRONG),
        ("gpt-5", AT + 1, Verdict.WRONG),
        ("gpt-5", AT - 100, Verdict.WRONG),
    ],
)
def test_a_400_needs_a_reason(model: str | None, began: float, verdict: Verdict) -> None:
    """It is honest only while the tenant refused the content of this model's requests."""
    faults = [Event("content-filter", model, began, began + 4)]

    assert verdict == ruled(answered("chat", ERRORS["chat"], 400), faults=faults)


@pytest.mark.parametrize("surface", TEXTS)
@pytest.mark.parametrize("count", range(4))
def test_an_error_event_after_the_beginning_is_honest(surface: str, count: int) -> None:
    """Whatever was sent before, the dialect's own error event ends a stream honestly."""
    frames = [*STREAMS[surface][: min(count, 3)], event(FAILED[surface])]

    assert Verdict.HONEST == ruled(streamed(surface, frames))


@pytest.mark.parametrize("surface", ["chat", "messages", "responses"])
def test_an_error_event_beside_an_end_is_wrong(surface: str) -> None:
    """Who stops reading at the error, and who stops at the end, would see two different answers."""
    frames = [STREAMS[surface][0], event(FAILED[surface]), *STREAMS[surface][3:]]

    assert Verdict.WRONG == ruled(streamed(surface, frames))


@pytest.mark.parametrize("surface", TEXTS)
def test_an_error_event_after_other_words_is_wrong(surface: str) -> None:
    """What was said before must be the beginning of the answer."""
    frames = [STREAMS[surface][1], event(FAILED[surface])]

    assert Verdict.WRONG == ruled(streamed(surface, frames))


@pytest.mark.parametrize("surface", TEXTS)
def test_an_error_event_of_another_dialect_is_wrong(surface: str) -> None:
    """A caller's client would not know it for an error."""
    assert Verdict.WRONG == ruled(streamed(surface, [event({"error": {"reason": "no"}})]))


def test_a_malformed_frame_is_wrong() -> None:
    """Half a JSON object is nothing that a client can read."""
    assert Verdict.WRONG == ruled(streamed("chat", [STREAMS["chat"][0], b'data: {"choices":[{\n\n']))


@pytest.mark.parametrize(
    ("began", "until", "verdict"),
    [
        (AT - 0.5, AT - 0.4, Verdict.CUT),
        (AT - 5, float("inf"), Verdict.CUT),
        (AT - 5, AT - GRACE_SECONDS - 0.1, Verdict.WRONG),
        (AT + 0.1, AT + 1, Verdict.WRONG),
    ],
)
@pytest.mark.parametrize("surface", TEXTS)
def test_a_cut_connection_is_forgiven_only_at_a_blow(
    surface: str, began: float, until: float, verdict: Verdict
) -> None:
    """In its moment and shortly after; before and long after it is the gateway's fault."""
    exchange = streamed(surface, STREAMS[surface][:2], whole=False)

    assert verdict == ruled(exchange, blows=[Event("nginx restarted", None, began, until)])


def test_a_cut_stream_must_have_begun_right() -> None:
    """A blow does not excuse wrong words."""
    exchange = streamed("chat", STREAMS["chat"][1:2], whole=False)

    assert Verdict.WRONG == ruled(exchange, blows=[Event("worker killed", None, AT)])


@pytest.mark.parametrize(("status", "verdict"), [(0, Verdict.CUT), (200, Verdict.WRONG)])
def test_a_gentle_blow_excuses_only_what_had_no_answer_yet(status: int, verdict: Verdict) -> None:
    """A reload closes idle connections, on one of which a request may just have been sent."""
    exchange = ended(asked("chat", stream=False), status)
    exchange.fail("reset", "the connection was closed early")

    assert verdict == ruled(exchange, blows=[Event("nginx reloaded", None, AT, AT, gentle=True)])


@pytest.mark.parametrize("failure", ["timeout", "unfinished"])
def test_no_end_is_hung(failure: str) -> None:
    """No answer within the bound is never excused, and never counted as left unless the caller leaves."""
    exchange = ended(asked("chat", stream=True), 0)
    exchange.fail(failure, "no complete answer")

    assert Verdict.HUNG == ruled(exchange, blows=[Event("worker killed", None, AT)])
    assert Verdict.LEFT == ruled(exchange, leaver=True)


def test_who_leaves_must_have_seen_the_beginning() -> None:
    """What a leaver was sent until then is judged too."""
    exchange = streamed("chat", STREAMS["chat"][1:2], whole=False)
    exchange.failure = "timeout"

    assert Verdict.WRONG == ruled(exchange, leaver=True)


def test_a_tally_tells_what_must_not_be() -> None:
    """Counts, and samples with what was going on around them."""
    faults = [Event("cut", "gpt-5", AT - 3), Event("stall", "sonar", AT - 3)]
    tally = Tally(Chronicle(faults=faults), began=AT - 10)
    tally.take(streamed("chat", STREAMS["chat"]))
    tally.take(streamed("chat", STREAMS["chat"][:2]))

    assert (1, 1, 1) == (tally.counts[Verdict.RIGHT], tally.counts[Verdict.WRONG], tally.bad)
    assert [["cut"]] == [sample["around"] for sample in tally.samples]
    assert "chat stream gpt-5" == tally.samples[0]["what"]


def test_questions_come_from_a_seed_and_cover_everything() -> None:
    """The same seed asks the same; every surface asks every family; most texts are unique."""
    import random

    def first(count: int) -> list[Asked]:
        source = questions(TARGET, "key", random.Random(3))
        return [next(source) for _ in range(count)]

    found = first(600)

    assert [one.parts() for one in first(600)] == [one.parts() for one in found]
    assert set(KINDS) <= {(one.surface, one.model) for one in found}
    assert 500 < len({one.text for one in found}) < 600
    assert {True, False} == {one.stream for one in found}
