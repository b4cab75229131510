"""Gemini: how answers look, whole and as streams (wire §4.5)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perf.simulator.answers import EventStream, Reply
from perf.simulator.settings import Pace
from tests.perf.simulator.executables.direct import answered, streamed, unary

LITE, FLASH = "gemini-2.5-flash-lite", "gemini-3.5-flash"
THOUGHTS = {"thinkingConfig": {"includeThoughts": True}}


def user(text: str) -> dict[str, Any]:
    """A body with one user turn."""
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


def whole(text: str, model: str = FLASH, **fields: Any) -> Any:
    """A unary answer."""
    status, body = unary(model, f"models/{model}:generateContent", user(text) | fields)
    assert 200 == status, body
    return body


def frames(text: str, model: str = FLASH, *, pace: Pace | None = None, **fields: Any) -> list[Any]:
    """A streamed answer."""
    return streamed(model, f"models/{model}:streamGenerateContent", user(text) | fields, pace=pace)


def parts(answer: Any) -> list[Any]:
    """The parts of the first candidate."""
    found: list[Any] = answer["candidates"][0]["content"].get("parts", [])
    return found


def tool(name: str, **schema: Any) -> dict[str, Any]:
    """`tools` with one function in Vertex's schema."""
    return {"functionDeclarations": [{"name": name, "parameters": {"type": "OBJECT", **schema}}]}


def test_thoughts_are_shown_when_asked_for() -> None:
    """They count either way."""
    shown, hidden = whole("echo: hi", generationConfig=THOUGHTS), whole("echo: hi")

    assert [{"text": "Weighing what was asked.", "thought": True}, {"text": "hi"}] == parts(shown)
    assert [{"text": "hi"}] == parts(hidden)
    assert {16} == {a["usageMetadata"]["thoughtsTokenCount"] for a in (shown, hidden)}


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({}, 16), ({"thinkingBudget": 0}, None), ({"thinkingBudget": 9}, 9), ({"thinkingBudget": 900}, 32),
        ({"thinkingLevel": "MINIMAL"}, None), ({"thinkingLevel": "LOW"}, 8), ({"thinkingLevel": "HIGH"}, 32),
    ],
)  # fmt: skip
def test_thinking_costs_what_is_set(config: dict[str, Any], tokens: int | None) -> None:
    """No thoughts, no count."""
    usage = whole("echo: hi", generationConfig={"thinkingConfig": config})["usageMetadata"]

    assert tokens == usage.get("thoughtsTokenCount")
    assert (tokens or 0) + usage["promptTokenCount"] + 1 == usage["totalTokenCount"]


def test_calls_finish_with_stop() -> None:
    """Whole, with decoded arguments, and without an id."""
    schema = {"properties": {"x": {"type": "INTEGER"}}, "required": ["x"]}
    answer = whole("call f", LITE, tools=[tool("f", **schema)])

    assert [{"functionCall": {"name": "f", "args": {"x": 1}}}] == parts(answer)
    assert "STOP" == answer["candidates"][0]["finishReason"]


def test_a_result_is_answered_in_words() -> None:
    """So that a loop ends."""
    contents = [
        *user("call f")["contents"],
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "42"}}}]},
    ]
    answer = whole("", LITE, contents=contents, tools=[tool("f")])

    assert [{"text": "The tool answered: 42"}] == parts(answer)


@pytest.mark.parametrize(
    ("config", "called"),
    [
        ({"mode": "AUTO"}, []),
        ({"mode": "NONE"}, []),
        ({"mode": "ANY"}, ["f"]),
        ({"mode": "ANY", "allowedFunctionNames": ["gg"]}, ["gg"]),
    ],
)
def test_the_mode_decides_about_calls(config: dict[str, Any], called: list[str]) -> None:
    """The prompt names no function."""
    fields = {"tools": [tool("f"), tool("gg")], "toolConfig": {"functionCallingConfig": config}}
    answer = whole("echo: 1", LITE, **fields)

    assert called == [part["functionCall"]["name"] for part in parts(answer) if "functionCall" in part]


SCHEMA = {"type": "object", "properties": {"n": {"const": 3}}, "required": ["n"]}
LEGACY = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER", "minimum": 3}}, "required": ["n"]}


@pytest.mark.parametrize("config", [{"responseJsonSchema": SCHEMA}, {"responseSchema": LEGACY}])
def test_json_follows_the_schema(config: dict[str, Any]) -> None:
    """In either kind of schema."""
    answer = whole("give me", generationConfig={"responseMimeType": "application/json", **config})

    assert {"n": 3} == json.loads(parts(answer)[0]["text"])


def test_an_enum_is_answered_bare() -> None:
    """`text/x.enum` has no quotes."""
    config = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["up", "down"]}}

    assert [{"text": "up"}] == parts(whole("which", generationConfig=config))


@pytest.mark.parametrize(("limit", "text"), [(18, [{"text": "a b"}]), (16, []), (5, [])])
def test_thoughts_count_against_the_limit(limit: int, text: list[Any]) -> None:
    """MAX_TOKENS, perhaps before a word is said: then `parts` is missing (wire §8.4)."""
    answer = whole("echo: a b c", generationConfig={"maxOutputTokens": limit})

    assert ("MAX_TOKENS", text) == (answer["candidates"][0]["finishReason"], parts(answer))
    assert bool(text) == ("parts" in answer["candidates"][0]["content"])


def test_stop_sequences_stop() -> None:
    """The sequence is not told."""
    answer = whole("echo: a b c", generationConfig={"stopSequences": ["b"]})

    assert ("STOP", "a ") == (answer["candidates"][0]["finishReason"], parts(answer)[0]["text"])


def test_several_candidates_are_numbered() -> None:
    """And paid for."""
    answer = whole("echo: a b", LITE, generationConfig={"candidateCount": 2, "seed": 1})

    assert [0, 1] == [candidate["index"] for candidate in answer["candidates"]]
    assert 4 == answer["usageMetadata"]["candidatesTokenCount"]


def test_log_probabilities_cover_the_tokens() -> None:
    """Of models before Gemini 3."""
    answer = whole("echo: a b", LITE, generationConfig={"responseLogprobs": True, "logprobs": 1})
    told = answer["candidates"][0]["logprobsResult"]

    assert ["a", " b"] == [one["token"] for one in told["chosenCandidates"]]
    assert 2 == len(told["topCandidates"])


def test_media_are_counted_apart() -> None:
    """By modality."""
    media = [{"inlineData": {"mimeType": mime, "data": "AAAA"}} for mime in ("image/png", "application/pdf")]
    answer = whole("", contents=[{"parts": [{"text": "echo: hi"}, *media]}])
    details = answer["usageMetadata"]["promptTokensDetails"]

    assert ["TEXT", "IMAGE", "DOCUMENT"] == [one["modality"] for one in details]
    assert answer["usageMetadata"]["promptTokenCount"] == sum(one["tokenCount"] for one in details)


def test_a_blocked_prompt_has_no_candidates() -> None:
    """Trap 46: a 200 with `promptFeedback`, in both forms (wire §6.3)."""
    answers = [whole("[[block:PROHIBITED_CONTENT]]"), *frames("[[block:PROHIBITED_CONTENT]]")]

    assert 2 == len(answers)
    assert all("candidates" not in answer for answer in answers)
    assert {"PROHIBITED_CONTENT"} == {answer["promptFeedback"]["blockReason"] for answer in answers}


def test_an_answer_may_be_filtered() -> None:
    """Half of it, then SAFETY."""
    answer = whole("echo: a b [[finish:SAFETY]] d")

    assert ("SAFETY", "a b") == (answer["candidates"][0]["finishReason"], parts(answer)[0]["text"])


def test_safety_is_rated() -> None:
    """Four categories with the finish."""
    assert 4 == len(whole("echo: hi")["candidates"][0]["safetyRatings"])


# streams


def test_frames_carry_thoughts_then_text() -> None:
    """Trap 13: the first part may be a thought."""
    told = [parts(frame)[0] for frame in frames("echo: a b", generationConfig=THOUGHTS)]

    assert [True] * 4 + [False] * 3 == [part.get("thought", False) for part in told]
    assert ["a", " b", ""] == [part["text"] for part in told[4:]]


def test_usage_grows_and_the_last_one_counts() -> None:
    """Cumulative; the thoughts come only with the last frame (wire §4.5)."""
    usages = [frame["usageMetadata"] for frame in frames("echo: a b c")]

    assert [1, 2, 3, 3] == [usage["candidatesTokenCount"] for usage in usages]
    assert [False, False, False, True] == ["thoughtsTokenCount" in usage for usage in usages]
    assert whole("echo: a b c")["usageMetadata"] == usages[-1]


def test_only_the_last_frame_finishes() -> None:
    """STOP, and no terminator after it."""
    finishes = [frame["candidates"][0].get("finishReason") for frame in frames("echo: a b")]

    assert [None, None, "STOP"] == finishes


def test_streamed_calls_are_whole() -> None:
    """One frame each, the first signed; the last frame has empty text."""
    told = [parts(frame)[0] for frame in frames("call f and gg", tools=[tool("f"), tool("gg")])]

    assert ["f", "gg"] == [part["functionCall"]["name"] for part in told[:2]]
    assert [True, False, False] == ["thoughtSignature" in part for part in told]
    assert {"text": ""} == told[2]


def test_the_pace_decides_the_frames() -> None:
    """Two tokens in each, and silences between them."""
    pace = Pace(chunk_size=2, chunk_interval_ms=5)
    told = frames("echo: a b c", pace=pace)
    stream = answered(FLASH, f"models/{FLASH}:streamGenerateContent", user("echo: a b c"), pace=pace)
    assert isinstance(stream, EventStream)

    assert ["a b", " c", ""] == [parts(frame)[0]["text"] for frame in told]
    assert [0.005, 0.005] == [step for step in stream.frames if isinstance(step, float)]


def test_one_id_and_one_model_for_the_whole_stream() -> None:
    """In every frame."""
    told = frames("echo: a b")

    assert 1 == len({frame["responseId"] for frame in told})
    assert {FLASH} == {frame["modelVersion"] for frame in told}


def test_the_path_may_name_any_model() -> None:
    """The deployment decides (wire §4.5)."""
    status, body = unary(FLASH, "models/gemini-9:generateContent", user("echo: hi"))

    assert (200, FLASH) == (status, body["modelVersion"])


def test_the_streaming_method_refuses_in_a_list() -> None:
    """Of one (wire §6.1)."""
    reply = answered(FLASH, f"models/{FLASH}:streamGenerateContent", {"stream": True})
    assert isinstance(reply, Reply)

    assert (400, ["INVALID_ARGUMENT"]) == (
        reply.status,
        [one["error"]["status"] for one in json.loads(reply.body)],
    )
