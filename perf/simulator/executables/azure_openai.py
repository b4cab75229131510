"""azure-openai: chat completions and embeddings behind an `api-version` (wire §4.1, §5.1), and responses.

Choices where the wire document is unsure (u): a missing or ill-formed api-version is 404 with the message
`Resource not found`; members that the 2024-10-21 schema lacks (`store`, `metadata`, `service_tier`, …) are
refused as unrecognized, except those that a newer api-version brought; reasoning models refuse `stop`,
`top_p`, penalties, `logit_bias` and logprobs, and of `temperature` and `n` any value but 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from perf.simulator.answers import EventStream, Reply, Step
from perf.simulator.errors import Problem, azure
from perf.simulator.executables import azure_chat, chat, embeddings, responses
from perf.simulator.executables.azure_body import ChatBody, check
from perf.simulator.executables.base import API_VERSION, Call, Executable
from perf.simulator.executables.validation import BadBody, decode
from perf.simulator.models import Model

MAX_KEPT_BODY = 256 << 10
"""Larger bodies are read anew each time."""

_DECODER = msgspec.json.Decoder(ChatBody)


def completions(call: Call) -> Reply | EventStream:
    """`POST chat/completions`."""
    model = _model(call)
    read = _understand if len(call.body) <= MAX_KEPT_BODY else _understand.__wrapped__
    try:
        answer = read(call.body, model, call.query["api-version"], call.pace.answer_tokens)
    except (BadBody, chat.Invalid) as error:
        raise EXECUTABLE.refuse(error.problem) from error
    answer = answer.again()
    if not answer.streams:
        return Reply(200, answer.whole())
    return EventStream(_paced(answer, call), opening=azure_chat.OPENING_FRAMES)


@lru_cache(maxsize=64)
def _understand(body: bytes, model: Model, api_version: str, answer_tokens: int) -> azure_chat.Answer:
    """Check a body and decide its answer. The same bytes give the same, so benchmarks pay for it once."""
    read = decode(_DECODER, body)
    check(read, model, api_version)
    return azure_chat.Answer(read, model, chat.plan(azure_chat.wish(read, model, answer_tokens)))


def _paced(answer: azure_chat.Answer, call: Call) -> Iterator[Step]:
    yield from answer.opening()
    for frame in answer.content(call.pace.chunk_size):
        if call.interval:
            yield call.interval
        yield frame
    yield from answer.closing()


def embed(call: Call) -> Reply:
    """`POST embeddings`."""
    model = _model(call)
    try:
        return embeddings.answer(call.body, model)
    except BadBody as error:
        raise EXECUTABLE.refuse(error.problem) from error


def _model(call: Call) -> Model:
    version = call.query.get("api-version", "")
    if call.model is None or not API_VERSION.match(version):
        raise EXECUTABLE.refuse(Problem(404, "Resource not found", code="404"))
    return call.model


EXECUTABLE = Executable(
    "azure-openai",
    routes={"chat/completions": completions, "embeddings": embed, **responses.ROUTES},
    error_shape=azure,
)
