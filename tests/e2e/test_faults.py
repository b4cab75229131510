"""Every fault of the simulator, through the gateway: what the caller gets, whole and streamed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from perf.simulator.faults import KINDS
from perf.simulator.launch import Simulator
from services.tokens import FORCED_REFRESH_INTERVAL_SECONDS
from tests.e2e.bodies import CHAT, chat, content, events, said, within
from tests.e2e.conftest import Stack
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e

ALONE = "gpt-5-mini"
"""Runs once: a fault of it cannot be got around."""
SEVERAL = "gpt-5"
"""Runs three times in two sub-accounts."""
TEXT = "alpha beta gamma delta epsilon zeta"
FIRST_BYTE, STALL = 0.5, 1.2
TOTAL = 2 * STALL + 0.6
"""Room for a second attempt after one that has stalled."""

QUEUE = 0.2
"""Less than any fault asks for: who is told to come back later is told so at once."""
PACE_MS = 30


@dataclass(frozen=True)
class Fate:
    """What becomes of a request whose deployment always has this fault."""

    status: int
    code: str | None = None
    """Of the error; None for whatever it is."""
    late: str | None = None
    """Code of the error inside the stream, for a fault that comes after the first event."""
    stream: int | None = None
    """Status of a stream where it differs."""
    arg: float | None = None
    final: bool = False
    """Nobody else is asked."""
    heads: dict[str, str] = field(default_factory=dict)


FATES: dict[str, Fate] = {
    "429": Fate(429, "rate_limit_exceeded", arg=1, heads={"retry-after": "1"}),
    "500": Fate(500),
    "503": Fate(503, arg=1, heads={"retry-after": "1"}),
    "504": Fate(504, "upstream_timeout"),
    "529": Fate(503),
    "408": Fate(504),
    "401": Fate(502, "upstream_denied"),
    "403": Fate(502, "upstream_denied"),
    "404": Fate(404, "model_not_found"),
    "413": Fate(413, final=True),
    "html": Fate(502, "upstream_error"),
    "content-filter": Fate(400, "content_filter", final=True),
    "context-length": Fate(400, "context_length_exceeded", final=True),
    "reset": Fate(502, "upstream_unreachable"),
    "silence": Fate(504, "upstream_timeout"),
    "slow": Fate(200, arg=0.2),
    "slow-token": Fate(200, arg=0.3),
    "cut": Fate(502, "upstream_broken", late="upstream_broken", stream=200, arg=2),
    "stall": Fate(504, "upstream_timeout", late="upstream_timeout", stream=200, arg=2),
    "malformed": Fate(502, "upstream_broken", late="upstream_broken", stream=200, arg=2),
    "no-done": Fate(200),
    "ragged": Fate(200, arg=3),
    "error-frame": Fate(429, "rate_limit_exceeded", late="rate_limit_exceeded", stream=200, arg=2),
    "error-first": Fate(429, "rate_limit_exceeded", late="rate_limit_exceeded", stream=200),
    "throttled": Fate(429, "rate_limit_exceeded"),
    "empty": Fate(502, "upstream_broken"),
    "short-body": Fate(502, "upstream_broken", late="upstream_broken", stream=200, arg=2),
    "revoke": Fate(502, "upstream_denied"),
}
TOKEN_FAULTS = ("401", "revoke")
FIRST_ERROR = "error-first"
FAILING = [kind for kind, fate in FATES.items() if fate.status >= 400 and kind not in TOKEN_FAULTS]
AVOIDABLE = [kind for kind in FAILING if not FATES[kind].final and kind != "reset"]


@contextmanager
def started(folder: Path, *, workers: int) -> Iterator[Stack]:
    extra = {
        "timeouts": {"connect": 1, "first_byte": FIRST_BYTE, "stall": STALL, "total": TOTAL},
        "routing": {"attempts": 2, "cool_down_seconds": 0, "queue_seconds": QUEUE},
    }
    with (
        Simulator(write_config=folder) as tenant,
        Gateway(folder / "config.json", workers=workers, extra=extra) as gateway,
    ):
        yield Stack(tenant, gateway)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("faults"), workers=2) as stack:
        yield stack


@pytest.fixture(scope="module")
def revoking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With one worker: revoked tokens of another one would show in the next test."""
    with started(tmp_path_factory.mktemp("revoking"), workers=1) as stack:
        yield stack


@pytest.fixture
def caller(faulty: Stack) -> Iterator[httpx.Client]:
    """A caller of deployments none of which rests: what the test before did to them is over."""
    faulty.tenant.reset()
    with faulty.client() as client:
        assert within(5, lambda: all_answer(client))
        faulty.tenant.reset()
        yield client


def all_answer(client: httpx.Client) -> bool:
    """Whether each model answers, all its deployments one after the other."""
    answers = [client.post(CHAT, json=ask(model)) for model in (ALONE, *[SEVERAL] * 3, "qwen3-max")]
    answers.append(client.post("/v1/embeddings", json=EMBEDDED))
    served = {one.headers.get("x-aicore-deployment") for one in answers}
    return all(one.status_code == 200 for one in answers) and len(served) == len(answers)


@pytest.fixture
def bearer(revoking: Stack) -> Iterator[httpx.Client]:
    """A caller whose gateway has good tokens, and may replace them by force."""
    revoking.tenant.reset()
    with revoking.client() as client:
        assert within(3, lambda: client.post(CHAT, json=ask(ALONE)).status_code == 200)
        time.sleep(FORCED_REFRESH_INTERVAL_SECONDS)
        revoking.tenant.reset()
        yield client


def ask(model: str, *, stream: bool = False) -> dict[str, Any]:
    return chat(f"echo: {TEXT}", model=model, stream=stream)


def break_it(faulty: Stack, kind: str, **where: Any) -> None:
    arg = FATES[kind].arg
    faulty.tenant.set_fault(kind, **({} if arg is None else {"arg": arg}), **where)


EMBEDDED = {"model": "text-embedding-3-small", "input": "hi"}


def test_every_fault_is_here() -> None:
    """The table knows all that the simulator can do."""
    assert set(KINDS) == set(FATES)


# --- nobody else to ask ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAILING)
def test_a_fault_without_a_way_around_it(faulty: Stack, caller: httpx.Client, kind: str) -> None:
    """The caller gets the true status in the envelope, and when to come back where the upstream said so."""
    fate = FATES[kind]
    break_it(faulty, kind, model=ALONE)
    answer = caller.post(CHAT, json=ask(ALONE))
    error = answer.json()["error"]

    assert fate.status == answer.status_code
    assert fate.code in (None, error["code"])
    assert error["message"]
    assert "<" not in error["message"]
    assert fate.heads == {name: answer.headers.get(name) for name in fate.heads}


@pytest.mark.parametrize("kind", [kind for kind in FAILING if FATES[kind].late is None])
def test_a_fault_before_a_stream(faulty: Stack, caller: httpx.Client, kind: str) -> None:
    """A stream that never began gets the same status and envelope as a whole answer, not a 200 (trap 18)."""
    fate = FATES[kind]
    break_it(faulty, kind, model=ALONE)
    answer = caller.post(CHAT, json=ask(ALONE, stream=True))

    assert (fate.status, "application/json") == (answer.status_code, answer.headers["content-type"])
    assert fate.code in (None, answer.json()["error"]["code"])
    assert fate.heads == {name: answer.headers.get(name) for name in fate.heads}


@pytest.mark.parametrize("kind", [kind for kind, fate in FATES.items() if fate.late and kind != FIRST_ERROR])
@pytest.mark.parametrize("model", [ALONE, SEVERAL, "qwen3-max"])
def test_a_fault_inside_a_stream(faulty: Stack, caller: httpx.Client, kind: str, model: str) -> None:
    """What came is passed on, then an error says how it ended; no terminator, and nobody else is asked
    (trap 24)."""
    fate = FATES[kind]
    faulty.tenant.set_pace(chunk_interval_ms=PACE_MS)
    break_it(faulty, kind, model=model)
    answer = caller.post(CHAT, json=ask(model, stream=True))
    *before, last = events(answer.text)

    assert 200 == answer.status_code
    assert (fate.late, True) == (last["error"]["code"], bool(last["error"]["message"]))
    assert TEXT.startswith(said(before))
    assert before
    assert said(before)
    assert not any(choice["finish_reason"] for chunk in before for choice in chunk["choices"])
    assert "[DONE]" not in answer.text
    assert 1 == faulty.tenant.stats()["requests"]


@pytest.mark.parametrize("attempt", range(3))
def test_an_error_right_after_the_first_event_is_told(
    faulty: Stack, caller: httpx.Client, attempt: int
) -> None:
    """As a status if both came in one piece, else as an event: never as an answer that looks complete."""
    break_it(faulty, FIRST_ERROR, model=ALONE)
    answer = caller.post(CHAT, json=ask(ALONE, stream=True))
    last = events(answer.text)[-1] if answer.status_code == 200 else answer.json()

    assert answer.status_code in (200, FATES[FIRST_ERROR].status)
    assert FATES[FIRST_ERROR].code == last["error"]["code"]
    assert "[DONE]" not in answer.text


@pytest.mark.parametrize("kind", [kind for kind, fate in FATES.items() if fate.status == 200])
@pytest.mark.parametrize("stream", [False, True])
def test_a_harmless_fault(faulty: Stack, caller: httpx.Client, kind: str, stream: bool) -> None:
    """Slowness within the limits, and a missing terminator, do not show."""
    faulty.tenant.set_pace(chunk_interval_ms=1)
    break_it(faulty, kind, model=ALONE)
    answer = caller.post(CHAT, json=ask(ALONE, stream=stream))

    assert 200 == answer.status_code
    if stream:
        assert (TEXT, "[DONE]") == (said(events(answer.text)), events(answer.text)[-1])
    else:
        assert TEXT == content(answer)


def test_a_pause_within_a_stream_has_its_own_limit(faulty: Stack, caller: httpx.Client) -> None:
    """Silence between events counts against `stall`, though `first_byte` is shorter (trap 15)."""
    assert FIRST_BYTE < 0.8 < STALL
    faulty.tenant.set_fault("slow-token", arg=0.8, model=ALONE)
    answer = caller.post(CHAT, json=ask(ALONE, stream=True))

    assert (TEXT, "[DONE]") == (said(events(answer.text)), events(answer.text)[-1])


# --- somebody else to ask --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", AVOIDABLE)
def test_a_fault_is_got_around(faulty: Stack, caller: httpx.Client, kind: str) -> None:
    """Another deployment answers; the caller sees it in the number of attempts only."""
    break_it(faulty, kind, model=SEVERAL, times=1)
    answer = caller.post(CHAT, json=ask(SEVERAL))
    served = [name for name, gauge in faulty.tenant.stats()["deployments"].items() if gauge["requests"]]

    assert (200, TEXT, "2") == (
        answer.status_code,
        content(answer),
        answer.headers["x-aicore-attempts"],
    )
    assert 2 == len(served)
    assert answer.headers["x-aicore-deployment"] in served


@pytest.mark.parametrize("kind", [kind for kind in AVOIDABLE if FATES[kind].late is None])
def test_a_fault_before_a_stream_is_got_around(faulty: Stack, caller: httpx.Client, kind: str) -> None:
    """Another deployment streams, whole and once."""
    break_it(faulty, kind, model=SEVERAL, times=1)
    answer = caller.post(CHAT, json=ask(SEVERAL, stream=True))
    read = events(answer.text)

    assert (200, "2") == (answer.status_code, answer.headers["x-aicore-attempts"])
    assert (TEXT, "[DONE]", 1) == (said(read), read[-1], answer.text.count("[DONE]"))


@pytest.mark.parametrize("kind", [kind for kind in FAILING if FATES[kind].final])
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_final(faulty: Stack, caller: httpx.Client, kind: str, stream: bool) -> None:
    """What is wrong with the request would be wrong elsewhere: nobody else is asked."""
    break_it(faulty, kind, model=SEVERAL, times=1)
    answer = caller.post(CHAT, json=ask(SEVERAL, stream=stream))

    assert (FATES[kind].status, 1) == (answer.status_code, faulty.tenant.stats()["requests"])


@pytest.mark.parametrize("kind", TOKEN_FAULTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_token_is_replaced(revoking: Stack, bearer: httpx.Client, kind: str, stream: bool) -> None:
    """A new token, once, at the same deployment: the caller sees nothing of it."""
    break_it(revoking, kind, model=ALONE, times=1)
    answer = bearer.post(CHAT, json=ask(ALONE, stream=stream))

    assert (200, "1") == (answer.status_code, answer.headers["x-aicore-attempts"])
    assert TEXT == (said(events(answer.text)) if stream else content(answer))
    assert 1 == revoking.tenant.stats()["token_fetches"]


@pytest.mark.parametrize("kind", TOKEN_FAULTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_token_that_is_always_refused_is_our_fault(
    revoking: Stack, bearer: httpx.Client, kind: str, stream: bool
) -> None:
    """502, since the caller's key is good; one new token was tried, not one for each refusal (trap 22)."""
    break_it(revoking, kind, model=ALONE)
    answers = [bearer.post(CHAT, json=ask(ALONE, stream=stream)) for _ in range(3)]

    assert {(502, "upstream_denied")} == {(one.status_code, one.json()["error"]["code"]) for one in answers}
    assert 1 == revoking.tenant.stats()["token_fetches"]


@pytest.mark.parametrize("model", [ALONE, SEVERAL])
@pytest.mark.parametrize("stream", [False, True])
def test_a_reset_connection_is_asked_again(
    faulty: Stack, caller: httpx.Client, model: str, stream: bool
) -> None:
    """A reset before any byte costs the caller nothing: the request is sent once more, here or elsewhere."""
    caller.post(CHAT, json=ask(model))  # so that a kept connection is the one that is reset
    faulty.tenant.reset()
    faulty.tenant.set_fault("reset", model=model, times=1)
    answer = caller.post(CHAT, json=ask(model, stream=stream))

    assert (200, 2) == (answer.status_code, faulty.tenant.stats()["requests"])
    assert TEXT == (said(events(answer.text)) if stream else content(answer))


@pytest.mark.parametrize("kind", ["500", "503"])
def test_a_passing_fault_is_tried_again(faulty: Stack, caller: httpx.Client, kind: str) -> None:
    """With nobody else to ask the same deployment is asked once more."""
    faulty.tenant.set_fault(kind, model=ALONE, times=1)
    answer = caller.post(CHAT, json=ask(ALONE))

    assert (200, "2") == (answer.status_code, answer.headers["x-aicore-attempts"])


def test_the_filters_verdict_is_passed_on(faulty: Stack, caller: httpx.Client) -> None:
    """Azure's innererror says which category it was."""
    faulty.tenant.set_fault("content-filter", model=ALONE)
    error = caller.post(CHAT, json=ask(ALONE)).json()["error"]

    assert error["innererror"]["content_filter_result"]["violence"]["filtered"] is True


@pytest.mark.parametrize("kind", FAILING)
def test_embeddings_have_the_same_fate(faulty: Stack, caller: httpx.Client, kind: str) -> None:
    """Embeddings fail the same way, or get the true answer."""
    break_it(faulty, kind, model=EMBEDDED["model"])
    answer = caller.post("/v1/embeddings", json=EMBEDDED | {"input": kind})

    assert FATES[kind].status == answer.status_code
    assert answer.json()["error"]["message"]


def test_a_fault_of_one_tenants_tokens_is_got_around(faulty: Stack, caller: httpx.Client) -> None:
    """While one sub-account refuses every request, the other one answers all."""
    faulty.tenant.set_fault("403", tenant="alpha")
    answers = [caller.post(CHAT, json=ask("gpt-4.1")) for _ in range(10)]

    assert {(200, "beta")} == {(one.status_code, one.headers["x-aicore-sub-account"]) for one in answers}


def test_upstream_words_do_not_leak_the_tenant(faulty: Stack, caller: httpx.Client) -> None:
    """No error of the table shows a URL, a token, or a client id of the tenant."""
    texts = []
    for kind in FAILING:
        faulty.tenant.reset()
        break_it(faulty, kind, model="qwen3-max")
        texts.append(caller.post(CHAT, json=ask("qwen3-max")).text)
    key = faulty.tenant.service_key("alpha")

    assert len(FAILING) == len(texts)
    for secret in (key["clientid"], key["clientsecret"], faulty.tenant.base_url, "Bearer "):
        assert secret not in json.dumps(texts)
