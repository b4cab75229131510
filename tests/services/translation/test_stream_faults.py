"""Streams that go wrong, between every pair of a caller and a model family: before content, and after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from services.errors import UpstreamBroken, UpstreamError, UpstreamFailed, UpstreamLimited, UpstreamRefused
from services.translation.callers import CALLERS
from tests.services.translation import gemini_samples as gemini, responses_samples as responses
from tests.services.translation.messages_samples import (
    DELTA,
    START,
    TEXT,
    TEXT_START,
    bedrock_events,
)
from tests.services.translation.samples import AZURE, chunk, sse
from tests.traps.wire import STREAMS, chunks, relay

GPT, CODEX, CLAUDE, NOVA = "gpt-4.1", "gpt-5.3-codex", "anthropic--claude-4.6-sonnet", "amazon--nova-pro"
GEMINI, COHERE, ORCHESTRATED = "gemini-3.5-flash", "cohere--command-a-reasoning", "sap-abap-1"
MISTRAL = "mistralai--mistral-small"
OWN: Mapping[str, str] = {
    "chat": GPT, "messages": CLAUDE, "bedrock": CLAUDE, "gemini": GEMINI, "responses": CODEX,
}  # fmt: skip
"""Surface → a model whose streams pass through."""

pairs = pytest.mark.parametrize(
    ("surface", "model"), [(surface, model) for surface in CALLERS for model in STREAMS]
)


def frames(model: str) -> list[bytes]:
    """The events of the family's stream, each with its blank line."""
    return [block + b"\n\n" for block in STREAMS[model].removesuffix(b"\n\n").split(b"\n\n")]


def events(surface: str, stream: bytes) -> list[dict[str, Any]]:
    """What the caller reads."""
    return bedrock_events(stream) if surface == "bedrock" else chunks(stream)


# --- what is content -----------------------------------------------------------------------------------

FRAMES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "chat": (
        (
            AZURE[0],
            AZURE[1],
            AZURE[4],
            chunk(),
            chunk(delta={"role": "assistant", "content": None, "tool_calls": [], "refusal": None}),
            chunk(delta={"content": ""}, finish=""),
            '{"choices":[{"index":0,"delta":null,"logprobs":{},"content_filter_results":{"hate":{"filtered":false}},'
            '"content_filter_offsets":{"check_offset":1}}]}',
            '{"choices":[],"error":null}',
        ),
        (
            AZURE[2],
            chunk(delta={"refusal": "I"}),
            chunk(delta={"reasoning_content": "hm"}),
            chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}),
            chunk(delta={"hologram": 1}),
            chunk(finish="length"),
            '{"choices":[{"index":0,"delta":{"content":""}},{"index":1,"delta":{"content":"b"}}]}',
            '{"choices":[{"index":0,"hologram":{"x":1}}]}',
        ),
    ),
    "messages": (
        (
            START,
            '{"type":"ping"}',
            TEXT_START,
            '{"type":"content_block_start","content_block":{"type":"tool_use","id":"1","name":"f","input":{}}}',
            '{"type":"content_block_delta","index":0,"delta":null}',
            '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}',
            '{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}',
        ),
        (
            TEXT,
            DELTA,
            '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"a"}}',
            '{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}',
            '{"type":"content_block_delta","index":0,"delta":{"type":"hologram_delta","hologram":[0]}}',
            '{"type":"content_block_stop","index":0}',
            '{"type":"hologram"}',
        ),
    ),
    "responses": (
        (
            responses.CREATED,
            responses.IN_PROGRESS,
            responses.frame(1, "response.queued", response=responses.response("queued")),
            responses.frame(1, "response.output_item.added", item={"type": "message"}),
            responses.frame(1, "response.content_part.added", part={"type": "output_text", "text": ""}),
            responses.frame(1, "response.reasoning_summary_part.added", part={"text": ""}),
            responses.frame(1, "response.output_text.delta", delta="", obfuscation="k3"),
        ),
        (
            responses.DELTA,
            responses.COMPLETED,
            responses.frame(1, "response.refusal.delta", delta="I"),
            responses.frame(1, "response.function_call_arguments.delta", delta="{"),
            responses.frame(1, "response.hologram.delta", delta={"x": 1}),
            responses.frame(1, "response.hologram.delta", hologram=1),
            responses.frame(1, "response.hologram"),
            "{}",
        ),
    ),
    "gemini": (
        (
            "{}",
            '{"usageMetadata":{"promptTokenCount":8},"modelVersion":"m","responseId":"r","promptFeedback":{}}',
            '{"candidates":[{"index":0,"safetyRatings":[{"probability":"NEGLIGIBLE"}]}]}',
            gemini.frame(),
            gemini.frame({"text": ""}),
            gemini.frame({"text": "", "thought": True}),
        ),
        (
            gemini.frame({"text": "a"}),
            gemini.frame({"text": "a", "thought": True}),
            gemini.frame({"functionCall": {"name": "f"}}),
            gemini.frame({"text": "", "thoughtSignature": "CsQB"}),
            gemini.frame({"hologram": 1}),
            gemini.frame(finish="STOP"),
            gemini.frame(groundingMetadata={"x": 1}),
            '{"candidates":[{"content":{"hologram":[1]}}]}',
            gemini.BLOCKED,
        ),
    ),
}  # fmt: skip
"""Surface → frames of its own dialect that only open a stream, and frames that say something."""


@pytest.mark.parametrize("surface", FRAMES)
def test_what_only_opens_a_stream_does_not_begin_it(surface: str) -> None:
    """Wire §6.4: metadata passes, and keeps the way to another deployment open."""
    way = relay(surface, OWN[surface])
    way.feed(sse(*FRAMES[surface][0]))

    assert not way.began


@pytest.mark.parametrize(
    ("surface", "frame"), [(surface, frame) for surface in FRAMES for frame in FRAMES[surface][1]]
)
def test_everything_else_begins_it(surface: str, frame: str) -> None:
    """Also what only the future knows, as long as it says something: nothing is held for ever."""
    way = relay(surface, OWN[surface])
    way.feed(sse(FRAMES[surface][0][0]))
    way.feed(sse(frame))

    assert way.began


@pairs
def test_a_stream_begins_once_and_for_all(surface: str, model: str) -> None:
    """Whoever reads it and whoever made it: not with its first frame, and before its last content."""
    way = relay(surface, model)
    begun = []
    for frame in frames(model):
        way.feed(frame)
        begun.append(way.began)

    assert sorted(begun) == begun
    assert (model == GEMINI, True) == (begun[0], begun[-2])  # Gemini opens with a thought


# --- before content ------------------------------------------------------------------------------------

ERRORS: Mapping[str, tuple[tuple[str, type[UpstreamError]], ...]] = {
    GPT: (
        ('{"error":{"code":"429","message":"m"}}', UpstreamLimited),
        ('{"error":{"code":"content_filter","message":"m"}}', UpstreamRefused),
        ('{"error":{"code":"context_length_exceeded","message":"m"}}', UpstreamRefused),
        ('{"error":{"message":"m"}}', UpstreamFailed),
    ),
    CODEX: (
        ('{"type":"error","error":{"code":"too_many_requests","message":"m"}}', UpstreamLimited),
        ('{"type":"error","error":{"code":"server_error","message":"m"}}', UpstreamFailed),
        (
            responses.frame(
                1, "response.failed", response=responses.response("failed", error={"code": "invalid_prompt"})
            ),
            UpstreamRefused,
        ),
    ),
    CLAUDE: (
        ('{"type":"error","error":{"type":"rate_limit_error","message":"m"}}', UpstreamLimited),
        ('{"type":"error","error":{"type":"overloaded_error","message":"m"}}', UpstreamFailed),
        ('{"type":"error","error":{"type":"invalid_request_error","message":"m"}}', UpstreamRefused),
        ('{"type":"error","message":"ThrottlingException: m"}', UpstreamLimited),
        ('{"type":"error","message":"ServiceUnavailableException: m"}', UpstreamFailed),
    ),
    NOVA: (
        ("{'throttlingException': {'message': 'm'}}", UpstreamLimited),
        ("{'serviceUnavailableException': {'message': 'm'}}", UpstreamFailed),
        ("{'validationException': {'message': 'm'}}", UpstreamRefused),
    ),
    GEMINI: (
        (gemini.ERROR, UpstreamLimited),
        (f"[{gemini.ERROR}]", UpstreamLimited),
        ('{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}', UpstreamFailed),
        ('{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}', UpstreamRefused),
    ),
    COHERE: (('{"error":{"code":"429","message":"m"}}', UpstreamLimited),),
    ORCHESTRATED: (
        (
            '{"error":{"code":429,"message":"m","location":"LLM","headers":{"retry-after":"7"}}}',
            UpstreamLimited,
        ),
        ('{"error":{"code":500,"message":"m","location":"LLM"}}', UpstreamFailed),
        (
            '{"error":{"code":400,"message":"m","location":"Filtering Module - Input Filter"}}',
            UpstreamRefused,
        ),
    ),
}


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize(
    ("model", "frame", "kind"), [(model, *error) for model, errors in ERRORS.items() for error in errors]
)
@pytest.mark.parametrize("surface", CALLERS)
def test_trap_18_an_error_before_content_is_as_one_with_a_status(
    surface: str, model: str, frame: str, kind: type[UpstreamError], pieces: int
) -> None:
    """Trap 18, wire §6.4: it is raised, also behind what opens the stream, in one chunk or in two."""
    opening = b"" if model == GEMINI else frames(model)[0]
    way = relay(surface, model)

    with pytest.raises(kind):
        [way.feed(piece) for piece in ([opening + sse(frame)] if pieces == 1 else [opening, sse(frame)])]
    assert (False, None) == (way.began, way.failure)


@pairs
def test_a_stream_without_content_is_broken(surface: str, model: str) -> None:
    """One without any frame, and one that only opens: another deployment may do better."""
    for opening in (b"", b": nothing\n\n", b"" if model == GEMINI else frames(model)[0]):
        way = relay(surface, model)
        way.feed(opening)

        with pytest.raises(UpstreamBroken) as caught:
            way.close()
        assert caught.value.retryable


# --- after content -------------------------------------------------------------------------------------


def begun(surface: str, model: str) -> tuple[Any, bytes]:
    """A stream that the caller has read content of, and what was read."""
    way, sent = relay(surface, model), b""
    for frame in frames(model):
        sent += way.feed(frame)
        if way.began and sent:
            break
    return way, sent


def is_the_error(surface: str, last: Mapping[str, Any]) -> bool:
    """Whether this is how the dialect says that an answer is not complete."""
    match surface:
        case "messages":
            return {"type": "error", "error": {"type": "api_error", "message": "it was cut"}} == last
        case "bedrock":
            return {"exception": {"Code": "internalServerException", "Message": "it was cut"}} == last
        case "responses":
            told = last["response"]
            return ("response.failed", "failed", "it was cut") == (
                last["type"], told["status"], told["error"]["message"],
            )  # fmt: skip
        case _:
            return "it was cut" == last["error"]["message"] and {"error"} == last.keys()


ENDS = frozenset({"message_stop", "message_delta", "response.completed", "response.incomplete"})


@pairs
def test_trap_23_a_late_failure_ends_in_the_callers_dialect(surface: str, model: str) -> None:
    """Traps 23, 24: its last frame says so, once, and nothing looks like an end."""
    way, sent = begun(surface, model)
    sent += way.fail(UpstreamBroken("it was cut"))
    read = events(surface, sent)

    assert is_the_error(surface, read[-1])
    assert not any(event.get("type") in ENDS for event in read)
    assert b"[DONE]" not in sent
    assert b'finishReason":"' not in sent


@pytest.mark.parametrize("model", STREAMS)
def test_trap_41_a_failed_response_goes_on_counting(model: str) -> None:
    """Trap 41: its number follows the last one, and it is the response that was begun."""
    way, sent = begun("responses", model)
    first, *_, before, failed = chunks(sent + way.fail(UpstreamBroken("it was cut")))

    assert before["sequence_number"] + 1 == failed["sequence_number"]
    assert (first["response"]["id"], "response") == (failed["response"]["id"], failed["response"]["object"])
    assert b"" == way.fail(UpstreamBroken("again"))


SILENT = {(surface, MISTRAL) for surface in ("completions", "gemini")} | {("completions", COHERE)}
"""Who reads nothing of that stream before its end: it is a call, which has to be whole, or is not told."""


@pytest.mark.parametrize(
    ("surface", "model"),
    [(surface, model) for surface in CALLERS for model in STREAMS if (surface, model) not in SILENT],
)
def test_a_frame_that_cannot_be_read_breaks_the_stream_behind_what_came(surface: str, model: str) -> None:
    """In the same chunk the caller still gets what came before it; in its own there is only the error."""
    readable, broken = b"".join(frames(model)[:-2]), b"data: {broken\n\n"
    one, two = relay(surface, model), relay(surface, model)

    assert one.feed(readable + broken) == two.feed(readable)
    assert isinstance(one.failure, UpstreamBroken)
    with pytest.raises(UpstreamBroken):
        two.feed(broken)


# --- ends ----------------------------------------------------------------------------------------------

LAST: Mapping[str, bool] = {
    GPT: True,  # `[DONE]`
    MISTRAL: True,
    ORCHESTRATED: True,
    NOVA: True,  # usage, behind the stop reason (trap 4)
    CLAUDE: False,  # `message_stop`: without it Bedrock broke off (wire §4.3)
    CODEX: False,  # the whole response
    GEMINI: False,  # the finish reason itself
    COHERE: False,
}
"""Model → whether the answer is complete without the last frame of its stream."""


@pytest.mark.parametrize("model", LAST)
@pytest.mark.parametrize("surface", CALLERS)
def test_a_stream_that_said_why_it_ends_may_lack_its_last_frame(surface: str, model: str) -> None:
    """A finish reason is an end; where the last frame holds it, or is the only sure sign, it is needed."""
    way, whole = relay(surface, model), relay(surface, model)
    sent = way.feed(b"".join(frames(model)[:-1]))

    if LAST[model]:
        expected = events(surface, whole.feed(STREAMS[model]) + whole.close())
        read = events(surface, sent + way.close())
        assert expected[-1].get("type") == read[-1].get("type")
        assert whole.finish_reason == way.finish_reason
    else:
        with pytest.raises(UpstreamBroken):
            way.close()
