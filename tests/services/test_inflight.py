"""In-flight deduplication: who gets what, whoever fails, comes late or leaves."""

# the expected value stands on the left

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from services.errors import (
    BadRequest,
    CallerLeft,
    GatewayError,
    UpstreamBroken,
    UpstreamFailed,
    UpstreamRefused,
)
from services.inflight import AHEAD_EVENTS, FOLLOWED_FLIGHTS, Inflight, fingerprint, shareable, twin
from services.tasks import spawn

KEY = b"k"


async def settle() -> None:
    """Let every task go on until it waits for the test."""
    for _ in range(30):
        await asyncio.sleep(0)


class Whole:
    """A call for a whole answer; each start waits until the test ends it."""

    def __init__(self) -> None:
        self.calls: list[asyncio.Future[str]] = []
        self.cancelled = 0

    async def start(self) -> str:
        call: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.calls.append(call)
        try:
            return await call
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Streamed:
    """A call for a stream; the test feeds it with events, an exception, or None for the end."""

    def __init__(self, *items: bytes | Exception | None) -> None:
        self.items: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        for item in items:
            self.items.put_nowait(item)
        self.opening: asyncio.Future[None] | None = None
        self.started = self.produced = self.closed = 0

    def feed(self, *items: bytes | Exception | None) -> None:
        for item in items:
            self.items.put_nowait(item)

    async def start(self) -> tuple[str, AsyncGenerator[bytes, None]]:
        self.started += 1
        if self.opening is not None:
            await self.opening
        return "meta", self._events()

    async def _events(self) -> AsyncGenerator[bytes, None]:
        try:
            while (item := await self.items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                self.produced += 1
                yield item
        finally:
            self.closed += 1


class Reader:
    """Reads a stream in a task of its own, as a request does."""

    def __init__(self, table: Inflight, start: Callable[[], Any]) -> None:
        self.seen: list[bytes] = []
        self.coalesced: bool | None = None
        self.task = spawn(self._read(table, start), name="reader")

    async def _read(self, table: Inflight, start: Callable[[], Any]) -> None:
        _, events, self.coalesced = await table.stream(KEY, start)
        async with aclosing(events):
            async for event in events:
                self.seen.append(event)


async def left(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


class TestAnswer:
    async def test_one_call_serves_all_who_ask_meanwhile(self) -> None:
        """Identical concurrent requests get the same answer of one call; all but the first are coalesced."""
        table, upstream = Inflight(), Whole()
        tasks = [spawn(table.answer(KEY, upstream.start), name="t") for _ in range(3)]
        await settle()
        upstream.calls[0].set_result("hi")

        assert [("hi", False), ("hi", True), ("hi", True)] == await asyncio.gather(*tasks)
        assert 1 == len(upstream.calls)
        assert 2 == table.coalesced

    async def test_another_key_makes_another_call(self) -> None:
        """Different keys share nothing."""
        table, upstream = Inflight(), Whole()
        tasks = [spawn(table.answer(key, upstream.start), name="t") for key in (b"a", b"b")]
        await settle()
        for call, text in zip(upstream.calls, "ab", strict=True):
            call.set_result(text)

        assert [("a", False), ("b", False)] == await asyncio.gather(*tasks)

    async def test_an_answer_is_not_kept(self) -> None:
        """A request that comes after the end makes a call of its own."""
        table, upstream = Inflight(), Whole()
        for text in ("first", "second"):
            task = spawn(table.answer(KEY, upstream.start), name="t")
            await settle()
            upstream.calls[-1].set_result(text)
            assert (text, False) == await task

        assert 0 == table.open

    async def test_the_first_one_may_leave(self) -> None:
        """The one who began the call leaves; the others get its answer."""
        table, upstream = Inflight(), Whole()
        first, second = (spawn(table.answer(KEY, upstream.start), name="t") for _ in range(2))
        await settle()
        await left(first)
        upstream.calls[0].set_result("hi")

        assert ("hi", True) == await second
        assert 0 == upstream.cancelled

    async def test_the_last_one_cancels_the_call(self) -> None:
        """When nobody waits any more, the call is cancelled before the last one is gone."""
        table, upstream = Inflight(), Whole()
        tasks = [spawn(table.answer(KEY, upstream.start), name="t") for _ in range(2)]
        await settle()
        await left(tasks[0])
        assert 0 == upstream.cancelled
        await left(tasks[1])

        assert 1 == upstream.cancelled
        assert 0 == table.open

    async def test_a_call_cancelled_before_its_first_step(self) -> None:
        """A call that is cancelled before it began fails its leader and leaves nothing behind."""
        table, upstream = Inflight(), Whole()
        task = spawn(table.answer(KEY, upstream.start), name="t")
        await asyncio.sleep(0)  # the request has run, the call has not
        next(task for task in asyncio.all_tasks() if task.get_name() == "in-flight call").cancel()

        with pytest.raises(UpstreamBroken, match="cancelled"):
            await task
        assert ([], 0) == (upstream.calls, table.open)

    async def test_who_comes_while_the_call_is_being_cancelled_starts_anew(self) -> None:
        """A flight that was left by all is not joined, even while its cleanup still runs."""
        table, upstream = Inflight(), Whole()
        task = spawn(table.answer(KEY, upstream.start), name="t")
        await settle()
        task.cancel()
        await asyncio.sleep(0)  # the cancellation is on its way
        late = spawn(table.answer(KEY, upstream.start), name="t")
        await settle()
        upstream.calls[-1].set_result("hi")

        assert ("hi", False) == await late

    async def test_leaving_at_the_moment_of_the_answer(self) -> None:
        """A cancellation that meets the answer cancels only its own request."""
        table, upstream = Inflight(), Whole()
        first, second = (spawn(table.answer(KEY, upstream.start), name="t") for _ in range(2))
        await settle()
        upstream.calls[0].set_result("hi")
        first.cancel()
        await asyncio.wait({first, second})

        assert first.cancelled()
        assert ("hi", True) == second.result()

    @pytest.mark.parametrize("failure", [UpstreamFailed("500"), ValueError("odd"), CallerLeft("gone")])
    async def test_a_failure_of_the_leader_is_its_own(self, failure: Exception) -> None:
        """After a failure that may not be theirs, the followers share one new call."""
        table, upstream = Inflight(), Whole()
        tasks = [spawn(table.answer(KEY, upstream.start), name="t") for _ in range(3)]
        await settle()
        upstream.calls[0].set_exception(failure)
        await settle()
        assert 2 == len(upstream.calls)
        upstream.calls[1].set_result("hi")
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)

        assert [failure, ("hi", False), ("hi", True)] == outcomes

    @pytest.mark.parametrize(
        "failure", [BadRequest("no", param="n"), UpstreamRefused("too long", retry_after=3)]
    )
    async def test_a_failure_that_all_would_have_is_shared(self, failure: GatewayError) -> None:
        """What is wrong with the request itself is told to all, after one call."""
        table, upstream = Inflight(), Whole()
        tasks = [spawn(table.answer(KEY, upstream.start), name="t") for _ in range(3)]
        await settle()
        upstream.calls[0].set_exception(failure)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)

        assert [(type(failure), failure.args, vars(failure))] * 3 == [
            (type(error), error.args, vars(error)) for error in outcomes if isinstance(error, GatewayError)
        ]
        assert 1 == len(upstream.calls)

    async def test_a_request_leads_at_most_once(self) -> None:
        """With a call that always fails, each of three requests makes one call and then fails."""
        table, upstream = Inflight(), Whole()
        tasks = [spawn(table.answer(KEY, upstream.start), name="t") for _ in range(3)]
        for number in range(3):
            await settle()
            assert number + 1 == len(upstream.calls)
            upstream.calls[number].set_exception(UpstreamFailed(str(number)))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)

        assert ["0", "1", "2"] == sorted(map(str, outcomes))
        assert 0 == table.open

    async def test_nobody_waits_for_more_than_a_few_failing_calls(self) -> None:
        """After following some failing calls, those who are left call on their own, all at once."""
        table, upstream = Inflight(), Whole()
        tasks = [spawn(table.answer(KEY, upstream.start), name="t") for _ in range(FOLLOWED_FLIGHTS + 5)]
        for number in range(FOLLOWED_FLIGHTS):
            await settle()
            assert number + 1 == len(upstream.calls)
            upstream.calls[number].set_exception(UpstreamFailed("busy"))
        await settle()
        assert FOLLOWED_FLIGHTS + 5 == len(upstream.calls)
        for call in upstream.calls[FOLLOWED_FLIGHTS:]:
            call.set_result("hi")
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)

        assert 5 == outcomes.count(("hi", False))

    async def test_a_call_cancelled_from_outside_does_not_hang_anyone(self) -> None:
        """When the call itself is cancelled, its leader fails honestly and a follower starts anew."""
        table, upstream = Inflight(), Whole()
        leader, follower = (spawn(table.answer(KEY, upstream.start), name="t") for _ in range(2))
        await settle()
        next(task for task in asyncio.all_tasks() if task.get_name() == "in-flight call").cancel()
        await settle()
        upstream.calls[1].set_result("hi")

        assert ("hi", False) == await follower
        with pytest.raises(UpstreamBroken, match="cancelled"):
            await leader

    async def test_more_flights_than_allowed_are_served_unshared(self) -> None:
        """Beyond the bound a request is served by its own call, in its own task."""
        table, upstream = Inflight(max_flights=1), Whole()
        first = spawn(table.answer(b"other", upstream.start), name="t")
        await settle()
        tasks = [spawn(table.answer(KEY, upstream.start), name="t") for _ in range(2)]
        await settle()
        assert 3 == len(upstream.calls)
        for call in upstream.calls:
            call.set_result("hi")

        assert [("hi", False)] * 3 == await asyncio.gather(first, *tasks)

    async def test_the_call_sees_the_leaders_context(self) -> None:
        """Whoever leads gives the call its context, such as the request id of the log."""
        table = Inflight()

        async def start() -> str:
            task = asyncio.current_task()
            return task.get_name() if task else ""

        assert ("in-flight call", False) == await table.answer(KEY, start)

    async def test_a_follower_cancelled_between_failure_and_new_start(self) -> None:
        """A follower that is cancelled just as the failure reaches it does not hinder the next one."""
        table, upstream = Inflight(), Whole()
        leader, second, third = (spawn(table.answer(KEY, upstream.start), name="t") for _ in range(3))
        await settle()
        upstream.calls[0].set_exception(UpstreamFailed("500"))
        second.cancel()
        await settle()
        upstream.calls[1].set_result("hi")
        await asyncio.wait({leader, second, third})

        assert second.cancelled()
        assert ("hi", False) == third.result()
        assert isinstance(leader.exception(), UpstreamFailed)

    @pytest.mark.parametrize("steps", range(12))
    async def test_a_cancellation_at_any_step_leaves_the_table_clean(self, steps: int) -> None:
        """Whenever the leader is cancelled, the follower is answered and nothing is left open."""
        table = Inflight()
        calls: list[int] = []

        async def start() -> str:
            calls.append(1)
            for _ in range(4):
                await asyncio.sleep(0)
            return "hi"

        leader, follower = (spawn(table.answer(KEY, start), name="t") for _ in range(2))
        for _ in range(steps):
            await asyncio.sleep(0)
        leader.cancel()
        await asyncio.wait({leader, follower})
        await settle()

        assert "hi" == follower.result()[0]
        assert 1 == len(calls)
        assert (0, 0) == (table.open, table.kept_bytes)


class TestStream:
    async def test_a_late_joiner_gets_the_events_so_far_and_then_live(self) -> None:
        """Whoever comes during the stream reads it from its first event."""
        table, upstream = Inflight(), Streamed(b"a", b"b")
        first = Reader(table, upstream.start)
        await settle()
        late = Reader(table, upstream.start)
        await settle()
        assert [b"a", b"b"] == late.seen
        upstream.feed(b"c", None)
        await asyncio.gather(first.task, late.task)

        assert [b"a", b"b", b"c"] == first.seen == late.seen
        assert (False, True) == (first.coalesced, late.coalesced)
        assert (1, 1) == (upstream.started, table.coalesced)

    async def test_metadata_is_shared(self) -> None:
        """Every reader gets what the opening returned."""
        table, upstream = Inflight(), Streamed(b"a")
        first, events, _ = await table.stream(KEY, upstream.start)
        second, others, _ = await table.stream(KEY, upstream.start)
        await events.aclose()
        await others.aclose()

        assert ("meta", "meta") == (first, second)

    async def test_a_failure_before_the_first_event_is_a_failure_to_open(self) -> None:
        """Nothing has been sent yet: the leader fails, the follower gets a stream of its own."""
        table, upstream = Inflight(), Streamed(UpstreamFailed("at once"), b"a", None)
        leader, follower = Reader(table, upstream.start), Reader(table, upstream.start)
        await asyncio.wait({leader.task, follower.task})

        assert isinstance(leader.task.exception(), UpstreamFailed)
        assert ([b"a"], False) == (follower.seen, follower.coalesced)
        assert 2 == upstream.started

    async def test_an_empty_stream_is_a_stream(self) -> None:
        """A stream that ends before its first event ends for its readers."""
        table, upstream = Inflight(), Streamed(None)
        reader = Reader(table, upstream.start)
        await reader.task

        assert ([], 1) == (reader.seen, upstream.closed)

    async def test_a_late_failure_reaches_all_after_the_events(self) -> None:
        """A stream that breaks gives each reader every event before the break, then the same error."""
        table, upstream = Inflight(), Streamed(b"a", b"b")
        readers = [Reader(table, upstream.start) for _ in range(3)]
        await settle()
        upstream.feed(b"c", UpstreamBroken("cut", public="the answer was cut off"))
        await asyncio.wait({reader.task for reader in readers})
        errors = [reader.task.exception() for reader in readers]

        assert [[b"a", b"b", b"c"]] * 3 == [reader.seen for reader in readers]
        assert ["the answer was cut off"] * 3 == [
            error.public for error in errors if isinstance(error, UpstreamBroken)
        ]
        assert 3 == len(set(map(id, errors)))

    async def test_shared_failures_do_not_grow(self) -> None:
        """Each reader's error has its own, short traceback, and names the original as its cause."""
        table, upstream = Inflight(), Streamed(b"a")
        readers = [Reader(table, upstream.start) for _ in range(50)]
        await settle()
        upstream.feed(UpstreamBroken("cut"))
        await asyncio.wait({reader.task for reader in readers})
        errors = [reader.task.exception() for reader in readers]

        assert {2} == {len(traceback.extract_tb(error.__traceback__)) for error in errors if error}
        assert 1 == len({id(error.__cause__) for error in errors if error})

    async def test_a_failing_stream_is_not_joined(self) -> None:
        """Who comes after the break gets a new stream."""
        table, upstream = Inflight(), Streamed(b"a", UpstreamBroken("cut"), b"b", None)
        first = Reader(table, upstream.start)
        await asyncio.wait({first.task})
        second = Reader(table, upstream.start)
        await second.task

        assert ([b"b"], False) == (second.seen, second.coalesced)
        assert isinstance(first.task.exception(), UpstreamBroken)

    async def test_the_leader_may_leave_during_the_stream(self) -> None:
        """The one who began it is cancelled; the other reads to the end."""
        table, upstream = Inflight(), Streamed(b"a")
        leader, follower = Reader(table, upstream.start), Reader(table, upstream.start)
        await settle()
        await left(leader.task)
        upstream.feed(b"b", None)
        await follower.task

        assert ([b"a", b"b"], 1) == (follower.seen, upstream.closed)

    async def test_the_last_reader_closes_the_upstream(self) -> None:
        """The upstream's generator is closed before the last reader's cancellation is through."""
        table, upstream = Inflight(), Streamed(b"a")
        readers = [Reader(table, upstream.start) for _ in range(2)]
        await settle()
        await left(readers[0].task)
        assert 0 == upstream.closed
        await left(readers[1].task)

        assert 1 == upstream.closed
        assert (0, 0) == (table.open, table.kept_bytes)

    async def test_closing_an_unread_stream_closes_the_upstream(self) -> None:
        """A caller that hangs up before it was sent anything still closes the upstream."""
        table, upstream = Inflight(), Streamed(b"a")
        _, events, _ = await table.stream(KEY, upstream.start)
        await events.aclose()

        assert (1, 0) == (upstream.closed, table.open)

    async def test_a_forgotten_stream_closes_the_upstream(self) -> None:
        """A generator that is dropped without being closed does not keep the call alive."""
        table, upstream = Inflight(), Streamed(b"a")
        _, events, _ = await table.stream(KEY, upstream.start)
        del events
        gc.collect()
        await settle()

        assert (1, 0) == (upstream.closed, table.open)

    async def test_leaving_while_it_opens_cancels_the_opening(self) -> None:
        """The last one to leave before the first event cancels the opening itself."""
        table, upstream = Inflight(), Streamed()
        upstream.opening = asyncio.get_running_loop().create_future()
        readers = [Reader(table, upstream.start) for _ in range(2)]
        await settle()
        await left(readers[0].task)
        assert not upstream.opening.cancelled()
        await left(readers[1].task)

        assert upstream.opening.cancelled()
        assert 0 == table.open

    async def test_leaving_does_not_interrupt_a_stream_that_has_ended(self) -> None:
        """Reading the tail of an ended stream needs the upstream no more."""
        table, upstream = Inflight(), Streamed(b"a", b"b", None)
        _, events, _ = await table.stream(KEY, upstream.start)
        await settle()
        assert (1, 0) == (upstream.closed, table.open)

        assert [b"a", b"b"] == [event async for event in events]
        assert 0 == table.kept_bytes

    async def test_the_cleanup_is_cancelled_once(self) -> None:
        """However many readers have gone, the upstream's cleanup is left to run to its end."""
        table, cleaned = Inflight(buffer_bytes=4), []

        async def events() -> AsyncGenerator[bytes, None]:
            try:
                for _ in range(8):
                    yield b"12345"
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                cleaned.append(True)

        async def start() -> tuple[None, AsyncGenerator[bytes, None]]:
            return None, events()

        streams = [spawn(table.stream(KEY, start), name="t") for _ in range(2)]
        (_, fast, _), (_, slow, _) = await asyncio.gather(*streams)
        for _ in range(8):
            await anext(fast)
        await fast.aclose()
        await slow.aclose()

        assert [True] == cleaned

    async def test_a_generator_that_swallows_its_cancellation_is_left_alone(self) -> None:
        """An upstream that goes on after it was cancelled is not read for nobody."""
        table, items, closed = Inflight(), asyncio.Event(), []

        async def events() -> AsyncGenerator[bytes, None]:
            try:
                yield b"a"
                try:
                    await items.wait()
                except asyncio.CancelledError:
                    yield b"b"
                yield b"c"
            finally:
                closed.append(True)

        async def start() -> tuple[None, AsyncGenerator[bytes, None]]:
            return None, events()

        _, stream, _ = await table.stream(KEY, start)
        await settle()
        await stream.aclose()

        assert [True] == closed
        assert (0, 0) == (table.open, table.kept_bytes)

    async def test_beyond_the_bound_the_upstreams_own_generator_is_handed_out(self) -> None:
        """An unshared stream costs nothing per event."""
        table, upstream = Inflight(max_flights=0), Streamed(b"a", None)
        meta, events, coalesced = await table.stream(KEY, upstream.start)

        assert ("meta", False, "_events") == (meta, coalesced, events.__name__)  # type: ignore[attr-defined]
        assert [b"a"] == [event async for event in events]

    @pytest.mark.parametrize("steps", range(16))
    async def test_a_cancellation_at_any_step_hurts_nobody_else(self, steps: int) -> None:
        """Whenever one of two readers is cancelled, the other gets the whole stream of the same call."""
        table, upstream = Inflight(), Streamed(b"a", b"b", b"c", None)
        leader, follower = Reader(table, upstream.start), Reader(table, upstream.start)
        for _ in range(steps):
            await asyncio.sleep(0)
        leader.task.cancel()
        await asyncio.wait({leader.task, follower.task})
        await settle()

        assert [b"a", b"b", b"c"] == follower.seen
        assert 1 == upstream.started == upstream.closed
        assert (0, 0) == (table.open, table.kept_bytes)

    @pytest.mark.parametrize("steps", range(16))
    async def test_a_lone_reader_cancelled_at_any_step_leaves_nothing(self, steps: int) -> None:
        """Whenever the only reader is cancelled, what was opened is closed."""
        table, upstream = Inflight(), Streamed(b"a", b"b")
        reader = Reader(table, upstream.start)
        for _ in range(steps):
            await asyncio.sleep(0)
        reader.task.cancel()
        await asyncio.wait({reader.task})
        await settle()

        assert reader.task.cancelled()
        assert (0, 0) == (table.open, table.kept_bytes)
        assert bool(upstream.produced) == bool(upstream.closed)


class TestBuffer:
    async def test_the_call_waits_for_its_fastest_reader(self) -> None:
        """A reader that stops reading stops the upstream, a few events ahead."""
        table, upstream = Inflight(), Streamed(*[b"x"] * 100, None)
        _, events, _ = await table.stream(KEY, upstream.start)
        await settle()
        assert AHEAD_EVENTS == upstream.produced
        for number in range(1, 51):
            await anext(events)
            await settle()
            assert AHEAD_EVENTS + number >= upstream.produced >= number
        await events.aclose()

    async def test_a_slow_reader_does_not_slow_a_fast_one(self) -> None:
        """While one reader stands still, the other reads to the end; the first one still gets everything."""
        table, upstream = Inflight(), Streamed(*[b"x"] * 100, None)
        _, slow, _ = await table.stream(KEY, upstream.start)
        fast = Reader(table, upstream.start)
        await fast.task

        assert 100 == len(fast.seen)
        assert 100 == len([event async for event in slow])

    async def test_a_full_buffer_takes_no_new_joiners(self) -> None:
        """Once more was produced than the buffer holds, an identical request makes a new call."""
        table, upstream = Inflight(buffer_bytes=3), Streamed(b"12", b"3")
        first = Reader(table, upstream.start)
        await settle()
        second = Reader(table, upstream.start)
        upstream.feed(b"4")
        await settle()
        third = Reader(table, upstream.start)
        await settle()

        assert (1, 2) == (table.coalesced, upstream.started)
        assert [b"12", b"3", b"4"] == first.seen == second.seen
        for reader in (first, second, third):
            await left(reader.task)

    async def test_a_full_buffer_keeps_only_what_is_unread(self) -> None:
        """With nobody to replay for, what every reader has read is dropped."""
        table, upstream = Inflight(buffer_bytes=10), Streamed()
        reader = Reader(table, upstream.start)
        for _ in range(100):
            upstream.feed(b"12345")
            await settle()
            assert 15 >= table.kept_bytes

        assert 100 == len(reader.seen)
        await left(reader.task)
        assert 0 == table.kept_bytes

    async def test_a_reader_too_far_behind_is_cut_off(self) -> None:
        """A reader that stands still while others go on gets an error, not unbounded memory."""
        table, upstream = Inflight(buffer_bytes=10), Streamed(b"12345")
        _, slow, _ = await table.stream(KEY, upstream.start)
        fast = Reader(table, upstream.start)
        for _ in range(20):
            upstream.feed(b"12345")
            await settle()
            assert 25 >= table.kept_bytes

        with pytest.raises(UpstreamBroken, match="too far behind"):
            await anext(slow)
        assert 21 == len(fast.seen)
        await left(fast.task)

    async def test_a_lone_reader_is_never_cut_off(self) -> None:
        """When the fast reader leaves, the call waits for the slow one instead of running away from it."""
        table, upstream = Inflight(buffer_bytes=100), Streamed(*[b"12345"] * 36)
        streams = [spawn(table.stream(KEY, upstream.start), name="t") for _ in range(2)]
        (_, fast, _), (_, slow, _) = await asyncio.gather(*streams)
        for _ in range(36):
            await anext(fast)
        await fast.aclose()
        upstream.feed(*[b"12345"] * 20, None)
        await settle()

        assert 56 == len([event async for event in slow])

    async def test_one_huge_event_cuts_nobody_off(self) -> None:
        """An event larger than the buffer goes through."""
        table, upstream = Inflight(buffer_bytes=10), Streamed(b"x" * 1000, b"y" * 1000, None)
        readers = [Reader(table, upstream.start) for _ in range(3)]
        await asyncio.gather(*(reader.task for reader in readers))

        assert [[b"x" * 1000, b"y" * 1000]] * 3 == [reader.seen for reader in readers]

    async def test_all_flights_together_are_bounded(self) -> None:
        """Once all flights keep too much, those that grow stop keeping it for joiners."""
        table = Inflight(total_bytes=20)
        upstreams = [Streamed(*[b"12345"] * 8) for _ in range(10)]
        streams = []
        for number, upstream in enumerate(upstreams):
            streams.append((await table.stream(b"%d" % number, upstream.start))[1])
        for stream in streams:
            for _ in range(8):
                await anext(stream)
        await settle()
        for upstream in upstreams:
            upstream.feed(b"1")
        await settle()

        assert 20 + 10 >= table.kept_bytes
        for stream in streams:
            await stream.aclose()
        assert 0 == table.kept_bytes


Script = list[tuple[str, int]]
SCRIPTS = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.integers(1, 30)),
        st.tuples(st.just("join"), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 7)),
        st.tuples(st.just("leave"), st.integers(0, 7)),
        st.tuples(st.just("step"), st.integers(1, 4)),
    ),
    max_size=60,
)


async def play(script: Script, buffer_bytes: int) -> None:
    """Run a script with one call at a time, and check what each reader got against what was sent."""
    table, upstream, sent = Inflight(buffer_bytes=buffer_bytes), Streamed(b"first"), [b"first"]
    readers: list[tuple[Any, list[bytes]]] = []
    for verb, number in script:
        if verb == "feed":
            sent.append(bytes([65 + len(sent) % 26]) * number)
            upstream.feed(sent[-1])
        elif verb == "join" and (not readers or KEY in table._streams):
            if not readers:
                table, upstream = Inflight(buffer_bytes=buffer_bytes), Streamed(*sent)
            readers.append(((await table.stream(KEY, upstream.start))[1], []))
        elif verb == "read" and readers:
            stream, seen = readers[number % len(readers)]
            if len(seen) < len(sent):
                try:
                    seen.append(await anext(stream))
                except UpstreamBroken:
                    readers.pop(number % len(readers))
                    assert seen == sent[: len(seen)]
                    assert buffer_bytes < sum(map(len, sent[len(seen) :]))
        elif verb == "leave" and readers:
            await readers.pop(number % len(readers))[0].aclose()
        else:
            for _ in range(number):
                await asyncio.sleep(0)
        assert table.kept_bytes <= 2 * buffer_bytes + (AHEAD_EVENTS + 1) * 30
    upstream.feed(None)

    async def drain(stream: Any, seen: list[bytes]) -> None:
        async with aclosing(stream):
            async for event in stream:
                seen.append(event)
                await asyncio.sleep(0)

    ends = await asyncio.gather(
        *(drain(stream, seen) for stream, seen in readers), return_exceptions=buffer_bytes < 1000
    )
    for (_, seen), end in zip(readers, ends, strict=True):
        assert sent[: len(seen)] == seen
        assert isinstance(end, UpstreamBroken) if end else seen == sent
    assert (0, 0) == (table.open, table.kept_bytes)


class TestInterleavings:
    @given(SCRIPTS)
    @settings(max_examples=300, deadline=None)
    def test_every_reader_gets_exactly_the_whole_stream(self, script: Script) -> None:
        """However joining, reading, leaving and the upstream interleave, nothing is lost or doubled."""
        asyncio.run(play(script, 1_000_000))

    @given(SCRIPTS, st.integers(0, 60))
    @settings(max_examples=300, deadline=None)
    def test_with_a_small_buffer_too_or_the_reader_is_told(self, script: Script, buffer_bytes: int) -> None:
        """With a small buffer a reader gets the whole stream, or a beginning of it and an error."""
        asyncio.run(play(script, buffer_bytes))


class TestTwin:
    def test_it_is_of_the_same_kind_and_says_the_same(self) -> None:
        """A copy has the original's type, text and facts, and no traceback."""
        original = BadRequest("detail", public="public", param="n", code="c", status=422, retry_after=2.0)
        copied = twin(original)

        assert (BadRequest, ("detail",), vars(original)) == (type(copied), copied.args, vars(copied))
        assert copied is not original
        assert copied.__traceback__ is None

    def test_an_exception_that_cannot_be_copied_is_raised_itself(self) -> None:
        """An exception with a constructor of its own does not turn into another fault."""

        class Odd(Exception):
            def __init__(self, a: int, b: int) -> None:
                super().__init__(f"{a} {b}")

        original = Odd(1, 2)

        assert original is twin(original)


def body(text: bytes) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(text, type=dict[str, msgspec.Raw])


class TestFingerprint:
    def test_white_space_and_order_of_the_top_level_do_not_matter(self) -> None:
        """The same members give the same fingerprint, however they are written down."""
        assert fingerprint(b"c", "chat", "m", body(b'{"a":1,"b":[1]}')) == fingerprint(
            b"c", "chat", "m", body(b' { "b" :\n[1] , "\\u0061": 1 } ')
        )

    @pytest.mark.parametrize(
        "other",
        [
            (b"d", "chat", "m", b'{"a":1}', ()),
            (b"c", "embeddings", "m", b'{"a":1}', ()),
            (b"c", "chat", "n", b'{"a":1}', ()),
            (b"c", "chat", "m", b'{"a":2}', ()),
            (b"c", "chat", "m", b'{"b":1}', ()),
            (b"c", "chat", "m", b'{"a":1,"b":1}', ()),
            (b"c", "chat", "m", b"{}", ()),
            (b"c", "chat", "m", b'{"a":1}', ("key",)),
            (b"c", "chat", "m", b'{"a":1}', (None,)),
        ],
    )
    def test_anything_else_matters(self, other: Any) -> None:
        """Another caller, surface, model, value, member or mark gives another fingerprint."""
        caller, surface, model, text, extra = other

        assert fingerprint(b"c", "chat", "m", body(b'{"a":1}')) != fingerprint(
            caller, surface, model, body(text), extra
        )

    def test_the_marks_keep_their_kind(self) -> None:
        """A missing mark, an empty one, and one as bytes or as a number are all different."""
        marks = [(), (None,), ("",), (b"",), (0,), ("0",), (b"0",), ("", "")]

        assert len(marks) == len({fingerprint(b"c", "s", "m", b"{}", mark) for mark in marks})

    def test_bytes_are_taken_as_they_are(self) -> None:
        """A body of bytes differs from the same body read into members."""
        assert fingerprint(b"c", "s", "m", b"{}") != fingerprint(b"c", "s", "m", {})
        assert fingerprint(b"c", "s", "m", b"{}") != fingerprint(b"c", "s", "m", b"{ }")

    def test_it_has_32_bytes(self) -> None:
        """The length does not depend on the request."""
        assert 32 == len(fingerprint(b"", "", "", b""))

    @given(st.lists(st.text(max_size=3), min_size=2, max_size=4), st.data())
    def test_parts_cannot_flow_into_each_other(self, parts: list[str], data: st.DataObject) -> None:
        """Moving the border between two parts gives another fingerprint."""
        cut = data.draw(st.integers(0, len(parts[0] + parts[1])))
        joined = parts[0] + parts[1]
        moved = [joined[:cut], joined[cut:], *parts[2:]]

        assert (moved == parts) == (
            fingerprint(b"", "", "", b"", tuple(moved)) == fingerprint(b"", "", "", b"", tuple(parts))
        )


class TestShareable:
    @pytest.mark.parametrize("deterministic", [True, False])
    def test_safe_shares_what_is_deterministic(self, deterministic: bool) -> None:
        """Identical samples may be wanted."""
        assert deterministic is shareable("safe", deterministic=deterministic, idempotency_key=None)

    @pytest.mark.parametrize(("key", "shared"), [("abc", True), ("", False), (None, False)])
    def test_an_idempotency_key_asks_for_it(self, key: str | None, shared: bool) -> None:
        """A caller that sends an Idempotency-Key wants one call."""
        assert shared is shareable("safe", deterministic=False, idempotency_key=key)

    def test_all_means_all_and_off_means_none(self) -> None:
        """The other two modes do not look at the request."""
        assert shareable("all", deterministic=False, idempotency_key=None)
        assert not shareable("off", deterministic=True, idempotency_key="k")
