"""Claude's `invoke`: what it refuses and in which words, and how it answers (wire §4.3, §5.2)."""

from __future__ import annotations

from typing import Any

import pytest

from perf.simulator.executables import checks
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.claude_body import INVALID_BETAS
from tests.perf.simulator.executables.bedrock_calls import (
    NOVA,
    OPUS_46,
    OPUS_48,
    SONNET_45,
    SONNET_46,
    assistant,
    call,
    claude,
    claude_events,
    refusal,
    stream,
    user,
    whole,
)

TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
OTHER = {**TOOL, "name": "clock"}
THINK = {"type": "enabled", "budget_tokens": 2048}
ADAPTIVE = {"type": "adaptive"}
PNG = "iVBORw0KGgo="
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}
HELLO = {"type": "text", "text": "hello"}
NOTE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
MARK = {"cache_control": {"type": "ephemeral"}}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
FORMAT = {"format": {"type": "json_schema", "schema": SCHEMA}}


def image(**source: str) -> dict[str, Any]:
    """An image block."""
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG, **source}}


def said(*blocks: Any) -> dict[str, Any]:
    """A body with one user message of these blocks."""
    return claude([user(*blocks)])


LOOP = [user(HELLO), assistant(USE), user(RESULT)]

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    # the outermost members
    (SONNET_45, claude(anthropic_version=None), "anthropic_version: Field required"),
    (SONNET_45, claude(anthropic_version="2023-06-01"), "Invalid API version"),
    (SONNET_45, claude(max_tokens=None), "max_tokens: Field required"),
    (SONNET_45, claude(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
    (SONNET_45, claude(max_tokens=64_001), "max_tokens: 64001 > 64000, which is the maximum allowed number"),
    (SONNET_45, claude([]), "messages: List should have at least 1 item"),
    (SONNET_45, claude(model="claude-sonnet-4-5"), "model: Extra inputs are not permitted"),
    (SONNET_45, claude(stream=True), "stream: Extra inputs are not permitted"),
    (SONNET_45, claude(context_management={}), "context_management: Extra inputs are not permitted"),
    (SONNET_45, claude(service_tier="auto"), "service_tier: Extra inputs are not permitted"),
    (SONNET_45, claude(cache_control={"type": "ephemeral"}), "cache_control: Extra inputs are not permitted"),
    (SONNET_45, claude(metadata={"user_id": "x"}), "role 'system' is not supported on this model"),
    (SONNET_45, claude(stop_sequences=[" "]), "stop_sequences: each stop sequence must contain"),
    # cache marks
    (
        SONNET_45,
        claude(system=[{**HELLO, "cache_control": {"type": "ephemeral", "scope": "global"}}]),
        "system.0.text.cache_control.ephemeral.scope: Extra inputs are not permitted",
    ),
    (
        SONNET_45,
        claude(tools=[{**TOOL, "cache_control": {"type": "ephemeral", "scope": "global"}}]),
        "tools.0.custom.cache_control.ephemeral.scope: Extra inputs are not permitted",
    ),
    (
        SONNET_45,
        said({**HELLO, "cache_control": {"type": "ephemeral", "ttl": "2h"}}),
        "messages.0.content.0.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
    ),
    (
        SONNET_45,
        claude([user(*[{**HELLO, **MARK}] * 3)], system=[{**HELLO, **MARK}], tools=[{**TOOL, **MARK}]),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    # messages and blocks
    (
        SONNET_45,
        claude([{"role": "system", "content": "x"}]),
        "role 'system' is not supported on this model",
    ),
    (SONNET_45, claude([{"role": "tool", "content": "x"}]), "messages.0.role: Input should be 'user' or"),
    (SONNET_45, claude([assistant(HELLO)]), 'messages: first message must use the "user" role'),
    (SONNET_45, claude(""), "messages.0: all messages must have non-empty content"),
    (SONNET_45, claude([user()]), "messages.0: all messages must have non-empty content"),
    (SONNET_45, claude(" \n"), "messages: text content blocks must contain non-whitespace text"),
    (SONNET_45, said({"type": "text", "text": ""}), "messages: text content blocks must contain"),
    (
        SONNET_45,
        claude(system=[{"type": "text", "text": " "}]),
        "system: text content blocks must contain non-whitespace text",
    ),
    (SONNET_45, said({"type": "image_url", "image_url": {}}), "messages.0.content.0: Input tag 'image_url'"),
    (SONNET_45, said({"text": "x"}), "messages.0.content.0.type: Field required"),
    (
        SONNET_45,
        said({**HELLO, "detail": 1}),
        "messages.0.content.0.text.detail: Extra inputs are not permitted",
    ),
    (
        SONNET_45,
        said(image(media_type="image/bmp")),
        "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg'",
    ),
    (SONNET_45, said(image(data="%%")), "messages.0.content.0.image.source.base64.data: invalid base64 data"),
    (
        SONNET_45,
        said({"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}),
        "messages.0.content.0.image.source: Input tag 'url'",
    ),
    # tool use and its results
    (SONNET_45, claude(LOOP[:2]), "messages.1: `tool_use` ids were found without `tool_result` blocks immed"),
    (SONNET_45, claude([*LOOP[:2], user(HELLO)]), "messages.1: `tool_use` ids were found without"),
    (SONNET_45, claude([*LOOP[:2], user(HELLO, RESULT)]), "messages.1: `tool_use` ids were found without"),
    (SONNET_45, said(RESULT), "messages.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
    (SONNET_45, claude([*LOOP[:2], user(RESULT, RESULT)]), "messages.2: each tool_use must have a single"),
    (SONNET_45, claude([*LOOP, assistant(USE), user(RESULT)]), "messages.3: `tool_use` ids must be unique"),
    (
        SONNET_45,
        claude([user(HELLO), assistant({**USE, "id": "a.b"}), user(RESULT)]),
        "messages.1.content.0.tool_use.id: String should match pattern",
    ),
    (
        SONNET_45,
        claude(
            [*LOOP[:2], user({**RESULT, "content": [{"type": "tool_reference", "tool_name": "weather"}]})]
        ),
        "messages.2.content.0.tool_result.content.0: Input tag 'tool_reference'",
    ),
    # tools
    (
        SONNET_45,
        claude(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        "tools.0: Input tag 'web_search_20250305' found using 'type' does not match any of the expected",
    ),
    (
        SONNET_45,
        claude(tools=[{**TOOL, "input_examples": []}]),
        "tools.0.custom.input_examples: Extra inputs",
    ),
    (SONNET_45, claude(tools=[{"name": "f"}]), "tools.0.custom.input_schema: Field required"),
    (
        SONNET_45,
        claude(tools=[{"name": "f", "input_schema": {}}]),
        "tools.0.custom.input_schema.type: Field required",
    ),
    (SONNET_45, claude(tools=[TOOL, TOOL]), "tools: Tool names must be unique."),
    (
        SONNET_45,
        claude(tools=[{**TOOL, "name": "a b"}]),
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    (
        SONNET_45,
        claude(tool_choice={"type": "auto"}),
        "tool_choice: tool_choice may only be specified while providing tools",
    ),
    (
        SONNET_45,
        claude(tools=[TOOL], tool_choice={"type": "tool", "name": "f"}),
        "Tool 'f' not found in provided tools",
    ),
    # thinking
    (SONNET_45, claude(thinking=ADAPTIVE), "adaptive thinking is not supported on this model"),
    (OPUS_48, claude(thinking=THINK), '"thinking.type.enabled" is not supported for this model.'),
    (
        SONNET_45,
        claude(thinking={"type": "enabled", "budget_tokens": 1023}),
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    (
        SONNET_45,
        claude(thinking=THINK, max_tokens=2048),
        "`max_tokens` must be greater than `thinking.budget_tokens`",
    ),
    (SONNET_45, claude(thinking=THINK, temperature=0.5), "`temperature` may only be set to 1 when thinking"),
    (SONNET_45, claude(thinking=THINK, top_p=0.5), "`top_p` must be greater than or equal to 0.95"),
    (SONNET_45, claude(thinking=THINK, top_k=5), "`top_k` must be unset when thinking is enabled."),
    (
        SONNET_45,
        claude(thinking=THINK, tools=[TOOL], tool_choice={"type": "any"}),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    (
        SONNET_45,
        claude([user(HELLO), assistant({"type": "thinking", "thinking": "a", "signature": "b"}, HELLO)]),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
    (
        SONNET_45,
        claude([user(HELLO), assistant({"type": "redacted_thinking", "data": "b"}, HELLO)]),
        "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
    ),
    (
        SONNET_45,
        claude(LOOP, thinking=THINK),
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`",
    ),
    (
        SONNET_45,
        claude([user(HELLO), assistant(HELLO)], thinking=THINK),
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`",
    ),
    # sampling
    (OPUS_48, claude(temperature=1), "`temperature` is deprecated for this model."),
    (OPUS_48, claude(top_p=1), "`top_p` is deprecated for this model."),
    (OPUS_48, claude(top_k=1), "`top_k` is deprecated for this model."),
    (
        SONNET_45,
        claude(temperature=1, top_p=1),
        "`temperature` and `top_p` cannot both be specified for this model.",
    ),
    (SONNET_45, claude(temperature=1.5), "temperature: range: 0..1"),
    # betas, prefill, output_config, length
    *((SONNET_45, claude(anthropic_beta=[beta]), "invalid beta flag") for beta in sorted(INVALID_BETAS)),
    (
        OPUS_46,
        claude([user(HELLO), assistant(HELLO)]),
        "This model does not support assistant message prefill.",
    ),
    (
        SONNET_45,
        claude([user(HELLO), assistant({"type": "text", "text": "a "})]),
        "messages: final assistant content cannot end with trailing whitespace",
    ),
    (SONNET_45, claude(output_config={"effort": "low"}), "output_config: Extra inputs are not permitted"),
    (SONNET_46, claude(output_config={"effort": "minimal"}), "output_config.effort: Input should be 'low'"),
    (
        SONNET_46,
        claude(output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}}),
        "output_config.format.json_schema.schema: For 'object' type, 'additionalProperties' must be",
    ),
    (SONNET_45, claude("x" * 800_100), "Input is too long for requested model."),
]

TAKEN: list[tuple[str, dict[str, Any]]] = [
    (SONNET_45, claude(system="Be brief.", temperature=0.3, top_k=5, stop_sequences=["END"])),
    (SONNET_45, claude(system=[{**HELLO, "cache_control": {"type": "ephemeral", "ttl": "1h"}}])),
    (SONNET_45, said(HELLO, image())),
    (SONNET_45, said(NOTE)),
    (SONNET_45, claude(LOOP, tools=[{**TOOL, "type": "custom", "description": ""}])),
    (SONNET_45, claude([*LOOP[:2], user({**RESULT, "is_error": True}), user(HELLO)])),
    (SONNET_45, claude([user(HELLO), user(HELLO), assistant(HELLO)])),
    (SONNET_45, claude([user(HELLO), {"role": "assistant", "content": ""}])),
    (SONNET_45, claude(anthropic_beta=["interleaved-thinking-2025-05-14", "claude-code-20250219"])),
    (SONNET_45, claude("x" * 800_100, anthropic_beta=["context-1m-2025-08-07"])),
    (SONNET_45, claude(thinking=THINK, temperature=1)),
    (SONNET_45, claude(thinking={"type": "disabled"}, temperature=0.5)),
    (SONNET_46, claude(thinking=THINK)),
    (SONNET_46, claude([user(HELLO), assistant(HELLO)])),
    (OPUS_48, claude(thinking=ADAPTIVE, output_config={"effort": "max"})),
]


@pytest.mark.parametrize(("model", "body", "text"), REFUSED, ids=[text[:60] for _, _, text in REFUSED])
@pytest.mark.parametrize("subpath", ["invoke", "invoke-with-response-stream"])
def test_a_rule_is_enforced(subpath: str, model: str, body: dict[str, Any], text: str) -> None:
    """400 with the words of the rule, before a stream has begun."""
    assert text in refusal(subpath, body, model)


@pytest.mark.parametrize(("model", "body"), TAKEN)
def test_what_is_allowed_is_answered(model: str, body: dict[str, Any]) -> None:
    """The rules refuse no more than they say."""
    assert "" == refusal("invoke", body, model)


def test_a_body_that_is_no_json_is_refused() -> None:
    """In Bedrock's usual words."""
    with pytest.raises(Invalid, match="Malformed input request: "):
        checks.read(b'{"max_tokens": ')


def test_nova_is_not_invoked() -> None:
    """Converse only (wire §5.3)."""
    assert "invoke operation is not supported" in refusal("invoke", claude(), NOVA)


# answers


def test_an_answer_is_an_anthropic_message() -> None:
    """With Bedrock's ids and the vendor's name of the model."""
    message = whole("invoke", claude(), SONNET_45)

    assert message["id"].startswith("msg_bdrk_01")
    assert ("message", "assistant", "claude-sonnet-4-5-20250929") == (
        message["type"], message["role"], message["model"]
    )  # fmt: skip
    assert [{"type": "text", "text": "hello there"}] == message["content"]
    assert ("end_turn", None) == (message["stop_reason"], message["stop_sequence"])
    assert {
        "input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
        "cache_creation",
    } == set(message["usage"])  # fmt: skip


def test_the_pace_decides_the_length() -> None:
    """Tokens of filler, counted in the usage."""
    message = whole("invoke", claude("go on"), SONNET_45, answer_tokens=9)

    assert 9 == message["usage"]["output_tokens"] == len(message["content"][0]["text"].split())


@pytest.mark.parametrize(
    ("fields", "text", "stop"),
    [
        ({"max_tokens": 2}, "a b", ("max_tokens", None)),
        ({"stop_sequences": ["d", "c"]}, "a b ", ("stop_sequence", "c")),
        ({"stop_sequences": ["z"]}, "a b c d", ("end_turn", None)),
    ],
)
def test_an_answer_may_stop_early(fields: dict[str, Any], text: str, stop: Any) -> None:
    """At the limit, or before a stop sequence, which is named."""
    message = whole("invoke", claude("echo: a b c d", **fields), SONNET_45)

    assert text == message["content"][0]["text"]
    assert stop == (message["stop_reason"], message["stop_sequence"])


def test_a_model_may_decline() -> None:
    """A refusal has no content, but details (wire §6.3)."""
    message = whole("invoke", claude("[[refuse]]"), SONNET_45)

    assert ("refusal", [], "refusal") == (
        message["stop_reason"],
        message["content"],
        message["stop_details"]["type"],
    )


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        (None, ["text", "tool_use", "tool_use"]),
        ({"type": "auto", "disable_parallel_tool_use": True}, ["text", "tool_use"]),
        ({"type": "any"}, ["tool_use", "tool_use"]),
        ({"type": "tool", "name": "clock"}, ["tool_use"]),
        ({"type": "none"}, ["text"]),
    ],
)
def test_tools_are_used(choice: Any, kinds: list[str]) -> None:
    """Several at once unless that is switched off; with words before them unless they are forced."""
    body = claude("weather and clock", tools=[TOOL, OTHER], tool_choice=choice)
    message = whole("invoke", body, SONNET_45)

    assert kinds == [block["type"] for block in message["content"]]
    assert ("tool_use" in kinds) == (message["stop_reason"] == "tool_use")
    assert all(b["id"].startswith("toolu_bdrk_01") for b in message["content"] if b["type"] == "tool_use")


def test_a_tool_loop_ends() -> None:
    """The results are answered in words, although the tool's name is still there."""
    message = whole(
        "invoke", claude([user({"type": "text", "text": "weather"}), *LOOP[1:]], tools=[TOOL]), SONNET_45
    )

    assert ("end_turn", "The tool answered: sunny") == (message["stop_reason"], message["content"][0]["text"])


@pytest.mark.parametrize("said", ["echo: hi", "echo: hi [[redacted]]"])
def test_thoughts_come_first_and_may_come_back(said: str) -> None:
    """Their signature, or the sealed data, is taken again with thinking on, and by any Claude."""
    thinking = claude(said + " weather", thinking=THINK, tools=[TOOL])
    message = whole("invoke", thinking, SONNET_45)
    use = message["content"][-1]
    results = user({**RESULT, "tool_use_id": use["id"]})
    messages = [*thinking["messages"], assistant(*message["content"]), results]
    again = {**thinking, "messages": messages}

    assert message["content"][0]["type"] in ("thinking", "redacted_thinking")
    assert "tool_use" == use["type"]
    assert "" == refusal("invoke", again, SONNET_45) == refusal("invoke", again, SONNET_46)


def test_a_changed_thought_is_refused() -> None:
    """The signature belongs to one text."""
    first = whole("invoke", claude(thinking=THINK), SONNET_45)["content"][0]
    changed = claude([user(HELLO), assistant({**first, "thinking": "other"}, HELLO), user(HELLO)])

    assert "Invalid `signature` in `thinking` block" in refusal("invoke", changed, SONNET_45)


def test_thoughts_count_as_output() -> None:
    """And harder thinking makes more of them."""
    spent = [
        whole("invoke", claude(thinking=ADAPTIVE, output_config={"effort": effort}), OPUS_48)["usage"]
        for effort in ("low", "max")
    ]

    assert 2 < spent[0]["output_tokens"] < spent[1]["output_tokens"]


def test_a_schema_is_satisfied() -> None:
    """`output_config.format` on models that have it."""
    message = whole("invoke", claude(output_config=FORMAT), SONNET_46)

    assert '{"n": 1}' == message["content"][0]["text"]


def test_cache_marks_are_charged() -> None:
    """Written in the first turn; read in the next, where a later mark writes what is new."""
    system = [{"type": "text", "text": "s" * 4000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = whole("invoke", claude(system=system), SONNET_45)["usage"]
    later = [user(HELLO), assistant(HELLO), user({**HELLO, **MARK})]
    second = whole("invoke", claude(later, system=system), SONNET_45)["usage"]

    assert 1001 == first["cache_creation_input_tokens"] == second["cache_read_input_tokens"]
    assert {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 1001} == first["cache_creation"]
    assert (0, 9) == (first["cache_read_input_tokens"], second["cache_creation_input_tokens"])
    assert 3 == second["input_tokens"]


# streams


def events(body: Any, model: str = SONNET_45, **pace: Any) -> list[Any]:
    """The events of an answer."""
    return claude_events(stream("invoke-with-response-stream", body, model, **pace))


def content(answer: list[Any]) -> list[Any]:
    """What a client puts together from the events."""
    blocks: list[Any] = []
    for event in answer:
        if event["type"] == "content_block_start":
            assert len(blocks) == event["index"]
            blocks.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            kind = {"input_json_delta": "partial_json"}.get(
                delta["type"], delta["type"].removesuffix("_delta")
            )
            name = "input" if kind == "partial_json" else kind
            blocks[-1][name] = (blocks[-1].get(name) or "") + delta[kind]
    return blocks


def test_a_stream_says_the_same_as_the_whole() -> None:
    """Thoughts, text and calls; only ids differ, and a call's input is text."""
    body = claude("weather and clock", thinking=THINK, tools=[TOOL, OTHER])
    streamed, unary = content(events(body)), whole("invoke", body, SONNET_45)["content"]

    assert ["thinking", "text", "tool_use", "tool_use"] == [block["type"] for block in streamed]
    assert unary[:2] == streamed[:2]
    assert ['{"city": "simulated"}'] * 2 == [block["input"] for block in streamed[2:]]


def test_a_stream_has_the_order_of_anthropic() -> None:
    """And ends with Bedrock's figures, without `[DONE]`."""
    answer = events(claude("echo: a b"))

    assert [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ] == [event["type"] for event in answer]  # fmt: skip
    assert 2 == answer[-2]["usage"]["output_tokens"]
    assert {
        "inputTokenCount", "outputTokenCount", "invocationLatency", "firstByteLatency",
        "cacheReadInputTokenCount", "cacheWriteInputTokenCount",
    } == set(answer[-1]["amazon-bedrock-invocationMetrics"])  # fmt: skip


def test_a_sealed_thought_streams_in_its_start() -> None:
    """`redacted_thinking` has no deltas."""
    answer = events(claude("[[redacted]]", thinking=THINK))

    assert ["content_block_start", "content_block_stop"] == [event["type"] for event in answer[1:3]]
    assert "redacted_thinking" == answer[1]["content_block"]["type"]


def test_omitted_thoughts_leave_a_signature() -> None:
    """`display: omitted`."""
    answer = content(events(claude(thinking={**ADAPTIVE, "display": "omitted"}), OPUS_48))

    assert "" == answer[0]["thinking"]
    assert answer[0]["signature"]


def test_a_refusal_streams_no_content() -> None:
    """Only the start, the reason and the end."""
    answer = events(claude("[[refuse]]"))

    assert ["message_start", "message_delta", "message_stop"] == [event["type"] for event in answer]
    assert "refusal" == answer[1]["delta"]["stop_reason"]


def test_frames_keep_the_pace() -> None:
    """A silence before each token, none in the opening."""
    answer = call("invoke-with-response-stream", claude("echo: a b"), SONNET_45, chunk_interval_ms=500)

    assert [bytes, bytes, float, bytes, float, bytes] == [type(step) for step in answer.frames][:6]  # type: ignore[union-attr]
