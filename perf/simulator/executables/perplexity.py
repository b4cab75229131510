"""perplexity-ai: chat completions whose answers name their sources (wire §4.6, §5.6).

Choices where the wire document is unsure (u): tools are refused in every spelling, other unknown members are
ignored; turns must alternate and end with the user; the sources come with the last frame, the usage so far
with every one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from perf.simulator import text
from perf.simulator.answers import EventStream, Reply, Step, sse
from perf.simulator.errors import new_uuid, perplexity
from perf.simulator.executables import chat
from perf.simulator.executables.base import Call, Executable
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.validation import BadBody, decode
from perf.simulator.models import Model

_encode = msgspec.json.encode

_TOOLS = ("tools", "tool_choice", "functions", "function_call", "parallel_tool_calls")
_SOURCES = [
    {"title": f"Source {letter}", "url": f"https://example.org/{letter}", "date": "2026-03-03"}
    for letter in "ab"
]


class ChatBody(msgspec.Struct, gc=False):
    """The request body, as far as it matters; the rest is ignored."""

    messages: Annotated[list[chat.Message], msgspec.Meta(min_length=1)]
    model: str
    stream: bool = False
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, lt=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    stop: str | list[str] | None = None
    response_format: chat.ResponseFormat | None = None
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    parallel_tool_calls: Any = None


_DECODER = msgspec.json.Decoder(ChatBody)


def completions(call: Call) -> Reply | EventStream:
    """`POST chat/completions`."""
    model = call.model
    assert model is not None, "only orchestration has no model"
    try:
        body = decode(_DECODER, call.body)
        _check(body, model)
        planned = chat.plan(_wish(body, call.pace.answer_tokens))
    except (BadBody, Invalid) as error:
        raise EXECUTABLE.refuse(error.problem) from error
    answer = Answer(body, model, planned)
    return EventStream(_paced(answer, call), opening=1) if body.stream else Reply(200, answer.whole())


def _paced(answer: Answer, call: Call) -> Iterator[Step]:
    yield answer.opening()
    for frame in answer.content(call.pace.chunk_size):
        if call.interval:
            yield call.interval
        yield frame
    yield answer.closing()


def _check(body: ChatBody, model: Model) -> None:
    if body.model != model.name:
        raise Invalid(f"Invalid model '{body.model}'.", param="model", code="invalid_model")
    for name in _TOOLS:
        if getattr(body, name) is not None:
            raise Invalid(
                f"Tool calling is not supported for this model: '{name}'.", code="tool_calling_not_supported"
            )
    chat.check_messages(body.messages)
    turns = [message.role for message in body.messages if message.role not in ("system", "developer")]
    expected = [("user", "assistant")[place % 2] for place in range(len(turns))]
    if turns != expected:
        raise Invalid(
            "After the (optional) system message(s), user or tool message(s) should alternate with "
            "assistant message(s).",
            code="invalid_message",
        )
    if turns[-1:] != ["user"]:
        raise Invalid("Last message must have role `user`.", code="invalid_message")


def _wish(body: ChatBody, answer_tokens: int) -> chat.Wish:
    return chat.Wish(
        last=body.messages[-1],
        default_tokens=answer_tokens,
        functions=[],
        tool_choice=None,
        parallel=False,
        response_format=body.response_format,
        stop=[body.stop] if isinstance(body.stop, str) else body.stop or [],
        limit=body.max_tokens,
        reasoning_tokens=0,
    )


class Answer:
    """One answer: whole, or as the frames of a stream."""

    def __init__(self, body: ChatBody, model: Model, plan: chat.Plan) -> None:
        self._plan = plan
        self._prompt = chat.prompt_tokens(body.messages, [])
        self._about = {"id": new_uuid(), "created": int(time.time()), "model": model.name}
        self._sources = {"citations": [source["url"] for source in _SOURCES], "search_results": _SOURCES}

    def whole(self) -> bytes:
        """The body of a unary answer."""
        message = {"role": "assistant", "content": "".join(self._plan.tokens)}
        choice = {"index": 0, "message": message, "finish_reason": self._plan.finish}
        return _encode(
            {
                **self._about,
                "object": "chat.completion",
                "choices": [choice],
                "usage": self._usage(len(self._plan.tokens)),
                **self._sources,
            }
        )

    def _usage(self, told: int) -> dict[str, Any]:
        return {
            "prompt_tokens": self._prompt,
            "completion_tokens": told,
            "total_tokens": self._prompt + told,
            "search_context_size": "low",
        }

    def opening(self) -> bytes:
        """The role."""
        return self._frame("", 0)

    def content(self, size: int) -> Iterator[bytes]:
        """A frame for every `size` tokens."""
        for place, token in enumerate(text.group(self._plan.tokens, size), 1):
            yield self._frame(token, min(place * size, len(self._plan.tokens)))

    def closing(self) -> bytes:
        """The finish and the sources."""
        return self._frame("", len(self._plan.tokens), finish=self._plan.finish, **self._sources)

    def _frame(self, token: str, told: int, *, finish: str | None = None, **extra: Any) -> bytes:
        choice = {"index": 0, "delta": {"role": "assistant", "content": token}, "finish_reason": finish}
        about = {**self._about, "object": "chat.completion.chunk", "choices": [choice]}
        return sse(_encode(about | {"usage": self._usage(told), **extra}))


EXECUTABLE = Executable("perplexity-ai", routes={"chat/completions": completions}, error_shape=perplexity)
