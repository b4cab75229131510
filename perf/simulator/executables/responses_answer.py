"""Azure's Responses API: how an answer is written, whole and as events (wire §4.2, §8.10)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from perf.simulator import text
from perf.simulator.answers import Step, sse
from perf.simulator.errors import Problem
from perf.simulator.executables import chat
from perf.simulator.executables.responses_body import ENCRYPTED, LOGPROBS, Body
from perf.simulator.executables.responses_items import Item, as_message, encrypted
from perf.simulator.models import Model

Event = tuple[str, dict[str, Any]]
"""A type, and the members besides."""

_REASONING_TOKENS = {"none": 0, "minimal": 0, "low": 8, "medium": 16, "high": 32, "xhigh": 64}
_SUMMARIES = (
    "**Counting what was asked**\n\nEvery word counts.",
    "**Answering it**\n\nNothing is left out.",
)
_CACHE_STEP = 128
_CACHE_START = 1024
"""Prefixes are cached from that many tokens on, in steps."""

_SAFE = {
    name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
}
_NOISE = "k3Xq8ZtW1bRfY5mJ"


def wish(body: Body, model: Model, items: Sequence[Item], answer_tokens: int) -> chat.Wish:
    """What the body asks for, in the terms of the shared planner."""
    wanted = body.format
    schema = chat.JsonSchema(wanted.name, wanted.schema) if wanted.name else None
    return chat.Wish(
        last=as_message(items[-1]) if items else chat.Message("user", ""),
        default_tokens=answer_tokens,
        functions=body.functions,
        tool_choice=body.choice,
        parallel=body.parallel_tool_calls is not False,
        response_format=chat.ResponseFormat(wanted.type, schema),
        stop=[],
        limit=body.max_output_tokens,
        reasoning_tokens=_REASONING_TOKENS[body.effort or "medium"] if model.efforts else 0,
    )


class Answer:
    """One answer: the response object at every stage, or the events of a stream."""

    def __init__(
        self, body: Body, model: Model, items: Sequence[Item], plan: chat.Plan, *, cached: int = 0
    ) -> None:
        """`cached` counts the tokens of the conversation that this one goes on from."""
        self._body = body
        self._model = model
        self._plan = plan
        self._key = f"{random.getrandbits(192):048x}"
        self._created = int(time.time())
        self._usage = self._count(items, cached if cached >= _CACHE_START else 0)
        self.output = [*self._reasoning(), *self._message(), *self._calls()]

    @property
    def cut(self) -> bool:
        """Whether `max_output_tokens` ended it."""
        return self._plan.finish == "length"

    # output items

    def _reasoning(self) -> Iterator[dict[str, Any]]:
        if not self._plan.reasoning_tokens:
            return
        asked = self._body.reasoning.summary if self._body.reasoning else None
        parts = {None: 0, "detailed": 2}.get(asked, 1)
        item: dict[str, Any] = {"id": f"rs_{self._key}", "type": "reasoning"}
        if ENCRYPTED in (self._body.include or ()):
            item["encrypted_content"] = encrypted(self._key)
        yield item | {"summary": [{"type": "summary_text", "text": part} for part in _SUMMARIES[:parts]]}

    def _message(self) -> Iterator[dict[str, Any]]:
        if self._plan.calls or (self.cut and not self._plan.tokens):
            return
        part = self._part(self._plan.tokens)
        status = "incomplete" if self.cut else "completed"
        yield {
            "id": f"msg_{self._key}",
            "type": "message",
            "status": status,
            "content": [part],
            "role": "assistant",
        }

    def _part(self, tokens: tuple[str, ...]) -> dict[str, Any]:
        return {
            "type": "output_text",
            "annotations": [],
            "logprobs": self._scores(tokens),
            "text": "".join(tokens),
        }

    def _scores(self, tokens: tuple[str, ...]) -> list[dict[str, Any]]:
        if LOGPROBS not in (self._body.include or ()):
            return []
        ranks = range(self._body.top_logprobs or 0)
        return [_score(token) | {"top_logprobs": [_score(token, rank) for rank in ranks]} for token in tokens]

    def _calls(self) -> Iterator[dict[str, Any]]:
        for place, call in enumerate(self._plan.calls):
            yield {
                "id": f"fc_{self._key}{place:02d}",
                "type": "function_call",
                "status": "completed",
                "arguments": call.arguments,
                "call_id": f"call_{self._key[:20]}{place:02d}",
                "name": call.name,
            }

    def _count(self, items: Sequence[Item], cached: int) -> dict[str, Any]:
        messages = [as_message(item) for item in items]
        given = chat.prompt_tokens(messages, self._body.functions)
        given += text.count(len(self._body.instructions or ""))
        made = self._plan.completion_tokens
        cached = min(cached, given) // _CACHE_STEP * _CACHE_STEP
        return {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": self._plan.reasoning_tokens},
            "total_tokens": given + made,
        }

    # the response object

    def response(self, status: str) -> dict[str, Any]:
        """The response at a stage of its life; output, usage and filters come with the last."""
        body = self._body
        ended = status in ("completed", "incomplete")
        wanted = body.format
        return {
            "id": f"resp_{self._key}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": bool(body.background),
            "completed_at": self._created if ended else None,
            "content_filters": [_filtered("prompt"), _filtered("completion")] if ended else None,
            "error": None,
            "frequency_penalty": 0.0,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": body.max_tool_calls,
            "metadata": body.metadata or {},
            "model": self._model.snapshot,
            "output": self.output if ended else [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "presence_penalty": 0.0,
            "previous_response_id": body.previous_response_id,
            "prompt_cache_key": body.prompt_cache_key,
            "prompt_cache_retention": body.prompt_cache_retention,
            "reasoning": {
                "effort": body.effort or ("medium" if self._model.efforts else None),
                "summary": body.reasoning.summary if body.reasoning else None,
            },
            "safety_identifier": body.safety_identifier,
            "service_tier": "default",
            "store": body.store is not False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": {
                "format": _shown(wanted),
                "verbosity": (body.text and body.text.verbosity) or "medium",
            },
            "tool_choice": body.tool_choice or "auto",
            "tools": [{**_shown(tool), "strict": tool.strict is not False} for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": body.truncation or "disabled",
            "usage": self._usage if ended else None,
            "user": body.user,
        }

    def final(self) -> dict[str, Any]:
        """The response when all is done."""
        return self.response("incomplete" if self.cut else "completed")

    # events

    def events(self, size: int) -> Iterator[Event]:
        """The events of a stream, `size` tokens in each piece of text."""
        if self._body.background:
            yield "response.created", {"response": self.response("queued")}
            yield "response.queued", {"response": self.response("queued")}
        else:
            yield "response.created", {"response": self.response("in_progress")}
        yield "response.in_progress", {"response": self.response("in_progress")}
        for place, item in enumerate(self.output):
            yield from self._item(place, item, size)
        final = self.final()
        yield f"response.{final['status']}", {"response": final}

    def _item(self, place: int, item: dict[str, Any], size: int) -> Iterator[Event]:
        opened = {name: value for name, value in item.items() if name != "encrypted_content"}
        opened |= _OPENED[item["type"]]
        where = {"item_id": item["id"], "output_index": place}
        yield "response.output_item.added", {"output_index": place, "item": opened}
        yield from self._inside(item, where, size)
        yield "response.output_item.done", {"output_index": place, "item": item}

    def _inside(self, item: dict[str, Any], where: dict[str, Any], size: int) -> Iterator[Event]:
        if item["type"] == "reasoning":
            for number, part in enumerate(item["summary"]):
                yield from self._summary(part, where | {"summary_index": number})
        elif item["type"] == "message":
            yield from self._text(item["content"][0], where | {"content_index": 0}, size)
        else:
            for piece in text.split(item["arguments"]):
                yield self._delta("response.function_call_arguments", piece, where)
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield "response.function_call_arguments.done", where | done

    def _summary(self, part: dict[str, Any], where: dict[str, Any]) -> Iterator[Event]:
        yield "response.reasoning_summary_part.added", {**where, "part": part | {"text": ""}}
        for piece in text.split(part["text"]):
            yield self._delta("response.reasoning_summary_text", piece, where)
        yield "response.reasoning_summary_text.done", where | {"text": part["text"]}
        yield "response.reasoning_summary_part.done", where | {"part": part}

    def _text(self, part: dict[str, Any], where: dict[str, Any], size: int) -> Iterator[Event]:
        yield "response.content_part.added", {**where, "part": part | {"text": "", "logprobs": []}}
        tokens = self._plan.tokens
        for at in range(0, len(tokens), size):
            piece = tokens[at : at + size]
            scores = {"logprobs": self._scores(piece)}
            yield self._delta("response.output_text", "".join(piece), where | scores)
        done = {"text": part["text"], "logprobs": part["logprobs"]}
        yield "response.output_text.done", where | done
        yield "response.content_part.done", {**where, "part": part}

    def _delta(self, kind: str, piece: str, where: dict[str, Any]) -> Event:
        members = {**where, "delta": piece}
        options = self._body.stream_options
        if options is None or options.include_obfuscation:
            # Pads every delta to a multiple of 16, so that its length tells nothing of its content.
            members["obfuscation"] = _NOISE[len(piece) % 16 :]
        return f"{kind}.delta", members


_OPENED: dict[str, dict[str, Any]] = {
    "reasoning": {"summary": []},
    "message": {"status": "in_progress", "content": []},
    "function_call": {"status": "in_progress", "arguments": ""},
}
"""What an item looks like before it has anything in it."""


def _shown(given: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(given).items() if value is not None}


def _filtered(source: str) -> dict[str, Any]:
    return {
        "blocked": False,
        "content_filter_offsets": {"check_offset": 0, "start_offset": 0, "end_offset": 0},
        "content_filter_raw": [],
        "content_filter_results": _SAFE,
        "source_type": source,
    }


def _score(token: str, rank: int = 0) -> dict[str, Any]:
    shown = token if rank == 0 else f"{token}{rank}"
    return {"token": shown, "logprob": -0.01 - rank, "bytes": list(shown.encode())}


class Script:
    """The frames of a stream, with numbers that fit wherever it breaks off. No `event:` line, no `[DONE]`."""

    def __init__(self, answer: Answer, size: int, interval: float) -> None:
        """`interval` are the seconds of silence before every piece of content."""
        events = list(answer.events(size))
        deltas = [kind.endswith(".delta") for kind, _ in events]
        *self._frames, self.last = (_frame(number, *event) for number, event in enumerate(events))
        self.opening = deltas.index(True) if True in deltas else len(self._frames)
        self._deltas = deltas
        self._interval = interval
        self._answer = answer
        self._sent = 0

    def steps(self) -> Iterator[Step]:
        """All frames but the last."""
        for number, frame in enumerate(self._frames):
            if self._interval and self._deltas[number]:
                yield self._interval
            self._sent = number + 1
            yield frame

    def failed(self, problem: Problem) -> bytes:
        """The end of a stream that is throttled: a response without an error, then the error (wire §4.2)."""
        error = {
            "type": "too_many_requests",
            "code": "too_many_requests",
            "message": problem.message,
            "param": None,
        }
        return _frame(self._sent, "response.failed", {"response": self._answer.response("failed")}) + _frame(
            self._sent + 1, "error", {"error": error}
        )


def _frame(number: int, kind: str, members: dict[str, Any]) -> bytes:
    return sse(msgspec.json.encode({"type": kind, "sequence_number": number, **members}))
