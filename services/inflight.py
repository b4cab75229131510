"""In-flight deduplication: identical concurrent requests of one caller share one upstream call.

A flight is one such call with those who wait for it: a task opens it and reads it, so that no waiter's
leaving can hurt the others. Whoever comes while it runs gets what there has been so far, then live. The
payload is opaque and nothing here knows HTTP; what may be shared at all is decided by `shareable`, and
what counts as identical by `fingerprint`. State is per worker.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from services.errors import CallerLeft, GatewayError, UpstreamBroken, settle
from services.tasks import spawn

T = TypeVar("T")
M = TypeVar("M")


class Events(Protocol):
    """A stream of encoded events, such as an async generator. Closing it closes what it reads from."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def __anext__(self) -> Awaitable[bytes]: ...
    async def aclose(self) -> None:
        """Close the stream, read to its end or not."""


Opening = Callable[[], Coroutine[Any, Any, tuple[M, Events | None]]]
Mode = Literal["off", "safe", "all"]

AHEAD_EVENTS = 8
"""How far a flight may read ahead of its fastest reader."""
FOLLOWED_FLIGHTS = 3
"""How many failing flights a request follows before it makes a call of its own, shared with nobody."""
CLOSING_SECONDS = 1.0
"""How long the last one to leave waits for the upstream to be closed; closing goes on after that."""


class Inflight:
    """The table of flights of one worker.

    `buffer_bytes` is what a flight keeps for replay: once it has produced more, it takes no new joiners and
    keeps only what a present reader still has to read; a reader further behind than twice that is cut off.
    `total_bytes` bounds what all flights together keep for joiners who may come. With more than
    `max_flights` at a time, further requests are served, but not shared.
    """

    def __init__(
        self, *, buffer_bytes: int = 1024 * 1024, total_bytes: int = 64 * 1024 * 1024, max_flights: int = 1024
    ) -> None:
        self.buffer_bytes = buffer_bytes
        self.total_bytes = total_bytes
        self.max_flights = max_flights
        self.open = 0
        """Flights whose upstream call runs now."""
        self.kept_bytes = 0
        """What all flights hold for replay now."""
        self.coalesced = 0
        """Requests that were served by another request's call, since the start."""
        self._answers: dict[bytes, _Flight[Any]] = {}
        self._streams: dict[bytes, _Flight[Any]] = {}

    async def answer(self, key: bytes, start: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """Return what `start` returns, and whether it was another request's `start`.

        Raises what `start` raised; a follower sees only failures that would be its own as well, and starts
        anew after any other.
        """

        async def opening() -> tuple[T, None]:
            return await start(), None

        joined = await self._join(self._answers, key, opening)
        if joined is None:
            return await start(), False
        flight, reader, coalesced = joined
        flight.leave(reader)
        return flight.opened[0], coalesced

    async def stream(
        self, key: bytes, start: Callable[[], Awaitable[tuple[M, Events]]]
    ) -> tuple[M, Events, bool]:
        """Return metadata, every event from the first one on, and whether another request's call serves.

        `start` opens the upstream and returns once the first event is there. Closing what it returned must
        close the upstream. The generator returned here has to be closed as well; it raises what the
        upstream's raised, after the events before that, and UpstreamBroken when its reader is too slow.
        """

        async def opening() -> tuple[M, Events]:
            return await start()

        joined = await self._join(self._streams, key, opening)
        if joined is None:
            meta, events = await start()
            return meta, events, False
        flight, reader, coalesced = joined
        shared = flight.read(reader)
        # A generator that was never started forgets its `finally` when it is closed. This does not suspend.
        await anext(shared)
        return flight.opened[0], shared, coalesced

    async def _join(
        self, flights: dict[bytes, _Flight[M]], key: bytes, opening: Opening[M]
    ) -> tuple[_Flight[M], _Reader, bool] | None:
        """Return an opened flight and a place in it; None if this request is to go on its own."""
        for _ in range(FOLLOWED_FLIGHTS):
            flight = flights.get(key)
            leads = flight is None
            if flight is None:
                if self.open >= self.max_flights:
                    return None
                flight = flights[key] = _Flight(self, flights, key, opening)
            reader = await flight.board()
            if flight.opened:
                self.coalesced += not leads
                return flight, reader, not leads
            assert flight.failure is not None
            if leads:
                raise flight.failure
            if _shared(flight.failure):
                self.coalesced += 1
                raise twin(flight.failure)
        return None


class _Reader:
    """A place in a flight: how many events were taken, and what to set when there is news."""

    __slots__ = ("cut_off", "position", "waker")

    def __init__(self) -> None:
        self.position = 0
        self.cut_off = False
        self.waker: asyncio.Future[None] | None = None


class _Flight(Generic[M]):
    """One upstream call: the task that makes it, what it brought so far, and who reads that.

    Events are numbered from 0; `_events[0]` has the number `_first`, and `_end` comes next.
    """

    def __init__(
        self, table: Inflight, flights: dict[bytes, _Flight[M]], key: bytes, opening: Opening[M]
    ) -> None:
        self.opened: tuple[M, ...] = ()
        """The metadata alone, once the first event is there as well."""
        self.failure: BaseException | None = None
        self._table = table
        self._flights = flights
        self._key = key
        self._readers: dict[_Reader, None] = {}  # in the order they came
        self._events: list[bytes] = []
        self._first = self._end = self._front = 0
        self._kept = 0
        self._joinable = True
        self._ended = False
        self._room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        table.open += 1
        self._task = spawn(self._fly(opening), name="in-flight call")
        self._task.add_done_callback(self._land)

    # --- the reading side ---

    async def board(self) -> _Reader:
        """Take a place and wait until the flight is open or has failed; leave it again in the second case."""
        reader = _Reader()
        self._readers[reader] = None
        try:
            while not (self.opened or self._ended):
                await self._news(reader)
        except asyncio.CancelledError:
            await self._leave_and_close(reader)
            raise
        if not self.opened:
            self.leave(reader)
        return reader

    async def read(self, reader: _Reader) -> AsyncGenerator[bytes, None]:
        """Yield an empty first item, to be thrown away, then every event. Leaves when closed."""
        try:
            yield b""
            while True:
                while reader.position < self._end:
                    yield self._take(reader)
                if self._ended:
                    break
                await self._news(reader)
            if self.failure is not None:
                raise twin(self.failure)
        finally:
            await self._leave_and_close(reader)

    def leave(self, reader: _Reader) -> bool:
        """Give the place back. The last one cancels the call; returns whether it is now closing."""
        if reader.cut_off:
            return False
        del self._readers[reader]
        if self._readers:
            if not self._ended:
                self._front = max(other.position for other in self._readers)
            return False
        self._take_no_more()
        self._forget(self._end)
        return self._task.cancel()

    async def _leave_and_close(self, reader: _Reader) -> None:
        if self.leave(reader):
            await asyncio.wait({self._task}, timeout=CLOSING_SECONDS)

    def _take(self, reader: _Reader) -> bytes:
        if reader.cut_off:
            raise UpstreamBroken("the reader of a shared stream fell too far behind the others")
        event = self._events[reader.position - self._first]
        reader.position += 1
        if reader.position > self._front:
            self._front = reader.position
            if self._room is not None and self._end - self._front <= AHEAD_EVENTS // 2:
                _wake(self._room)
        return event

    async def _news(self, reader: _Reader) -> None:
        reader.waker = self._loop.create_future()
        try:
            await reader.waker
        finally:
            reader.waker = None

    # --- the calling side ---

    async def _fly(self, opening: Opening[M]) -> None:
        try:
            meta, events = await opening()
            opened = (meta,)
            if events is not None:
                async with aclosing(events):
                    await self._pump(events, opened)
            self.opened = opened
        except asyncio.CancelledError:  # a task would keep it, with its trace, and so this object itself
            self.failure = UpstreamBroken("the shared call was cancelled")
        except GatewayError as exc:
            self.failure = exc
            settle(exc)

    async def _pump(self, events: Events, opened: tuple[M, ...]) -> None:
        async for event in events:
            # A generator that swallows its cancellation would be read for nobody.
            if not self._readers:
                break
            self.opened = opened
            self._append(event)
            while self._end - self._front >= AHEAD_EVENTS:
                await self._until_room()

    def _append(self, event: bytes) -> None:
        self._events.append(event)
        self._end += 1
        self._kept += len(event)
        self._table.kept_bytes += len(event)
        if self._kept > self._table.buffer_bytes or self._table.kept_bytes > self._table.total_bytes:
            self._take_no_more()
        if not self._joinable:
            self._trim()
        self._wake_readers()

    async def _until_room(self) -> None:
        self._room = self._loop.create_future()
        try:
            await self._room
        finally:
            self._room = None

    def _trim(self) -> None:
        slowest = self._forget_read()
        while self._kept > 2 * self._table.buffer_bytes and slowest < self._front:
            for reader in [reader for reader in self._readers if reader.position == slowest]:
                reader.cut_off = True
                del self._readers[reader]
            slowest = self._forget_read()

    def _forget_read(self) -> int:
        slowest = min(reader.position for reader in self._readers)
        self._forget(slowest)
        return slowest

    def _forget(self, until: int) -> None:
        gone = self._events[: until - self._first]
        freed = sum(map(len, gone))
        del self._events[: len(gone)]
        self._first = until
        self._kept -= freed
        self._table.kept_bytes -= freed

    def _take_no_more(self) -> None:
        self._joinable = False
        if self._flights.get(self._key) is self:
            del self._flights[self._key]

    def _land(self, task: asyncio.Task[None]) -> None:
        # Off the table before anyone sees the end: who starts anew must not find this flight again.
        self._take_no_more()
        self._table.open -= 1
        self._ended = True
        if task.cancelled():  # before it began
            self.failure = UpstreamBroken("the shared call was cancelled")
        elif self.failure is None:
            self.failure = task.exception()
        self._wake_readers()

    def _wake_readers(self) -> None:
        for reader in self._readers:
            if reader.waker is not None:
                _wake(reader.waker)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _shared(failure: BaseException) -> bool:
    """Whether every request like this one would fail in the same way."""
    return isinstance(failure, GatewayError) and not failure.retryable and not isinstance(failure, CallerLeft)


def twin(failure: BaseException) -> BaseException:
    """Return a copy to raise, with the original as its cause: a traceback grows whenever it is raised."""
    try:
        twin = copy.copy(failure)
    except Exception:  # an exception may refuse to be made from its own `args`
        return failure.with_traceback(None)
    twin.__cause__ = failure
    return twin


def shareable(mode: Mode, *, deterministic: bool, idempotency_key: str | None) -> bool:
    """Whether two requests like this one may get the same answer.

    `safe` means: those that are deterministic (embeddings, completions with `temperature` 0 or a `seed`), and
    requests with an Idempotency-Key, which then has to be a part of the fingerprint.
    """
    return mode == "all" or (mode == "safe" and (deterministic or bool(idempotency_key)))


def fingerprint(
    caller_id: bytes,
    surface: str,
    model: str,
    body: Mapping[str, msgspec.Raw] | bytes,
    extra: tuple[str | bytes | int | None, ...] = (),
) -> bytes:
    """Return 32 bytes that are equal only for equal requests of the same caller.

    The order of the body's top-level keys and the white space between them do not matter; below that, the
    bytes do. A body given as `bytes` is taken as it is. Every part is preceded by its kind and length.
    """
    # SHA-256 has its own instructions on today's processors and is twice as fast as BLAKE2b there.
    digest = hashlib.sha256()
    for part in (caller_id, surface, model, len(extra), *extra):
        _feed(digest, part)
    if isinstance(body, bytes):
        _feed(digest, body)
    else:
        _feed(digest, len(body))
        for name in sorted(body):
            _feed(digest, name)
            _feed(digest, memoryview(body[name]))
    return digest.digest()


def _feed(digest: hashlib._Hash, part: str | bytes | memoryview | int | None) -> None:
    kind, data = _framed(part)
    digest.update(kind + len(data).to_bytes(8, "big"))
    digest.update(data)


def _framed(part: str | bytes | memoryview | int | None) -> tuple[bytes, bytes | memoryview]:
    if isinstance(part, str):
        return b"s", part.encode("utf-8", "surrogatepass")
    if isinstance(part, int):
        return b"i", b"%d" % part
    return (b"n", b"") if part is None else (b"b", part)
