"""aicore-cohere: Cohere's own v2 chat (wire §4.6).

Choices where the wire document is unsure (u): only `v2/chat` is served, not `chat`; frames are `data:` lines
without `event:`, and no terminator follows `message-end`; a reasoning model thinks unless `thinking` is
disabled, and only then it tells its plan for tool calls in `tool_plan`; an error inside a stream is a
`message-end` with the reason ERROR.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from perf.simulator import text
from perf.simulator.answers import EventStream, Reply, Step, reply_json, sse
from perf.simulator.errors import Problem, cohere, new_uuid
from perf.simulator.executables import chat, cohere_body
from perf.simulator.executables.base import Call, Executable
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.cohere_body import ChatBody
from perf.simulator.executables.validation import BadBody
from perf.simulator.models import Model
from perf.simulator.settings import Pace

_THOUGHTS = ("Considering", " what", " was", " asked.")
_PLAN = ("I", " will", " ask", " the", " tools.")
_CHOICES = {"REQUIRED": "required", "NONE": "none", None: "auto"}


def answer(call: Call) -> Reply | EventStream:
    """`POST v2/chat`."""
    assert call.model is not None, "only orchestration has no model"
    try:
        body = cohere_body.read(call.body, call.model)
        made = Answer(body, call.model, call.pace)
    except (BadBody, Invalid) as error:
        raise EXECUTABLE.refuse(error.problem) from error
    return EventStream(_paced(made, call), opening=1, done=b"") if body.stream else made.whole()


def _paced(answer: Answer, call: Call) -> Iterator[Step]:
    yield answer.opening()
    for frame in answer.content(call.pace.chunk_size):
        if call.interval:
            yield call.interval
        yield frame
    yield answer.closing()


class Answer:
    """One answer: whole, or as the frames of a stream. Raises Invalid for what cannot be answered."""

    def __init__(self, body: ChatBody, model: Model, pace: Pace) -> None:
        self._body = body
        self._id = new_uuid()
        wish = _wish(body, model, pace)
        self._plan = chat.plan(wish)
        self._finish = _finish(wish, self._plan)
        thinks = self._plan.reasoning_tokens
        self._thoughts = _THOUGHTS[:thinks]
        self._tool_plan = _PLAN if self._plan.calls and not thinks else ()

    def whole(self) -> Reply:
        """The unary answer."""
        plan = self._plan
        content: list[dict[str, Any]] = []
        if self._thoughts:
            content.append({"type": "thinking", "thinking": "".join(self._thoughts)})
        if not plan.calls:
            content.append({"type": "text", "text": "".join(plan.tokens)})
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if plan.calls:
            message["tool_calls"] = [self._call(place) for place in range(len(plan.calls))]
        if self._tool_plan:
            message["tool_plan"] = "".join(self._tool_plan)
        told = {"id": self._id, "message": message, "finish_reason": self._finish, "usage": self._usage()}
        return reply_json(told)

    def _call(self, place: int) -> dict[str, Any]:
        call = self._plan.calls[place]
        name = f"{call.name}_{self._id[:8]}{place:02d}"
        return {
            "id": name,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }

    def _usage(self) -> dict[str, Any]:
        functions = [tool.function for tool in self._body.tools or ()]
        prompt = chat.prompt_tokens(self._body.messages, functions)
        answered = self._plan.completion_tokens + len(self._tool_plan)
        return {
            "billed_units": {"input_tokens": prompt, "output_tokens": answered},
            "tokens": {"input_tokens": prompt, "output_tokens": answered},
            "cached_tokens": 0,
        }

    # frames

    def opening(self) -> bytes:
        """`message-start`."""
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        return _event("message-start", message, id=self._id)

    def content(self, size: int) -> Iterator[bytes]:
        """Blocks of thought and text, or the plan and the calls."""
        if self._thoughts:
            yield from _block(0, "thinking", text.group(self._thoughts, size))
        if not self._plan.calls:
            yield from _block(int(bool(self._thoughts)), "text", text.group(self._plan.tokens, size))
        for token in text.group(self._tool_plan, size):
            yield _event("tool-plan-delta", {"tool_plan": token})
        for place in range(len(self._plan.calls)):
            yield from self._fragments(place)

    def _fragments(self, place: int) -> Iterator[bytes]:
        call = self._call(place)
        arguments = call["function"]["arguments"]
        opened = call | {"function": {"name": call["function"]["name"], "arguments": ""}}
        yield _event("tool-call-start", {"tool_calls": opened}, index=place)
        for piece in text.split(arguments):
            yield _event("tool-call-delta", {"tool_calls": {"function": {"arguments": piece}}}, index=place)
        yield _event("tool-call-end", index=place)

    def closing(self) -> bytes:
        """`message-end` with the reason and the usage."""
        delta = {"finish_reason": self._finish, "usage": self._usage()}
        return _frame({"type": "message-end", "delta": delta})


def _wish(body: ChatBody, model: Model, pace: Pace) -> chat.Wish:
    last = body.messages[-1]
    thinks = "reasoning" in model.capabilities and (body.thinking is None or body.thinking.type == "enabled")
    wanted = body.response_format
    schema = None if wanted is None or wanted.json_schema is None else wanted.json_schema
    return chat.Wish(
        last=chat.Message("tool" if last.role == "tool" else "user", last.text()),
        default_tokens=pace.answer_tokens,
        functions=[tool.function for tool in body.tools or ()],
        tool_choice=_CHOICES[body.tool_choice],
        parallel=True,
        response_format=None if wanted is None else _format(wanted.type, schema),
        stop=body.stop_sequences or [],
        limit=body.max_tokens,
        reasoning_tokens=len(_THOUGHTS) if thinks else 0,
    )


def _format(kind: str, schema: dict[str, Any] | None) -> chat.ResponseFormat:
    if kind == "text" or schema is None:
        return chat.ResponseFormat("json_object" if kind == "json_object" else "text")
    return chat.ResponseFormat("json_schema", chat.JsonSchema("answer", schema))


def _finish(wish: chat.Wish, plan: chat.Plan) -> str:
    if plan.calls:
        return "TOOL_CALL"
    if plan.finish == "length":
        return "MAX_TOKENS"
    unstopped = chat.plan(msgspec.structs.replace(wish, stop=[]))
    return "COMPLETE" if plan.tokens == unstopped.tokens else "STOP_SEQUENCE"


def _block(index: int, kind: str, tokens: tuple[str, ...]) -> Iterator[bytes]:
    yield _event("content-start", {"content": {"type": kind, kind: ""}}, index=index)
    for token in tokens:
        yield _event("content-delta", {"content": {kind: token}}, index=index)
    yield _event("content-end", index=index)


def _event(kind: str, message: dict[str, Any] | None = None, **about: Any) -> bytes:
    delta = {} if message is None else {"delta": {"message": message}}
    return _frame({"type": kind, **about, **delta})


def _frame(event: dict[str, Any]) -> bytes:
    return sse(msgspec.json.encode(event))


def _broken(problem: Problem) -> bytes:
    return _frame({"type": "message-end", "delta": {"error": problem.message, "finish_reason": "ERROR"}})


EXECUTABLE = Executable("aicore-cohere", routes={"v2/chat": answer}, error_shape=cohere, error_frames=_broken)
