"""Messages of chat requests: every role and every part."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from services.errors import BadRequest
from services.translation.conversation import (
    Audio,
    Block,
    CacheMark,
    Document,
    Image,
    Redacted,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from tests.services.translation.callers.chat_samples import ANSWERS, asked, rendered

PNG = "data:image/png;base64,iVBOR"


def turns(*messages: dict[str, Any]) -> tuple[Turn, ...]:
    """What these messages are in the pivot."""
    return asked(messages=list(messages)).turns


def part(**members: Any) -> Block:
    """What a part of a user's message is."""
    return turns({"role": "user", "content": [members]})[0].blocks[0]


def said(**members: Any) -> tuple[Block, ...]:
    """What an assistant's message says."""
    return turns({"role": "assistant", **members})[0].blocks


# --- roles ---


def test_trap_30_system_and_developer_messages() -> None:
    """Trap 30: at the opening they are the system prompt; later they stay where they are."""
    conversation = asked(
        messages=[
            {"role": "system", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
            {"role": "user", "content": "hi"},
            {"role": "developer", "content": "d"},
        ]
    )

    assert (Text("a"), Text("b"), Text("c")) == conversation.system
    assert (Turn("user", (Text("hi"),)), Turn("system", (Text("d"),))) == conversation.turns


@pytest.mark.parametrize("content", [None, ""])
def test_trap_31_an_assistant_that_only_calls_says_nothing(content: str | None) -> None:
    """Trap 31: null or empty content is no text block."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}

    assert (ToolUse("c1", "f", "{}"),) == said(content=content, tool_calls=[call])


def test_a_user_who_says_nothing_keeps_his_turn() -> None:
    """Else the model would go on with the assistant's last words."""
    assert (Turn("user", ()), Turn("user", ())) == turns(
        {"role": "user", "content": ""}, {"role": "user", "content": [{"type": "text", "text": ""}]}
    )


def test_tool_calls_and_their_results() -> None:
    """Functions, custom tools, and Google's signature of a call; arguments stay byte for byte."""
    calls = [
        {
            "id": "c1",
            "type": "function",
            "function": {"name": "f", "arguments": '{"b": 1,"a":1e2}'},
            "extra_content": {"google": {"thought_signature": "sig"}},
            "cache_control": {"type": "ephemeral"},
        },
        {"id": "c2", "type": "custom", "custom": {"name": "patch", "input": 'a"b'}, "extra_content": {}},
    ]
    assert (
        Text("so"),
        ToolUse("c1", "f", '{"b": 1,"a":1e2}', "sig", CacheMark()),
        ToolUse("c2", "patch", '{"input":"a\\"b"}'),
    ) == said(content="so", tool_calls=calls)


def test_tool_results() -> None:
    """A string, or parts, also pictures."""
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PNG}}]
    assert (
        Turn("user", (ToolResult("c1", (Text("sunny"),), cache=CacheMark()),)),
        Turn("user", (ToolResult("c2", (Text("see"), Image("image/png", "iVBOR"))),)),
        Turn("user", (ToolResult("c3"),)),
    ) == turns(
        {"role": "tool", "tool_call_id": "c1", "content": "sunny", "cache_control": {"type": "ephemeral"}},
        {"role": "tool", "tool_call_id": "c2", "content": parts},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
    )


def test_legacy_calls_get_ids() -> None:
    """A function's result finds its call by the name, the latest of several."""
    call = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "1"}
    used = turns({"role": "user", "content": "hi"}, call, result, call, result | {"content": None})

    assert (ToolUse("call_1", "f"),) == used[1].blocks
    assert (ToolResult("call_1", (Text("1"),)),) == used[2].blocks
    assert (ToolUse("call_3", "f"),) == used[3].blocks
    assert (ToolResult("call_3"),) == used[4].blocks


def test_trap_29_thinking_comes_back_with_its_proof() -> None:
    """Trap 29: first, unchanged, and under the name of the upstream that signed it."""
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "thinking", "thinking": "", "signature": "aicore.gemini.gsig"},
        {"type": "thinking", "thinking": "unsigned"},
        {"type": "redacted_thinking", "data": "xx"},
    ]
    assert (
        Thinking("hm", "sig", "claude"),
        Thinking("", "gsig", "gemini"),
        Thinking("unsigned"),
        Redacted("xx", "claude"),
        Text("so"),
    ) == said(content="so", thinking_blocks=blocks, reasoning_content="hmunsigned")


def test_thinking_without_proof() -> None:
    """Plain text alone is taken too: whether it may go up is the upstream's affair."""
    assert (Thinking("hm"), Text("so")) == said(content="so", reasoning_content="hm")


def test_refusals_are_text() -> None:
    """As a member and as a part."""
    parts = [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]

    assert (Text("a"), Text("b"), Text("c")) == said(content=parts, refusal="c")


def test_an_answer_of_ours_goes_back_as_it_came() -> None:
    """A client that sends the message back unread loses nothing, and nothing is reported."""
    conversation = asked(
        messages=[
            {"role": "user", "content": "hi"},
            rendered(ANSWERS["thinking"])["choices"][0]["message"],
            rendered(ANSWERS["tools"])["choices"][0]["message"],
        ]
    )

    assert (
        Thinking("hmm", "sig", "claude"),
        Redacted("secret", "claude"),
        Text("so"),
    ) == conversation.turns[1].blocks
    assert (
        Text("I look."),
        ToolUse("c1", "weather", '{"city":"Ulm"}', "gsig"),
        ToolUse("c2", "now"),
    ) == conversation.turns[2].blocks
    assert () == conversation.dropped


def test_numbers_from_a_stream_are_no_loss() -> None:
    """Clients that put an answer together from its pieces may leave them in."""
    function = {"name": "f", "arguments": "{}"}
    conversation = asked(
        messages=[
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function}],
                "thinking_blocks": [
                    {"index": 0, "type": "thinking", "thinking": "hm"},
                    {"index": 1, "type": "redacted_thinking", "data": "x"},
                ],
            },
        ]
    )

    assert ((Thinking("hm"), Redacted("x"), ToolUse("c", "f")), ()) == (
        conversation.turns[1].blocks,
        conversation.dropped,
    )


def test_names_and_unknown_members_are_reported_once() -> None:
    """No upstream is told who of several users speaks."""
    conversation = asked(
        messages=[
            {"role": "user", "content": "hi", "name": "ann", "mood": "good"},
            {"role": "user", "content": "hi", "name": "bob", "mood": None},
            {"role": "assistant", "content": "so", "annotations": []},
        ]
    )

    assert ("messages.mood", "messages.annotations", "messages.name") == conversation.dropped


def test_a_result_of_a_legacy_function_has_a_name_of_its_own() -> None:
    """Without it nobody knew whose result it is: it is not lost."""
    conversation = asked(
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "so"},
        ]
    )

    assert () == conversation.dropped


# --- parts ---


@pytest.mark.parametrize(
    ("members", "block"),
    [
        ({"type": "text", "text": "a"}, Text("a")),
        ({"type": "image_url", "image_url": {"url": PNG}}, Image("image/png", "iVBOR")),
        (
            {"type": "image_url", "image_url": {"url": "data:IMAGE/JPEG;name=x;base64,QQ", "detail": "low"}},
            Image("image/jpeg", "QQ", detail="low"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            Image(url="https://x.example/a.png"),
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
            Document("application/pdf", "JVBE", title="a.pdf"),
        ),
        (
            {
                "type": "file",
                "file": {"file_data": "data:text/csv;base64," + base64.b64encode("ä,b".encode()).decode()},
            },
            Document("text/plain", text="ä,b"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
            Audio("audio/wav", "UklG"),
        ),
    ],
)
def test_parts(members: dict[str, Any], block: Block) -> None:
    """Text, pictures, documents and sound."""
    assert block == part(**members)


@pytest.mark.parametrize(
    ("members", "mark"),
    [
        ({"cache_control": {"type": "ephemeral"}}, CacheMark()),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, CacheMark("1h")),
        ({"prompt_cache_breakpoint": {"mode": "explicit"}}, CacheMark()),
        ({"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}, CacheMark("1h")),
        ({}, None),
    ],
)
def test_cache_marks(members: dict[str, Any], mark: CacheMark | None) -> None:
    """Anthropic's, as an extension, and OpenAI's own; of what is honoured nothing is reported."""
    one = {"type": "text", "text": "a", **members}
    conversation = asked(messages=[{"role": "user", "content": [one]}])

    assert ((Text("a", mark),), ()) == (conversation.turns[0].blocks, conversation.dropped)


def test_a_mark_on_a_whole_message_is_on_its_last_block() -> None:
    """So do clients that send content as a string; what bears no mark has none."""
    control = {"cache_control": {"type": "ephemeral"}}
    sound = {"type": "input_audio", "input_audio": {"data": "U", "format": "mp3"}}
    conversation = asked(
        messages=[
            {"role": "system", "content": "s", **control},
            {"role": "user", "content": "hi", **control},
            {"role": "user", "content": [sound], **control},
            {"role": "user", "content": "", **control},
        ]
    )

    assert (Text("s", CacheMark()),) == conversation.system
    assert [(Text("hi", CacheMark()),), (Audio("audio/mp3", "U"),), ()] == [
        turn.blocks for turn in conversation.turns
    ]


# --- refusals ---


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({}, ".role"),
        ({"role": "robot", "content": ""}, ".role"),
        ({"role": "user"}, ".content"),
        ({"role": "user", "content": None}, ".content"),
        ({"role": "user", "content": [{"type": "video_url"}]}, ".content[0].type"),
        ({"role": "user", "content": [{"text": "x"}]}, ".content[0].type"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]},
            ".content[0].image_url.url",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]},
            ".content[0].image_url.url",
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
            ".content[0].file.file_id",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, ".content[0].file.file_data"),
        (
            {
                "role": "user",
                "content": [{"type": "file", "file": {"file_data": "data:text/plain;base64,_"}}],
            },
            ".content[0].file.file_data",
        ),
        (
            {"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
            ".content[0].type",
        ),
        ({"role": "assistant", "audio": {"id": "a"}}, ".audio"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "type": "x"}]}, ".tool_calls[0].type"),
        (
            {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f"}}]},
            ".tool_calls[0].id",
        ),
        ({"role": "assistant", "thinking_blocks": [{"type": "musing"}]}, ".thinking_blocks[0].type"),
        ({"role": "tool", "content": "x"}, ".tool_call_id"),
        ({"role": "function", "name": "f", "content": "x"}, ".name"),
    ],
)
def test_faults_are_named(message: dict[str, Any], param: str) -> None:
    """The place, down to the part."""
    with pytest.raises(BadRequest) as caught:
        turns({"role": "user", "content": "hi"}, message)

    assert f"messages[1]{param}" == caught.value.param
