"""Requests to GPT by the Responses API (wire §8.8, §8.9)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from services.errors import BadRequest
from services.translation.capabilities import FieldRule, ModelFacts, facts_for
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
from services.translation.upstreams.responses import UPSTREAM
from tests.services.translation.responses_samples import target

HI = Turn("user", (Text("hi"),))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def made(*turns: Turn, facts: ModelFacts | None = None, **members: Any) -> Sent:
    """The request for this conversation."""
    return UPSTREAM.request(Conversation(turns=turns or (HI,), **members), target(facts=facts))


def sent(*turns: Turn, facts: ModelFacts | None = None, **members: Any) -> dict[str, Any]:
    """Its body."""
    return dict(json.loads(made(*turns, facts=facts, **members).body))


def items(*blocks: Block, role: Any = "user") -> Any:
    """What one turn becomes."""
    return sent(Turn(role, blocks))["input"]


def parts(*blocks: Block) -> Any:
    """What a user's message holds."""
    [message] = items(*blocks)
    return message["content"]


# --- around the items ---


def test_a_plain_question() -> None:
    """Nothing is stored, and the reasoning comes encrypted; nothing else is said."""
    expected = {
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }

    assert expected == sent()
    assert "/responses?api-version=2025-04-01-preview" == made().path


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"system": (Text("a"), Text("b"))}, {"instructions": "a\n\nb"}),
        ({"stream": True}, {"stream": True}),
        ({"max_tokens": 5}, {"max_output_tokens": 16}),
        ({"max_tokens": 500}, {"max_output_tokens": 500}),
        ({"max_tokens": 10**9}, {"max_output_tokens": 128_000}),
        ({"reasoning": Reasoning(effort="high")}, {"reasoning": {"effort": "high", "summary": "auto"}}),
        ({"reasoning": Reasoning(effort="max", shown=False)}, {"reasoning": {"effort": "high"}}),
        ({"reasoning": Reasoning(effort="none")}, {"reasoning": {"effort": "minimal"}}),
        ({"reasoning": Reasoning(budget=2048)}, {"reasoning": {"effort": "medium", "summary": "auto"}}),
        ({"reasoning": Reasoning(shown=True)}, {"reasoning": {"summary": "auto"}}),
        ({"settings": {"verbosity": "low"}}, {"text": {"verbosity": "low"}}),
        ({"settings": {"prompt_cache_key": "k"}}, {"prompt_cache_key": "k"}),
        ({"settings": {"safety_identifier": "s"}}, {"safety_identifier": "s"}),
        ({"settings": {"temperature": 0.5, "top_p": 0.9}}, {"temperature": 0.5, "top_p": 0.9}),
        ({"settings": {"truncation": "auto"}}, {"truncation": "auto"}),
        (
            {"output": OutputFormat(SCHEMA, "a b", "what", True)},
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "a_b_c8687a08",
                        "schema": SCHEMA,
                        "description": "what",
                        "strict": True,
                    }
                }
            },
        ),
        (
            {"output": OutputFormat(SCHEMA)},
            {"text": {"format": {"type": "json_schema", "name": "output", "schema": SCHEMA}}},
        ),
    ],
)
def test_what_steers_the_model(members: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each under the name that the API has for it (wire §8.8, §8.9)."""
    body = sent(**members)

    assert expected == {name: body[name] for name in body if name not in ("input", "store", "include")}


@pytest.mark.parametrize(
    "reasoning", [Reasoning(shown=False), None, Reasoning(effort="", budget=None, shown=False)]
)
def test_no_wish_about_reasoning_says_nothing(reasoning: Reasoning | None) -> None:
    """The model's own default holds."""
    assert "reasoning" not in sent(reasoning=reasoning)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (facts_for("gpt-5"), True),
        (facts_for("gpt-5.9"), True),
        (ModelFacts(fields={"temperature": FieldRule()}), True),
        (ModelFacts(), False),
    ],
)
def test_only_models_that_reason_are_asked_for_the_proof(facts: ModelFacts, expected: bool) -> None:
    """The others answer 400 to it."""
    assert expected == ("include" in sent(facts=facts))


def test_limits_that_nobody_knows_are_the_callers() -> None:
    """Without a known maximum nothing is cut."""
    assert 10**9 == sent(facts=ModelFacts(), max_tokens=10**9)["max_output_tokens"]


@pytest.mark.parametrize(
    ("settings", "dropped"),
    [
        ({"stop": ["x"], "top_k": 5, "seed": 1}, ("stop", "top_k", "seed")),
        ({"store": True, "metadata": {"a": "b"}, "user": "u"}, ("store", "metadata", "user")),
        ({"store": False, "n": 1, "logprobs": False, "top_logprobs": 0}, ()),
    ],
)
def test_what_the_api_has_not_is_reported(settings: dict[str, Any], dropped: tuple[str, ...]) -> None:
    """By its canonical name; what asks for nothing is no loss."""
    assert dropped == made(settings=settings).dropped


@pytest.mark.parametrize("settings", [{"n": 2}, {"logprobs": True}, {"top_logprobs": 3}])
def test_trap_42_what_the_answer_could_not_tell_is_refused(settings: dict[str, Any]) -> None:
    """Trap 42: the answer would lack what was asked for."""
    [name] = settings

    with pytest.raises(BadRequest) as caught:
        sent(settings=settings, names={"logprobs": "include"})
    assert {"logprobs": "include"}.get(name, name) == caught.value.param


# --- tools ---


def test_strict_is_always_said() -> None:
    """Leaving it out turns strict mode on, and rewrites `required` (wire §8.8)."""
    tools = (Tool("a", "does", SCHEMA), Tool("b", strict=True), Tool("c", freeform=True))
    text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    nothing = {"type": "object", "properties": {}}

    expected = [
        {"type": "function", "name": "a", "parameters": SCHEMA, "strict": False, "description": "does"},
        {"type": "function", "name": "b", "parameters": nothing, "strict": True},
        {"type": "function", "name": "c", "parameters": text, "strict": False},
    ]
    assert expected == sent(tools=tools)["tools"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("any"), "required"),
        (ToolChoice("none"), "none"),
        (ToolChoice("tool", "a"), {"type": "function", "name": "a"}),
    ],
)
def test_how_tools_are_chosen(choice: ToolChoice, expected: Any) -> None:
    """In OpenAI's words."""
    body = sent(tools=(Tool("a"),), tool_choice=choice, parallel_tools=False)

    assert (expected, False) == (body["tool_choice"], body["parallel_tool_calls"])


def test_without_tools_nothing_is_said_of_them() -> None:
    """A choice without tools is refused."""
    body = sent(tool_choice=ToolChoice("any"), parallel_tools=True)

    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(body)


# --- items ---


def test_a_loop_of_tool_calls_keeps_its_order() -> None:
    """Reasoning goes directly before its call, results before what the user says (wire §8.8)."""
    made = sent(
        HI,
        Turn(
            "assistant",
            (
                Thinking("why", "cipher-1", "responses"),
                Text("I look. "),
                Text(""),
                Text("Now."),
                Redacted("cipher-2", "responses"),
                ToolUse("call_1", "weather", '{"b":1,"a":12345678901234567890123}'),
                ToolUse("call_2", "time", ""),
            ),
        ),
        Turn("user", (Text("so?"), ToolResult("call_1", (Text("rain"),)), ToolResult("call_2"))),
    )["input"][1:]

    expected = [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "why"}],
            "encrypted_content": "cipher-1",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "I look. "},
                {"type": "output_text", "text": "Now."},
            ],
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "cipher-2"},
        {
            "type": "function_call",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"b":1,"a":12345678901234567890123}',
        },
        {"type": "function_call", "call_id": "call_2", "name": "time", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        {"type": "function_call_output", "call_id": "call_2", "output": ""},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "so?"}]},
    ]
    assert expected == made


@pytest.mark.parametrize(
    "blocks",
    [
        (Thinking("why", "EqoB", "claude"), Text("a")),
        (Thinking("why"), Text("a")),
        (Redacted("EqoB"), Text("a")),
        (Text("a"), Thinking("why", "cipher", "responses")),
    ],
)
def test_thinking_that_nobody_takes_is_reported(blocks: tuple[Block, ...]) -> None:
    """Of another model, unsigned, or leading to nothing: Azure refuses each of them."""
    request = made(Turn("assistant", blocks), HI)

    assert ["message", "message"] == [item["type"] for item in json.loads(request.body)["input"]]
    assert ("thinking",) == request.dropped


def test_lost_thinking_is_reported_beside_a_wish_for_json() -> None:
    """The line that asks for JSON does not make up for it."""
    turn = Turn("assistant", (Text("a"), Thinking("why", "cipher", "responses")))

    assert ("thinking",) == made(turn, HI, output=OutputFormat()).dropped


def test_what_is_lost_besides() -> None:
    """Cache marks and citations have no place; prefixes are cached without being asked (wire §8.7)."""
    document = Document("text/plain", text="x", citations=True, cache=CacheMark())

    assert ("cache_control", "citations") == made(Turn("user", (document,))).dropped


def test_a_system_message_stays_where_it_came() -> None:
    """As the developer's."""
    message = {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "now"}]}

    assert [message] == items(Text("now"), role="system")
    assert [] == items(Text(""), role="system")


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            Image("image/png", "aGk="),
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
        ),
        (
            Image("image/png", "aGk=", detail="low"),
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
        ),
        (
            Document("application/pdf", "aGk=", title="a.pdf"),
            {
                "type": "input_file",
                "filename": "a.pdf",
                "file_data": "data:application/pdf;base64,aGk=",
            },
        ),
        (
            Document("application/pdf", "aGk="),
            {
                "type": "input_file",
                "filename": "document.pdf",
                "file_data": "data:application/pdf;base64,aGk=",
            },
        ),
        (
            Document("text/plain", text="body", title="t", context="c"),
            {"type": "input_text", "text": "t\n\nc\n\nbody"},
        ),
    ],
)
def test_what_a_user_shows(block: Block, expected: dict[str, Any]) -> None:
    """Pictures and PDFs as data, plain text as text."""
    assert [expected] == parts(block)


@pytest.mark.parametrize(
    ("role", "block"),
    [
        ("user", Audio("audio/wav", "aGk=")),
        ("user", Thinking("x")),
        ("user", Document("application/zip", "aGk=")),
        ("assistant", Image("image/png", "aGk=")),
    ],
)
def test_what_cannot_be_shown_is_refused(role: Any, block: Block) -> None:
    """By the caller's name of the conversation."""
    with pytest.raises(BadRequest) as caught:
        sent(Turn(role, (block,)), names={"messages": "contents"})

    assert "contents" == caught.value.param


PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (ToolResult("c", (Text("a"), Text(""), Text("b"))), "a\nb"),
        (ToolResult("c", (Text("bad"),), is_error=True), "Error: bad"),
        (
            ToolResult("c", (Text("see"), Image("image/png", "aGk="))),
            [{"type": "input_text", "text": "see"}, PICTURE],
        ),
        (
            ToolResult("c", (Image("image/png", "aGk="),), is_error=True),
            [{"type": "input_text", "text": "Error:"}, PICTURE],
        ),
    ],
)
def test_results_of_tools(result: ToolResult, expected: Any) -> None:
    """Text as text, pictures as parts; that it failed is said before it (wire §8.12)."""
    [item] = items(result)

    assert expected == item["output"]


@pytest.mark.parametrize(("said", "hinted"), [("hi", True), ("as Json please", False)])
def test_json_has_to_be_spoken_of(said: str, hinted: bool) -> None:
    """Azure refuses `json_object` where no message says the word."""
    body = sent(Turn("user", (Text(said),)), output=OutputFormat())

    assert {"format": {"type": "json_object"}} == body["text"]
    assert hinted == (body["input"][0]["role"] == "developer")


def test_trap_55_the_conversation_is_not_changed() -> None:
    """Trap 55: a retry needs it again."""
    conversation = Conversation(
        turns=(HI, Turn("assistant", (Thinking("x"), ToolUse("c", "f"))), Turn("user", (ToolResult("c"),))),
        tools=(Tool("f", schema=dict(SCHEMA)),),
        settings={"stop": ["x"]},
    )
    before = msgspec.json.encode(conversation)

    first = UPSTREAM.request(conversation, target())
    assert first.body == UPSTREAM.request(conversation, target()).body
    assert before == msgspec.json.encode(conversation)
