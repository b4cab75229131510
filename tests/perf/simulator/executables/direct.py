"""Ask an executable without a process in between."""

from __future__ import annotations

import json
from typing import Any

from perf.simulator.answers import EventStream, Refused, Reply
from perf.simulator.executables import EXECUTABLES
from perf.simulator.executables.base import Call
from perf.simulator.models import MODELS
from perf.simulator.settings import Pace


def answered(model: str, subpath: str, body: Any, *, pace: Pace | None = None) -> Reply | EventStream:
    """What a model's server answers; a refusal is an answer too."""
    handler = EXECUTABLES[MODELS[model].executable].handler(subpath)
    assert handler is not None, f"{subpath} is not allowed"
    try:
        return handler(Call(MODELS[model], {}, json.dumps(body).encode(), pace or Pace(answer_tokens=4)))
    except Refused as refused:
        return refused.reply


def unary(model: str, subpath: str, body: Any) -> tuple[int, Any]:
    """Status and JSON of a whole answer."""
    reply = answered(model, subpath, body)
    assert isinstance(reply, Reply)
    return reply.status, json.loads(reply.body)


def streamed(model: str, subpath: str, body: Any, *, pace: Pace | None = None) -> list[Any]:
    """The payloads of a stream, `[DONE]` as text; silences are left out."""
    stream = answered(model, subpath, body, pace=pace)
    assert isinstance(stream, EventStream), stream
    sent = b"".join([*(step for step in stream.frames if isinstance(step, bytes)), stream.done])
    lines = [part.removeprefix("data: ") for part in sent.decode().split("\n\n") if part]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
