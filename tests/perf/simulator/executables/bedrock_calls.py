"""Calls of the Bedrock executable without a server, and the shortest bodies it takes."""

from __future__ import annotations

import ast
import json
from typing import Any

from perf.simulator.answers import EventStream, Refused, Reply
from perf.simulator.executables.base import Call
from perf.simulator.executables.bedrock import EXECUTABLE
from perf.simulator.models import MODELS
from perf.simulator.settings import Pace

SONNET_45 = "anthropic--claude-4.5-sonnet"
SONNET_46 = "anthropic--claude-4.6-sonnet"
OPUS_46 = "anthropic--claude-4.6-opus"
OPUS_48 = "anthropic--claude-4.8-opus"
NOVA = "amazon--nova-pro"
MICRO = "amazon--nova-micro"
TITAN = "amazon--titan-embed-text"

EVENTSTREAM = b"application/vnd.amazon.eventstream"


def call(subpath: str, body: Any, model: str, *, accept: bytes = b"*/*", **pace: Any) -> Reply | EventStream:
    """What a route answers. Raises Refused."""
    asked = Call(
        MODELS[model], {}, json.dumps(body).encode(), Pace(**pace), subpath, headers={b"accept": accept}
    )
    return EXECUTABLE.routes[subpath](asked)


def whole(subpath: str, body: Any, model: str, **pace: Any) -> Any:
    """The document of a unary answer."""
    reply = call(subpath, body, model, **pace)
    assert isinstance(reply, Reply)
    return json.loads(reply.body)


def refusal(subpath: str, body: Any, model: str) -> str:
    """The message of a 400; empty if the body is taken."""
    try:
        call(subpath, body, model)
    except Refused as refused:
        reply = refused.reply
    else:
        return ""
    document = json.loads(reply.body)
    assert (400, ["message"]) == (reply.status, list(document))
    return str(document["message"])


def stream(subpath: str, body: Any, model: str, *, accept: bytes = b"*/*", **pace: Any) -> bytes:
    """All bytes of a stream."""
    answer = call(subpath, body, model, accept=accept, **pace)
    assert isinstance(answer, EventStream)
    return b"".join(step for step in answer.frames if isinstance(step, bytes)) + answer.done


def payloads(raw: bytes) -> list[str]:
    """The `data:` lines of a text stream; nothing else may be in it."""
    parts = raw.decode().split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") and "\n" not in part for part in parts)
    return [part.removeprefix("data: ") for part in parts]


def claude_events(raw: bytes) -> list[Any]:
    """The events of an `invoke` stream."""
    return [json.loads(payload) for payload in payloads(raw)]


def converse_events(raw: bytes) -> list[Any]:
    """The events of a `converse` stream."""
    return [ast.literal_eval(payload) for payload in payloads(raw)]


def claude(said: Any = "echo: hello there", **fields: Any) -> dict[str, Any]:
    """A body for `invoke`; a field of None is left out."""
    messages = said if isinstance(said, list) else [{"role": "user", "content": said}]
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 4096, "messages": messages, **fields}
    return {name: value for name, value in body.items() if value is not None}


def talk(said: Any = "echo: hello there", **fields: Any) -> dict[str, Any]:
    """A body for `converse`."""
    messages = said if isinstance(said, list) else [user({"text": said})]
    return {"messages": messages, **fields}


def user(*blocks: Any) -> dict[str, Any]:
    """A user message."""
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    """A message of the model."""
    return {"role": "assistant", "content": list(blocks)}
