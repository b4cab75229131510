"""More than can be served at once: limits hold over all workers, lines are fair and bounded."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.asked import Asked
from tests.e2e.bodies import CHAT, chat, content, events, said, within
from tests.e2e.callers import RawCaller, Way, counted, left_counted, workers
from tests.e2e.conftest import Stack
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e

ROOM = 10
QUEUE = 20
WORKERS = 2
PER_DEPLOYMENT = 2
NARROW, NARROWEST = "gpt-5-mini", "gpt-5.1"
"""Run once each."""
PLENTY = "gpt-5"
"""Runs three times."""
LONG = "[[tokens:4000]]"
REFUSED_SECONDS = 0.1
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Simulator, Path]]:
    folder = tmp_path_factory.mktemp("load")
    with Simulator(write_config=folder) as tenant:
        yield tenant, folder


@pytest.fixture(scope="module")
def narrow(simulated: tuple[Simulator, Path]) -> Iterator[Stack]:
    """A gateway with room for ten, and for twenty to wait in each worker."""
    tenant, folder = simulated
    extra = {
        "limits": {"in_flight": ROOM, "in_flight_per_deployment": PER_DEPLOYMENT},
        "models": {NARROWEST: {"max_in_flight": 1}},
        "routing": {"queue_length": QUEUE, "queue_seconds": 10, "cool_down_seconds": 0},
    }
    with Gateway(folder / "config.json", workers=WORKERS, extra=extra) as gateway:
        yield Stack(tenant, gateway)


@pytest.fixture(scope="module")
def wide(simulated: tuple[Simulator, Path]) -> Iterator[Stack]:
    """A gateway without limits that matter."""
    tenant, folder = simulated
    with Gateway(folder / "config.json", workers=WORKERS) as gateway:
        yield Stack(tenant, gateway)


@pytest.fixture(autouse=True)
def _fresh(simulated: tuple[Simulator, Path]) -> Iterator[None]:
    tenant, _ = simulated
    tenant.reset()
    yield
    assert within(5, lambda: tenant.stats()["in_flight"] == 0)


@asynccontextmanager
async def client_of(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that opens as many connections as it has requests."""
    async with httpx.AsyncClient(
        base_url=stack.gateway.url,
        headers={"x-api-key": CLIENT_KEY},
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        timeout=40,
        trust_env=False,
    ) as client:
        yield client


async def burst(stack: Stack, count: int, body: dict[str, Any]) -> list[httpx.Response]:
    """Ask so many times at once."""
    async with client_of(stack) as client:
        return await asyncio.gather(*(client.post(CHAT, json=body) for _ in range(count)))


def peaks(tenant: Simulator) -> list[int]:
    """Return the most requests that each deployment had at once."""
    return [one["peak_in_flight"] for one in tenant.stats()["deployments"].values()]


@pytest.fixture
def full(narrow: Stack) -> Iterator[ExitStack]:
    """The narrow gateway with as many streams as it has room for; closed early by the test, or at its end."""
    narrow.tenant.set_pace(chunk_interval_ms=100)
    models = [PLENTY] * 6 + ["gpt-4.1"] * 4  # two for each deployment
    with ExitStack() as opened:
        for model in models:
            caller = RawCaller(Way.to(narrow.gateway), CHAT, chat(LONG, model=model, stream=True))
            opened.enter_context(caller).until(b'"content"')
        assert ROOM == counted(narrow.gateway, narrow.tenant)["in-flight"]
        yield opened


# --- limits hold ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_the_gateways_limit_holds_over_its_workers(narrow: Stack, stream: bool) -> None:
    """Of thirty at once no more than ten are upstream at any moment, and all are served."""
    narrow.tenant.set_pace(latency_ms=100)
    models = ["gpt-5", "gpt-4.1", "qwen3-max", "anthropic--claude-4.6-sonnet", "gemini-3.5-flash"] * 6
    async with client_of(narrow) as client:
        bodies = [chat(model=model, stream=stream) for model in models]
        answers = await asyncio.gather(*(client.post(CHAT, json=body) for body in bodies))

    assert {200: 30} == Counter(answer.status_code for answer in answers)
    assert 30 == narrow.tenant.stats()["requests"]
    assert ROOM // 2 < narrow.tenant.stats()["peak_in_flight"] <= ROOM
    assert {} == left_counted(narrow.gateway, narrow.tenant)


@pytest.mark.parametrize(("model", "limit"), [(PLENTY, 2), (NARROW, 2), (NARROWEST, 1)])
async def test_a_deployments_limit_holds_over_the_workers(narrow: Stack, model: str, limit: int) -> None:
    """No deployment ever has more than its limit; the model's own goes before the general one."""
    narrow.tenant.set_pace(latency_ms=50)
    answers = await burst(narrow, 20, chat(model=model))

    assert {200: 20} == Counter(answer.status_code for answer in answers)
    assert {limit} == set(peaks(narrow.tenant))
    assert {} == left_counted(narrow.gateway, narrow.tenant)


async def test_a_stream_counts_until_its_end(narrow: Stack) -> None:
    """What a stream takes of the limit it gives back when it is complete, not when it begins."""
    narrow.tenant.set_pace(chunk_interval_ms=20)
    answers = await burst(narrow, 4, chat("[[tokens:20]]", model=NARROWEST, stream=True))

    assert ["[DONE]"] * 4 == [events(answer.text)[-1] for answer in answers]
    assert [1] == peaks(narrow.tenant)


async def test_a_failed_attempt_gives_its_place_back(narrow: Stack) -> None:
    """After thirty requests that all fail upstream, nothing is counted any more."""
    narrow.tenant.set_fault("500")
    answers = await burst(narrow, 30, chat(model=NARROWEST))

    assert {200} & {answer.status_code for answer in answers} == set()
    assert {} == left_counted(narrow.gateway, narrow.tenant)
    narrow.tenant.clear_faults()
    assert {200} == {answer.status_code for answer in await burst(narrow, 3, chat(model=NARROWEST))}


# --- lines ------------------------------------------------------------------------------------------


async def test_the_line_is_first_come_first_served(simulated: tuple[Simulator, Path]) -> None:
    """Within a worker, twelve who wait for one place get it in the order in which they came."""
    tenant, folder = simulated
    extra = {"models": {NARROWEST: {"max_in_flight": 1}}, "limits": {"in_flight": 5}}
    tenant.set_pace(latency_ms=60)
    finished: list[int] = []

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        await asyncio.sleep(number * 0.03)
        answer = await client.post(CHAT, json=chat(model=NARROWEST))
        assert 200 == answer.status_code
        finished.append(number)

    with Gateway(folder / "config.json", workers=1, extra=extra) as gateway:
        async with client_of(Stack(tenant, gateway)) as client:
            await asyncio.gather(*(ask(client, number) for number in range(12)))

    assert list(range(12)) == finished


async def test_nobody_starves_between_two_workers(narrow: Stack) -> None:
    """Two lines that compete for one place: while newcomers keep coming, the longest wait stays bounded."""
    narrow.tenant.set_pace(latency_ms=40)
    waits: list[float] = []

    async def ask_again_and_again(client: httpx.AsyncClient) -> None:
        for _ in range(8):
            started = time.monotonic()
            assert 200 == (await client.post(CHAT, json=chat(model=NARROWEST))).status_code
            waits.append(time.monotonic() - started)

    async with client_of(narrow) as client:
        await asyncio.gather(*(ask_again_and_again(client) for _ in range(ROOM)))

    assert max(waits) < 6 * statistics.median(waits)


def test_who_waits_is_served_when_room_comes(narrow: Stack, full: ExitStack) -> None:
    """Requests that came while all was full are answered once somebody has left."""
    narrow.tenant.set_pace(chunk_interval_ms=0)
    waiting = [Asked(narrow.gateway, CHAT, chat(model=NARROW, stream=bool(n % 2))) for n in range(8)]
    time.sleep(0.5)
    assert ROOM == narrow.tenant.stats()["requests"]
    full.close()

    assert [200] * 8 == [one.ended().status for one in waiting]


# --- refusals ---------------------------------------------------------------------------------------

_HELLO = [{"role": "user", "content": "hi"}]
# Surface → path, body, and what its error looks like.
SURFACES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "chat": (CHAT, {"messages": _HELLO}, lambda body: body["error"]["code"] == "overloaded"),
    "responses": ("/v1/responses", {"input": "hi"}, lambda body: body["error"]["code"] == "overloaded"),
    "messages": (
        "/v1/messages",
        {"max_tokens": 9, "messages": _HELLO},
        lambda body: (body["type"], body["error"]["type"]) == ("error", "overloaded_error"),
    ),
    "gemini": (
        "/v1beta/models/{model}:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        lambda body: (body["error"]["code"], body["error"]["status"]) == (503, "UNAVAILABLE"),
    ),
    "embeddings": (
        "/v1/embeddings",
        {"input": "hi"},
        lambda body: body["error"]["code"] == "overloaded",
    ),
}


@pytest.fixture
def crowded(narrow: Stack, full: ExitStack) -> ExitStack:
    """The narrow gateway, full, with a line before each worker that nobody else may join."""
    callers = [full.enter_context(waiting(narrow)) for _ in range(2 * WORKERS * QUEUE)]
    assert within(5, lambda: sum(refused(caller) for caller in callers) >= WORKERS * QUEUE // 2)
    while not all(refused(full.enter_context(probe)) for probe in probes(narrow)):
        pass  # a worker that had fewer callers has room to wait still
    return full


def waiting(stack: Stack) -> RawCaller:
    return RawCaller(Way.to(stack.gateway), CHAT, chat(stream=True))


def probes(stack: Stack) -> list[RawCaller]:
    callers = [waiting(stack) for _ in range(10)]
    time.sleep(0.3)
    return callers


def refused(caller: RawCaller) -> bool:
    """Whether an answer has come already."""
    caller.socket.settimeout(0.001)
    try:
        caller.data += caller.socket.recv(1000)
    except TimeoutError:
        return bool(caller.data)
    return True


def test_past_the_line_a_refusal_is_immediate(narrow: Stack, crowded: ExitStack) -> None:
    """503 with Retry-After in the caller's dialect, in less than 100 ms; nothing of it goes upstream."""
    took: list[float] = []
    with narrow.client() as http:
        for path, body, is_error in SURFACES.values():
            for _ in range(4):
                started = time.monotonic()
                answer = http.post(path.format(model=PLENTY), json={"model": PLENTY} | body)
                took.append(time.monotonic() - started)

                assert 503 == answer.status_code
                assert 1 <= int(answer.headers["retry-after"]) <= 10
                assert is_error(answer.json()), answer.text

    assert statistics.median(took) < REFUSED_SECONDS
    assert ROOM == narrow.tenant.stats()["requests"]


def test_a_crowd_does_not_delay_the_probes(narrow: Stack, crowded: ExitStack) -> None:
    """Health, readiness, metrics and the model list answer while no request can."""
    assert quick(narrow, seconds=REFUSED_SECONDS)


def test_a_rate_limited_model_is_refused_at_once(narrow: Stack) -> None:
    """When all candidates rest for longer than anybody may wait: 429, and nothing is sent."""
    narrow.tenant.set_fault("429", model=NARROW, arg=30)
    with narrow.client() as http:
        first = http.post(CHAT, json=chat(model=NARROW))
        sent = narrow.tenant.stats()["requests"]
        started = time.monotonic()
        second = http.post(CHAT, json=chat(model=NARROW))
        took = time.monotonic() - started

    assert [429, 429] == [first.status_code, second.status_code]
    assert 25 <= int(second.headers["retry-after"]) <= 30
    assert took < REFUSED_SECONDS
    assert sent == narrow.tenant.stats()["requests"]


def test_a_short_rate_limit_is_waited_for(wide: Stack) -> None:
    """When the first candidate comes back within the time for waiting, so do those who wait for it."""
    wide.tenant.set_fault("429", model=NARROW, arg=1, times=1)
    started = time.monotonic()
    callers = [Asked(wide.gateway, CHAT, chat(model=NARROW)) for _ in range(6)]

    assert [200] * 6 == [one.ended().status for one in callers]
    assert 0.9 <= time.monotonic() - started < 4


@pytest.mark.parametrize("stream", [False, True])
async def test_a_sudden_burst(narrow: Stack, stream: bool) -> None:
    """Of three hundred at once each gets its answer, or an honest refusal; none hangs, nothing stays."""
    narrow.tenant.set_pace(latency_ms=50)
    answers = await burst(narrow, 300, chat(model="gemini-3.5-flash", stream=stream))
    served = [answer for answer in answers if answer.status_code == 200]
    refusals = [answer for answer in answers if answer.status_code != 200]
    texts = [said(events(one.text)) if stream else content(one) for one in served]

    assert len(served) >= QUEUE
    assert {"hello there"} == set(texts)
    assert all("[DONE]" == events(one.text)[-1] for one in served if stream)
    assert {503} == {one.status_code for one in refusals}
    assert all(1 <= int(one.headers["retry-after"]) <= 10 for one in refusals)
    assert len(served) == narrow.tenant.stats()["requests"]
    assert narrow.tenant.stats()["peak_in_flight"] <= ROOM
    assert {} == left_counted(narrow.gateway, narrow.tenant)


# --- probes -----------------------------------------------------------------------------------------


def quick(stack: Stack, *, seconds: float) -> bool:
    """Whether all that operators look at is answered well in that time, on new connections."""
    took: list[float] = []
    for path in ("/health", "/health/live", "/health/ready", "/metrics", "/v1/models"):
        for _ in range(6):
            started = time.monotonic()
            with stack.client() as http:
                assert 200 == http.get(path).status_code
            took.append(time.monotonic() - started)
    return statistics.median(took) < seconds and max(took) < 10 * seconds


def test_two_hundred_streams_do_not_delay_the_probes(wide: Stack) -> None:
    """Nor do they hurt each other: all are complete."""
    wide.tenant.set_pace(chunk_interval_ms=100)
    body = chat("[[tokens:40]]", stream=True)
    with ExitStack() as opened:
        callers = [opened.enter_context(RawCaller(Way.to(wide.gateway), CHAT, body)) for _ in range(200)]
        for caller in callers:
            caller.until(b'"content"')
        prompt = quick(wide, seconds=REFUSED_SECONDS)
        running = wide.tenant.stats()["in_flight"]
        complete = [b"data: [DONE]" in caller.until(b"0\r\n\r\n").data for caller in callers]

    assert prompt
    assert 200 == running
    assert all(complete)


# --- slow readers -----------------------------------------------------------------------------------


def resident(stack: Stack) -> int:
    """Return the memory of all workers, in bytes."""
    return sum(worker.memory_info().rss for worker in workers(stack.gateway))


@pytest.mark.parametrize(
    ("model", "members"),
    [
        pytest.param("gpt-5", {}, id="passed through"),
        pytest.param("anthropic--claude-4.8-opus", {"max_tokens": 128_000}, id="translated"),
        pytest.param("gpt-4.1", {"temperature": 0}, id="shared"),
    ],
)
def test_slow_readers_get_backpressure_not_memory(wide: Stack, model: str, members: dict[str, Any]) -> None:
    """Ten streams of more than 15 MB that nobody reads hold a few MB each, and no more as time goes on."""
    way = Way.to(wide.gateway)
    body = chat("[[tokens:100000]]", model=model, stream=True, **members)
    with ExitStack() as opened:
        before = resident(wide)
        callers = [opened.enter_context(RawCaller(way, CHAT, body, buffer=16_384)) for _ in range(10)]
        for caller in callers:
            caller.until(b"data: ")
        time.sleep(2)
        early = resident(wide)
        for _ in range(40):  # a trickle
            time.sleep(0.05)
            for caller in callers:
                caller.socket.recv(8192)
        late = resident(wide)
        running = wide.tenant.stats()["in_flight"]

    assert running >= 1
    assert early - before < 50 * MEGABYTE
    assert late - early < 10 * MEGABYTE


def test_a_slow_reader_gets_it_all(wide: Stack) -> None:
    """However long it pauses, every byte comes, in its order, with its end."""
    caller = RawCaller(Way.to(wide.gateway), CHAT, chat("[[tokens:20000]]", stream=True), buffer=16_384)
    with caller:
        time.sleep(1)
        data = caller.until(b"0\r\n\r\n").data

    assert b"data: [DONE]" in data
    assert data.count(b'"content":"') >= 20_000


def test_one_who_stops_reading_a_shared_stream_does_not_stop_the_others(wide: Stack) -> None:
    """Who reads gets all of it; who is too far behind is told so, in an error event."""
    way = Way.to(wide.gateway)
    body = chat("[[tokens:30000]]", model="gpt-4.1", temperature=0, stream=True)
    with ExitStack() as opened:
        stuck = [opened.enter_context(RawCaller(way, CHAT, body, buffer=16_384)) for _ in range(4)]
        for caller in stuck:
            caller.until(b"data: ")
        reading = opened.enter_context(RawCaller(way, CHAT, body))
        data = reading.until(b"\r\n0\r\n\r\n").data
        ends = [caller.until(b"\r\n0\r\n\r\n").data for caller in stuck]

    assert b"data: [DONE]" in data
    assert data.count(b'"content":"') >= 30_000
    assert all(b"data: [DONE]" in end or b'"code":"upstream_broken"' in end for end in ends)
