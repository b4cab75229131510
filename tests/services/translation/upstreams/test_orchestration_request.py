"""What goes up to SAP's orchestration (wire §4.7, §5.5, §8.5)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from perf.simulator.executables.orchestration_body import CompletionRequest
from services.errors import BadRequest, UpstreamRefused
from services.translation.conversation import (
    Audio,
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
from services.translation.upstreams.orchestration import UPSTREAM
from tests.services.translation.upstreams.orchestration_samples import (
    BRACES,
    CLAUDE,
    GEMINI,
    GPT,
    NEWER_CLAUDE,
    body,
    history,
    model_turn,
    params,
    request,
    talk,
    target,
    templating,
    turn,
)

TOOL = Tool("f", "Does things.", {"type": "object", "properties": {"a": {"type": "string"}}})
PICTURE = Image("image/png", "AAAA", detail="low")
PDF = Document("application/pdf", "BBBB", title="report.pdf", context="Last year's.")
MARK = CacheMark("1h")
FAMILIES = (
    GPT, "gpt-5", "gpt-5.5", CLAUDE, NEWER_CLAUDE, "anthropic--claude-4.8-opus", GEMINI, "gemini-2.5-pro",
    "mistralai--mistral-small", "amazon--nova-pro", "cohere--command-a-reasoning", "qwen3-max", "no-such",
)  # fmt: skip


def values(document: Any) -> list[str]:
    """The texts that stand in for placeholders."""
    return list(document.get("placeholder_values", {}).values())


# --- the envelope ------------------------------------------------------------------------------------


def test_the_smallest_request() -> None:
    """Everything is history; the gateway retries by itself."""
    sent = request(talk())
    model = {"name": GPT, "version": "latest", "params": {}, "timeout": 600, "max_retries": 0}

    assert ("/v2/completion", ()) == (sent.path, sent.dropped)
    assert {
        "config": {"modules": {"prompt_templating": {"model": model}}},
        "messages_history": [{"role": "user", "content": "Hello"}],
    } == json.loads(sent.body)


def test_a_stream_asks_for_its_usage() -> None:
    """It is counted whether or not the caller wants to see it."""
    document = body(talk(stream=True), modules={"stream": {"chunk_size": 20}})

    assert {"enabled": True, "chunk_size": 20} == document["config"]["stream"]
    assert {"stream_options": {"include_usage": True}} == templating(document)["model"]["params"]


def test_the_version_is_the_deployments() -> None:
    """Where it has one."""
    sent = UPSTREAM.request(talk(), target(GPT, version="2025-04-14"))

    assert "2025-04-14" == templating(json.loads(sent.body))["model"]["version"]


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("stream", [False, True])
def test_every_family_keeps_to_the_strict_schema(model: str, stream: bool) -> None:
    """No member that it does not name, and no null."""
    conversation = talk(
        turn("a", "b"),
        model_turn("c", Thinking("t", "s", "orchestration"), ToolUse("t1", "f", '{"a": "b"}', cache=MARK)),
        turn(ToolResult("t1", (Text("r", MARK),), is_error=True, cache=MARK), Text("d", MARK)),
        Turn("system", (Text("e"),)),
        turn("g"),
        system=(Text("s", MARK), Text("t")),
        tools=(msgspec.structs.replace(TOOL, cache=MARK, strict=True),),
        tool_choice=ToolChoice("auto"),
        parallel_tools=False,
        max_tokens=9_000,
        reasoning=Reasoning(effort="high"),
        output=OutputFormat({"type": "object"}, "my output", "Why.", True),
        settings={"temperature": 0.5, "top_p": 0.9, "n": 1, "logprobs": False},
        stream=stream,
    )

    assert msgspec.json.decode(request(conversation, model).body, type=CompletionRequest)


@pytest.mark.parametrize("model", FAMILIES)
def test_the_conversation_is_not_changed(model: str) -> None:
    """A further attempt needs it again."""
    marks = tuple(Text(f"{n}", CacheMark()) for n in range(6))
    said = (turn(*marks), model_turn("b", ToolUse("t", "f")), turn(ToolResult("t", (Text("x"),))))
    conversation = talk(*said, system=(Text("s", MARK),), tools=(TOOL,), settings={"seed": 7})
    before = msgspec.json.encode(conversation)
    first = request(conversation, model)

    assert (before, first.body) == (msgspec.json.encode(conversation), request(conversation, model).body)


# --- braces ------------------------------------------------------------------------------------------


def everywhere(**members: Any) -> Conversation:
    """Template signs in every place where a caller's text can be."""
    return talk(
        turn(BRACES),
        model_turn(BRACES, ToolUse("t", "f", json.dumps({"a": BRACES}))),
        turn(ToolResult("t", (Text(BRACES),))),
        system=(Text(BRACES),),
        **members,
    )


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("last", [(), (turn(BRACES),), (turn(BRACES, "b"),)], ids=["tool", "user", "parts"])
def test_no_text_of_a_caller_is_a_template(model: str, last: tuple[Turn, ...]) -> None:
    """With tools the last message is a template: placeholders only, and the texts are their values."""
    conversation = everywhere(tools=(Tool("f", BRACES, {"description": BRACES}),))
    conversation = msgspec.structs.replace(conversation, turns=(*conversation.turns, *last))
    document = body(conversation, model)
    [message] = templating(document)["prompt"]["template"]
    content = message["content"]
    texts = [content] if isinstance(content, str) else [p["text"] for p in content if p["type"] == "text"]

    assert [f"{{{{?{name}}}}}" for name in document["placeholder_values"]] == texts
    assert BRACES in values(document)[0]


@pytest.mark.parametrize("model", FAMILIES)
def test_without_tools_there_is_no_template(model: str) -> None:
    """No engine reads the history."""
    document = body(talk(turn(BRACES), model_turn(BRACES), turn(BRACES), system=(Text(BRACES),)), model)

    assert "prompt" not in templating(document)
    assert "placeholder_values" not in document
    assert BRACES == document["messages_history"][-1]["content"]


def test_a_format_needs_the_template_too() -> None:
    """A schema's name is made safe; with one message there is no history."""
    output = OutputFormat({"type": "object"}, "my schema", strict=True)
    document = body(talk(output=output), GEMINI)
    prompt = templating(document)["prompt"]

    assert "messages_history" not in document
    assert [{"role": "user", "content": "{{?gateway_text_0}}"}] == prompt["template"]
    assert ["Hello"] == values(document)
    assert {"type": "object"} == prompt["response_format"]["json_schema"]["schema"]
    assert prompt["response_format"]["json_schema"]["name"].startswith("my_schema_")


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (OutputFormat(), {"type": "json_object"}),
        (
            OutputFormat({"a": 1}, description="Why."),
            {
                "type": "json_schema",
                "json_schema": {"name": "output", "schema": {"a": 1}, "description": "Why."},
            },
        ),
    ],
)
def test_a_format_says_what_the_caller_said(output: OutputFormat, told: Any) -> None:
    """Any object, or a schema with its description."""
    assert told == templating(body(talk(output=output)))["prompt"]["response_format"]


def test_a_templates_last_message_keeps_its_marks_and_files() -> None:
    """Only texts give way; braces in a file's name become round."""
    pdf = msgspec.structs.replace(PDF, title="{{?x}}.pdf", context="")
    document = body(talk(turn(Text("Read", MARK), pdf), tools=(TOOL,)), CLAUDE)
    [message] = templating(document)["prompt"]["template"]
    mark = {"type": "ephemeral", "ttl": "1h"}
    file = {"filename": "((?x)).pdf", "file_data": "data:application/pdf;base64,BBBB"}

    assert [
        {"type": "text", "text": "{{?gateway_text_0}}", "cache_control": mark},
        {"type": "file", "file": file},
    ] == message["content"]


@pytest.mark.parametrize(
    "part", [Image("image/png", "{{?x}}"), Document("application/pdf", "{{?x}}")], ids=["picture", "document"]
)
def test_data_in_a_template_have_to_be_base64(part: Any) -> None:
    """They stand there as they are."""
    with pytest.raises(BadRequest) as caught:
        body(talk(turn("a", part), tools=(TOOL,)), CLAUDE)

    assert "messages" == caught.value.param


def test_an_assistants_message_cannot_be_the_template() -> None:
    """What the model said has thoughts and calls, which a template may not hold."""
    with pytest.raises(BadRequest) as caught:
        body(talk(turn("a"), model_turn("b"), tools=(TOOL,)), CLAUDE)

    assert "messages" == caught.value.param


# --- messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [GPT, CLAUDE, GEMINI])
def test_messages_have_no_null(model: str) -> None:
    """An assistant that only calls has no content."""
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = talk(turn("a"), model_turn(ToolUse("t", "f", "")), turn(ToolResult("t", (Text("r"), Text("s")))))

    assert [
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t", "content": "r\ns"},
    ] == history(said, model)


def test_claude_gets_its_thinking_back() -> None:
    """What orchestration or Claude itself signed; other thinking is reported."""
    thoughts = (Thinking("a", "s1", "orchestration"), Thinking("b", "s2", "claude"))
    sent = request(talk(turn("q"), model_turn(*thoughts, Thinking("c"), "d"), turn("r")), CLAUDE)
    message = json.loads(sent.body)["messages_history"][1]

    assert [{"content": "a", "signature": "s1"}, {"content": "b", "signature": "s2"}] == message[
        "reasoning_content"
    ]
    assert ("thinking",) == sent.dropped


def test_other_models_get_back_what_orchestration_signed() -> None:
    """Claude's own signatures mean nothing to Gemini."""
    thoughts = (Thinking("a", "s1", "orchestration"), Thinking("b", "s2", "claude"))
    [_, message, _] = history(talk(turn("q"), model_turn(*thoughts, "d"), turn("r")), GEMINI)

    assert [{"content": "a", "signature": "s1"}] == message["reasoning_content"]


def test_a_turn_of_thinking_alone_has_empty_content() -> None:
    """Content or calls have to be there."""
    said = talk(turn("q"), model_turn(Thinking("a", "s", "claude"), Redacted("x")), turn("r"))

    assert "" == history(said, CLAUDE)[1]["content"]
    assert ("thinking",) == request(said, CLAUDE).dropped


@pytest.mark.parametrize("model", [GPT, GEMINI])
def test_thinking_that_cannot_go_back_is_reported(model: str) -> None:
    """Nothing is lost in silence."""
    sent = request(talk(turn("q"), model_turn(Thinking("a", "s", "claude"), "b"), turn("r")), model)

    assert ("thinking",) == sent.dropped


def test_claudes_cache_marks_go_along() -> None:
    """On the system prompt, on what is said, on results and on tools."""
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    said = (turn("q"), model_turn("b", ToolUse("t", "f")), turn(ToolResult("t", (Text("r"),), cache=MARK)))
    document = body(talk(*said, turn(Text("u", MARK)), system=(Text("s", MARK),), tools=(TOOL,)), CLAUDE)
    [tool] = templating(document)["prompt"]["tools"]

    assert [{"type": "text", "text": "s"} | mark] == document["messages_history"][0]["content"]
    assert [{"type": "text", "text": "r"} | mark] == document["messages_history"][-1]["content"]
    assert "cache_control" not in tool
    assert mark.items() <= templating(document)["prompt"]["template"][0]["content"][0].items()


def test_a_mark_without_a_time_to_live() -> None:
    """The model's own holds; a tool has its mark beside the function."""
    document = body(talk(tools=(msgspec.structs.replace(TOOL, cache=CacheMark()),)), CLAUDE)

    assert {"type": "ephemeral"} == templating(document)["prompt"]["tools"][0]["cache_control"]


def test_the_first_of_too_many_marks_are_taken_off() -> None:
    """Claude takes four; the last ones cover the most."""
    sent = request(talk(turn(*(Text(f"{n}", MARK) for n in range(5))), system=(Text("s", MARK),)), CLAUDE)
    [system, user] = json.loads(sent.body)["messages_history"]

    assert [{"type": "text", "text": "s"}] == system["content"]
    assert [False, True, True, True, True] == ["cache_control" in part for part in user["content"]]
    assert ("cache marks before the last 4",) == sent.dropped


@pytest.mark.parametrize("model", [GPT, GEMINI])
def test_cache_marks_of_others_are_reported(model: str) -> None:
    """Only Claude knows them."""
    sent = request(talk(turn(Text("a", MARK))), model)

    assert (("cache_control",), b"cache_control" in sent.body) == (sent.dropped, False)


def test_a_calls_cache_mark_is_reported() -> None:
    """Calls have no place for one."""
    said = (turn("q"), model_turn(ToolUse("t", "f", cache=MARK)), turn(ToolResult("t")))

    assert ("cache_control",) == request(talk(*said), CLAUDE).dropped


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_pictures_are_data_urls(model: str) -> None:
    """With their detail."""
    url = {"url": "data:image/png;base64,AAAA", "detail": "low"}

    assert [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": url}] == history(
        talk(turn("Look", PICTURE)), model
    )[0]["content"]


@pytest.mark.parametrize("model", [GPT, CLAUDE])
@pytest.mark.parametrize("inside", [False, True])
def test_a_picture_of_another_type_is_refused(model: str, inside: bool) -> None:
    """By the name of the caller's field."""
    picture = Image("image/{{?x}}", "AAAA")
    said = (
        (turn(picture),)
        if not inside
        else (turn("q"), model_turn(ToolUse("t", "f")), turn(ToolResult("t", (picture,))))
    )
    with pytest.raises(BadRequest) as caught:
        request(talk(*said), model)

    assert "messages" == caught.value.param


@pytest.mark.parametrize("model", [CLAUDE, GEMINI])
def test_documents_are_files(model: str) -> None:
    """What is said about one stands before it; plain text is text."""
    file = {"filename": "report.pdf", "file_data": "data:application/pdf;base64,BBBB"}
    note = Document("text/plain", text="Note", title="n.txt")

    assert [
        {"type": "text", "text": "Last year's."},
        {"type": "file", "file": file},
        {"type": "text", "text": "n.txt\n\nNote"},
    ] == history(talk(turn(PDF, note)), model)[0]["content"]


@pytest.mark.parametrize("model", [GPT, "gpt-5", "mistralai--mistral-small", "cohere--command-a-reasoning"])
def test_gpt_models_take_no_documents(model: str) -> None:
    """Refused by name (wire §5.1)."""
    with pytest.raises(BadRequest, match="pdf") as caught:
        request(talk(turn(PDF)), model)

    assert "messages" == caught.value.param


def test_sound_is_refused() -> None:
    """No message can hold it."""
    with pytest.raises(BadRequest) as caught:
        request(talk(turn(Audio("audio/wav", "AAAA"))), GEMINI)

    assert "messages" == caught.value.param


def test_pictures_of_a_result_follow_in_the_users_message() -> None:
    """A tool's message is text; which call it was is said."""
    result = ToolResult("t", (Text("done"), PICTURE), is_error=True)
    said = talk(turn("q"), model_turn(ToolUse("t", "f")), turn(result, "go on"))
    url = {"url": "data:image/png;base64,AAAA", "detail": "low"}

    assert [
        {"role": "tool", "tool_call_id": "t", "content": "Error:\ndone\n[shown in the next message]"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Result of the tool call t:"},
                {"type": "image_url", "image_url": url},
                {"type": "text", "text": "go on"},
            ],
        },
    ] == history(said, CLAUDE)[2:]


def test_a_result_without_content_is_empty_text() -> None:
    """Also with a mark."""
    said = talk(turn("q"), model_turn(ToolUse("t", "f")), turn(ToolResult("t", cache=MARK)))

    assert "" == history(said, CLAUDE)[2]["content"]


def test_citations_of_documents_are_reported() -> None:
    """Orchestration has no such switch."""
    cited = msgspec.structs.replace(PDF, citations=True)

    called = model_turn(ToolUse("t", "f"))
    inside = talk(turn("q"), called, turn(ToolResult("t", (cited,))))
    earlier = talk(turn("q"), model_turn(Text("a", citations=({},))), turn("and?"))

    assert ("citations",) == request(talk(turn(cited)), CLAUDE).dropped
    assert ("citations",) == request(inside, CLAUDE).dropped
    assert ("citations",) == request(earlier, CLAUDE).dropped


def test_geminis_thought_signatures_have_no_place() -> None:
    """Nothing in the schema takes them (wire §8.12)."""
    said = (turn("q"), model_turn(ToolUse("t", "f", signature="s")), turn(ToolResult("t")))

    assert ("thought signatures",) == request(talk(*said), GEMINI).dropped


def test_a_model_without_system_prompt_gets_it_from_the_user() -> None:
    """In front of what is said first, and reported (wire §5.6)."""
    sent = request(talk(turn("Hello"), system=(Text("Be brief."),)), "sap-abap-1")
    content = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Hello"}]

    assert [{"role": "user", "content": content}] == json.loads(sent.body)["messages_history"]
    assert ("system",) == sent.dropped


def test_without_a_system_prompt_nothing_moves() -> None:
    """And nothing is reported."""
    assert () == request(talk(), "sap-abap-1").dropped


def test_trap_35_a_prefill_that_the_model_refuses() -> None:
    """Trap 35: newer Claude models do not continue an assistant's message."""
    with pytest.raises(BadRequest):
        request(talk(turn("a"), model_turn("b")), NEWER_CLAUDE)


@pytest.mark.parametrize("tools", [(), (TOOL,)])
def test_a_conversation_that_says_nothing_is_refused(tools: tuple[Tool, ...]) -> None:
    """There is no last message then."""
    with pytest.raises(BadRequest) as caught:
        request(talk(model_turn(""), tools=tools))

    assert "messages" == caught.value.param


# --- tools -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [True, False, None])
def test_only_gpt_promises_strict_arguments(strict: bool | None) -> None:
    """For others the wish is reported."""
    conversation = talk(tools=(msgspec.structs.replace(TOOL, strict=strict),))
    tools = [templating(body(conversation, model))["prompt"]["tools"][0] for model in (GPT, CLAUDE)]

    assert [strict, None] == [tool["function"].get("strict") for tool in tools]
    assert [(), ("strict",) if strict else ()] == [request(conversation, m).dropped for m in (GPT, CLAUDE)]


def test_a_tool_need_not_say_what_it_does() -> None:
    """A description that is not there is left out."""
    document = body(talk(tools=(Tool("f"),)), CLAUDE)
    function = {"name": "f", "parameters": {"type": "object", "properties": {}}}

    assert [{"type": "function", "function": function}] == templating(document)["prompt"]["tools"]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (ToolChoice("any"), "required"),
        (ToolChoice("none"), "none"),
        (ToolChoice("tool", "f"), {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_how_tools_are_called_is_a_parameter(choice: ToolChoice, told: Any) -> None:
    """With whether they are called at once."""
    asked = params(talk(tools=(TOOL,), tool_choice=choice, parallel_tools=False))

    assert {"tool_choice": told, "parallel_tool_calls": False} == asked


def test_a_choice_without_tools_is_reported() -> None:
    """It means nothing; "none" is so anyway."""
    wanted, idle = talk(tool_choice=ToolChoice("any")), talk(tool_choice=ToolChoice("none"))

    assert [("tool_choice",), ("tool_choice",)] == [request(wanted, m).dropped for m in (GPT, CLAUDE)]
    assert [(), ()] == [request(idle, m).dropped for m in (GPT, CLAUDE)]


# --- parameters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "reasoning", "told"),
    [
        ("gpt-5", Reasoning(effort="max"), {"reasoning_effort": "high"}),
        ("gpt-5", Reasoning(budget=2048), {"reasoning_effort": "medium"}),
        ("gpt-5", Reasoning(), {}),
        ("sonar-deep-research", Reasoning(effort="low"), {"reasoning_effort": "low"}),
        (CLAUDE, Reasoning(effort="high"), {"thinking": {"type": "enabled", "budget_tokens": 4096}}),
        (CLAUDE, Reasoning(effort="none"), {}),
        (
            "anthropic--claude-4.8-opus",
            Reasoning(effort="xhigh"),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
        ),
        (
            GEMINI,
            Reasoning(effort="low"),
            {"thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True}},
        ),
        (
            "gemini-2.5-flash",
            Reasoning(budget=2048),
            {"thinkingConfig": {"thinkingBudget": 2048, "includeThoughts": True}},
        ),
        (GEMINI, None, {}),
        (
            "cohere--command-a-reasoning",
            Reasoning(effort="medium"),
            {"thinking": {"type": "enabled", "token_budget": 2048}},
        ),
        ("cohere--command-a-reasoning", Reasoning(effort="none"), {"thinking": {"type": "disabled"}}),
        ("cohere--command-a-reasoning", Reasoning(), {}),
    ],
)
def test_each_family_is_asked_to_think_in_its_own_way(
    model: str, reasoning: Reasoning | None, told: Any
) -> None:
    """Wire §5.5."""
    assert told == params(talk(reasoning=reasoning), model)


@pytest.mark.parametrize("model", ["gemini-3.1-pro-preview", "gpt-5.5"])
def test_effort_that_cannot_be_honoured_is_reported(model: str) -> None:
    """Gemini's pro models always think; gpt-5.5 takes tools and effort by Responses only (wire §5.1)."""
    effort = "none" if model.startswith("gemini") else "high"
    sent = request(talk(reasoning=Reasoning(effort=effort), tools=(TOOL,)), model)

    assert ("reasoning_effort",) == sent.dropped


@pytest.mark.parametrize("tools", [(), (TOOL,)])
def test_gpt_5_5_takes_effort_without_tools(tools: tuple[Tool, ...]) -> None:
    """And no effort with them."""
    effort = "none" if tools else "high"

    assert (
        effort == params(talk(reasoning=Reasoning(effort=effort), tools=tools), "gpt-5.5")["reasoning_effort"]
    )


@pytest.mark.parametrize(
    ("model", "settings", "told", "dropped"),
    [
        (GPT, {"temperature": 1.5, "seed": 1, "logit_bias": {"1": 2}, "stop": ["a"]}, ..., ()),
        (GPT, {"top_k": 3}, {}, ("top_k",)),
        ("gpt-5", {"temperature": 0.1}, {}, ("temperature",)),
        (CLAUDE, {"temperature": 1.5, "top_p": 0.5, "top_k": 3}, {"temperature": 1, "top_k": 3}, ("top_p",)),
        (CLAUDE, {"seed": 1, "presence_penalty": 1.0}, {}, ("seed", "presence_penalty")),
        (CLAUDE, {"stop": ["a", " "]}, {"stop": ["a"]}, ("stop sequences of white space",)),
        (CLAUDE, {"stop": [" "]}, {}, ("stop",)),
        ("anthropic--claude-4.8-opus", {"temperature": 0.1}, {}, ("temperature",)),
        (GEMINI, {"seed": 1, "top_k": 3, "logit_bias": {"1": 2}}, {"seed": 1, "top_k": 3}, ("logit_bias",)),
        ("mistralai--mistral-small", {"seed": 1, "temperature": 0.2}, ..., ()),
    ],
)
def test_settings_by_family(model: str, settings: Any, told: Any, dropped: tuple[str, ...]) -> None:
    """What the model's own deployments do not take is no parameter here either, and reported."""
    sent = request(talk(settings=settings), model)

    assert (settings if told is ... else told) == templating(json.loads(sent.body))["model"]["params"]
    assert set(dropped) == set(sent.dropped)


def test_claude_that_thinks_takes_no_temperature() -> None:
    """Trap 29: it is dropped, and so is a forced call's thinking."""
    sent = request(talk(settings={"temperature": 0.2}, reasoning=Reasoning(effort="high")), CLAUDE)
    forced = params(
        talk(tools=(TOOL,), tool_choice=ToolChoice("any"), reasoning=Reasoning(effort="high")), CLAUDE
    )

    assert ("temperature",) == sent.dropped
    assert "thinking" not in forced


@pytest.mark.parametrize(
    ("model", "asked", "told"),
    [
        (GPT, 500, {"max_completion_tokens": 500}),
        (CLAUDE, 500, {"max_tokens": 500}),
        (CLAUDE, 500_000, {"max_tokens": 64_000}),
        ("no-such", 500_000, {"max_tokens": 500_000}),
        (CLAUDE, None, {}),
    ],
)
def test_the_limit_of_an_answer(model: str, asked: int | None, told: Any) -> None:
    """Trap 37: under the model's own name, no more than it takes; without one the model's own holds."""
    assert told == params(talk(max_tokens=asked), model)


@pytest.mark.parametrize(("name", "value"), [("n", 2), ("logprobs", True), ("top_logprobs", 3)])
def test_trap_42_what_the_answer_cannot_tell_is_refused(name: str, value: Any) -> None:
    """Trap 42: by the caller's own name of the field."""
    with pytest.raises(BadRequest) as caught:
        request(talk(settings={name: value}, names={name: "own"}))

    assert "own" == caught.value.param


# --- models that do not stream -----------------------------------------------------------------------


def test_a_model_that_is_known_not_to_stream_answers_whole() -> None:
    """The answer is replayed."""
    sent = request(talk(stream=True), "gpt-5.5")

    assert (True, None) == (sent.whole, sent.amend)
    assert "stream" not in json.loads(sent.body)["config"]
    assert b"stream_options" not in sent.body


def test_a_model_that_turns_out_not_to_stream_is_asked_again() -> None:
    """For the whole answer; any other refusal stands."""
    sent = request(talk(stream=True))
    assert sent.amend is not None
    said = "upstream answered 400 (LLM Module): 400 - LLM Module: Streaming is not supported for this model."
    other = sent.amend(UpstreamRefused(said))

    assert other is not None
    assert (True, request(talk()).body) == (other.whole, other.body)
    assert sent.amend(UpstreamRefused("something else")) is None


def test_an_answer_that_comes_whole_anyway_is_not_asked_again() -> None:
    """There is no stream to give up."""
    assert request(talk()).amend is None
