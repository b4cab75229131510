"""Converse: what it refuses and in which words, and its answers in JSON and in Python's notation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perf.simulator.answers import Reply
from tests.perf.simulator.executables.bedrock_calls import (
    MICRO,
    NOVA,
    OPUS_46,
    OPUS_48,
    SONNET_45,
    SONNET_46,
    TITAN,
    assistant,
    call,
    converse_events,
    payloads,
    refusal,
    stream,
    talk,
    user,
    whole,
)

SPEC = {
    "name": "weather",
    "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
TOOLS = {"tools": [{"toolSpec": SPEC}, {"toolSpec": {**SPEC, "name": "clock"}}]}
USE = {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "sunny"}]}}
HELLO = {"text": "hello"}
POINT = {"cachePoint": {"type": "default"}}
LOOP = [user(HELLO), assistant(USE), user(RESULT)]
THINK = {"thinking": {"type": "enabled", "budget_tokens": 2048}}


def image(format_: str = "png", **source: str) -> dict[str, Any]:
    """An image block."""
    return {"image": {"format": format_, "source": source or {"bytes": "iVBORw0KGgo="}}}


def document(name: str = "a b-[1] (2)", format_: str = "pdf") -> dict[str, Any]:
    """A document block."""
    return {"document": {"format": format_, "name": name, "source": {"bytes": "JVBERi0="}}}


def more(**fields: Any) -> dict[str, Any]:
    """A body with additional fields for the model."""
    return talk(additionalModelRequestFields=fields)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (NOVA, {}, "messages: Field required"),
    (NOVA, talk([]), "messages: List should have at least 1 item"),
    (NOVA, talk(modelId="x"), "modelId: Extra inputs are not permitted"),
    (NOVA, talk(tools=[]), "tools: Extra inputs are not permitted"),
    (NOVA, talk([assistant(HELLO), user(HELLO)]), "A conversation must start with a user message."),
    (
        NOVA,
        talk([user(HELLO), user(HELLO)]),
        "A conversation must alternate between user and assistant roles.",
    ),
    (NOVA, talk([{"role": "system", "content": [HELLO]}]), "messages.0.role: Input should be 'user' or"),
    (NOVA, talk([{"role": "user", "content": "hello"}]), "messages.0.content: Input should be a valid list"),
    (NOVA, talk([user()]), "The content field in the Message object at messages.0 is empty."),
    (NOVA, talk(" "), "The text field in the ContentBlock object at messages.0.content.0 is blank."),
    (
        NOVA,
        talk(system=[{"text": ""}]),
        "The text field in the SystemContentBlock object at system.0 is blank.",
    ),
    (NOVA, talk([user({"type": "text", "text": "x"})]), "messages.0.content.0: exactly one of text, image,"),
    (NOVA, talk([user({"video": {}})]), "messages.0.content.0.video: Extra inputs are not permitted"),
    (NOVA, talk([user(USE)]), "messages.0.content.0: toolUse is not allowed in a message of the role user"),
    # images and documents
    (
        NOVA,
        talk([user(image("bmp"))]),
        "messages.0.content.0.image.format: Input should be 'png', 'jpeg', 'gif'",
    ),
    (NOVA, talk([user(image(bytes="%"))]), "image.source.bytes: invalid base64 data"),
    (
        NOVA,
        talk([user(image(url="https://example.org"))]),
        "image.source.url: Extra inputs are not permitted",
    ),
    (MICRO, talk([user(HELLO, image())]), "This model doesn't support the image content block"),
    (NOVA, talk([user(HELLO, document("a.pdf"))]), "The document file name can only contain alphanumeric"),
    (NOVA, talk([user(HELLO, document("a  b"))]), "The document file name can only contain alphanumeric"),
    (NOVA, talk([user(HELLO, document(format_="exe"))]), "document.format: Input should be 'pdf'"),
    (NOVA, talk([user(document())]), "messages.0: a message with a document must also have a text"),
    # tools
    (
        NOVA,
        talk(LOOP),
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
    ),
    (
        NOVA,
        talk(LOOP[:2], toolConfig=TOOLS),
        "Expected toolResult blocks at messages.2.content for the following",
    ),
    (
        NOVA,
        talk([*LOOP[:2], user(HELLO)], toolConfig=TOOLS),
        "Expected toolResult blocks at messages.2.content",
    ),
    (
        NOVA,
        talk([user(RESULT)], toolConfig=TOOLS),
        "The number of toolResult blocks at messages.0.content exceeds",
    ),
    (NOVA, talk(toolConfig={"tools": []}), "toolConfig.tools: List should have at least 1 item"),
    (NOVA, talk(toolConfig={"tools": [POINT]}), "toolConfig.tools: at least one toolSpec must be defined"),
    (NOVA, talk(toolConfig={"tools": TOOLS["tools"] * 2}), "toolConfig.tools: Tool names must be unique."),
    (
        NOVA,
        talk(toolConfig={"tools": [{"toolSpec": {**SPEC, "description": ""}}]}),
        "toolConfig.tools.0.toolSpec.description: String should match pattern",
    ),
    (
        NOVA,
        talk(toolConfig={"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]}),
        "toolConfig.tools.0.toolSpec.inputSchema.json.type: Field required",
    ),
    (NOVA, talk(toolConfig={**TOOLS, "toolChoice": {"none": {}}}), "toolChoice.none: Extra inputs"),
    (NOVA, talk(toolConfig={**TOOLS, "toolChoice": {"auto": {}, "any": {}}}), "toolChoice: exactly one of"),
    (NOVA, talk(toolConfig={**TOOLS, "toolChoice": {"tool": {"name": "f"}}}), "the tool 'f' is not in"),
    # configuration
    (NOVA, talk(inferenceConfig={"maxTokens": 0}), "inferenceConfig.maxTokens: Input should be greater than"),
    (NOVA, talk(inferenceConfig={"topK": 5}), "inferenceConfig.topK: Extra inputs are not permitted"),
    (
        NOVA,
        talk(inferenceConfig={"stopSequences": [""]}),
        "inferenceConfig.stopSequences.0: String should match",
    ),
    (NOVA, more(**THINK), "additionalModelRequestFields.thinking: Extra inputs are not permitted"),
    (NOVA, talk([user(HELLO, *[POINT] * 5)]), "A maximum of 4 cachePoint blocks may be provided. Found 5."),
    (NOVA, talk([user({"cachePoint": {"type": "x"}})]), "cachePoint.type: Input should be 'default'"),
    (NOVA, talk("x" * 1_300_000), "Input is too long for requested model."),
    # what Claude does not take in this dialect either
    (SONNET_45, more(thinking={"type": "adaptive"}), "adaptive thinking is not supported on this model"),
    (SONNET_45, more(output_config={"effort": "low"}), "output_config: Extra inputs are not permitted"),
    (SONNET_45, more(anthropic_beta=["skills-2025-10-02"]), "invalid beta flag"),
    (
        SONNET_45,
        talk(inferenceConfig={"temperature": 1, "topP": 1}),
        "`temperature` and `top_p` cannot both be specified for this model.",
    ),
    (
        SONNET_45,
        talk(toolConfig={**TOOLS, "toolChoice": {"any": {}}}, additionalModelRequestFields=THINK),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    (
        SONNET_45,
        talk(LOOP, toolConfig=TOOLS, additionalModelRequestFields=THINK),
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`",
    ),
    (
        SONNET_45,
        talk([user(HELLO), assistant({"reasoningContent": {"reasoningText": {"text": "a"}}}), user(HELLO)]),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
    (
        NOVA,
        talk([user(HELLO), assistant({"reasoningContent": {"reasoningText": {"text": "a"}}}), user(HELLO)]),
        "This model doesn't support the reasoningContent field.",
    ),
    (OPUS_48, talk(inferenceConfig={"temperature": 0.5}), "`temperature` is deprecated for this model."),
    (
        OPUS_46,
        talk([user(HELLO), assistant(HELLO)]),
        "This model does not support assistant message prefill.",
    ),
    # the wrong operation
    (TITAN, talk(), "This action doesn't support the model that you provided."),
]

TAKEN: list[tuple[str, dict[str, Any]]] = [
    (NOVA, talk([user(HELLO, image(), document())], system=[{"text": "Be brief."}, POINT])),
    (NOVA, talk(LOOP, toolConfig=TOOLS)),
    (
        NOVA,
        talk(
            [*LOOP[:2], user({"toolResult": {**RESULT["toolResult"], "status": "error", "content": []}})],
            toolConfig=TOOLS,
        ),
    ),
    (NOVA, talk(inferenceConfig={"maxTokens": 5, "temperature": 0, "topP": 1, "stopSequences": ["END"]})),
    (NOVA, more(inferenceConfig={"topK": 5})),
    (NOVA, talk([user(HELLO), assistant(HELLO)])),
    (SONNET_45, more(**THINK)),
    (SONNET_46, more(thinking={"type": "adaptive"}, output_config={"effort": "low"})),
]


@pytest.mark.parametrize(("model", "body", "text"), REFUSED, ids=[text[:60] for _, _, text in REFUSED])
@pytest.mark.parametrize("subpath", ["converse", "converse-stream"])
def test_a_rule_is_enforced(subpath: str, model: str, body: dict[str, Any], text: str) -> None:
    """400 with the words of the rule, before a stream has begun."""
    assert text in refusal(subpath, body, model)


@pytest.mark.parametrize(("model", "body"), TAKEN)
def test_what_is_allowed_is_answered(model: str, body: dict[str, Any]) -> None:
    """The rules refuse no more than they say."""
    assert "" == refusal("converse", body, model)


# answers


@pytest.mark.parametrize("model", [NOVA, SONNET_45])
def test_a_unary_answer_is_json(model: str) -> None:
    """With usage that adds up."""
    answer = whole("converse", talk(), model)
    usage = answer["usage"]

    assert {"role": "assistant", "content": [{"text": "hello there"}]} == answer["output"]["message"]
    assert "end_turn" == answer["stopReason"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    assert {"latencyMs": 0} == answer["metrics"]


@pytest.mark.parametrize(
    ("said", "config", "reason"),
    [
        ("echo: a b c", {"maxTokens": 2}, "max_tokens"),
        ("echo: a b c", {"stopSequences": ["c"]}, "stop_sequence"),
        ("[[refuse]]", {}, "content_filtered"),
    ],
)
def test_why_it_stops(said: str, config: dict[str, Any], reason: str) -> None:
    """In Converse's words."""
    assert reason == whole("converse", talk(said, inferenceConfig=config), NOVA)["stopReason"]


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        ({"auto": {}}, ["text", "toolUse", "toolUse"]),
        ({"any": {}}, ["toolUse", "toolUse"]),
        ({"tool": {"name": "clock"}}, ["toolUse"]),
    ],
)
def test_tools_are_used(choice: dict[str, Any], kinds: list[str]) -> None:
    """With words before them unless they are forced; the input is an object."""
    body = talk("weather and clock", toolConfig={**TOOLS, "toolChoice": choice})
    answer = whole("converse", body, NOVA)
    blocks = answer["output"]["message"]["content"]

    assert (kinds, "tool_use") == ([next(iter(block)) for block in blocks], answer["stopReason"])
    assert {"city": "simulated"} == blocks[-1]["toolUse"]["input"]


@pytest.mark.parametrize("result", [{"text": "sunny"}, {"json": {"sky": "sunny"}}])
def test_a_tool_loop_ends(result: dict[str, Any]) -> None:
    """The results are answered in words."""
    told = user({"toolResult": {"toolUseId": "tooluse_1", "content": [result]}})
    body = talk([user({"text": "weather"}), LOOP[1], told], toolConfig=TOOLS)
    answer = whole("converse", body, NOVA)

    assert "end_turn" == answer["stopReason"]
    assert "sunny" in answer["output"]["message"]["content"][0]["text"]


@pytest.mark.parametrize("said", ["weather", "weather [[redacted]]"])
def test_claudes_thoughts_come_first_and_may_come_back(said: str) -> None:
    """`reasoningContent`, taken again in the tool loop."""
    body = talk(said, toolConfig=TOOLS, additionalModelRequestFields=THINK)
    content = whole("converse", body, SONNET_45)["output"]["message"]["content"]
    result = {"toolResult": {**RESULT["toolResult"], "toolUseId": content[-1]["toolUse"]["toolUseId"]}}
    again = {**body, "messages": [*body["messages"], assistant(*content), user(result)]}

    assert "reasoningContent" in content[0]
    assert "" == refusal("converse", again, SONNET_45)


def test_cache_points_are_charged() -> None:
    """Written in the first turn, read in the next, and counted in the total."""
    system = [{"text": "s" * 4000}, POINT]
    usages = [
        whole("converse", talk(messages, system=system), NOVA)["usage"]
        for messages in ([user(HELLO)], [user(HELLO), assistant(HELLO), user(HELLO)])
    ]

    assert [(0, 1001), (1001, 0)] == [(u["cacheReadInputTokens"], u["cacheWriteInputTokens"]) for u in usages]
    assert all(u["totalTokens"] == u["inputTokens"] + u["outputTokens"] + 1001 for u in usages)


# streams


def events(body: Any, model: str = NOVA) -> list[Any]:
    """The events of an answer."""
    return converse_events(stream("converse-stream", body, model))


def kinds(answer: list[Any]) -> list[str]:
    """Their names."""
    assert all(len(event) == 1 for event in answer)
    return [next(iter(event)) for event in answer]


def test_a_stream_has_the_order_of_converse() -> None:
    """Text has no start; why it stopped comes before the figures."""
    assert [
        "messageStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop", "messageStop",
        "metadata",
    ] == kinds(events(talk("echo: a b")))  # fmt: skip


def test_frames_are_python_and_not_json() -> None:
    """Apostrophes, None, False, line feeds and letters beyond ASCII, by default (wire §9.8)."""
    raw = stream("converse-stream", talk("go on"), NOVA, answer_tokens=8)
    text = raw.decode()

    with pytest.raises(json.JSONDecodeError):
        json.loads(payloads(raw)[0])
    for oddity in ("{'text': \"It's\"}", "größer", r"\nanswer", "None", "False"):
        assert oddity in text


def test_a_stream_says_the_same_as_the_whole() -> None:
    """Thoughts, text and calls; only ids differ, and a call's input is text."""
    body = talk("weather", toolConfig=TOOLS, additionalModelRequestFields=THINK)
    answer, unary = (
        events(body, SONNET_45),
        whole("converse", body, SONNET_45)["output"]["message"]["content"],
    )
    deltas = [e["contentBlockDelta"] for e in answer if "contentBlockDelta" in e]
    thoughts = [d["delta"]["reasoningContent"] for d in deltas if d["contentBlockIndex"] == 0]
    words = "".join(d["delta"]["text"] for d in deltas if d["contentBlockIndex"] == 1)
    arguments = "".join(d["delta"]["toolUse"]["input"] for d in deltas if d["contentBlockIndex"] == 2)
    starts = [e["contentBlockStart"] for e in answer if "contentBlockStart" in e]

    told = unary[0]["reasoningContent"]["reasoningText"]
    assert told["text"] == "".join(thought.get("text", "") for thought in thoughts)
    assert {"signature": told["signature"]} == thoughts[-1]
    assert unary[1] == {"text": words}
    assert unary[2]["toolUse"]["input"] == json.loads(arguments)
    assert [2] == [start["contentBlockIndex"] for start in starts]
    assert "weather" == starts[0]["start"]["toolUse"]["name"]


def test_sealed_thoughts_are_bytes() -> None:
    """`b'…'` in the stream, base64 in the whole."""
    body = talk("[[redacted]]", additionalModelRequestFields=THINK)
    (sealed,) = [
        event["contentBlockDelta"]["delta"]["reasoningContent"]["redactedContent"]
        for event in events(body, SONNET_45)
        if "reasoningContent" in event.get("contentBlockDelta", {}).get("delta", {})
    ]

    assert isinstance(sealed, bytes)


# Titan


@pytest.mark.parametrize(("config", "length"), [({}, 1024), ({"outputEmbeddingLength": 256}, 256)])
def test_titan_makes_a_vector(config: dict[str, int], length: int) -> None:
    """One, with the tokens of its text."""
    answer = whole("invoke", {"inputText": "hello", "embeddingConfig": config}, TITAN)

    assert (length, 2) == (len(answer["embedding"]), answer["inputTextTokenCount"])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "inputText: Field required"),
        ({"inputText": ["a", "b"]}, "inputText: Input should be a valid string"),
        ({"inputText": ""}, "Malformed input request: expected minLength: 1"),
        ({"inputText": "a", "dimensions": 256}, "dimensions: Extra inputs are not permitted"),
        (
            {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 100}},
            "embeddingConfig.outputEmbeddingLength: 100 is not one of 256, 512, 1024",
        ),
        ({"inputText": "x" * 32_800}, "400 Bad Request: Too many input tokens. Max input tokens: 8192"),
    ],
)
def test_titan_is_strict(body: dict[str, Any], text: str) -> None:
    """One text at a time, and three lengths."""
    assert text in refusal("invoke", body, TITAN)


def test_titan_does_not_stream() -> None:
    """There is nothing to stream."""
    assert "The model is unsupported for streaming" in refusal(
        "invoke-with-response-stream", {"inputText": "a"}, TITAN
    )


def test_whole_answers_ignore_the_accept_header() -> None:
    """SAP's SDK asks for the binary stream in every call."""
    reply = call("converse", talk(), NOVA, accept=b"application/vnd.amazon.eventstream")

    assert isinstance(reply, Reply)
    assert b"application/json" == reply.content_type
