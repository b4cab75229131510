"""From a request to an answer: which deployment is asked, and when another one is."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from services.deployments import AccountDeployments
from services.errors import (
    CredentialError,
    GatewayError,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from services.options import ModelOptions, SubAccountOptions, TimeoutOverrides
from services.upstream import TimeLimits
from tests.services.pipeline_kit import STREAM, FakeStream, Kit, Step, asked, error, failing, whole
from tests.services.waiting import until

TWO = (("one", "d1"), ("two", "d2"))

# What a deployment does before it is left alone and another one is asked.
RETRIED: dict[str, Step] = {
    "no connection": UpstreamUnreachable("refused"),
    "a timeout": UpstreamTimeout("slow"),
    "a broken answer": UpstreamBroken("cut"),
    "429": (429, error()),
    "500": (500, error()),
    "502": (502, b"<html>"),
    "503": (503, b"no healthy upstream"),
    "504": (504, b"upstream request timeout"),
    "529": (529, error()),
    "404": (404, error()),
    "403": (403, b"RBAC: access denied"),
    "no json": (200, b"<html>"),
    "an error inside a 200": (200, error()),
}


def as_stream(step: Step) -> Step:
    """The same, where a stream was asked for."""
    if isinstance(step, tuple) and step[0] == 200:
        return FakeStream(200, b"data: " + step[1] + b"\n\n")
    return step


# --- fail-over ---


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", RETRIED)
async def test_trap_21_another_deployment_is_tried_before_the_first_byte(name: str, stream: bool) -> None:
    """Trap 21: the caller gets its answer, learns of two attempts, and nothing stays counted."""
    kit = Kit(*TWO)
    step = RETRIED[name]
    kit.script(d1=as_stream(step) if stream else step, d2=(200, STREAM if stream else whole()))

    assert b"gpt-4o" in await asked(kit, stream=stream)
    reply = kit.calls[0].reply
    assert reply is not None
    assert ("d2", 2, "two") == (reply.deployment.id, reply.attempts, reply.deployment.sub_account)
    assert ({}, True) == (kit.in_flight, kit.resting("d1"))
    assert all(one.closed for one in kit.upstream.streams)


async def test_trap_14_a_throttle_behind_the_opening_is_got_around() -> None:
    """Trap 14: the 200 and the first frame were here already, but not a byte had gone to the caller."""
    kit = Kit(*TWO)
    opening = STREAM[: STREAM.index(b"\n\n") + 2]
    limited = b'data: {"error":{"code":"429","message":"slow"}}\n\n'
    kit.script(d1=FakeStream(200, opening, limited), d2=(200, STREAM))

    assert 1 == (await asked(kit, stream=True)).count(b"[DONE]")
    assert (["d1", "d2"], True) == (kit.upstream.asked, kit.resting("d1"))


@pytest.mark.parametrize("stream", [False, True])
async def test_trap_20_a_success_that_mentions_429_is_a_success(stream: bool) -> None:
    """Trap 20: failures are told by their type, not by digits in an id, a text or a count."""
    kit = Kit(*TWO)
    words = "HTTP 429: rate_limit_exceeded, 503"
    answer = whole(words).replace(b'"c"', b'"chatcmpl-429"').replace(b":3}", b":429}")
    said = STREAM.replace(b"chatcmpl-A1", b"chatcmpl-429").replace("Grüße".encode(), words.encode())
    kit.script(d1=(200, said if stream else answer))

    assert words.encode() in await asked(kit, stream=stream)
    assert (["d1"], [], False) == (kit.upstream.asked, kit.slept, kit.resting("d1"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refusal_is_not_tried_elsewhere(status: int, stream: bool) -> None:
    """It is about the request: asked once, told as it is, and nobody rests."""
    kit = Kit(*TWO)
    kit.script(d1=(status, error("too long")))
    caught = await failing(lambda: asked(kit, stream=stream))

    assert (UpstreamRefused, "too long", ["d1"]) == (type(caught), caught.public, kit.upstream.asked)
    assert ({}, False) == (kit.in_flight, kit.resting("d1"))


@pytest.mark.parametrize("end", [UpstreamBroken("cut"), UpstreamTimeout("stall")])
async def test_trap_21_never_after_the_first_byte(end: GatewayError) -> None:
    """Trap 21: a late failure is the caller's to see."""
    kit = Kit(*TWO)
    first = STREAM.index(b'"finish_reason":"stop"')
    kit.script(d1=FakeStream(200, STREAM[:first], then=end))
    chunks = await kit.pipeline.stream(kit.ask(stream=True))
    got = [await anext(chunks)]

    with pytest.raises(type(end)):
        await anext(chunks)
    await chunks.aclose()
    assert (1, ["d1"], {}) == (len(got), kit.upstream.asked, kit.in_flight)
    assert 1 == kit.upstream.streams[0].closed


async def test_a_stream_that_ends_without_a_finish_is_broken() -> None:
    """Trap 24: no success-looking end."""
    kit = Kit(("one", "d1"))
    kit.script(d1=FakeStream(200, STREAM[: STREAM.index(b'"finish_reason":"stop"') - 200]))

    assert UpstreamBroken is type(await failing(lambda: asked(kit, stream=True)))


async def test_a_stream_that_is_only_an_end_is_broken() -> None:
    """`[DONE]` alone is no answer."""
    kit = Kit(("one", "d1"))
    kit.script(d1=FakeStream(200, b"data: [DONE]\n\n"))

    assert UpstreamBroken is type(await failing(lambda: asked(kit, stream=True)))


async def test_a_stream_that_comes_whole_has_one_end() -> None:
    """Trap 7: without a blank line at its end, all of it is in the first event, and nothing follows."""
    kit = Kit(("one", "d1"))
    kit.script(d1=FakeStream(200, b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}'))

    assert 1 == (await asked(kit, stream=True)).count(b"[DONE]")
    assert ({}, 1) == (kit.in_flight, kit.upstream.streams[0].closed)


async def test_attempts_are_bounded() -> None:
    """As configured, however many deployments there are; the last failure is told (trap 21)."""
    kit = Kit(*((f"s{n}", f"d{n}") for n in range(9)), attempts=3)
    kit.script(**{f"d{n}": (503, error(f"busy {n}")) for n in range(9)})
    caught = await failing(lambda: asked(kit, stream=False))

    assert (["d0", "d1", "d2"], "busy 2") == (kit.upstream.asked, caught.public)
    assert 3 == kit.calls[0].attempts


@pytest.mark.parametrize("step", [(500, error()), UpstreamUnreachable("refused")])
async def test_with_nobody_else_the_same_is_asked_again_after_a_pause(step: Step) -> None:
    """Such failures often pass at once; the pauses are random, and may be twice as long each time."""
    kit = Kit(("one", "d1"))
    kit.script(d1=[step, step, (200, whole())])
    await asked(kit, stream=False)

    assert ["d1"] * 3 == kit.upstream.asked
    assert [True, True] == [0 <= pause <= most for pause, most in zip(kit.slept, (0.5, 1.0), strict=True)]


@pytest.mark.parametrize("step", [(429, error()), (404, error()), (403, b"x"), UpstreamTimeout("slow")])
async def test_with_nobody_else_other_failures_are_told_at_once(step: Step) -> None:
    """Asking the same again would not help, or would be billed again (traps 21, 22)."""
    kit = Kit(("one", "d1"))
    kit.script(d1=step)
    await failing(lambda: asked(kit, stream=False))

    assert (["d1"], []) == (kit.upstream.asked, kit.slept)


@pytest.mark.parametrize(("asked_for", "rests"), [(7.0, 7.0), (None, 30 / 16), (1e300, 600.0)])
async def test_a_deployment_rests_as_long_as_it_says(asked_for: float | None, rests: float) -> None:
    """Its Retry-After, or a sixteenth of the longest cool-down; never absurdly long (trap 21)."""
    kit = Kit(*TWO)
    kit.upstream.retry_after = asked_for
    kit.script(d1=(429, error()))
    await asked(kit, stream=False)

    wakes = kit.balancer.slot(kit.deployments[0]).rests_until
    assert rests - 1 < wakes - time.monotonic() <= rests


async def test_retry_after_reaches_the_caller() -> None:
    """When all are limited."""
    kit = Kit(("one", "d1"))
    kit.upstream.retry_after = 7.0
    kit.script(d1=(429, error()))
    caught = await failing(lambda: asked(kit, stream=False))

    assert (UpstreamLimited, True) == (type(caught), 6.9 < (caught.retry_after or 0) <= 7.0)


async def test_the_wait_for_the_upstream_begins_with_the_first_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failed attempt is not the gateway's own time."""
    kit = Kit(*TWO)
    kit.script(d1=(503, error()))
    # the start, its answer, its length; the second's start and answer
    times = iter([10.0, 12.0, 12.0, 12.0, 15.0])
    monkeypatch.setattr("services.trips.time", SimpleNamespace(perf_counter=lambda: next(times)))
    ask = kit.ask()
    reply = await kit.pipeline.whole(ask)

    assert (2, 5.0) == (reply.attempts, reply.upstream_seconds)


async def test_a_missing_deployment_is_looked_for_again() -> None:
    """Wire §6.2: in its sub-account, and only there."""
    kit = Kit(*TWO)
    kit.script(d1=(404, error()))
    await asked(kit, stream=False)

    assert ["one"] == kit.rediscovered


# --- tokens ---


@pytest.mark.parametrize("stream", [False, True])
async def test_trap_22_a_refused_token_is_renewed_once(stream: bool) -> None:
    """Trap 22: the same deployment is asked with a new one; the caller sees nothing of it."""
    kit = Kit(*TWO)
    kit.upstream.tokens["d1"] = "t-1"
    kit.script(d1=(200, STREAM if stream else whole()))
    await asked(kit, stream=stream)

    assert [("d1", "t-0"), ("d1", "t-1")] == [sent[:2] for sent in kit.upstream.sent]
    assert (1, {}) == (kit.calls[0].attempts, kit.in_flight)
    assert all(one.closed for one in kit.upstream.streams)


async def test_trap_22_a_hundred_refusals_renew_once() -> None:
    """Trap 22: all are served, with one new token."""
    kit = Kit(("one", "d1"))
    kit.upstream.tokens["d1"] = "t-1"
    kit.upstream.gate.clear()
    tasks = [asyncio.ensure_future(asked(kit, stream=False)) for _ in range(100)]
    await until(lambda: len(kit.upstream.sent) == 100)
    kit.upstream.gate.set()
    await asyncio.gather(*tasks)

    assert (1, {}) == (kit.tokens["one"].number, kit.in_flight)
    assert {"t-0": 100, "t-1": 100} == Counter(sent[1] for sent in kit.upstream.sent)


async def test_trap_22_there_is_no_second_renewal() -> None:
    """Trap 22: a new token that is refused too is a denial, shown as our fault and not the caller's."""
    kit = Kit(("one", "d1"))
    kit.script(d1=(401, b"Jwt is expired"))
    caught = await failing(lambda: asked(kit, stream=False))

    assert (UpstreamUnauthorized, 502, 2) == (type(caught), caught.status, len(kit.upstream.sent))


async def test_a_token_that_was_renewed_a_moment_ago_is_not_renewed_again() -> None:
    """The next candidate is asked instead."""
    kit = Kit(*TWO)
    kit.tokens["one"].stubborn = True
    kit.script(d1=(401, b""))
    await asked(kit, stream=False)

    assert (["d1", "d2"], 0) == (kit.upstream.asked, kit.tokens["one"].number)


async def test_a_sub_account_without_a_token_is_passed_over() -> None:
    """Its deployments rest."""
    kit = Kit(*TWO)
    kit.tokens["one"].valid, kit.tokens["one"].failing = False, True
    await asked(kit, stream=False)

    assert (["d2"], True, {}) == (kit.upstream.asked, kit.resting("d1"), kit.in_flight)


async def test_without_any_token_the_caller_learns_that_it_is_not_its_fault() -> None:
    """502, and nothing is sent."""
    kit = Kit(("one", "d1"))
    kit.tokens["one"].valid, kit.tokens["one"].failing = False, True
    caught = await failing(lambda: asked(kit, stream=False))

    assert (CredentialError, 502, []) == (type(caught), caught.status, kit.upstream.asked)


# --- choosing ---


async def test_trap_52_a_share_of_the_traffic_goes_where_it_should() -> None:
    """Trap 52: 100 requests at 10 to 90 are exactly that, whatever the strategy."""
    weights = {"gpt-4o": ModelOptions(weights={"d1": 10.0, "d2": 90.0})}
    kit = Kit(*TWO, models=weights, strategy="least-in-flight")
    for _ in range(100):
        await asked(kit, stream=False)

    assert {"d1": 10, "d2": 90} == Counter(kit.upstream.asked)


async def test_trap_52_one_request_is_one_pick() -> None:
    """Trap 52: two deployments in turn get every second request."""
    kit = Kit(*TWO, strategy="round-robin")
    for _ in range(4):
        await asked(kit, stream=False)

    assert ["d1", "d2", "d1", "d2"] == kit.upstream.asked


async def test_a_rollout_translates_for_each_backend() -> None:
    """The attempt at another backend model gets a body of its own."""
    kit = Kit(("one", "d1", "gpt-5"), ("one", "d2", "gpt-4o"))
    kit.catalog.update(
        {"one": AccountDeployments(SubAccountOptions("one"), {"chat": tuple(kit.deployments)}, ())}
    )
    kit.script(d1=(503, error()))
    reply = await kit.pipeline.whole(kit.ask("chat", temperature=0.5))

    assert [{"messages": []}, {"messages": [], "temperature": 0.5}] == [
        json.loads(sent[2]) for sent in kit.upstream.sent
    ]
    assert ((), "chat") == (reply.dropped, reply.model)


async def test_a_models_own_time_limits_hold() -> None:
    """What is not set is the general one's."""
    own = ModelOptions(timeouts=TimeoutOverrides(stall=5))
    kit = Kit(("one", "d1"), models={"gpt-4o": own}, limits=TimeLimits(1, 2, 3, 4, 6))
    await asked(kit, stream=False)

    assert TimeLimits(1, 2, 3, 5, 6) == kit.upstream.sent[0][3]


@pytest.mark.parametrize(
    "kind", [UpstreamFailed, UpstreamMissing, UpstreamDenied, UpstreamLimited, UpstreamUnreachable]
)
async def test_who_failed_is_passed_over_by_the_next_request(kind: type[GatewayError]) -> None:
    """The next one goes to the other at once."""
    kit = Kit(*TWO)
    kit.script(d1=kind("x"))
    await asked(kit, stream=False)
    await asked(kit, stream=False)

    assert ["d1", "d2", "d2"] == kit.upstream.asked
