"""Messages into the pivot and out again: nothing is lost, on the way to Claude least of all."""

from __future__ import annotations

import json
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from services.translation.callers.bedrock import CALLER as BEDROCK
from services.translation.callers.messages import CALLER, parse
from services.translation.conversation import Block, Redacted, Text, Thinking, ToolUse
from services.translation.events import (
    Event,
    RedactedPiece,
    Signed,
    Stopped,
    TextPiece,
    ThinkingPiece,
    ToolOpened,
    ToolPiece,
)
from services.translation.translate import Telling, Translation
from services.translation.upstreams.claude import UPSTREAM
from tests.services.translation.messages_samples import (
    CLAUDE,
    INFO,
    PUBLIC,
    accumulated,
    bedrock_events,
    request,
    sse,
    target,
)

WORDS = st.text(min_size=1, max_size=20).filter(str.strip)
IDS = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
JSON = st.dictionaries(WORDS, st.none() | st.booleans() | st.integers() | WORDS | st.lists(WORDS), max_size=3)
CACHED = st.sampled_from([{}, {}, {}, {}, {"cache_control": {"type": "ephemeral"}}])
SOURCE = st.just({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="})
PDF = st.just({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="})


CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}


def block(kind: str, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Blocks of one kind, with a cache mark or without."""
    plain = st.fixed_dictionaries({"type": st.just(kind)} | members)
    return st.builds(lambda one, mark: one | mark, plain, CACHED)


TEXT = block("text", text=WORDS)
IMAGE = block("image", source=SOURCE)
DOCUMENT = block("document", source=PDF, title=WORDS)
THINKING = st.fixed_dictionaries({"type": st.just("thinking"), "thinking": WORDS, "signature": IDS})
REDACTED = st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": IDS})
CALL = block("tool_use", id=IDS, name=IDS, input=JSON)
SAID = st.lists(st.one_of(TEXT, IMAGE, DOCUMENT), min_size=1, max_size=3)
THOUGHT = st.lists(st.one_of(THINKING, REDACTED), max_size=2)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Turns as Claude takes them: answered calls, results first."""
    messages = [{"role": "user", "content": draw(SAID)}]
    for _ in range(draw(st.integers(0, 3))):
        calls = draw(st.lists(CALL, max_size=2, unique_by=lambda call: call["id"]))
        words = draw(st.lists(TEXT, min_size=0 if calls else 1, max_size=1))
        messages.append({"role": "assistant", "content": [*draw(THOUGHT), *words, *calls]})
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": draw(SAID)}
            | draw(st.sampled_from([{}, {"is_error": True}]))
            for call in calls
        ]
        messages.append({"role": "user", "content": [*results, *draw(SAID)]})
    return messages


def few_marks(asked: Any) -> bool:
    """Whether there are no more cache marks than Bedrock takes."""
    return json.dumps(asked).count("cache_control") <= 4


@given(st.tuples(conversations(), st.lists(TEXT, max_size=1)).filter(few_marks))
def test_messages_reach_claude_through_the_pivot_as_they_were(
    asked: tuple[list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    """Lossless: every block with its members, cache marks, error flags and signatures."""
    messages, system = asked
    body = request(messages=messages, system=system or ..., temperature=0.5, stop_sequences=["x"])
    sent = json.loads(UPSTREAM.request(parse(body), target()).body)

    assert messages == sent["messages"]
    assert (system, 0.5, ["x"]) == (sent.get("system", []), sent["temperature"], sent["stop_sequences"])


@pytest.mark.parametrize(
    "members",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 2_048}},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        {"tools": [{"name": "a", "description": "d", "input_schema": {"type": "object", "x": 1}}]},
        {
            "tools": [
                {"name": "a", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}
            ],
            "tool_choice": {"type": "tool", "name": "a", "disable_parallel_tool_use": True},
        },
        {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}},
        {"top_p": 0.9, "top_k": 3},
    ],
)
def test_so_do_the_members_that_steer_the_answer(members: dict[str, Any]) -> None:
    """Under their own names and in their own form."""
    sent = json.loads(UPSTREAM.request(parse(request(**members)), target()).body)

    assert members == {name: sent[name] for name in members}


def told(one: Block) -> list[Event]:
    """The events in which a model would say this."""
    match one:
        case Text(text):
            return [TextPiece(text)]
        case Thinking(text, signature, origin):
            return [*([ThinkingPiece(text)] if text else []), Signed(signature, origin)]
        case Redacted(data, origin):
            return [RedactedPiece(data, origin)]
        case ToolUse(id, name, arguments, signature):
            return [ToolOpened(id, name, signature), ToolPiece(arguments)]
        case _:
            raise AssertionError(one)


SIGNATURES = st.builds(lambda origin, one: origin + one, st.sampled_from(["", "aicore.responses."]), IDS)
SPOKEN = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": WORDS}),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": WORDS, "signature": SIGNATURES}),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": SIGNATURES}),
    st.fixed_dictionaries({"type": st.just("tool_use"), "id": IDS, "name": IDS, "input": JSON}),
    st.just(
        [
            {"type": "thinking", "thinking": "", "signature": "aicore.gemini.S"},
            {"type": "tool_use", "id": "i", "name": "n", "input": {}},
        ]
    ),
)


@given(st.lists(SPOKEN, max_size=5))
def test_what_an_assistant_said_is_rendered_as_it_was_parsed(spoken: list[Any]) -> None:
    """Also signatures of other models, and those of calls."""
    said = list(chain.from_iterable(one if isinstance(one, list) else [one] for one in spoken))
    said = [
        one for before, one in pairwise([{"type": ""}, *said]) if {before["type"], one["type"]} != {"text"}
    ]
    [turn] = parse(request(messages=[{"role": "assistant", "content": said}])).turns
    events = [event for one in turn.blocks for event in told(one)]

    assert said == json.loads(CALLER.render([*events, Stopped("stop")], INFO))["content"]


STREAM = sse(*CLAUDE)


def translated(*pieces: bytes, caller: Any = CALLER) -> bytes:
    """Claude's stream through the pivot."""
    one = Translation(UPSTREAM.reader(INFO), caller.writer(INFO), Telling({}))
    return b"".join([one.feed(piece) for piece in pieces]) + one.close()


@pytest.mark.parametrize("caller", [CALLER, BEDROCK])
def test_trap_11_a_translated_stream_is_the_same_at_every_cut(caller: Any) -> None:
    """The writer hangs on events only."""
    whole = translated(STREAM, caller=caller)

    assert all(
        whole == translated(STREAM[:cut], STREAM[cut:], caller=caller) for cut in range(0, len(STREAM), 3)
    )


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_nor_does_it_hang_on_how_many_pieces_there_are(cuts: list[int]) -> None:
    """Any split."""
    bounds = [0, *sorted(cuts), len(STREAM)]

    assert translated(STREAM) == translated(*(STREAM[a:b] for a, b in pairwise(bounds)))


def test_claudes_stream_through_the_pivot_says_what_claude_said() -> None:
    """Blocks, proofs, arguments, stop reason and usage."""
    message = accumulated(translated(STREAM)).to_dict()
    thinking, text, call = message["content"]  # type: ignore[misc]
    text.pop("parsed_output", None)

    assert {"type": "thinking", "thinking": "Let me ", "signature": "EqoB"} == thinking
    assert {"type": "text", "text": "Grüße\u2028data: 😀"} == text
    assert ({"city": "Ulm"}, "tool_use", PUBLIC) == (call["input"], message["stop_reason"], message["model"])
    usage: Any = message["usage"]
    assert (28, 5, 7, 57) == (
        usage["input_tokens"],
        usage["cache_creation_input_tokens"],
        usage["cache_read_input_tokens"],
        usage["output_tokens"],
    )
    assert "message_stop" == bedrock_events(translated(STREAM, caller=BEDROCK))[-1]["type"]
