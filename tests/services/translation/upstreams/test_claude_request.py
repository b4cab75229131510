"""Requests to Claude by Bedrock's invoke."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from services.errors import BadRequest, UpstreamRefused
from services.translation.capabilities import facts_for
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
from services.translation.upstreams.claude import UPSTREAM
from services.translation.upstreams.claude_request import closed
from services.translation.upstreams.claude_thinking import DEFAULT_MAX_TOKENS
from tests.services.translation.samples import target
from tests.services.translation.upstreams.bedrock_samples import conversation, said

HAIKU = "anthropic--claude-4.5-haiku"  # thinks by budget
OPUS = "anthropic--claude-4.8-opus"  # thinks as it sees fit, takes no prefill
SONNET = "anthropic--claude-4.6-sonnet"  # either way
TOOL = Tool("f", schema={"type": "object"})
HIGH = Reasoning(effort="high")
MARK = CacheMark()


def send(asked: Conversation, model: str = HAIKU) -> Sent:
    return UPSTREAM.request(asked, target(model))


def body(asked: Conversation, model: str = HAIKU) -> dict[str, Any]:
    return said(send(asked, model))


def content(*blocks: Block) -> Any:
    return body(conversation(*blocks))["messages"][0]["content"]


# --- frame -------------------------------------------------------------------------------------------


def test_the_least_request() -> None:
    """Version and max_tokens are always there, model and stream never (traps 25, 26)."""
    expected = {
        "anthropic_version": "bedrock-2023-05-31",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "max_tokens": DEFAULT_MAX_TOKENS,
    }

    assert expected == body(conversation())


@pytest.mark.parametrize(("stream", "path"), [(False, "/invoke"), (True, "/invoke-with-response-stream")])
def test_the_path_decides_about_streaming(stream: bool, path: str) -> None:
    """Bedrock has a path for each (trap 25)."""
    assert path == send(conversation(stream=stream)).path


def test_the_conversation_is_not_changed() -> None:
    """A further attempt needs it again (trap 55)."""
    asked = conversation(
        Text("a", MARK),
        Text(" "),
        turns=(Turn("user", (Text("a", MARK), Text("b", MARK))), Turn("user", (Text("c", MARK),))),
        system=(Text("s", MARK), Text("s", MARK)),
        tools=(TOOL,),
        settings={"temperature": 2, "stop": [" "]},
        reasoning=HIGH,
    )
    before = msgspec.json.encode(asked)
    first = send(asked)

    assert before == msgspec.json.encode(asked)
    assert first.body == send(asked).body


# --- prompt ------------------------------------------------------------------------------------------


def test_system_texts_keep_their_marks() -> None:
    """System is a list of blocks, the ones in mid-conversation behind it (trap 30)."""
    asked = conversation(
        system=(Text("Be brief.", CacheMark("1h")),),
        turns=(Turn("user", (Text("hi"),)), Turn("system", (Text("Now."),))),
    )
    marked = {
        "type": "text",
        "text": "Be brief.",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }

    assert [marked, {"type": "text", "text": "Now."}] == body(asked)["system"]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            Image("image/jpg", "aGk=", cache=MARK),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/jpeg", "data": "aGk="},
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (
            Document("application/pdf", "aGk=", title="a.pdf", context="c", citations=True),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                "title": "a.pdf",
                "context": "c",
                "citations": {"enabled": True},
            },
        ),
        (
            Document("text/plain", text="words"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        ),
        (
            Document("text/csv", base64.b64encode(b"a,b").decode()),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}},
        ),
        (
            ToolResult("t1", (Text("sun"), Image("image/png", "aGk=")), is_error=True, cache=MARK),
            {
                "type": "tool_result",
                "tool_use_id": "t1",
                "content": [
                    {"type": "text", "text": "sun"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
                    },
                ],
                "is_error": True,
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (ToolResult("t1"), {"type": "tool_result", "tool_use_id": "t1"}),
    ],
    ids=["picture", "PDF", "text", "encoded text", "result", "empty result"],
)
def test_blocks_of_the_user(block: Block, expected: object) -> None:
    """Each block takes Anthropic's form."""
    assert [expected] == content(block)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (Audio("audio/wav", "aGk="), "audio"),
        (Document("application/zip", "aGk="), "application/zip"),
        (Image("image/bmp", "aGk="), "image/bmp"),
    ],
)
@pytest.mark.parametrize("model", [HAIKU, "unknown"])
def test_other_content_is_refused_by_name(block: Block, text: str, model: str) -> None:
    """What Claude does not take is refused, also by models of which nothing is known."""
    with pytest.raises(BadRequest, match=text) as caught:
        send(conversation(block), model)

    assert "messages" == caught.value.param


ASSISTANT: tuple[Block, ...] = (
    Thinking("Hm.", "sig", "claude"),
    Redacted("data"),
    Text("Let me see.", citations=({"type": "char_location"},)),
    ToolUse("t1", "f", '{"n": 12345678901234567890123}', cache=MARK),
)


def test_an_assistants_turn() -> None:
    """Thinking goes back as it came, arguments are an object and keep every digit (traps 29, 33)."""
    asked = conversation(turns=(Turn("user", (Text("hi"),)), Turn("assistant", ASSISTANT)))
    sent = send(asked)

    assert [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "data"},
        {"type": "text", "text": "Let me see.", "citations": [{"type": "char_location"}]},
        {
            "type": "tool_use",
            "id": "t1",
            "name": "f",
            "input": {"n": 12345678901234567890123},
            "cache_control": {"type": "ephemeral"},
        },
    ] == said(sent)["messages"][1]["content"]
    assert () == sent.dropped


def test_thinking_of_other_models_stays_here_and_is_reported() -> None:
    """Claude refuses signatures that are not its own."""
    turns = (
        Turn("user", (Text("hi"),)),
        Turn("assistant", (Thinking("Hm.", "s", "gemini"), Text("a"))),
        Turn("user", (Text("so?"),)),
    )
    sent = send(conversation(turns=turns))

    assert [{"type": "text", "text": "a"}] == said(sent)["messages"][1]["content"]
    assert ("unsigned thinking",) == sent.dropped


def test_prefill_is_refused_where_the_model_does_not_continue() -> None:
    """The refusal names the field (trap 35)."""
    asked = conversation(
        turns=(Turn("user", (Text("hi"),)), Turn("assistant", (Text("{"),))), names={"messages": "input"}
    )

    with pytest.raises(BadRequest, match="the last message has to be the user's") as caught:
        send(asked, OPUS)

    assert "input" == caught.value.param
    assert "assistant" == body(asked)["messages"][-1]["role"]


def test_four_cache_marks_go_up_at_most() -> None:
    """The last four stay, in Claude's order: tools, system, messages. The rest is reported."""
    asked = conversation(
        Text("a", MARK),
        ToolResult("t", (Text("b", MARK),), cache=MARK),
        tools=(Tool("f", cache=MARK), Tool("g", cache=MARK)),
        system=(Text("s", MARK),),
    )
    sent = send(asked)
    whole = said(sent)

    assert ("cache marks before the last 4",) == sent.dropped
    assert [False, False] == ["cache_control" in tool for tool in whole["tools"]]
    assert 4 == sent.body.count(b"cache_control")


def test_four_cache_marks_are_not_too_many() -> None:
    """Nothing is taken off, nothing is reported."""
    sent = send(conversation(*(Text(word, MARK) for word in "abcd")))

    assert 4 == sent.body.count(b"cache_control")
    assert () == sent.dropped


# --- tools -------------------------------------------------------------------------------------------


def test_tools() -> None:
    """Only the three members that Bedrock knows, and the cache mark (trap 27)."""
    sent = send(
        conversation(
            tools=(
                Tool("f", "does f", {"type": "object", "x": 1}, strict=True, cache=CacheMark("5m")),
                Tool("g", freeform=True),
            )
        )
    )
    text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}

    assert [
        {
            "name": "f",
            "description": "does f",
            "input_schema": {"type": "object", "x": 1},
            "cache_control": {"type": "ephemeral", "ttl": "5m"},
        },
        {"name": "g", "input_schema": text},
    ] == said(sent)["tools"]
    assert ("strict",) == sent.dropped


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (ToolChoice(), None, {"type": "auto"}),
        (ToolChoice("any"), None, {"type": "any"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("tool", "f"), None, {"type": "tool", "name": "f"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("any"), False, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, parallel: bool | None, expected: object) -> None:
    """Parallel calls are switched off as part of the choice."""
    asked = conversation(tools=(TOOL,), tool_choice=choice, parallel_tools=parallel)

    assert expected == body(asked).get("tool_choice")


@pytest.mark.parametrize(("mode", "dropped"), [("any", ("tool_choice",)), ("none", ())])
def test_a_choice_among_no_tools_is_left_out(mode: Any, dropped: tuple[str, ...]) -> None:
    """It is reported unless it is what happens anyway."""
    sent = send(conversation(tool_choice=ToolChoice(mode)))

    assert "tool_choice" not in said(sent)
    assert dropped == sent.dropped


# --- thinking ----------------------------------------------------------------------------------------


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


ADAPTIVE = {"type": "adaptive"}


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "config"),
    [
        (HAIKU, None, None, None),
        (HAIKU, Reasoning(), None, None),
        (HAIKU, Reasoning(effort="none"), None, None),
        (HAIKU, Reasoning(budget=0), None, None),
        (HAIKU, HIGH, budget(4096), None),
        (HAIKU, Reasoning(adaptive=True), budget(2048), None),
        (HAIKU, Reasoning(budget=500), budget(1024), None),
        (HAIKU, Reasoning(budget=-1), budget(2048), None),
        (OPUS, HIGH, ADAPTIVE, {"effort": "high"}),
        (OPUS, Reasoning(effort="minimal"), ADAPTIVE, {"effort": "low"}),
        (OPUS, Reasoning(adaptive=True), ADAPTIVE, None),
        (OPUS, Reasoning(budget=2048), ADAPTIVE, {"effort": "medium"}),
        (SONNET, Reasoning(effort="xhigh"), ADAPTIVE, {"effort": "high"}),
        (SONNET, Reasoning(adaptive=True, effort="max"), ADAPTIVE, {"effort": "max"}),
        (SONNET, Reasoning(budget=3000), budget(3000), None),
        (SONNET, Reasoning(budget=-1), ADAPTIVE, None),
        (OPUS, Reasoning(effort="none"), None, None),
    ],
)
def test_thinking_in_the_models_own_way(
    model: str, reasoning: Reasoning | None, thinking: object, config: object
) -> None:
    """By budget, or adaptive with the nearest effort; models that take both get what was asked (trap 29)."""
    whole = body(conversation(reasoning=reasoning), model)

    assert thinking == whole.get("thinking")
    assert config == whole.get("output_config")


@pytest.mark.parametrize(
    ("max_tokens", "reasoning", "thinking", "limit"),
    [
        (None, HIGH, 4096, DEFAULT_MAX_TOKENS + 4096),
        (None, Reasoning(budget=60_000), 60_000, 64_000),
        (None, Reasoning(budget=64_000), 32_000, 64_000),
        (8192, HIGH, 4096, 8192),
        (4097, HIGH, 4096, 4097),
        (4096, HIGH, 2048, 4096),
        (1100, HIGH, 1024, 1100),
    ],
)
def test_the_budget_fits_into_max_tokens(
    max_tokens: int | None, reasoning: Reasoning, thinking: int, limit: int
) -> None:
    """1024 ≤ budget_tokens < max_tokens, and the answer has room (trap 29)."""
    whole = body(conversation(max_tokens=max_tokens, reasoning=reasoning))

    assert budget(thinking) == whole["thinking"]
    assert limit == whole["max_tokens"]


LOOP: tuple[Turn, ...] = (
    Turn("user", (Text("hi"),)),
    Turn("assistant", (ToolUse("t1", "f"),)),
    Turn("user", (ToolResult("t1"),)),
)


@pytest.mark.parametrize(
    "members",
    [
        {"max_tokens": 1024},
        {"tools": (TOOL,), "tool_choice": ToolChoice("any")},
        {"tools": (TOOL,), "tool_choice": ToolChoice("tool", "f")},
        {"turns": (Turn("user", (Text("hi"),)), Turn("assistant", (Text("{"),)))},
        {"turns": LOOP},
        {"turns": (*LOOP, Turn("assistant", (ToolUse("t2", "f"),)), Turn("user", (ToolResult("t2"),)))},
    ],
    ids=["no room", "any tool", "one tool", "prefill", "loop", "long loop"],
)
def test_no_thinking_where_claude_refuses_it(members: dict[str, Any]) -> None:
    """It is left out and reported instead of a 400 for everything (trap 29)."""
    sent = send(conversation(**members, reasoning=HIGH))

    assert "thinking" not in said(sent)
    assert ("reasoning_effort",) == sent.dropped


@pytest.mark.parametrize(
    "turns",
    [
        (
            LOOP[0],
            Turn("assistant", (Thinking("a", "s", "claude"), ToolUse("t1", "f"))),
            LOOP[2],
            Turn("assistant", (ToolUse("t2", "f"),)),
            Turn("user", (ToolResult("t2"),)),
        ),
        (*LOOP, Turn("assistant", (Text("done"),)), Turn("user", (Text("and now?"),))),
        (LOOP[2],),
    ],
    ids=["it thought before its first call", "the loop is over", "no call is there"],
)
def test_thinking_goes_on_where_the_loop_began_with_it(turns: tuple[Turn, ...]) -> None:
    """Only the first turn of a loop of calls has to begin with thinking."""
    assert budget(4096) == body(conversation(turns=turns, reasoning=HIGH))["thinking"]


def test_adaptive_thinking_goes_on_in_a_loop() -> None:
    """Only a budget asks for the thoughts before."""
    assert ADAPTIVE == body(conversation(turns=LOOP, reasoning=HIGH), OPUS)["thinking"]


def test_effort_stays_without_thinking() -> None:
    """A forced call leaves the effort, where the model knows it, and is reported all the same."""
    sent = send(conversation(tools=(TOOL,), tool_choice=ToolChoice("any"), reasoning=HIGH), OPUS)

    assert {"effort": "high"} == said(sent)["output_config"]
    assert ("reasoning_effort",) == sent.dropped


def test_a_model_that_does_not_think_is_not_asked_to() -> None:
    """The wish is reported."""
    sent = send(conversation(reasoning=HIGH), "anthropic--claude-3-haiku")

    assert "thinking" not in said(sent)
    assert 4096 == said(sent)["max_tokens"]
    assert ("reasoning_effort",) == sent.dropped


# --- sampling, stop, format --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reasoning", "expected", "dropped"),
    [
        ({"temperature": 0.5, "top_k": 5}, None, {"temperature": 0.5, "top_k": 5}, ()),
        ({"temperature": 1.7}, None, {"temperature": 1}, ()),
        ({"temperature": -1}, None, {"temperature": 0}, ()),
        ({"top_p": 0.5}, None, {"top_p": 0.5}, ()),
        ({"temperature": 0.5, "top_p": 0.5}, None, {"temperature": 0.5}, ("top_p",)),
        ({"temperature": 0.5, "top_k": 5}, HIGH, {}, ("temperature", "top_k")),
        ({"temperature": 1, "top_p": 0.95}, HIGH, {"top_p": 0.95}, ()),
        ({"top_p": 0.5}, HIGH, {}, ("top_p",)),
    ],
)
def test_sampling(
    settings: dict[str, Any],
    reasoning: Reasoning | None,
    expected: dict[str, Any],
    dropped: tuple[str, ...],
) -> None:
    """Temperature or top_p, and next to nothing while it thinks (trap 29)."""
    sent = send(conversation(settings=settings, reasoning=reasoning))
    names = ("temperature", "top_p", "top_k")

    assert expected == {name: value for name, value in said(sent).items() if name in names}
    assert dropped == sent.dropped


@pytest.mark.parametrize(
    ("stop", "expected", "dropped"),
    [
        (["END", "\n"], ["END"], ("stop sequences of white space",)),
        (["\n\n"], None, ("stop sequences of white space",)),
        (["a", "b"], ["a", "b"], ()),
    ],
)
def test_stop_sequences(stop: list[str], expected: object, dropped: tuple[str, ...]) -> None:
    """Those of white space are refused by Claude, so they are left out and reported."""
    sent = send(conversation(settings={"stop": stop}))

    assert expected == said(sent).get("stop_sequences")
    assert dropped == sent.dropped


def test_settings_that_a_configuration_keeps_are_reported_when_they_cannot_be_said() -> None:
    """Nothing is lost in silence (trap 42); what asks for nothing special needs no report."""
    idle = send(conversation(settings={"seed": 1, "n": 1, "logprobs": False}))
    sent = send(conversation(settings={"n": 2, "logprobs": True, "top_logprobs": 3}))

    assert (("seed",), ("n", "logprobs", "top_logprobs")) == (idle.dropped, sent.dropped)


SCHEMA = {"type": "object", "properties": {"b": {}, "a": {}}}


def test_a_schema_goes_up_where_the_model_keeps_to_it() -> None:
    """As `output_config.format`, beside the effort, with its keys in order."""
    sent = send(conversation(output=OutputFormat(SCHEMA, strict=True), reasoning=HIGH), SONNET)
    config = said(sent)["output_config"]

    assert {"effort": "high", "format": {"type": "json_schema", "schema": closed(SCHEMA)}} == config
    assert ["b", "a"] == list(config["format"]["schema"]["properties"])


@pytest.mark.parametrize(
    ("model", "schema", "needle"),
    [(SONNET, None, "one JSON object"), ("unknown", SCHEMA, '"properties"')],
)
def test_json_without_a_schema_of_the_models_own_is_a_line_of_the_system_prompt(
    model: str, schema: Any, needle: str
) -> None:
    """Claude has no mode for just any object, and an unknown model may have none at all."""
    whole = body(conversation(system=(Text("s"),), output=OutputFormat(schema)), model)

    assert "output_config" not in whole
    assert "s" == whole["system"][0]["text"]
    assert needle in whole["system"][1]["text"]


# --- betas -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected", "dropped"),
    [
        (("effort-2025-11-24",), ["effort-2025-11-24"], ()),
        (("advanced-tool-use-2025-11-20",), ["tool-search-tool-2025-10-19"], ()),
        (
            ("effort-2025-11-24", "files-api-2025-04-14"),
            ["effort-2025-11-24"],
            ("anthropic_beta",),
        ),
        (("files-api-2025-04-14",), None, ("anthropic_beta",)),
    ],
)
def test_betas_travel_in_the_body(
    asked: tuple[str, ...], expected: list[str] | None, dropped: tuple[str, ...]
) -> None:
    """Only those that Bedrock takes, under its names; the others are reported (trap 28)."""
    sent = send(conversation(betas=asked))

    assert expected == said(sent).get("anthropic_beta")
    assert dropped == sent.dropped


def test_an_invalid_beta_flag_is_asked_again_without() -> None:
    """One unknown flag fails the whole request, so there is another form of it (trap 28)."""
    sent = send(conversation(betas=("effort-2025-11-24",), stream=True))
    assert sent.amend is not None
    again = sent.amend(UpstreamRefused("upstream answered 400: Invalid beta flag"))

    assert again is not None
    assert sent.path == again.path
    assert {k: v for k, v in said(sent).items() if k != "anthropic_beta"} == said(again)
    assert ("anthropic_beta",) == again.dropped
    assert again.amend is None


def test_thinking_that_cannot_go_on_without_earlier_thoughts_is_given_up() -> None:
    """A tool loop that another model began: whether adaptive thinking minds is not known (trap 29)."""
    turns = (
        Turn("user", (Text("x"),)),
        Turn("assistant", (ToolUse("1", "f"),)),
        Turn("user", (ToolResult("1"),)),
    )
    sent = send(conversation(turns=turns, reasoning=HIGH, betas=("effort-2025-11-24",)), OPUS)
    assert {"type": "adaptive"} == said(sent)["thinking"]
    assert sent.amend is not None
    again = sent.amend(UpstreamRefused("400: a final `assistant` message must start with a thinking block"))

    assert again is not None
    assert {k: v for k, v in said(sent).items() if k != "thinking"} == said(again)
    assert ("reasoning_effort",) == again.dropped
    assert again.amend is not None  # for its beta flags


def test_other_refusals_are_final() -> None:
    """Without betas, or for another reason, nothing is asked again."""
    sent = send(conversation(betas=("effort-2025-11-24",)))

    assert sent.amend is not None
    assert sent.amend(UpstreamRefused("upstream answered 400: no")) is None
    assert send(conversation()).amend is None


def test_facts_of_the_models_used_here() -> None:
    """The tests above mean what they say as long as the catalogue says this."""
    assert ["budget", "adaptive", "either"] == [facts_for(m).thinking for m in (HAIKU, OPUS, SONNET)]


def test_a_schema_says_that_its_objects_are_closed() -> None:
    """Claude refuses it otherwise; what the schema says itself stays."""
    inner = {"type": "object", "additionalProperties": {"type": "string"}}
    schema = {"type": "object", "properties": {"a": {"anyOf": [{"type": "object"}, inner]}}}

    assert {
        "type": "object",
        "additionalProperties": False,
        "properties": {"a": {"anyOf": [{"type": "object", "additionalProperties": False}, inner]}},
    } == closed(schema)


def test_values_in_a_schema_are_no_schemas() -> None:
    """Whatever they look like; and a property may have any name."""
    schema = {"default": {"type": "object"}, "properties": {"default": {"type": "object"}}}

    assert {
        "default": {"type": "object"},
        "properties": {"default": {"type": "object", "additionalProperties": False}},
    } == closed(schema)


def test_a_bottomless_schema_is_refused_by_name() -> None:
    """A request cannot bring the gateway down."""
    schema: dict[str, Any] = {}
    for _ in range(600):
        schema = {"type": "object", "properties": {"a": schema}}

    with pytest.raises(BadRequest) as caught:
        send(conversation(output=OutputFormat(schema)), SONNET)

    assert "response_format" == caught.value.param
