"""Time: what the caller allows, what the configuration allows, and what becomes of the upstream after it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from anthropic import Anthropic
from google import genai
from google.genai import errors, types

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.asked import Asked
from tests.e2e.bodies import CHAT, chat, content, events, said, within
from tests.e2e.callers import (
    RawCaller,
    Way,
    accounts_with_unreachable,
    full_backlog,
    left_counted,
    seconds_until,
)
from tests.e2e.conftest import Stack
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e

CLOSED_SECONDS = 0.2
"""From the caller's answer to the end of the upstream's request."""
SHORT = 0.6
SLACK = 0.3
"""What a busy machine may add."""
PEEK = 1.0
TEXT = "[[tokens:2000]]"
NARROW = "gpt-5.1"
"""Runs once, and takes one request at a time."""
UNREACHABLE = "gpt-4.1-nano"
HEADER = "x-request-timeout"
SHARED_HEADERS = ["x-request-timeout", "x-stainless-timeout", "x-stainless-read-timeout", "x-server-timeout"]

FIRST_BYTE, FIRST_TOKEN, STALL, TOTAL = (
    "gpt-5-mini",
    "anthropic--claude-4.5-haiku",
    "amazon--nova-pro",
    "gpt-4.1-mini",
)
"""Each has a limit of its own, of half a second."""
OWN = 0.5


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("time")
    with ExitStack() as opened:
        tenant = opened.enter_context(Simulator(write_config=folder))
        listener = opened.enter_context(full_backlog())
        extra = configured(folder / "config.json", listener)
        gateway = opened.enter_context(Gateway(folder / "config.json", workers=2, extra=extra))
        yield Stack(tenant, gateway)


def configured(config: Path, listener: socket.socket) -> dict[str, Any]:
    return {
        "subAccounts": accounts_with_unreachable(config, UNREACHABLE, listener),
        "routing": {"cool_down_seconds": 0, "attempts": 3},
        "timeouts": {"peek": PEEK},
        "models": {
            NARROW: {"max_in_flight": 1},
            FIRST_BYTE: {"timeouts": {"first_byte": OWN}},
            FIRST_TOKEN: {"timeouts": {"first_token": OWN}},
            STALL: {"timeouts": {"stall": OWN}},
            TOTAL: {"timeouts": {"total": OWN}},
        },
    }


@pytest.fixture
def stack(started: Stack) -> Iterator[Stack]:
    started.tenant.reset()
    yield started
    assert within(3, lambda: started.tenant.stats()["in_flight"] == 0)


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as client:
        yield client


def idle(stack: Stack) -> bool:
    return int(stack.tenant.stats()["in_flight"]) == 0


def closed(stack: Stack) -> bool:
    """Whether the upstream's request is over in time, and nothing is counted any more."""
    in_time = seconds_until(lambda: idle(stack), since=time.monotonic()) < CLOSED_SECONDS
    return in_time and not left_counted(stack.gateway, stack.tenant)


def timed(call: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = call()
    return answer, time.monotonic() - began


# --- what the caller allows -------------------------------------------------------------------------

_MESSAGES: Any = [{"role": "user", "content": TEXT}]
# Surface → path, body, and what its 504 says.
SURFACES: dict[str, tuple[str, dict[str, Any], Callable[[Any], bool]]] = {
    "chat": (CHAT, {"messages": _MESSAGES}, lambda body: body["error"]["code"] == "deadline_exceeded"),
    "responses": (
        "/v1/responses",
        {"input": TEXT},
        lambda body: body["error"]["code"] == "deadline_exceeded",
    ),
    "messages": (
        "/v1/messages",
        {"max_tokens": 4000, "messages": _MESSAGES},
        lambda body: (body["type"], body["error"]["type"]) == ("error", "timeout_error"),
    ),
    "gemini": (
        "/v1beta/models/{model}:{verb}",
        {"contents": [{"role": "user", "parts": [{"text": TEXT}]}]},
        lambda body: body["error"]["status"] == "DEADLINE_EXCEEDED",
    ),
    "bedrock": (
        "/model/{model}/{invoke}",
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 4000, "messages": _MESSAGES},
        lambda body: bool(body["message"]),
    ),
}


def ask(http: httpx.Client, surface: str, model: str, *, stream: bool, **heads: str) -> httpx.Response:
    path, body, _ = SURFACES[surface]
    verbs = {
        "verb": "streamGenerateContent" if stream else "generateContent",
        "invoke": "invoke-with-response-stream" if stream else "invoke",
    }
    if "{" not in path:
        body = {"model": model, "stream": stream} | body
    return http.post(path.format(model=model, **verbs), json=body, headers=heads)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("model", ["gpt-5", "anthropic--claude-4.8-opus"])
def test_the_callers_time_runs_out(
    stack: Stack, http: httpx.Client, model: str, surface: str, stream: bool
) -> None:
    """504 in the caller's dialect when the time is over, and the upstream is closed within 200 ms."""
    stack.tenant.set_fault("silence")
    answer, took = timed(lambda: ask(http, surface, model, stream=stream, **{HEADER: str(SHORT)}))

    assert closed(stack)
    assert 504 == answer.status_code
    assert SURFACES[surface][2](answer.json()), answer.text
    assert SHORT - 0.05 <= took < SHORT + SLACK
    assert 1 == stack.tenant.stats()["requests"]


@pytest.mark.parametrize("header", SHARED_HEADERS)
def test_every_header_that_says_how_long(stack: Stack, http: httpx.Client, header: str) -> None:
    """Ours, and those that the SDKs of OpenAI, Anthropic and Google send by themselves."""
    stack.tenant.set_fault("silence")
    answer, took = timed(lambda: ask(http, "chat", "gpt-5", stream=False, **{header: str(SHORT)}))

    assert 504 == answer.status_code
    assert took < SHORT + SLACK
    assert closed(stack)


def test_the_shortest_time_counts(stack: Stack, http: httpx.Client) -> None:
    """Of several limits the first to run out ends the request."""
    stack.tenant.set_fault("silence")
    heads = {"x-stainless-timeout": "600", HEADER: str(SHORT), "x-server-timeout": "30"}
    answer, took = timed(lambda: ask(http, "chat", "gpt-5", stream=True, **heads))

    assert 504 == answer.status_code
    assert took < SHORT + SLACK


@pytest.mark.parametrize("value", ["", "soon", "0", "-1", "nan", "inf", "1s", "1,5"])
def test_an_invalid_time_is_refused(stack: Stack, http: httpx.Client, value: str) -> None:
    """400 names the header; an SDK's own header that makes no sense is no reason to refuse."""
    wrong = ask(http, "chat", "gpt-5", stream=False, **{HEADER: value})
    ignored = ask(http, "chat", "gpt-5", stream=False, **{"x-stainless-timeout": value})

    assert (400, HEADER) == (wrong.status_code, wrong.json()["error"]["param"])
    assert HEADER in wrong.json()["error"]["message"]
    assert 200 == ignored.status_code


@pytest.mark.parametrize("value", ["", "yes", "2", "truee"])
def test_an_invalid_wish_to_hold_is_refused(http: httpx.Client, value: str) -> None:
    """The same for x-aicore-hold."""
    answer = ask(http, "messages", "gpt-5", stream=True, **{"x-aicore-hold": value})

    assert 400 == answer.status_code
    assert "x-aicore-hold" in answer.json()["error"]["message"]


def test_a_stream_that_has_begun_is_not_cut(stack: Stack, http: httpx.Client) -> None:
    """The time is for the beginning of a stream; who reads it sees himself that it goes on."""
    stack.tenant.set_pace(chunk_interval_ms=50)
    answer = http.post(CHAT, json=chat("[[tokens:30]]", stream=True), headers={HEADER: "0.6"})

    assert "[DONE]" == events(answer.text)[-1]


@dataclass(frozen=True)
class Wait:
    """What a request waits for when its time runs out."""

    fault: tuple[str, float] | None = None
    pace: dict[str, float] = field(default_factory=dict)
    model: str = "gpt-5"
    stream: bool = True
    heads: dict[str, str] = field(default_factory=dict)


WAITS = {
    "during the peek": Wait(("slow-token", 30)),
    "held back": Wait(pace={"chunk_interval_ms": 50}, heads={"x-aicore-hold": "true"}),
    "in a whole answer": Wait(("stall", 3), stream=False),
    "a slow head": Wait(("slow", 30), stream=False),
    "while connecting": Wait(model=UNREACHABLE),
}


@pytest.mark.parametrize("name", WAITS)
def test_the_time_runs_out_anywhere(stack: Stack, http: httpx.Client, name: str) -> None:
    """Wherever the request is by then: 504 in time, and the upstream is closed within 200 ms."""
    wait = WAITS[name]
    if wait.fault:
        stack.tenant.set_fault(wait.fault[0], arg=wait.fault[1])
    stack.tenant.set_pace(**wait.pace)
    heads = {HEADER: str(SHORT)} | wait.heads
    answer, took = timed(lambda: ask(http, "chat", wait.model, stream=wait.stream, **heads))

    assert closed(stack)
    assert (504, "deadline_exceeded") == (answer.status_code, answer.json()["error"]["code"])
    assert SHORT - 0.05 <= took < SHORT + SLACK


def test_no_attempt_for_which_there_is_no_time(stack: Stack, http: httpx.Client) -> None:
    """A pause that outlasts the caller is not begun: the failure is told as it is, in time."""
    stack.tenant.set_fault("500", model="gpt-5-mini")
    answers = [
        timed(lambda: ask(http, "chat", "gpt-5-mini", stream=False, **{HEADER: "0.05"})) for _ in range(5)
    ]

    assert {500, 502, 504} >= {answer.status_code for answer, _ in answers}
    assert max(took for _, took in answers) < 0.05 + SLACK
    assert closed(stack)


def test_the_time_runs_out_in_the_line(stack: Stack, http: httpx.Client) -> None:
    """Who waits for a deployment hears in time that there is no room, and leaves no place behind."""
    stack.tenant.set_pace(chunk_interval_ms=100)
    body = chat(TEXT, model=NARROW, stream=True)
    with RawCaller(Way.to(stack.gateway), CHAT, body) as inside:
        inside.until(b'"content"')
        answer, took = timed(lambda: ask(http, "chat", NARROW, stream=True, **{HEADER: str(SHORT)}))
        sent = stack.sent

    assert (503, "overloaded") == (answer.status_code, answer.json()["error"]["code"])
    assert answer.headers["retry-after"]
    assert SHORT / 2 <= took < SHORT + SLACK
    assert 1 == sent
    assert closed(stack)


def test_the_time_runs_out_while_there_is_no_token(stack: Stack, http: httpx.Client) -> None:
    """The same for a token that is slow to come."""
    stack.tenant.revoke()
    stack.tenant.set_fault("slow", plane="oauth", arg=1.5)
    answer, took = timed(lambda: ask(http, "chat", "gpt-5-mini", stream=True, **{HEADER: str(SHORT)}))
    time.sleep(1.2)
    stack.tenant.clear_faults()

    assert (504, "deadline_exceeded") == (answer.status_code, answer.json()["error"]["code"])
    assert took < SHORT + SLACK
    assert closed(stack)


@pytest.mark.parametrize("stream", [False, True])
def test_the_time_of_one_who_shares(stack: Stack, stream: bool) -> None:
    """Of several who share a call, only those whose time is over are told so; the others get the answer."""
    stack.tenant.set_pace(latency_ms=1200)
    body = chat(model="gpt-4.1", temperature=0, stream=stream)
    hasty = [Asked(stack.gateway, CHAT, body, **{HEADER: "0.6"}) for _ in range(4)]
    patient = [Asked(stack.gateway, CHAT, body) for _ in range(4)]

    assert [504] * 4 == [one.ended().status for one in hasty]
    assert [200] * 4 == [one.ended().status for one in patient]
    assert stack.sent <= 4
    assert closed(stack)


# --- the SDKs ---------------------------------------------------------------------------------------


def sdk_openai(stack: Stack, stream: bool) -> None:
    with stack.openai(timeout=SHORT) as sdk:
        answer: Any = sdk.chat.completions.create(model="gpt-5", messages=_MESSAGES, stream=stream)
        list(answer)


def sdk_anthropic(stack: Stack, stream: bool) -> None:
    with Anthropic(base_url=stack.gateway.url, api_key=CLIENT_KEY, max_retries=0, timeout=SHORT) as sdk:
        model = "anthropic--claude-4.8-opus"
        answer: Any = sdk.messages.create(model=model, max_tokens=99, messages=_MESSAGES, stream=stream)
        list(answer)


def sdk_google(stack: Stack, stream: bool) -> None:
    options = types.HttpOptions(base_url=stack.gateway.url, timeout=int(SHORT * 1000))
    sdk = genai.Client(api_key=CLIENT_KEY, http_options=options)
    try:
        if stream:
            list(sdk.models.generate_content_stream(model="gemini-3.5-flash", contents=TEXT))
        else:
            sdk.models.generate_content(model="gemini-3.5-flash", contents=TEXT)
    finally:
        sdk.close()


SDKS: dict[str, tuple[Callable[[Stack, bool], None], tuple[type[Exception], ...]]] = {
    "openai": (sdk_openai, (openai.APITimeoutError, openai.InternalServerError)),
    "anthropic": (sdk_anthropic, (anthropic.APITimeoutError, anthropic.InternalServerError)),
    "google-genai": (sdk_google, (httpx2.TimeoutException, errors.ServerError)),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", SDKS)
def test_an_sdk_with_a_timeout(stack: Stack, name: str, stream: bool) -> None:
    """Whoever is first, its timer or our 504: the upstream is closed within 200 ms, and not asked again."""
    stack.tenant.set_fault("silence")
    call, failures = SDKS[name]
    began = time.monotonic()
    with pytest.raises(failures):
        call(stack, stream)

    assert closed(stack)
    assert time.monotonic() - began < SHORT + SLACK + CLOSED_SECONDS
    assert 1 == stack.sent


def test_an_sdk_understands_the_504(stack: Stack) -> None:
    """OpenAI's and Anthropic's SDKs see a server's failure with its status, which they may retry."""
    stack.tenant.set_fault("silence")
    heads = {HEADER: str(SHORT)}
    model = "anthropic--claude-4.8-opus"
    with stack.openai() as sdk, pytest.raises(openai.InternalServerError) as of_openai:
        sdk.chat.completions.create(model="gpt-5", messages=_MESSAGES, extra_headers=heads)
    with (
        Anthropic(base_url=stack.gateway.url, api_key=CLIENT_KEY, max_retries=0) as claude,
        pytest.raises(anthropic.InternalServerError) as of_anthropic,
    ):
        claude.messages.create(model=model, max_tokens=9, messages=_MESSAGES, extra_headers=heads)

    assert (504, "deadline_exceeded") == (of_openai.value.status_code, of_openai.value.code)
    assert 504 == of_anthropic.value.status_code


# --- what the configuration allows ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "fault", "arg", "stream"),
    [
        (FIRST_BYTE, "silence", None, False),
        (FIRST_BYTE, "silence", None, True),
        (FIRST_TOKEN, "slow-token", 30, True),
        (STALL, "stall", 0, True),
        (TOTAL, "silence", None, False),
        (TOTAL, "slow", 4, True),
        (TOTAL, "slow-token", 4, True),
        (TOTAL, "stall", 2, False),
    ],
)
def test_a_models_own_limit(
    stack: Stack, http: httpx.Client, model: str, fault: str, arg: float | None, stream: bool
) -> None:
    """504 that names the upstream's lateness, after as many attempts as the limits allow; all closed."""
    stack.tenant.set_fault(fault, **({} if arg is None else {"arg": arg}))
    answer, took = timed(lambda: ask(http, "chat", model, stream=stream))

    assert (504, "upstream_timeout") == (answer.status_code, answer.json()["error"]["code"])
    assert took < 3 * (OWN + SLACK)
    assert closed(stack)


def test_a_stall_after_the_first_content(stack: Stack, http: httpx.Client) -> None:
    """Once the stream has begun its end is an error event, and no terminator."""
    stack.tenant.set_fault("stall", arg=2)
    answer, took = timed(lambda: ask(http, "chat", STALL, stream=True))
    found = events(answer.text)

    assert "upstream_timeout" == found[-1]["error"]["code"]
    assert "[DONE]" not in found
    assert took < OWN + 2 * SLACK
    assert closed(stack)


def test_others_are_not_limited_by_it(stack: Stack, http: httpx.Client) -> None:
    """A model without limits of its own lives with the general ones."""
    stack.tenant.set_pace(latency_ms=900)

    assert 200 == ask(http, "chat", "qwen3-max", stream=False).status_code


# --- the peek ---------------------------------------------------------------------------------------


def test_what_is_held_goes_out_after_the_peek(stack: Stack, http: httpx.Client) -> None:
    """A model that thinks longer than the peek: first its opening comes, then the content when it may."""
    stack.tenant.set_fault("slow-token", arg=2)
    body = chat("echo: at last", model="anthropic--claude-4.8-opus", stream=True)
    arrived: list[float] = []
    began = time.monotonic()
    text = ""
    with http.stream("POST", CHAT, json=body) as answer:
        for piece in answer.iter_text():
            arrived.append(time.monotonic() - began)
            text += piece

    assert PEEK <= arrived[0] < PEEK + 2 * SLACK
    assert 2 <= arrived[1]
    assert "at last" == said(events(text))
    assert "[DONE]" == events(text)[-1]


def test_the_callers_time_runs_out_after_the_peek(stack: Stack, http: httpx.Client) -> None:
    """A stream that went out without content ends with an error event when its caller's time is over."""
    stack.tenant.set_fault("slow-token", arg=6)
    answer, took = timed(
        lambda: ask(http, "chat", "anthropic--claude-4.8-opus", stream=True, **{HEADER: "1.6"})
    )
    found = events(answer.text)

    assert (200, "deadline_exceeded") == (answer.status_code, found[-1]["error"]["code"])
    assert PEEK < took < 1.6 + SLACK
    assert closed(stack)


def test_a_failure_within_the_peek_is_not_seen(stack: Stack, http: httpx.Client) -> None:
    """An error after the opening, but before content, is another deployment's to get around."""
    stack.tenant.set_fault("error-first", times=1)
    answer = http.post(CHAT, json=chat("echo: never mind", stream=True))

    assert "never mind" == said(events(answer.text))
    assert "2" == answer.headers["x-aicore-attempts"]


def test_a_whole_answer_is_not_peeked_at(stack: Stack, http: httpx.Client) -> None:
    """Whole answers take as long as they take."""
    stack.tenant.set_pace(latency_ms=1000 * (PEEK + 0.5))

    assert "hello there" == content(http.post(CHAT, json=chat()))
