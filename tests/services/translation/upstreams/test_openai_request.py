"""Conversations as requests to chat completions deployments."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

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
from services.translation.rules import suited
from services.translation.upstreams.openai import UPSTREAM
from tests.services.translation.samples import sent, target

HI = Turn("user", (Text("hi"),))
MISTRAL = "mistralai--mistral-small-instruct"
CALL = ToolUse("c1", "f", '{"b": 1,"a":1e2}')
CALLED = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"b": 1,"a":1e2}'}}
PNG = Image("image/png", "iVBOR")
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR"}}
PDF = Document("application/pdf", "JVBE", title="a.pdf")


def body(
    *turns: Turn, model: str = "gpt-4o", facts: ModelFacts | None = None, **members: Any
) -> dict[str, Any]:
    """What goes up."""
    conversation = Conversation(turns or (HI,), **members)
    return dict(msgspec.json.decode(UPSTREAM.request(conversation, target(model, facts=facts)).body))


def messages(*turns: Turn, **members: Any) -> list[Any]:
    """The messages that go up."""
    return list(body(*turns, **members)["messages"])


def user(*blocks: Block) -> Turn:
    """The user's turn."""
    return Turn("user", blocks)


def assistant(*blocks: Block) -> Turn:
    """The model's turn."""
    return Turn("assistant", blocks)


def dropped(**members: Any) -> tuple[str, ...]:
    """What is reported as left out."""
    turns = members.pop("turns", (HI,))
    return UPSTREAM.request(Conversation(turns, **members), target()).dropped


# --- the whole ---


def test_trap_38_azure_wants_its_api_version() -> None:
    """Trap 38: and no model in the body."""
    request = UPSTREAM.request(Conversation((HI,)), target())

    assert "/chat/completions?api-version=2025-04-01-preview" == request.path
    assert {"messages": [{"role": "user", "content": "hi"}]} == msgspec.json.decode(request.body)
    assert () == request.dropped


def test_trap_39_others_want_the_model_in_the_body() -> None:
    """Trap 39: and no api-version."""
    request = UPSTREAM.request(Conversation((HI,)), target(MISTRAL))

    assert "/chat/completions" == request.path
    assert {"model": MISTRAL} == sent(request.body)


def test_trap_8_a_stream_always_tells_its_usage() -> None:
    """Trap 8: whoever asked."""
    whole = body(stream=True)

    assert (True, {"include_usage": True}) == (whole["stream"], whole["stream_options"])


def test_trap_55_the_conversation_is_not_changed() -> None:
    """Trap 55: the same again for a further attempt."""
    conversation = Conversation(
        (user(ToolResult("c1", (Text("1"),)), Text("a")),),
        tools=(Tool("f"),),
        settings={"stop": ["x"], "n": 1},
    )
    before = msgspec.json.encode(conversation)

    assert UPSTREAM.request(conversation, target()) == UPSTREAM.request(conversation, target())
    assert before == msgspec.json.encode(conversation)


# --- settings ---


def test_trap_37_the_limit_has_the_name_that_the_model_knows() -> None:
    """Trap 37: Azure's is `max_completion_tokens`; more than the model can say is never asked for."""
    assert 5 == body(max_tokens=5)["max_completion_tokens"]
    assert 16_384 == body(max_tokens=32_000)["max_completion_tokens"]
    assert 32_000 == body(max_tokens=32_000, model=MISTRAL)["max_tokens"]


def test_settings_go_up_under_their_canonical_names() -> None:
    """They are chat's own."""
    settings = {"temperature": 0.5, "stop": ["x"], "seed": 1, "verbosity": "low", "logit_bias": {"5": -1.0}}

    assert settings == {name: value for name, value in body(settings=settings).items() if name != "messages"}


def test_trap_37_a_reasoning_model_gets_no_sampling_parameters() -> None:
    """Trap 37: unless its effort is "none", where it takes them."""
    conversation = Conversation((HI,), settings={"temperature": 0.5}, reasoning=Reasoning(effort="none"))
    kept, lost = (
        UPSTREAM.request(suited(conversation, facts_for(model), {}), target(model))
        for model in ("gpt-5.1", "gpt-5")
    )

    assert {"temperature": 0.5, "reasoning_effort": "none"} == sent(kept.body)
    assert {"reasoning_effort": "minimal"} == sent(lost.body)


@pytest.mark.parametrize(
    ("reasoning", "model", "effort"),
    [
        (Reasoning(effort="max"), "gpt-5", "high"),
        (Reasoning(effort="xhigh"), "gpt-5.2", "xhigh"),
        (Reasoning(effort="none"), "gpt-5", "minimal"),
        (Reasoning(budget=4096), "gpt-5", "high"),
        (Reasoning(adaptive=True), "gpt-5", "medium"),
        (Reasoning(effort="low"), "o3", "low"),
        (Reasoning(shown=True), "gpt-5", None),
    ],
)
def test_efforts(reasoning: Reasoning, model: str, effort: str | None) -> None:
    """The nearest that the model knows (wire §8.0)."""
    assert effort == body(model=model, reasoning=reasoning).get("reasoning_effort")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (OutputFormat(), {"type": "json_object"}),
        (
            OutputFormat({"z": 1, "a": 2}),
            {"type": "json_schema", "json_schema": {"name": "output", "schema": {"z": 1, "a": 2}}},
        ),
        (
            OutputFormat({}, "n", "d", False),
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {}, "description": "d", "strict": False},
            },
        ),
    ],
)
def test_response_formats(output: OutputFormat, expected: dict[str, Any]) -> None:
    """Any object, or one that fits a schema."""
    assert expected == body(output=output)["response_format"]


@pytest.mark.parametrize(("name", "value"), [("n", 2), ("logprobs", True), ("top_logprobs", 3)])
def test_trap_42_what_the_answer_could_not_tell_is_refused(name: str, value: Any) -> None:
    """Trap 42: under the caller's own name; values that ask for nothing are not sent."""
    with pytest.raises(BadRequest) as caught:
        body(settings={name: value}, names={name: "own"})
    assert "own" == caught.value.param
    assert {"messages"} == set(body(settings={"n": 1, "logprobs": False, "top_logprobs": 0}))


def test_what_is_left_out_is_reported() -> None:
    """Thinking, cache marks, citations, a choice from nothing, and Responses' truncation."""
    marked = ToolResult("c", (Text("a", CacheMark()),))
    assert ("truncation",) == dropped(settings={"truncation": "auto"})
    assert ("thinking",) == dropped(turns=(HI, assistant(Thinking("hm"), Text("a"))))
    assert ("thinking",) == dropped(turns=(HI, assistant(Redacted("x"), Text("a"))))
    assert ("cache_control",) == dropped(system=(Text("s", CacheMark()),))
    assert ("cache_control",) == dropped(tools=(Tool("f", cache=CacheMark()),))
    assert ("cache_control",) == dropped(turns=(HI, assistant(ToolUse("c", "f")), user(marked)))
    assert ("citations",) == dropped(turns=(user(Document(text="a", citations=True)),))
    assert ("citations",) == dropped(turns=(HI, assistant(Text("a", citations=({},))), HI))
    assert ("tool_choice",) == dropped(tool_choice=ToolChoice("any"))


# --- tools ---


def test_tools() -> None:
    """A freeform tool is a function with one string."""
    whole = body(
        tools=(Tool("f", "d", {"type": "object", "z": 1}, True), Tool("g"), Tool("h", freeform=True)),
        tool_choice=ToolChoice("any"),
        parallel_tools=False,
    )

    assert [
        {
            "type": "function",
            "function": {
                "name": "f",
                "parameters": {"type": "object", "z": 1},
                "description": "d",
                "strict": True,
            },
        },
        {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
        {
            "type": "function",
            "function": {
                "name": "h",
                "parameters": {
                    "type": "object",
                    "properties": {"input": {"type": "string"}},
                    "required": ["input"],
                },
            },
        },
    ] == whole["tools"]
    assert ("required", False) == (whole["tool_choice"], whole["parallel_tool_calls"])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("tool", "f"), {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tool_choice(choice: ToolChoice, expected: Any) -> None:
    """In OpenAI's words."""
    assert expected == body(tools=(Tool("f"),), tool_choice=choice)["tool_choice"]


def test_trap_41_without_tools_there_is_nothing_to_choose() -> None:
    """Trap 41: OpenAI refuses a choice without tools."""
    assert {"messages"} == set(body(tool_choice=ToolChoice(), parallel_tools=True))


# --- messages ---


def test_trap_30_system_messages() -> None:
    """Trap 30: one at the opening, blocks apart; later ones stay in their place."""
    assert [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "c"},
        {"role": "user", "content": "hi"},
    ] == messages(HI, Turn("system", (Text("c"),)), HI, system=(Text("a"), Text(" "), Text("b")))


def test_an_assistants_turn() -> None:
    """Text joined, arguments byte for byte, thinking left out (wire §8.7)."""
    assert [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ab", "tool_calls": [CALLED]},
    ] == messages(HI, assistant(Thinking("hm", "s", "claude"), Text("a"), Text("b"), CALL))


def test_trap_31_an_assistant_that_only_calls_or_thinks() -> None:
    """Trap 31: no text is null; a turn of nothing but thinking is no message."""
    assert [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
    ] == messages(HI, assistant(Thinking("hm")), assistant(CALL))


def test_trap_32_results_directly_behind_their_calls() -> None:
    """Trap 32: before the user's text, whatever came between (Codex: a preamble, a developer message)."""
    other = ToolUse("c2", "g")
    assert [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                CALLED,
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1\n2"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: no"},
        {"role": "user", "content": "and?"},
        {"role": "system", "content": "be brief"},
    ] == messages(
        HI,
        assistant(CALL, other),
        Turn("system", (Text("be brief"),)),
        assistant(Text("I look.")),
        user(Text("and?"), ToolResult("c1", (Text("1"), Text("2")))),
        user(ToolResult("c2", (Text("no"),), is_error=True)),
    )


def test_a_call_that_is_never_answered_holds_nothing_back() -> None:
    """The upstream says what it thinks of it."""
    system = Turn("system", (Text("s"),))
    roles = [one["role"] for one in messages(HI, assistant(CALL), system, HI)]
    at_the_end = [one["role"] for one in messages(HI, assistant(CALL), system)]

    assert ["user", "assistant", "user", "system"] == roles
    assert ["user", "assistant", "system"] == at_the_end


def test_pictures_of_results_follow_in_a_message_of_the_users() -> None:
    """A tool message holds text only (wire §8.7)."""
    assert [
        {"role": "tool", "tool_call_id": "c1", "content": "see\n[shown in the next message]"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Result of the tool call c1:"},
                IMAGE,
                {"type": "text", "text": "so?"},
            ],
        },
    ] == messages(user(ToolResult("c1", (Text("see"), PNG)), Text("so?")))


def test_documents() -> None:
    """Plain text is text, with its title; so is what is text in base64."""
    encoded = base64.b64encode("ä".encode()).decode()
    text = Document("text/plain", text="x", title="T", context="C")

    assert "T\n\nC\n\nx" == messages(user(text))[0]["content"]
    assert "ä" == messages(user(Document("text/csv", encoded)))[0]["content"]
    assert [{"role": "tool", "tool_call_id": "c1", "content": "T\n\nC\n\nx"}] == messages(
        user(ToolResult("c1", (text,)))
    )


def test_a_picture_keeps_its_detail() -> None:
    """OpenAI's own member."""
    part = messages(user(Image("image/png", "iVBOR", detail="low")))[0]["content"][0]

    assert {"url": "data:image/png;base64,iVBOR", "detail": "low"} == part["image_url"]


def test_a_pdf_goes_up_where_the_model_takes_it() -> None:
    """As a file part, with a name."""
    facts = ModelFacts(dialect="azure-openai", inputs=("text", "pdf"))
    files = [
        messages(user(one), facts=facts)[0]["content"] for one in (PDF, Document("application/pdf", "JVBE"))
    ]

    data = "data:application/pdf;base64,JVBE"
    assert [
        [{"type": "file", "file": {"filename": "a.pdf", "file_data": data}}],
        [{"type": "file", "file": {"filename": "document.pdf", "file_data": data}}],
    ] == files


@pytest.mark.parametrize(
    ("block", "facts"),
    [
        (PDF, facts_for("gpt-4o")),
        (PDF, ModelFacts(dialect="azure-openai")),
        (PDF, ModelFacts(dialect="openai-like", inputs=("text", "pdf"))),
        (Document("application/zip", "UEs"), ModelFacts(dialect="azure-openai", inputs=("text", "pdf"))),
        (ToolResult("c1", (PDF,)), ModelFacts(dialect="azure-openai")),
        (Audio("audio/wav", "UklG"), ModelFacts(dialect="azure-openai")),
        (PNG, facts_for("deepseek-r1")),
    ],
)
def test_what_the_model_does_not_take_is_refused(block: Block, facts: ModelFacts) -> None:
    """Naming the caller's field."""
    with pytest.raises(BadRequest) as caught:
        messages(user(block), facts=facts, names={"messages": "input"})

    assert "input" == caught.value.param


# --- models that want user and assistant to alternate ---


def test_alternating_roles() -> None:
    """Wire §4.6, §5.6: the system prompt first, then the user, and never the same role twice."""
    assert [
        {"role": "system", "content": "s\n\nt"},
        {"role": "user", "content": "."},
        {"role": "assistant", "content": "ab"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "hi"}]},
    ] == messages(
        assistant(Text("a")), assistant(Text("b")), HI, Turn("system", (Text("t"),)), HI, system=(Text("s"),),
        model=MISTRAL,
    )  # fmt: skip


def test_no_user_directly_behind_a_tool() -> None:
    """The user's words join the last result; before pictures, which cannot, the assistant says a word."""
    results = (ToolResult("c1", (Text("1"),)), ToolResult("c2", (Text("2"),)))
    joined = messages(HI, assistant(CALL), user(*results, Text("a"), Text("b")), model=MISTRAL)
    shown = messages(HI, assistant(CALL), user(*results, PNG), model=MISTRAL)

    assert ["1", "2\n\na\n\nb"] == [one["content"] for one in joined[2:]]
    assert ["1", "2", ".", [IMAGE]] == [one["content"] for one in shown[2:]]
    assert ["tool", "tool", "assistant", "user"] == [one["role"] for one in shown[2:]]
