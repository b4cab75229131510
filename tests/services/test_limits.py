"""Requests per minute: one window over all workers and machines, whatever Redis does."""

# the expected value stands on the left

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from structlog.testing import capture_logs

from services.board import Board
from services.errors import RateLimited
from services.limits import RateLimiter, _admitted, _seconds_until_admitted
from services.stores import Guard, RedisOptions, redis_client
from tests import fixtures_redis
from tests.fixtures_redis import RedisServer
from tests.services.fakes import FakeClock

redis_server = fixtures_redis.redis_server
MINUTE = 60 * 29_000_000.0


@dataclass
class Caller:
    id: bytes = b"caller"
    requests_per_minute: int | None = None


ANYONE = Caller()


class Cells:
    """A row as one worker sees it."""

    def __init__(self, cells: list[int], column: int) -> None:
        self._cells, self._column = cells, column

    def put(self, value: int, /) -> None:
        assert -(2**63) <= value < 2**63
        self._cells[self._column] = value

    def shares(self) -> list[int]:
        return self._cells


class Memory:
    """What the workers of one machine share; `board(n)` is the view of worker n."""

    def __init__(self, workers: int = 4) -> None:
        self.rows: dict[str, list[int]] = {}
        self._workers = workers

    def board(self, column: int) -> Column:
        return Column(self, column)

    def cells(self, name: str) -> list[int]:
        return self.rows.setdefault(name, [0] * self._workers)


class Column:
    def __init__(self, memory: Memory, column: int) -> None:
        self._memory, self._column = memory, column

    def row(self, name: str, /) -> Cells:
        return Cells(self._memory.cells(name), self._column)


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.now = MINUTE
    return clock


@pytest.fixture
def memory() -> Memory:
    return Memory()


async def admitted(limiter: RateLimiter, attempts: int, caller: Caller = ANYONE) -> int:
    """Return how many of so many requests are admitted."""
    count = 0
    for _ in range(attempts):
        try:
            await limiter.admit(caller)
        except RateLimited:
            continue
        count += 1
    return count


class TestWindow:
    async def test_the_limit_is_the_limit(self, memory: Memory, clock: FakeClock) -> None:
        """Exactly as many requests as configured are admitted, and the others are counted."""
        limiter = RateLimiter(memory.board(0), requests_per_minute=10, clock=clock)

        assert 10 == await admitted(limiter, 25)
        assert 15 == limiter.limited

    async def test_the_refusal_says_what_and_when(self, memory: Memory, clock: FakeClock) -> None:
        """The error names the limit and when to come back."""
        limiter = RateLimiter(memory.board(0), requests_per_minute=10, clock=clock)
        await admitted(limiter, 10)
        clock.now += 20.5
        with pytest.raises(RateLimited) as caught:
            await limiter.admit(ANYONE)

        assert 429 == caught.value.status
        assert caught.value.retry_after == pytest.approx(39.5, abs=0.01)
        assert "10 requests per minute" in caught.value.public
        assert "40 seconds" in caught.value.public

    async def test_workers_share_one_limit(self, memory: Memory, clock: FakeClock) -> None:
        """Four workers admit together what one may (trap 53)."""
        limiters = [RateLimiter(memory.board(n), requests_per_minute=10, clock=clock) for n in range(4)]

        assert 10 == sum([await admitted(limiter, 5) for limiter in limiters])

    async def test_the_real_board_serves(self, tmp_path: Path, clock: FakeClock) -> None:
        """Two workers on one shared counter file hold the limit together, minute after minute."""
        boards = [Board(tmp_path / "board", rows=64, columns=4) for _ in range(2)]
        one, other = (RateLimiter(board, requests_per_minute=10, clock=clock) for board in boards)
        counts = []
        for _ in range(3):
            counts.append(await admitted(one, 6) + await admitted(other, 9))
            clock.now += 120
        for board in boards:
            board.close()

        assert [10, 10, 10] == counts

    async def test_callers_do_not_share(self, memory: Memory, clock: FakeClock) -> None:
        """One caller's requests leave another's limit alone."""
        limiter = RateLimiter(memory.board(0), requests_per_minute=2, clock=clock)

        assert (2, 2) == (await admitted(limiter, 5), await admitted(limiter, 5, Caller(b"other")))

    async def test_a_caller_may_have_its_own_limit(self, memory: Memory, clock: FakeClock) -> None:
        """A caller's own limit replaces the general one, upwards and downwards."""
        limiter = RateLimiter(memory.board(0), requests_per_minute=3, clock=clock)

        assert 5 == await admitted(limiter, 9, Caller(b"a", 5))
        assert 1 == await admitted(limiter, 9, Caller(b"b", 1))

    async def test_no_limit_costs_nothing(self, memory: Memory) -> None:
        """Without a limit neither the clock is read nor the board written."""

        def forbidden() -> float:
            raise AssertionError("the clock was read")

        await RateLimiter(memory.board(0), clock=forbidden).admit(ANYONE)

        assert {} == memory.rows

    async def test_a_limit_of_nothing_admits_nothing(self, memory: Memory, clock: FakeClock) -> None:
        """A limit of 0 closes the door."""
        assert 0 == await admitted(RateLimiter(memory.board(0), requests_per_minute=0, clock=clock), 3)

    async def test_the_boundary_does_not_double_it(self, memory: Memory, clock: FakeClock) -> None:
        """A full load in the last second of a minute leaves next to nothing for the first of the next."""
        limiter = RateLimiter(memory.board(0), requests_per_minute=60, clock=clock)
        clock.now += 59
        assert 60 == await admitted(limiter, 60)
        clock.now += 2

        assert 1 == await admitted(limiter, 60)

    async def test_the_window_slides(self, memory: Memory, clock: FakeClock) -> None:
        """Half a minute on, half of the previous minute's requests still count."""
        limiter = RateLimiter(memory.board(0), requests_per_minute=60, clock=clock)
        await admitted(limiter, 60)
        clock.now += 90

        assert 30 == await admitted(limiter, 60)

    async def test_a_steady_load_at_the_limit_is_admitted(self, memory: Memory, clock: FakeClock) -> None:
        """One request a second fits into sixty a minute, for ever."""
        limiter = RateLimiter(memory.board(0), requests_per_minute=60, clock=clock)
        count = 0
        clock.now += 0.5
        for _ in range(600):
            count += await admitted(limiter, 1)
            clock.now += 1

        assert 600 == count

    async def test_refused_requests_do_not_count(self, memory: Memory, clock: FakeClock) -> None:
        """A caller that keeps knocking is admitted as soon as one that waits."""
        limiter = RateLimiter(memory.board(0), requests_per_minute=10, clock=clock)
        await admitted(limiter, 1000)
        clock.now += 120

        assert 10 == await admitted(limiter, 1000)

    async def test_what_an_idle_worker_left_behind_does_not_count(
        self, memory: Memory, clock: FakeClock
    ) -> None:
        """Counts of a minute long ago do not burden the minute that now uses their cell."""
        busy, idle = (RateLimiter(memory.board(n), requests_per_minute=10, clock=clock) for n in (0, 1))
        await admitted(idle, 10)
        clock.now += 240

        assert 10 == await admitted(busy, 20)

    async def test_a_clock_set_back_does_not_lock_anyone_out(self, memory: Memory, clock: FakeClock) -> None:
        """When the time of day jumps back, counting begins anew in the minute it is now."""
        limiter = RateLimiter(memory.board(0), requests_per_minute=10, clock=clock)
        await admitted(limiter, 10)
        clock.now -= 3600

        assert 10 == await admitted(limiter, 20)

    @given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 400), st.floats(0, 60, exclude_max=True))
    def test_coming_back_when_told_succeeds(
        self, previous: int, current: int, limit: int, elapsed: float
    ) -> None:
        """After `retry_after` a request is admitted; noticeably earlier it is not."""
        if _admitted(previous, current, limit, elapsed):
            return

        def then(wait: float) -> bool:
            minutes, later = divmod(elapsed + wait, 60)
            counts = ((previous, current), (current, 0), (0, 0))[int(minutes)]
            return _admitted(*counts, limit, later)

        wait = _seconds_until_admitted(previous, current, limit, elapsed)

        assert then(wait)
        assert wait < 0.01 or not then(wait - 0.01)


class TestTogether:
    @pytest.fixture
    async def limiters(
        self, redis_server: RedisServer, clock: FakeClock
    ) -> AsyncIterator[tuple[RateLimiter, RateLimiter]]:
        """Two machines with a limit of 10 and one Redis."""
        options = RedisOptions(redis_server.host, redis_server.port)
        clients = [redis_client(options) for _ in range(2)]
        one, other = (
            RateLimiter(
                Memory().board(0),
                requests_per_minute=10,
                redis=client,
                guard=Guard("limits", clock=clock),
                clock=clock,
            )
            for client in clients
        )
        yield one, other
        for client in clients:
            await client.aclose()

    async def test_machines_share_one_limit(self, limiters: tuple[RateLimiter, RateLimiter]) -> None:
        """Two machines admit together what one may, also when both are asked at once."""
        counts = await asyncio.gather(*(admitted(limiter, 9) for limiter in limiters))

        assert 10 == sum(counts)
        assert 0 == sum(limiter.fallbacks for limiter in limiters)

    async def test_the_window_slides_there_too(
        self, limiters: tuple[RateLimiter, RateLimiter], clock: FakeClock
    ) -> None:
        """The previous minute counts by its share, and refused requests do not."""
        await admitted(limiters[0], 40)
        clock.now += 90

        assert 5 == await admitted(limiters[1], 40)

    async def test_keys_expire_and_do_not_show_the_caller(
        self, limiters: tuple[RateLimiter, RateLimiter], redis_server: RedisServer
    ) -> None:
        """Nothing stays in Redis for longer than two minutes, nor is a caller's id readable there."""
        await admitted(limiters[0], 20)
        client = redis_client(RedisOptions(redis_server.host, redis_server.port))
        keys = await client.keys("*")

        assert 1 == len(keys)
        assert b"caller" not in keys[0]
        assert b"10" == await client.get(keys[0])
        assert 0 < await client.ttl(keys[0]) <= 121
        await client.aclose()

    async def test_without_redis_each_machine_holds_the_limit(
        self, limiters: tuple[RateLimiter, RateLimiter], redis_server: RedisServer
    ) -> None:
        """A failing Redis opens no door and closes none; what was admitted before still counts."""
        with capture_logs() as logged:
            assert 6 == await admitted(limiters[0], 6)
            redis_server.stop()
            assert 4 == await admitted(limiters[0], 20)

        assert 20 == limiters[0].fallbacks
        assert ["store_failed"] == [line["event"] for line in logged]

    async def test_redis_takes_over_again(
        self, limiters: tuple[RateLimiter, RateLimiter], redis_server: RedisServer, clock: FakeClock
    ) -> None:
        """When Redis is back, the machines share the limit again."""
        redis_server.stop()
        await admitted(limiters[0], 1)
        redis_server.start()
        clock.now += 2
        await admitted(limiters[0], 5)

        assert 5 == await admitted(limiters[1], 20)
        assert 1 == limiters[0].fallbacks
