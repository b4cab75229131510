"""Embeddings in other portions than callers ask for them.

A model that takes few texts at a time is asked part by part. And, if wanted, single texts of one model that
come within a few milliseconds share a call: a batch costs an upstream about as much as one of its texts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from services.asking import Ask, fallback_names
from services.calls import Reply
from services.catalog import Model
from services.errors import UpstreamFailed, UpstreamRefused
from services.inflight import twin
from services.tasks import spawn
from services.translation import embeddings
from services.translation.fields import Fields
from services.translation.replies import Answer

PARTS_AT_ONCE = 8
"""How many parts of one request are under way together."""

Whole = Callable[[Ask], Awaitable[Reply]]
"""Fetches one request's answer."""


async def in_parts(ask: Ask, size: int, whole: Whole) -> Reply:
    """Return the answer to a request whose model takes `size` texts a call. Raises GatewayError."""
    bodies = embeddings.split(ask.body, size)
    if len(bodies) == 1:
        return await whole(ask)
    gate = asyncio.Semaphore(PARTS_AT_ONCE)

    async def part(body: Fields) -> Reply:
        async with gate:
            return await whole(msgspec.structs.replace(ask, body=body))

    tasks = [spawn(part(body), name="embeddings part") for body in bodies]
    try:
        replies = await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # one that fails, or a caller who leaves, ends the others
            task.cancel()
    if (
        len({reply.model for reply in replies}) > 1
    ):  # a fallback stepped in midway: such vectors do not compare
        raise UpstreamFailed(
            "different models answered the parts of one embeddings request; try again", status=503
        )
    return _with_answer(replies[-1], embeddings.join([_answer_of(reply) for reply in replies]))


class Batches:
    """Single texts that wait a moment for others of the same model and the same settings."""

    def __init__(self, *, seconds: float, max_inputs: int) -> None:
        self._seconds = seconds
        self._max_inputs = max_inputs
        self._open: dict[bytes, _Batch] = {}

    async def answer(self, ask: Ask, model: Model, whole: Whole) -> Reply:
        """Return this request's own answer from a shared call. Raises GatewayError."""
        if len(embeddings.texts_of(ask.body) or ()) != 1:
            return await whole(ask)
        # Who travels together may use the same fallbacks.
        alike = [model.name, fallback_names(ask, model), {**ask.body, "input": None, "model": None}]
        key = msgspec.json.encode(alike)
        batch = self._open.get(key)
        if batch is None:
            batch = self._open[key] = _Batch(whole)
            batch.closing = asyncio.get_running_loop().call_later(self._seconds, self._close, key)
        seat = batch.join(ask)
        if len(batch.seats) >= self._max_inputs:
            self._close(key)
        try:
            return await seat.reply
        finally:
            batch.leave(seat)

    def _close(self, key: bytes) -> None:
        batch = self._open.pop(key)
        batch.depart()


class _Seat:
    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def settle(self, reply: Reply) -> None:
        if not self.reply.done():  # else its caller has left
            self.reply.set_result(reply)

    def fail(self, failure: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(twin(failure))


class _Batch:
    def __init__(self, whole: Whole) -> None:
        self.seats: list[_Seat] = []
        self.closing: asyncio.TimerHandle | None = None
        self._whole = whole
        self._task: asyncio.Task[None] | None = None

    def join(self, ask: Ask) -> _Seat:
        seat = _Seat(ask)
        self.seats.append(seat)
        return seat

    def leave(self, seat: _Seat) -> None:
        """Take one out; the last one to leave ends the call."""
        self.seats.remove(seat)
        if not self.seats and self._task is not None:
            self._task.cancel()

    def depart(self) -> None:
        """Begin the call, with who is there now."""
        if self.closing is not None:
            self.closing.cancel()
        if self.seats:
            self._task = spawn(self._travel(list(self.seats)), name="embeddings batch")

    async def _travel(self, seats: Sequence[_Seat]) -> None:
        try:
            replies = await self._together(seats)
        except UpstreamRefused:  # one text that is refused must not take the others with it
            await asyncio.gather(*(self._alone(seat) for seat in seats if not seat.reply.done()))
        except Exception as exc:
            for seat in seats:
                seat.fail(exc)
        else:
            for seat, reply in zip(seats, replies, strict=True):
                seat.settle(reply)

    async def _together(self, seats: Sequence[_Seat]) -> list[Reply]:
        if len(seats) == 1:
            return [await self._whole(seats[0].ask)]
        bodies = [seat.ask.body for seat in seats]
        latest = max(seat.ask.deadline for seat in seats)
        together = msgspec.structs.replace(seats[0].ask, body=embeddings.together(bodies), deadline=latest)
        reply = await self._whole(together)
        return [_with_answer(reply, own) for own in embeddings.shares(_answer_of(reply), bodies)]

    async def _alone(self, seat: _Seat) -> None:
        try:
            seat.settle(await self._whole(seat.ask))
        except Exception as exc:
            seat.fail(exc)


def _answer_of(reply: Reply) -> Answer:
    assert reply.answer is not None
    return reply.answer


def _with_answer(reply: Reply, answer: Answer) -> Reply:
    return msgspec.structs.replace(reply, answer=answer)
