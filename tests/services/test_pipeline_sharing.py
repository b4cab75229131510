"""Requests that share a call, and answers that are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.calls import Caller
from services.errors import UpstreamRefused
from tests.services.fakes import settle
from tests.services.pipeline_kit import STREAM, FakeStream, Kit, error, failing, read, whole

STREAMED = [False, True]


async def serve(kit: Kit, ask: Any) -> bytes:
    """The whole answer to one request."""
    if ask.call.stream:
        return await read(await kit.pipeline.stream(ask))
    reply = await kit.pipeline.whole(ask)
    assert reply.answer is not None
    return reply.answer.body


async def together(kit: Kit, *asks: Any) -> list[bytes]:
    """All at the same time: the upstream waits until every one of them is there."""
    kit.upstream.gate.clear()
    tasks = [asyncio.ensure_future(serve(kit, ask)) for ask in asks]
    await settle()
    kit.upstream.gate.set()
    return list(await asyncio.gather(*tasks))


def kit_for(streamed: bool, **options: Any) -> Kit:
    """One deployment that answers in this way."""
    kit = Kit(("one", "d1"), **options)
    kit.script(d1=(200, STREAM if streamed else whole()))
    return kit


@pytest.mark.parametrize("streamed", STREAMED)
async def test_identical_requests_share_one_call(streamed: bool) -> None:
    """All get the same answer; all but the first are marked, and one attempt is counted."""
    kit = kit_for(streamed)
    bodies = await together(kit, *(kit.ask(stream=streamed, seed=1) for _ in range(10)))

    assert (1, 1, {}) == (len(set(bodies)), len(kit.upstream.sent), kit.in_flight)
    assert [False] + [True] * 9 == [call.coalesced for call in kit.calls]
    assert 9 == kit.inflight.coalesced


@pytest.mark.parametrize(
    "changes", [{}, {"temperature": 1}, {"seed": None}, {"temperature": 0, "user": "other"}]
)
async def test_other_requests_do_not(changes: dict[str, Any]) -> None:
    """Neither those that may differ by chance, nor those that ask for something else."""
    kit = kit_for(False)
    await together(
        kit, kit.ask(**changes), kit.ask(**(changes if "user" not in changes else {"temperature": 0}))
    )

    assert 2 == len(kit.upstream.sent)


async def test_a_stream_and_a_whole_answer_are_not_shared() -> None:
    """They are different bytes."""
    kit = Kit(("one", "d1"))
    kit.script(d1=[(200, whole()), (200, STREAM)])
    await together(kit, kit.ask(seed=1), kit.ask(seed=1, stream=True))

    assert 2 == len(kit.upstream.sent)


async def test_callers_never_share() -> None:
    """Each key is its own."""
    kit = kit_for(False)
    await together(kit, *(kit.ask(seed=1, caller=Caller(name="c", id=who)) for who in (b"a", b"b")))

    assert 2 == len(kit.upstream.sent)


async def test_a_temperature_that_is_not_sent_does_not_make_an_answer_certain() -> None:
    """What counts is what goes up: gpt-5 takes no temperature."""
    kit = Kit(("one", "d1", "gpt-5"))
    await together(kit, *(kit.ask("gpt-5", temperature=0) for _ in range(2)))

    assert 2 == len(kit.upstream.sent)


@pytest.mark.parametrize(("mode", "calls"), [("off", 2), ("all", 1)])
async def test_the_mode_is_configured(mode: str, calls: int) -> None:
    """`off` shares nothing, `all` whatever is identical."""
    kit = kit_for(False, dedup=mode)
    body = {"seed": 1} if mode == "off" else {}
    await together(kit, kit.ask(**body), kit.ask(**body))

    assert calls == len(kit.upstream.sent)


async def test_an_idempotency_key_marks_a_request_as_shareable() -> None:
    """The same key shares, another does not."""
    kit = kit_for(False)
    asks = [kit.ask() for _ in range(3)]
    for ask, key in zip(asks, ["k", "k", "other"], strict=True):
        ask.idempotency_key = key
    await together(kit, *asks)

    assert 2 == len(kit.upstream.sent)


@pytest.mark.parametrize("streamed", STREAMED)
async def test_a_refusal_is_everybodys(streamed: bool) -> None:
    """What is wrong with one is wrong with all: asked once."""
    kit = kit_for(streamed)
    kit.script(d1=(400, error("too long")))
    kit.upstream.gate.clear()
    tasks = [
        asyncio.ensure_future(failing(lambda: serve(kit, kit.ask(stream=streamed, seed=1)))) for _ in range(5)
    ]
    await settle()
    kit.upstream.gate.set()

    assert [UpstreamRefused] * 5 == [type(error) for error in await asyncio.gather(*tasks)]
    assert 1 == len(kit.upstream.sent)


@pytest.mark.parametrize("streamed", STREAMED)
async def test_one_that_leaves_does_not_hurt_the_others(streamed: bool) -> None:
    """Not even the first."""
    kit = kit_for(streamed)
    kit.upstream.gate.clear()
    first, second = (asyncio.ensure_future(serve(kit, kit.ask(stream=streamed, seed=1))) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    kit.upstream.gate.set()

    assert await second
    assert (1, {}) == (len(kit.upstream.sent), kit.in_flight)


# --- the cache ---


@pytest.mark.parametrize("streamed", STREAMED)
async def test_a_kept_answer_is_given_again(streamed: bool) -> None:
    """The same bytes without a call, marked as from the cache, with where it came from."""
    kit = kit_for(streamed, cache=True)
    first = await serve(kit, kit.ask(stream=streamed, seed=1))
    await settle()
    again = await serve(kit, kit.ask(stream=streamed, seed=1))

    reply = kit.calls[1].reply
    assert reply is not None
    assert (first, 1) == (again, len(kit.upstream.sent))
    assert (True, 0, "gpt-4o", "one", "d1") == (
        reply.cached,
        reply.attempts,
        reply.model,
        reply.deployment.sub_account,
        reply.deployment.id,
    )


async def test_what_is_not_certain_is_not_kept() -> None:
    """The cache is for the same kind of requests."""
    kit = kit_for(False, cache=True)
    for _ in range(2):
        await serve(kit, kit.ask())
        await settle()

    assert 2 == len(kit.upstream.sent)


@pytest.mark.parametrize("streamed", STREAMED)
async def test_a_failure_is_not_kept(streamed: bool) -> None:
    """The next one asks anew."""
    kit = kit_for(streamed, cache=True)
    kit.script(d1=[(400, error()), (200, STREAM if streamed else whole())])
    await failing(lambda: serve(kit, kit.ask(stream=streamed, seed=1)))
    await settle()

    assert await serve(kit, kit.ask(stream=streamed, seed=1))


async def test_a_stream_that_is_left_is_not_kept() -> None:
    """Half an answer is none."""
    kit = kit_for(True, cache=True)
    half = FakeStream(200, STREAM[: STREAM.index(b'"stop"')], STREAM[STREAM.index(b'"stop"') :])
    half.gate.clear()
    kit.script(d1=[half, (200, STREAM)])
    chunks: Any = await kit.pipeline.stream(kit.ask(stream=True, seed=1))
    await anext(chunks)
    await chunks.aclose()
    await settle()
    await serve(kit, kit.ask(stream=True, seed=1))

    assert (2, {}) == (len(kit.upstream.sent), kit.in_flight)


async def test_a_kept_stream_can_be_left() -> None:
    """Without having been read."""
    kit = kit_for(True, cache=True)
    await serve(kit, kit.ask(stream=True, seed=1))
    await settle()
    chunks: Any = await kit.pipeline.stream(kit.ask(stream=True, seed=1))
    await chunks.aclose()

    assert [] == [chunk async for chunk in chunks]
