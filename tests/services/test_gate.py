"""How many requests are served at once, over all workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.board import Board
from services.errors import Busy
from services.gate import Gate
from services.waiting import Lines
from tests.services.fakes import settle
from tests.services.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board"


def worker(path: Path, *, limit: int = 2, seconds: float = 5, length: int = 100) -> Gate:
    """The gate of one worker; all on one file make one gate."""
    row = Board(path).row("in-flight")
    return Gate(row, limit=limit, lines=Lines(seconds=seconds, length=length))


def inside(gate: Gate) -> int:
    """How many requests all workers serve."""
    return gate._row.total()


async def test_trap_53_two_workers_have_one_limit(path: Path) -> None:
    """Trap 53: what one has let in, the other counts."""
    one, two = worker(path, seconds=0), worker(path, seconds=0)
    await one.enter()
    await two.enter()
    for gate in (one, two):
        with pytest.raises(Busy, match="as many requests as it may") as caught:
            await gate.enter()

        assert (503, 0.1) == (caught.value.status, caught.value.retry_after)
    assert 2 == inside(one)


async def test_room_that_another_worker_makes_is_found(path: Path) -> None:
    """Within a few looks."""
    one, two = worker(path, limit=1), worker(path, limit=1)
    await one.enter()
    waiting = asyncio.ensure_future(two.enter())
    await settle()
    assert not waiting.done()
    one.leave()
    await asyncio.wait_for(waiting, 5)

    assert 1 == inside(one)


async def test_a_newcomer_does_not_overtake(path: Path) -> None:
    """Who waits is first, though there is room when the other comes."""
    gate = worker(path, limit=1)
    await gate.enter()
    order: list[str] = []

    async def come(name: str) -> None:
        await gate.enter()
        order.append(name)

    first = asyncio.ensure_future(come("first"))
    await settle()
    gate.leave()
    second = asyncio.ensure_future(come("second"))
    await until(first.done)
    gate.leave()
    await until(second.done)

    assert ["first", "second"] == order


async def test_who_leaves_the_line_is_not_counted(path: Path) -> None:
    """And the next one is let in."""
    gate = worker(path, limit=1)
    await gate.enter()
    left, next_one = (asyncio.ensure_future(gate.enter()) for _ in range(2))
    await settle()
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    gate.leave()
    await asyncio.wait_for(next_one, 5)

    assert 1 == inside(gate)


async def test_a_full_line_refuses_at_once(path: Path) -> None:
    """Instead of growing without end."""
    gate = worker(path, limit=1, length=1)
    await gate.enter()
    waiting = asyncio.ensure_future(gate.enter())
    await settle()

    with pytest.raises(Busy, match="waiting already"):
        await asyncio.wait_for(gate.enter(), 0.5)
    gate.leave()
    await asyncio.wait_for(waiting, 5)
