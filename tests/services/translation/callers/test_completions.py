"""OpenAI's legacy completions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types import Completion

from services.errors import BadRequest, UpstreamBroken
from services.translation import fields
from services.translation.callers.completions import CALLER
from services.translation.conversation import Conversation, Text, Turn
from services.translation.dialects import ReplyInfo
from services.translation.events import (
    Counted,
    RefusalPiece,
    Started,
    Stopped,
    TextPiece,
    ThinkingPiece,
)
from tests.services.translation.callers.chat_samples import TOKENS, USAGE
from tests.services.translation.samples import frames

EVENTS = (
    Started(),
    ThinkingPiece("hm"),
    TextPiece("Grü"),
    TextPiece("ße"),
    Stopped("length"),
    Counted(TOKENS),
)
USING = {"stream_options": {"include_usage": True}}


def asked(**members: Any) -> Conversation:
    """What a caller asks with these members."""
    return CALLER.parse(fields.parse(msgspec.json.encode({"model": "m", "prompt": "hi"} | members)))


def info(**members: Any) -> ReplyInfo:
    """What the answer is made with."""
    return ReplyInfo("ab12", 1700000000, "our-model", asked(**members))


@pytest.mark.parametrize("prompt", ["hi", ["hi"]])
def test_the_prompt_is_what_the_user_says(prompt: Any) -> None:
    """As a string or a list of one."""
    assert (Turn("user", (Text("hi"),)),) == asked(prompt=prompt).turns


def test_settings() -> None:
    """Under the names that chat has for them too."""
    conversation = asked(max_tokens=5, temperature=0, stop="x", seed=1, n=1, user=None, frobnicate=1, **USING)

    assert {"temperature": 0.0, "stop": ["x"], "seed": 1, "n": 1} == conversation.settings
    assert 5 == conversation.max_tokens
    assert conversation.wants_usage
    assert ("frobnicate",) == conversation.dropped


def test_what_asks_for_nothing_is_no_fault() -> None:
    """The SDKs of old send defaults along."""
    defaults = {"suffix": None, "best_of": 1, "echo": False, "logprobs": None}

    assert asked() == asked(**defaults)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [""]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True}, "echo"),
        ({"logprobs": 0}, "logprobs"),
        ({"max_tokens": "x"}, "max_tokens"),
    ],
)
def test_trap_42_what_cannot_be_honoured_is_refused_by_name(members: dict[str, Any], param: str) -> None:
    """Trap 42: nothing is left out in silence."""
    with pytest.raises(BadRequest) as caught:
        asked(**members)

    assert param == caught.value.param


def test_a_whole_answer() -> None:
    """The legacy object; thinking has no place in it."""
    body = CALLER.render(EVENTS, info())
    Completion.model_validate_json(body)

    assert {
        "id": "cmpl-ab12",
        "object": "text_completion",
        "created": 1700000000,
        "model": "our-model",
        "choices": [{"text": "Grüße", "index": 0, "logprobs": None, "finish_reason": "length"}],
        "usage": USAGE,
    } == msgspec.json.decode(body)


def test_a_refusal_is_all_the_text_there_is() -> None:
    """There is no other member for it."""
    events = (Started(), RefusalPiece("no"), Stopped("tool_calls"))
    whole = msgspec.json.decode(CALLER.render(events, info()))

    assert ("no", "stop") == (whole["choices"][0]["text"], whole["choices"][0]["finish_reason"])
    assert b'"text":"no"' in CALLER.writer(info()).feed(events[1])


@pytest.mark.parametrize("members", [{}, USING])
def test_a_stream(members: dict[str, Any]) -> None:
    """A piece of text each, the finish reason, the usage if it was asked for (trap 8), `[DONE]`."""
    writer = CALLER.writer(info(**members))
    seen = frames(b"".join([writer.feed(event) for event in EVENTS]) + writer.close())
    choices = [chunk["choices"][0] for chunk in seen[:-1] if chunk["choices"]]

    assert ["Grü", "ße", ""] == [choice["text"] for choice in choices]
    assert [None, None, "length"] == [choice["finish_reason"] for choice in choices]
    assert ([USAGE] if members else []) == [chunk["usage"] for chunk in seen[:-1] if chunk.get("usage")]
    assert {("cmpl-ab12", "text_completion")} == {(chunk["id"], chunk["object"]) for chunk in seen[:-1]}
    assert "[DONE]" == seen[-1]


@pytest.mark.parametrize("failed", [True, False])
def test_nothing_follows_the_end(failed: bool) -> None:
    """And an end that failed looks like none (trap 24)."""
    writer = CALLER.writer(info())
    error = UpstreamBroken("cut short")
    ended = writer.fail(error) if failed else writer.close()

    assert failed == (b"[DONE]" not in ended)
    assert b"" == writer.feed(TextPiece("x")) + writer.close() + writer.fail(error)
