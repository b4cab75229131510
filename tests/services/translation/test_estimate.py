"""The local token estimate: cheap, rather too much than too little, and never less for more."""

from __future__ import annotations

import msgspec
import pytest

from services.translation.conversation import (
    Audio,
    Block,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Redacted,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.estimate import estimated_tokens


def estimate(*blocks: Block, **members: object) -> int:
    """The tokens of one turn with these blocks."""
    return estimated_tokens(msgspec.structs.replace(Conversation((Turn("user", blocks),)), **members))


@pytest.mark.parametrize(
    ("block", "tokens"),
    [
        (Text(""), 0),
        (Text("hi"), 1),
        (Text("a" * 7_000), 2_000),
        (Text("日本語" * 7), 18),
        (Text("<|endoftext|>"), 4),
        (Thinking("a" * 7), 2),
        (Redacted("a" * 7), 2),
        (Image("image/png", "A" * 10), 1_600),
        (Image("image/png", "A" * 4_000_000), 1_600),
        (Image(url="https://x/y.png"), 1_600),
        (Document("text/plain", text="a" * 7_000, title="a" * 7), 2_002),
        (Document("application/pdf", data="A" * 4), 2_000),
        (Document("application/pdf", data="A" * 200_000), 6_000),
        (Document(url="https://x/y.pdf"), 2_000),
        (Audio("audio/wav", "A" * 128_000), 96),
        (ToolUse("id", "a" * 7, "b" * 14), 18),
        (ToolResult("id", (Text("a" * 7), Image("image/png", "A"))), 1_614),
    ],
)
def test_a_block_has_so_many_tokens(block: Block, tokens: int) -> None:
    """Trap 58: text by its bytes, pictures whatever their base64, special tokens as plain text."""
    assert 4 + tokens == estimate(block)


def test_what_stands_around_the_turns_counts_too() -> None:
    """System prompt, tools with the tool-use prompt, and the answer's schema."""
    system = (Text("a" * 7),)
    tools = (Tool("a" * 7, "b" * 7, {"a": 1}),)

    assert 6 == estimate(system=system)
    assert 4 + 350 + 16 + 6 == estimate(tools=tools)
    assert 4 + 2 == estimate(output=OutputFormat(schema={"a": 1}))
    assert 4 == estimate(output=OutputFormat())


def test_more_is_never_less() -> None:
    """A turn, a block or a tool on top makes the estimate larger, or leaves it."""
    grown = [estimate(*[Text("some words")] * count) for count in range(20)]

    assert sorted(grown) == grown
