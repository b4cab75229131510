"""What Claude is told, read back from its request."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
from hypothesis import given, settings, strategies as st

from services.translation.conversation import (
    Block,
    CacheMark,
    Conversation,
    Document,
    Image,
    Redacted,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.upstreams.claude import UPSTREAM
from tests.services.translation.samples import target
from tests.services.translation.upstreams.bedrock_samples import said

WORDS = st.text(min_size=1, max_size=6).filter(lambda text: bool(text.strip()))
MARKS = st.none() | st.sampled_from([CacheMark(), CacheMark("5m"), CacheMark("1h")])
DATA = st.binary(max_size=6).map(lambda data: base64.b64encode(data).decode())
TEXTS = st.builds(Text, WORDS, MARKS)
PICTURES = st.builds(Image, st.sampled_from(["image/png", "image/webp"]), DATA, cache=MARKS)
PDFS = st.builds(
    Document,
    st.just("application/pdf"),
    DATA.filter(bool),
    title=st.sampled_from(["", "t"]),
    context=st.sampled_from(["", "c"]),
    citations=st.booleans(),
    cache=MARKS,
)
PLAIN = st.builds(Document, st.just("text/plain"), text=WORDS, cache=MARKS)
ARGUMENTS = st.dictionaries(WORDS, st.integers() | WORDS, max_size=3).map(json.dumps)
OF_USER: st.SearchStrategy[Block] = st.one_of(TEXTS, PICTURES, PDFS, PLAIN)
RESULTS = st.builds(
    ToolResult,
    st.sampled_from(["t1", "t2"]),
    st.lists(st.one_of(TEXTS, PICTURES, PDFS), max_size=2).map(tuple),
    st.booleans(),
    MARKS,
)
CITED = st.builds(Text, WORDS, citations=st.sampled_from([(), ({"type": "page_location", "start": 1},)]))
OF_ASSISTANT: st.SearchStrategy[Block] = st.one_of(
    CITED,
    st.builds(ToolUse, st.sampled_from(["t1", "t2"]), st.sampled_from(["f", "g"]), ARGUMENTS, cache=MARKS),
    st.builds(Thinking, WORDS, WORDS, st.just("claude")),
    st.builds(Redacted, WORDS),
)
USERS = st.tuples(st.lists(RESULTS, max_size=2), st.lists(OF_USER, min_size=1, max_size=3)).map(
    lambda parts: Turn("user", (*parts[0], *parts[1]))
)
ASSISTANTS = st.lists(OF_ASSISTANT, min_size=1, max_size=3).map(lambda b: Turn("assistant", tuple(b)))
EXCHANGES = st.lists(st.tuples(USERS, ASSISTANTS), min_size=1, max_size=2).map(
    lambda pairs: tuple(turn for pair in pairs for turn in pair)
)
CONVERSATIONS = st.builds(
    Conversation,
    turns=EXCHANGES,
    system=st.lists(TEXTS, max_size=2).map(tuple),
    tools=st.lists(
        st.builds(Tool, st.sampled_from(["f", "g"]), WORDS, st.just({"type": "object"}), cache=MARKS),
        max_size=2,
    ).map(tuple),
    max_tokens=st.integers(1, 9000),
)


def read(whole: dict[str, Any]) -> Conversation:
    """The conversation that a body of Claude's holds."""
    return Conversation(
        turns=tuple(Turn(m["role"], tuple(map(read_block, m["content"]))) for m in whole["messages"]),
        system=tuple(map(read_block, whole.get("system", ()))),  # type: ignore[arg-type]  # texts only
        tools=tuple(
            Tool(t["name"], t["description"], t["input_schema"], cache=read_mark(t))
            for t in whole.get("tools", ())
        ),
        max_tokens=whole["max_tokens"],
    )


def read_mark(block: dict[str, Any]) -> CacheMark | None:
    return CacheMark(block["cache_control"].get("ttl", "")) if "cache_control" in block else None


def read_block(b: dict[str, Any]) -> Block:
    cache = read_mark(b)
    match b["type"]:
        case "text":
            return Text(b["text"], cache, tuple(b.get("citations", ())))
        case "image":
            return Image(b["source"]["media_type"], b["source"]["data"], cache=cache)
        case "document":
            source = b["source"]
            held = {"text" if source["type"] == "text" else "data": source["data"]}
            return Document(
                source["media_type"],
                title=b.get("title", ""),
                context=b.get("context", ""),
                citations=b.get("citations") == {"enabled": True},
                cache=cache,
                **held,
            )
        case "tool_use":
            return ToolUse(b["id"], b["name"], json.dumps(b["input"]), cache=cache)
        case "tool_result":
            parts: Any = tuple(map(read_block, b.get("content", ())))
            return ToolResult(b["tool_use_id"], parts, b.get("is_error", False), cache)
        case "thinking":
            return Thinking(b["thinking"], b["signature"], "claude")
        case _:
            return Redacted(b["data"])


@settings(max_examples=150, deadline=None)
@given(asked=CONVERSATIONS)
def test_nothing_of_claudes_own_is_lost(asked: Conversation) -> None:
    """What Claude can hear of a conversation can be read from its body again, but for surplus cache marks."""
    sent = UPSTREAM.request(asked, target("anthropic--claude-4.5-haiku"))
    heard = read(said(sent))

    if sent.dropped:
        assert ("cache marks before the last 4",) == sent.dropped
        assert without_marks(asked) == without_marks(heard)
    else:
        assert asked == heard


def without_marks(asked: Conversation) -> Any:
    def unmarked(members: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in members.items() if name != "cache"}

    return json.loads(msgspec.json.encode(asked), object_hook=unmarked)
