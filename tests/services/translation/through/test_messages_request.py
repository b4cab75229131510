"""Messages requests to Claude: through, with the edits of wire §8.6 and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from services.errors import BadRequest, UpstreamRefused
from services.translation import fields
from services.translation.capabilities import facts_for
from services.translation.replies import Inline, Prepared
from services.translation.through import bedrock, messages
from tests.services.translation.messages_samples import request, said, target

OPUS = "anthropic--claude-4.8-opus"  # adaptive thinking only, no sampling
SONNET = "anthropic--claude-4.6-sonnet"  # thinking either way
OLDER = "anthropic--claude-4.5-sonnet"  # budgets only, no output_config
OLDEST = "anthropic--claude-3.5-sonnet"  # no thinking
HI = {"role": "user", "content": "hi"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}
SERVER = {"type": "web_search_20250305", "name": "web_search"}
RESULT = {"type": "tool_result", "tool_use_id": "i"}


def prepared(model: str = SONNET, *, stream: bool = False, **members: Any) -> Prepared:
    """The request for this model."""
    return messages.prepare(request(**members), target(model), stream=stream)


def sent(model: str = SONNET, **members: Any) -> dict[str, Any]:
    """What goes up."""
    return dict(json.loads(prepared(model, **members).body))


def lost(model: str = SONNET, **members: Any) -> tuple[str, ...]:
    """What is reported as dropped."""
    return prepared(model, **members).dropped


def sent_blocks(*blocks: Any, role: str = "user", **more: Any) -> Any:
    """What goes up of these blocks, which a word of the user's follows."""
    body = request(messages=[*said(*blocks, role=role), HI])
    first = json.loads(messages.prepare(body, target(**more), stream=False).body)["messages"][0]
    return None if first == HI else first["content"]


# --- what stays ---


def test_what_nobody_has_to_change_keeps_its_bytes() -> None:
    """Spaces, number forms, escapes and fields of the future, in messages, system and tools."""
    raw = {
        "max_tokens": b"9",
        "messages": b'[ {"role":"user", "content":[{"type":"text","text":"\\u00e9","new":{ "a":1.10 }}]} ]',
        "system": b'[{"type":"text" ,"text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}]',
        "tools": b'[{"name":"a","input_schema":{"const":1e2}, "type":"custom"}]',
        "thinking": b'{"type":"adaptive", "display":"omitted"}',
        "a_future_field": b'{ "x":[1.0] }',
    }
    body = b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in raw.items()) + b"}"
    out = fields.parse(messages.prepare(fields.parse(body), target(), stream=False).body)

    assert raw == {name: bytes(value) for name, value in out.items() if name != "anthropic_version"}


def test_only_faulty_messages_are_taken_apart() -> None:
    """In them, too, every member that may stay keeps its bytes."""
    kept = b'{"role":"user", "content":"a"}'
    call = b'{"type":"tool_use","id":"i","name":"n","input":{ "x":1.10 }}'
    faulty = b'{"role":"assistant","content":[{"type":"text","text":" "},' + call + b"]}"
    body = fields.parse(b'{"max_tokens":9,"messages":[' + kept + b"," + faulty + b"," + kept + b"]}")
    out = messages.prepare(body, target(), stream=False).body

    assert (2, 1) == (out.count(kept), out.count(call))
    assert b'"text":" "' not in out


def test_the_body_is_bedrocks() -> None:
    """Traps 25, 26: the path decides streaming, the version is there, model and stream are not."""
    whole, streamed = prepared(), prepared(stream=True)
    body = json.loads(whole.body)

    assert ("/invoke", "/invoke-with-response-stream") == (whole.path, streamed.path)
    assert (None, "bedrock-2023-05-31") == (whole.relay, body["anthropic_version"])
    assert not {"model", "stream"} & body.keys()
    assert not {"model", "stream"} & sent(stream=True).keys()


def test_the_bedrock_form_goes_the_same_way() -> None:
    """Only the answer is framed otherwise."""
    body = request(anthropic_version="bedrock-2023-05-31")

    assert (
        messages.prepare(body, target(), stream=True).body
        == bedrock.prepare(body, target(), stream=True).body
    )


def test_trap_27_fields_that_bedrock_refuses_are_named() -> None:
    """What Claude Code sends and Bedrock does not take; null says nothing."""
    members = {
        "metadata": {"user_id": "u"},
        "context_management": {},
        "service_tier": "auto",
        "mcp_servers": None,
    }

    assert ("metadata", "context_management", "service_tier") == lost(**members)
    assert not members.keys() & sent(**members).keys()


def test_trap_55_the_input_is_not_changed() -> None:
    """A second attempt reads the same body."""
    body = request(
        messages=[*said({"type": "text", "text": ""}), {"role": "system", "content": "s"}, HI],
        tools=[TOOL | {"strict": True}, SERVER],
        anthropic_beta=["effort-2025-11-24", "new"],
        thinking={"type": "enabled", "budget_tokens": 1},
        temperature=0.5,
    )
    before = {name: bytes(value) for name, value in body.items()}

    first, second = (messages.prepare(body, target(OLDER), stream=False) for _ in range(2))
    assert first.body == second.body
    assert before == {name: bytes(value) for name, value in body.items()}


# --- betas ---


def test_trap_28_betas_travel_in_the_body_filtered() -> None:
    """Known ones go up, some under another name; the others are named."""
    asked = ["claude-code-20250219", "prompt-caching-scope-2026-01-05", "advanced-tool-use-2025-11-20", "new"]

    expected = ["claude-code-20250219", "tool-search-tool-2025-10-19"]
    assert expected == sent(anthropic_beta=asked)["anthropic_beta"]
    assert ("prompt-caching-scope-2026-01-05", "new") == lost(anthropic_beta=asked)
    assert "anthropic_beta" not in sent(anthropic_beta=["new"])


def test_a_refused_beta_is_left_out_at_the_second_attempt() -> None:
    """Once, and only for that refusal."""
    first = prepared(anthropic_beta=["claude-code-20250219"], stream=True)
    assert first.amend is not None
    second = first.amend(UpstreamRefused("upstream answered 400: Invalid beta flag"))
    assert second is not None

    expected = {name: value for name, value in json.loads(first.body).items() if name != "anthropic_beta"}
    assert expected == json.loads(second.body)
    assert (first.path, ("anthropic_beta",), None) == (second.path, second.dropped, second.amend)
    assert second.relay is not None
    assert first.amend(UpstreamRefused("upstream answered 400: too long")) is None
    assert prepared().amend is None


def test_adaptive_thinking_is_given_up_where_the_model_misses_earlier_thoughts() -> None:
    """In a tool loop that another model began: what Bedrock says to that is not known."""
    first = prepared("anthropic--claude-4.8-opus", thinking={"type": "adaptive"})
    assert first.amend is not None
    second = first.amend(UpstreamRefused("400: must start with a thinking block (preceding the lastmost"))

    assert second is not None
    assert "thinking" not in json.loads(second.body)
    assert ("thinking",) == second.dropped


# --- content ---


def test_trap_30_system_messages_go_into_the_system_prompt() -> None:
    """Behind what is there; their place in the conversation is lost, their cache mark is not."""
    mark = {"type": "ephemeral"}
    sent_messages = [
        HI,
        {"role": "system", "content": "b"},
        {"role": "system", "content": [{"type": "text", "text": "c", "cache_control": mark}]},
    ]
    texts = [{"type": "text", "text": text} for text in "abc"]
    out = sent(system="a", messages=sent_messages)

    assert [texts[0], texts[1], texts[2] | {"cache_control": mark}] == out["system"]
    assert [HI] == out["messages"]
    assert texts[1:2] == sent(messages=sent_messages[:2])["system"]


@pytest.mark.parametrize("system", ["", " \n", [{"type": "text", "text": " "}], []])
def test_trap_31_an_empty_system_prompt_is_left_out(system: Any) -> None:
    """Claude refuses it."""
    assert not sent(system=system).get("system")


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u00a0", "\u2003"])
def test_trap_31_empty_text_is_left_out(text: str) -> None:
    """With its message, where nothing else is in that; in results too."""
    blank, word = {"type": "text", "text": text}, {"type": "text", "text": "a"}

    assert [word] == sent_blocks(blank, word)
    assert sent_blocks(blank) is None
    assert [HI] == sent(messages=[{"role": "assistant", "content": text}, HI])["messages"]
    assert [RESULT | {"content": [word]}] == sent_blocks(RESULT | {"content": [blank, word]})


def test_the_last_message_stays_even_if_it_is_empty() -> None:
    """Without it the conversation would be another; the upstream says what it thinks of it."""
    assert [HI, HI | {"content": []}] == sent(messages=[HI, HI | {"content": " "}])["messages"]


def test_trap_27_the_scope_of_cache_marks_goes_and_the_mark_stays() -> None:
    """In system, messages, results and tools."""
    scoped = {"cache_control": {"type": "ephemeral", "ttl": "1h", "scope": "global"}}
    plain = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    word = {"type": "text", "text": "a"}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}

    assert [word | plain, image | plain] == sent_blocks(word | scoped, image | scoped)
    assert [RESULT | plain | {"content": "x"}] == sent_blocks(RESULT | scoped | {"content": "x"})
    assert [RESULT | {"content": [word | plain]}] == sent_blocks(RESULT | {"content": [word | scoped]})
    assert [{"type": "new", "x": 1} | plain] == sent_blocks({"type": "new", "x": 1} | scoped)
    out = sent(system=[word | scoped], tools=[TOOL | scoped, TOOL])
    assert ([word | plain], [TOOL | plain, TOOL]) == (out["system"], out["tools"])


def test_words_written_with_escapes_are_found() -> None:
    """JSON lets every letter be escaped."""
    raw = (
        b'[{"role":"\\u0073ystem","content":"s"},{"role":"user","content":[{"type":"text","text":"a",'
        b'"cache_control":{"type":"ephemeral","\\u0073cope":"x"}}]}]'
    )
    body = request() | {"messages": fields.msgspec.Raw(raw)}
    out = json.loads(messages.prepare(body, target(), stream=False).body)

    assert [{"type": "text", "text": "s"}] == out["system"]
    assert {"type": "ephemeral"} == out["messages"][0]["content"][0]["cache_control"]


def test_references_to_tools_become_text() -> None:
    """Wire §5.2: Bedrock takes text, pictures, documents and search results in a tool's result."""
    reference = {"type": "tool_reference", "tool_name": "look"}

    assert [RESULT | {"content": [{"type": "text", "text": "look"}]}] == sent_blocks(
        RESULT | {"content": [reference]}
    )


@pytest.mark.parametrize(
    "foreign",
    [
        {"type": "thinking", "thinking": "t", "signature": "aicore.responses.S"},
        {"type": "thinking", "thinking": "", "signature": "aicore.gemini.S"},
        {"type": "thinking", "thinking": "t", "signature": ""},
        {"type": "thinking", "thinking": "t"},
        {"type": "thinking", "thinking": "t", "signature": None},
        {"type": "redacted_thinking", "data": "aicore.responses.D"},
    ],
)
def test_thinking_of_other_models_is_left_out(foreign: dict[str, Any]) -> None:
    """Claude verifies signatures; its own go back as they came (trap 29)."""
    word = {"type": "text", "text": "a"}
    own = [
        {"type": "thinking", "thinking": "t", "signature": "Eq"},
        {"type": "redacted_thinking", "data": "D"},
    ]

    assert [word] == sent_blocks(foreign, word, role="assistant")
    assert [*own, word] == sent_blocks(*own, word, role="assistant")
    assert [*own, word] == sent_blocks(*own, foreign, word, role="assistant")
    assert ("unsigned thinking",) == lost(messages=[*said(foreign, word, role="assistant"), HI])


@pytest.mark.parametrize("kind", ["image", "document"])
def test_fetched_urls_become_data(kind: str) -> None:
    """Also inside results and documents; one that was not fetched is refused."""
    remote = {"type": kind, "source": {"type": "url", "url": "https://x/a"}, "title": "t"}
    inline = {
        "type": kind,
        "source": {"type": "base64", "media_type": "image/png", "data": "AA"},
        "title": "t",
    }
    around = [
        {"type": "document", "source": {"type": "content", "content": [one]}} for one in (remote, inline)
    ]
    fetched = {"https://x/a": Inline("image/png", "AA")}

    assert [inline] == sent_blocks(remote, fetched=fetched)
    assert [around[1]] == sent_blocks(around[0], fetched=fetched)
    assert [RESULT | {"content": [inline]}] == sent_blocks(RESULT | {"content": [remote]}, fetched=fetched)
    with pytest.raises(BadRequest) as refused:
        sent_blocks(remote)
    assert "remote_media" == refused.value.code


def test_blocks_of_the_future_go_up() -> None:
    """Whatever is in them, also beside something at fault."""
    future = {"type": "hologram", "text": {"a": 1}, "data": [1], "content": 5, "signature": 7}
    media = [{"type": "image", "source": {"type": "file", "file_id": "f"}}, {"type": "image"}]
    found = {"type": "search_result", "source": "https://x", "title": "t", "content": []}
    blank = {"type": "text", "text": ""}

    assert [future, *media, found] == sent_blocks(future, blank, *media, found)
    assert [future, *media, found] == sent_blocks(future, *media, found)
    assert [{"text": "a"}] == sent_blocks({"text": "a"}, blank)


# --- tools ---


def test_trap_27_tools_keep_what_bedrock_takes_of_them() -> None:
    """Server tools and further members are named."""
    asked = [TOOL | {"type": "custom", "description": "d", "strict": True, "input_examples": []}, SERVER]

    assert [TOOL | {"type": "custom", "description": "d"}] == sent(tools=asked)["tools"]
    assert ("web_search_20250305", "tools.strict", "tools.input_examples") == lost(tools=asked)


def test_without_tools_the_choice_goes_too() -> None:
    """It would be refused alone."""
    out = prepared(tools=[SERVER], tool_choice={"type": "auto"})

    assert not {"tools", "tool_choice"} & json.loads(out.body).keys()
    assert ("web_search_20250305", "tool_choice") == out.dropped
    assert ("web_search_20250305",) == lost(tools=[SERVER])
    assert [] == sent(tools=[])["tools"]


def test_a_choice_of_a_tool_that_is_gone_is_refused() -> None:
    """The answer would be another than the one that was asked for."""
    with pytest.raises(BadRequest) as refused:
        sent(tools=[TOOL, SERVER], tool_choice={"type": "tool", "name": "web_search"})
    assert "tool_choice.name" == refused.value.param
    assert "tool_choice" in sent(tools=[TOOL, SERVER], tool_choice={"type": "tool", "name": "look"})


# --- thinking ---


ENABLED = {"type": "enabled", "budget_tokens": 4_096}
ADAPTIVE = {"type": "adaptive"}


@pytest.mark.parametrize(
    ("model", "wish", "effort", "thinking", "config"),
    [
        (SONNET, ENABLED, None, ENABLED, None),
        (SONNET, ADAPTIVE, None, ADAPTIVE, None),
        (SONNET, ADAPTIVE, "high", ADAPTIVE, {"effort": "high"}),
        (SONNET, ENABLED, "low", ENABLED, {"effort": "low"}),
        (SONNET, None, "xhigh", None, {"effort": "high"}),
        (SONNET, ADAPTIVE, "ultra", ADAPTIVE, {"effort": "ultra"}),
        (OPUS, ENABLED, None, ADAPTIVE, {"effort": "high"}),
        (OPUS, ENABLED | {"display": "omitted"}, "low", ADAPTIVE | {"display": "omitted"}, {"effort": "low"}),
        (OPUS, {"type": "disabled"}, None, {"type": "disabled"}, None),
        (OPUS, {"type": "between_tools"}, None, {"type": "between_tools"}, None),
        (OLDER, ADAPTIVE, None, {"type": "enabled", "budget_tokens": 2_048}, None),
        (OLDER, ADAPTIVE, "high", ENABLED, None),
        (
            OLDER,
            {"type": "enabled", "budget_tokens": 5},
            None,
            {"type": "enabled", "budget_tokens": 1_024},
            None,
        ),
        (
            OLDER,
            {"type": "enabled", "budget_tokens": 9_000},
            None,
            {"type": "enabled", "budget_tokens": 4_500},
            None,
        ),
        (OLDEST, {"type": "disabled"}, None, None, None),
    ],
)
def test_trap_29_thinking_is_asked_for_in_the_models_way(
    model: str, wish: Any, effort: str | None, thinking: Any, config: Any
) -> None:
    """Budgets and efforts into each other where the model takes only one, budgets within limits."""
    out = sent(model, thinking=wish, output_config={"effort": effort} if effort else None)

    assert (thinking, config) == (out.get("thinking"), out.get("output_config"))


@pytest.mark.parametrize(
    ("model", "members"),
    [
        (OLDEST, {"thinking": ENABLED}),
        (OLDER, {"thinking": ENABLED, "max_tokens": 1_000}),
        (SONNET, {"thinking": ADAPTIVE, "tools": [TOOL], "tool_choice": {"type": "any"}}),
        (SONNET, {"thinking": ENABLED, "tools": [TOOL], "tool_choice": {"type": "tool", "name": "look"}}),
    ],
)
def test_thinking_that_cannot_be_is_left_out_by_name(model: str, members: dict[str, Any]) -> None:
    """No such model, no room for it, or a tool that must be called."""
    assert "thinking" not in sent(model, **members)
    assert ("thinking",) == lost(model, **members)


def test_a_budget_needs_the_thoughts_of_the_loop_it_goes_on_with() -> None:
    """Where another model began to call tools, Claude refuses to think on by budget."""
    call = {"type": "tool_use", "id": "i", "name": "look", "input": {}}
    thought = {"type": "thinking", "thinking": "t", "signature": "aicore.responses.S"}
    loop = [HI, *said(thought, call, role="assistant"), *said(RESULT | {"content": "x"})]
    own = [HI, *said(thought | {"signature": "Eq"}, call, role="assistant"), *said(RESULT | {"content": "x"})]

    assert ("unsigned thinking", "thinking") == lost(OLDER, messages=loop, thinking=ENABLED)
    assert ENABLED == sent(OLDER, messages=own, thinking=ENABLED)["thinking"]
    assert ADAPTIVE == sent(OPUS, messages=loop, thinking=ADAPTIVE)["thinking"]


def test_trap_35_an_assistant_at_the_end_is_refused_where_the_model_does_not_go_on() -> None:
    """Others continue it."""
    prefill = [HI, {"role": "assistant", "content": "{"}]

    with pytest.raises(BadRequest) as refused:
        sent(OPUS, messages=prefill)
    assert "messages" == refused.value.param
    assert prefill == sent(OLDER, messages=prefill)["messages"]


# --- sampling, limits, format, defaults ---


@pytest.mark.parametrize(
    ("model", "members", "kept", "dropped"),
    [
        (SONNET, {"temperature": 0.5, "top_k": 4}, {"temperature": 0.5, "top_k": 4}, ()),
        (SONNET, {"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5}, ("top_p",)),
        (SONNET, {"temperature": 1.5}, {"temperature": 1}, ()),
        (OPUS, {"temperature": 0.5, "top_p": 0.5, "top_k": 4}, {}, ("temperature", "top_p", "top_k")),
        (SONNET, {"temperature": 1, "thinking": ADAPTIVE}, {}, ()),
        (
            SONNET,
            {"temperature": 0.5, "top_p": 0.5, "top_k": 4, "thinking": ADAPTIVE},
            {},
            ("temperature", "top_p", "top_k"),
        ),
        (SONNET, {"top_p": 0.95, "thinking": ADAPTIVE}, {"top_p": 0.95}, ()),
        (SONNET, {"top_k": 4, "thinking": {"type": "disabled"}}, {"top_k": 4}, ()),
    ],
)
def test_sampling_as_the_model_takes_it(
    model: str, members: dict[str, Any], kept: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    """Wire §5.2; what is left out is named."""
    out = prepared(model, **members)
    body = json.loads(out.body)

    assert kept == {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body}
    assert set(dropped) == set(out.dropped)


def test_trap_26_there_is_always_a_limit() -> None:
    """The caller's, else one with room for the thinking."""
    assert 9_000 == sent()["max_tokens"]
    assert 8_192 == sent(max_tokens=...)["max_tokens"]
    assert 8_192 + 4_096 == sent(max_tokens=None, thinking=ENABLED)["max_tokens"]


def test_the_answers_schema_goes_up_where_the_model_keeps_to_it() -> None:
    """Under its present name, also from its older one; elsewhere it is refused, not forgotten."""
    wanted = {"type": "json_schema", "schema": {"type": "object"}}

    assert {"format": wanted} == sent(output_format=wanted)["output_config"]
    assert {"format": wanted, "effort": "low"} == sent(output_config={"format": wanted, "effort": "low"})[
        "output_config"
    ]
    assert "output_config" not in sent(OLDER, output_config={"effort": "low", "format": None})
    for name, members in (
        ("output_format", {"output_format": wanted}),
        ("output_config.format", {"output_config": {"format": wanted}}),
    ):
        with pytest.raises(BadRequest) as refused:
            sent(OLDER, **members)
        assert name == refused.value.param


def test_defaults_of_the_configuration() -> None:
    """In the names of chat completions; the caller's word beats them."""
    defaults = {
        "max_completion_tokens": 70,
        "temperature": 0.5,
        "seed": 1,
        "reasoning_effort": "none",
        "stop": "X",
    }
    body = request(max_tokens=..., temperature=0.2)
    out = json.loads(messages.prepare(body, target(defaults=defaults), stream=False).body)

    assert (70, 0.2, {"type": "disabled"}) == (out["max_tokens"], out["temperature"], out["thinking"])
    assert ["X"] == out["stop_sequences"]
    assert "seed" not in out


@pytest.mark.parametrize(
    ("model", "thinking", "config"),
    [
        (SONNET, ADAPTIVE, {"effort": "low"}),
        (OLDER, {"type": "enabled", "budget_tokens": 1_024}, None),
    ],
)
def test_a_default_effort_is_thinking(model: str, thinking: Any, config: Any) -> None:
    """For callers that say nothing of it."""
    to = target(model, defaults={"reasoning_effort": "minimal"})
    out = json.loads(messages.prepare(request(), to, stream=False).body)
    own = json.loads(messages.prepare(request(thinking={"type": "disabled"}), to, stream=False).body)

    assert (thinking, config) == (out["thinking"], out.get("output_config"))
    assert {"type": "disabled"} == own["thinking"]


def test_answers_that_would_be_the_same_again() -> None:
    """Only at temperature 0."""
    assert (True, False) == (prepared(temperature=0).deterministic, prepared().deterministic)


FIRST = "messages[0].content[0]"
REFERENCE = {"type": "tool_reference"}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": ...}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "system", "content": "a"}]}, "messages"),
        ({"messages": said({"type": "image", "source": {"type": "url"}})}, f"{FIRST}.source.url"),
        (
            {"messages": said(RESULT | {"content": [{"type": "tool_reference"}]})},
            f"{FIRST}.content[0].tool_name",
        ),
        ({"messages": said(RESULT | {"content": [1]})}, f"{FIRST}.content[0]"),
        (
            {"messages": said({"type": "text", "text": 1}, {"type": "text", "text": " "}, 1)},
            "messages[0].content[2]",
        ),
        ({"system": 5}, "system"),
        ({"tools": {}}, "tools"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": 5}, "thinking"),
        ({"output_config": {"effort": 5}}, "output_config.effort"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"anthropic_beta": "b"}, "anthropic_beta"),
    ],
)
def test_what_cannot_be_read_is_named(members: dict[str, Any], param: str) -> None:
    """Before anything goes up."""
    with pytest.raises(BadRequest) as refused:
        sent(**members)

    assert param == refused.value.param


def test_text_that_is_no_utf_8_is_named() -> None:
    """Nobody could pass it on."""
    body = request() | {"messages": Raw(b'[{"role":"user","content":[{"type":"text","text":"\xff"}]}]')}

    with pytest.raises(BadRequest) as refused:
        messages.prepare(body, target(SONNET), stream=False)

    assert FIRST == refused.value.param


def test_the_facts_are_those_that_the_tests_speak_of() -> None:
    """One model for each way of thinking."""
    assert ["adaptive", "either", "budget", ""] == [
        facts_for(model).thinking for model in (OPUS, SONNET, OLDER, OLDEST)
    ]
