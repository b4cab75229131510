"""An exact response cache: the same request of the same caller gets the stored answer again.

Opt-in, and for the same kind of requests that may share a call (`services.inflight.shareable`), under the
same fingerprint. Only whole answers of successful calls are to be put here. A store that fails is a miss.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Generic, TypeVar

import msgspec
from aiocache.base import BaseCache

from services.inflight import Events
from services.stores import Guard, close_cache
from services.tasks import spawn

A = TypeVar("A")

NAMESPACE = "aicore-gateway:answer:1"
"""For Redis. The number changes with the form of what is stored."""
MAX_PENDING = 256
"""How many answers may be on their way into the store at a time; further ones are not stored."""


class AnswerCache(Generic[A]):
    """Answers of type `kind` (anything msgspec encodes) in `cache`, an aiocache backend for bytes.

    Backends are `stores.MemoryCache` and `stores.redis_cache`. An answer that takes more than
    `max_answer_bytes` in its encoded form is not stored.
    """

    def __init__(
        self,
        cache: BaseCache,
        kind: type[A],
        *,
        ttl_seconds: float,
        max_answer_bytes: int,
        guard: Guard | None = None,
    ) -> None:
        self.hits = 0
        self.misses = 0
        self.stored = 0
        self.refused = 0
        """Answers that were not stored: too large, or too many at a time."""
        self.guard = guard or Guard("answer cache")
        self._cache = cache
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._ttl_seconds = float(ttl_seconds)
        self._max_answer_bytes = max_answer_bytes
        self._pending: set[asyncio.Task[bool]] = set()

    async def get(self, key: bytes) -> A | None:
        """Return a new copy of the answer stored under this fingerprint. None too when the store fails."""
        packed: bytes | None = await self.guard.attempt(lambda: self._cache.get(key.hex()), None)
        answer = None if packed is None else self._unpacked(packed)
        if answer is None:
            self.misses += 1
        else:
            self.hits += 1
        return answer

    async def put(self, key: bytes, answer: A) -> bool:
        """Store a whole answer and return whether that was done; never raises because of the store."""
        packed = self._encoder.encode(answer)
        if len(packed) > self._max_answer_bytes:
            self.refused += 1
            return False
        done = await self.guard.attempt(
            lambda: self._cache.set(key.hex(), packed, ttl=self._ttl_seconds), False
        )
        self.stored += bool(done)
        return bool(done)

    def put_soon(self, key: bytes, answer: A) -> None:
        """Store a whole answer in the background: the caller does not wait for the store."""
        if len(self._pending) >= MAX_PENDING:
            self.refused += 1
            return
        task = spawn(self.put(key, answer), name="answer cache")
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def recorded(
        self, key: bytes, events: Events, finish: Callable[[bytes], A]
    ) -> AsyncGenerator[bytes, None]:
        """Return the same events; if, and only if, they come to their natural end, an answer is stored.

        `finish` makes the answer of all events together. A stream that fails, is cut off or is left by its
        reader is not stored.
        """
        recording = self._record(key, events, finish)
        # Started here, so that closing it closes `events` even if nothing was read. This does not suspend.
        await anext(recording)
        return recording

    async def aclose(self) -> None:
        """Wait for what is being stored, then close the store's connections."""
        if self._pending:
            await asyncio.wait(self._pending)
        await close_cache(self._cache)

    async def _record(
        self, key: bytes, events: Events, finish: Callable[[bytes], A]
    ) -> AsyncGenerator[bytes, None]:
        seen: list[bytes] = []
        room = self._max_answer_bytes
        async with aclosing(events):
            yield b""
            async for event in events:
                room -= len(event)
                if room >= 0:
                    seen.append(event)
                else:
                    seen.clear()
                yield event
        if room >= 0:
            self.put_soon(key, finish(b"".join(seen)))
        else:
            self.refused += 1

    def _unpacked(self, packed: bytes) -> A | None:
        try:
            return self._decoder.decode(packed)
        except msgspec.DecodeError:  # another version of the gateway may have written it
            return None
