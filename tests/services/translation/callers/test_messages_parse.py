"""Messages requests: into the pivot, nothing silently lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.errors import BadRequest
from services.translation import fields
from services.translation.callers.messages import CALLER, parse
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
from tests.services.translation.messages_samples import request, said

TOOL = {"name": "look", "input_schema": {"type": "object"}}
CACHE = {"type": "ephemeral", "ttl": "1h", "scope": "global"}


def block(one: Any, *, role: str = "user") -> Block:
    """The pivot's block for a caller's."""
    [found] = parse(request(messages=said(one, role=role))).blocks()
    return found


# --- blocks ---


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"type": "text", "text": "a"}, Text("a")),
        ({"type": "text", "text": "a", "cache_control": CACHE}, Text("a", CacheMark("1h"))),
        ({"type": "text", "text": "a", "citations": [{"x": 1}]}, Text("a", citations=({"x": 1},))),
        ({"type": "text", "text": "a", "citations": None, "cache_control": None}, Text("a")),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}},
            Image("image/png", "AA"),
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://x"}}, Image(url="https://x")),
        (
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"},
                "title": "t",
                "context": "c",
                "citations": {"enabled": True},
                "cache_control": {"type": "ephemeral"},
            },
            Document("application/pdf", "AA", title="t", context="c", citations=True, cache=CacheMark()),
        ),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            Document("text/plain", text="words"),
        ),
        ({"type": "document", "source": {"type": "url", "url": "https://x"}}, Document(url="https://x")),
        (
            {"type": "document", "source": {"type": "content", "content": "words"}},
            Document("text/plain", text="words"),
        ),
        (
            {
                "type": "document",
                "source": {"type": "content", "content": [{"type": "text", "text": t} for t in "ab"]},
            },
            Document("text/plain", text="a\n\nb"),
        ),
        (
            {
                "type": "search_result",
                "source": "s",
                "title": "t",
                "content": [{"type": "text", "text": "a"}],
            },
            Text("t\ns\n\na"),
        ),
        ({"type": "tool_use", "id": "i", "name": "n", "input": {"a": 1}}, ToolUse("i", "n", '{"a":1}')),
        ({"type": "tool_result", "tool_use_id": "i"}, ToolResult("i")),
        ({"type": "tool_result", "tool_use_id": "i", "content": ""}, ToolResult("i")),
        (
            {"type": "tool_result", "tool_use_id": "i", "content": "no", "is_error": True},
            ToolResult("i", (Text("no"),), is_error=True),
        ),
        (
            {
                "type": "tool_result",
                "tool_use_id": "i",
                "content": [{"type": "text", "text": "a"}, {"type": "tool_reference", "tool_name": "b"}],
            },
            ToolResult("i", (Text("a"), Text("b"))),
        ),
        ({"type": "thinking", "thinking": "t", "signature": "Eq"}, Thinking("t", "Eq", "claude")),
        ({"type": "thinking", "thinking": "t", "signature": ""}, Thinking("t")),
        ({"type": "thinking", "thinking": "t"}, Thinking("t")),
        (
            {"type": "thinking", "thinking": "t", "signature": "aicore.responses.S.1"},
            Thinking("t", "S.1", "responses"),
        ),
        ({"type": "redacted_thinking", "data": "d"}, Redacted("d")),
        ({"type": "redacted_thinking", "data": "aicore.converse.d"}, Redacted("d", "converse")),
    ],
)
def test_a_block_becomes_the_pivots(sent: dict[str, Any], expected: Block) -> None:
    """Every kind, with what it may carry; a cache mark's scope means nothing here."""
    assert expected == block(sent)


def test_arguments_stay_as_the_model_wrote_them() -> None:
    """Number forms, order and large integers are kept."""
    written = b'{"z": 1.10, "a":12345678901234567890123}'
    raw = (
        b'[{"role":"assistant","content":[{"type":"tool_use","id":"i","name":"n","input":' + written + b"}]}]"
    )
    [call] = parse(request() | {"messages": fields.msgspec.Raw(raw)}).blocks()

    assert ToolUse("i", "n", written.decode()) == call


def test_a_signed_call_gets_its_signature_back() -> None:
    """It travels before the call, in a thinking block without text; every other thinking block stays one."""
    signed = {"type": "thinking", "thinking": "", "signature": "aicore.gemini.S"}
    call = {"type": "tool_use", "id": "i", "name": "n", "input": {}}
    sent = [signed, call, call, signed, {"type": "text", "text": "a"}]

    expected = (
        ToolUse("i", "n", "{}", "S"),
        ToolUse("i", "n"),
        Thinking("", "S", "gemini"),
        Text("a"),
    )
    assert expected == tuple(parse(request(messages=said(*sent, role="assistant"))).blocks())


def test_roles_and_plain_strings() -> None:
    """Trap 30: a system message in the middle keeps its place, the prompt may be text or blocks."""
    messages = [
        {"role": "user", "content": "a"},
        {"role": "system", "content": [{"type": "text", "text": "b"}]},
        {"role": "assistant", "content": ""},
    ]
    asked = parse(request(messages=messages, system="s"))
    blocks = parse(request(system=[{"type": "text", "text": "s", "cache_control": CACHE}]))

    assert (Turn("user", (Text("a"),)), Turn("system", (Text("b"),)), Turn("assistant", ())) == asked.turns
    assert ((Text("s"),), (Text("s", CacheMark("1h")),)) == (asked.system, blocks.system)
    assert ((), ()) == (parse(request()).system, parse(request(system="")).system)


# --- tools ---


def test_tools_of_the_caller() -> None:
    """With and without the type that says so."""
    whole = TOOL | {"type": "custom", "description": "d", "strict": True, "cache_control": CACHE}

    expected = (
        Tool("look", schema={"type": "object"}),
        Tool("look", "d", {"type": "object"}, True, CacheMark("1h")),
    )
    assert expected == parse(request(tools=[TOOL, whole])).tools


def test_the_media_type_of_plain_text_is_no_loss() -> None:
    """There is no other."""
    source = {"type": "text", "media_type": "text/plain", "data": "words"}
    asked = parse(request(messages=[{"role": "user", "content": [{"type": "document", "source": source}]}]))

    assert () == asked.dropped


def test_server_tools_are_dropped_by_their_type() -> None:
    """The others stay; members of a tool that nobody takes are named too."""
    server = {"type": "web_search_20250305", "name": "web_search"}
    asked = parse(request(tools=[server, TOOL | {"defer_loading": True}, server]))

    assert [Tool("look", schema={"type": "object"})] == list(asked.tools)
    assert ("web_search_20250305", "tools.defer_loading") == asked.dropped


def test_without_tools_there_is_no_choice() -> None:
    """What is left of a request with server tools only."""
    server = {"type": "bash_20250124", "name": "bash"}
    asked = parse(request(tools=[server], tool_choice={"type": "any"}))

    assert ((), None, None) == (asked.tools, asked.tool_choice, asked.parallel_tools)
    assert ("bash_20250124", "tool_choice") == asked.dropped


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        (None, None, None),
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("any"), False),
        ({"type": "none"}, ToolChoice("none"), None),
        (
            {"type": "tool", "name": "look", "disable_parallel_tool_use": False},
            ToolChoice("tool", "look"),
            None,
        ),
    ],
)
def test_the_choice_of_tools(choice: Any, expected: ToolChoice | None, parallel: bool | None) -> None:
    """With the switch for parallel calls that sits in it."""
    asked = parse(request(tools=[TOOL], tool_choice=choice))

    assert (expected, parallel) == (asked.tool_choice, asked.parallel_tools)


# --- the answer ---


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, None),
        ({"thinking": None, "output_config": None}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, Reasoning(budget=2_000)),
        ({"thinking": {"type": "adaptive"}}, Reasoning(adaptive=True)),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, Reasoning("none")),
        ({"thinking": {"type": "disabled"}}, Reasoning("none")),
        ({"output_config": {"effort": "max"}}, Reasoning("max")),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "low"}},
            Reasoning("low", adaptive=True, shown=False),
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 5, "display": "summarized"}},
            Reasoning(budget=5, shown=True),
        ),
    ],
)
def test_thinking_and_effort(members: dict[str, Any], expected: Reasoning | None) -> None:
    """Both say how much; what contradicts it is named."""
    asked = parse(request(**members))
    lost = ("output_config.effort",) if expected == Reasoning("none") and len(members) > 1 else ()

    assert (expected, lost) == (asked.reasoning, asked.dropped)


@pytest.mark.parametrize("own", ["output_config.format", "output_format"])
def test_the_answers_schema(own: str) -> None:
    """Under its present and its older name; Anthropic's is always strict."""
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    members = {"output_format": wanted} if own == "output_format" else {"output_config": {"format": wanted}}
    asked = parse(request(**members))

    assert OutputFormat({"type": "object"}, strict=True) == asked.output
    assert own == asked.name_of("response_format")


def test_settings_and_betas() -> None:
    """Under their canonical names; null is as if it were not there."""
    asked = parse(
        request(temperature=1, top_p=0.5, top_k=3, stop_sequences=["x"], anthropic_beta=["b"], metadata=None)
    )

    assert {"temperature": 1.0, "top_p": 0.5, "top_k": 3, "stop": ["x"]} == asked.settings
    assert (("b",), (), 9_000) == (asked.betas, asked.dropped, asked.max_tokens)
    assert {} == parse(request(stop_sequences=[], temperature=None)).settings


def test_unknown_members_inside_are_named_too() -> None:
    """Each once, wherever they stand; those of a tool that is left out go with it."""
    asked = parse(
        request(
            system=[{"type": "text", "text": "s", "cache_control": CACHE}],
            messages=[{"role": "user", "content": [{"type": "text", "text": "a", "mood": 1}], "id": 1}] * 2,
            tools=[TOOL, {"type": "web_search_20250305", "name": "w", "max_uses": 1}],
            tool_choice={"type": "auto", "x": 1},
            thinking={"type": "adaptive", "x": 1},
            output_format={"type": "json_schema", "schema": {}, "x": 1},
        )
    )

    assert (
        "web_search_20250305", "tool_choice.x", "output_format.x", "messages.content.mood", "messages.id",
        "system.cache_control.scope", "thinking.x",
    ) == asked.dropped  # fmt: skip


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "thinking"),
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
    ],
)
def test_reasoning_has_the_name_of_what_asks_for_it(members: Any, name: str) -> None:
    """Reports of what a model does not take use it."""
    assert name == parse(request(**members)).name_of("reasoning_effort")


def test_what_claude_code_sends_is_read_and_the_rest_named() -> None:
    """Wire §8.7, trap 27: what only Anthropic's own servers take is dropped by name."""
    asked = parse(
        request(
            stream=True,
            metadata={"user_id": "u"},
            context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            thinking={"type": "adaptive"},
            output_config={"effort": "high", "task_budget": {"total": 1}},
            cache_control={"type": "ephemeral"},
            a_new_field=1,
        )
    )

    lost = ("metadata", "context_management", "cache_control", "a_new_field", "output_config.task_budget")
    assert lost == asked.dropped

    with pytest.raises(BadRequest) as refused:
        parse(request(max_tokens=...))
    assert "max_tokens" == refused.value.param


# --- refusals ---

BAD = "messages[0].content[0]"


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": ...}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": [{"content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
        ({"messages": said({"type": "server_tool_use", "id": "a"})}, f"{BAD}.type"),
        ({"messages": said({"type": "container_upload", "file_id": "a"})}, f"{BAD}.type"),
        ({"messages": said({"type": "text"})}, f"{BAD}.text"),
        ({"messages": said({"type": "text", "text": 5})}, f"{BAD}.text"),
        (
            {"messages": said({"type": "image", "source": {"type": "file", "file_id": "f"}})},
            f"{BAD}.source.type",
        ),
        ({"messages": said({"type": "tool_use", "id": "i", "name": "n", "input": []})}, f"{BAD}.input"),
        (
            {
                "messages": said(
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [{"type": "image", "source": {}}]},
                    }
                )
            },
            f"{BAD}.source.content[0].type",
        ),
        (
            {"messages": [{"role": "system", "content": [{"type": "redacted_thinking", "data": "d"}]}]},
            f"{BAD}.type",
        ),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_format": {"type": "json_schema"}}, "output_format.schema"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"anthropic_beta": "b"}, "anthropic_beta"),
        ({"max_tokens": "9"}, "max_tokens"),
    ],
)
def test_a_fault_is_named_by_its_place(members: dict[str, Any], param: str) -> None:
    """What cannot be read or said is refused under the caller's own path."""
    with pytest.raises(BadRequest) as refused:
        parse(request(**members))

    assert param == refused.value.param


def test_arguments_that_are_no_utf_8_are_refused() -> None:
    """They would break a later encoding."""
    bad = b'[{"role":"user","content":[{"type":"tool_use","id":"i","name":"n","input":{"a":"\xff"}}]}]'

    with pytest.raises(BadRequest) as refused:
        parse(request() | {"messages": fields.msgspec.Raw(bad)})
    assert "messages[0].content[0].input" == refused.value.param


def test_the_input_is_not_changed() -> None:
    """Trap 55: a second attempt reads the same body."""
    body = request(tools=[TOOL, {"type": "bash_20250124"}], system="s", thinking={"type": "adaptive"})
    before = {name: bytes(value) for name, value in body.items()}

    assert parse(body) == parse(body)
    assert before == {name: bytes(value) for name, value in body.items()}


def test_the_surface_has_its_name_and_envelope() -> None:
    """Errors come in Anthropic's own form."""
    body = json.loads(CALLER.envelope(BadRequest("no"), "req_1"))

    assert ("messages", "invalid_request_error", "req_1") == (
        CALLER.surface,
        body["error"]["type"],
        body["request_id"],
    )
