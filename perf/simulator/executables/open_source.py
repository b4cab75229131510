"""aicore-mistralai and aicore-opensource: OpenAI-like servers with their own habits (wire §4.6).

`model` is required and must match; no api-version; unknown members are ignored (u); `finish_reason` is `stop`
although `tool_calls` is filled. Mistral wants user and assistant to take turns. A model that can reason puts
its thoughts in `reasoning_content` if `reasoning_effort` or `chat_template_kwargs.enable_thinking` asks (u).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from perf.simulator import text
from perf.simulator.answers import EventStream, Reply, Step, sse
from perf.simulator.errors import Problem, new_uuid, vllm
from perf.simulator.executables import chat
from perf.simulator.executables.base import Call, Executable
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.validation import BadBody, decode
from perf.simulator.models import Model
from perf.simulator.settings import Pace

_encode = msgspec.json.encode
_THOUGHTS = ("Counting", " what", " was", " asked.")

Limit = Annotated[int, msgspec.Meta(ge=1)]


class ChatBody(msgspec.Struct, gc=False):
    """The request body, as far as it matters; the rest is ignored."""

    messages: Annotated[list[chat.Message], msgspec.Meta(min_length=1)]
    model: str
    stream: bool | None = None
    stream_options: chat.StreamOptions | None = None
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=16)] | None = None
    stop: str | list[str] | None = None
    response_format: chat.ResponseFormat | None = None
    tools: list[chat.Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(ChatBody)


def completions(call: Call) -> Reply | EventStream:
    """`POST chat/completions`."""
    model = call.model
    assert model is not None, "only orchestration has no model"
    try:
        body = decode(_DECODER, call.body)
        _check(body, model)
        planned = chat.plan(_wish(body, model, call.pace))
    except (BadBody, Invalid) as error:
        raise MISTRAL.refuse(error.problem) from error
    answer = Answer(body, model, planned)
    if not body.stream:
        return Reply(200, answer.whole())
    return EventStream(_paced(answer, call), opening=1)


def _paced(answer: Answer, call: Call) -> Iterator[Step]:
    yield answer.opening()
    for frame in answer.content(call.pace.chunk_size):
        if call.interval:
            yield call.interval
        yield frame
    yield from answer.closing()


def _check(body: ChatBody, model: Model) -> None:
    if body.model != model.name:
        raise BadBody(Problem(404, f"The model `{body.model}` does not exist.", param="model"))
    if body.stream_options is not None and not body.stream:
        raise Invalid("Stream options can only be defined when `stream=True`.", param="stream_options")
    if body.tool_choice not in (None, "none") and not body.tools:
        raise Invalid("When using `tool_choice`, `tools` must be set.", param="tool_choice")
    if model.alternates:
        _check_turns(body.messages)
    chat.check_messages(body.messages)


def _check_turns(messages: list[chat.Message]) -> None:
    turns = [m for m in messages if m.role not in ("system", "developer")]
    before = "assistant"
    for turn in turns:
        allowed = {"user": ("assistant",), "assistant": ("user", "tool"), "tool": ("assistant", "tool")}.get(
            turn.role, ()
        )
        if before not in allowed or (turn is turns[0] and turn.role != "user"):
            raise Invalid(
                "After the optional system message, conversation roles must alternate "
                "user/assistant/user/assistant/..."
            )
        before = turn.role


def _wish(body: ChatBody, model: Model, pace: Pace) -> chat.Wish:
    return chat.Wish(
        last=body.messages[-1],
        default_tokens=pace.answer_tokens,
        functions=[tool.function for tool in body.tools or ()],
        tool_choice=body.tool_choice,
        parallel=body.parallel_tool_calls is not False,
        response_format=body.response_format,
        stop=[body.stop] if isinstance(body.stop, str) else body.stop or [],
        limit=body.max_completion_tokens or body.max_tokens,
        reasoning_tokens=len(_THOUGHTS) if _thinks(body, model) else 0,
    )


def _thinks(body: ChatBody, model: Model) -> bool:
    asked = body.reasoning_effort not in (None, "none") or (body.chat_template_kwargs or {}).get(
        "enable_thinking"
    )
    return bool(asked) and "reasoning" in model.capabilities


class Answer:
    """One answer: whole, or as the frames of a stream."""

    def __init__(self, body: ChatBody, model: Model, plan: chat.Plan) -> None:
        self._body = body
        self._plan = plan
        self._key = new_uuid().replace("-", "")
        self._about = {"id": f"chatcmpl-{self._key}", "created": int(time.time()), "model": model.name}
        self._choices = range(body.n or 1)
        self._thoughts = _THOUGHTS[: plan.reasoning_tokens]

    def whole(self) -> bytes:
        """The body of a unary answer."""
        return _encode(
            {
                **self._about,
                "object": "chat.completion",
                "choices": [self._choice(index) for index in self._choices],
                "usage": self._usage(),
                "prompt_logprobs": None,
            }
        )

    def _choice(self, index: int) -> dict[str, Any]:
        plan = self._plan
        message = {
            "role": "assistant",
            "reasoning_content": "".join(self._thoughts) or None,
            "content": None if plan.calls else "".join(plan.tokens),
            "tool_calls": [self._call(index, place) for place in range(len(plan.calls))],
        }
        return {
            "index": index,
            "message": message,
            "logprobs": None,
            "finish_reason": self._finish(),
            "stop_reason": None,
        }

    def _finish(self) -> str:
        return "length" if self._plan.finish == "length" else "stop"

    def _call(self, index: int, place: int) -> dict[str, Any]:
        # Mistral's own ids have nine characters.
        return {
            "id": f"{self._key[:5]}{index:02d}{place:02d}",
            "type": "function",
            "function": self._plan.calls[place],
        }

    def _usage(self) -> dict[str, Any]:
        functions = [tool.function for tool in self._body.tools or ()]
        prompt = chat.prompt_tokens(self._body.messages, functions)
        completion = self._plan.completion_tokens * len(self._choices)
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + completion,
            "completion_tokens": completion,
            "prompt_tokens_details": None,
        }

    # frames

    def opening(self) -> bytes:
        """The role."""
        return b"".join(self._frame(index, {"role": "assistant", "content": ""}) for index in self._choices)

    def content(self, size: int) -> Iterator[bytes]:
        """Thoughts, then a frame for every `size` tokens, or the tool calls in fragments."""
        for index in self._choices:
            for thought in self._thoughts:
                yield self._frame(index, {"reasoning_content": thought})
            before, after = self._frame(index, {"content": "\0"}).split(rb'"\u0000"')
            for token in text.group(self._plan.tokens, size):
                yield b"%b%b%b" % (before, _encode(token), after)
            for place, call in enumerate(self._plan.calls):
                yield from self._fragments(index, place, call)

    def _fragments(self, index: int, place: int, call: chat.FunctionCall) -> Iterator[bytes]:
        opened = {
            "index": place,
            **self._call(index, place),
            "function": {"name": call.name, "arguments": ""},
        }
        yield self._frame(index, {"tool_calls": [opened]})
        for piece in text.split(call.arguments):
            yield self._frame(index, {"tool_calls": [{"index": place, "function": {"arguments": piece}}]})

    def closing(self) -> Iterator[bytes]:
        """The finish, and the usage if it was asked for."""
        for index in self._choices:
            yield self._frame(index, {"content": ""}, finish=self._finish(), stop_reason=None)
        options = self._body.stream_options
        if options is not None and options.include_usage:
            about = {**self._about, "object": "chat.completion.chunk", "choices": []}
            yield sse(_encode(about | {"usage": self._usage()}))

    def _frame(self, index: int, delta: dict[str, Any], *, finish: str | None = None, **extra: Any) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **extra}
        return sse(_encode({**self._about, "object": "chat.completion.chunk", "choices": [choice]}))


MISTRAL = Executable("aicore-mistralai", routes={"chat/completions": completions}, error_shape=vllm)
OPEN_SOURCE = Executable("aicore-opensource", routes={"chat/completions": completions}, error_shape=vllm)
