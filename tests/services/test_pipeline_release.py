"""Whatever happens to a request: its deployment is released, its stream is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.errors import CallerLeft, UpstreamBroken
from services.options import ModelOptions
from services.upstream import Pool, Upstream
from tests.services.fakes import settle
from tests.services.pipeline_kit import STREAM, FakeStream, Kit, error, read
from tests.services.raw_upstream import RawUpstream, completion, raw_upstream, silence, stream

PIECES = [frame + b"\n\n" for frame in STREAM.split(b"\n\n") if frame]


def start(kit: Kit, *, streamed: bool, **body: Any) -> asyncio.Task[Any]:
    """Serve one request in a task, as a handler does."""

    async def serve() -> Any:
        if streamed:
            return await read(await kit.pipeline.stream(kit.ask(stream=True, **body)))
        return await kit.pipeline.whole(kit.ask(**body))

    return asyncio.ensure_future(serve())


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel it, and wait until it has ended so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("shared", [False, True])
async def test_a_request_is_counted_while_it_runs_and_not_after(streamed: bool, shared: bool) -> None:
    """On its own or shared, whole or streamed."""
    kit = Kit(("one", "d1"))
    kit.upstream.gate.clear()
    if streamed:
        kit.script(d1=(200, STREAM))
    task = start(kit, streamed=streamed, **({"seed": 1} if shared else {}))
    await asyncio.wait_for(kit.upstream.arrived.wait(), 5)

    assert {"d1": 1} == kit.in_flight
    kit.upstream.gate.set()
    await task
    assert {} == kit.in_flight


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("shared", [False, True])
async def test_cancelled_while_waiting_for_the_upstream(streamed: bool, shared: bool) -> None:
    """The caller left before the head."""
    kit = Kit(("one", "d1"))
    kit.upstream.gate.clear()
    task = start(kit, streamed=streamed, **({"seed": 1} if shared else {}))
    await asyncio.wait_for(kit.upstream.arrived.wait(), 5)
    await cancelled(task)

    assert ({}, 0) == (kit.in_flight, kit.inflight.open)


@pytest.mark.parametrize("streamed", [False, True])
async def test_cancelled_while_waiting_for_a_token(streamed: bool) -> None:
    """The deployment was picked, but nothing sent."""
    kit = Kit(("one", "d1"))
    kit.tokens["one"].valid = False
    kit.tokens["one"].gate.clear()
    task = start(kit, streamed=streamed)
    await settle()
    assert {"d1": 1} == kit.in_flight

    await cancelled(task)
    assert ({}, []) == (kit.in_flight, kit.upstream.asked)


async def test_cancelled_while_waiting_for_the_second_token() -> None:
    """After a 401, in the forced renewal."""
    kit = Kit(("one", "d1"))
    kit.upstream.tokens["d1"] = "never"
    kit.tokens["one"].gate.clear()
    task = start(kit, streamed=True)
    await settle()
    assert 1 == len(kit.upstream.sent)

    await cancelled(task)
    assert ({}, 1) == (kit.in_flight, kit.upstream.streams[0].closed)


async def test_cancelled_in_the_pause_before_another_attempt() -> None:
    """Nothing is counted while it waits."""
    kit = Kit(("one", "d1"))
    kit.script(d1=(503, error()))
    pause = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pause.set()
        await asyncio.Event().wait()

    kit.attempts._sleep = sleep
    task = start(kit, streamed=False)
    await asyncio.wait_for(pause.wait(), 5)
    assert {} == kit.in_flight

    await cancelled(task)
    assert {} == kit.in_flight


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("at", range(1, len(PIECES)))
async def test_cancelled_at_every_piece_of_a_stream(at: int, shared: bool) -> None:
    """Before the first event and after it: the stream is closed and the deployment free."""
    kit = Kit(("one", "d1"))
    source = FakeStream(200, *PIECES[:at])
    held = asyncio.Event()
    original = source.read

    async def hold() -> bytes:
        if not source.pieces:
            held.set()
            await asyncio.Event().wait()
        return await original()

    source.read = hold  # type: ignore[method-assign]
    kit.script(d1=source)
    task = start(kit, streamed=True, **({"seed": 1} if shared else {}))
    await asyncio.wait_for(held.wait(), 5)
    await cancelled(task)

    assert ({}, True, 0) == (kit.in_flight, source.closed > 0, kit.inflight.open)


@pytest.mark.parametrize("reads", [0, 1, 2])
@pytest.mark.parametrize("shared", [False, True])
async def test_closing_a_stream_early_releases_it(reads: int, shared: bool) -> None:
    """Never read, read once, read in part; closing again is harmless."""
    kit = Kit(("one", "d1"))
    kit.script(d1=FakeStream(200, *PIECES))
    chunks: Any = await kit.pipeline.stream(kit.ask(stream=True, **({"seed": 1} if shared else {})))
    for _ in range(reads):
        await anext(chunks)
    await chunks.aclose()
    await chunks.aclose()

    assert ({}, True) == (kit.in_flight, kit.upstream.streams[0].closed > 0)


async def test_a_closed_stream_has_ended() -> None:
    """There is nothing more to read."""
    kit = Kit(("one", "d1"))
    kit.script(d1=FakeStream(200, *PIECES))
    chunks: Any = await kit.pipeline.stream(kit.ask(stream=True))
    await anext(chunks)
    await chunks.aclose()

    assert [] == [chunk async for chunk in chunks]


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_unforeseen_failure_releases_too(streamed: bool) -> None:
    """Even a fault of our own."""
    kit = Kit(("one", "d1"))
    kit.script(d1=ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        await start(kit, streamed=streamed)
    assert {} == kit.in_flight


async def test_a_request_that_cannot_be_translated_releases_its_fallback() -> None:
    """A fallback that refuses a field is passed over."""
    kit = Kit(("one", "d1"), ("one", "d2", "gpt-5"), models={"gpt-4o": ModelOptions(fallbacks=("gpt-5",))})
    kit.script(d1=(429, error()))
    with pytest.raises(Exception, match="429"):
        await start(kit, streamed=False, n=2)

    assert ({}, ["d1"]) == (kit.in_flight, kit.upstream.asked)


async def test_attempts_are_counted_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 21: one outcome for each, and a caller's leaving is its own."""
    told: list[object] = []
    monkeypatch.setattr("services.metrics.count_attempt", lambda *attempt: told.append(attempt[2]))
    kit = Kit(("one", "d1"))
    kit.script(d1=FakeStream(200, *PIECES, then=UpstreamBroken("never reached")))
    await start(kit, streamed=True)
    kit.upstream.gate.clear()
    task = start(kit, streamed=True)
    await settle()
    await cancelled(task)

    assert [type(None), CallerLeft] == [type(outcome) for outcome in told]


# --- over real sockets ---


@pytest.fixture
async def server() -> AsyncIterator[RawUpstream]:
    async with raw_upstream() as upstream:
        yield upstream


@pytest.fixture
async def kit(server: RawUpstream) -> AsyncIterator[Kit]:
    """A pipeline whose only deployment is the raw server, over the real client."""
    client = Upstream(pool=Pool())
    kit = Kit(("one", "d1"))
    kit.deployments[0] = type(kit.deployments[0])(
        "d1", server.url, "one", "default", "azure-openai", "gpt-4o"
    )
    kit.use(client)
    yield kit
    await client.close()


async def test_a_whole_answer_over_a_socket(kit: Kit, server: RawUpstream) -> None:
    """With the token, the resource group and our own name in the head, and nothing of the caller's."""
    server.script(completion("hello"))
    reply = await kit.pipeline.whole(kit.ask())

    assert reply.answer is not None
    assert (b"hello" in reply.answer.body, "up-1") == (True, reply.upstream_id)
    assert ("Bearer t-0", "default", "aicore-gateway", "r") == tuple(
        server.seen[0].header(name)
        for name in ("authorization", "ai-resource-group", "ai-client-type", "x-request-id")
    )


@pytest.mark.parametrize("reads", [0, 1])
@pytest.mark.parametrize("shared", [False, True])
async def test_trap_17_leaving_a_stream_closes_the_upstream(
    reads: int, shared: bool, kit: Kit, server: RawUpstream
) -> None:
    """Trap 17: the server sees the end at once, and the deployment is free."""
    server.script(stream(*PIECES[:3], then=silence))
    chunks: Any = await kit.pipeline.stream(kit.ask(stream=True, **({"seed": 1} if shared else {})))
    for _ in range(reads):
        await anext(chunks)
    await chunks.aclose()

    await asyncio.wait_for(server.gone.wait(), 5)
    assert {} == kit.in_flight


async def test_streams_share_a_connection(kit: Kit, server: RawUpstream) -> None:
    """One that was read to its end gives its connection back."""
    server.script(stream(*PIECES))
    for _ in range(3):
        await read(await kit.pipeline.stream(kit.ask(stream=True)))

    assert 1 == server.connections
