"""Chat requests, read into the pivot."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.errors import BadRequest
from services.translation import fields
from services.translation.callers.chat import CALLER
from services.translation.capabilities import facts_for
from services.translation.conversation import CacheMark, OutputFormat, Reasoning, Tool, ToolChoice
from services.translation.rules import suited
from tests.services.translation.callers.chat_samples import asked

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}},
}
NOW = {"type": "function", "function": {"name": "now"}}
PATCH = {"type": "custom", "custom": {"name": "patch", "description": "p", "format": {"type": "text"}}}

# --- settings ---


@pytest.mark.parametrize(
    ("member", "value", "canonical"),
    [
        ("temperature", 1, 1.0),
        ("top_p", 0.5, 0.5),
        ("top_k", 5, 5),
        ("stop", "x", ["x"]),
        ("stop", ["x", "y"], ["x", "y"]),
        ("seed", 7, 7),
        ("n", 2, 2),
        ("presence_penalty", 0.1, 0.1),
        ("frequency_penalty", 0.2, 0.2),
        ("logit_bias", {"5": -1}, {"5": -1.0}),
        ("logprobs", True, True),
        ("top_logprobs", 2, 2),
        ("verbosity", "low", "low"),
        ("user", "u", "u"),
        ("safety_identifier", "s", "s"),
        ("prompt_cache_key", "k", "k"),
        ("prompt_cache_retention", "24h", "24h"),
        ("service_tier", "auto", "auto"),
        ("store", False, False),
        ("metadata", {"a": "b"}, {"a": "b"}),
        ("prediction", {"type": "content", "content": "x"}, {"type": "content", "content": "x"}),
        ("modalities", ["text"], ["text"]),
        ("audio", {"voice": "x"}, {"voice": "x"}),
        ("web_search_options", {}, {}),
    ],
)
def test_settings_keep_their_names(member: str, value: Any, canonical: Any) -> None:
    """Chat's own names are the canonical ones; nothing of them is reported as left out here."""
    conversation = asked(**{member: value})

    assert {member: canonical} == conversation.settings
    assert () == conversation.dropped


def test_null_is_absent() -> None:
    """Members that are null say nothing."""
    nulls = dict.fromkeys(
        ["temperature", "stop", "tools", "tool_choice", "functions", "function_call", "max_tokens", "audio",
         "response_format", "reasoning_effort", "stream_options", "orchestration", "future"]
    )  # fmt: skip

    assert asked() == asked(**nulls)
    assert asked() == asked(stop=[])


def test_trap_42_what_no_model_behind_claude_takes_is_refused_by_its_name() -> None:
    """Trap 42: search, sound and several choices meet the rules of the catalogue."""
    facts = facts_for("anthropic--claude-4.6-sonnet")
    for member, value in {
        "web_search_options": {},
        "modalities": ["audio"],
        "n": 2,
        "logprobs": True,
    }.items():
        with pytest.raises(BadRequest) as caught:
            suited(asked(**{member: value}), facts, {})
        assert member == caught.value.param


def test_unknown_members_are_reported() -> None:
    """Nothing is left out in silence."""
    assert ("moderation", "frobnicate") == asked(moderation={"model": "x"}, frobnicate=1).dropped


def test_unknown_members_inside_are_reported_too() -> None:
    """Each once, wherever they stand; a member that only another role has is unknown as well."""
    message = {"role": "user", "content": [{"type": "text", "text": "a", "x": 1}], "tool_call_id": "1"}
    conversation = asked(
        messages=[message, message],
        tools=[{"type": "function", "x": 1, "function": {"name": "f", "x": 1, "parameters": {"x": 1}}}],
        response_format={"type": "json_object", "x": 1},
        stream_options={"include_obfuscation": False},
    )

    assert (
        "messages.content.x", "messages.tool_call_id", "tools.x", "tools.function.x", "response_format.x",
        "stream_options.include_obfuscation",
    ) == conversation.dropped  # fmt: skip


def test_of_two_names_for_one_thing_the_newer_holds() -> None:
    """The older one is reported."""
    calls = {"tools": [NOW], "tool_choice": "none", "function_call": "auto"}
    conversation = asked(max_tokens=5, max_completion_tokens=6, **calls)

    assert (6, ToolChoice("none")) == (conversation.max_tokens, conversation.tool_choice)
    assert ("function_call", "max_tokens") == conversation.dropped


@pytest.mark.parametrize(
    ("members", "tokens", "own"),
    [
        ({"max_tokens": 5}, 5, "max_tokens"),
        ({"max_completion_tokens": 6}, 6, "max_completion_tokens"),
        ({"max_completion_tokens": 6, "max_tokens": 5}, 6, "max_completion_tokens"),
        ({"max_completion_tokens": None, "max_tokens": 5}, 5, "max_tokens"),
    ],
)
def test_either_name_of_the_limit(members: dict[str, Any], tokens: int, own: str) -> None:
    """The newer name wins, and errors speak of the one that was used."""
    conversation = asked(**members)

    assert tokens == conversation.max_tokens
    assert own == conversation.name_of("max_tokens")


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
def test_every_effort(effort: str) -> None:
    """From "none" to "max"."""
    assert Reasoning(effort=effort) == asked(reasoning_effort=effort).reasoning


@pytest.mark.parametrize(
    ("wanted", "output"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, OutputFormat()),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"z": 1, "a": 2}, "strict": True}},
            OutputFormat({"z": 1, "a": 2}, "n", "", True),
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": {}}},
            OutputFormat({}, "n", "d"),
        ),
    ],
)
def test_response_formats(wanted: Any, output: OutputFormat | None) -> None:
    """Text, any object, and an object that fits a schema."""
    assert output == asked(response_format=wanted).output


def test_usage_is_told_to_those_who_ask() -> None:
    """Trap 8: it is the caller's choice."""
    assert asked(stream_options={"include_usage": True}).wants_usage
    assert not asked(stream_options={"include_usage": None}).wants_usage
    assert not asked().wants_usage


def test_modules_of_orchestration() -> None:
    """Our extension, as it came."""
    modules = {"masking": {"x": [1]}}

    assert modules == asked(orchestration=modules).orchestration


# --- tools ---


def test_tools() -> None:
    """Functions and custom tools."""
    marked = NOW | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    conversation = asked(tools=[WEATHER, marked, PATCH], parallel_tool_calls=False)

    assert (
        Tool("weather", "d", {"type": "object"}),
        Tool("now", cache=CacheMark("1h")),
        Tool("patch", "p", freeform=True),
    ) == conversation.tools
    assert conversation.parallel_tools is False


def test_a_cache_mark_inside_the_function() -> None:
    """Some clients put it there."""
    inside = {"type": "function", "function": {"name": "f", "strict": True, "cache_control": {}}}

    assert (Tool("f", strict=True, cache=CacheMark()),) == asked(tools=[inside]).tools


def test_schemas_stay_what_they_were() -> None:
    """The order of keys and integers beyond 64 bits."""
    schema = {"z": {"maximum": 2**80}, "a": 1}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}

    assert ["z", "a"] == list(asked(tools=[tool]).tools[0].schema)
    assert msgspec.json.encode(schema) == msgspec.json.encode(asked(tools=[tool]).tools[0].schema)


def test_a_grammar_becomes_a_part_of_the_description() -> None:
    """And is reported: no model behind SAP AI Core keeps to one."""
    grammar = {"type": "grammar", "grammar": {"definition": "start: X", "syntax": "lark"}}
    tool = {"type": "custom", "custom": {"name": "patch", "description": "Patches.", "format": grammar}}
    conversation = asked(tools=[NOW, tool])

    assert ("tools.custom.format",) == conversation.dropped
    told = "Patches.\n\nThe input has to fit this lark grammar:\nstart: X"
    assert told == conversation.tools[1].description


def test_plain_text_is_no_grammar() -> None:
    """It is what a freeform tool takes anyway."""
    tool = {"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}}
    conversation = asked(tools=[tool])

    assert ((Tool("patch", freeform=True),), ()) == (conversation.tools, conversation.dropped)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice()),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("any")),
        ({"type": "function", "function": {"name": "now"}}, ToolChoice("tool", "now")),
        ({"type": "custom", "custom": {"name": "patch"}}, ToolChoice("tool", "patch")),
        (None, None),
    ],
)
def test_tool_choice(choice: Any, expected: ToolChoice | None) -> None:
    """In general, or one by its name."""
    assert expected == asked(tools=[WEATHER, NOW, PATCH], tool_choice=choice).tool_choice


@pytest.mark.parametrize(("mode", "expected"), [("auto", "auto"), ("required", "any")])
def test_allowed_tools_are_all_that_is_offered(mode: Any, expected: Any) -> None:
    """The others are not shown to the model."""
    names = [
        {"type": "function", "function": {"name": "now"}},
        {"type": "custom", "custom": {"name": "patch"}},
    ]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": names}}
    conversation = asked(tools=[WEATHER, NOW, PATCH], tool_choice=choice)

    assert ["now", "patch"] == [tool.name for tool in conversation.tools]
    assert ToolChoice(expected) == conversation.tool_choice


@pytest.mark.parametrize(
    ("call", "expected"), [("none", ToolChoice("none")), ({"name": "now"}, ToolChoice("tool", "now"))]
)
def test_legacy_functions(call: Any, expected: ToolChoice) -> None:
    """They are tools, called one at a time; errors speak of the caller's own fields."""
    conversation = asked(functions=[WEATHER["function"], NOW["function"]], function_call=call)

    assert (Tool("weather", "d", {"type": "object"}), Tool("now")) == conversation.tools
    assert expected == conversation.tool_choice
    assert conversation.parallel_tools is False
    assert ("functions", "function_call") == tuple(map(conversation.name_of, ("tools", "tool_choice")))


# --- refusals ---


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": [1]}, "stop[0]"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [NOW, {"type": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NOW]}}},
            "tool_choice.allowed_tools.tools[0]",
        ),
        ({"functions": [{"name": "f"}], "tools": [NOW]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"stream_options": []}, "stream_options"),
        ({"orchestration": "x"}, "orchestration"),
    ],
)
def test_faults_are_named(members: dict[str, Any], param: str) -> None:
    """A fault is told by its place in the caller's own words."""
    with pytest.raises(BadRequest) as caught:
        asked(**members)

    assert param == caught.value.param
    assert caught.value.public


@pytest.mark.parametrize("name", ["user", "messages"])
def test_what_cannot_be_read_at_all_is_named_too(name: str) -> None:
    """Bytes that are no UTF-8."""
    body = fields.parse(msgspec.json.encode({"messages": [{"role": "user", "content": "hi"}]}))
    body[name] = msgspec.Raw(b'"\xff"')

    with pytest.raises(BadRequest) as caught:
        CALLER.parse(body)
    assert name == caught.value.param


def test_trap_55_the_request_is_not_changed() -> None:
    """Trap 55: a further attempt reads the same."""
    body = fields.parse(
        msgspec.json.encode(
            {"messages": [{"role": "user", "content": "hi"}], "tools": [WEATHER], "stop": "x"}
        )
    )
    before = {name: bytes(raw) for name, raw in body.items()}

    assert CALLER.parse(body) == CALLER.parse(body)
    assert before == {name: bytes(raw) for name, raw in body.items()}
