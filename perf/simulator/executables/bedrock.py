"""aws-bedrock: Claude by `invoke` and `converse`, Nova by `converse`, Titan's embeddings by `invoke`.

What the wire document says of the refusals of the wrong operation is only that they fail (wire §4.4, §5.3);
their texts are Amazon's usual ones (u).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

from perf.simulator.answers import EventStream, Reply, reply_json
from perf.simulator.executables import bedrock_wire, checks, claude_answer, converse_answer, titan
from perf.simulator.executables.base import Call, Executable
from perf.simulator.executables.bedrock_plan import Decision
from perf.simulator.executables.bedrock_wire import CONVERSE, INVOKE, Encoding
from perf.simulator.executables.chat import Invalid
from perf.simulator.models import Model

MAX_KEPT_BODY = 256 << 10
"""Larger bodies are read anew each time."""

Decide = Callable[[Any, Model, int], Decision]


class Answer(Protocol):
    """What both dialects can do with a decision."""

    def whole(self) -> dict[str, Any]:
        """The body of a unary answer."""

    def steps(self, size: int) -> Any:
        """Groups of events."""

    def last(self) -> list[dict[str, Any]]:
        """The events without which the stream is not complete."""


def invoke(call: Call) -> Reply:
    """`POST invoke`."""
    if _model(call).dimensions:
        return reply_json(_embedded(call))
    return reply_json(_claude(call).whole())


def invoke_stream(call: Call) -> EventStream:
    """`POST invoke-with-response-stream`."""
    if _model(call).dimensions:
        raise _refusal("The model is unsupported for streaming")
    return _streamed(call, _claude(call), INVOKE, claude_answer.OPENING)


def converse(call: Call) -> Reply:
    """`POST converse`."""
    return reply_json(_conversing(call).whole())


def converse_stream(call: Call) -> EventStream:
    """`POST converse-stream`."""
    return _streamed(call, _conversing(call), CONVERSE, converse_answer.OPENING)


def _claude(call: Call) -> Answer:
    if _model(call).claude is None:
        raise _refusal("The invoke operation is not supported with this model. Use the converse operation.")
    return claude_answer.Answer(_decided(call, claude_answer.decide), _model(call), call.pace.latency_ms)


def _conversing(call: Call) -> Answer:
    if _model(call).dimensions:
        raise _refusal(
            "This action doesn't support the model that you provided. Try again with a supported text or "
            "chat model."
        )
    decided = _decided(call, converse_answer.decide)
    return converse_answer.Answer(decided, call.pace.latency_ms)


def _decided(call: Call, decide: Decide) -> Decision:
    read = _understand if len(call.body) <= MAX_KEPT_BODY else _understand.__wrapped__
    try:
        return read(call.body, decide, _model(call), call.pace.answer_tokens)
    except Invalid as error:
        raise EXECUTABLE.refuse(error.problem) from error


@lru_cache(maxsize=64)
def _understand(body: bytes, decide: Decide, model: Model, answer_tokens: int) -> Decision:
    """Check a body and decide its answer. The same bytes give the same, so benchmarks pay for it once."""
    return decide(checks.read(body), model, answer_tokens)


def _embedded(call: Call) -> dict[str, Any]:
    try:
        return titan.answer(checks.read(call.body), _model(call))
    except Invalid as error:
        raise EXECUTABLE.refuse(error.problem) from error


def _streamed(call: Call, answer: Answer, text: Encoding, opening: int) -> EventStream:
    encoding = bedrock_wire.wanted(call, text)
    return encoding.stream(answer.steps(call.pace.chunk_size), answer.last(), opening, call)


def _model(call: Call) -> Model:
    assert call.model is not None, "only orchestration has no model"
    return call.model


def _refusal(message: str) -> Exception:
    return EXECUTABLE.refuse(Invalid(message).problem)


EXECUTABLE = Executable(
    "aws-bedrock",
    routes={
        "invoke": invoke,
        "invoke-with-response-stream": invoke_stream,
        "converse": converse,
        "converse-stream": converse_stream,
    },
    error_shape=bedrock_wire.refusal,
)
