"""Many requests at once with every fault at random: each ends, and nothing stays behind."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from services.balancer import Patience
from services.errors import GatewayError, UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from services.options import ModelOptions
from tests.services.pipeline_kit import STREAM, FakeStream, Kit, error, read, whole
from tests.services.waiting import until

PIECES = [frame + b"\n\n" for frame in STREAM.split(b"\n\n") if frame]
STATUSES = [400, 401, 403, 404, 408, 429, 500, 503, 529]
REQUESTS = 150


class Chaos:
    """A pipeline, its deployments and its callers, all of them moody; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kit = Kit(
            ("one", "d1"), ("one", "d2"), ("two", "d3"), ("two", "d4", "gpt-5"),
            models={"gpt-4o": ModelOptions(fallbacks=("gpt-5",) if seed % 2 else ())},
            strategy=self.random.choice(["ordered", "least-in-flight", "round-robin"]),
            patience=Patience(cool_down=0.05, slow_start=0.02),
            in_flight=self.random.choice([None, 1, 3]),
            retries_a_second=self.random.choice([1.0, 100.0]),
            queue_seconds=0.1,
        )  # fmt: skip
        self.kit.upstream._step = self._step  # type: ignore[method-assign]
        self.kit.attempts._sleep = lambda seconds: self._pause(0.01)
        self.ends: list[str] = []

    async def _pause(self, most: float) -> None:
        await asyncio.sleep(self.random.random() * most)

    async def _step(
        self, url: str, head: bytes, body: bytes, limits: object
    ) -> tuple[int, bytes] | FakeStream:
        await self._pause(0.02)
        mood = self.random.random()
        if mood < 0.1:
            raise self.random.choice([UpstreamUnreachable("refused"), UpstreamTimeout("late")])
        if mood < 0.3:
            self.kit.upstream.retry_after = self.random.choice([None, None, 0, 0.01, 0.05, 1])
            return self.random.choice(STATUSES), error()
        self.kit.upstream.retry_after = None
        if b'"stream":true' in body:
            return self._stream()
        return 200, whole() if mood < 0.9 else b"<html>"

    def _stream(self) -> FakeStream:
        some = PIECES[: self.random.randint(0, 2 * len(PIECES))]
        stream = FakeStream(200, *some, then=UpstreamBroken("cut") if len(some) < len(PIECES) else None)
        stream.peeks = self.random.choice([None, None, 0, 1, 2])
        original = stream.read

        async def read_slowly() -> bytes:
            await self._pause(0.004)
            return await original()

        stream.read = read_slowly  # type: ignore[method-assign]
        return stream

    async def call(self) -> None:
        """One caller: whole or streamed, alone or sharing, in a hurry or not."""
        chance = self.random.random
        streamed = chance() < 0.5
        ask = self.kit.ask(stream=streamed, **({"seed": self.random.randint(0, 3)} if chance() < 0.4 else {}))
        ask.hold = chance() < 0.3
        ask.pinned = "one/d1" if chance() < 0.1 else ""
        if chance() < 0.3:
            ask.deadline = time.perf_counter() + chance() / 10
        try:
            if streamed:
                body = await read(await self.kit.pipeline.stream(ask))
                assert 1 == body.count(b"[DONE]")
            else:
                assert (await self.kit.pipeline.whole(ask)).answer is not None
        except GatewayError as exc:
            self.ends.append(exc.code)
        else:
            self.ends.append("answered")

    async def run(self) -> list[Any]:
        """All callers, of whom every fifth hangs up; return how they ended, unless they were served."""
        tasks = []
        for _ in range(REQUESTS):
            tasks.append(asyncio.ensure_future(self.call()))
            if self.random.random() < 0.2:
                asyncio.get_running_loop().call_later(self.random.random() / 10, tasks[-1].cancel)
            await self._pause(0.002)
        async with asyncio.timeout(20):
            return [end for end in await asyncio.gather(*tasks, return_exceptions=True) if end is not None]


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_stays_behind(seed: int) -> None:
    """No count, no place in a line, no shared call, no open stream; no stream looks complete that is not."""
    chaos = Chaos(seed)
    kit = chaos.kit
    ends = await chaos.run()
    await until(lambda: not kit.inflight.open)

    assert {asyncio.CancelledError} >= {type(end) for end in ends}
    assert (REQUESTS, True) == (len(chaos.ends) + len(ends), "answered" in chaos.ends)
    assert ({}, {}, 0) == (kit.in_flight, kit.lines._lines, kit.inflight.kept_bytes)
    assert all(stream.closed for stream in kit.upstream.streams)
