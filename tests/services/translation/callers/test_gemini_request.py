"""Gemini requests, as clients send them."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import msgspec
import pytest
from google.genai import types

from services.errors import BadRequest
from services.translation import fields
from services.translation.callers.gemini import CALLER
from services.translation.callers.gemini_message import camel
from services.translation.callers.gemini_seals import seal
from services.translation.conversation import (
    Audio,
    Block,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Reasoning,
    Redacted,
    Role,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)

HI = {"role": "user", "parts": [{"text": "hi"}]}
PNG = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0="}}


def parse(**members: Any) -> Conversation:
    return CALLER.parse(fields.parse(msgspec.json.encode({"contents": [HI]} | members)))


def config(**members: Any) -> Conversation:
    return parse(generationConfig=members)


def turns(*contents: Any) -> tuple[Turn, ...]:
    return parse(contents=contents).turns


def blocks(*parts: Any, role: str = "user") -> tuple[Block, ...]:
    return turns({"role": role, "parts": parts})[0].blocks


def refused(**members: Any) -> str:
    """The place that the refusal names."""
    with pytest.raises(BadRequest) as caught:
        parse(**members)
    assert str(caught.value.param) in str(caught.value)
    return str(caught.value.param)


def refused_part(*parts: Any) -> str:
    return refused(contents=[HI, {"parts": parts}])


# --- names and forms ---------------------------------------------------------------------------------


CAMEL = {
    "contents": [
        {"role": "user", "parts": [{"text": "a"}, PNG]},
        {
            "role": "model",
            "parts": [{"functionCall": {"name": "f", "args": {"x_y": 1}}, "thoughtSignature": "UQ=="}],
        },
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"is_it": True}}}]},
    ],
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "maxOutputTokens": 5,
        "topP": 0.5,
        "stopSequences": ["x"],
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
        "thinkingConfig": {"thinkingBudget": 100, "includeThoughts": True},
    },
}
FREE = ("args", "response", "parametersJsonSchema", "responseJsonSchema")


def snaked(value: Any) -> Any:
    """The same in snake_case, but for free JSON."""
    if isinstance(value, list):
        return [snaked(one) for one in value]
    if not isinstance(value, dict):
        return value
    snake = lambda name: "".join(f"_{c.lower()}" if c.isupper() else c for c in name)  # noqa: E731
    return {snake(name): one if name in FREE else snaked(one) for name, one in value.items()}


def test_both_spellings_and_single_objects_are_read() -> None:
    """Wire §4.5: camelCase, snake_case, and one object where a list is due."""
    single = CAMEL | {"tools": CAMEL["tools"][0]}  # type: ignore[index]

    assert snaked(CAMEL) != CAMEL
    assert parse(**CAMEL) == parse(**snaked(CAMEL)) == parse(**single)
    assert parse().turns == parse(contents={"parts": {"text": "hi"}}).turns


def test_a_whole_request() -> None:
    """Everything in its place, free JSON byte by byte."""
    read = parse(**CAMEL)

    assert (
        Conversation(
            turns=(
                Turn("user", (Text("a"), Image("image/png", "iVBORw0="))),
                Turn("assistant", (ToolUse("call_1_0", "f", '{"x_y":1}', "UQ=="),)),
                Turn("user", (ToolResult("call_1_0", (Text('{"is_it":true}'),)),)),
            ),
            system=(Text("Be brief."),),
            tools=(Tool("f", schema={"type": "object"}),),
            tool_choice=ToolChoice("tool", "f"),
            max_tokens=5,
            reasoning=Reasoning(budget=100, shown=True),
            output=OutputFormat(schema={"type": "object"}),
            settings={"top_p": 0.5, "stop": ["x"]},
            names=read.names,
            wants_usage=True,
        )
        == read
    )


def test_a_null_is_as_if_absent() -> None:
    """At every level."""
    nulls = dict.fromkeys(
        ("systemInstruction", "tools", "toolConfig", "generationConfig", "cachedContent", "x")
    )

    assert parse() == parse(**nulls)
    assert (Text("a"),) == blocks({"text": "a", "thought": None, "inlineData": None})


def test_faults_and_reports_name_the_callers_fields() -> None:
    """Canonical names are nobody's here."""
    read = parse()

    assert ["generationConfig.topP", "generationConfig.maxOutputTokens", "contents", "tools"] == [
        read.name_of(name) for name in ("top_p", "max_tokens", "messages", "tools")
    ]


def test_the_input_is_not_changed() -> None:
    """Trap 55: a retry needs it again."""
    body = fields.parse(msgspec.json.encode(CAMEL))
    before = msgspec.json.encode(body)
    CALLER.parse(body)

    assert before == msgspec.json.encode(body)


# --- contents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "expected"), [("user", "user"), (None, "user"), ("function", "user"), ("model", "assistant")]
)
def test_each_role(role: str | None, expected: Role) -> None:
    """`function` is an older word for the user's side."""
    assert (Turn(expected, (Text("a"),)),) == turns({"role": role, "parts": [{"text": "a"}]})


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"text": "a"}, (Text("a"),)),
        ({"text": ""}, ()),
        (PNG, (Image("image/png", "iVBORw0="),)),
        ({"inlineData": {"mimeType": "Image/PNG", "data": "_-8"}}, (Image("image/png", "/+8="),)),
        ({"inlineData": {"mimeType": "audio/wav", "data": "QQ=="}}, (Audio("audio/wav", "QQ=="),)),
        (
            {"inlineData": {"mimeType": "application/pdf", "data": "QQ==", "displayName": "T"}},
            (Document("application/pdf", "QQ==", title="T"),),
        ),
        (
            {"inlineData": {"mimeType": "text/csv", "data": "YSxi", "displayName": "T"}},
            (Document("text/plain", text="a,b", title="T"),),
        ),
        (
            {"fileData": {"fileUri": "https://h/a.png", "mimeType": "image/png"}},
            (Image(url="https://h/a.png"),),
        ),
        ({"fileData": {"fileUri": "http://h/a"}}, (Image(url="http://h/a"),)),
        (
            {"fileData": {"fileUri": "https://h/a", "mimeType": "application/pdf", "displayName": "T"}},
            (Document(url="https://h/a", title="T"),),
        ),
        ({"fileData": {"fileUri": "https://h/a.PDF"}}, (Document(url="https://h/a.PDF"),)),
    ],
)
def test_each_kind_of_part(part: Any, expected: Any) -> None:
    """Base64 comes in either alphabet: Google's clients write the URL's."""
    assert expected == blocks(part)


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({}, ""),
        ({"videoMetadata": {}, "mediaResolution": "LOW"}, ""),
        ({"fromTheFuture": 1}, ".fromTheFuture"),
        ({"executableCode": {"code": "1"}}, ".executableCode"),
        ({"codeExecutionResult": {}, "text": "a"}, ".codeExecutionResult"),
        ({"toolCall": {}}, ".toolCall"),
        ({"toolResponse": {}}, ".toolResponse"),
        ({"text": "a", **PNG}, ".inlineData"),
        ({"text": 1}, ".text"),
        ({"text": "a", "thought": "yes"}, ".thought"),
        ({"text": "a", "thoughtSignature": 1}, ".thoughtSignature"),
        ({"inlineData": 1}, ".inlineData"),
        ({"inlineData": {"data": "QQ=="}}, ".inlineData.mimeType"),
        ({"inlineData": {"mimeType": "image/png"}}, ".inlineData.data"),
        ({"inlineData": {"mimeType": "video/mp4", "data": "QQ=="}}, ".inlineData.mimeType"),
        ({"inlineData": {"mimeType": "text/plain", "data": "!"}}, ".inlineData.data"),
        ({"inlineData": {"mimeType": "text/plain", "data": "/w=="}}, ".inlineData.data"),
        ({"fileData": {"mimeType": "image/png"}}, ".fileData.fileUri"),
        ({"fileData": {"fileUri": "gs://bucket/a.png"}}, ".fileData.fileUri"),
        ({"fileData": {"fileUri": "https://h/a", "mimeType": "video/mp4"}}, ".fileData.mimeType"),
        ({"functionCall": {"args": {}}}, ".functionCall.name"),
        ({"functionCall": {"name": "f", "args": []}}, ".functionCall.args"),
        ({"functionResponse": {"name": "f", "response": {}}}, ".functionResponse.name"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_place(part: Any, param: str) -> None:
    """Unknown kinds of parts are never ignored."""
    assert f"contents[1].parts[0]{param}" == refused_part(part)


@pytest.mark.parametrize(
    ("contents", "param"),
    [
        (None, "contents"),
        ([], "contents"),
        (1, "contents[0]"),
        (["hi"], "contents[0]"),
        ([{"role": "system", "parts": [{"text": "a"}]}], "contents[0].role"),
        ([{"role": "user"}], "contents[0].parts"),
        ([{"role": "user", "parts": []}], "contents[0].parts"),
        ([{"role": "user", "parts": ["a"]}], "contents[0].parts[0]"),
    ],
)
def test_contents_have_to_be_there(contents: Any, param: str) -> None:
    """Missing, empty or of another type."""
    assert param == refused(contents=contents)


def test_an_answer_without_parts_may_come_back() -> None:
    """A model that used up its limit in thought said nothing."""
    assert Turn("assistant", ()) == turns(HI, {"role": "model"}, HI)[1]


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    """Wherever they are."""
    call = b'{"contents":{"parts":{"functionCall":{"name":"f","args":{"a":"\xff"}}}}}'

    with pytest.raises(BadRequest, match="UTF-8"):
        CALLER.parse(fields.parse(call))


def test_nesting_without_end_is_refused() -> None:
    """Not a crash."""
    deep = b"[" * 20_000 + b"]" * 20_000

    with pytest.raises(BadRequest):
        CALLER.parse({"contents": msgspec.Raw(b'[{"parts":' + deep + b"}]")})
    with pytest.raises(BadRequest):
        CALLER.parse({"contents": msgspec.Raw(b"[" + b"[" * 20_000)})


# --- function calls ----------------------------------------------------------------------------------


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": {}} | more}


def response(name: str, said: Any = "x", **more: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": {"result": said}} | more}


def answers(calls: list[Any], *responses: Any) -> list[tuple[str, Any]]:
    """Each result's call and text."""
    read = turns(HI, {"role": "model", "parts": calls}, {"role": "user", "parts": list(responses)})
    results = [block for block in read[2].blocks if isinstance(block, ToolResult)]
    return [(result.tool_id, result.content[0].text) for result in results]  # type: ignore[union-attr]


def test_calls_without_id_get_one_from_their_place() -> None:
    """Trap 43: the same in every request that holds the conversation so far; in another place another one."""
    read = turns(HI, {"role": "model", "parts": [call("f"), call("f", id="own")]}, HI)

    assert ["call_1_0", "own"] == [block.id for block in read[1].blocks if isinstance(block, ToolUse)]


def test_trap_43_results_find_their_call_by_name_and_order() -> None:
    """Trap 43: two calls of one function are answered in their order."""
    assert [("call_1_1", "b"), ("call_1_0", "a"), ("call_1_2", "c")] == answers(
        [call("f"), call("g"), call("f")], response("g", "b"), response("f", "a"), response("f", "c")
    )


def test_trap_43_or_by_their_id() -> None:
    """Trap 43: an id that nobody knows says nothing, the name does."""
    assert [("two", "b"), ("one", "a")] == answers(
        [call("f", id="one"), call("f", id="two")], response("f", "b", id="two"), response("f", "a", id="x")
    )


def test_trap_32_a_call_is_answered_once() -> None:
    """Trap 32: a second result has no call."""
    result = {"parts": [response("f")]}

    assert "contents[3].parts[0].functionResponse.name" == refused(
        contents=[HI, {"role": "model", "parts": [call("f")]}, result, result]
    )


@pytest.mark.parametrize(
    ("told", "content", "is_error"),
    [
        ({"result": "sunny"}, (Text("sunny"),), False),
        ({"output": "sunny"}, (Text("sunny"),), False),
        ({"result": {"b": 1, "a": 2}}, (Text('{"b":1,"a":2}'),), False),
        ({"result": 5}, (Text("5"),), False),
        ({"result": ""}, (), False),
        ({"error": "broken"}, (Text("broken"),), True),
        ({"error": {"code": 1}}, (Text('{"code":1}'),), True),
        ({"b": 1, "a": 2}, (Text('{"b":1,"a":2}'),), False),
        ({"other": "x"}, (Text('{"other":"x"}'),), False),
        ({"result": 1, "error": None}, (Text("1"),), False),
        ({}, (Text("{}"),), False),
    ],
)
def test_each_kind_of_result(told: Any, content: Any, is_error: bool) -> None:
    """Google's words for what is no object, and for failures, are taken off again."""
    part = {"functionResponse": {"name": "f", "response": told}}
    read = turns(HI, {"role": "model", "parts": [call("f")]}, {"parts": [part]})

    assert (ToolResult("call_1_0", content, is_error),) == read[2].blocks


def test_a_result_may_have_pictures() -> None:
    """Multimodal function responses."""
    part = response("f", "see", parts=[PNG])
    read = turns(HI, {"role": "model", "parts": [call("f")]}, {"parts": [part]})

    assert (ToolResult("call_1_0", (Text("see"), Image("image/png", "iVBORw0="))),) == read[2].blocks


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"response": None}, ".response"),
        ({"response": "x"}, ".response"),
        ({"name": ""}, ".name"),
        ({"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "QQ=="}}]}, ".parts[0]"),
    ],
)
def test_results_that_cannot_be_told_are_refused(members: Any, param: str) -> None:
    """By their place."""
    part = {"functionResponse": response("f")["functionResponse"] | members}
    place = refused(contents=[HI, {"role": "model", "parts": [call("f")]}, {"parts": [part]}])

    assert f"contents[2].parts[0].functionResponse{param}" == place


# --- thinking ----------------------------------------------------------------------------------------


def thought(text: str, signature: str = "") -> dict[str, Any]:
    return {"text": text, "thought": True} | ({"thoughtSignature": signature} if signature else {})


CLAUDES = seal("S/+=", "claude")
HIDDEN = seal("D", "claude", redacted=True)


def url_safe(signature: str) -> str:
    """As Google's clients send bytes back."""
    return base64.urlsafe_b64encode(base64.b64decode(signature)).decode()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([thought("t")], (Thinking("t"),)),
        ([thought("t", "UQ==")], (Thinking("t", "UQ==", "gemini"),)),
        (
            [thought("t", "skip_thought_signature_validator")],
            (Thinking("t", "skip_thought_signature_validator", "gemini"),),
        ),
        ([thought("t", CLAUDES)], (Thinking("t", "S/+=", "claude"),)),
        ([thought("t", url_safe(CLAUDES))], (Thinking("t", "S/+=", "claude"),)),
        ([thought("a"), thought("b"), thought("", CLAUDES)], (Thinking("ab", "S/+=", "claude"),)),
        ([thought("", HIDDEN)], (Redacted("D", "claude"),)),
        ([thought("a", "UQ=="), thought("b")], (Thinking("a", "UQ==", "gemini"), Thinking("b"))),
        ([{"text": "a", "thoughtSignature": "UQ=="}], (Text("a"), Thinking("", "UQ==", "gemini"))),
        ([{"thoughtSignature": "UQ=="}], (Thinking("", "UQ==", "gemini"),)),
        (
            [{"text": "a"}, {"text": "b"}, call("f"), {"text": "c"}],
            (Text("ab"), ToolUse("call_1_2", "f"), Text("c")),
        ),
        ([call("f") | {"thoughtSignature": "UQ=="}], (ToolUse("call_1_0", "f", "{}", "UQ=="),)),
        ([call("f") | {"thoughtSignature": CLAUDES}], (ToolUse("call_1_0", "f"),)),
    ],
)
def test_thoughts_come_back_with_their_proof(parts: Any, expected: Any) -> None:
    """Each to the dialect that signed it; the pieces of a stream are one block again."""
    assert expected == turns(HI, {"role": "model", "parts": parts})[1].blocks


@pytest.mark.parametrize("junk", ["YWljb3JlLg==", "YWljb3JlL!!", seal("x", "y")[:12]])
def test_a_seal_that_is_none_is_a_signature_of_geminis(junk: str) -> None:
    """Nothing is made up."""
    assert (Thinking("t", junk, "gemini"),) == turns(HI, {"role": "model", "parts": [thought("t", junk)]})[
        1
    ].blocks


def test_the_frames_of_a_streamed_answer_are_one_turn() -> None:
    """Google's chat client sends each of them back as a content of its own."""
    contents = [
        {"role": "model", "parts": [part]}
        for part in (thought("a"), thought("b", CLAUDES), {"text": "c"}, {"text": "d"}, {"text": ""})
    ]

    assert (Thinking("ab", "S/+=", "claude"), Text("cd")) == turns(HI, *contents)[1].blocks


def test_what_the_user_says_stays_apart() -> None:
    """Two parts are two blocks."""
    assert (Text("a"), Text("b")) == blocks({"text": "a"}, {"text": "b"})


# --- system, tools -----------------------------------------------------------------------------------


def test_the_system_instruction_is_text() -> None:
    """Empty texts say nothing."""
    parts = [{"text": "a"}, {"text": ""}, {"text": "b"}]

    assert (Text("a"), Text("b")) == parse(systemInstruction={"role": "system", "parts": parts}).system
    assert "systemInstruction.parts[0].text" == refused(systemInstruction={"parts": [PNG]})


SCHEMA = {
    "type": "OBJECT",
    "description": "d",
    "properties": {
        "type": {"type": "STRING", "format": "enum", "enum": ["a"], "nullable": True},
        "n": {"type": "INTEGER", "format": "int32", "minimum": 1, "example": 2, "nullable": False},
        "list": {"type": "ARRAY", "items": {"type": "NUMBER"}, "min_items": "1", "maxItems": 3},
        "any": {"anyOf": [{"type": "BOOLEAN"}, {"$ref": "#/x"}], "nullable": True},
        "open": {"type": "OBJECT", "additionalProperties": {"type": "STRING"}},
        "ref": {"ref": "#/$defs/x"},
        "none": {"type": "TYPE_UNSPECIFIED", "title": None},
    },
    "required": ["type"],
    "propertyOrdering": ["n", "type"],
    "defs": {"x": {"type": "STRING", "maxLength": "x"}},
}
PLAIN = {
    "type": "object",
    "description": "d",
    "properties": {
        "type": {"type": ["string", "null"], "enum": ["a", None]},
        "n": {"type": "integer", "format": "int32", "minimum": 1, "examples": [2]},
        "list": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3},
        "any": {"anyOf": [{"type": "boolean"}, {"$ref": "#/x"}, {"type": "null"}]},
        "open": {"type": "object", "additionalProperties": {"type": "string"}},
        "ref": {"$ref": "#/$defs/x"},
        "none": {},
    },
    "required": ["type"],
    "$defs": {"x": {"type": "string", "maxLength": "x"}},
}


def test_googles_schemas_become_json_schema() -> None:
    """A property that is called `type` is no type."""
    read = parse(tools=[{"functionDeclarations": [{"name": "f", "description": "D", "parameters": SCHEMA}]}])

    assert (Tool("f", "D", PLAIN),) == read.tools


def test_a_schema_that_is_none_does_no_harm() -> None:
    """The upstream says what it thinks of it."""
    odd = {"type": ["STRING"], "properties": 1, "anyOf": 2, "items": True}
    read = parse(tools={"functionDeclarations": {"name": "f", "parameters": odd}})

    assert (Tool("f", "", odd),) == read.tools


def test_json_schema_stays_as_it_is() -> None:
    """And a function may have no parameters."""
    schema = {"type": "object", "properties": {"b": {"const": 1}, "a": {}}, "x-own": None}
    read = parse(
        tools=[{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}, {"name": "g"}]}]
    )

    assert (Tool("f", schema=schema), Tool("g")) == read.tools


TWO = [{"functionDeclarations": [{"name": "f"}]}, {"functionDeclarations": [{"name": "g"}]}]


@pytest.mark.parametrize(
    ("calling", "choice", "names"),
    [
        (None, None, "fg"),
        ({}, None, "fg"),
        ({"mode": "MODE_UNSPECIFIED"}, None, "fg"),
        ({"mode": "auto"}, ToolChoice("auto"), "fg"),
        ({"mode": "ANY"}, ToolChoice("any"), "fg"),
        ({"mode": "NONE"}, ToolChoice("none"), "fg"),
        ({"mode": "VALIDATED"}, ToolChoice("auto"), "fg"),
        ({"mode": "ANY", "allowedFunctionNames": []}, ToolChoice("any"), "fg"),
        ({"mode": "ANY", "allowedFunctionNames": ["g"]}, ToolChoice("tool", "g"), "fg"),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, ToolChoice("any"), "fg"),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["g"]}, ToolChoice("auto"), "g"),
    ],
)
def test_each_mode_of_calling(calling: Any, choice: ToolChoice | None, names: str) -> None:
    """Functions that may not be called are not offered."""
    read = parse(tools=TWO, toolConfig={"functionCallingConfig": calling})

    assert (choice, names) == (read.tool_choice, "".join(tool.name for tool in read.tools))


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": [1]}, "tools[0]"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        (
            {"tools": {"functionDeclarations": {"name": "f", "parameters": []}}},
            "tools[0].functionDeclarations[0].parameters",
        ),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        (
            {
                "tools": TWO,
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["h"]}},
            },
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
        (
            {"tools": TWO, "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["f"]}}},
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
        (
            {"toolConfig": {"functionCallingConfig": {"allowedFunctionNames": "f"}}},
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
    ],
)
def test_tools_that_cannot_be_are_refused(members: Any, param: str) -> None:
    """By their place."""
    assert param == refused(**members)


# --- generationConfig --------------------------------------------------------------------------------


def test_each_setting_has_its_canonical_name() -> None:
    """Trap 42: whole numbers may be written with a point, as Google's client writes `topK`."""
    read = config(
        temperature=0,
        topP=0.9,
        topK=40.0,
        stopSequences=["a"],
        candidateCount=1,
        seed=7,
        presencePenalty=0.1,
        frequencyPenalty=-1,
        responseLogprobs=True,
        logprobs=2,
        maxOutputTokens=16.0,
    )

    assert {
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 40,
        "stop": ["a"],
        "n": 1,
        "seed": 7,
        "presence_penalty": 0.1,
        "frequency_penalty": -1.0,
        "logprobs": True,
        "top_logprobs": 2,
    } == read.settings
    assert 16 == read.max_tokens


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"topK": 1.5}, "topK"),
        ({"topK": "many"}, "topK"),
        ({"temperature": "hot"}, "temperature"),
        ({"stopSequences": "x"}, "stopSequences"),
        ({"responseLogprobs": 1}, "responseLogprobs"),
        ({"thinkingConfig": 1}, "thinkingConfig"),
        ({"thinkingConfig": {"thinkingLevel": "SOME"}}, "thinkingConfig.thinkingLevel"),
        ({"thinkingConfig": {"thinkingBudget": 0.5}}, "thinkingConfig.thinkingBudget"),
        ({"responseModalities": ["TEXT", "IMAGE"]}, "responseModalities"),
        ({"responseMimeType": "text/x.enum"}, "responseMimeType"),
        ({"responseSchema": {"type": "OBJECT"}}, "responseSchema"),
        ({"responseMimeType": "text/plain", "responseJsonSchema": {}}, "responseJsonSchema"),
        ({"responseMimeType": "application/json", "responseJsonSchema": []}, "responseJsonSchema"),
    ],
)
def test_settings_that_cannot_be_are_refused(members: Any, param: str) -> None:
    """By their place."""
    assert f"generationConfig.{param}" == refused(generationConfig=members)


def test_google_s_word_for_an_ordinary_answer_says_nothing() -> None:
    """Text is what all models answer."""
    assert parse() == config(responseMimeType="text/plain", responseModalities=["Text"])


@pytest.mark.parametrize(
    ("members", "output"),
    [
        ({}, OutputFormat()),
        ({"responseSchema": SCHEMA}, OutputFormat(schema=PLAIN)),
        ({"responseJsonSchema": {"type": "OBJECT"}}, OutputFormat(schema={"type": "OBJECT"})),
    ],
)
def test_json_answers(members: Any, output: OutputFormat) -> None:
    """With either kind of schema, or none."""
    assert output == config(responseMimeType="application/json", **members).output


@pytest.mark.parametrize(
    ("thinking", "reasoning"),
    [
        ({"thinkingBudget": 0}, Reasoning(budget=0, shown=False)),
        ({"thinkingBudget": 0, "includeThoughts": True}, Reasoning(budget=0, shown=True)),
        ({"thinkingBudget": -1}, Reasoning(adaptive=True, shown=False)),
        ({"thinkingBudget": 2048, "includeThoughts": True}, Reasoning(budget=2048, shown=True)),
        ({"thinkingLevel": "low"}, Reasoning(effort="low", shown=False)),
        ({"thinkingLevel": "HIGH", "includeThoughts": True}, Reasoning(effort="high", shown=True)),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, Reasoning(shown=False)),
        ({"includeThoughts": True}, Reasoning(adaptive=True, shown=True)),
        ({"includeThoughts": False}, Reasoning(shown=False)),
    ],
)
def test_how_much_to_think(thinking: Any, reasoning: Reasoning) -> None:
    """Thoughts are shown to those who ask for them; whoever wants to see them wants the model to think."""
    assert reasoning == config(thinkingConfig=thinking).reasoning


# --- what is left out --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "dropped"),
    [
        ({"fromTheFuture": 1, "labels": {"a": "b"}}, ("fromTheFuture", "labels")),
        ({"safetySettings": [{"category": "C", "threshold": "T"}]}, ("safetySettings",)),
        ({"safetySettings": []}, ()),
        (
            {"tools": [{"googleSearch": {}}, {"code_execution": {}}]},
            ("tools.googleSearch", "tools.codeExecution"),
        ),
        (
            {"tools": [{"functionDeclarations": [{"name": n, "response": {}} for n in "fg"]}]},
            ("tools.functionDeclarations.response",),
        ),
        ({"toolConfig": {"retrievalConfig": {}}}, ("toolConfig.retrievalConfig",)),
        (
            {
                "toolConfig": {
                    "functionCallingConfig": {"mode": "VALIDATED", "streamFunctionCallArguments": True}
                }
            },
            (
                "toolConfig.functionCallingConfig.streamFunctionCallArguments",
                "toolConfig.functionCallingConfig.mode=VALIDATED",
            ),
        ),
        (
            {"generationConfig": {"speechConfig": {}, "thinkingConfig": {"x": 1}}},
            ("generationConfig.thinkingConfig.x", "generationConfig.speechConfig"),
        ),
        (
            {"systemInstruction": {"parts": [{"text": "a", "x": 1}], "y": 2}},
            ("systemInstruction.parts.x", "systemInstruction.y"),
        ),
        (
            {
                "contents": [
                    {
                        "z": 1,
                        "parts": [
                            {"text": "a", "mediaResolution": {}},
                            {"text": "b", "mediaResolution": {}},
                            {"inlineData": PNG["inlineData"] | {"new": 1}},
                        ],
                    }
                ]
            },
            ("contents.z", "contents.parts.mediaResolution", "contents.parts.inlineData.new"),
        ),
    ],
)
def test_what_only_google_knows_is_dropped_by_its_name(members: Any, dropped: tuple[str, ...]) -> None:
    """Trap 42: never in silence, each name once."""
    assert dropped == parse(**members).dropped


def test_cached_contents_are_refused() -> None:
    """The conversation would lack its beginning."""
    assert "cachedContent" == refused(cachedContent="cachedContents/1")
    assert parse() == parse(cachedContent="")


# --- as Google's client writes it --------------------------------------------------------------------


def test_what_googles_types_write_is_read() -> None:
    """Bytes in the URL's alphabet, `topK` as a float, enums in capitals."""
    contents = [
        types.Content(
            role="user", parts=[types.Part.from_bytes(data=b"\xff\xfe\xfb", mime_type="image/png")]
        ),
        types.Content(
            role="model",
            parts=[
                types.Part(text="t", thought=True, thought_signature=base64.b64decode(CLAUDES)),
                types.Part.from_function_call(name="f", args={"a": 1}),
            ],
        ),
        types.Content(
            role="user", parts=[types.Part.from_function_response(name="f", response={"result": "x"})]
        ),
    ]
    settings = types.GenerationConfig(
        top_k=3, thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW)
    )
    read = parse(
        contents=[json.loads(one.model_dump_json(exclude_none=True, by_alias=True)) for one in contents],
        generationConfig=json.loads(settings.model_dump_json(exclude_none=True)),
    )

    assert (
        Turn("user", (Image("image/png", "//77"),)),
        Turn("assistant", (Thinking("t", "S/+=", "claude"), ToolUse("call_1_1", "f", '{"a":1}'))),
        Turn("user", (ToolResult("call_1_1", (Text("x"),)),)),
    ) == read.turns
    assert (3, "low") == (read.settings["top_k"], read.reasoning and read.reasoning.effort)


def test_a_long_stream_that_comes_back_in_pieces_is_read_in_linear_time() -> None:
    """Each piece joined to all before it would copy gigabytes here."""
    pieces = [{"role": "model", "parts": [{"text": "x" * 1000}]} for _ in range(20_000)]

    started = time.process_time()
    turn = parse(contents=[HI, *pieces]).turns[1]

    assert (Text("x" * 20_000_000),) == turn.blocks
    assert time.process_time() - started < 5


def test_names_that_callers_make_up_are_not_kept_for_ever() -> None:
    """Members of a function's answer are data: as many names as there are answers."""
    for number in range(3_000):
        camel(f"made_up_{number}")

    assert camel.cache_info().currsize <= 1_024
