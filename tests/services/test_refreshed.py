"""A TTL-cached value: one refresh at a time, and the last good value when it fails."""

# the expected value stands on the left

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.errors import UpstreamBroken, UpstreamFailed
from services.refreshed import AGAIN_SECONDS, Refreshed
from services.stores import MemoryCache
from services.tasks import spawn
from tests.services.fakes import FakeClock, settle


class Source:
    """Makes "1", "2", …; fails or waits when told."""

    def __init__(self) -> None:
        self.made = 0
        self.error: Exception | None = None
        self.gate: asyncio.Future[None] | None = None

    async def make(self) -> str:
        self.made += 1
        number = self.made
        if self.gate is not None:
            await self.gate
        if self.error is not None:
            raise self.error
        return str(number)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def value(source: Source, clock: FakeClock) -> Refreshed[str]:
    return Refreshed(
        source.make, name="models", ttl_seconds=60, stale_seconds=600, patience_seconds=0, clock=clock
    )


async def test_a_young_value_is_served_again(value: Refreshed[str], clock: FakeClock) -> None:
    """Within its time to live the value is made once."""
    assert "1" == await value.get()
    clock.now += 59

    assert "1" == await value.get()


async def test_an_old_value_is_made_anew(value: Refreshed[str], clock: FakeClock) -> None:
    """After its time to live the value is refreshed; with patience, the request gets the new one."""
    value._patience_seconds = 5
    await value.get()
    clock.now += 60

    assert "2" == await value.get()


async def test_the_value_is_in_aiocache(source: Source, clock: FakeClock) -> None:
    """Two users of one cache share the value, as two machines on Redis do."""
    cache = MemoryCache(max_entries=1, clock=clock)
    one, other = (
        Refreshed(source.make, name="models", ttl_seconds=60, stale_seconds=0, cache=cache, clock=clock)
        for _ in range(2)
    )

    assert ("1", "1") == (await one.get(), await other.get())


async def test_one_refresh_at_a_time(value: Refreshed[str], source: Source) -> None:
    """However many ask at once, the value is made once."""
    source.gate = asyncio.get_running_loop().create_future()
    tasks = [spawn(value.get(), name="t") for _ in range(50)]
    await settle()
    source.gate.set_result(None)

    assert ["1"] * 50 == await asyncio.gather(*tasks)
    assert 1 == source.made == value.refreshes


async def test_leaving_does_not_end_the_refresh(value: Refreshed[str], source: Source) -> None:
    """A waiter that is cancelled takes nothing from the others, nor from the next."""
    source.gate = asyncio.get_running_loop().create_future()
    first, second = (spawn(value.get(), name="t") for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    source.gate.set_result(None)

    assert "1" == await second
    assert first.cancelled()


async def test_a_failed_refresh_serves_the_last_good_value(
    value: Refreshed[str], source: Source, clock: FakeClock
) -> None:
    """As long as the last good value is not too old, a failing source is not the caller's problem."""
    value._patience_seconds = 5
    await value.get()
    source.error = UpstreamFailed("500")
    clock.now += 660

    assert "1" == await value.get()
    assert 1 == value.failures


async def test_a_value_that_is_too_old_is_not_served(
    value: Refreshed[str], source: Source, clock: FakeClock
) -> None:
    """Beyond the limit the failure is told."""
    await value.get()
    source.error = UpstreamFailed("500")
    clock.now += 661

    with pytest.raises(UpstreamFailed, match="500"):
        await value.get()


async def test_a_failing_source_is_not_asked_at_every_request(
    value: Refreshed[str], source: Source, clock: FakeClock
) -> None:
    """After a failure the last good value is served without another attempt for a while."""
    value._patience_seconds = 5
    await value.get()
    source.error = UpstreamFailed("500")
    clock.now += 60
    for _ in range(5):
        assert "1" == await value.get()
    assert 2 == source.made
    clock.now += AGAIN_SECONDS
    source.error = None

    assert "3" == await value.get()


async def test_a_slow_refresh_does_not_hold_requests_up(
    value: Refreshed[str], source: Source, clock: FakeClock
) -> None:
    """With a last good value, a request waits a limited time; the refresh goes on and is served later."""
    await value.get()
    source.gate = asyncio.get_running_loop().create_future()
    clock.now += 60
    assert "1" == await value.get()
    source.gate.set_result(None)
    await settle()

    assert "2" == await value.get()
    assert 2 == source.made


async def test_without_a_value_each_waiter_gets_the_failure(value: Refreshed[str], source: Source) -> None:
    """When the first refresh fails, each waiter gets an error of its own; the log has one line."""
    source.error = UpstreamFailed("500")
    with capture_logs() as logged:
        outcomes: list[Any] = await asyncio.gather(*(value.get() for _ in range(3)), return_exceptions=True)

    assert [UpstreamFailed] * 3 == list(map(type, outcomes))
    assert 3 == len(set(map(id, outcomes)))
    assert 1 == source.made
    assert ["refresh_failed"] == [line["event"] for line in logged]


async def test_it_can_be_forgotten(value: Refreshed[str]) -> None:
    """When something is known to have changed, the next request sees the new value."""
    value._patience_seconds = 5
    await value.get()
    await value.forget()

    assert "2" == await value.get()


async def test_what_a_refresh_read_before_is_forgotten_too(value: Refreshed[str], source: Source) -> None:
    """A refresh that began before the change does not bring the old value back."""
    source.gate = asyncio.get_running_loop().create_future()
    early = spawn(value.get(), name="t")
    await settle()
    await value.forget()
    late = spawn(value.get(), name="t")
    await settle()
    source.gate.set_result(None)

    assert ("1", "2") == (await early, await late)
    assert "2" == await value.get()


async def test_closing_ends_a_refresh(value: Refreshed[str], source: Source) -> None:
    """A refresh that is under way at the end is cancelled, and who waits for it is told."""
    source.gate = asyncio.get_running_loop().create_future()
    waiting = spawn(value.get(), name="t")
    await settle()
    await value.aclose()
    await value.aclose()

    assert source.gate.cancelled()
    with pytest.raises(UpstreamBroken, match="cancelled"):
        await waiting
