"""Gemini: what is refused, and with which words (wire §4.5, §5.4)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.perf.simulator.executables.direct import unary

LITE, FLASH, PRO = "gemini-2.5-flash-lite", "gemini-3.5-flash", "gemini-3.1-pro-preview-ea"
USER = {"role": "user", "parts": [{"text": "echo: hi"}]}
DECLARED = [{"name": "f", "parametersJsonSchema": {"type": "object"}}]
TOOLS = [{"functionDeclarations": DECLARED}]


def asked(model: str = FLASH, **fields: Any) -> tuple[int, Any]:
    """Status and body of a request with one user turn."""
    return unary(model, f"models/{model}:generateContent", {"contents": [USER], **fields})


def refused(model: str = FLASH, **fields: Any) -> str:
    """The text of a refusal in Vertex's shape."""
    status, body = asked(model, **fields)
    assert (400, 400, "INVALID_ARGUMENT") == (status, body["error"]["code"], body["error"]["status"]), body
    return str(body["error"]["message"])


def call(name: str = "f", signature: str | None = None, **args: Any) -> dict[str, Any]:
    """A `functionCall` part."""
    part: dict[str, Any] = {"functionCall": {"name": name, "args": args}}
    return part | {"thoughtSignature": signature} if signature else part


def response(name: str = "f") -> dict[str, Any]:
    """A `functionResponse` part."""
    return {"functionResponse": {"name": name, "response": {"result": "42"}}}


def turn(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """A content."""
    return {"role": role, "parts": list(parts)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 2.1), ("topP", 1.1), ("candidateCount", 9), ("maxOutputTokens", 0),
        ("maxOutputTokens", 65537), ("presencePenalty", 2.5), ("frequencyPenalty", -2.5),
    ],
)  # fmt: skip
def test_ranges_are_told(name: str, value: float) -> None:
    """With the name, the value and the range."""
    text = refused(generationConfig={name: value})

    assert text.startswith(
        f"Unable to submit request because it has a {name} value of {value} but the supported range is from"
    )


def test_five_stop_sequences_are_the_most() -> None:
    """Five pass, six do not (wire §8.4)."""
    assert 200 == asked(generationConfig={"stopSequences": list("vwxyz")})[0]
    assert "it has 6 stopSequences but the maximum is 5" in refused(
        generationConfig={"stopSequences": list("uvwxyz")}
    )


@pytest.mark.parametrize(
    ("model", "config", "text"),
    [
        (PRO, {"thinkingBudget": 0}, "Budget 0 is invalid. This model only works in thinking mode."),
        (LITE, {"thinkingLevel": "LOW"}, "Thinking level is not supported for this model."),
        (PRO, {"thinkingLevel": "MINIMAL"}, "Thinking level MINIMAL is not supported for this model."),
        (
            FLASH,
            {"thinkingLevel": "LOW", "thinkingBudget": 128},
            "You can only set only one of thinking budget and thinking level.",
        ),
        (
            LITE,
            {"thinkingBudget": 100},
            "The thinking budget 100 is invalid. Please choose a value between 512 and 24576.",
        ),
        (
            LITE,
            {"thinkingBudget": 0, "includeThoughts": True},
            "Unable to submit request because thinking_config.include_thoughts is only enabled when thinking "
            "is enabled.",
        ),
    ],
)
def test_thinking_is_checked_per_model(model: str, config: dict[str, Any], text: str) -> None:
    """Budgets for all, levels from Gemini 3 on."""
    assert text == refused(model, generationConfig={"thinkingConfig": config})


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (LITE, {"thinkingBudget": 0}), (LITE, {"thinkingBudget": -1}), (FLASH, {"thinkingLevel": "MINIMAL"}),
        (FLASH, {"thinkingBudget": 0}), (PRO, {"thinkingBudget": -1}), (PRO, {"thinkingLevel": "HIGH"}),
    ],
)  # fmt: skip
def test_thinking_is_taken(model: str, config: dict[str, Any]) -> None:
    """-1 is dynamic, 0 is off where that is possible."""
    assert 200 == asked(model, generationConfig={"thinkingConfig": config})[0]


SCHEMA = {"type": "OBJECT"}


@pytest.mark.parametrize(
    ("model", "fields", "text"),
    [
        (
            LITE,
            {"generationConfig": {"responseMimeType": "application/json"}, "tools": TOOLS},
            "Function calling with a response mime type: 'application/json' is unsupported",
        ),
        (
            FLASH,
            {"generationConfig": {"responseSchema": SCHEMA}},
            "responseSchema is only supported with a responseMimeType of application/json.",
        ),
        (
            FLASH,
            {"generationConfig": {"responseSchema": SCHEMA, "responseJsonSchema": {}}},
            "Only one of response_schema and response_json_schema may be set.",
        ),
        (
            FLASH,
            {"generationConfig": {"responseMimeType": "text/html"}},
            "Unable to submit request because it has a responseMimeType of text/html, which is not "
            "supported.",
        ),
        (
            FLASH,
            {"generationConfig": {"responseLogprobs": True}},
            "Logprobs is not supported for the requested model.",
        ),
        (
            LITE,
            {"generationConfig": {"logprobs": 2}},
            "logprobs is only allowed when response_logprobs is true.",
        ),
        (
            FLASH,
            {"generationConfig": {"responseModalities": ["IMAGE"]}},
            "Multi-modal output is not supported.",
        ),
        (
            LITE,
            {"tools": [*TOOLS, {"googleSearch": {}}]},
            "Multiple tools are supported only when they are all search tools.",
        ),
        (
            FLASH,
            {"tools": [{"functionDeclarations": [{"name": "1 f"}]}]},
            "Invalid function name. Must start with a letter or an underscore. Must be alphanumeric (a-z, "
            "A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128.",
        ),
        (
            FLASH,
            {"tools": [{"functionDeclarations": [{**DECLARED[0], "parameters": SCHEMA}]}]},
            "Only one of parameters and parameters_json_schema may be set.",
        ),
        (
            FLASH,
            {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "STRING"}}]}]},
            "Unable to submit request because `f` functionDeclaration `parameters` schema should be of type "
            "OBJECT.",
        ),
        (FLASH, {"tools": [*TOOLS, *TOOLS]}, "Duplicate function declaration found: f"),
        (
            FLASH,
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
            "Function calling config is set without function_declarations.",
        ),
        (
            FLASH,
            {"tools": TOOLS, "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["f"]}}},
            "Allowed function names is only supported when function calling mode is ANY.",
        ),
        (
            FLASH,
            {
                "tools": TOOLS,
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g"]}},
            },
            "Allowed function name g is not among the function declarations.",
        ),
    ],
)
def test_tools_and_formats_are_checked(model: str, fields: dict[str, Any], text: str) -> None:
    """What does not go together."""
    assert text == refused(model, **fields)


IMAGE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ([], "Unable to submit request because at least one contents field is required."),
        ([turn("assistant", {"text": "hi"})], "Please use a valid role: user, model."),
        (
            [turn("user")],
            "Unable to submit request because it must include at least one parts field, which describes the "
            "prompt input.",
        ),
        (
            [turn("user", {"text": ""})],
            "Unable to submit request because it has an empty text parameter. Add a value to the parameter "
            "and try again.",
        ),
        (
            [turn("user", {"thought": True})],
            "contents[0].parts[0].data: required oneof field 'data' must have one initialized field",
        ),
        (
            [turn("user", {"text": "see"}, {"text": "a", **IMAGE})],
            "Invalid value at 'contents[0].parts[1]' (oneof), oneof field 'data' is already set. Cannot set "
            "'inlineData'",
        ),
        (
            [turn("user", {"inlineData": {"mimeType": "image/bmp", "data": "AA=="}})],
            "Unable to submit request because it has a mimeType parameter with value image/bmp, which is not "
            "supported. Update the mimeType and try again.",
        ),
        (
            [turn("user", {"functionCall": {"args": {}}})],
            "contents[0].parts[0].function_call.name: Name cannot be empty.",
        ),
        (
            [turn("user", {"functionResponse": {"name": "f"}})],
            "contents[0].parts[0].function_response.response: Field is required.",
        ),
    ],
)
def test_contents_are_checked(contents: list[Any], text: str) -> None:
    """Roles, parts and their kinds."""
    assert text == refused(contents=contents)


@pytest.mark.parametrize("mime", ["image/png", "image/jpeg", "application/pdf", "audio/wav", "video/mp4"])
def test_media_are_taken(mime: str) -> None:
    """Inline, in base64 (wire §5.4)."""
    part = {"inlineData": {"mimeType": mime, "data": "AAAA"}}

    assert 200 == asked(contents=[turn("user", {"text": "what is it"}, part)])[0]


CALL_FIRST = (
    "Please ensure that function call turn comes immediately after a user turn or after a function response "
    "turn."
)
NO_CALL = "Please ensure that function response turn comes immediately after a function call turn."
UNEQUAL = (
    "Please ensure that the number of function response parts is equal to the number of function call parts "
    "of the function call turn."
)


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ([turn("model", call()), turn("user", response())], CALL_FIRST),
        ([turn("user", call())], CALL_FIRST),
        ([USER, turn("model", {"text": "ok"}), turn("user", response())], NO_CALL),
        ([turn("user", response())], NO_CALL),
        ([USER, turn("model", call(), call()), turn("user", response())], UNEQUAL),
        ([USER, turn("model", call()), turn("user", {"text": "well?"})], UNEQUAL),
        ([USER, turn("model", call())], UNEQUAL),
    ],
)
def test_calls_and_responses_take_turns(contents: list[Any], text: str) -> None:
    """The turn order of wire §5.4."""
    assert text == refused(LITE, contents=contents)


def test_adjacent_contents_of_one_role_are_one_turn() -> None:
    """Google's SDK sends each frame of a stream back as a content of its own."""
    contents = [
        USER,
        turn("model", call()),
        turn("model", call("g")),
        turn("model", {"text": ""}),
        turn("user", response()),
        turn("user", response("g"), {"text": "go on"}),
    ]

    assert 200 == asked(LITE, contents=contents)[0]


def loop(*calls: dict[str, Any]) -> list[Any]:
    """A conversation in which the model made calls, and all were answered."""
    return [USER, turn("model", *calls), turn("user", *[response() for _ in calls])]


MISSING = (
    "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
    "correctly, and missing thought_signature may lead to degraded model performance. Additional data, "
    "function call `default_api:f` , position 2. Please refer to "
    "https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
)


@pytest.mark.parametrize("model", [FLASH, PRO])
def test_trap_45_gemini_3_wants_its_signature_back(model: str) -> None:
    """Trap 45: 400 without it; Gemini 2.5 does not mind."""
    assert MISSING == refused(model, contents=loop(call()))
    assert 200 == asked(LITE, contents=loop(call()))[0]


def issued() -> list[dict[str, Any]]:
    """Two parallel calls as Gemini 3 made them."""
    tools = [{"functionDeclarations": [{"name": name} for name in ("f", "gg")]}]
    body = asked(contents=[turn("user", {"text": "call f and gg"})], tools=tools)[1]
    parts: list[dict[str, Any]] = body["candidates"][0]["content"]["parts"]
    return parts


def test_only_the_first_of_parallel_calls_is_signed() -> None:
    """And what was issued is taken back."""
    parts = issued()

    assert [True, False] == ["thoughtSignature" in part for part in parts]
    assert 200 == asked(contents=loop(*parts))[0]


def test_the_signature_must_be_on_the_first_call() -> None:
    """Parallel calls in another order are refused."""
    first, second = issued()
    contents = loop(second, first)

    assert "missing a thought_signature" in refused(contents=contents)


@pytest.mark.parametrize("given", ["Zm9yZWlnbg==", "c2tpcA=="])
def test_foreign_signatures_are_refused(given: str) -> None:
    """Another vendor's, or an invented one."""
    assert "Thought signature is not valid." == refused(contents=loop(call(signature=given)))


def test_a_signature_belongs_to_its_call() -> None:
    """Other arguments, another call."""
    signature = issued()[0]["thoughtSignature"]

    assert "Thought signature is not valid." == refused(contents=loop(call(signature=signature, x=1)))


@pytest.mark.parametrize(
    "dummy",
    ["skip_thought_signature_validator", "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="],
)
def test_the_dummy_signature_is_taken(dummy: str) -> None:
    """Plain, and as clients write it whose field holds bytes (wire §8.4)."""
    assert 200 == asked(contents=loop(call(signature=dummy)))[0]


def test_an_embedding_model_generates_nothing() -> None:
    """Nor the other way round."""
    status, body = unary("gemini-embedding", "models/gemini-embedding:generateContent", {"contents": [USER]})

    assert (400, "Model gemini-embedding does not support generateContent.") == (
        status,
        body["error"]["message"],
    )
