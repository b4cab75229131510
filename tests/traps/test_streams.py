"""What holds for streams between every pair of a caller and a model family: no single module can prove it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from services.errors import UpstreamBroken, UpstreamLimited
from services.translation.callers import CALLERS
from tests.services.translation.messages_samples import accumulated
from tests.services.translation.responses_samples import THROTTLED
from tests.services.translation.samples import AZURE, sse
from tests.services.translation.upstreams.bedrock_samples import (
    CLAUDE as CLAUDE_EVENTS,
    CONVERSE,
    json_sse,
    repr_sse,
)
from tests.services.translation.upstreams.test_cohere import TOOLS as COHERE
from tests.traps.wire import BODIES, STREAMS, TALKERS, chunks, relay, streamed

NOVA = "amazon--nova-pro"
CLAUDE = "anthropic--claude-4.6-sonnet"
GEMINI = "gemini-3.5-flash"
WITH_TOOLS = [model for model in STREAMS if model not in TALKERS]
USAGE = {"stream_options": {"include_usage": True}}

DONES: Mapping[str, int] = {
    "chat": 1, "completions": 1, "messages": 0, "bedrock": 0, "gemini": 0, "responses": 0,
}  # fmt: skip
"""Surface → how many `[DONE]` end its streams."""


# --- streams -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", STREAMS)
@pytest.mark.parametrize("surface", CALLERS)
def test_trap_7_the_end_marker_is_openais_alone(surface: str, model: str) -> None:
    """Trap 7: once at the end of chat and completions, never in Anthropic's or Gemini's streams."""
    out = streamed(surface, model)

    assert DONES[surface] == out.count(b"[DONE]")
    assert out.endswith(b"data: [DONE]\n\n") is bool(DONES[surface])


@pytest.mark.parametrize("model", STREAMS)
def test_trap_9_one_stream_is_one_answer(model: str) -> None:
    """Trap 9: one id, one time, one model; the role once, first; one finish, whose delta is empty."""
    seen = chunks(streamed("chat", model, **USAGE))
    choices = [choice for chunk in seen for choice in chunk["choices"]]
    finished = [choice for choice in choices if choice["finish_reason"]]

    assert 1 == len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in seen})
    assert "assistant" == choices[0]["delta"]["role"]
    assert not any("role" in choice["delta"] for choice in choices[1:])
    assert finished == choices[-1:]
    assert not any(finished[0]["delta"].values())


@pytest.mark.parametrize("model", STREAMS)
def test_trap_8_usage_is_the_last_chunk_and_only_for_who_asked(model: str) -> None:
    """Trap 8: without choices, after the finish; a caller who did not ask sees none."""
    told, untold = chunks(streamed("chat", model, **USAGE)), chunks(streamed("chat", model))

    assert ([], True) == (told[-1]["choices"], "total_tokens" in told[-1]["usage"])
    assert [] == [chunk for chunk in untold if chunk.get("usage") or not chunk["choices"]]


@pytest.mark.parametrize("model", STREAMS)
@pytest.mark.parametrize("surface", CALLERS)
def test_trap_24_half_a_stream_never_looks_complete(surface: str, model: str) -> None:
    """Trap 24: wherever the upstream breaks off, the caller gets an error and nothing like a success."""
    frames = STREAMS[model].split(b"\n\n")
    for count in range(len(frames) - 3):
        way = relay(surface, model)
        sent = way.feed(b"\n\n".join([*frames[:count], b""]))
        with pytest.raises(UpstreamBroken):
            way.close()
        sent += way.fail(UpstreamBroken("it was cut"))

        assert b"it was cut" in sent
        for end in (b"[DONE]", b"message_stop", b"response.completed", b'"finishReason":"STOP"'):
            assert end not in sent
        assert not any(
            choice.get("finish_reason") for one in _json(sent) for choice in one.get("choices", ())
        )


def _json(stream: bytes) -> list[dict[str, Any]]:
    return chunks(stream) if b"data: " in stream else []


def _openings() -> Mapping[str, tuple[bytes, bytes]]:
    """Backend model → what it sends before it says anything, and how it reports a throttle then."""
    limited = b'data: {"error":{"code":"429","message":"slowly","status":"RESOURCE_EXHAUSTED"}}\n\n'
    created, failed, error = THROTTLED
    return {
        "gpt-4.1": (sse(AZURE[0]), limited),
        "gpt-5.3-codex": (sse(created, failed), sse(error)),
        CLAUDE: (
            json_sse(CLAUDE_EVENTS[:1]),
            b'data: {"type":"error","error":{"type":"rate_limit_error"}}\n\n',
        ),
        NOVA: (repr_sse(CONVERSE[:1]), b"data: {'throttlingException': {'message': 'slowly'}}\n\n"),
        GEMINI: (b": nothing yet\n\n", limited),
        "cohere--command-a-reasoning": (sse(COHERE[0]), limited),
        "sap-abap-1": (STREAMS["sap-abap-1"].partition(b"\n\n")[0] + b"\n\n", limited),
    }


OPENINGS = _openings()


@pytest.mark.parametrize("model", OPENINGS)
@pytest.mark.parametrize("surface", CALLERS)
def test_trap_14_a_throttle_behind_the_opening_can_still_be_got_around(surface: str, model: str) -> None:
    """Trap 14: what is held back until there is content; so another deployment can be asked."""
    opening, throttle = OPENINGS[model]
    way = relay(surface, model)
    way.feed(opening)

    assert not way.began
    with pytest.raises(UpstreamLimited) as limited:
        way.feed(throttle)
    assert limited.value.retryable


# --- tools -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", WITH_TOOLS)
def test_trap_33_calls_can_be_put_together_again(model: str) -> None:
    """Trap 33: id and name in the first fragment only, arguments are an object, indexes count from 0."""
    seen = chunks(streamed("chat", model))
    pieces = [piece for one in seen for c in one["choices"] for piece in c["delta"].get("tool_calls") or ()]
    calls: dict[int, list[Any]] = {}
    for piece in pieces:
        calls.setdefault(piece["index"], []).append(piece)

    assert list(range(len(calls))) == list(calls)
    for first, *others in calls.values():
        arguments = "".join(one["function"].get("arguments") or "" for one in (first, *others))
        assert (True, True) == (bool(first["id"]), bool(first["function"]["name"]))
        assert not any(one.get("id") or one["function"].get("name") for one in others)
        assert isinstance(json.loads(arguments), dict)
    assert "tool_calls" == seen[-1]["choices"][0]["finish_reason"]


@pytest.mark.parametrize("model", WITH_TOOLS)
def test_trap_33_anthropics_sdk_puts_the_calls_together(model: str) -> None:
    """Trap 33: its own accumulation gives each call an object, also where there was no piece at all."""
    message = accumulated(streamed("messages", model))
    calls = [block for block in message.content if block.type == "tool_use"]

    assert calls
    assert all(isinstance(call.input, dict) and call.id and call.name for call in calls)
    assert "tool_use" == message.stop_reason


# --- converse --------------------------------------------------------------------------------------------


def test_trap_3_text_blocks_are_opened_for_anthropics_clients() -> None:
    """Trap 3: Converse announces calls only; each block is opened, and closed before the next one."""
    seen = chunks(streamed("messages", NOVA))
    bounds = [
        (event["type"], event["index"], event.get("content_block", {}).get("type"))
        for event in seen
        if event["type"] in ("content_block_start", "content_block_stop")
    ]
    kinds = [kind for _, _, kind in bounds if kind]

    assert ["text", "tool_use"] == kinds[-2:]
    for index, (opened, closed) in enumerate(zip(bounds[::2], bounds[1::2], strict=True)):
        assert ("content_block_start", index) == opened[:2]
        assert ("content_block_stop", index) == closed[:2]


def test_trap_3_the_index_of_a_block_is_not_that_of_a_call() -> None:
    """Trap 3: the fourth block is the first call."""
    seen = chunks(streamed("chat", NOVA))

    assert {0} == {
        call["index"]
        for one in seen
        for choice in one["choices"]
        for call in choice["delta"].get("tool_calls") or ()
    }


def test_trap_4_usage_that_comes_after_the_stop_is_told() -> None:
    """Trap 4: `metadata` follows `messageStop`, and the finish does not wait for it for ever."""
    *before, _ = CONVERSE
    without = chunks(streamed("chat", NOVA, repr_sse(before), **USAGE))
    told = chunks(streamed("chat", NOVA, **USAGE))

    assert ["tool_calls"] == [
        c["finish_reason"] for one in without for c in one["choices"] if c["finish_reason"]
    ]
    assert 27 == told[-1]["usage"]["total_tokens"]


def test_trap_5_openais_prompt_includes_what_was_cached() -> None:
    """Trap 5: Converse counts 12 new tokens, 4 read and 2 written; Gemini's 8 include the 3 cached ones."""
    nova = chunks(streamed("chat", NOVA, **USAGE))[-1]["usage"]
    gemini = chunks(streamed("chat", GEMINI, **USAGE))[-1]["usage"]

    assert (18, 4, 9) == (
        nova["prompt_tokens"],
        nova["prompt_tokens_details"]["cached_tokens"],
        nova["completion_tokens"],
    )
    assert (8, 3, 42) == (
        gemini["prompt_tokens"],
        gemini["prompt_tokens_details"]["cached_tokens"],
        gemini["completion_tokens"],
    )


def test_trap_5_anthropics_input_excludes_what_was_cached() -> None:
    """Trap 5: the other way round, from Gemini to Anthropic's client; and running totals are not summed."""
    gemini = accumulated(streamed("messages", GEMINI)).usage
    claude = accumulated(streamed("messages", CLAUDE)).usage

    assert (5, 3, 42) == (gemini.input_tokens, gemini.cache_read_input_tokens, gemini.output_tokens)
    assert (28, 5, 57) == (claude.input_tokens, claude.cache_read_input_tokens, claude.output_tokens)


# --- content ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["gpt-4.1", "mistralai--mistral-small", GEMINI])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_trap_10_lines_end_where_the_specification_says(model: str, end: str) -> None:
    """Traps 10, 11: at LF, CRLF and CR, wherever the bytes are cut."""
    datas = [event.removeprefix(b"data: ").decode() for event in STREAMS[model].split(b"\n\n") if event]
    stream = sse(*datas, end=end)
    expected = streamed("chat", model)

    assert expected == streamed("chat", model, stream)
    assert expected == streamed("chat", model, *(stream[a:b] for a, b in pairwise(range(len(stream) + 1))))


@pytest.mark.parametrize("model", ["gpt-4.1", CLAUDE, NOVA, GEMINI])
@pytest.mark.parametrize("surface", ["chat", "messages"])
def test_trap_12_the_prefix_and_unicode_line_ends_are_text_inside_it(surface: str, model: str) -> None:
    """Traps 10, 12: what stands in the model's text reaches the caller as it was said."""
    assert "data: 😀" in _text(surface, streamed(surface, model))
    assert "\u2028" in _text(surface, streamed(surface, model))


def _text(surface: str, stream: bytes) -> str:
    if surface == "messages":
        return "".join(block.text for block in accumulated(stream).content if block.type == "text")
    deltas = [choice["delta"] for one in chunks(stream) for choice in one["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_every_surface_is_asked_here() -> None:
    """A new one needs a body and a line in the tables above."""
    assert set(CALLERS) <= BODIES.keys() & DONES.keys()
