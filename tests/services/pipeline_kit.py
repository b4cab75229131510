"""A pipeline over scripted deployments and tokens, and a view of what it leaves behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from services.accounts import Account
from services.answers import AnswerCache
from services.asking import Ask, Options
from services.attempts import Attempts
from services.balancer import PATIENCE, Balancer, Patience
from services.board import Board
from services.budget import RetryBudget
from services.calls import ANONYMOUS, Call
from services.catalog import Catalog
from services.deployments import AccountDeployments, Deployment
from services.errors import CredentialError, GatewayError
from services.inflight import Inflight
from services.limits import RateLimiter
from services.options import ModelOptions, SubAccountOptions
from services.pipeline import Kept, Pipeline
from services.stores import MemoryCache
from services.translation import fields
from services.translation.through import chat
from services.upstream import TimeLimits, UpstreamStream, WholeAnswer
from services.waiting import Lines
from tests.services.translation.samples import AZURE, sse

STREAM = sse(*AZURE)


def whole(text: str = "hi") -> bytes:
    """A whole chat answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return msgspec.json.encode({"id": "c", "model": "snapshot", "choices": [choice], "usage": usage})


def error(message: str = "why") -> bytes:
    """An error body."""
    return msgspec.json.encode({"error": {"message": message}})


class FakeStream(UpstreamStream):
    """An upstream's stream: pieces, then an end or a failure. `gate` holds back all but the first."""

    request_id = "up-1"
    retry_after: float | None = None

    def __init__(self, status: int, *pieces: bytes, then: BaseException | None = None) -> None:
        self.status = status
        self.pieces = list(pieces)
        self.then = then
        self.gate = asyncio.Event()
        self.gate.set()
        self.reads = 0
        self.closed = 0
        self.wholes: list[bool] = []
        """What it was told about the limit for whole answers."""
        self.content = 0
        """How often it was told that content has come."""
        self.peeks: int | None = None
        """After how many reads the time for peeking is over."""

    async def read(self) -> bytes | None:
        if self.peeks is not None and self.reads >= self.peeks:
            self.peeks = None
            return None
        self.reads += 1
        if self.reads > 1:
            await self.gate.wait()
        if self.pieces:
            return self.pieces.pop(0)
        if self.then is not None:
            raise self.then
        return b""

    def began(self) -> None:
        self.content += 1

    def whole(self, wanted: bool) -> None:
        self.wholes.append(wanted)

    async def read_error(self) -> bytes:
        return b"".join(self.pieces)

    async def aclose(self) -> None:
        self.closed += 1

    async def finish(self) -> None:
        self.closed += 1


Step = tuple[int, bytes] | FakeStream | Exception


class FakeUpstream:
    """Answers by deployment id, in order, the last step again and again. `gate` holds every answer back."""

    def __init__(self) -> None:
        self.steps: dict[str, list[Step]] = {}
        self.sent: list[tuple[str, str, bytes, TimeLimits]] = []
        self.tokens: dict[str, str] = {}
        """Deployment id → the only token that it takes."""
        self.retry_after: float | None = None
        self.streams: list[FakeStream] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def asked(self) -> list[str]:
        """The deployments that were asked, in order."""
        return [sent[0] for sent in self.sent]

    async def _step(
        self, url: str, head: bytes, body: bytes, limits: TimeLimits
    ) -> tuple[int, bytes] | FakeStream:
        one = url.split("/deployments/")[1].split("/")[0]
        token = head.partition(b"Authorization: Bearer ")[2].partition(b"\r\n")[0].decode()
        self.sent.append((one, token, body, limits))
        self.arrived.set()
        await self.gate.wait()
        if self.tokens.get(one, token) != token:
            return (401, b"Jwt is expired")
        steps = self.steps[one]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, Exception):
            raise step
        return step

    async def send(
        self, url: str, head: bytes, body: bytes, *, request_id: str, limits: TimeLimits, method: str = "POST"
    ) -> WholeAnswer:
        step = await self._step(url, head, body, limits)
        assert isinstance(step, tuple)
        return WholeAnswer(step[0], step[1], self.retry_after, "up-1")

    async def open(
        self, url: str, head: bytes, body: bytes, *, request_id: str, limits: TimeLimits, method: str = "POST"
    ) -> FakeStream:
        step = await self._step(url, head, body, limits)
        stream = FakeStream(*step) if isinstance(step, tuple) else step
        assert isinstance(stream, FakeStream)
        stream.retry_after = self.retry_after
        self.streams.append(stream)
        return stream


class FakeTokens:
    """Tokens t-0, t-1, …: a new one whenever the present one is refused."""

    def __init__(self) -> None:
        self.number = 0
        self.valid = True
        self.stubborn = False
        """Refuse to renew by force."""
        self.failing = False
        self.gate = asyncio.Event()
        self.gate.set()

    def current(self) -> str | None:
        return f"t-{self.number}" if self.valid else None

    async def get(self) -> str:
        await self.gate.wait()
        if self.failing:
            raise CredentialError("no token")
        self.valid = True
        return f"t-{self.number}"

    def invalidate(self, token: str) -> bool:
        if token != f"t-{self.number}":
            return True
        if self.stubborn:
            return False
        self.number += 1
        self.valid = False
        return True


class Kit:
    """Deployments by (sub-account, id, model), and everything around them."""

    def __init__(
        self,
        *deployments: tuple[str, str] | tuple[str, str, str],
        models: dict[str, ModelOptions] | None = None,
        cache: bool = False,
        per_minute: int | None = None,
        strategy: Any = "ordered",
        patience: Patience = PATIENCE,
        queue_seconds: float = 0.0,
        retries_a_second: float = 100.0,
        **options: Any,
    ) -> None:
        self.board = Board()
        self.balancer = Balancer(self.board, strategy=strategy, patience=patience)
        self.lines = Lines(seconds=queue_seconds, length=10)
        self.upstream = FakeUpstream()
        self.tokens: dict[str, FakeTokens] = {}
        self.rediscovered: list[str] = []
        self.slept: list[float] = []
        self.calls: list[Call] = []
        self.deployments = [_deployment(*one) for one in deployments]
        self.catalog = Catalog(models or {})
        self.catalog.update(_by_account(self.deployments))
        self.inflight = Inflight()
        self.cache = (
            AnswerCache(MemoryCache(max_entries=10), Kept, ttl_seconds=60, max_answer_bytes=100_000)
            if cache
            else None
        )
        for one in self.deployments:
            self.tokens.setdefault(one.sub_account, FakeTokens())
            self.upstream.steps[one.id] = [(200, whole())]
        chosen = Options(**options)
        self.attempts = Attempts(
            catalog=self.catalog,
            balancer=self.balancer,
            accounts={name: _account(name, tokens) for name, tokens in self.tokens.items()},
            upstream=self.upstream,  # type: ignore[arg-type]
            options=chosen,
            budget=lambda: RetryBudget(share=0.0, floor=retries_a_second),
            lines=self.lines,
            rediscover=self.rediscovered.append,
            sleep=self._sleep,
        )
        self.pipeline = Pipeline(
            catalog=self.catalog,
            attempts=self.attempts,
            inflight=self.inflight,
            cache=self.cache,
            limiter=RateLimiter(self.board, requests_per_minute=per_minute),
            options=chosen,
        )

    def use(self, upstream: Any) -> None:
        """Ask over this client instead, and know the deployments as they are now."""
        self.attempts._upstream = upstream
        self.catalog.update(_by_account(self.deployments))

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def script(self, **steps: Step | Sequence[Step]) -> None:
        """What a deployment answers, by its id."""
        for one, script in steps.items():
            self.upstream.steps[one] = list(script) if isinstance(script, list) else [script]  # type: ignore[list-item]

    def ask(
        self,
        model: Any = "gpt-4o",
        *,
        stream: Any = False,
        caller: Any = ANONYMOUS,
        **body: Any,
    ) -> Ask:
        """A request; the same body for the same arguments."""
        members = {"model": model, "messages": []} | body
        call = Call(surface="chat", caller=caller, request_id="r", started=0.0)
        call.stream = stream
        self.calls.append(call)
        return Ask(
            model=model,
            body=fields.parse(msgspec.json.encode(members)),
            prepare=partial(chat.prepare, stream=stream),
            call=call,
        )

    @property
    def in_flight(self) -> dict[str, int]:
        """Deployments that the balancer counts something on."""
        slots = {one.id: self.balancer.slot(one).in_flight for one in self.deployments}
        return {one: count for one, count in slots.items() if count}

    def resting(self, one: str) -> bool:
        """Whether a deployment is left alone."""
        deployment = next(each for each in self.deployments if each.id == one)
        return self.balancer.slot(deployment).rests_until > time.monotonic()


async def asked(kit: Kit, *, stream: bool, **body: Any) -> bytes:
    """Serve one request to its end."""
    if stream:
        return await read(await kit.pipeline.stream(kit.ask(stream=True, **body)))
    reply = await kit.pipeline.whole(kit.ask(**body))
    assert reply.answer is not None
    return reply.answer.body


async def failing(action: Callable[[], Awaitable[object]]) -> GatewayError:
    """The failure that this ends with."""
    try:
        await action()
    except GatewayError as exc:
        return exc
    raise AssertionError("it did not fail")


async def read(chunks: Any) -> bytes:
    """A caller that reads to the end and closes."""
    try:
        return b"".join([chunk async for chunk in chunks])
    finally:
        await chunks.aclose()


def _deployment(sub_account: str, identifier: str, model: str = "gpt-4o") -> Deployment:
    url = f"https://api.example/v2/inference/deployments/{identifier}"
    return Deployment(identifier, url, sub_account, "default", "azure-openai", model)


def _by_account(deployments: Sequence[Deployment]) -> dict[str, AccountDeployments]:
    names = dict.fromkeys(one.sub_account for one in deployments)
    return {
        name: AccountDeployments(
            SubAccountOptions(name), {}, tuple(one for one in deployments if one.sub_account == name)
        )
        for name in names
    }


def _account(name: str, tokens: FakeTokens) -> Account:
    return Account(name=name, resource_group="default", tenant_id="", tokens=tokens)  # type: ignore[arg-type]
