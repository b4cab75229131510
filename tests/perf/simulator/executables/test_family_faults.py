"""The faults of Gemini, Cohere, NVIDIA and Perplexity, each in its own words."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.perf.simulator.conftest import Tenant, frames

GEMINI, COHERE, SONAR = "gemini-3.5-flash", "cohere--command-a-reasoning", "sonar"
NVIDIA = "nvidia--llama-3.2-nv-embedqa-1b"
SAID = "echo: a b c d"
CHAT = {"model": COHERE, "messages": [{"role": "user", "content": SAID}], "thinking": {"type": "disabled"}}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    GEMINI: (f"models/{GEMINI}:streamGenerateContent?alt=sse", {"contents": [{"parts": [{"text": SAID}]}]}),
    COHERE: ("v2/chat", CHAT | {"stream": True}),
    SONAR: ("chat/completions", {"model": SONAR, "messages": CHAT["messages"], "stream": True}),
}


def stream(tenant: Tenant, model: str) -> httpx.Response:
    """A streamed answer of a model, read to its end."""
    path, body = REQUESTS[model]
    return tenant.client.post(f"{tenant.url(model)}/{path}", json=body)


def broken(tenant: Tenant, model: str) -> tuple[list[Any], type[Exception] | None]:
    """The frames before a stream breaks, and how it breaks."""
    path, body = REQUESTS[model]
    seen = b""
    with tenant.client.stream("POST", f"{tenant.url(model)}/{path}", json=body) as answer:
        try:
            for piece in answer.iter_raw():
                seen += piece
        except httpx.HTTPError as error:
            return frames(seen.decode()), type(error)
    return frames(seen.decode()), None


def text(model: str, events: list[Any]) -> str:
    """All text of a stream."""
    return "".join(map(_TEXT[model], (event for event in events if event != "[DONE]")))


def _gemini(event: Any) -> str:
    parts = event["candidates"][0]["content"]["parts"] if "candidates" in event else []
    return "".join(part["text"] for part in parts)


def _cohere(event: Any) -> str:
    content = event["delta"]["message"]["content"] if event["type"] == "content-delta" else {}
    return str(content.get("text", ""))


def _sonar(event: Any) -> str:
    return str(event["choices"][0]["delta"]["content"]) if "choices" in event else ""


_TEXT = {GEMINI: _gemini, COHERE: _cohere, SONAR: _sonar}
TAKEN = {GEMINI: "a b", COHERE: "a", SONAR: "a b"}
"""What two content frames hold: Cohere opens a block first."""


@pytest.mark.parametrize("model", REQUESTS)
def test_a_whole_stream(alpha: Tenant, model: str) -> None:
    """Over HTTP; only Perplexity sends `[DONE]`."""
    events = frames(stream(alpha, model).text)

    assert "a b c d" == text(model, events)
    assert (model == SONAR) == (events[-1] == "[DONE]")


@pytest.mark.parametrize("model", REQUESTS)
def test_a_cut_stream_breaks_after_n_frames(alpha: Tenant, model: str) -> None:
    """Inside the body."""
    alpha.sim.set_fault("cut", arg=2)
    events, how = broken(alpha, model)

    assert (TAKEN[model], httpx.RemoteProtocolError) == (text(model, events), how)


@pytest.mark.parametrize("model", REQUESTS)
def test_a_stalled_stream_stays_open(alpha: Tenant, model: str) -> None:
    """Then nothing."""
    alpha.client.timeout = httpx.Timeout(5, read=0.3)
    alpha.sim.set_fault("stall", arg=2)
    events, how = broken(alpha, model)

    assert (TAKEN[model], httpx.ReadTimeout) == (text(model, events), how)


@pytest.mark.parametrize("model", REQUESTS)
def test_a_malformed_frame_stands_among_good_ones(alpha: Tenant, model: str) -> None:
    """The rest follows."""
    alpha.sim.set_fault("malformed", arg=1)
    lines = [line for line in stream(alpha, model).text.split("\n\n") if '"bro' not in line]

    assert "a b c d" == text(model, frames("\n\n".join(lines)))


ERRORS: dict[str, Any] = {
    GEMINI: {"error": {"code": 429, "message": "exceeded token rate limit", "status": "RESOURCE_EXHAUSTED"}},
    COHERE: {
        "type": "message-end",
        "delta": {"error": "exceeded token rate limit", "finish_reason": "ERROR"},
    },
    SONAR: {"error": {"message": "exceeded token rate limit", "type": "429", "code": 429}},
}


@pytest.mark.parametrize("kind", ["error-first", "error-frame"])
@pytest.mark.parametrize("model", REQUESTS)
def test_an_error_may_come_inside_a_200(alpha: Tenant, model: str, kind: str) -> None:
    """Trap 14: in the dialect's own form, and nothing after it (wire §6.4)."""
    alpha.sim.set_fault(kind, arg=2)
    events, how = broken(alpha, model)

    assert (ERRORS[model], None) == (events[-1], how)
    assert (TAKEN[model] if kind == "error-frame" else "") == text(model, events[:-1])


def test_refusals_have_the_family_s_shape(alpha: Tenant) -> None:
    """429 of each, and Gemini's streaming method in a list (wire §6.1)."""
    alpha.sim.set_fault("429", arg=7)
    gemini = alpha.url(GEMINI) + f"/models/{GEMINI}:generateContent"
    whole = alpha.client.post(gemini, json=REQUESTS[GEMINI][1])
    answers = {model: stream(alpha, model) for model in REQUESTS}
    nvidia = alpha.client.post(alpha.url(NVIDIA) + "/embeddings", json={})

    assert {429} == {answer.status_code for answer in (whole, nvidia, *answers.values())}
    assert "RESOURCE_EXHAUSTED" == whole.json()["error"]["status"]
    assert ["RESOURCE_EXHAUSTED"] == [one["error"]["status"] for one in answers[GEMINI].json()]
    assert {"id", "message"} == set(answers[COHERE].json())
    assert 429 == answers[SONAR].json()["error"]["code"]
    assert "error" == nvidia.json()["object"]
    assert {"7"} == {answer.headers["retry-after"] for answer in (whole, nvidia, *answers.values())}


@pytest.mark.parametrize(
    ("model", "subpath"),
    [
        (GEMINI, "models/gemini-3.5-flash:countTokens"),
        (GEMINI, "models/a/b:generateContent"),
        (GEMINI, "models/gemini-3.5-flash"),
        (GEMINI, "chat/completions"),
        (COHERE, "chat"),
        (COHERE, "chat/completions"),
        (NVIDIA, "v1/embeddings"),
        (SONAR, "completions"),
    ],
)
def test_other_subpaths_are_refused(alpha: Tenant, model: str, subpath: str) -> None:
    """Each has its allow-list (wire §4)."""
    answer = alpha.client.post(f"{alpha.url(model)}/{subpath}", json={})

    assert (403, "Subpath not allowed") == (answer.status_code, answer.json()["error"]["message"])


@pytest.mark.parametrize("model", [COHERE, SONAR])
def test_the_prompt_asks_for_a_fault(alpha: Tenant, model: str) -> None:
    """`[[fault:...]]` in the last user message."""
    path, body = REQUESTS[model]
    asked = json.loads(json.dumps(body).replace(SAID, "[[fault:503]]"))

    assert 503 == alpha.client.post(f"{alpha.url(model)}/{path}", json=asked).status_code


def test_only_post_is_served(alpha: Tenant) -> None:
    """405 for a GET of a method of Gemini's."""
    assert 405 == alpha.get(f"{alpha.url(GEMINI)}/models/{GEMINI}:generateContent").status_code
