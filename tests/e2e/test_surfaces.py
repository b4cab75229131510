"""What every surface has in common, against the real process."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from perf.simulator.launch import Simulator
from tests.e2e.bodies import within
from tests.e2e.conftest import Stack

pytestmark = pytest.mark.e2e

CLAUDE = "anthropic--claude-4.6-sonnet"
MODELS = ["gpt-4.1-mini", CLAUDE, "gemini-3.5-flash"]
TEXT = "echo: hello there"
_MESSAGES = [{"role": "user", "content": TEXT}]

# Surface → path and body; `{model}` in a path is the model.
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": _MESSAGES}),
    "completions": ("/v1/completions", {"prompt": TEXT}),
    "responses": ("/v1/responses", {"input": TEXT}),
    "messages": ("/v1/messages", {"max_tokens": 100, "messages": _MESSAGES}),
}
BY_PATH = {
    "gemini": ("/v1beta/models/{model}:streamGenerateContent", {"contents": [{"parts": [{"text": TEXT}]}]}),
    "bedrock": (
        "/model/{model}/invoke-with-response-stream",
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": _MESSAGES},
    ),
}
ENVELOPES: dict[str, Any] = {
    "chat": lambda body: body["error"]["message"] and body["error"]["code"],
    "completions": lambda body: body["error"]["message"] and body["error"]["code"],
    "responses": lambda body: body["error"]["message"] and body["error"]["code"],
    "messages": lambda body: body["type"] == "error" and body["error"]["type"],
    "gemini": lambda body: body["error"]["code"] and body["error"]["status"],
    "bedrock": lambda body: body["message"],
}


def asked(
    http: httpx.Client, surface: str, model: str, *, heads: Any = None, **members: Any
) -> httpx.Response:
    """Ask for a stream, or as the members say."""
    if surface in BY_PATH:
        path, body = BY_PATH[surface]
        return http.post(path.format(model=model), json=body, headers=heads)
    path, body = BODIES[surface]
    return http.post(path, json={"model": model, **body, **members}, headers=heads)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("surface", [*BODIES, *BY_PATH])
def test_trap_16_nothing_on_the_way_holds_a_stream_back(http: httpx.Client, surface: str, model: str) -> None:
    """Trap 16: the head says so to every proxy, and nothing is compressed for whoever would take it."""
    answer = asked(http, surface, model, heads={"accept-encoding": "gzip, deflate, br"}, stream=True)
    kind = "application/vnd.amazon.eventstream" if surface == "bedrock" else "text/event-stream"

    assert (200, kind) == (answer.status_code, answer.headers["content-type"].partition(";")[0])
    assert ("no-cache", "no") == (answer.headers["cache-control"], answer.headers["x-accel-buffering"])
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("surface", [*BODIES, *BY_PATH])
def test_trap_16_pieces_leave_as_they_come(shared: Stack, surface: str) -> None:
    """Trap 16: a stream of many slow pieces is read in as many."""
    shared.tenant.set_pace(chunk_interval_ms=30)
    path, body = (BODIES | BY_PATH)[surface]
    body = json.loads(json.dumps(body).replace(TEXT, "echo: one two three four five six seven"))
    if surface in BODIES:
        body |= {"model": CLAUDE, "stream": True}
    with shared.client() as http, http.stream("POST", path.format(model=CLAUDE), json=body) as answer:
        pieces = list(answer.iter_raw())

    assert len(pieces) >= 7


@pytest.mark.parametrize("kind", ["503", "429", "reset", "throttled"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("surface", [*BODIES, *BY_PATH])
def test_trap_18_the_status_comes_before_the_stream(
    http: httpx.Client, tenant: Simulator, surface: str, model: str, kind: str
) -> None:
    """Traps 18, 23: a stream that cannot begin is no 200, and the error is in the caller's own form."""
    tenant.set_fault(kind, model=model)
    answer = asked(http, surface, model, stream=True)

    assert {"503": 503, "reset": 502}.get(kind, 429) == answer.status_code
    assert "application/json" == answer.headers["content-type"]
    assert ENVELOPES[surface](answer.json())


@pytest.mark.parametrize("said", [{}, {"stream": None}, {"stream": False}])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("surface", BODIES)
def test_trap_25_without_a_word_nothing_is_streamed(
    http: httpx.Client, surface: str, model: str, said: dict[str, Any]
) -> None:
    """Trap 25: one default everywhere, also up there."""
    answer = asked(http, surface, model, **said)

    assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])
    assert "hello there" in answer.text


def test_trap_57_a_request_is_one_line_of_the_log(http: httpx.Client, shared: Stack) -> None:
    """Trap 57: however many pieces its stream has; the access log of the server is off."""
    asked(http, "chat", CLAUDE, heads={"x-request-id": "one-line"}, stream=True)
    within(3, lambda: "one-line" in shared.gateway.log())

    assert 1 == shared.gateway.log().count("one-line")


# --- what Claude Code sends ------------------------------------------------------------------------------


def test_trap_59_telemetry_is_taken(http: httpx.Client, anonymous: httpx.Client, tenant: Simulator) -> None:
    """Trap 59: accepted with a key, not without; nothing of it goes upstream."""
    path, events = "/api/event_logging/batch", {"events": [{"event_type": "x"}]}
    answer = http.post(path, json=events)

    assert (200, {"status": "success"}) == (answer.status_code, answer.json())
    assert 401 == anonymous.post(path, json=events).status_code
    assert 0 == tenant.stats()["requests"]


@pytest.mark.parametrize("path", ["/v1/messages?beta=true", "/anthropic/v1/messages?beta=true", "/messages"])
def test_trap_59_a_warmup_is_a_request_like_any_other(http: httpx.Client, path: str) -> None:
    """Trap 59: with its query, its list of betas, and the dated name of a small model."""
    body = {
        "model": "claude-haiku-4-5-20251001", "max_tokens": 1, "stream": True,
        "messages": [{"role": "user", "content": "Warmup"}],
    }  # fmt: skip
    heads = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,unheard-of-2099-01-01",
    }
    answer = http.post(path, json=body, headers=heads)

    assert 200 == answer.status_code
    assert "event: message_stop" in answer.text


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/anthropic/v1/models", "/v1beta/models"])
def test_trap_60_models_are_listed_wherever_clients_look(
    http: httpx.Client, anonymous: httpx.Client, path: str
) -> None:
    """Trap 60: with a key."""
    assert CLAUDE in http.get(path).text
    assert 401 == anonymous.get(path).status_code
