"""Embeddings in parts and in batches: every text gets its own vector, whatever travels together."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from services.asking import Ask
from services.calls import ANONYMOUS, Call, Reply
from services.catalog import Catalog, Model
from services.deployments import AccountDeployments, Deployment
from services.embedding import PARTS_AT_ONCE, Batches, in_parts
from services.errors import UpstreamFailed, UpstreamRefused
from services.options import ModelOptions, SubAccountOptions
from services.translation import embeddings, fields
from services.translation.replies import Answer, Usage
from tests.services.waiting import until

SOURCE = Deployment(id="d1", url="https://x", sub_account="one", resource_group="default", model="m")


def ask(*texts: str, **members: Any) -> Ask:
    """A request for the vectors of these texts."""
    given: Any = texts[0] if len(texts) == 1 else list(texts)
    body = {name: fields.raw(value) for name, value in {"model": "m", "input": given, **members}.items()}
    call = Call(surface="embeddings", caller=ANONYMOUS, request_id="r", started=0.0)
    return Ask(model="m", body=body, prepare=embeddings.prepare, call=call)


def vectors(reply: Reply) -> list[tuple[int, Any]]:
    """Index and vector of each item of an answer."""
    assert reply.answer is not None
    return [(item["index"], item["embedding"]) for item in json.loads(reply.answer.body)["data"]]


class Upstream:
    """Embeds a text as its length; refuses texts named `bad`, and counts what it was asked."""

    def __init__(self, *, failure: Exception | None = None) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.failure = failure
        self.under_way = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0

    async def __call__(self, request: Ask) -> Reply:
        texts = embeddings.texts_of(request.body) or ()
        self.asked.append(texts)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if self.failure is not None:
            raise self.failure
        if "bad" in texts:
            raise UpstreamRefused("no", public="no")
        data = [{"index": n, "embedding": [len(text)]} for n, text in enumerate(texts)]
        tokens = sum(len(text) for text in texts)
        body = msgspec.json.encode({"object": "list", "data": data, "model": "m"})
        return Reply("m", SOURCE, 1, (), 0.0, answer=Answer(body, Usage(tokens, 0, tokens)))


def model(*fallbacks: str) -> Model:
    """A model that makes embeddings."""
    catalog = Catalog({"text-embedding-3-small": ModelOptions(fallbacks=fallbacks)})
    one = msgspec.structs.replace(SOURCE, model="text-embedding-3-small", executable="azure-openai")
    catalog.update({"one": AccountDeployments(SubAccountOptions("one"), {}, (one,))})
    return catalog.resolve("text-embedding-3-small")


# --- in parts ---


@pytest.mark.parametrize(("count", "size", "calls"), [(1, 1, 1), (3, 1, 3), (5, 2, 3), (4, 4, 1)])
async def test_a_request_is_asked_in_parts_of_that_size(count: int, size: int, calls: int) -> None:
    """And comes back in order, with the tokens of all (trap 40)."""
    upstream = Upstream()

    reply = await in_parts(ask(*("x" * (n + 1) for n in range(count))), size, upstream)

    assert [(n, [n + 1]) for n in range(count)] == vectors(reply)
    assert (calls, sum(range(count + 1))) == (len(upstream.asked), reply.usage and reply.usage.prompt_tokens)


async def test_parts_are_not_all_sent_at_once() -> None:
    """A long list must not become a flood."""
    upstream = Upstream()
    upstream.gate.clear()
    asking = asyncio.ensure_future(in_parts(ask(*("x" * (n + 1) for n in range(20))), 1, upstream))
    for _ in range(50):
        await asyncio.sleep(0)

    most = upstream.most
    upstream.gate.set()
    await asking

    assert (PARTS_AT_ONCE, PARTS_AT_ONCE) == (most, upstream.most)


async def test_a_caller_who_leaves_ends_all_parts() -> None:
    """Nothing goes on for nobody."""
    upstream = Upstream()
    upstream.gate.clear()
    asking = asyncio.ensure_future(in_parts(ask("a", "b"), 1, upstream))
    await until(lambda: len(upstream.asked) == 2)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: not upstream.under_way)

    assert 2 == upstream.cancelled


async def test_one_part_that_fails_fails_the_request() -> None:
    """Half a list is no answer."""
    with pytest.raises(UpstreamRefused):
        await in_parts(ask("a", "bad", "c"), 1, Upstream())


async def test_parts_of_different_models_are_no_answer() -> None:
    """A fallback that steps in midway: its vectors mean something else."""
    upstream, names = Upstream(), iter("mn")

    async def whole(request: Ask) -> Reply:
        return msgspec.structs.replace(await upstream(request), model=next(names))

    with pytest.raises(UpstreamFailed, match="different models") as caught:
        await in_parts(ask("a", "b"), 1, whole)
    assert 503 == caught.value.status


# --- in batches ---


async def test_single_texts_share_a_call() -> None:
    """Each caller gets the vector of its own text, at index 0, and its share of the tokens."""
    upstream, batches = Upstream(), Batches(seconds=0.001, max_inputs=64)

    replies = await asyncio.gather(*(batches.answer(ask("x" * n), model(), upstream) for n in (1, 2, 3)))

    assert [[(0, [n])] for n in (1, 2, 3)] == [vectors(reply) for reply in replies]
    assert [("x", "xx", "xxx")] == upstream.asked
    assert [1, 2, 3] == [reply.usage and reply.usage.prompt_tokens for reply in replies]


async def test_a_full_batch_does_not_wait() -> None:
    """The limit closes it."""
    upstream, batches = Upstream(), Batches(seconds=3600, max_inputs=2)

    await asyncio.gather(*(batches.answer(ask(text), model(), upstream) for text in ("a", "b", "c", "d")))

    assert [("a", "b"), ("c", "d")] == upstream.asked


async def test_other_settings_make_another_batch() -> None:
    """Vectors of another length would come back."""
    upstream, batches = Upstream(), Batches(seconds=0.001, max_inputs=64)

    await asyncio.gather(
        batches.answer(ask("a", dimensions=256), model(), upstream),
        batches.answer(ask("b"), model(), upstream),
    )

    assert [("a",), ("b",)] == upstream.asked


async def test_several_texts_travel_alone() -> None:
    """They are a batch already."""
    upstream, batches = Upstream(), Batches(seconds=3600, max_inputs=64)

    await batches.answer(ask("a", "b"), model(), upstream)

    assert [("a", "b")] == upstream.asked


async def test_a_text_that_is_refused_does_not_take_the_others_with_it() -> None:
    """Each is asked alone then."""
    upstream, batches = Upstream(), Batches(seconds=0.001, max_inputs=64)

    good, bad = await asyncio.gather(
        batches.answer(ask("good"), model(), upstream),
        batches.answer(ask("bad"), model(), upstream),
        return_exceptions=True,
    )

    assert isinstance(good, Reply)
    assert isinstance(bad, UpstreamRefused)
    assert [("good", "bad"), ("good",), ("bad",)] == upstream.asked


async def test_a_failure_is_everybodys() -> None:
    """Each with an exception of its own: a traceback grows with each raising."""
    failure = UpstreamFailed("down")
    batches = Batches(seconds=0.001, max_inputs=64)

    one, other = await asyncio.gather(
        *(batches.answer(ask(text), model(), Upstream(failure=failure)) for text in "ab"),
        return_exceptions=True,
    )

    assert (UpstreamFailed, UpstreamFailed, False) == (type(one), type(other), one is other)


async def test_only_the_last_one_to_leave_ends_the_call() -> None:
    """The others still wait for it."""
    upstream, batches = Upstream(), Batches(seconds=3600, max_inputs=2)
    upstream.gate.clear()
    first, second = (asyncio.ensure_future(batches.answer(ask(t), model(), upstream)) for t in "ab")
    await until(lambda: bool(upstream.under_way))

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    after_one = upstream.cancelled
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await until(lambda: not upstream.under_way)

    assert (0, 1) == (after_one, upstream.cancelled)


async def test_a_batch_that_everybody_left_is_never_sent() -> None:
    """Before it departs."""
    upstream, batches = Upstream(), Batches(seconds=0.0, max_inputs=9)
    alone = asyncio.ensure_future(batches.answer(ask("a"), model(), upstream))
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)
    await asyncio.sleep(0.01)

    assert [] == upstream.asked


async def test_who_may_not_use_a_fallback_travels_alone() -> None:
    """The answer of a shared call may come from it."""
    upstream, batches = Upstream(), Batches(seconds=0.001, max_inputs=64)
    limited = ask("b")
    limited.call.caller = msgspec.structs.replace(ANONYMOUS, models=("text-*",))

    await asyncio.gather(
        batches.answer(ask("a"), model("other"), upstream), batches.answer(limited, model("other"), upstream)
    )

    assert [("a",), ("b",)] == upstream.asked


async def test_who_has_left_is_not_asked_for_alone() -> None:
    """A batch that is refused is asked again text by text, for those who still wait."""
    upstream, batches = Upstream(), Batches(seconds=3600, max_inputs=3)
    upstream.gate.clear()
    texts = ("good", "left", "bad")
    good, left, bad = (asyncio.ensure_future(batches.answer(ask(t), model(), upstream)) for t in texts)
    await until(lambda: bool(upstream.under_way))

    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    upstream.gate.set()
    await asyncio.gather(good, bad, return_exceptions=True)

    assert [texts, ("good",), ("bad",)] == upstream.asked
