"""A whole answer put together from its pieces."""

from __future__ import annotations

import pytest

from services.translation.conversation import Redacted, Text, Thinking, ToolUse
from services.translation.events import (
    Cited,
    Counted,
    Event,
    Message,
    RedactedPiece,
    RefusalPiece,
    Signed,
    Started,
    Stopped,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
    collect,
)
from services.translation.replies import Usage

TOKENS = Tokens(uncached=5, cache_read=3, cache_write_5m=2, cache_write_1h=1, output=7, reasoning=4)


@pytest.mark.parametrize(
    ("events", "blocks"),
    [
        ([], ()),
        ([TextPiece("a"), TextPiece("b")], (Text("ab"),)),
        ([ThinkingPiece("a"), ThinkingPiece("b"), TextPiece("c")], (Thinking("ab"), Text("c"))),
        ([ThinkingPiece("a"), Signed("s", "claude")], (Thinking("a", "s", "claude"),)),
        ([Signed("s", "gemini"), TextPiece("a")], (Thinking("", "s", "gemini"), Text("a"))),
        ([TextPiece("a"), Signed("s", "gemini")], (Text("a"), Thinking("", "s", "gemini"))),
        ([TextPiece("a"), RedactedPiece("d"), TextPiece("b")], (Text("a"), Redacted("d"), Text("b"))),
        ([ToolOpened("1", "f")], (ToolUse("1", "f"),)),
        (
            [ToolOpened("1", "f", "sig"), ToolPiece('{"a"'), ToolPiece(":1}"), ToolOpened("2", "g")],
            (ToolUse("1", "f", '{"a":1}', "sig"), ToolUse("2", "g")),
        ),
        ([TextPiece("a"), ToolOpened("1", "f"), TextPiece("b")], (Text("a"), ToolUse("1", "f"), Text("b"))),
    ],
)
def test_pieces_become_blocks_in_their_order(events: list[Event], blocks: tuple[object, ...]) -> None:
    """One block open at a time."""
    assert blocks == collect(events).blocks


def test_the_last_count_and_the_stop_hold() -> None:
    """Wherever they came."""
    message = collect([Started(), Counted(Tokens(1)), Stopped("stop_sequence", "END"), Counted(TOKENS)])

    assert Message((), Stopped("stop_sequence", "END"), TOKENS) == message


def test_refusals_and_sources_stand_beside_the_blocks() -> None:
    """Each dialect has its own place for them."""
    source = Cited(url="https://x")
    message = collect([TextPiece("a"), RefusalPiece("no"), source, RefusalPiece("pe"), TextPiece("b")])

    assert ("nope", (source,), "ab") == (message.refusal, message.citations, message.text)


def test_tokens_are_counted_once_each() -> None:
    """OpenAI's prompt includes what was cached (wire §8.0)."""
    assert (3, 11, Usage(11, 7, 18)) == (TOKENS.cache_write, TOKENS.prompt, TOKENS.usage())
