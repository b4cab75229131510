"""Two gateways that share a real Redis, and go on without it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.bodies import CHAT, chat, content, within
from tests.e2e.conftest import Stack
from tests.e2e.gateway import Gateway
from tests.fixtures_redis import RedisServer

pytestmark = pytest.mark.e2e

Pair = tuple[httpx.Client, httpx.Client, Simulator]
LIMIT = 12
CACHED = chat("echo: kept", model="gpt-4.1", temperature=0)
LIMITED_KEY = "sk-limited"
EXTRA: dict[str, Any] = {
    "secret_authentication_tokens": [
        CLIENT_KEY,
        {"name": "limited", "key": LIMITED_KEY, "requests_per_minute": LIMIT},
    ],
    "cache": {"enabled": True, "store": "redis"},
}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(redis: RedisServer, pair: Pair) -> Iterator[RedisServer]:
    """The Redis of the pair, which a test may end: the next one finds it in use again."""
    yield redis
    redis.stop()
    redis.start()
    first, second, _ = pair
    assert within(15, lambda: "hit" == _twice(first, second).headers.get("x-aicore-cache"))


def _twice(first: httpx.Client, second: httpx.Client) -> httpx.Response:
    body = chat("echo: known", model="gpt-4.1", temperature=0)
    first.post(CHAT, json=body)
    return second.post(CHAT, json=body)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Pair]:
    """Clients of two gateways of two workers each, and the tenant of both."""
    tmp_path = tmp_path_factory.mktemp("pair")
    extra = {**EXTRA, "redis": {"host": redis.host, "port": redis.port}}
    with ExitStack() as opened:
        tenant = opened.enter_context(Simulator(write_config=tmp_path))
        clients = []
        for _ in range(2):
            gateway = opened.enter_context(Gateway(tmp_path / "config.json", workers=2, extra=extra))
            clients.append(opened.enter_context(Stack(tenant, gateway).client()))
        yield clients[0], clients[1], tenant


def test_a_limit_holds_over_two_machines(pair: Pair) -> None:
    """N requests a minute are N, whichever gateway gets them."""
    first, second, _ = pair
    heads = {"authorization": f"Bearer {LIMITED_KEY}"}
    answers = [
        client.post(CHAT, json=chat(), headers=heads) for _ in range(LIMIT) for client in (first, second)
    ]
    refused = [answer for answer in answers if answer.status_code == 429]

    assert LIMIT <= sum(answer.status_code == 200 for answer in answers) <= LIMIT + 1
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)


def test_answers_are_kept_for_both(pair: Pair) -> None:
    """What one gateway was answered, the other gives again without asking."""
    first, second, tenant = pair
    original = first.post(CHAT, json=CACHED)
    assert within(2, lambda: second.post(CHAT, json=CACHED).headers.get("x-aicore-cache") == "hit")
    calls = tenant.stats()["requests"]
    again = second.post(CHAT, json=CACHED)

    assert (None, "hit") == (
        original.headers.get("x-aicore-cache"),
        again.headers.get("x-aicore-cache"),
    )
    assert original.text == again.text
    assert calls == tenant.stats()["requests"]


def test_redis_may_die(pair: Pair, redis_server: RedisServer) -> None:
    """With Redis killed in the middle every request is answered, and none of them late."""
    first, second, tenant = pair
    before = [client.post(CHAT, json=CACHED).status_code for client in (first, second)]
    redis_server.stop()
    calls = tenant.stats()["requests"]
    started = time.monotonic()
    after = [client.post(CHAT, json=CACHED) for _ in range(4) for client in (first, second)]
    seconds = time.monotonic() - started

    assert [200, 200] == before
    assert {(200, "kept")} == {(answer.status_code, content(answer)) for answer in after}
    assert seconds < 4
    assert tenant.stats()["requests"] == calls + 8


def test_redis_may_hang(pair: Pair, redis_server: RedisServer) -> None:
    """A Redis that accepts and never answers delays the first requests only."""
    first, second, _ = pair
    redis_server.freeze()
    try:
        started = time.monotonic()
        answers = [client.post(CHAT, json=CACHED) for _ in range(4) for client in (first, second)]
        seconds = time.monotonic() - started
    finally:
        redis_server.thaw()

    assert {200} == {answer.status_code for answer in answers}
    assert seconds < 8


def test_redis_may_come_back(pair: Pair, redis_server: RedisServer) -> None:
    """After a restart the answers are shared again."""
    first, second, _ = pair
    redis_server.stop()
    assert 200 == first.post(CHAT, json=CACHED).status_code
    redis_server.start()

    assert within(15, lambda: "hit" == _twice(first, second).headers.get("x-aicore-cache"))
