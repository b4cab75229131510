"""The use case: a request in, an answer out, through whichever deployment can give it.

limits → catalog → cache → in-flight table → attempts (balancer, token, upstream) → first event. Another
candidate is tried only until the first byte is there for the caller; afterwards never.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol, TypeVar

import msgspec
import structlog

from services import metrics
from services.accounts import Account
from services.answers import AnswerCache
from services.balancer import Balancer, Slot
from services.calls import Call, Reply
from services.catalog import Catalog, Model
from services.deployments import Deployment
from services.errors import (
    BadRequest,
    CallerLeft,
    CredentialError,
    GatewayError,
    NoDeployment,
    UnknownModel,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamUnreachable,
)
from services.inflight import Events, Inflight, Mode, fingerprint, shareable
from services.limits import RateLimiter
from services.translation import fields
from services.translation.faults import error_for
from services.translation.fields import Fields
from services.translation.replies import Answer, Prepared, Relay, Target
from services.upstream import TimeLimits, Upstream, UpstreamStream, WholeAnswer

T = TypeVar("T")
log = structlog.get_logger()

_BACK_OFF_SECONDS = 0.25
_REST_AFTER: tuple[type[GatewayError], ...] = (
    CredentialError,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamUnreachable,
)
_SAME_AGAIN: tuple[type[GatewayError], ...] = (UpstreamFailed, UpstreamUnreachable)
"""Failures that often pass at once: with nobody else to ask, the same deployment is asked again."""


class Prepare(Protocol):
    """How a surface translates a request for a model."""

    def __call__(self, body: Fields, target: Target, /) -> Prepared:
        """Return the request in the upstream's form. Raises BadRequest."""


class Ask(msgspec.Struct):
    """A request as its surface read it."""

    model: str
    body: Fields
    prepare: Prepare
    call: Call
    idempotency_key: str | None = None


class Kept(msgspec.Struct, frozen=True):
    """An answer in the response cache: the caller's bytes, and where they came from."""

    body: bytes
    model: str
    sub_account: str
    deployment: str


class Options(msgspec.Struct, frozen=True):
    """How far the pipeline goes for an answer."""

    attempts: int = 3
    cool_down_seconds: float = 30.0
    dedup: Mode = "safe"
    limits: TimeLimits = TimeLimits()
    api_version: str = "2025-04-01-preview"


class Pipeline:
    """Serves whole answers and streams, for every surface."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        balancer: Balancer,
        accounts: Mapping[str, Account],
        upstream: Upstream,
        inflight: Inflight,
        cache: AnswerCache[Kept] | None,
        limiter: RateLimiter,
        options: Options,
        rediscover: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._catalog = catalog
        self._balancer = balancer
        self._accounts = accounts
        self._upstream = upstream
        self._inflight = inflight
        self._cache = cache
        self._limiter = limiter
        self._options = options
        self._rediscover = rediscover
        self._sleep = sleep

    async def whole(self, ask: Ask) -> Reply:
        """Return the answer. Raises GatewayError."""
        model, prepared = await self._admit(ask)
        key = self._key(ask, model, prepared)
        if key is None:
            return _told(ask, await self._fetch(ask, model, prepared))
        if self._cache is not None and (kept := await self._cache.get(key)) is not None:
            return _told(ask, _from_cache(kept))
        joined = time.perf_counter()
        reply, coalesced = await self._inflight.answer(
            key, lambda: self._fetch(ask, model, prepared, keep_as=key)
        )
        return _told(ask, reply, coalesced_since=joined if coalesced else None)

    async def stream(self, ask: Ask) -> Events:
        """Return the stream once its first event is here; `ask.call` then knows its source."""
        model, prepared = await self._admit(ask)
        key = self._key(ask, model, prepared)
        if key is None:
            reply, chunks = await self._open(ask, model, prepared)
            _told(ask, reply)
            return chunks
        if self._cache is not None and (kept := await self._cache.get(key)) is not None:
            _told(ask, _from_cache(kept))
            return _Replay(kept.body)
        joined = time.perf_counter()
        reply, shared, coalesced = await self._inflight.stream(
            key, lambda: self._open(ask, model, prepared, keep_as=key)
        )
        _told(ask, reply, coalesced_since=joined if coalesced else None)
        return shared

    # --- before the upstream ---------------------------------------------------------------------

    async def _admit(self, ask: Ask) -> tuple[Model, Prepared]:
        caller = ask.call.caller
        await self._limiter.admit(caller)
        model = self._catalog.resolve(ask.model, allowed=caller.may_use)
        if not caller.may_use(model.name):
            raise self._catalog.unknown(ask.model, allowed=caller.may_use)
        ask.call.model = model.name
        serving = self._serving(ask, model)
        return model, self._prepare(ask, serving, serving.candidates[0])

    @staticmethod
    def _fallbacks(ask: Ask, model: Model) -> list[str]:
        """Return the configured fallbacks that the caller may use."""
        return [name for name in model.options.fallbacks if ask.call.caller.may_use(name)]

    def _serving(self, ask: Ask, model: Model) -> Model:
        """Return the model, or its first fallback that has a deployment. Raises NoDeployment."""
        if model.candidates:
            return model
        for name in self._fallbacks(ask, model):
            with suppress(UnknownModel):
                if (other := self._catalog.resolve(name)).candidates:
                    return other
        raise NoDeployment(f"no running deployment serves '{model.name}' now; try again in a minute")

    def _prepare(self, ask: Ask, model: Model, deployment: Deployment) -> Prepared:
        """Translate for one deployment's backend model: during a rollout they may differ."""
        facts = model.facts_of(deployment)
        if not facts.dialect:
            kind = model.family or "an unknown kind of deployment"
            raise BadRequest(
                f"the model '{model.name}' runs on {kind}, which this gateway does not speak yet",
                param="model",
            )
        options = model.options
        target = Target(
            public_name=model.name,
            backend_model=deployment.model,
            facts=facts,
            api_version=options.api_version or self._options.api_version,
            defaults={name: fields.raw(value) for name, value in options.defaults.items()},
        )
        return ask.prepare(ask.body, target)

    def _key(self, ask: Ask, model: Model, prepared: Prepared) -> bytes | None:
        """Return what identical requests have in common; None for one that is not to be shared."""
        call = ask.call
        mode, marked = self._options.dedup, ask.idempotency_key
        if not shareable(mode, surface=call.surface, body=prepared.sent, idempotency_key=marked):
            return None
        return fingerprint(
            call.caller.id, call.surface, model.name, ask.body, (marked, "stream" if call.stream else "")
        )

    # --- attempts --------------------------------------------------------------------------------

    async def _fetch(
        self, ask: Ask, model: Model, prepared: Prepared, *, keep_as: bytes | None = None
    ) -> Reply:
        reply = await self._attempts(ask, model, prepared, self._fetch_from)
        if self._cache is not None and keep_as is not None and reply.answer is not None:
            self._cache.put_soon(keep_as, _kept(reply, reply.answer.body))
        return reply

    async def _open(
        self, ask: Ask, model: Model, prepared: Prepared, *, keep_as: bytes | None = None
    ) -> tuple[Reply, Events]:
        reply, chunks = await self._attempts(ask, model, prepared, self._open_at)
        if self._cache is None or keep_as is None:
            return reply, chunks
        return reply, await self._cache.recorded(keep_as, chunks, lambda body: _kept(reply, body))

    async def _attempts(
        self, ask: Ask, model: Model, prepared: Prepared, attempt: Callable[[_Trip], Awaitable[T]]
    ) -> T:
        """Try the model's deployments, then its fallbacks'. Raises the last failure that tells most."""
        try:
            return await self._attempts_on(ask, model, prepared, attempt)
        except GatewayError as failure:
            if not failure.retryable and not isinstance(failure, NoDeployment):
                raise
            for name in self._fallbacks(ask, model):
                try:
                    other = self._catalog.resolve(name)
                    return await self._attempts_on(ask, other, None, attempt)
                except GatewayError as exc:
                    log.warning("fallback_failed", model=name, code=exc.code, detail=str(exc))
            raise

    async def _attempts_on(
        self, ask: Ask, model: Model, prepared: Prepared | None, attempt: Callable[[_Trip], Awaitable[T]]
    ) -> T:
        tried: list[Slot] = []
        made = {model.candidates[0].model: prepared} if prepared is not None and model.candidates else {}
        while True:
            slot = self._pick(model, tried)
            tried.append(slot)
            ask.call.attempts += 1
            trip = _Trip(ask.call, model, slot, self._accounts[slot.deployment.sub_account])
            try:
                backend = slot.deployment.model
                if (body := made.get(backend)) is None:
                    body = made[backend] = self._prepare(ask, model, slot.deployment)
                trip.prepared, trip.limits = body, self._limits(model)
                return await attempt(trip)
            except GatewayError as exc:
                trip.end(exc)
                if not exc.retryable:
                    raise
                self._learn(trip, exc)
                if not await self._worth_another(model, tried, exc):
                    raise
            except BaseException:
                trip.end(CallerLeft("left during an attempt"))
                raise

    async def _worth_another(self, model: Model, tried: list[Slot], failure: GatewayError) -> bool:
        """Whether to try again: at once at another candidate, after a pause at the same one."""
        if len(tried) >= self._options.attempts:
            return False
        if self._others(model, tried):
            return True
        if not isinstance(failure, _SAME_AGAIN):
            return False
        await self._sleep(random.uniform(0.1, 1) * _BACK_OFF_SECONDS * 2 ** len(tried))
        return True

    def _pick(self, model: Model, tried: list[Slot]) -> Slot:
        avoided = tried if tried and self._others(model, tried) else ()
        return self._balancer.pick(model.name, model.candidates, tried=avoided, shares=model.shares)

    def _others(self, model: Model, tried: list[Slot]) -> bool:
        return any(self._balancer.slot(candidate) not in tried for candidate in model.candidates)

    def _learn(self, trip: _Trip, failure: GatewayError) -> None:
        """Keep away from a deployment that failed, and look again at what is there when one is missing."""
        if isinstance(failure, _REST_AFTER):
            wait = self._options.cool_down_seconds if failure.retry_after is None else failure.retry_after
            self._balancer.rest(trip.slot, wait)
        if isinstance(failure, UpstreamMissing):
            self._rediscover(trip.deployment.sub_account)
        log.warning(
            "attempt_failed",
            request_id=trip.call.request_id,
            sub_account=trip.deployment.sub_account,
            deployment=trip.deployment.id,
            attempt=trip.call.attempts,
            code=failure.code,
            detail=str(failure),
        )

    def _limits(self, model: Model) -> TimeLimits:
        general, own = self._options.limits, model.options.timeouts
        if own.first_byte is own.stall is own.total is None:
            return general
        return TimeLimits(
            connect=general.connect,
            first_byte=own.first_byte or general.first_byte,
            stall=own.stall or general.stall,
            total=own.total or general.total,
        )

    # --- one attempt -----------------------------------------------------------------------------

    async def _fetch_from(self, trip: _Trip) -> Reply:
        answer = await self._with_token(trip, self._upstream.send)
        trip.waited()
        if answer.status >= 400:
            raise error_for(answer.status, answer.body, retry_after=answer.retry_after)
        reply = trip.reply(answer.request_id)
        reply.answer = trip.prepared.answer(answer.body)
        trip.end(None)
        return reply

    async def _open_at(self, trip: _Trip) -> tuple[Reply, LiveStream]:
        stream = await self._with_token(trip, self._upstream.open)
        try:
            if stream.status >= 400:
                raise error_for(stream.status, await stream.read_error(), retry_after=stream.retry_after)
            assert trip.prepared.relay is not None
            relay = trip.prepared.relay()
            first, ended = await _first_event(stream, relay)
        except BaseException:
            await stream.close()
            raise
        trip.waited()
        reply = trip.reply(stream.request_id)
        reply.relay = relay
        live = LiveStream(first, stream, relay, trip)
        if ended:
            await live.aclose()
        return reply, live

    async def _with_token(self, trip: _Trip, send: Callable[..., Awaitable[_Response]]) -> _Response:
        """Send with the account's token, and once more with a new one if it is refused (trap 22)."""
        account = trip.account
        token = account.tokens.current() or await account.tokens.get()
        response = await trip.send(send, token)
        if response.status == 401 and account.tokens.invalidate(token):
            if isinstance(response, UpstreamStream):
                await response.close()
            response = await trip.send(send, await account.tokens.get())
        return response


_Response = TypeVar("_Response", WholeAnswer, UpstreamStream)


class _Trip:
    """One attempt: a request on its way to one deployment."""

    __slots__ = (
        "_over",
        "_waited",
        "account",
        "call",
        "deployment",
        "limits",
        "model",
        "prepared",
        "slot",
    )

    prepared: Prepared
    limits: TimeLimits

    def __init__(self, call: Call, model: Model, slot: Slot, account: Account) -> None:
        self.call = call
        self.model = model
        self.slot = slot
        self.deployment = slot.deployment  # the slot may serve another public name in the meantime
        self.account = account
        if call.upstream_since is None:
            call.upstream_since = time.perf_counter()
        self._waited = 0.0
        self._over = False

    def send(self, send: Callable[..., Awaitable[T]], token: str) -> Awaitable[T]:
        """Post the request with this token."""
        return send(
            self.deployment.url + self.prepared.path,
            self.account.head(token),
            self.prepared.body,
            request_id=self.call.request_id,
            limits=self.limits,
        )

    def waited(self) -> None:
        """Note that the upstream's answer is here."""
        self._waited = time.perf_counter() - (self.call.upstream_since or 0.0)

    def reply(self, upstream_id: str) -> Reply:
        """Return where the answer came from."""
        return Reply(
            model=self.model.name,
            deployment=self.deployment,
            attempts=self.call.attempts,
            dropped=self.prepared.dropped,
            upstream_seconds=self._waited,
            upstream_id=upstream_id,
        )

    def end(self, failure: GatewayError | None) -> None:
        """Release the deployment and count the attempt, once."""
        if not self._over:
            self._over = True
            self.slot.release()
            metrics.count_attempt(self.deployment.sub_account, self.model.name, failure)


class LiveStream:
    """A stream that has begun, in the caller's dialect. Closing it frees the deployment and the connection.

    A class and not a generator: a generator that was never started would forget to clean up when closed.
    """

    __slots__ = ("_first", "_relay", "_stream", "_trip")

    def __init__(self, first: bytes, stream: UpstreamStream, relay: Relay, trip: _Trip) -> None:
        self._first: bytes | None = first
        self._stream: UpstreamStream | None = stream
        self._relay = relay
        self._trip = trip

    def __aiter__(self) -> LiveStream:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        stream, relay = self._stream, self._relay
        if stream is None:
            raise StopAsyncIteration
        try:
            while not relay.done:
                if relay.failure is not None:
                    raise relay.failure
                piece = await stream.read()
                if not piece:
                    break
                if out := relay.feed(piece):
                    return out
            out = relay.close()
        except GatewayError as exc:
            self._trip.end(exc)
            raise
        await self.aclose()
        return out

    async def aclose(self) -> None:
        """Close the upstream's response; harmless the second time."""
        stream, self._stream = self._stream, None
        self._trip.end(None)
        if stream is not None:
            await stream.close()


async def _first_event(stream: UpstreamStream, relay: Relay) -> tuple[bytes, bool]:
    """Read until the caller has something to see; return it, and whether it is all there is.

    Raises what the upstream reports instead.
    """
    while piece := await stream.read():
        out = relay.feed(piece)
        if relay.failure is not None:
            raise relay.failure
        if out:
            return out, False
        if relay.done:
            break
    return relay.close(), True


class _Replay:
    """A stream from the cache: all of it at once."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    def __aiter__(self) -> _Replay:
        return self

    async def __anext__(self) -> bytes:
        body, self._body = self._body, None
        if body is None:
            raise StopAsyncIteration
        return body

    async def aclose(self) -> None:
        self._body = None


def _told(ask: Ask, reply: Reply, *, coalesced_since: float | None = None) -> Reply:
    call = ask.call
    call.reply = reply
    call.coalesced = coalesced_since is not None
    call.waited = reply.upstream_seconds if coalesced_since is None else time.perf_counter() - coalesced_since
    return reply


def _kept(reply: Reply, body: bytes) -> Kept:
    source = reply.deployment
    return Kept(body=body, model=reply.model, sub_account=source.sub_account, deployment=source.id)


def _from_cache(kept: Kept) -> Reply:
    source = Deployment(
        id=kept.deployment, url="", sub_account=kept.sub_account, resource_group="", model=kept.model
    )
    return Reply(
        model=kept.model,
        deployment=source,
        attempts=0,
        dropped=(),
        upstream_seconds=0.0,
        answer=Answer(body=kept.body),
        cached=True,
    )
