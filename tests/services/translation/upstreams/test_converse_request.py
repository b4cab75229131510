"""Requests to Bedrock's converse."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from services.errors import BadRequest
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
from services.translation.upstreams.claude_thinking import DEFAULT_MAX_TOKENS
from services.translation.upstreams.converse import UPSTREAM
from tests.services.translation.samples import target
from tests.services.translation.upstreams.bedrock_samples import conversation, said

NOVA = "amazon--nova-pro"
HAIKU = "anthropic--claude-4.5-haiku"
OPUS = "anthropic--claude-4.8-opus"
TOOL = Tool("f", "does f", {"type": "object", "x": 1})
MARK = CacheMark()
POINT = {"cachePoint": {"type": "default"}}


def send(asked: Conversation, model: str = NOVA) -> Sent:
    return UPSTREAM.request(asked, target(model))


def body(asked: Conversation, model: str = NOVA) -> dict[str, Any]:
    return said(send(asked, model))


def content(*blocks: Block, **members: Any) -> Any:
    return body(conversation(*blocks, **members))["messages"][0]["content"]


# --- frame -------------------------------------------------------------------------------------------


def test_the_least_request() -> None:
    """Nothing but the messages is needed."""
    sent = send(conversation())

    assert {"messages": [{"role": "user", "content": [{"text": "hi"}]}]} == said(sent)
    assert () == sent.dropped


@pytest.mark.parametrize(("stream", "path"), [(False, "/converse"), (True, "/converse-stream")])
def test_the_path_decides_about_streaming(stream: bool, path: str) -> None:
    """Converse has a path for each (trap 25)."""
    assert path == send(conversation(stream=stream)).path


def test_the_conversation_is_not_changed() -> None:
    """A further attempt needs it again (trap 55)."""
    asked = conversation(
        *(Text(word, MARK) for word in "abcde"),
        Document("text/plain", text="d"),
        tools=(TOOL,),
        settings={"temperature": 2, "top_k": 3},
    )
    before = msgspec.json.encode(asked)
    first = send(asked)

    assert before == msgspec.json.encode(asked)
    assert first.body == send(asked).body


# --- prompt ------------------------------------------------------------------------------------------


def test_system_texts_with_their_cache_points() -> None:
    """A mark becomes a point of its own behind the text; system is no user's turn (trap 30)."""
    asked = conversation(
        system=(Text("Be brief.", MARK),),
        turns=(Turn("user", (Text("hi"),)), Turn("system", (Text("Now."),))),
    )

    assert [{"text": "Be brief."}, POINT, {"text": "Now."}] == body(asked)["system"]


def test_the_user_begins() -> None:
    """A conversation that the assistant opens gets a user's turn before (wire §5.3)."""
    asked = conversation(turns=(Turn("assistant", (Text("hello"),)), Turn("user", (Text("hi"),))))

    assert {"role": "user", "content": [{"text": "."}]} == body(asked)["messages"][0]


B64 = base64.b64encode(b"a,b").decode()
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (Image("image/jpg", "aGk="), {"image": {"format": "jpeg", "source": {"bytes": "aGk="}}}),
        (
            Document("application/pdf", "aGk=", title="Jahres-Übersicht_(2025).pdf"),
            {
                "document": {
                    "format": "pdf",
                    "name": "Jahres- bersicht (2025) pdf",
                    "source": {"bytes": "aGk="},
                }
            },
        ),
        (
            Document("text/csv", B64),
            {"document": {"format": "csv", "name": "document", "source": {"bytes": B64}}},
        ),
        (
            Document(WORD, "aGk=", title="ä"),
            {"document": {"format": "docx", "name": "document", "source": {"bytes": "aGk="}}},
        ),
        (
            Document("text/plain", text="a,b"),
            {"document": {"format": "txt", "name": "document", "source": {"bytes": B64}}},
        ),
        (
            Document("text/x-python", B64),
            {"document": {"format": "txt", "name": "document", "source": {"bytes": B64}}},
        ),
    ],
    ids=["picture", "PDF", "CSV", "Word", "text", "other text"],
)
def test_pictures_and_documents(block: Block, expected: object) -> None:
    """Formats and names are Converse's own (trap 34)."""
    assert [expected] == content(block)


def test_documents_have_names_of_their_own() -> None:
    """Two of one name would be refused."""
    names = [
        part["document"]["name"] for part in content(*[Document("application/pdf", "aGk=", title="a")] * 3)
    ]

    assert ["a", "a (2)", "a (3)"] == names


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (Audio("audio/wav", "aGk="), "audio"),
        (Document("application/zip", "aGk="), "application/zip"),
        (Image("image/bmp", "aGk="), "image/bmp"),
    ],
)
@pytest.mark.parametrize("model", [NOVA, "unknown"])
def test_other_content_is_refused_by_name(block: Block, text: str, model: str) -> None:
    """What Converse does not take is refused, also for models of which nothing is known."""
    with pytest.raises(BadRequest, match=text) as caught:
        send(conversation(block), model)

    assert "messages" == caught.value.param


def test_what_documents_lose_is_reported() -> None:
    """Converse's citations would come in a form of their own; it knows no context."""
    document = Document("text/plain", text="a", context="c", citations=True)
    tools = (Tool("f"),)
    alone = send(conversation(document))
    inside = send(conversation(ToolResult("t", (document,)), tools=tools))

    assert [("citations", "context of documents")] * 2 == [alone.dropped, inside.dropped]


def test_four_cache_points_at_most() -> None:
    """The last four stay, the rest is reported."""
    asked = conversation(*(Text(word, MARK) for word in "bcde"), system=(Text("a", MARK),))
    sent = send(asked)
    expected = [part for word in "bcde" for part in ({"text": word}, POINT)]

    assert expected == said(sent)["messages"][0]["content"]
    assert [{"text": "a"}] == said(sent)["system"]
    assert ("cache marks before the last 4",) == sent.dropped


def test_what_cache_points_cannot_say_is_reported() -> None:
    """A point has no lifetime of an hour here, and none is behind a tool."""
    sent = send(conversation(Text("a", CacheMark("1h")), tools=(Tool("f", cache=MARK),)))

    assert [{"text": "a"}, POINT] == said(sent)["messages"][0]["content"]
    assert ("cache marks' ttl", "cache marks on tools") == sent.dropped


# --- tools -------------------------------------------------------------------------------------------

CALLS = (
    Turn("user", (Text("hi"),)),
    Turn(
        "assistant",
        (
            Thinking("Hm.", "sig", "converse"),
            Redacted("ZGF0YQ==", "converse"),
            ToolUse("t1", "f", '{"n": 12345678901234567890123}'),
            ToolUse("t2", "f", "sunny"),
        ),
    ),
    Turn(
        "user",
        (
            ToolResult("t1", (Text("sun", MARK), Image("image/png", "aGk="))),
            ToolResult("t2", is_error=True, cache=MARK),
        ),
    ),
)


def test_calls_and_results() -> None:
    """Arguments are an object, results have a status, cache points stand behind them."""
    whole = body(conversation(turns=CALLS, tools=(TOOL,)))

    assert [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "ZGF0YQ=="}},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"n": 12345678901234567890123}}},
        {"toolUse": {"toolUseId": "t2", "name": "f", "input": {"_raw": "sunny"}}},
    ] == whole["messages"][1]["content"]
    assert [
        {
            "toolResult": {
                "toolUseId": "t1",
                "content": [{"text": "sun"}, {"image": {"format": "png", "source": {"bytes": "aGk="}}}],
                "status": "success",
            }
        },
        POINT,
        {"toolResult": {"toolUseId": "t2", "content": [{"text": "."}], "status": "error"}},
        POINT,
    ] == whole["messages"][2]["content"]


def test_tools() -> None:
    """In Converse's form, not in OpenAI's (trap 34)."""
    text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}

    assert {
        "tools": [
            {
                "toolSpec": {
                    "name": "f",
                    "description": "does f",
                    "inputSchema": {"json": {"type": "object", "x": 1}},
                }
            },
            {"toolSpec": {"name": "g", "inputSchema": {"json": text}}},
        ]
    } == body(conversation(tools=(TOOL, Tool("g", freeform=True))))["toolConfig"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (ToolChoice(), {"auto": {}}),
        (ToolChoice("any"), {"any": {}}),
        (ToolChoice("tool", "f"), {"tool": {"name": "f"}}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, expected: object) -> None:
    """Each choice but "none" has its form."""
    config = body(conversation(tools=(TOOL,), tool_choice=choice))["toolConfig"]

    assert expected == config.get("toolChoice")


def test_no_tool_is_called_when_none_may_be() -> None:
    """There is no such choice, so the tools are not even told (trap 34)."""
    assert "toolConfig" not in body(conversation(tools=(TOOL,), tool_choice=ToolChoice("none")))


@pytest.mark.parametrize("members", [{}, {"tools": (TOOL,), "tool_choice": ToolChoice("none")}])
def test_calls_in_the_history_are_told_in_words_where_no_tool_may_be_called(members: dict[str, Any]) -> None:
    """Converse wants the tools with any call in the history; without them it stays text (trap 34)."""
    sent = send(conversation(turns=CALLS, **members))
    whole = said(sent)

    assert "toolConfig" not in whole
    assert ("tool calls but as words",) == sent.dropped
    assert [
        {"text": '[called the tool f with {"n": 12345678901234567890123}]'},
        {"text": "[called the tool f with sunny]"},
    ] == whole["messages"][1]["content"][2:]
    assert [
        {"text": "[the tool answered:]"},
        {"text": "sun"},
        {"image": {"format": "png", "source": {"bytes": "aGk="}}},
        POINT,
        {"text": "[the tool failed:]"},
        {"text": "."},
        POINT,
    ] == whole["messages"][2]["content"]


# --- parameters --------------------------------------------------------------------------------------


def test_parameters_of_nova() -> None:
    """`inferenceConfig`, and a second one for topK (wire §5.3)."""
    sent = send(
        conversation(
            max_tokens=512,
            settings={"temperature": 1.7, "top_p": 0.9, "top_k": 5, "stop": ["END", " "], "n": 1},
        )
    )

    assert {
        "maxTokens": 512,
        "temperature": 1,
        "topP": 0.9,
        "stopSequences": ["END"],
    } == said(sent)["inferenceConfig"]
    assert {"inferenceConfig": {"topK": 5}} == said(sent)["additionalModelRequestFields"]
    assert ("stop sequences of white space",) == sent.dropped


def test_parameters_of_claude() -> None:
    """Claude's own names and rules, also by this way: thinking, top_k, temperature or top_p."""
    sampled = send(conversation(settings={"temperature": 0.5, "top_p": 0.9, "top_k": 5}), HAIKU)
    thinking = send(conversation(reasoning=Reasoning(effort="high")), HAIKU)

    assert {"maxTokens": DEFAULT_MAX_TOKENS, "temperature": 0.5} == said(sampled)["inferenceConfig"]
    assert {"top_k": 5} == said(sampled)["additionalModelRequestFields"]
    assert ("top_p",) == sampled.dropped
    assert {"maxTokens": DEFAULT_MAX_TOKENS + 4096} == said(thinking)["inferenceConfig"]
    assert {"thinking": {"type": "enabled", "budget_tokens": 4096}} == said(thinking)[
        "additionalModelRequestFields"
    ]


def test_adaptive_thinking_of_claude() -> None:
    """With its effort."""
    whole = body(conversation(reasoning=Reasoning(effort="xhigh")), OPUS)

    assert {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}} == whole[
        "additionalModelRequestFields"
    ]


def test_claude_takes_no_prefill_here_either() -> None:
    """The refusal names the field (trap 35)."""
    with pytest.raises(BadRequest, match="last message"):
        send(conversation(turns=(*CALLS[:1], Turn("assistant", (Text("{"),)))), OPUS)


def test_what_no_model_is_told_is_reported() -> None:
    """Reasoning of a model that is not known to, foreign thinking, strictness."""
    asked = conversation(
        turns=(
            Turn("user", (Text("hi"),)),
            Turn("assistant", (Thinking("Hm.", "sig", "claude"), Text("a"))),
            Turn("user", (Text("so?"),)),
        ),
        reasoning=Reasoning(effort="high"),
        tools=(Tool("f", strict=True),),
    )

    assert ("reasoning_effort", "unsigned thinking", "strict") == send(asked, NOVA).dropped


def test_json_is_a_line_of_the_system_prompt() -> None:
    """Converse has no mode for it."""
    whole = body(conversation(output=OutputFormat({"type": "object", "x": 1})), "unknown")

    assert '"x":1' in whole["system"][0]["text"]


def test_facts_of_the_models_used_here() -> None:
    """The tests above mean what they say as long as the catalogue says this."""
    assert ("converse", "") == (facts_for(NOVA).dialect, facts_for(NOVA).thinking)
