"""Responses requests for models that do not speak it (wire §8.10)."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from services.errors import BadRequest
from services.translation.callers.responses import CALLER
from services.translation.callers.responses_answer import Asked
from services.translation.callers.responses_items import sealed
from services.translation.conversation import (
    Block,
    CacheMark,
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
from tests.services.translation.responses_samples import body


def parsed(**members: Any) -> Asked:
    """What the caller asks."""
    asked = CALLER.parse(body(**members))
    assert isinstance(asked, Asked)
    return asked


def turns(*items: dict[str, Any]) -> list[tuple[str, list[Block]]]:
    """The turns of these items."""
    return [(turn.role, list(turn.blocks)) for turn in parsed(input=list(items)).turns]


def refused(**members: Any) -> BadRequest:
    """The refusal of this request."""
    with pytest.raises(BadRequest) as caught:
        CALLER.parse(body(**members))
    return caught.value


def user(*content: Any) -> dict[str, Any]:
    """A user's message."""
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}


def call(identifier: str, **members: Any) -> dict[str, Any]:
    """A call of a function."""
    return {"type": "function_call", "call_id": identifier, "name": "f", "arguments": "{}"} | members


def output(identifier: str, said: Any = "ok") -> dict[str, Any]:
    """What the function gave."""
    return {"type": "function_call_output", "call_id": identifier, "output": said}


OK = (Text("ok"),)

# --- items ---


@pytest.mark.parametrize(
    "given",
    [
        "hi",
        [{"role": "user", "content": "hi"}],
        [{"type": "message", "role": "user", "content": "hi", "id": "msg_1", "status": "completed"}],
        [{"type": None, "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        [user("h"), user("i")],
        [user("hi"), {"role": "assistant", "content": ""}],
    ],
)
def test_what_the_user_says(given: Any) -> None:
    """As a text, and as messages with or without a type."""
    [turn] = parsed(input=given).turns
    said = "".join(block.text for block in turn.blocks if isinstance(block, Text))

    assert ("user", "hi") == (turn.role, said)


def test_instructions_and_the_first_developer_messages_are_the_system_prompt() -> None:
    """A later one stays where it came."""
    asked = parsed(
        instructions="be brief",
        input=[
            {"role": "developer", "content": "and kind"},
            {"role": "system", "content": [{"type": "input_text", "text": "always"}]},
            user("hi"),
            {"role": "developer", "content": "now"},
        ],
    )

    assert ("be brief", "and kind", "always") == tuple(text.text for text in asked.system)
    assert Turn("system", (Text("now"),)) == asked.turns[-1]


def test_a_loop_of_calls() -> None:
    """Each step is a turn of its own, so that thinking stays with its calls."""
    expected = [
        ("user", [Text("hi")]),
        ("assistant", [Thinking("why", "c1", "responses"), ToolUse("a", "f"), ToolUse("b", "f", '{"x":1}')]),
        ("user", [ToolResult("a", OK), ToolResult("b", OK)]),
        ("assistant", [ToolUse("c", "f")]),
        ("user", [ToolResult("c", OK)]),
        ("assistant", [Text("done"), Text("I won't")]),
    ]

    assert expected == turns(
        user("hi"),
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "why"}],
            "encrypted_content": "c1",
        },
        call("a", arguments=""),
        call("b", arguments='{"x":1}'),
        output("a"),
        output("b"),
        call("c"),
        output("c"),
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "done", "annotations": [], "logprobs": []},
                {"type": "output_text", "text": ""},
                {"type": "refusal", "refusal": "I won't"},
            ],
        },
    )


def test_trap_32_results_come_directly_behind_their_call() -> None:
    """Trap 32: Codex puts a developer's message between; and several callers a word of the user's."""
    expected = [
        ("assistant", [ToolUse("a", "f"), ToolUse("b", "f")]),
        ("user", [ToolResult("a", OK), ToolResult("b", OK)]),
        ("system", [Text("note")]),
        ("assistant", [ToolUse("c", "f")]),
        ("user", [Text("wait"), ToolResult("c", OK)]),
    ]

    assert expected == turns(
        call("a"),
        call("b"),
        {"role": "developer", "content": "note"},
        output("a"),
        output("b"),
        call("c"),
        user("wait"),
        output("c"),
    )


def test_custom_tools_are_functions_with_one_text() -> None:
    """Until the answer, where they become custom again."""
    expected = [
        ("assistant", [ToolUse("a", "patch", '{"input":"*** \\"x\\""}')]),
        ("user", [ToolResult("a", (Text("done"), Image("image/png", "aGk=")))]),
    ]

    assert expected == turns(
        {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": '*** "x"'},
        {
            "type": "custom_tool_call_output",
            "call_id": "a",
            "output": [
                {"type": "input_text", "text": "done"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk="},
            ],
        },
    )


@pytest.mark.parametrize(
    ("proof", "text", "expected"),
    [
        ("gAAAAAB", "why", Thinking("why", "gAAAAAB", "responses")),
        ("gAAAAAB", "", Thinking("", "gAAAAAB", "responses")),
        (sealed("EqoB", "claude"), "why", Thinking("why", "EqoB", "claude")),
        (sealed("EqoB", "claude"), "", Thinking("", "EqoB", "claude")),
        (sealed("EmwK", "claude", redacted=True), "", Redacted("EmwK", "claude")),
        (sealed("gAAAAAB", "responses", redacted=True), "", Thinking("", "gAAAAAB", "responses")),
        (None, "why", Thinking("why")),
    ],
)
def test_reasoning_knows_who_made_it(proof: str | None, text: str, expected: Block) -> None:
    """A bare proof is Azure's, every other one is sealed: nobody gets another's."""
    item: dict[str, Any] = {"type": "reasoning", "encrypted_content": proof}
    item |= {"summary": [], "content": [{"type": "reasoning_text", "text": text}]} if text else {}
    [_, (_, blocks)] = turns(user("hi"), item, {"role": "assistant", "content": "so"})

    assert [expected, Text("so")] == blocks


def test_reasoning_that_says_nothing_is_none() -> None:
    """Clients that asked for no proof send the empty item back."""
    assert [("user", [Text("hi")])] == turns(user("hi"), {"type": "reasoning", "id": "rs_1", "summary": []})


def test_the_signature_of_a_call_travels_before_it() -> None:
    """Gemini signs calls, and wants the signature back with them (wire §5.4)."""
    proof = {"type": "reasoning", "summary": [], "encrypted_content": sealed("sig", "gemini")}
    [(_, blocks), _] = turns(proof, call("a"), call("b"), output("a"))

    assert [ToolUse("a", "f", signature="sig"), ToolUse("b", "f")] == blocks


def test_a_signature_without_a_call_stays_thinking() -> None:
    """Only directly before a call it is the call's."""
    proof = {"type": "reasoning", "summary": [], "encrypted_content": sealed("sig", "gemini")}

    assert [("assistant", [Thinking("", "sig", "gemini")])] == turns(proof)


def test_items_of_foreign_tools_are_dropped_by_name() -> None:
    """Also the result that Codex gives a shell call."""
    asked = parsed(
        input=[
            user("hi"),
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "web_search_call", "id": "ws_2", "status": "completed"},
            {"type": "local_shell_call", "call_id": "a", "action": {"type": "exec"}},
            output("a"),
        ]
    )

    assert ("web_search_call", "local_shell_call", "function_call_output") == asked.dropped
    assert (Turn("user", (Text("hi"),)),) == asked.turns


@pytest.mark.parametrize("kind", ["item_reference", "compaction", "compaction_trigger"])
def test_items_that_only_their_maker_can_read_are_refused(kind: str) -> None:
    """Without them the conversation would say something else."""
    error = refused(input=[user("hi"), {"type": kind, "id": "x", "encrypted_content": "y"}])

    assert "input[1]" == error.param
    assert kind in error.public


NOT_UTF8 = "data:text/plain;base64,/w=="


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (None, "input"),
        ([], "input"),
        ("", "input"),
        (5, "input"),
        ([{"role": "developer", "content": "x"}], "input"),
        ([None], "input[0]"),
        ([{"type": "message", "content": []}, {"type": "reasoning", "summary": 5}], "input[0].role"),
        (["x"], "input[0]"),
        ([{"type": "hologram"}], "input[0].type"),
        ([{"type": 5}], "input[0].type"),
        ([{"content": "x"}], "input[0].role"),
        ([{"role": "tool", "content": "x"}], "input[0].role"),
        ([{"role": "user"}], "input[0].content"),
        ([user({"type": "hologram"})], "input[0].content[0].type"),
        ([user({"type": "input_text"})], "input[0].content[0].text"),
        ([user({"type": "input_text", "text": 5})], "input[0].content[0].text"),
        ([user({"type": "input_image"})], "input[0].content[0].image_url"),
        ([user({"type": "input_image", "image_url": "x"})], "input[0].content[0].image_url"),
        ([user({"type": "input_image", "file_id": "f"})], "input[0].content[0].file_id"),
        ([user({"type": "input_file", "file_id": "f"})], "input[0].content[0].file_id"),
        ([user({"type": "input_file", "filename": "f"})], "input[0].content[0].file_data"),
        ([user({"type": "input_file", "file_data": NOT_UTF8})], "input[0].content[0].file_data"),
        ([{"role": "system", "content": [{"type": "input_image", "image_url": "https://a"}]}],
         "input[0].content[0].type"),
        ([output("a")], "input[0].call_id"),
        ([call("a"), output("a", [{"type": "output_text", "text": "x"}])], "input[1].output[0].type"),
        ([{"type": "function_call", "name": "f"}], "input[0].call_id"),
    ],
)  # fmt: skip
def test_a_wrong_input_names_the_place(given: Any, param: str) -> None:
    """In the caller's own words."""
    assert param == refused(input=given).param


PDF = "data:application/pdf;base64,aGk="


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
            Text("x", CacheMark()),
        ),
        (
            {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"ttl": "30m"}},
            Text("x", CacheMark("1h")),
        ),
        (
            {"type": "input_image", "image_url": "https://a/b", "detail": "low"},
            Image(url="https://a/b", detail="low"),
        ),
        ({"type": "input_image", "image_url": "data:image/PNG;base64,aGk="}, Image("image/png", "aGk=")),
        (
            {"type": "input_file", "file_data": PDF, "filename": "a.pdf"},
            Document("application/pdf", "aGk=", title="a.pdf"),
        ),
        ({"type": "input_file", "file_url": "https://a/b"}, Document(url="https://a/b")),
        (
            {"type": "input_file", "file_data": "data:text/csv;base64," + base64.b64encode(b"a,b").decode()},
            Document("text/plain", text="a,b"),
        ),
    ],
)  # fmt: skip
def test_what_a_user_shows(part: dict[str, Any], expected: Block) -> None:
    """Pictures, documents and cache marks."""
    assert [("user", [expected])] == turns(user(part))


# --- what steers the model ---


@pytest.mark.parametrize(
    ("members", "name", "expected"),
    [
        ({"max_output_tokens": 50}, "max_tokens", 50),
        ({"parallel_tool_calls": False}, "parallel_tools", False),
        ({"reasoning": {"effort": "high"}}, "reasoning", Reasoning(effort="high")),
        ({"reasoning": {"summary": "auto"}}, "reasoning", Reasoning(shown=True)),
        ({"reasoning": {"generate_summary": "auto"}}, "reasoning", Reasoning(shown=True)),
        ({"reasoning": None}, "reasoning", None),
        ({"text": {"format": {"type": "text"}}}, "output", None),
        ({"text": {"format": {"type": "json_object"}}}, "output", OutputFormat()),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"b": 1}, "strict": True}}},
            "output",
            OutputFormat({"b": 1}, "n", strict=True),
        ),
        ({"text": {"verbosity": "low"}}, "settings", {"verbosity": "low"}),
        ({"temperature": 1, "top_p": 0.5}, "settings", {"temperature": 1.0, "top_p": 0.5}),
        ({"user": "u", "safety_identifier": "s"}, "settings", {"user": "u", "safety_identifier": "s"}),
        ({"prompt_cache_key": "k"}, "settings", {"prompt_cache_key": "k"}),
        ({"store": True, "truncation": "auto"}, "settings", {"store": True, "truncation": "auto"}),
        (
            {"store": False, "truncation": "disabled", "service_tier": "auto", "top_logprobs": 0},
            "settings",
            {},
        ),
        ({"include": ["message.output_text.logprobs"]}, "settings", {"logprobs": True}),
        ({"include": ["file_search_call.results"]}, "dropped", ("file_search_call.results",)),
        ({"include": ["reasoning.encrypted_content"]}, "seals", True),
        ({"store": False}, "seals", True),
        ({"store": True}, "seals", False),
        ({}, "seals", False),
        ({"client_metadata": {"a": 1}, "future": 2, "other": None}, "dropped", ("client_metadata", "future")),
        ({"stream": True, "stream_options": {"include_obfuscation": False}}, "dropped", ()),
        (
            {"stream_options": {"include_obfuscation": True, "future": 1}},
            "dropped",
            ("stream_options.future", "stream_options.include_obfuscation"),
        ),
        ({"reasoning": {"effort": "low", "future": 1}}, "dropped", ("reasoning.future",)),
        ({"text": {"format": {"type": "text", "future": 1}}}, "dropped", ("text.format.future",)),
        ({"background": False, "previous_response_id": None}, "dropped", ()),
    ],
)  # fmt: skip
def test_members_of_the_request(members: dict[str, Any], name: str, expected: Any) -> None:
    """Each under its canonical name; what asks for nothing says nothing."""
    assert expected == getattr(parsed(**members), name)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"temperature": "hot"}, "temperature"),
        ({"include": "x"}, "include"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(members: dict[str, Any], param: str) -> None:
    """Trap 42; what would need a store says what to do instead."""
    assert param == refused(**members).param


def test_a_previous_response_is_not_there_to_go_on_from() -> None:
    """The refusal says what to do."""
    assert "send the whole history" in refused(previous_response_id="resp_1").public


def test_refusals_use_the_callers_names() -> None:
    """For the rules of the catalogue."""
    asked = parsed()

    expected = {"max_tokens": "max_output_tokens", "verbosity": "text.verbosity", "messages": "input"}
    assert expected == {name: asked.name_of(name) for name in expected}


# --- tools ---

F = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True, "description": "d"}
PATCH = {"type": "custom", "name": "patch", "description": "p"}
SEARCH = {"type": "web_search"}


def test_functions_and_custom_tools_stay_others_are_dropped_by_type() -> None:
    """Trap 41: Codex offers some that nobody behind SAP AI Core runs."""
    shell = {"type": "local_shell"}
    asked = parsed(
        tools=[F, SEARCH, PATCH, shell, SEARCH, {"type": "function", "name": "g", "parameters": None}]
    )

    expected = (
        Tool("f", "d", {"type": "object"}, True),
        Tool("patch", "p", freeform=True),
        Tool("g"),
    )
    assert expected == asked.tools
    assert ("web_search", "local_shell") == asked.dropped


def test_a_grammar_becomes_a_part_of_the_description() -> None:
    """Nobody enforces it, which is reported; members that nobody knows are reported as well."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    [tool, plain] = (
        asked := parsed(
            tools=[
                {"type": "custom", "name": "patch", "format": grammar},
                {"type": "custom", "name": "x", "format": {"type": "text"}, "defer_loading": True},
            ]
        )
    ).tools

    assert "The input has to fit this lark grammar:\nstart: X" == tool.description
    assert "" == plain.description
    assert ("tools.format", "tools.defer_loading") == asked.dropped


ALLOWED = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}


@pytest.mark.parametrize(
    ("tools", "choice", "expected", "dropped"),
    [
        ([F], None, None, ()),
        ([F], "auto", ToolChoice("auto"), ()),
        ([F], "required", ToolChoice("any"), ()),
        ([F], "none", ToolChoice("none"), ()),
        ([F], {"type": "function", "name": "f"}, ToolChoice("tool", "f"), ()),
        ([PATCH], {"type": "custom", "name": "patch"}, ToolChoice("tool", "patch"), ()),
        ([F, SEARCH], {"type": "web_search"}, None, ("web_search", "tool_choice")),
        ([SEARCH], "required", None, ("web_search", "tool_choice")),
        ([SEARCH], "auto", None, ("web_search",)),
        ([], "none", None, ()),
        ([F, PATCH], ALLOWED, ToolChoice("any"), ()),
        (
            [F, SEARCH],
            {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}, SEARCH]},
            ToolChoice("auto"),
            ("web_search", "tool_choice.web_search"),
        ),
        ([F], {"type": "allowed_tools", "tools": [SEARCH]}, None, ("tool_choice",)),
    ],
)
def test_trap_41_how_tools_are_chosen(
    tools: list[Any], choice: Any, expected: ToolChoice | None, dropped: tuple[str, ...]
) -> None:
    """Trap 41: a choice of a tool that was dropped is dropped with it."""
    asked = parsed(tools=tools, tool_choice=choice)

    assert (expected, dropped) == (asked.tool_choice, asked.dropped)


def test_only_allowed_tools_are_given_to_the_model() -> None:
    """That is what the choice says."""
    assert ["f"] == [tool.name for tool in parsed(tools=[F, PATCH], tool_choice=ALLOWED).tools]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": [F], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice.name"),
        ({"tools": [PATCH], "tool_choice": ALLOWED}, "tool_choice.tools[0].name"),
        ({"tools": [F], "tool_choice": "always"}, "tool_choice"),
        ({"tools": [None]}, "tools[0]"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "custom", "name": 1}]}, "tools[0].name"),
        ({"tools": {}}, "tools"),
    ],
)
def test_wrong_tools_name_the_place(members: dict[str, Any], param: str) -> None:
    """By the whole path."""
    assert param == refused(**members).param


def test_trap_55_the_request_is_not_changed() -> None:
    """Trap 55: a fallback needs it again; numbers and the order of keys stay what they were."""
    schema = {"type": "object", "properties": {"z": {"maximum": 12345678901234567890123}, "a": {}}}
    given = body(input=[user("hi"), call("a"), output("a")], tools=[F | {"parameters": schema}], text={})
    before = {name: bytes(raw) for name, raw in given.items()}

    first, second = CALLER.parse(given), CALLER.parse(given)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
    assert before == {name: bytes(raw) for name, raw in given.items()}
    assert json.dumps(schema) == json.dumps(first.tools[0].schema)


def test_members_of_items_that_no_model_is_told_are_reported() -> None:
    """Also inside of parts and of items; ids, statuses and annotations of our own answers say nothing."""
    call = {"type": "function_call", "id": "fc", "status": "completed", "call_id": "c", "name": "f"}
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "x", "future": 1}], "phase": "p"},
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "t"}]},
        {**call, "arguments": "{}", "namespace": "n"},
        {"type": "function_call_output", "call_id": "c", "output": "y", "id": "o"},
        {
            "type": "message",
            "id": "msg",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "z", "annotations": [], "logprobs": []}],
        },
    ]

    assert ("input.content.future", "input.phase", "input.namespace") == parsed(input=items).dropped
