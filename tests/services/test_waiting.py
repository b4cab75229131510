"""Who waits in line, for how long, and who is next."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from services.errors import Busy, NoDeployment
from services.waiting import LOOK_SECONDS, Lines
from tests.services.fakes import FakeClock, settle


class Desk:
    """A line in front of something that can be taken so many times."""

    def __init__(self, *, seconds: float = 10, length: int = 100) -> None:
        self.clock = FakeClock()
        self.lines = Lines(seconds=seconds, length=length, sleep=self.clock.sleep, clock=self.clock)
        self.free = 0
        self.again = 0.0
        """What is said to those who find nothing free (seconds)."""
        self.served: list[str] = []
        self.looks = 0

    def taking(self, name: str) -> Callable[[], str]:
        """What somebody of this name does when it is its turn."""

        def take() -> str:
            self.looks += 1
            if not self.free:
                raise Busy("full", retry_after=self.again)
            self.free -= 1
            self.served.append(name)
            return name

        return take

    async def join(self, name: str, *, line: str = "m", seconds: float = math.inf) -> asyncio.Task[str]:
        """Somebody stands in line."""
        task = asyncio.ensure_future(self.lines.turn(line, self.taking(name), seconds=seconds))
        await settle()
        return task

    async def look(self) -> None:
        """The front looks once more."""
        await self.clock.advance(LOOK_SECONDS)


async def refused(task: asyncio.Task[str]) -> Busy:
    """What it is refused with."""
    with pytest.raises(Busy) as caught:
        await asyncio.wait_for(task, 5)
    return caught.value


async def test_first_come_first_served() -> None:
    """One for each that becomes free; who is served wakes the next at once."""
    desk = Desk()
    tasks = [await desk.join(name) for name in "abcd"]
    desk.free = 1
    await desk.look()
    one = list(desk.served)
    desk.free = 3
    await desk.look()

    assert (["a"], ["a", "b", "c", "d"]) == (one, desk.served)
    assert ["a", "b", "c", "d"] == [await task for task in tasks]
    assert (0, False) == (desk.lines.waiting, desk.lines.anybody("m"))


async def test_who_is_not_at_the_front_does_not_look() -> None:
    """A hundred in line cost as much as one."""
    desk = Desk()
    tasks = [await desk.join(str(number)) for number in range(100)]
    desk.looks = 0
    await desk.look()

    assert (1, 100) == (desk.looks, desk.lines.waiting)
    desk.free = 100
    await desk.look()
    await asyncio.gather(*tasks)


async def test_a_newcomer_sees_that_it_has_to_stand_behind() -> None:
    """As long as somebody is in that line, and in no other."""
    desk = Desk()
    task = await desk.join("a")

    assert (True, False) == (desk.lines.anybody("m"), desk.lines.anybody("other"))
    desk.free = 1
    await desk.look()
    await task
    assert not desk.lines.anybody("m")


async def test_lines_do_not_wait_for_each_other() -> None:
    """Each has its own front."""
    desk = Desk()
    first, second = await desk.join("a", line="m"), await desk.join("b", line="n")
    desk.free = 2
    await desk.look()

    assert ["a", "b"] == [await first, await second]


async def test_the_line_has_an_end() -> None:
    """One more is refused at once; the others stay."""
    desk = Desk(length=2)
    tasks = [await desk.join(name) for name in "ab"]
    busy = await refused(await desk.join("c"))

    assert ("overloaded", 10, 2) == (busy.code, busy.retry_after, desk.lines.waiting)
    desk.free = 2
    await desk.look()
    assert ["a", "b"] == [await task for task in tasks]


async def test_the_wait_is_bounded() -> None:
    """The front leaves when its time is over, and its own wait is told."""
    desk = Desk(seconds=1)
    task = await desk.join("a")
    await desk.clock.advance(0.98)
    waits = not task.done()
    await desk.clock.advance(0.04)

    assert (True, "full") == (waits, str(await refused(task)))
    assert 0 == desk.lines.waiting


async def test_who_comes_too_late_to_the_front_is_refused() -> None:
    """Time in the line counts, wherever it is spent."""
    desk = Desk(seconds=0.05)
    front = await desk.join("a")
    behind = await desk.join("b")
    desk.clock.now += 0.05  # and nobody at the front stirs

    assert "full" == str(await refused(behind))
    assert not front.done()
    await desk.clock.advance(LOOK_SECONDS)
    await refused(front)


async def test_a_shorter_wait_of_ones_own() -> None:
    """Who has less time than the others leaves earlier."""
    desk = Desk(seconds=10)
    hurried = await desk.join("a", seconds=0.5)
    patient = await desk.join("b", seconds=100)
    await desk.clock.advance(0.6)
    await refused(hurried)
    desk.free = 1
    await settle()
    await desk.look()

    assert "b" == await patient


@pytest.mark.parametrize("seconds", [0, -3])
async def test_who_has_no_time_tries_once(seconds: float) -> None:
    """It may be free; behind others as well, for it would be refused otherwise."""
    desk = Desk()
    busy = await refused(await desk.join("a", seconds=seconds))
    desk.free = 1

    assert ("full", "b") == (str(busy), await (await desk.join("b", seconds=seconds)))


@pytest.mark.parametrize(("again", "waits"), [(9.9, True), (10.1, False)])
async def test_nobody_waits_in_vain(again: float, waits: bool) -> None:
    """When nothing will be free in time, that is said at once, with the true time."""
    desk = Desk(seconds=10)
    desk.again = again
    task = await desk.join("a")

    assert waits is not task.done()
    if waits:
        task.cancel()
    else:
        assert again == (await refused(task)).retry_after


async def test_when_it_becomes_hopeless_all_are_told_at_once() -> None:
    """The front finds out, and so does each that it wakes."""
    desk = Desk()
    tasks = [await desk.join(name) for name in "abc"]
    desk.again = 60
    await desk.look()

    assert [60] * 3 == [(await refused(task)).retry_after for task in tasks]


@pytest.mark.parametrize("who", [0, 1, 2])
async def test_who_leaves_gives_up_the_place(who: int) -> None:
    """At the front, in the middle, at the end: the others are served in their order."""
    desk = Desk()
    tasks = [await desk.join(name) for name in "abc"]
    tasks[who].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[who]
    desk.free = 3
    await desk.look()

    assert ["abc".replace("abc"[who], "")] == ["".join(desk.served)]
    assert (1, 0, False) == (desk.free, desk.lines.waiting, desk.lines.anybody("m"))


async def test_who_is_woken_and_leaves_wakes_the_next() -> None:
    """Though both happen in the same turn of the loop."""
    desk = Desk()
    tasks = [await desk.join(name) for name in "abc"]
    desk.free = 2
    tasks[0].cancel()
    await asyncio.sleep(0)  # the front has gone and has woken the next
    tasks[1].cancel()
    await settle()
    await desk.look()

    assert (["c"], 1, 0) == (desk.served, desk.free, desk.lines.waiting)


async def test_another_failure_ends_the_wait() -> None:
    """Such as: no deployment is left. The next one is not kept waiting."""
    desk = Desk()

    def nobody() -> str:
        raise NoDeployment("none")

    with pytest.raises(NoDeployment, match="none"):
        await desk.lines.turn("m", nobody)
    assert 0 == desk.lines.waiting
