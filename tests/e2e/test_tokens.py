"""Tokens under load: they expire, are revoked, and are fetched once however many ask."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from tests.e2e.bodies import CHAT, chat
from tests.e2e.conftest import Stack, Starter

pytestmark = pytest.mark.e2e

LOAD_SECONDS = 8.0
WORKERS = 2


def client_of(stack: Stack) -> httpx.AsyncClient:
    heads = dict(stack.client().headers)
    return httpx.AsyncClient(base_url=stack.gateway.url, headers=heads, timeout=20, trust_env=False)


async def steadily(stack: Stack, *, seconds: float, callers: int = 6) -> list[int]:
    """Statuses of all that these callers got, half of it streamed."""
    until = time.monotonic() + seconds
    statuses: list[int] = []

    async def call(client: httpx.AsyncClient, stream: bool) -> None:
        while time.monotonic() < until:
            answer = await client.post(CHAT, json=chat(stream=stream))
            statuses.append(answer.status_code if not stream or "[DONE]" in answer.text else 0)
            await asyncio.sleep(0.02)

    async with client_of(stack) as client:
        await asyncio.gather(*(call(client, number % 2 == 0) for number in range(callers)))
    return statuses


async def test_tokens_expire_under_load(stack: Starter) -> None:
    """With tokens of three seconds no request fails in eight, and the upstream never sees an old token."""
    started = stack("--token-lifetime", "3")
    started.tenant.reset()
    statuses = await steadily(started, seconds=LOAD_SECONDS)
    stats = started.tenant.stats()

    assert len(statuses) > 200
    assert {200} == set(statuses)
    assert 0 == stats["token_refusals"] == stats["statuses"].get("401", 0)
    # a renewal every 2.5 seconds or so, for each worker and tenant
    assert 2 * WORKERS * 2 <= stats["token_fetches"] <= 5 * WORKERS * 2


async def test_tokens_revoked_under_load(stack: Starter) -> None:
    """Tokens revoked early cost no request: one new token for each worker and tenant, whoever saw the 401."""
    started = stack()
    started.tenant.reset()
    load = asyncio.create_task(steadily(started, seconds=2.5))  # noqa: TID251 - awaited below
    await asyncio.sleep(0.8)
    await asyncio.to_thread(started.tenant.revoke)
    statuses = await load

    assert {200} == set(statuses)
    assert 1 <= started.tenant.stats()["token_fetches"] <= 2 * WORKERS


@pytest.mark.parametrize("slow_token", [False, True])
async def test_two_hundred_first_requests(stack: Starter, slow_token: bool) -> None:
    """200 requests at once, the first ones ever, share one token fetch for each worker and tenant
    (trap 53)."""
    started = stack(*(["--fault", "oauth=slow::0.5"] if slow_token else []))
    async with client_of(started) as client:
        answers = await asyncio.gather(*(client.post(CHAT, json=chat()) for _ in range(200)))

    assert {200} == {answer.status_code for answer in answers}
    assert 2 <= started.tenant.stats()["token_fetches"] <= 2 * WORKERS


async def test_a_valid_token_outlives_a_failing_token_service(stack: Starter) -> None:
    """While renewals fail the old token stays in use until it ends."""
    started = stack("--token-lifetime", "60")
    started.tenant.set_fault("500", plane="oauth")
    statuses = await steadily(started, seconds=0.5)

    assert {200} == set(statuses)


async def test_a_token_service_that_fails_at_first(stack: Starter) -> None:
    """A tenant without a token is passed over: the other one serves, the gateway is ready."""
    started = stack("--fault", "oauth=500:0.3")
    statuses = await steadily(started, seconds=0.5)

    assert {200} == set(statuses)
