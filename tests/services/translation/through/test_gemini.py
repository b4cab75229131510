"""Gemini's API passed through: nothing is rebuilt, nothing is lost."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given, strategies as st

from services.errors import BadRequest, UpstreamBroken, UpstreamLimited
from services.translation import fields
from services.translation.callers.gemini_seals import seal
from services.translation.replies import Answer, Prepared, Usage
from services.translation.through.gemini import GeminiRelay, prepare, read_answer
from tests.services.translation.gemini_samples import BLOCKED, CALLS, ERROR, FAILURE, FLASH, frame
from tests.services.translation.samples import PUBLIC, frames, sse, target

HI = {"role": "user", "parts": [{"text": "hi"}]}
USAGE = Usage(8, 42, 50)


def passed(body: bytes, *, stream: bool = False, defaults: Any = None) -> Prepared:
    return prepare(fields.parse(body), target(FLASH, defaults=defaults), stream=stream)


def sent(defaults: Any = None, **members: Any) -> dict[str, Any]:
    request = passed(msgspec.json.encode({"contents": [HI]} | members), defaults=defaults)
    return dict(json.loads(request.body))


def relayed(*pieces: bytes) -> bytes:
    relay = GeminiRelay(model=PUBLIC)
    return b"".join([relay.feed(piece) for piece in pieces]) + relay.close()


def public(one: str) -> str:
    return one.replace("gemini-3.5-flash", PUBLIC)


# --- request -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "path"),
    [
        (False, "/models/gemini-2.5-flash-lite:generateContent"),
        (True, "/models/gemini-2.5-flash-lite:streamGenerateContent?alt=sse"),
    ],
)
def test_trap_45_the_path_names_the_backend_model(stream: bool, path: str) -> None:
    """Traps 25, 45: whatever the body says of model and stream; that is dropped by its name (wire §5.4)."""
    request = passed(b'{"model":"a","stream":true,"labels":{},"contents":[]}', stream=stream)

    assert (path, b'{"contents":[]}', ("model", "stream", "labels")) == (
        request.path,
        request.body,
        request.dropped,
    )
    assert (request.relay is not None) == stream


def test_what_nobody_here_knows_keeps_its_bytes() -> None:
    """Trap 46: safety settings are the caller's; fields of the future, forms of numbers, either spelling."""
    body = (
        b'{"contents":[ {"parts":{"text":"\\u00e9","new":1.10}} ],"generation_config":{"top_p":1e0},'
        b'"safetySettings":[],"fromTheFuture":{ "a" : [1] }}'
    )

    assert body == passed(body).body


def test_the_input_is_not_changed() -> None:
    """Trap 55: a retry needs it again."""
    contents = [{"parts": [{"functionResponse": {"id": "1", "name": "f", "response": {}}}]}]
    body = fields.parse(msgspec.json.encode({"contents": contents, "model": "m"}))
    before = msgspec.json.encode(body)
    prepare(body, target(FLASH, defaults={"temperature": 0}), stream=True)

    assert before == msgspec.json.encode(body)


@pytest.mark.parametrize("body", [b"{}", b'{"contents":null}'])
def test_contents_have_to_be_there(body: bytes) -> None:
    """All else is the upstream's to refuse."""
    with pytest.raises(BadRequest) as caught:
        passed(body)

    assert "contents" == caught.value.param


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"functionResponse": {"id": "1", "name": "f", "response": {"id": "kept"}}},
            {"functionResponse": {"name": "f", "response": {"id": "kept"}}},
        ),
        (
            {"function_response": {"id": "1", "name": "f"}, "new": 1},
            {"function_response": {"name": "f"}, "new": 1},
        ),
        (
            {"functionCall": {"name": "f", "id": "1", "args": {"id": 1}}, "thoughtSignature": "UQ=="},
            {"functionCall": {"name": "f", "args": {"id": 1}}, "thoughtSignature": "UQ=="},
        ),
        ({"functionCall": {"name": "id"}, "text": '"id"'}, {"functionCall": {"name": "id"}, "text": '"id"'}),
    ],
)
def test_trap_43_calls_and_results_have_no_ids(part: Any, expected: Any) -> None:
    """Trap 43, wire §5.4: Vertex refuses them. In lists and as a single object."""
    assert [{"parts": [expected]}] == sent(contents=[{"parts": [part]}])["contents"]
    assert [{"parts": [expected]}] == sent(contents={"parts": part})["contents"]


SEALED = seal("S", "claude")


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (
            [{"parts": [{"text": "t", "thought": True, "thoughtSignature": SEALED}, {"text": "a"}]}],
            [{"parts": [{"text": "a"}]}],
        ),
        (
            [{"parts": [{"text": "a", "thought_signature": SEALED, "new": 1}]}],
            [{"parts": [{"text": "a", "new": 1}]}],
        ),
        ([HI, {"parts": [{"text": "", "thought": True, "thoughtSignature": SEALED}]}], [HI]),
        ([HI, {"role": "model"}, {"parts": []}, {"parts": [{"text": SEALED}]}],) * 2,
        ([{"parts": [{"text": SEALED, "thoughtSignature": None}]}],) * 2,
    ],
)
def test_proofs_of_other_models_do_not_go_up(contents: Any, expected: Any) -> None:
    """A conversation that began elsewhere: a signature is only shown to the dialect that made it."""
    assert expected == sent(contents=contents)["contents"]


@pytest.mark.parametrize("contents", [[{"parts": ["id"]}], [{"parts": 1, "id": 1}], [[{"id": 1}]], "id", 1])
def test_contents_of_another_shape_are_the_upstreams_to_refuse(contents: Any) -> None:
    """In its own words."""
    assert contents == sent(contents=contents)["contents"]


# --- the model's defaults ----------------------------------------------------------------------------

DEFAULTS = {"temperature": 0, "top_p": 0.5, "max_tokens": 9, "user": "u"}


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({}, "generationConfig", {"temperature": 0, "topP": 0.5, "maxOutputTokens": 9}),
        (
            {"generationConfig": {"topP": 1, "new": 2}},
            "generationConfig",
            {"temperature": 0, "topP": 1, "maxOutputTokens": 9, "new": 2},
        ),
        (
            {"generation_config": {"top_p": 1, "max_output_tokens": 3}},
            "generation_config",
            {"temperature": 0, "top_p": 1, "max_output_tokens": 3},
        ),
    ],
)
def test_the_models_defaults_stand_under_what_the_caller_says(given: Any, name: str, expected: Any) -> None:
    """In either spelling; those that Gemini has no word for are left out."""
    assert expected == sent(DEFAULTS, **given)[name]


def test_a_default_effort_and_a_default_stop_are_said_in_geminis_words() -> None:
    """The configuration has them in those of chat completions; thoughts stay hidden, as at Google."""
    config = sent({"stop": "X", "reasoning_effort": "low"})["generationConfig"]
    own = sent({"stop": ["X"], "reasoning_effort": "low"}, generationConfig={"thinking_config": {}})

    assert {"stopSequences": ["X"], "thinkingConfig": {"thinkingBudget": 1024}} == config
    assert {"stopSequences": ["X"], "thinking_config": {}} == own["generationConfig"]


def test_a_generation_config_that_is_none_is_refused() -> None:
    """By its name."""
    with pytest.raises(BadRequest, match="generationConfig"):
        sent(generationConfig=1)


@pytest.mark.parametrize(
    ("config", "expected"),
    [({"temperature": 0}, True), ({"seed": 1}, True), ({"temperature": 1}, False), ({}, False)],
)
def test_whether_the_answer_would_be_the_same(config: Any, expected: bool) -> None:
    """By temperature and seed, as for all others."""
    body = msgspec.json.encode({"contents": [HI], "generationConfig": config})

    assert expected == passed(body).deterministic


# --- whole answers -----------------------------------------------------------------------------------


def answer(body: str) -> Answer:
    return passed(b'{"contents":[]}').answer(body.encode())


def test_a_whole_answer_keeps_its_bytes_but_for_the_model() -> None:
    """Members of the future too."""
    body = CALLS[3].replace("}]", ',"fromTheFuture":{ "a":1e2 }}]', 1)

    assert Answer(public(body).encode(), USAGE, "stop") == answer(body)


def test_calls_make_the_finish_reason_tool_calls() -> None:
    """Trap 13: for the log; the caller reads what Google says."""
    body = frame({"functionCall": {"name": "f"}}, finish="STOP")

    assert Answer(body.encode(), None, "tool_calls") == answer(body)


def test_trap_46_a_blocked_prompt_is_an_answer() -> None:
    """Trap 46: it has no candidates."""
    assert Answer(public(BLOCKED).encode(), Usage(8, 0, 8), "content_filter") == answer(BLOCKED)


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        ('"modelVersion":"up"', '"modelVersion":"our-model"'),
        ('"modelVersion": "up"', '"modelVersion": "our-model"'),
        ('"modelVersion" : "up"', '"modelVersion":"our-model"'),
        (
            '"x":{"modelVersion":"up"},"modelVersion":"up"',
            '"x":{"modelVersion":"up"},"modelVersion":"our-model"',
        ),
        ('"modelVersion":null', '"modelVersion":null'),
        ('"y":1', '"y":1'),
    ],
)
def test_the_model_has_its_public_name(upstream: str, expected: str) -> None:
    """Where there is none, none is made up."""
    body = '{"candidates":[{"finishReason":"STOP"}],' + upstream + "}"

    assert expected in answer(body).body.decode()


@pytest.mark.parametrize(
    "body", ["<html>", "{}", '{"candidates":[]}', frame({"text": "a"}), '{"promptFeedback":{}}']
)
def test_trap_24_what_has_no_end_is_broken(body: str) -> None:
    """Trap 24: it never looks complete."""
    with pytest.raises(UpstreamBroken):
        read_answer(body.encode(), model=PUBLIC)


@pytest.mark.parametrize("body", [ERROR, f"[{ERROR}]"])
def test_an_error_inside_a_200(body: str) -> None:
    """Wire §6.1, §6.4."""
    with pytest.raises(UpstreamLimited, match="Quota exceeded"):
        answer(body)


# --- streams -----------------------------------------------------------------------------------------


def test_frames_keep_their_bytes_but_for_the_model() -> None:
    """Trap 7: and no `[DONE]` is added."""
    odd = '{"candidates":[{"content":{"parts":[{"new":{ "a":1.10 }}]}}],"z":"\\u00e9"}'

    assert sse(*(public(one) for one in (*CALLS[:3], odd, CALLS[3]))) == relayed(
        sse(*CALLS[:3], odd, CALLS[3])
    )


def test_googles_types_read_the_stream() -> None:
    """Every frame."""
    read = [types.GenerateContentResponse.model_validate(one) for one in frames(relayed(sse(*CALLS)))]

    assert {PUBLIC} == {one.model_version for one in read}


STREAMS = {
    "LF": sse(*CALLS),
    "CRLF": sse(*CALLS, end="\r\n"),
    "no blank line at the end": sse(*CALLS)[:-2],
    "blocked": sse(BLOCKED),
}


@pytest.mark.parametrize("name", STREAMS)
def test_trap_11_a_stream_does_not_depend_on_where_its_bytes_are_cut(name: str) -> None:
    """Traps 10, 11, 12: cut at every byte, also inside a character, and byte by byte."""
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


def test_the_log_learns_usage_and_finish() -> None:
    """The connection's end is the stream's: usage may follow the finish reason."""
    request = passed(b'{"contents":[]}', stream=True)
    assert request.relay is not None
    relay = request.relay()
    before = (relay.usage, relay.finish_reason)
    relay.feed(sse(*CALLS))
    relay.close()

    assert (None, "") == before
    assert (USAGE, "tool_calls", False, None) == (relay.usage, relay.finish_reason, relay.done, relay.failure)


@pytest.mark.parametrize("upstream", [(), CALLS[:3], ("{}",)])
def test_trap_24_a_stream_without_its_finish_is_broken(upstream: tuple[str, ...]) -> None:
    """Trap 24: a silent close is no end (wire §6.4)."""
    with pytest.raises(UpstreamBroken, match="finish reason"):
        relayed(sse(*upstream))


def test_every_choice_has_to_finish() -> None:
    """Of several, none may be cut short; a frame behind the finish opens none again."""
    first, second = (frame({"text": "a"}, index=index) for index in (0, 1))
    ends = [frame(finish="STOP", index=index) for index in (0, 1)]

    with pytest.raises(UpstreamBroken):
        relayed(sse(first, second, ends[0]))
    assert sse(first, second, *ends, first) == relayed(sse(first, second, *ends, first))


def test_trap_14_an_error_frame_is_that_error() -> None:
    """Trap 14: before anything went out it is still a status."""
    with pytest.raises(UpstreamLimited):
        GeminiRelay(model=PUBLIC).feed(sse(ERROR))


def test_what_came_before_an_error_is_still_the_callers() -> None:
    """The error follows it."""
    relay = GeminiRelay(model=PUBLIC)

    assert sse(public(CALLS[1])) == relay.feed(sse(CALLS[1], ERROR))
    assert isinstance(relay.failure, UpstreamLimited)


def test_a_frame_that_is_no_json_breaks_the_stream() -> None:
    """An empty one says nothing."""
    relay = GeminiRelay(model=PUBLIC)

    assert b"" == relay.feed(b"data:\n\n: ping\n\n")
    with pytest.raises(UpstreamBroken, match="cannot be read"):
        relay.feed(b"data: oops\n\n")


def test_a_failure_is_googles_error_object() -> None:
    """Trap 23: and nothing that looks like an end."""
    assert [{"error": {"code": 502, "message": "it broke", "status": "INTERNAL"}}] == frames(
        GeminiRelay(model=PUBLIC).fail(FAILURE)
    )


# --- calls of other models ---


def _calls_sent(model: str, *parts: dict[str, Any]) -> list[Any]:
    """The parts as they go up behind a question."""
    body = fields.parse(msgspec.json.encode({"contents": [HI, {"role": "model", "parts": parts}]}))
    made = prepare(body, target(model), stream=False).body
    return list(json.loads(made)["contents"][1]["parts"])


@pytest.mark.parametrize("name", ["functionCall", "function_call"])
def test_trap_43_the_first_call_of_another_model_gets_a_stand_in_for_its_signature(name: str) -> None:
    """The model refuses unsigned calls, and a conversation may have begun with another one (wire §8.4)."""
    call = {name: {"name": "f", "args": {}}}
    foreign = {**call, "thoughtSignature": seal("s", "claude")}
    stand_in = {**call, "thoughtSignature": "skip_thought_signature_validator"}

    assert [{"text": "so"}, stand_in, call] == _calls_sent("gemini-3.5-flash", {"text": "so"}, call, call)
    assert [stand_in] == _calls_sent("gemini-3.5-flash", foreign)


def test_signed_calls_and_models_that_sign_none_are_left_alone() -> None:
    """Its own signature is the better one."""
    signed = {"functionCall": {"name": "f"}, "thoughtSignature": "c2ln"}
    plain = {"functionCall": {"name": "f"}}

    assert [signed, plain] == _calls_sent("gemini-3.5-flash", signed, plain)
    assert [plain] == _calls_sent("gemini-2.5-flash-lite", plain)
