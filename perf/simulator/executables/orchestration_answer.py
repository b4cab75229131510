"""Orchestration: how an answer is written, whole and as a stream (wire §4.7)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from perf.simulator import text
from perf.simulator.answers import sse
from perf.simulator.errors import new_uuid
from perf.simulator.executables.orchestration_models import Reasoned, family
from perf.simulator.models import Model

OPENING_FRAMES = 1
"""The one that carries what was done before the model."""

Results = dict[str, Any]
Delta = dict[str, Any]

_NOTHING = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "system_fingerprint": "",
    "choices": [{"index": 0, "delta": {"role": "", "content": ""}, "finish_reason": ""}],
}


class Finished(msgspec.Struct):
    """The model's answer after the modules behind it."""

    tokens: tuple[str, ...]
    """What the caller gets; the model's own words are in its plan."""
    results: Results
    """What those modules tell."""
    blocked: bool = False
    """Whether the output filter kept the answer back."""
    unmasked: bool = False
    """Whether masks were taken off."""
    least: int = 0
    """Characters in a piece of a stream, at least."""


class Answer:
    """One answer: whole, or as the frames of a stream."""

    def __init__(self, model: Model, reasoned: Reasoned, before: Results, finished: Finished) -> None:
        """`before` are the results of the modules before the model."""
        key = f"{random.getrandbits(96):024x}"
        self._key = key
        self._family = family(model)
        self._reasoned = reasoned
        self._plan = reasoned.plan
        self._before = before
        self._finished = finished
        self._request_id = new_uuid()
        self._about = {
            "id": self._family.answer_id.format(key),
            "created": int(time.time()),
            "model": model.claude.snapshot if model.claude else model.snapshot,
        }
        self._choices = range(reasoned.choices)

    @property
    def _finish(self) -> str:
        return "content_filter" if self._finished.blocked else self._plan.finish

    # whole

    def whole(self, failures: list[dict[str, Any]]) -> dict[str, Any]:
        """The body of a unary answer; `failures` are those of the configurations tried before."""
        own = "".join(self._plan.tokens)
        told = "".join(self._finished.tokens)
        final = self._result(told, self._finish)
        results = {**self._before, "llm": self._result(own, self._plan.finish), **self._behind(final)}
        body = {"request_id": self._request_id, "intermediate_results": results, "final_result": final}
        return body | ({"intermediate_failures": failures} if failures else {})

    def _behind(self, final: dict[str, Any]) -> Results:
        unmasked = {"output_unmasking": final["choices"]} if self._finished.unmasked else {}
        return self._finished.results | unmasked

    def _result(self, content: str, finish: str) -> dict[str, Any]:
        choices = [
            {"index": index, "message": self._message(content, index), "finish_reason": finish}
            for index in self._choices
        ]
        return {
            **self._about,
            "object": "chat.completion",
            **self._family.fields,
            "choices": choices,
            "usage": self._reasoned.usage,
        }

    def _message(self, content: str, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if self._reasoned.thoughts:
            message["reasoning_content"] = [self._block("".join(self._reasoned.thoughts), signed=True)]
        calls = [self._call(index, place) for place in range(len(self._plan.calls))]
        # Gemini's answers have the member even without calls (wire §4.7).
        return message | ({"tool_calls": calls} if calls or not self._family.answer_id else {})

    def _block(self, content: str, *, signed: bool) -> dict[str, str]:
        signature = self._reasoned.signature if signed and self._family.signs else ""
        return {"content": content, "signature": signature}

    def _call(self, index: int, place: int) -> dict[str, Any]:
        key = f"{self._key}{index:02d}{place:02d}"
        return {
            "id": self._family.call_id.format(key),
            "type": "function",
            "function": self._plan.calls[place],
        }

    # frames

    def opening(self) -> bytes:
        """What was done before the model, and an empty result."""
        return self._framed(self._before, _NOTHING)

    def content(self, size: int) -> Iterator[bytes]:
        """Thoughts, text of `size` tokens, calls; the last frame brings the end."""
        deltas = list(self._deltas(size)) or [{"content": ""}]
        for number, delta in enumerate(deltas):
            last = number == len(deltas) - 1
            for index in self._choices:
                yield self._frame(index, delta, last=last and index == self._choices[-1], ends=last)

    def _deltas(self, size: int) -> Iterator[Delta]:
        for thought in self._reasoned.thoughts:
            yield {"content": "", "reasoning_content": [self._block(thought, signed=False)]}
        if self._reasoned.thoughts and self._family.signs:
            yield {"content": "", "reasoning_content": [self._block("", signed=True)]}
        for place, call in enumerate(self._plan.calls):
            function = {"name": call.name, "arguments": ""}
            yield _called({"index": place, **self._call(0, place), "function": function})
            for piece in text.split(call.arguments):
                yield _called({"index": place, "function": {"arguments": piece}})
        if self._plan.calls:
            yield {"content": ""}
        for piece in _pieces(self._finished.tokens, size, self._finished.least):
            yield {"content": piece}

    def _frame(self, index: int, delta: Delta, *, last: bool, ends: bool) -> bytes:
        choice: dict[str, Any] = {"index": index, "delta": {"role": "assistant", **delta}}
        if ends:
            choice["finish_reason"] = self._finish
        elif "tool_calls" not in delta:
            choice["finish_reason"] = ""
        result = {
            **self._about,
            "object": "chat.completion.chunk",
            "choices": [choice],
        }
        if last and self._reasoned.shows_usage:
            result["usage"] = self._reasoned.usage
        return self._framed({"llm": result, **(self._behind(result) if last else {})}, result)

    def _framed(self, results: Results, final: dict[str, Any]) -> bytes:
        frame = {"request_id": self._request_id, "intermediate_results": results, "final_result": final}
        return sse(msgspec.json.encode(frame))


def _called(call: dict[str, Any]) -> Delta:
    return {"content": "", "tool_calls": [call]}


def _pieces(tokens: tuple[str, ...], size: int, least: int) -> Iterator[str]:
    """Groups of `size` tokens that have `least` characters, the last one apart."""
    waiting = ""
    for group in text.group(tokens, size):
        waiting += group
        if len(waiting) >= least:
            yield waiting
            waiting = ""
    if waiting:
        yield waiting
