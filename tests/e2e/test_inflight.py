"""Identical concurrent requests share one upstream call: in the real process, whole and streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.bodies import CHAT, chat, content, events, said
from tests.e2e.conftest import KEYS, OTHER_KEY, Stack, Starter
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e

MODEL = "gpt-4.1"
CALLERS = 20
COALESCED = "x-aicore-coalesced"


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Sharing is per worker: with one, how much is shared is known exactly."""
    folder = tmp_path_factory.mktemp("sharing")
    extra = {"secret_authentication_tokens": KEYS}
    with (
        Simulator(write_config=folder) as tenant,
        Gateway(folder / "config.json", workers=1, extra=extra) as gateway,
    ):
        yield Stack(tenant, gateway)


@pytest.fixture
async def client(one_worker: Stack) -> AsyncIterator[httpx.AsyncClient]:
    one_worker.tenant.reset()
    async with client_of(one_worker) as client:
        yield client


def client_of(stack: Stack, key: str = CLIENT_KEY) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=stack.gateway.url,
        headers={"authorization": f"Bearer {key}"},
        timeout=20,
        trust_env=False,
    )


async def at_once(
    client: httpx.AsyncClient, count: int = CALLERS, *, path: str = CHAT, **body: Any
) -> list[Any]:
    return await asyncio.gather(*(client.post(path, json=body) for _ in range(count)))


def coalesced(answers: list[httpx.Response]) -> int:
    return sum(answer.headers.get(COALESCED) == "true" for answer in answers)


async def test_whole_answers_are_shared(one_worker: Stack, client: httpx.AsyncClient) -> None:
    """Twenty callers with temperature 0 cost one upstream call; nineteen are told so."""
    one_worker.tenant.set_pace(latency_ms=300)
    answers = await at_once(client, **chat(model=MODEL, temperature=0))

    assert {(200, "hello there")} == {(one.status_code, content(one)) for one in answers}
    assert (1, CALLERS - 1) == (one_worker.tenant.stats()["requests"], coalesced(answers))
    assert CALLERS == len({answer.headers["x-request-id"] for answer in answers})


async def test_streams_are_shared(one_worker: Stack, client: httpx.AsyncClient) -> None:
    """The same for streams: each caller gets every event."""
    one_worker.tenant.set_pace(latency_ms=100, chunk_interval_ms=10)
    answers = await at_once(client, **chat("[[tokens:30]]", model=MODEL, temperature=0, stream=True))
    texts = {answer.text for answer in answers}

    assert 1 == len(texts)
    assert "[DONE]" == events(texts.pop())[-1]
    assert (1, CALLERS - 1) == (one_worker.tenant.stats()["requests"], coalesced(answers))


async def test_a_late_joiner_gets_it_all(one_worker: Stack, client: httpx.AsyncClient) -> None:
    """Who comes while a stream runs gets what there was, then the rest, and is not slower."""
    one_worker.tenant.set_pace(chunk_interval_ms=20)
    body = chat("[[tokens:50]]", model=MODEL, temperature=0, stream=True)
    first = asyncio.ensure_future(client.post(CHAT, json=body))
    await asyncio.sleep(0.5)
    assert not first.done()
    late = await client.post(CHAT, json=body)
    early = await first

    assert (None, "true") == (early.headers.get(COALESCED), late.headers.get(COALESCED))
    assert early.text == late.text
    assert said(events(late.text))
    assert 1 == one_worker.tenant.stats()["requests"]


async def test_embeddings_are_shared(one_worker: Stack, client: httpx.AsyncClient) -> None:
    """Embeddings are always deterministic."""
    one_worker.tenant.set_pace(latency_ms=300)
    answers = await at_once(client, path="/v1/embeddings", model="text-embedding-3-small", input="one")

    assert {200} == {answer.status_code for answer in answers}
    assert (1, CALLERS - 1) == (one_worker.tenant.stats()["requests"], coalesced(answers))


@pytest.mark.parametrize(
    "different",
    [
        [{}, {"user": "b"}],
        [{}, {"seed": 2}],
        [{}, {"messages": [{"role": "user", "content": "echo: else"}]}],
        [{}, {"model": "gpt-5"}],
        [{}, {"stream": True}],
    ],
)
async def test_what_differs_is_not_shared(
    one_worker: Stack, client: httpx.AsyncClient, different: list[dict[str, Any]]
) -> None:
    """One field more, or another value, is another request."""
    one_worker.tenant.set_pace(latency_ms=200)
    bodies = [{**chat(model=MODEL, temperature=0), **change} for change in different]
    answers = await asyncio.gather(*(client.post(CHAT, json=body) for body in bodies))

    assert (2, 0) == (one_worker.tenant.stats()["requests"], coalesced(answers))


async def test_chance_is_not_shared(one_worker: Stack, client: httpx.AsyncClient) -> None:
    """Without temperature 0, a seed or a key each caller gets an answer of its own."""
    one_worker.tenant.set_pace(latency_ms=200)
    answers = await at_once(client, 5, **chat(model=MODEL))

    assert (5, 0) == (one_worker.tenant.stats()["requests"], coalesced(answers))


async def test_callers_share_with_themselves_only(one_worker: Stack, client: httpx.AsyncClient) -> None:
    """Another caller's identical request has its own upstream call."""
    one_worker.tenant.set_pace(latency_ms=300)
    body = chat(model=MODEL, temperature=0)
    async with client_of(one_worker, OTHER_KEY) as other:
        answers = await asyncio.gather(*(one.post(CHAT, json=body) for one in (client, other, client, other)))

    assert {200} == {answer.status_code for answer in answers}
    assert (2, 2) == (one_worker.tenant.stats()["requests"], coalesced(answers))


@pytest.mark.parametrize(("keys", "calls"), [(["a", "a"], 1), (["a", "b"], 2), (["a", None], 2)])
async def test_an_idempotency_key_shares(
    one_worker: Stack, client: httpx.AsyncClient, keys: list[str | None], calls: int
) -> None:
    """Requests with the same Idempotency-Key are one, with different ones they are two."""
    one_worker.tenant.set_pace(latency_ms=300)
    heads = [{"idempotency-key": key} if key else {} for key in keys]
    body = chat(model=MODEL)
    await asyncio.gather(*(client.post(CHAT, json=body, headers=head) for head in heads))

    assert calls == one_worker.tenant.stats()["requests"]


async def test_a_failure_is_not_handed_on(one_worker: Stack, client: httpx.AsyncClient) -> None:
    """Callers who joined a call that failed for a passing reason are served by another."""
    one_worker.tenant.set_pace(latency_ms=200)
    one_worker.tenant.set_fault("429", model="gpt-5-mini", times=1)
    answers = await at_once(client, 5, **chat(model="gpt-5-mini", seed=1))
    statuses = sorted(answer.status_code for answer in answers)

    assert [200, 200, 200, 200] == statuses[:4]
    assert statuses[4] in (200, 429)


async def test_one_who_leaves_does_not_end_the_others(one_worker: Stack, client: httpx.AsyncClient) -> None:
    """The first caller leaves; the one who joined gets everything from the same call."""
    one_worker.tenant.set_pace(chunk_interval_ms=20)
    body = chat("[[tokens:40]]", model=MODEL, temperature=0, stream=True)
    async with client_of(one_worker) as leaver, leaver.stream("POST", CHAT, json=body) as answer:
        await anext(answer.aiter_lines())
        follower = asyncio.ensure_future(client.post(CHAT, json=body))
        await asyncio.sleep(0.2)
    joined = await follower

    assert ("true", "[DONE]") == (joined.headers.get(COALESCED), events(joined.text)[-1])
    assert (1, 0) == (
        one_worker.tenant.stats()["requests"],
        one_worker.tenant.stats()["cancelled_streams"],
    )


async def test_two_workers_share_within_each(shared: Stack) -> None:
    """With two workers twenty callers cost at most two calls."""
    shared.tenant.set_pace(latency_ms=300)
    async with client_of(shared) as client:
        answers = await at_once(client, **chat(model=MODEL, temperature=0))

    assert {200} == {answer.status_code for answer in answers}
    assert 1 <= shared.tenant.stats()["requests"] <= 2


async def test_sharing_can_be_turned_off(stack: Starter) -> None:
    """dedup.mode off: every request has its own call."""
    started = stack("--latency-ms", "200", workers=1, dedup={"mode": "off"})
    async with client_of(started) as client:
        answers = await at_once(client, 5, **chat(model=MODEL, temperature=0))

    assert (5, 0) == (started.tenant.stats()["requests"], coalesced(answers))


async def test_the_cache_answers_again(stack: Starter) -> None:
    """With the cache on, the same request has one call, whole and streamed, and a head tells of it."""
    started = stack(workers=1, cache={"enabled": True})
    async with client_of(started) as client:
        whole = [await client.post(CHAT, json=chat(model=MODEL, temperature=0)) for _ in range(3)]
        body = chat(model=MODEL, temperature=0, stream=True)
        streamed = [await client.post(CHAT, json=body) for _ in range(3)]

    for answers in (whole, streamed):
        assert [None, "hit", "hit"] == [answer.headers.get("x-aicore-cache") for answer in answers]
        assert 1 == len({answer.text for answer in answers})
    assert 2 == started.tenant.stats()["requests"]


# --- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [10, 25])
async def test_a_limit_holds_over_two_workers(stack: Starter, limit: int) -> None:
    """N requests a minute are N, not N for each worker; the others are told when to come back."""
    started = stack(limits={"requests_per_minute": limit})
    heads = {"authorization": f"Bearer {CLIENT_KEY}", "connection": "close"}
    async with httpx.AsyncClient(
        base_url=started.gateway.url, headers=heads, timeout=20, trust_env=False
    ) as client:
        answers = [await client.post(CHAT, json=chat()) for _ in range(limit + 15)]
    refused = [answer for answer in answers if answer.status_code == 429]

    assert limit <= sum(answer.status_code == 200 for answer in answers) <= limit + 1
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
    assert {"rate_limit_exceeded"} == {answer.json()["error"]["code"] for answer in refused}


async def test_a_callers_own_limit(stack: Starter) -> None:
    """A key may have its own limit; another key is not touched by it."""
    keys = [CLIENT_KEY, {"name": "small", "key": "sk-small", "requests_per_minute": 3}]
    started = stack(secret_authentication_tokens=keys)
    async with client_of(started, "sk-small") as small, client_of(started) as other:
        own = [(await small.post(CHAT, json=chat())).status_code for _ in range(6)]
        others = [(await other.post(CHAT, json=chat())).status_code for _ in range(6)]

    assert 3 <= own.count(200) <= 4
    assert 429 == own[-1]
    assert {200} == set(others)
