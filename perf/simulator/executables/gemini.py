"""gcp-vertexai: Gemini's generateContent, streamGenerateContent and predict (wire §4.5).

Any model may be named in the path; the deployment decides. A refusal of the streaming method stands in a list
of one (wire §6.1).
"""

from __future__ import annotations

from collections.abc import Iterator

from perf.simulator.answers import EventStream, Refused, Reply, Step
from perf.simulator.errors import google, google_listed, shaped
from perf.simulator.executables import gemini_body, gemini_embeddings, protojson
from perf.simulator.executables.base import Call, Executable
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.gemini_answer import Answer
from perf.simulator.executables.gemini_fields import MESSAGES
from perf.simulator.executables.validation import BadBody


def generate(call: Call) -> Reply:
    """`POST models/{model}:generateContent`."""
    try:
        return Reply(200, _answer(call).whole())
    except (BadBody, Invalid) as error:
        raise EXECUTABLE.refuse(error.problem) from error


def stream(call: Call) -> EventStream:
    """`POST models/{model}:streamGenerateContent`; server-sent events with and without `alt=sse`."""
    try:
        return EventStream(_paced(_answer(call), call), done=b"")
    except (BadBody, Invalid) as error:
        raise Refused(shaped(error.problem, google_listed)) from error


def predict(call: Call) -> Reply:
    """`POST models/{model}:predict`."""
    assert call.model is not None, "only orchestration has no model"
    try:
        return gemini_embeddings.answer(call.body, call.model)
    except (BadBody, Invalid) as error:
        raise EXECUTABLE.refuse(error.problem) from error


def _answer(call: Call) -> Answer:
    assert call.model is not None, "only orchestration has no model"
    body = protojson.read(call.body, "GenerateContentRequest", MESSAGES)
    thinking = gemini_body.check(body, call.model)
    return Answer(body, call.model, thinking, call.pace.answer_tokens)


def _paced(answer: Answer, call: Call) -> Iterator[Step]:
    for frame in answer.content(call.pace.chunk_size):
        if call.interval:
            yield call.interval
        yield frame
    yield from answer.closing()


_STREAM = "models/{model}:streamGenerateContent"

EXECUTABLE = Executable(
    "gcp-vertexai",
    routes={
        "models/{model}:generateContent": generate,
        _STREAM: stream,
        "models/{model}:predict": predict,
    },
    error_shape=google,
    refusal_shapes={_STREAM: google_listed},
)
