"""An orchestration deployment without the network, and requests to it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from perf.simulator.answers import EventStream, Reply
from perf.simulator.executables import orchestration
from perf.simulator.executables.base import Call
from perf.simulator.settings import Pace
from tests.perf.simulator.conftest import frames

CLAUDE = "anthropic--claude-4.5-sonnet"
USER = {"role": "user", "content": "echo: hello there"}


def modules(
    said: Any = "echo: hello there",
    model: str = "gpt-4.1",
    *,
    params: dict[str, Any] | None = None,
    prompt: dict[str, Any] | None = None,
    details: dict[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """A module configuration with one user message in its template."""
    chosen = {"name": model, **({} if params is None else {"params": params}), **(details or {})}
    template = {"template": [{"role": "user", "content": said}], **(prompt or {})}
    return {"prompt_templating": {"prompt": template, "model": chosen}, **others}


def body(configured: Any, *, stream: bool = False, **top: Any) -> dict[str, Any]:
    """A request; `top` are members beside the configuration."""
    config = {"modules": configured} | ({"stream": {"enabled": True}} if stream else {})
    return {"config": config, **top}


def send(document: Any, **pace: Any) -> Reply | EventStream:
    """The answer to a completion."""
    raw = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return orchestration.complete(Call(None, {}, raw, Pace(**pace)))


def ask(*args: Any, top: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """The document of a unary answer to one module configuration; of a refusal the error."""
    return read(send(body(modules(*args, **options), **(top or {}))))


def read(answer: Reply | EventStream) -> dict[str, Any]:
    """The document of a unary answer; of a refusal the error."""
    assert isinstance(answer, Reply)
    document: dict[str, Any] = json.loads(answer.body)
    if answer.status == 200:
        return document
    error: dict[str, Any] = document["error"]
    assert answer.status == error["code"]
    return error


def streamed(document: Any, **pace: Any) -> list[Any]:
    """All frames of a stream, `[DONE]` as text."""
    answer = send(document, **pace)
    assert isinstance(answer, EventStream), answer
    steps = [step for step in answer.frames if isinstance(step, bytes)]
    return frames(b"".join([*steps, answer.done]).decode())


def said(document: dict[str, Any]) -> Any:
    """The content of a unary answer."""
    return document["final_result"]["choices"][0]["message"]["content"]
