"""The attempts at one request: deployment after deployment, until one answers.

balancer.pick → token → upstream → first event. What failed is learned from; another candidate is tried only
as long as the caller has not been sent a byte.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import structlog

from services.accounts import Account
from services.asking import Ask, Options, fallbacks, prepare
from services.balancer import Balancer, Slot
from services.calls import Reply
from services.catalog import Catalog, Model
from services.errors import (
    CallerLeft,
    CredentialError,
    GatewayError,
    NoDeployment,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamUnreachable,
)
from services.live import LiveStream, first_event
from services.orchestrated import routed
from services.translation.faults import error_for
from services.translation.replies import Prepared
from services.trips import Trip
from services.upstream import TimeLimits, Upstream, UpstreamStream, WholeAnswer

T = TypeVar("T")
_Response = TypeVar("_Response", WholeAnswer, UpstreamStream)
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


class Attempts:
    """Asks a model's deployments, then its fallbacks'.

    `rediscover` is told the sub-account whose deployment is missing; it must not wait.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        balancer: Balancer,
        accounts: Mapping[str, Account],
        upstream: Upstream,
        options: Options,
        rediscover: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._catalog = catalog
        self._balancer = balancer
        self._accounts = accounts
        self._upstream = upstream
        self._options = options
        self._rediscover = rediscover
        self._sleep = sleep

    async def whole(self, ask: Ask, model: Model, prepared: Prepared | None) -> Reply:
        """Return a whole answer; without `prepared` the request is translated here. Raises GatewayError."""
        return await self._attempts(ask, model, prepared, self._fetch_from)

    async def stream(self, ask: Ask, model: Model, prepared: Prepared) -> tuple[Reply, LiveStream]:
        """Return a stream whose first event is here. Raises GatewayError."""
        return await self._attempts(ask, model, prepared, self._open_at)

    async def _attempts(
        self, ask: Ask, model: Model, prepared: Prepared | None, attempt: Callable[[Trip], Awaitable[T]]
    ) -> T:
        """Try the model's deployments, then its fallbacks'. Raises the last failure that tells most."""
        try:
            return await self._attempts_on(ask, model, prepared, attempt)
        except GatewayError as failure:
            if not failure.retryable and not isinstance(failure, NoDeployment):
                raise
            for name in fallbacks(ask, model):
                try:
                    other = routed(ask, self._catalog.resolve(name))
                    return await self._attempts_on(ask, other, None, attempt)
                except GatewayError as exc:
                    log.warning("fallback_failed", model=name, code=exc.code, detail=str(exc))
            raise

    async def _attempts_on(
        self, ask: Ask, model: Model, prepared: Prepared | None, attempt: Callable[[Trip], Awaitable[T]]
    ) -> T:
        tried: list[Slot] = []
        made = {model.candidates[0].model: prepared} if prepared is not None and model.candidates else {}
        while True:
            slot = self._pick(model, tried)
            tried.append(slot)
            ask.call.attempts += 1
            trip = Trip(ask.call, model, slot, self._accounts[slot.deployment.sub_account])
            try:
                backend = slot.deployment.model
                if (body := made.get(backend)) is None:
                    body = made[backend] = prepare(
                        ask, model, slot.deployment, api_version=self._options.api_version
                    )
                trip.prepared = body.bind(slot.deployment.origin) if body.bind else body
                trip.limits = self._limits(model)
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

    def _learn(self, trip: Trip, failure: GatewayError) -> None:
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

    async def _fetch_from(self, trip: Trip) -> Reply:
        answer = await self._with_token(trip, self._upstream.send)
        if answer.status >= 400:
            error = error_for(answer.status, answer.body, retry_after=answer.retry_after)
            if not trip.amend(error):
                trip.waited()
                raise error
            return await self._fetch_from(trip)
        trip.waited()
        reply = trip.reply(answer.request_id)
        reply.answer = trip.prepared.answer(answer.body)
        trip.end(None)
        return reply

    async def _open_at(self, trip: Trip) -> tuple[Reply, LiveStream]:
        stream = await self._with_token(trip, self._upstream.open)
        try:
            if stream.status >= 400:
                error = error_for(stream.status, await stream.read_error(), retry_after=stream.retry_after)
                if not trip.amend(error):
                    raise error
                await stream.close()
                return await self._open_at(trip)
            assert trip.prepared.relay is not None
            relay = trip.prepared.relay()
            first, ended = await first_event(stream, relay)
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

    async def _with_token(self, trip: Trip, send: Callable[..., Awaitable[_Response]]) -> _Response:
        """Send with the account's token, and once more with a new one if it is refused (trap 22)."""
        account = trip.account
        token = account.tokens.current() or await account.tokens.get()
        response = await trip.send(send, token)
        if response.status == 401 and account.tokens.invalidate(token):
            if isinstance(response, UpstreamStream):
                await response.close()
            response = await trip.send(send, await account.tokens.get())
        return response
