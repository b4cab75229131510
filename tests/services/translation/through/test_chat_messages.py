"""Messages that another model's answer put extensions into."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from services.translation.through.chat import prepare
from services.translation.through.chat_messages import without_extensions
from tests.services.translation.samples import target

SIGNED = {"google": {"thought_signature": "s"}}


def raw(messages: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(messages).encode())


def call(**more: Any) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, **more}


def test_a_conversation_begun_elsewhere_goes_on_here() -> None:
    """Thinking and signatures are Claude's and Gemini's: Azure refuses them as unknown, so they are named."""
    answer = {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "r",
        "thinking_blocks": [{}],
        "future": 1,
    }
    asked = {
        "messages": raw(
            [
                {"role": "user", "content": "q"},
                answer,
                {"role": "assistant", "tool_calls": [call(extra_content=SIGNED)]},
            ]
        )
    }
    before = dict(asked)

    sent = prepare(asked, target("gpt-5"), stream=False)

    assert [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "future": 1},
        {"role": "assistant", "tool_calls": [call()]},
    ] == json.loads(sent.body)["messages"]
    assert (
        "messages.reasoning_content",
        "messages.thinking_blocks",
        "messages.tool_calls.extra_content",
    ) == sent.dropped
    assert before == asked


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "x", "tool_calls": [call()]}],
        [{"tool_calls": None}],
        [1],
        [{"tool_calls": 1}],
    ],
)
def test_other_messages_keep_their_bytes(messages: Any) -> None:
    """Also those that nobody can read: the upstream says what is wrong with them."""
    sent = raw(messages)

    assert (sent, ()) == without_extensions(sent)


def test_a_member_that_says_nothing_is_left_out_in_silence() -> None:
    """Null is as if it were not there."""
    plain, lost = without_extensions(raw([{"role": "user", "reasoning_content": None}]))

    assert ([{"role": "user"}], ()) == (json.loads(bytes(plain)), lost)
