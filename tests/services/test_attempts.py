"""How long an answer is held back, what is tried again, and what is waited for."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import msgspec
import pytest

from services.asking import Ask
from services.calls import Reply
from services.embedding import Batches
from services.errors import (
    Busy,
    GatewayError,
    UpstreamBroken,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from services.live import MAX_HELD_BYTES
from services.options import ModelOptions
from services.translation.replies import Answer
from services.upstream import TimeLimits
from tests.services.fakes import settle
from tests.services.pipeline_kit import STREAM, FakeStream, Kit, asked, error, failing, read, whole
from tests.services.waiting import until

PIECES = [frame + b"\n\n" for frame in STREAM.split(b"\n\n") if frame]
OPENING, REST = PIECES[:2], PIECES[2:]
"""What introduces Azure's answer (filter results, the role), and the rest."""
LIMITED = b'data: {"error":{"code":"429","message":"slow"}}\n\n'
CUT = UpstreamBroken("cut")
TWO = (("one", "d1"), ("two", "d2"))
FALLBACK = {"gpt-4o": ModelOptions(fallbacks=("gpt-5",))}


async def streaming(kit: Kit, **body: Any) -> tuple[list[bytes], BaseException | None]:
    """What a caller reads of a stream, and how it ends for it."""
    chunks: Any = await kit.pipeline.stream(kit.ask(stream=True, **body))
    got: list[bytes] = []
    try:
        async for chunk in chunks:
            got.append(chunk)
    except GatewayError as exc:
        return got, exc
    finally:
        await chunks.aclose()
    return got, None


def held(kit: Kit, ask: Ask | None = None) -> Ask:
    """A request for a stream that is held back."""
    ask = ask or kit.ask(stream=True)
    ask.hold = True
    return ask


# --- what is held back -------------------------------------------------------------------------------------


async def test_the_introduction_goes_out_with_the_first_content_unchanged() -> None:
    """Nothing is lost, added or reordered by holding it back."""
    plain, pieces = Kit(("one", "d1")), Kit(("one", "d1"))
    plain.script(d1=FakeStream(200, STREAM))
    pieces.script(d1=FakeStream(200, *PIECES))
    chunks: Any = await pieces.pipeline.stream(pieces.ask(stream=True))
    reads = pieces.upstream.streams[0].reads
    got = await read(chunks)

    assert await asked(plain, stream=True) == got
    assert (len(OPENING) + 1, 1) == (reads, got.count(b"[DONE]"))


@pytest.mark.parametrize("at", range(len(OPENING) + 1))
@pytest.mark.parametrize("way", ["an error frame", "a cut", "an end"])
async def test_whatever_ends_the_introduction_is_got_around(at: int, way: str) -> None:
    """The caller sees one answer, of the second deployment alone."""
    kit, ends = Kit(*TWO), {"an error frame": [LIMITED], "a cut": [], "an end": []}
    kit.script(d1=FakeStream(200, *OPENING[:at], *ends[way], then=CUT if way == "a cut" else None))
    kit.script(d2=FakeStream(200, STREAM))
    alone = Kit(("two", "d2"))
    alone.script(d2=FakeStream(200, STREAM))

    assert await asked(alone, stream=True) == await asked(kit, stream=True)
    assert (["d1", "d2"], {}, True) == (kit.upstream.asked, kit.in_flight, kit.resting("d1"))
    assert all(stream.closed for stream in kit.upstream.streams)


@pytest.mark.parametrize("reads", range(len(OPENING) + 1))
async def test_when_the_time_for_peeking_is_over_what_is_held_goes_out(reads: int) -> None:
    """Also when that is nothing; a later failure is the caller's to see."""
    kit = Kit(*TWO)
    source = FakeStream(200, *OPENING, then=CUT)
    source.peeks = reads
    kit.script(d1=source)
    got, end = await streaming(kit)

    assert ([reads == len(OPENING)], UpstreamBroken) == ([bool(one) for one in got][:1], type(end))
    assert (["d1"], {}, 0) == (kit.upstream.asked, kit.in_flight, source.content)


async def test_an_answer_that_was_committed_early_is_whole() -> None:
    """The same bytes, whenever the time was over; content is noted when it comes."""
    bodies = set()
    for reads in range(len(OPENING) + 1):
        kit = Kit(("one", "d1"))
        source = FakeStream(200, *PIECES)
        source.peeks = reads
        kit.script(d1=source)
        bodies.add(await asked(kit, stream=True))
        assert source.content

    assert 1 == len(bodies)


async def test_an_endless_introduction_is_not_collected() -> None:
    """Beyond a bound in bytes it goes out."""
    kit = Kit(("one", "d1"))
    filler = PIECES[1].replace(b'"role":"assistant"', b'"role":"' + b"x" * 100_000 + b'"')
    source = FakeStream(200, *[filler] * 100, then=CUT)
    kit.script(d1=source)
    chunks: Any = await kit.pipeline.stream(kit.ask(stream=True))
    reads = source.reads
    await chunks.aclose()

    assert reads < 100


async def test_a_head_alone_does_not_prove_that_a_deployment_works() -> None:
    """One that opens streams and says nothing rests longer each time."""
    kit = Kit(("one", "d1"))
    slot = kit.balancer.slot(kit.deployments[0])
    source = FakeStream(200, then=UpstreamTimeout("no content"))
    source.peeks = 0
    kit.script(d1=source)
    kit.balancer.failed(slot, UpstreamFailed("x"))
    level = slot._verdict()[1]
    chunks: Any = await kit.pipeline.stream(kit.ask(stream=True))
    committed = slot._verdict()[1]
    await chunks.aclose()

    assert 1 == level == committed


async def test_content_after_an_early_commit_proves_it() -> None:
    """Then its failures are forgotten."""
    kit = Kit(("one", "d1"))
    slot = kit.balancer.slot(kit.deployments[0])
    source = FakeStream(200, *PIECES)
    source.peeks = 0
    kit.script(d1=source)
    kit.balancer.failed(slot, UpstreamFailed("x"))
    await asked(kit, stream=True)

    assert 0 == slot._verdict()[1]


# --- whole answers in streams ------------------------------------------------------------------------------


@pytest.mark.parametrize("configured", [False, True])
@pytest.mark.parametrize("at", range(1, len(PIECES)))
async def test_a_stream_that_is_held_back_is_tried_again_unseen(at: int, configured: bool) -> None:
    """Wherever it was cut; asked for in the request, or by the model's configuration."""
    models = {"gpt-4o": ModelOptions(hold=True)} if configured else {}
    kit = Kit(*TWO, models=models)
    kit.script(d1=FakeStream(200, *PIECES[:at], then=CUT), d2=FakeStream(200, STREAM))
    ask = kit.ask(stream=True) if configured else held(kit)
    got = await read(await kit.pipeline.stream(ask))
    alone = Kit(("two", "d2"))
    alone.script(d2=FakeStream(200, STREAM))

    assert await asked(alone, stream=True) == got
    assert (["d1", "d2"], {}) == (kit.upstream.asked, kit.in_flight)


async def test_a_held_stream_is_one_piece_and_waited_for_as_a_whole() -> None:
    """With the time limit of whole answers; its connection is given back."""
    kit = Kit(("one", "d1"))
    source = FakeStream(200, *PIECES)
    kit.script(d1=source)
    chunks: Any = await kit.pipeline.stream(held(kit))
    left = list(source.pieces)
    got = [chunk async for chunk in chunks]

    assert ([], 1, [True], 1) == (left, len(got), source.wholes, source.closed)


async def test_an_answer_too_long_to_be_held_goes_on_live() -> None:
    """With what is here; from then on a cut is the caller's to see, and the limits of streams hold."""
    kit = Kit(*TWO)
    [words] = [piece for piece in PIECES if "Grüße".encode() in piece]
    long = words.replace("Grüße".encode(), b"x" * 300_000)
    source = FakeStream(200, *OPENING, *[long] * 5, then=CUT)
    kit.script(d1=source)
    chunks: Any = await kit.pipeline.stream(held(kit))
    first = await anext(chunks)

    with pytest.raises(UpstreamBroken):
        await read(chunks)
    assert MAX_HELD_BYTES < len(first) < MAX_HELD_BYTES + 400_000
    assert (["d1"], [True, False], {}) == (kit.upstream.asked, source.wholes, kit.in_flight)


async def test_who_wants_its_stream_held_does_not_share_one_that_is_not() -> None:
    """The wish would be lost."""
    kit = Kit(("one", "d1"))
    kit.upstream.gate.clear()
    kit.script(d1=[FakeStream(200, STREAM), FakeStream(200, STREAM)])
    asks = [kit.ask(stream=True, seed=1), held(kit, kit.ask(stream=True, seed=1))]
    tasks = [asyncio.ensure_future(kit.pipeline.stream(ask)) for ask in asks]
    await until(lambda: len(kit.upstream.sent) == 2)
    kit.upstream.gate.set()

    assert 1 == len({await read(await task) for task in tasks})


# --- time --------------------------------------------------------------------------------------------------


async def hurried(kit: Kit, seconds: float) -> GatewayError:
    """The failure of a request whose caller waits so long."""
    ask = kit.ask()
    ask.deadline = time.perf_counter() + seconds
    return await failing(lambda: kit.pipeline.whole(ask))


def slow(kit: Kit, seconds: float, then: GatewayError) -> None:
    """Let the attempts at `d1` take so long, and fail."""
    original = kit.upstream._step

    async def step(url: str, *rest: Any) -> Any:
        if "/d1/" in url:
            await asyncio.sleep(seconds)
            raise then
        return await original(url, *rest)

    kit.upstream._step = step  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize(("deadline", "answered"), [(0.15, False), (60, True)])
async def test_another_attempt_has_to_fit_into_the_callers_time(deadline: float, answered: bool) -> None:
    """It may take as long as the one that failed."""
    kit = Kit(*TWO)
    slow(kit, 0.1, UpstreamFailed("down"))
    ask = kit.ask()
    ask.deadline = time.perf_counter() + deadline

    if answered:
        assert "d2" == (await kit.pipeline.whole(ask)).deployment.id
    else:
        assert "down" == str(await failing(lambda: kit.pipeline.whole(ask)))


async def test_all_attempts_share_the_total() -> None:
    """The second one gets what is left of it."""
    kit = Kit(*TWO, limits=TimeLimits(total=50))
    slow(kit, 0.1, UpstreamFailed("down"))
    await asked(kit, stream=False)

    assert 49 < kit.upstream.sent[0][3].total < 49.95


async def test_a_callers_haste_is_not_held_against_a_deployment() -> None:
    """Its own time is watched elsewhere: a limit that it sets makes no deployment late."""
    kit = Kit(*TWO)
    slow(kit, 0.01, UpstreamFailed("down"))
    ask = kit.ask()
    ask.deadline = time.perf_counter() + 5
    await kit.pipeline.whole(ask)
    limits = kit.upstream.sent[0][3]

    assert (10, 600, True) == (limits.connect, limits.first_byte, limits.total > 1000)


async def test_nobody_waits_in_line_beyond_the_callers_time() -> None:
    """The refusal comes at once, with the true time, instead of a timeout later."""
    kit = Kit(("one", "d1"), queue_seconds=10)
    kit.upstream.retry_after = 5
    kit.script(d1=(429, error()))
    begun = time.perf_counter()
    caught = await hurried(kit, 2)

    assert (UpstreamLimited, True) == (type(caught), time.perf_counter() - begun < 1)
    assert 4 < (caught.retry_after or 0) <= 5


async def test_one_callers_haste_does_not_cut_who_shares_its_call() -> None:
    """The deadline of the first of them does not hold for the call."""
    kit = Kit(*TWO)
    slow(kit, 0.1, UpstreamFailed("down"))
    leader, follower = kit.ask(seed=1), kit.ask(seed=1)
    leader.deadline = time.perf_counter() + 0.15
    replies = await asyncio.gather(kit.pipeline.whole(leader), kit.pipeline.whole(follower))

    assert [("d2", 2)] * 2 == [(reply.deployment.id, reply.attempts) for reply in replies]
    assert 1 == kit.inflight.coalesced


async def test_one_callers_haste_does_not_cut_who_travels_with_it() -> None:
    """Texts that share a call have until the last of their callers gives up."""
    kit, deadlines = Kit(("one", "d1")), []
    batches = Batches(seconds=0.001, max_inputs=8)
    model = kit.catalog.resolve("gpt-4o")

    async def fetch(ask: Ask) -> Reply:
        deadlines.append(ask.deadline)
        vectors = [{"object": "embedding", "index": index, "embedding": [1.0]} for index in range(2)]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        body = {"object": "list", "model": "m", "usage": usage, "data": vectors}
        return Reply(
            model="m",
            deployment=kit.deployments[0],
            attempts=1,
            dropped=(),
            upstream_seconds=0,
            answer=Answer(msgspec.json.encode(body)),
        )

    asks = [kit.ask(input="a"), kit.ask(input="b")]
    asks[0].deadline = 5.0
    await asyncio.gather(*(batches.answer(ask, model, fetch) for ask in asks))

    assert [math.inf] == deadlines


# --- how often ---------------------------------------------------------------------------------------------


async def test_when_the_budget_is_spent_the_failure_is_told() -> None:
    """Though another deployment is there: an outage is not doubled."""
    kit = Kit(*TWO, retries_a_second=0.1)
    kit.script(d1=(503, error("down")))
    kit.balancer._patience = type(kit.balancer._patience)(cool_down=0)
    first = await asked(kit, stream=False)
    caught = await failing(lambda: asked(kit, stream=False))

    assert (True, "down", ["d1", "d2", "d1"]) == (bool(first), caught.public, kit.upstream.asked)


async def test_a_model_spends_its_own_budget() -> None:
    """One that is down leaves the others theirs."""
    kit = Kit(*TWO, ("one", "d3", "gpt-5"), ("two", "d4", "gpt-5"), retries_a_second=0.1)
    kit.script(d1=(503, error()), d3=(503, error()))
    kit.balancer._patience = type(kit.balancer._patience)(cool_down=0)
    await asked(kit, stream=False)
    await failing(lambda: asked(kit, stream=False))

    assert b"gpt-5" in await asked(kit, stream=False, model="gpt-5")


# --- waiting for who has asked for a pause -----------------------------------------------------------------


async def until_limited(
    kit: Kit, *, model: str = "gpt-4o", seconds: float, streamed: bool = False
) -> asyncio.Task[bytes]:
    """A request that was told to come back in so many seconds, and waits for that."""
    kit.upstream.retry_after = seconds
    task = asyncio.ensure_future(asked(kit, stream=streamed, model=model))
    await until(lambda: kit.lines.waiting)
    return task


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_only_deployment_is_waited_for(streamed: bool) -> None:
    """Its Retry-After is honoured, then the caller has its answer (trap 21)."""
    kit = Kit(("one", "d1"), queue_seconds=5)
    kit.script(d1=[(429, error()), (200, STREAM if streamed else whole())])
    begun = time.monotonic()
    task = await until_limited(kit, seconds=0.1, streamed=streamed)

    assert b"gpt-4o" in await task
    assert (["d1", "d1"], True, {}) == (kit.upstream.asked, time.monotonic() - begun >= 0.1, kit.in_flight)


async def test_no_request_is_sent_while_it_wants_none() -> None:
    """Others that come meanwhile stand behind, and are served in their order afterwards."""
    kit = Kit(("one", "d1"), queue_seconds=5)
    kit.script(d1=[(429, error()), (200, whole())])
    first = await until_limited(kit, seconds=0.1)
    others = [asyncio.ensure_future(asked(kit, stream=False)) for _ in range(5)]
    await settle()
    sent = len(kit.upstream.sent)
    await asyncio.gather(first, *others)

    assert (1, 7) == (sent, len(kit.upstream.sent))


@pytest.mark.parametrize("before", [False, True])
async def test_a_pause_beyond_the_queue_is_told_at_once(before: bool) -> None:
    """429 and the true Retry-After; the upstream is not asked again, now or for the next request."""
    kit = Kit(("one", "d1"), queue_seconds=5)
    kit.upstream.retry_after = 30
    kit.script(d1=(429, error("slow down")))
    if before:
        await failing(lambda: asked(kit, stream=False))
    caught = await failing(lambda: asked(kit, stream=False))

    assert (429, True) == (caught.status, 29 < (caught.retry_after or 0) <= 30)
    assert (["d1"], 0, {}) == (kit.upstream.asked, kit.lines.waiting, kit.in_flight)


async def test_the_upstreams_own_words_are_kept() -> None:
    """Who was refused by the upstream reads its text, who never got there reads ours."""
    kit = Kit(("one", "d1"))
    kit.upstream.retry_after = 30
    kit.script(d1=(429, error("tokens per minute")))
    first, second = [await failing(lambda: asked(kit, stream=False)) for _ in range(2)]

    assert ("tokens per minute", UpstreamLimited) == (first.public, type(first))
    assert Busy is type(second)
    assert "rate limit" in second.public


async def test_another_candidate_is_asked_at_once() -> None:
    """Without waiting, and without a pause."""
    kit = Kit(*TWO, queue_seconds=5)
    kit.upstream.retry_after = 30
    kit.script(d1=(429, error()))
    begun = time.monotonic()
    await asked(kit, stream=False)

    assert (["d1", "d2"], [], True) == (kit.upstream.asked, kit.slept, time.monotonic() - begun < 1)


async def test_who_leaves_the_line_leaves_nothing_behind() -> None:
    """Neither a place nor a count."""
    kit = Kit(("one", "d1"), queue_seconds=5)
    kit.script(d1=(429, error()))
    task = await until_limited(kit, seconds=3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (0, {}) == (kit.lines.waiting, kit.in_flight)


async def test_who_is_bound_to_one_deployment_keeps_nobody_waiting() -> None:
    """The others can be asked elsewhere: they do not stand behind it."""
    kit = Kit(*TWO, queue_seconds=5)
    kit.balancer.failed(kit.balancer.slot(kit.deployments[0]), UpstreamLimited("slow", retry_after=3))
    bound = kit.ask()
    bound.pinned = "one/d1"
    waiting = asyncio.ensure_future(kit.pipeline.whole(bound))
    await until(lambda: kit.lines.waiting)
    begun = time.monotonic()
    reply = await kit.pipeline.whole(kit.ask())
    waiting.cancel()

    assert ("d2", True) == (reply.deployment.id, time.monotonic() - begun < 1)


async def test_a_deployment_with_enough_to_do_is_waited_for() -> None:
    """Until one of its requests ends."""
    kit = Kit(("one", "d1"), queue_seconds=5, in_flight=1)
    kit.upstream.gate.clear()
    first, second = (asyncio.ensure_future(asked(kit, stream=False)) for _ in range(2))
    await until(lambda: kit.lines.waiting)
    sent = len(kit.upstream.sent)
    kit.upstream.gate.set()
    await asyncio.gather(first, second)

    assert (1, 2, {}) == (sent, len(kit.upstream.sent), kit.in_flight)


async def test_a_models_own_limit_goes_before_the_general_one() -> None:
    """And without a queue the refusal is immediate."""
    kit = Kit(("one", "d1"), models={"gpt-4o": ModelOptions(max_in_flight=1)}, in_flight=50)
    kit.upstream.gate.clear()
    first = asyncio.ensure_future(asked(kit, stream=False))
    await until(lambda: kit.upstream.sent)
    caught = await failing(lambda: asked(kit, stream=False))
    kit.upstream.gate.set()
    await first

    assert (503, 0.1) == (caught.status, caught.retry_after)


# --- fallbacks ---------------------------------------------------------------------------------------------


async def test_a_fallback_is_asked_instead_of_waiting() -> None:
    """At once, and the answer says which model it was."""
    kit = Kit(("one", "d1"), ("one", "d2", "gpt-5"), models=FALLBACK, queue_seconds=5)
    kit.upstream.retry_after = 3
    kit.script(d1=(429, error()))
    begun = time.monotonic()
    replies = [await kit.pipeline.whole(kit.ask()) for _ in range(2)]

    assert (["d1", "d2", "d2"], True) == (kit.upstream.asked, time.monotonic() - begun < 1)
    assert ["gpt-5", "gpt-5"] == [reply.model for reply in replies]


async def test_a_fallback_that_is_not_there_is_no_reason_not_to_wait() -> None:
    """It is as if there were none."""
    kit = Kit(("one", "d1"), models=FALLBACK, queue_seconds=5)
    kit.script(d1=[(429, error()), (200, whole())])

    assert b"gpt-4o" in await (await until_limited(kit, seconds=0.1))


@pytest.mark.parametrize("status", [400, 503])
async def test_when_the_fallback_fails_the_model_itself_is_waited_for(status: int) -> None:
    """It has asked for a pause that is short enough."""
    kit = Kit(("one", "d1"), ("one", "d2", "gpt-5"), models=FALLBACK, queue_seconds=5, attempts=1)
    kit.script(d1=(200, whole()), d2=(status, error()))
    kit.balancer.failed(kit.balancer.slot(kit.deployments[0]), UpstreamLimited("slow", retry_after=0.1))

    assert b"gpt-4o" in await asked(kit, stream=False)
    assert ["d2", "d1"] == kit.upstream.asked


async def test_when_the_fallback_fails_who_only_rests_is_asked() -> None:
    """A guess about its health is no reason to serve nobody."""
    kit = Kit(("one", "d1"), ("one", "d2", "gpt-5"), models=FALLBACK, attempts=1)
    kit.script(d1=(200, whole()), d2=(503, error()))
    kit.balancer.failed(kit.balancer.slot(kit.deployments[0]), UpstreamFailed("down"))

    assert b"gpt-4o" in await asked(kit, stream=False)
    assert ["d2", "d1"] == kit.upstream.asked


# --- what is learned ---------------------------------------------------------------------------------------


async def test_a_refused_credential_rests_the_sub_account() -> None:
    """Its other deployment is not asked either, now and by the next request."""
    kit = Kit(("one", "d1"), ("one", "d2"), ("two", "d3"))
    kit.balancer.slot(kit.deployments[1])
    kit.script(d1=(401, b"Jwt is expired"), d2=(401, b"Jwt is expired"))
    await asked(kit, stream=False)
    await asked(kit, stream=False)

    assert (["d1", "d1", "d3", "d3"], True) == (kit.upstream.asked, kit.resting("d2"))


@pytest.mark.parametrize("hint", [0.0, None])
async def test_a_limit_without_a_time_is_tried_again_after_a_pause(hint: float | None) -> None:
    """`Retry-After: 0`, and none at all, where there is nobody else."""
    kit = Kit(("one", "d1"), queue_seconds=5)
    kit.upstream.retry_after = hint
    kit.script(d1=[(429, error()), (200, whole())])
    kit.balancer._patience = type(kit.balancer._patience)(cool_down=1)

    assert b"gpt-4o" in await asked(kit, stream=False)
    assert (["d1", "d1"], int(hint == 0)) == (kit.upstream.asked, len(kit.slept))


@pytest.mark.parametrize("failure", [UpstreamUnreachable("refused"), UpstreamTimeout("late")])
async def test_who_fails_while_others_are_full_is_not_asked_again(failure: GatewayError) -> None:
    """It waits for the other one, which was not at fault."""
    kit = Kit(*TWO, queue_seconds=5, in_flight=1)
    kit.script(d1=failure)
    busy = kit.balancer.slot(kit.deployments[1])
    busy.take(kit.deployments[1])
    task = asyncio.ensure_future(asked(kit, stream=False))
    await until(lambda: kit.lines.waiting)
    busy.release()
    await task

    assert (["d1", "d2"], {}) == (kit.upstream.asked, kit.in_flight)
