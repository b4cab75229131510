"""Azure's chat completions: how an answer is written, whole and as a stream (wire §4.1)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from copy import copy
from functools import lru_cache
from typing import Any

import msgspec

from perf.simulator import text
from perf.simulator.answers import sse
from perf.simulator.executables import chat
from perf.simulator.executables.azure_body import ChatBody
from perf.simulator.models import Model

OPENING_FRAMES = 2
"""The prompt's filter results, and the role."""

_encode = msgspec.json.encode

_SAFE = {
    name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
}
_SAFE_RAW = msgspec.Raw(_encode(_SAFE))
_PROMPT_RESULTS = [
    {
        "prompt_index": 0,
        "content_filter_results": _SAFE | {"jailbreak": {"filtered": False, "detected": False}},
    }
]
_PROMPT_RAW = msgspec.Raw(_encode(_PROMPT_RESULTS))
_FIRST_FRAME = sse(
    _encode(
        {
            "choices": [],
            "created": 0,
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": _PROMPT_RAW,
        }
    )
)

_NO_KEY = "\0"
_NO_STAMP = b'"created":0,"id":"chatcmpl-\\u0000"'

_REASONING_TOKENS = {"none": 0, "minimal": 0, "low": 8, "high": 32}
_DEFAULT_REASONING_TOKENS = 16


def wish(body: ChatBody, model: Model, answer_tokens: int) -> chat.Wish:
    """What the body asks for, in the terms of the shared planner."""
    reasoning = 0
    if model.efforts:
        reasoning = _REASONING_TOKENS.get(body.reasoning_effort or "", _DEFAULT_REASONING_TOKENS)
    return chat.Wish(
        last=body.messages[-1],
        default_tokens=answer_tokens,
        functions=_functions(body),
        tool_choice=body.tool_choice if body.functions is None else body.function_call,
        parallel=body.parallel_tool_calls is not False and body.functions is None,
        response_format=body.response_format,
        stop=[body.stop] if isinstance(body.stop, str) else body.stop or [],
        limit=body.max_completion_tokens or body.max_tokens,
        reasoning_tokens=reasoning,
    )


def _functions(body: ChatBody) -> list[chat.Function]:
    if body.tools:
        return [tool.function for tool in body.tools]
    return body.functions or []


class Answer:
    """One answer: whole, or as the frames of a stream."""

    def __init__(self, body: ChatBody, model: Model, plan: chat.Plan) -> None:
        self._body = body
        self._plan = plan
        self._model = model.snapshot
        self._legacy = body.functions is not None and not body.tools
        self._logprobs = bool(body.logprobs)
        self._choices = range(body.n or 1)
        self._usage = self._count()
        self._template: tuple[bytes, bytes] | None = None
        self.streams = bool(body.stream)
        self._stamp(_NO_KEY, 0)

    def _stamp(self, key: str, created: int) -> None:
        self._key = key
        self._created = created
        self._about = {
            "created": created,
            "id": f"chatcmpl-{key}",
            "model": self._model,
            "system_fingerprint": "fp_5158a1b5d3",
        }

    def again(self) -> Answer:
        """The same answer under a new id, made now; what was already written is shared."""
        if self._template is None and not self.streams and not self._plan.calls:
            before, after = self.whole().split(_NO_STAMP)
            self._template = before, after
        other = copy(self)
        other._stamp(f"{random.getrandbits(116):029x}", int(time.time()))
        return other

    def whole(self) -> bytes:
        """The body of a unary answer."""
        if self._template is not None:
            before, after = self._template
            return b'%b"created":%d,"id":"chatcmpl-%b"%b' % (
                before,
                self._created,
                self._key.encode(),
                after,
            )
        choices = [self._choice(index) for index in self._choices]
        return _encode(
            {
                "choices": choices,
                **self._about,
                "object": "chat.completion",
                "prompt_filter_results": _PROMPT_RAW,
                "usage": self._usage,
            }
        )

    def _choice(self, index: int) -> dict[str, Any]:
        plan = self._plan
        message: dict[str, Any] = {"annotations": [], "content": None, "refusal": None, "role": "assistant"}
        if not plan.calls:
            message["content"] = _joined(plan.tokens)
        elif self._legacy:
            message["function_call"] = plan.calls[0]
        else:
            message["tool_calls"] = [self._call(index, place) for place in range(len(plan.calls))]
        return {
            "content_filter_results": {} if plan.calls else _SAFE_RAW,
            "finish_reason": self._finish(),
            "index": index,
            "logprobs": {"content": self._scores(plan.tokens), "refusal": None} if self._logprobs else None,
            "message": message,
        }

    def _finish(self) -> str:
        return "function_call" if self._plan.calls and self._legacy else self._plan.finish

    def _call(self, index: int, place: int) -> dict[str, Any]:
        return {
            "id": f"call_{self._key[:20]}{index:02d}{place:02d}",
            "type": "function",
            "function": self._plan.calls[place],
        }

    def _scores(self, tokens: tuple[str, ...]) -> list[dict[str, Any]]:
        wanted = self._body.top_logprobs or 0
        return [
            _score(token) | {"top_logprobs": [_score(token, rank) for rank in range(wanted)]}
            for token in tokens
        ]

    def _count(self) -> dict[str, Any]:
        """Tokens, with the details."""
        plan = self._plan
        prompt = chat.prompt_tokens(self._body.messages, _functions(self._body))
        completion = plan.completion_tokens * len(self._choices)
        return {
            "completion_tokens": completion,
            "completion_tokens_details": {
                "accepted_prediction_tokens": 0,
                "audio_tokens": 0,
                "reasoning_tokens": plan.reasoning_tokens * len(self._choices),
                "rejected_prediction_tokens": 0,
            },
            "prompt_tokens": prompt,
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
            "total_tokens": prompt + completion,
        }

    # frames

    def opening(self) -> Iterator[bytes]:
        """The odd first frame, and the role."""
        yield _FIRST_FRAME
        content = None if self._plan.calls else ""
        role = {"content": content, "refusal": None, "role": "assistant"}
        yield b"".join(self._frame(index, role, filters={}) for index in self._choices)

    def content(self, size: int) -> Iterator[bytes]:
        """One frame for every `size` tokens; tool calls in fragments."""
        if self._plan.calls:
            yield from self._fragments()
            return
        if self._logprobs or len(self._choices) > 1:
            yield from self._scored(size)
            return
        before, after = self._frame(0, {"content": "\0"}, filters=_SAFE_RAW).split(rb'"\u0000"')
        for token in text.group(self._plan.tokens, size):
            yield b"%b%b%b" % (before, _encode(token), after)

    def _scored(self, size: int) -> Iterator[bytes]:
        tokens = self._plan.tokens
        for at in range(0, len(tokens), size):
            piece = tokens[at : at + size]
            scores = {"content": self._scores(piece), "refusal": None} if self._logprobs else None
            for index in self._choices:
                yield self._frame(index, {"content": "".join(piece)}, filters=_SAFE_RAW, logprobs=scores)

    def _fragments(self) -> Iterator[bytes]:
        for index in self._choices:
            for place, call in enumerate(self._plan.calls):
                yield self._frame(index, self._opened(index, place), filters={})
                for piece in text.split(call.arguments):
                    yield self._frame(index, self._continued(place, piece), filters={})

    def _opened(self, index: int, place: int) -> dict[str, Any]:
        function = {"name": self._plan.calls[place].name, "arguments": ""}
        if self._legacy:
            return {"function_call": function}
        return {"tool_calls": [{"index": place, **self._call(index, place), "function": function}]}

    def _continued(self, place: int, piece: str) -> dict[str, Any]:
        if self._legacy:
            return {"function_call": {"arguments": piece}}
        return {"tool_calls": [{"index": place, "function": {"arguments": piece}}]}

    def closing(self) -> Iterator[bytes]:
        """The finish, and the usage if it was asked for."""
        for index in self._choices:
            yield self._frame(index, {}, filters={}, finish=self._finish())
        options = self._body.stream_options
        if options is not None and options.include_usage:
            about = {"choices": [], **self._about, "object": "chat.completion.chunk"}
            yield sse(_encode(about | {"usage": self._usage}))

    def _frame(
        self, index: int, delta: Any, *, filters: Any, finish: str | None = None, logprobs: Any = None
    ) -> bytes:
        choice = {
            "content_filter_results": filters,
            "delta": delta,
            "finish_reason": finish,
            "index": index,
            "logprobs": logprobs,
        }
        return sse(
            _encode({"choices": [choice], **self._about, "object": "chat.completion.chunk", "usage": None})
        )


@lru_cache(maxsize=256)
def _joined(tokens: tuple[str, ...]) -> str:
    return "".join(tokens)


def _score(token: str, rank: int = 0) -> dict[str, Any]:
    shown = token if rank == 0 else f"{token}{rank}"
    return {"token": shown, "logprob": -0.01 - rank, "bytes": list(shown.encode())}
