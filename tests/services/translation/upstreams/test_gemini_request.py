"""Requests to Gemini."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from perf.simulator.executables import gemini_body, protojson
from perf.simulator.executables.gemini_fields import MESSAGES
from perf.simulator.models import Model
from services.errors import BadRequest
from services.translation.capabilities import ModelFacts, facts_for
from services.translation.conversation import (
    Audio,
    Block,
    CacheMark,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Reasoning,
    Redacted,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.dialects import Sent
from services.translation.upstreams.gemini import NO_SIGNATURE, UPSTREAM
from tests.services.translation.gemini_samples import FLASH, FLASH_3, PRO, PRO_3, asked
from tests.services.translation.samples import target

TOOL = Tool("f", "does it", {"type": "object", "properties": {"kind": {"const": 1, "$ref": "#/x"}}})
CALL = ToolUse("c1", "f", '{"city":"Ulm"}')
PNG = Image("image/png", "iVBORw0=")


def send(conversation: Conversation, model: str = FLASH, facts: ModelFacts | None = None) -> Sent:
    return UPSTREAM.request(conversation, target(model, facts=facts))


def body(conversation: Conversation, model: str = FLASH) -> dict[str, Any]:
    return dict(json.loads(send(conversation, model).body))


def config(model: str = FLASH, **members: Any) -> Any:
    return body(asked(**members), model).get("generationConfig")


def contents(*turns: Turn, model: str = FLASH) -> Any:
    return body(asked(turns=turns), model)["contents"]


def user(*blocks: Block) -> Turn:
    return Turn("user", blocks)


def said(*blocks: Block) -> Turn:
    return Turn("assistant", blocks)


def parts(*blocks: Block) -> Any:
    return contents(user(*blocks))[0]["parts"]


# --- frame -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "path"),
    [
        (False, "/models/gemini-2.5-flash-lite:generateContent"),
        (True, "/models/gemini-2.5-flash-lite:streamGenerateContent?alt=sse"),
    ],
)
def test_trap_45_the_path_names_the_backend_model_and_the_method(stream: bool, path: str) -> None:
    """Traps 25, 45: not the alias; streaming is not in the body."""
    sent = send(asked(stream=stream))

    assert (path, {"contents"}, ()) == (sent.path, json.loads(sent.body).keys(), sent.dropped)


def test_trap_43_contents_are_lists_in_camel_case() -> None:
    """Traps 30, 43: system texts have a place of their own, also those in mid-conversation."""
    turns = (
        user(Text("a")),
        Turn("system", (Text("later"),)),
        user(Text("b")),
        said(Text("c")),
        user(Text("d")),
    )

    assert {
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "c"}]},
            {"role": "user", "parts": [{"text": "d"}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "later"}]},
    } == body(asked(turns=turns, system=(Text("Be brief.", CacheMark()),)))


def test_the_input_is_not_changed() -> None:
    """Trap 55: a retry needs it again."""
    conversation = asked(
        turns=(user(Text("a")), said(CALL), user(ToolResult("c1", (Text("b"), PNG)))),
        tools=(TOOL,),
        reasoning=Reasoning(effort="high"),
        settings={"stop": ["x"]},
    )
    before = msgspec.json.encode(conversation)
    send(conversation)

    assert before == msgspec.json.encode(conversation)


# --- contents ----------------------------------------------------------------------------------------


def inline(kind: str, data: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": kind, "data": data}}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (Text("a"), [{"text": "a"}]),
        (PNG, [inline("image/png", "iVBORw0=")]),
        (Image("image/JPG", "QQ=="), [inline("image/jpeg", "QQ==")]),
        (Audio("audio/wav", "QQ=="), [inline("audio/wav", "QQ==")]),
        (Document("application/pdf", "QQ=="), [inline("application/pdf", "QQ==")]),
        (Document("text/plain", text="t"), [{"text": "t"}]),
        (Document("text/plain", text="t", title="T", context="C"), [{"text": x} for x in "TCt"]),
        (Document("text/csv", base64.b64encode(b"a,b").decode()), [{"text": "a,b"}]),
    ],
)
def test_each_kind_of_block(block: Block, expected: Any) -> None:
    """Wire §8.4: media inline, text documents as text."""
    assert expected == parts(block)


def test_pictures_that_the_model_cannot_see_are_refused() -> None:
    """By the field that holds them."""
    facts = msgspec.structs.replace(facts_for(FLASH), inputs=("text",))

    with pytest.raises(BadRequest, match="image") as caught:
        send(asked(PNG, names={"messages": "contents"}), facts=facts)

    assert "contents" == caught.value.param


def exchange(*results: Block, calls: tuple[Block, ...] = (CALL,)) -> Any:
    return contents(user(Text("a")), said(*calls), user(*results))[2]["parts"]


def answered(response: Any, name: str = "f") -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": response}}


@pytest.mark.parametrize(
    ("result", "response"),
    [
        ((Text("sunny"),), {"result": "sunny"}),
        ((), {"result": ""}),
        ((Text('{"b":1,"a":2}'),), {"b": 1, "a": 2}),
        ((Text(' {"a":1}\n'),), {"a": 1}),
        ((Text("[1]"),), {"result": "[1]"}),
        ((Text("{broken"),), {"result": "{broken"}),
        ((Text("a"), Text("b")), {"result": "a\nb"}),
        ((Document("text/plain", text="t"),), {"result": "t"}),
    ],
)
def test_trap_43_results_have_the_name_of_their_call_and_no_id(result: Any, response: Any) -> None:
    """Trap 43, wire §8.4: what is no object is wrapped."""
    assert [answered(response)] == exchange(ToolResult("c1", result))


@pytest.mark.parametrize(("text", "told"), [("it broke", "it broke"), ('{"code":1}', {"code": 1})])
def test_a_failed_call_says_so_in_its_response(text: str, told: Any) -> None:
    """Wire §8.12: there is no flag for it."""
    assert [answered({"error": told})] == exchange(ToolResult("c1", (Text(text),), is_error=True))


def test_pictures_of_a_result_stand_beside_it() -> None:
    """A `response` holds none (wire §8.12)."""
    assert [answered({"result": "see"}), inline("image/png", "iVBORw0="), {"text": "go on"}] == exchange(
        ToolResult("c1", (Text("see"), PNG)), Text("go on")
    )


def test_results_come_in_the_order_of_their_calls() -> None:
    """Trap 43: two calls of one function are told apart by nothing else."""
    calls = (ToolUse("c1", "f", '{"n":1}'), ToolUse("c2", "f", '{"n":2}'))

    assert [answered({"result": "one"}), answered({"result": "two"}), {"text": "x"}] == exchange(
        Text("x"), ToolResult("c2", (Text("two"),)), ToolResult("c1", (Text("one"),)), calls=calls
    )


def test_trap_32_a_result_without_a_call_is_refused() -> None:
    """Trap 32: Gemini could not be told its name."""
    with pytest.raises(BadRequest, match="'c9' answers no earlier tool call") as caught:
        exchange(ToolResult("c9"))

    assert "messages" == caught.value.param


def test_calls_carry_their_arguments_as_they_were() -> None:
    """Wire §8.0: the order and the numbers of the model; broken ones do not break the request."""
    sent = send(
        asked(turns=(user(Text("a")), said(ToolUse("c", "f", '{"b":1.10, "a":2}'), ToolUse("d", "g", "{"))))
    )

    assert b'"args":{"b":1.10, "a":2}' in sent.body
    assert b'"args":{"_raw":"{"}' in sent.body


# --- signatures --------------------------------------------------------------------------------------


def model_parts(*blocks: Block, model: str = FLASH_3) -> Any:
    return contents(user(Text("a")), said(*blocks), model=model)[1]["parts"]


def called(name: str = "f", args: Any = None, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": args or {}}, **more}


def test_trap_45_a_signature_goes_back_with_its_call() -> None:
    """Trap 45: of parallel calls only the first has one."""
    calls = (ToolUse("c", "f", "{}", "SIG"), ToolUse("d", "g"))

    assert [called(thoughtSignature="SIG"), called("g")] == model_parts(*calls)


@pytest.mark.parametrize(("model", "more"), [(FLASH_3, {"thoughtSignature": NO_SIGNATURE}), (FLASH, {})])
def test_a_call_of_another_model_gets_googles_stand_in_where_one_is_needed(model: str, more: Any) -> None:
    """Wire §5.4, §8.4: else the conversation could not change models."""
    assert [called(**more), called("g")] == model_parts(ToolUse("c", "f"), ToolUse("d", "g"), model=model)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (
            (Thinking("t", "S", "gemini"), Text("a")),
            [{"text": "t", "thought": True, "thoughtSignature": "S"}, {"text": "a"}],
        ),
        ((Text("a"), Thinking("", "S", "gemini")), [{"text": "a", "thoughtSignature": "S"}]),
        (
            (Thinking("", "S", "gemini"), Text("a")),
            [{"text": "", "thoughtSignature": "S"}, {"text": "a"}],
        ),
        (
            (Text("a"), Thinking("", "S", "gemini"), Thinking("", "T", "gemini")),
            [{"text": "a", "thoughtSignature": "S"}, {"text": "", "thoughtSignature": "T"}],
        ),
        ((Text("a"), Redacted("S", "gemini")), [{"text": "a", "thoughtSignature": "S"}]),
    ],
)
def test_other_signatures_go_back_to_their_part(blocks: Any, expected: Any) -> None:
    """As the answer had them."""
    assert expected == model_parts(*blocks)


@pytest.mark.parametrize(
    "thinking", [Thinking("t"), Thinking("t", "S", "claude"), Redacted("x"), Thinking("", "S", "responses")]
)
def test_thinking_of_other_models_stays_out_and_is_reported(thinking: Block) -> None:
    """A signature is only shown to the dialect that made it."""
    sent = send(asked(turns=(user(Text("a")), said(thinking, Text("b")))))

    assert ("unsigned thinking",) == sent.dropped
    assert [{"text": "b"}] == json.loads(sent.body)["contents"][1]["parts"]


# --- tools -------------------------------------------------------------------------------------------


def test_trap_44_schemas_go_up_as_json_schema() -> None:
    """Trap 44: `parameters` would refuse const and $ref; a tool may have no description and no schema."""
    tools = (TOOL, Tool("g"), Tool("h", freeform=True))

    assert [
        {
            "functionDeclarations": [
                {"name": "f", "description": "does it", "parametersJsonSchema": TOOL.schema},
                {"name": "g", "parametersJsonSchema": {"type": "object", "properties": {}}},
                {
                    "name": "h",
                    "parametersJsonSchema": {
                        "type": "object",
                        "properties": {"input": {"type": "string"}},
                        "required": ["input"],
                    },
                },
            ]
        }
    ] == body(asked(tools=tools))["tools"]


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("any"), {"mode": "ANY"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("tool", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_each_tool_choice(choice: ToolChoice, calling: Any) -> None:
    """Wire §8.4."""
    assert {"functionCallingConfig": calling} == body(asked(tools=(TOOL,), tool_choice=choice))["toolConfig"]


@pytest.mark.parametrize(
    ("members", "dropped"),
    [
        ({"tool_choice": ToolChoice("any")}, ("tool_choice",)),
        ({"tool_choice": ToolChoice("none")}, ()),
        ({"tools": (Tool("f", strict=True),)}, ("strict",)),
        ({"tools": (Tool("f", strict=False),)}, ()),
        ({"settings": {"logit_bias": {"1": 2.0}, "seed": 1}}, ("logit_bias",)),
    ],
)
def test_what_gemini_has_no_words_for_is_reported(members: Any, dropped: tuple[str, ...]) -> None:
    """Nothing is lost in silence (wire §8.4, §8.12)."""
    assert dropped == send(asked(**members)).dropped


@pytest.mark.parametrize(("detail", "dropped"), [("high", ("detail",)), ("auto", ()), ("", ())])
def test_nor_is_the_detail_of_pictures(detail: str, dropped: tuple[str, ...]) -> None:
    """Unless it says nothing; those of results too."""
    image = Image("image/png", "QQ==", detail=detail)
    shown = asked(turns=(Turn("assistant", (ToolUse("c", "f"),)), Turn("user", (ToolResult("c", (image,)),))))

    assert dropped == send(asked(image)).dropped
    assert dropped == send(shown).dropped


# --- generationConfig --------------------------------------------------------------------------------


def test_each_setting_has_its_place() -> None:
    """Wire §8.4, with `top_k` beside it; the limit stays what the caller said."""
    settings = {
        "temperature": 0.2, "top_p": 0.9, "top_k": 40, "stop": ["a", "b"], "seed": 7,
        "presence_penalty": 0.1, "frequency_penalty": -0.1,
    }  # fmt: skip

    assert {
        "temperature": 0.2, "topP": 0.9, "topK": 40, "stopSequences": ["a", "b"], "seed": 7,
        "presencePenalty": 0.1, "frequencyPenalty": -0.1, "maxOutputTokens": 16,
    } == config(settings=settings, max_tokens=16)  # fmt: skip


def test_more_than_five_stop_sequences_are_refused() -> None:
    """Wire §8.4, by the caller's own name."""
    with pytest.raises(BadRequest, match="5 sequences") as caught:
        config(settings={"stop": list("abcdef")}, names={"stop": "stop_sequences"})

    assert "stop_sequences" == caught.value.param
    assert list("abcde") == config(settings={"stop": list("abcde")})["stopSequences"]


@pytest.mark.parametrize(
    ("output", "more"),
    [
        (OutputFormat(), {}),
        (OutputFormat(schema={"type": "object"}), {"responseJsonSchema": {"type": "object"}}),
    ],
)
def test_json_answers(output: OutputFormat, more: Any) -> None:
    """Wire §8.4: with and without a schema."""
    assert {"responseMimeType": "application/json"} | more == config(output=output)


SHOWN = {"includeThoughts": True}


@pytest.mark.parametrize(
    ("model", "reasoning", "expected"),
    [
        (FLASH, Reasoning(effort="none"), {"thinkingBudget": 0}),
        (FLASH, Reasoning(budget=0, shown=True), {"thinkingBudget": 0}),
        (FLASH, Reasoning(effort="minimal"), {"thinkingBudget": 1024} | SHOWN),
        (FLASH, Reasoning(effort="high", shown=False), {"thinkingBudget": 4096}),
        (FLASH, Reasoning(effort="max", adaptive=True), {"thinkingBudget": 16384} | SHOWN),
        (FLASH, Reasoning(budget=31_999), {"thinkingBudget": 24_576} | SHOWN),
        (FLASH, Reasoning(budget=100), {"thinkingBudget": 512} | SHOWN),
        (FLASH, Reasoning(budget=-1), {"thinkingBudget": -1} | SHOWN),
        (FLASH, Reasoning(adaptive=True), {"thinkingBudget": -1} | SHOWN),
        (FLASH, Reasoning(shown=True), SHOWN),
        (FLASH, Reasoning(shown=False), None),
        (PRO, Reasoning(effort="none"), {"thinkingBudget": 512}),
        (FLASH_3, Reasoning(effort="none"), {"thinkingLevel": "MINIMAL"}),
        (FLASH_3, Reasoning(effort="xhigh"), {"thinkingLevel": "HIGH"} | SHOWN),
        (FLASH_3, Reasoning(budget=2048), {"thinkingLevel": "MEDIUM"} | SHOWN),
        (FLASH_3, Reasoning(adaptive=True), SHOWN),
        (FLASH_3, Reasoning(shown=True), SHOWN),
        (PRO_3, Reasoning(effort="none"), {"thinkingLevel": "LOW"}),
        (PRO_3, Reasoning(effort="medium"), {"thinkingLevel": "LOW"} | SHOWN),
    ],
)
def test_trap_45_how_much_to_think(model: str, reasoning: Reasoning, expected: Any) -> None:
    """Trap 45, wire §5.4, §8.0: by budget or by level, off where that can be; 0 is not turned into -1."""
    thinking = (config(model, reasoning=reasoning) or {}).get("thinkingConfig")

    assert expected == thinking


@pytest.mark.parametrize("model", [PRO, PRO_3])
def test_a_model_that_always_thinks_cannot_be_told_not_to(model: str) -> None:
    """The caller learns of it."""
    assert ("reasoning_effort",) == send(asked(reasoning=Reasoning(effort="none")), model).dropped


def test_a_model_that_does_not_think_is_told_nothing() -> None:
    """The caller learns of that too."""
    facts = msgspec.structs.replace(facts_for(FLASH), thinking="")
    sent = send(asked(reasoning=Reasoning(effort="high")), facts=facts)

    assert (("reasoning_effort",), {"contents"}) == (sent.dropped, json.loads(sent.body).keys())


# --- as an upstream reads it -------------------------------------------------------------------------


@pytest.mark.parametrize("model", [FLASH, FLASH_3, PRO_3])
def test_the_simulator_takes_all_of_it(model: str) -> None:
    """It reads the wire document by itself: strict names, paired calls, signatures where they are due."""
    conversation = asked(
        turns=(
            said(Text("I am first")),
            user(Text("a"), PNG, Document("application/pdf", "QQ==")),
            said(Text("b"), ToolUse("c1", "f", '{"x":1}'), ToolUse("c2", "g")),
            user(Text("go on"), ToolResult("c2", (PNG,)), ToolResult("c1", (Text("1"),), is_error=True)),
        ),
        system=(Text("Be brief."),),
        tools=(TOOL, Tool("g")),
        tool_choice=ToolChoice("tool", "f"),
        reasoning=Reasoning(effort="medium"),
        max_tokens=100,
        settings={"temperature": 0.0, "top_p": 1.0, "top_k": 3, "stop": ["x"], "seed": 1},
    )
    read = protojson.read(send(conversation, model).body, "GenerateContentRequest", MESSAGES)

    assert gemini_body.check(read, _simulated(model))


def _simulated(model: str) -> Model:
    return Model(model, "gcp-vertexai", "001", "Google", model, 1_048_576)
