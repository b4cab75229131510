"""The traffic of chaos against a server that tells the truth, lies, or says half of it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from perf.chaos.traffic import Plan, ask
from perf.chaos.verdicts import Chronicle, Tally, Verdict
from perf.workload import Target
from tests.perf.test_chaos_verdicts import PIECES, STREAMS, TEXT, WHOLE

PLAN = Plan(seconds=0.5, rate=150, seed=3)

Speaker = Callable[[str, bool], bytes]
"""The body for a surface and a form, with `TEXT` where the asked text belongs."""


def whole(surface: str, stream: bool) -> bytes:
    return b"".join(STREAMS[surface]) if stream else json.dumps(WHOLE[surface]).encode()


def half(surface: str, stream: bool) -> bytes:
    return b"".join(STREAMS[surface][:2]) if stream else whole(surface, stream)[:-20]


@asynccontextmanager
async def server(speak: Speaker, *, echo: bool) -> AsyncIterator[Target]:
    """Answer every question in its dialect; only an `echo` says what it was told to."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
                asked = await reader.readexactly(int(fields["content-length"]))
                writer.write(_answer(head.split(" ")[1], asked, speak, echo))
        except (asyncio.IncompleteReadError, ConnectionError):  # the caller has gone
            writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with made:
        yield Target(f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}")
        await asyncio.gather(*(task for task in serving if task is not None))


def _answer(path: str, asked: bytes, speak: Speaker, echo: bool) -> bytes:
    surfaces = {"chat": "/chat/", "messages": "/messages", "responses": "/responses", "gemini": "/v1beta/"}
    surface = next(name for name, part in surfaces.items() if part in path)
    stream = b'"stream":true' in asked or ":stream" in path
    body = speak(surface, stream)
    if echo:
        text = asked.partition(b"echo: ")[2].partition(b'"')[0]
        # In a stream the first piece says all of it, and the others nothing.
        said = {TEXT.encode(): text, b"n1 harbour": text}
        pieces = "|".join(map(re.escape, (TEXT, *PIECES))).encode()
        body = re.sub(pieces, lambda found: said.get(found[0], b""), body)
    kind = b"text/event-stream" if stream else b"application/json"
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(body), body)


async def tally_of(speak: Speaker, *, echo: bool) -> Tally:
    tally = Tally(Chronicle(), began=time.perf_counter())
    async with server(speak, echo=echo) as target:
        await ask(target, "key", PLAN, tally)
    return tally


async def test_a_server_that_tells_the_truth_passes() -> None:
    """Every question is counted once, and right but for who left."""
    tally = await tally_of(whole, echo=True)

    assert [] == tally.samples
    assert 40 < tally.counts[Verdict.RIGHT]
    assert sum(tally.counts.values()) == tally.counts[Verdict.RIGHT] + tally.counts[Verdict.LEFT]


@pytest.mark.parametrize(("speak", "echo"), [(whole, False), (half, True)], ids=["another's answer", "half"])
async def test_a_server_that_does_not_fails(speak: Speaker, echo: bool) -> None:
    """Whole answers to other questions, and halves of the right ones, are all found."""
    tally = await tally_of(speak, echo=echo)

    assert 0 == tally.counts[Verdict.RIGHT]
    assert 40 < tally.bad
    assert {str(Verdict.WRONG)} == {sample["verdict"] for sample in tally.samples}
