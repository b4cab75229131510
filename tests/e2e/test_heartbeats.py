"""Signs of life while the model is silent: each dialect's own, as the SDKs read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from anthropic import Anthropic
from google import genai
from google.genai import types

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.bodies import CHAT, chat, events, said, within
from tests.e2e.conftest import Stack
from tests.e2e.gateway import Gateway
from tests.e2e.nginx_server import nginx_server

pytestmark = pytest.mark.e2e

BEAT = 0.3
PEEK = 0.4
SILENCE = 1.5
QUIET_KEY = "sk-chokes-on-comments"
LATE = "anthropic--claude-4.5-haiku"
"""Runs once; without content for as long as SILENCE it has failed."""
HELLO = "echo: hello there, you"
MODELS = ["gpt-5", "anthropic--claude-4.6-sonnet", "gemini-3.5-flash"]
_MESSAGES: Any = [{"role": "user", "content": HELLO}]

# Surface → path, body, and what goes out in a silence.
SURFACES: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "chat": (CHAT, {"messages": _MESSAGES, "stream": True}, b": keep-alive\n\n"),
    "completions": ("/v1/completions", {"prompt": HELLO, "stream": True}, b": keep-alive\n\n"),
    "responses": ("/v1/responses", {"input": HELLO, "stream": True}, b": keep-alive\n\n"),
    "messages": (
        "/v1/messages",
        {"max_tokens": 100, "messages": _MESSAGES, "stream": True},
        b'event: ping\ndata: {"type": "ping"}\n\n',
    ),
    "gemini": (
        "/v1beta/models/{model}:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": HELLO}]}]},
        b"\n",
    ),
}
# Surface → what its error event says.
FAILED = {
    "chat": b'"code":"upstream_timeout"',
    "completions": b'"code":"upstream_timeout"',
    "responses": b"response.failed",
    "messages": b"event: error",
    "gemini": b'"status":"DEADLINE_EXCEEDED"',
}
BEDROCK = (
    "/model/{model}/invoke-with-response-stream",
    {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": _MESSAGES},
)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulator, Path]]:
    folder = tmp_path_factory.mktemp("beats")
    with Simulator(write_config=folder) as tenant:
        yield tenant, folder


def started(simulated: tuple[Simulator, Path], beat: float) -> Iterator[Stack]:
    tenant, folder = simulated
    extra = {
        "secret_authentication_tokens": [
            CLIENT_KEY,
            {"name": "quiet", "key": QUIET_KEY, "heartbeats": False},
        ],
        "timeouts": {"peek": PEEK, "heartbeat": beat},
        "models": {LATE: {"timeouts": {"first_token": SILENCE}}},
    }
    with Gateway(folder / "config.json", workers=2, extra=extra) as gateway:
        yield Stack(tenant, gateway)


@pytest.fixture(scope="module")
def lively(simulated: tuple[Simulator, Path]) -> Iterator[Stack]:
    yield from started(simulated, BEAT)


@pytest.fixture(scope="module")
def mute(simulated: tuple[Simulator, Path]) -> Iterator[Stack]:
    yield from started(simulated, 0)


@pytest.fixture(autouse=True)
def _fresh(simulated: tuple[Simulator, Path]) -> Iterator[None]:
    tenant, _ = simulated
    tenant.reset()
    yield
    assert within(3, lambda: tenant.stats()["in_flight"] == 0)


def pieces(client: httpx.Client, surface: str, model: str) -> list[tuple[float, bytes]]:
    """Ask for a stream; return what came, and when."""
    path, body = BEDROCK if surface == "bedrock" else SURFACES[surface][:2]
    if "{model}" not in path:
        body = {"model": model} | body
    began = time.monotonic()
    with client.stream("POST", path.format(model=model), json=body) as answer:
        assert 200 == answer.status_code, answer.read()
        return [(time.monotonic() - began, piece) for piece in answer.iter_raw()]


def longest_silence(found: list[tuple[float, bytes]]) -> float:
    times = [at for at, _ in found]
    return max(later - sooner for sooner, later in pairwise(times))


# --- what goes out ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("surface", SURFACES)
def test_a_silent_model_is_heard_of(lively: Stack, surface: str, model: str) -> None:
    """After the peek the stream begins, and in the silence the dialect's sign of life comes, often."""
    lively.tenant.set_fault("slow-token", arg=SILENCE)
    with lively.client() as client:
        found = pieces(client, surface, model)
    beat = SURFACES[surface][2]
    beats = [piece for _, piece in found if piece.endswith(beat) and len(piece) <= len(beat)]

    assert found[0][0] < PEEK + 2 * BEAT
    assert 3 <= len(beats) <= SILENCE / BEAT + 1
    assert longest_silence(found) < 2.5 * BEAT
    assert b"hello" in b"".join(piece for _, piece in found)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_pause_within_a_stream(lively: Stack, surface: str) -> None:
    """A model that stops to think in the middle is heard of as well; what it says is not changed by it."""
    lively.tenant.set_pace(chunk_interval_ms=450)
    with lively.client() as client:
        found = pieces(client, surface, "gpt-5")
    data = b"".join(piece for _, piece in found)
    lively.tenant.reset()
    with lively.client() as client:
        plain = b"".join(piece for _, piece in pieces(client, surface, "gpt-5"))
    beat = SURFACES[surface][2]

    assert longest_silence(found) < 2.5 * BEAT
    assert data.count(beat) > plain.count(beat)
    assert data.count(b"data: {") - data.count(b"event: ping") == plain.count(b"data: {") - plain.count(
        b"event: ping"
    )


def test_a_model_that_speaks_needs_no_beat(lively: Stack) -> None:
    """While pieces come faster than the beat there is none."""
    lively.tenant.set_pace(chunk_interval_ms=50)
    with (
        lively.client() as client,
        client.stream("POST", CHAT, json=chat("[[tokens:30]]", stream=True)) as answer,
    ):
        text = answer.read().decode()

    assert "keep-alive" not in text
    assert "[DONE]" == events(text)[-1]


def test_a_model_that_sends_nothing_at_all(lively: Stack) -> None:
    """Before the upstream's head nothing is promised: the status is still to come, and may be another."""
    lively.tenant.set_pace(latency_ms=1000)
    with lively.client() as client:
        found = pieces(client, "chat", "gpt-5")

    assert 1 <= found[0][0]
    assert b"keep-alive" not in b"".join(piece for _, piece in found)


def test_bedrocks_form_has_no_beat(lively: Stack) -> None:
    """No frame is known that its clients skip: nothing is put between the frames."""
    lively.tenant.set_fault("slow-token", arg=SILENCE)
    with lively.client() as client:
        found = pieces(client, "bedrock", "anthropic--claude-4.6-sonnet")
    data = b"".join(piece for _, piece in found)
    sizes = []
    while data:
        sizes.append(int.from_bytes(data[:4], "big"))
        data = data[sizes[-1] :]

    assert len(sizes) >= 5
    assert min(sizes) > 16


# --- without ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", SURFACES)
def test_a_key_without_heartbeats(lively: Stack, surface: str) -> None:
    """`heartbeats: false` of a key: its streams have the model's bytes alone; others have beats."""
    lively.tenant.set_fault("slow-token", arg=1.2)
    with lively.client(QUIET_KEY) as quiet, lively.client() as other:
        unbeaten = pieces(quiet, surface, "gpt-5")
        beaten = pieces(other, surface, "gpt-5")
    beat = SURFACES[surface][2]

    assert 0 == sum(piece == beat for _, piece in unbeaten)
    assert 1 <= sum(piece == beat for _, piece in beaten)
    assert b"hello" in b"".join(piece for _, piece in unbeaten)


@pytest.mark.parametrize("surface", SURFACES)
def test_never(mute: Stack, surface: str) -> None:
    """`timeouts.heartbeat: 0`: nothing goes out but what the model says, to nobody."""
    mute.tenant.set_fault("slow-token", arg=1)
    with mute.client() as client:
        found = pieces(client, surface, "gpt-5")

    assert 0 == sum(piece == SURFACES[surface][2] for _, piece in found)
    assert b"hello" in b"".join(piece for _, piece in found)


# --- what follows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", SURFACES)
def test_a_failure_after_beats(lively: Stack, surface: str) -> None:
    """Once beats have gone out a failure is an error event of the dialect, and no end that looks complete."""
    lively.tenant.set_fault("stall", arg=0)
    with lively.client() as client:
        data = b"".join(piece for _, piece in pieces(client, surface, LATE))

    assert data.count(SURFACES[surface][2]) >= 2
    assert b"no content within" not in data  # that is for the log
    assert FAILED[surface] in data[data.rindex(b"data: ") - 40 :]
    assert not any(
        end in data for end in (b"[DONE]", b"message_stop", b"response.completed", b"finishReason")
    )
    assert within(0.2, lambda: lively.tenant.stats()["in_flight"] == 0)


def test_through_nginx(lively: Stack, tmp_path: Path) -> None:
    """Beats are not held back on the way."""
    lively.tenant.set_fault("slow-token", arg=SILENCE)
    with (
        nginx_server(tmp_path / "nginx", f"127.0.0.1:{lively.gateway.port}") as nginx,
        httpx.Client(
            base_url=nginx.https_url,
            verify=nginx.ssl_context(),
            headers={"x-api-key": CLIENT_KEY},
            trust_env=False,
        ) as client,
    ):
        found = pieces(client, "messages", "anthropic--claude-4.6-sonnet")

    assert 3 <= sum(b"event: ping" in piece for _, piece in found)
    assert longest_silence(found) < 2.5 * BEAT


def test_shared_streams_beat_for_each_caller(lively: Stack) -> None:
    """Callers who share a call each have beats of their own, and the same text."""
    lively.tenant.set_fault("slow-token", arg=1.5)
    body = chat(HELLO, model="gpt-4.1", temperature=0, stream=True)
    with (
        lively.client() as http,
        http.stream("POST", CHAT, json=body) as first,
        http.stream("POST", CHAT, json=body) as second,
    ):
        texts = [first.read().decode(), second.read().decode()]

    assert all("keep-alive" in text for text in texts)
    assert {"hello there, you"} == {said(events(text)) for text in texts}


# --- the SDKs ---------------------------------------------------------------------------------------


def by_openai(stack: Stack, model: str) -> str:
    with stack.openai() as sdk:
        chunks = sdk.chat.completions.create(model=model, messages=_MESSAGES, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def by_responses(stack: Stack, model: str) -> str:
    with stack.openai() as sdk, sdk.responses.stream(model=model, input=HELLO) as stream:
        return stream.get_final_response().output_text


def by_anthropic(stack: Stack, model: str) -> str:
    with (
        Anthropic(base_url=stack.gateway.url, api_key=CLIENT_KEY, max_retries=0) as sdk,
        sdk.messages.stream(model=model, max_tokens=100, messages=_MESSAGES) as stream,
    ):
        return "".join(stream.text_stream)


def by_google(stack: Stack, model: str) -> str:
    sdk = genai.Client(api_key=CLIENT_KEY, http_options=types.HttpOptions(base_url=stack.gateway.url))
    try:
        stream = sdk.models.generate_content_stream(model=model, contents=HELLO)
        return "".join(piece.text or "" for piece in stream)
    finally:
        sdk.close()


SDKS: list[Callable[[Stack, str], str]] = [by_openai, by_responses, by_anthropic, by_google]


@pytest.mark.parametrize("model", MODELS[:2])
@pytest.mark.parametrize("read", SDKS)
def test_the_sdks_read_through_beats(lively: Stack, read: Callable[[Stack, str], str], model: str) -> None:
    """OpenAI's (chat and responses), Anthropic's and Google's SDK skip them (trap 15)."""
    lively.tenant.set_fault("slow-token", arg=1)

    assert "hello there, you" == read(lively, model)


@pytest.mark.parametrize("read", SDKS)
def test_the_sdks_read_through_beats_in_the_middle(lively: Stack, read: Callable[[Stack, str], str]) -> None:
    """The same between two pieces of the answer."""
    lively.tenant.set_pace(chunk_interval_ms=500)

    assert "hello there, you" == read(lively, "anthropic--claude-4.6-sonnet")
