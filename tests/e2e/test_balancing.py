"""Which deployment serves, over two workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from perf.simulator.launch import Simulator
from tests.e2e.bodies import CHAT, chat
from tests.e2e.conftest import Stack, Starter

pytestmark = pytest.mark.e2e


async def served(stack: Stack, count: int, *, at_once: int, **body: Any) -> Counter[str]:
    """Deployments that answered, each request over a connection of its own so that both workers get some."""
    places: Counter[str] = Counter()
    gate = asyncio.Semaphore(at_once)
    heads = {"authorization": stack.client().headers["authorization"], "connection": "close"}

    async def call(client: httpx.AsyncClient) -> None:
        async with gate:
            answer = await client.post(CHAT, json=chat(**body))
        assert 200 == answer.status_code, answer.text
        places[answer.headers["x-aicore-deployment"]] += 1

    async with httpx.AsyncClient(
        base_url=stack.gateway.url, headers=heads, timeout=30, trust_env=False
    ) as client:
        await asyncio.gather(*(call(client) for _ in range(count)))
    return places


def ids(tenant: Simulator, model: str = "gpt-5") -> list[str]:
    """Ids of the running deployments, the first tenant's first."""
    return [
        one["id"]
        for name in tenant.tenants
        for one in tenant.deployments(model, tenant=name)
        if one["status"] == "RUNNING"
    ]


async def test_every_deployment_gets_its_share(shared: Stack) -> None:
    """One after the other, the three deployments of two sub-accounts get a third each."""
    places = await served(shared, 90, at_once=1)

    assert set(ids(shared.tenant)) == set(places)
    assert all(20 <= count <= 40 for count in places.values()), places


async def test_load_is_spread_over_both_sub_accounts(shared: Stack) -> None:
    """Under load, no deployment has more in flight than its share, though two workers choose."""
    shared.tenant.set_pace(latency_ms=100)
    await served(shared, 120, at_once=30)
    gauges = shared.tenant.stats()["deployments"]

    assert set(ids(shared.tenant)) == set(gauges)
    assert all(gauge["peak_in_flight"] <= 16 for gauge in gauges.values()), gauges


async def test_a_slow_deployment_gets_less(shared: Stack) -> None:
    """The choice by requests in flight holds across the workers: what is slow gets few requests."""
    slow, *_ = ids(shared.tenant)
    shared.tenant.set_pace(latency_ms=20)
    shared.tenant.set_fault("slow", arg=0.5, deployment=slow)
    places = await served(shared, 300, at_once=12)

    assert places[slow] < 60, places
    assert shared.tenant.stats()["deployments"][slow]["peak_in_flight"] <= 6


@pytest.mark.parametrize(("small", "low", "high"), [(10, 5, 35), (50, 80, 120)])
async def test_a_rollout_by_weight(stack: Starter, small: int, low: int, high: int) -> None:
    """The weights of a model are shares of its traffic: 10 of 100, then 50 of 100."""
    with Simulator() as known:
        old, new, other = ids(known)
    weights = {old: 100 - small, new: small, other: 0}
    started = stack(models={"gpt-5": {"weights": weights}})
    places = await served(started, 200, at_once=8)

    assert 0 == places[other]
    assert low <= places[new] <= high, places


async def test_sub_accounts_have_weights(stack: Starter) -> None:
    """A sub-account of weight 0 is never chosen."""
    started = stack(
        subAccounts={
            "alpha": {"service_key_json": "alpha.key.json", "weight": 0},
            "beta": {"service_key_json": "beta.key.json"},
        }
    )
    places = await served(started, 30, at_once=3)

    assert {ids(started.tenant)[-1]: 30} == places


async def test_the_ordered_strategy(stack: Starter) -> None:
    """The first of the list serves all; the next one as long as the first one rests."""
    started = stack(routing={"strategy": "ordered", "cool_down_seconds": 60})
    before = await served(started, 20, at_once=4)
    (first,) = before
    started.tenant.set_fault("503", deployment=first)
    during = await served(started, 20, at_once=1)

    assert first in ids(started.tenant)
    assert 0 == during[first]
    assert 1 == len(during)
    assert started.tenant.stats()["deployments"][first]["statuses"]["503"] <= 2


async def test_a_deployment_that_rests_is_known_to_both_workers(stack: Starter) -> None:
    """After one failure seen by one worker, no worker asks that deployment until its rest is over."""
    started = stack(routing={"cool_down_seconds": 60})
    broken = ids(started.tenant)[0]
    started.tenant.set_fault("500", deployment=broken)
    places = await served(started, 60, at_once=1)

    assert 0 == places[broken]
    assert 1 == started.tenant.stats()["deployments"][broken]["statuses"]["500"]


async def test_a_stopped_deployment_is_passed_over(shared: Stack) -> None:
    """A deployment that stops after it was discovered costs nobody an answer."""
    gone = ids(shared.tenant, "gpt-4.1")[0]
    shared.tenant.set_status(gone, "STOPPED")
    try:
        places = await served(shared, 20, at_once=4, model="gpt-4.1")
    finally:
        shared.tenant.set_status(gone, "RUNNING")

    assert 20 == sum(places.values())
    assert 0 == places[gone]
