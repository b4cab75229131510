"""The attempts at one request: deployment after deployment, until one answers.

balancer.pick → token → upstream → first content. What failed is learned from; another attempt is made only as
long as the caller has not been sent a byte. What may follow which failure is said in `services.errors`.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import structlog

from services import metrics
from services.accounts import Account
from services.asking import Ask, Options, fallbacks, prepare
from services.balancer import Balancer, Slot
from services.budget import RetryBudget
from services.calls import Reply
from services.catalog import Catalog, Model
from services.errors import (
    Again,
    Busy,
    CallerLeft,
    GatewayError,
    NoDeployment,
    OutOfTime,
    Rests,
    UpstreamMissing,
    settle,
)
from services.live import LiveStream, opening
from services.orchestrated import routed
from services.translation.faults import error_for
from services.translation.replies import Prepared
from services.trips import Trip
from services.upstream import TimeLimits, Upstream, UpstreamStream, WholeAnswer
from services.waiting import Lines

T = TypeVar("T")
_Response = TypeVar("_Response", WholeAnswer, UpstreamStream)
log = structlog.get_logger()

_BACK_OFF_SECONDS = 0.25
_LONGEST_BACK_OFF_SECONDS = 8.0


class _Terms(NamedTuple):
    """What holds for a model's attempts."""

    limits: TimeLimits
    in_flight: int | None
    budget: RetryBudget


class Attempts:
    """Asks a model's deployments, then its fallbacks'.

    `rediscover` is told the sub-account whose deployment is missing; it must not wait. `budget` makes a new
    retry budget.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        balancer: Balancer,
        accounts: Mapping[str, Account],
        upstream: Upstream,
        options: Options,
        budget: Callable[[], RetryBudget],
        lines: Lines,
        rediscover: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._catalog = catalog
        self._balancer = balancer
        self._accounts = accounts
        self._upstream = upstream
        self._options = options
        self._new_budget = budget
        self._terms: dict[str, _Terms] = {}
        self._lines = lines
        self._rediscover = rediscover
        self._sleep = sleep

    def whole(self, ask: Ask, model: Model, prepared: Prepared | None) -> Awaitable[Reply]:
        """Return a whole answer; without `prepared` the request is translated here. Raises GatewayError."""
        return self._attempts(ask, model, prepared, self._fetch_from)

    def stream(self, ask: Ask, model: Model, prepared: Prepared) -> Awaitable[tuple[Reply, LiveStream]]:
        """Return a stream whose first content is here. Raises GatewayError."""
        return self._attempts(ask, model, prepared, partial(self._open_at, hold=ask.hold))

    async def _attempts(
        self, ask: Ask, model: Model, prepared: Prepared | None, attempt: Callable[[Trip], Awaitable[T]]
    ) -> T:
        """Try the model's deployments, then its fallbacks'. Raises the failure of the model itself."""
        self._terms_of(model).budget.count()
        others = fallbacks(ask, model, self._catalog)
        try:
            return await self._attempts_on(ask, model, prepared, attempt, patient=not others)
        except GatewayError as failure:
            if not failure.retryable and not isinstance(failure, NoDeployment):
                raise
            busy = isinstance(failure, Busy)
            for other in others:
                patient = other is others[-1] and not busy
                self._terms_of(other).budget.count()
                try:
                    return await self._attempts_on(ask, routed(ask, other), None, attempt, patient=patient)
                except GatewayError as exc:
                    log.warning("fallback_failed", model=other.name, code=exc.code, detail=str(exc))
            if busy and others:  # nobody else can: wait for the model itself, or ask who rests
                return await self._attempts_on(ask, model, prepared, attempt, patient=True)
            raise

    async def _attempts_on(
        self,
        ask: Ask,
        model: Model,
        prepared: Prepared | None,
        attempt: Callable[[Trip], Awaitable[T]],
        *,
        patient: bool,
    ) -> T:
        """Try the model's deployments; who is not `patient` has somebody else to ask when all are busy."""
        tried: list[Slot] = []
        failure: GatewayError | None = None
        made = {model.candidates[0].model: prepared} if prepared is not None and model.candidates else {}
        limits = self._terms_of(model).limits
        over = time.perf_counter() + limits.total
        end = min(ask.deadline, over)
        while True:
            try:
                slot = self._at_once(model, tried, patient=patient) or await self._in_line(model, tried, end)
            except Busy as busy:
                if failure is None:
                    raise
                failure.retry_after = busy.retry_after  # its own words say more than ours
                raise failure from None
            tried.append(slot)
            ask.call.attempts += 1
            account = self._accounts[slot.deployment.sub_account]
            trip = Trip(ask.call, model, slot, account, self._balancer)
            try:
                backend = slot.deployment.model
                if (body := made.get(backend)) is None:
                    body = made[backend] = prepare(
                        ask, model, slot.deployment, api_version=self._options.api_version
                    )
                trip.prepared = body.bind(slot.deployment.origin) if body.bind else body
                # The caller's own time is watched by the handler: no deployment is to blame when it is short.
                trip.limits = limits if failure is None else limits.within(over - time.perf_counter())
                return await attempt(trip)
            except GatewayError as exc:
                trip.end(exc)
                failure = exc
                if exc.retryable:
                    self._tell(trip, exc)
                if not await self._once_more(model, tried, trip, exc, end):
                    raise
                settle(exc)
            except asyncio.CancelledError:
                trip.end(_given_up(ask))
                raise
            except BaseException:
                trip.end(GatewayError("a fault of the gateway's own"))
                raise

    async def _once_more(
        self, model: Model, tried: list[Slot], trip: Trip, failure: GatewayError, end: float
    ) -> bool:
        """Whether to try again: at once at another candidate, after a pause at the same one."""
        if not failure.retryable:
            return False
        others = self._others(model, tried)
        waits = failure.again is Again.WAIT and self._balancer.limited(trip.deployment)
        pauses = not others and not waits and failure.again in (Again.ANYWHERE, Again.WAIT)
        if not (others or pauses or waits):
            return False
        pause = _back_off(len(tried)) if pauses else 0.0
        too_late = time.perf_counter() + pause + trip.seconds > end  # another one may take as long
        if len(tried) >= self._options.attempts or too_late:
            return False
        if not self._terms_of(model).budget.spend():
            metrics.count_unretried(model.name)
            return False
        if pause:
            await self._sleep(pause)
        return True

    def _at_once(self, model: Model, tried: list[Slot], *, patient: bool) -> Slot | None:
        """Return the deployment to ask, None where one has to wait in line for it. Raises NoDeployment.

        Who is not patient gets a Busy instead, also when all rest: there is somebody else to ask.
        """
        avoided = self._avoided(model, tried)
        if not patient:
            return self._pick(model, avoided, insists=bool(tried))
        if self._lines.waiting and self._lines.anybody(self._line(model, avoided)):
            return None
        try:
            return self._pick(model, avoided)
        except Busy:
            return None

    async def _in_line(self, model: Model, tried: list[Slot], until: float) -> Slot:
        """Return the deployment to ask after waiting for it, but not beyond `until`. Raises NoDeployment."""
        avoided = self._avoided(model, tried)
        metrics.count_queued(model.name)
        pick = partial(self._pick, model, avoided)
        return await self._lines.turn(self._line(model, avoided), pick, seconds=until - time.perf_counter())

    def _avoided(self, model: Model, tried: list[Slot]) -> Sequence[Slot]:
        return tried if tried and self._others(model, tried) else ()

    def _line(self, model: Model, avoided: Sequence[Slot]) -> Hashable:
        # Who can be asked only here must not keep those waiting who can be asked elsewhere as well.
        able = (one.origin for one in model.candidates if self._balancer.slot(one) not in avoided)
        return (model.name, *able)

    def _pick(self, model: Model, avoided: Sequence[Slot], *, insists: bool = True) -> Slot:
        return self._balancer.pick(
            model.name,
            model.candidates,
            tried=avoided,
            shares=model.shares,
            limit=self._terms_of(model).in_flight,
            insists=insists,
        )

    def _terms_of(self, model: Model) -> _Terms:
        """Return what holds for the model. Its budget is its own: an outage takes nothing from the others."""
        terms = self._terms.get(model.name)
        if terms is None:
            in_flight = model.options.max_in_flight or self._options.in_flight
            terms = self._terms[model.name] = _Terms(self._limits(model), in_flight, self._new_budget())
        return terms

    def _others(self, model: Model, tried: list[Slot]) -> bool:
        """Whether somebody else can be asked now."""
        balancer = self._balancer
        return any(balancer.slot(one) not in tried and not balancer.limited(one) for one in model.candidates)

    def _tell(self, trip: Trip, failure: GatewayError) -> None:
        """Log a failure, and look again at what is there when a deployment is missing."""
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
        return TimeLimits(
            connect=own.connect or general.connect,
            first_byte=own.first_byte or general.first_byte,
            first_token=own.first_token or general.first_token,
            stall=own.stall or general.stall,
            total=own.total or general.total,
            peek=general.peek,
        ).within(math.inf)

    async def _fetch_from(self, trip: Trip) -> Reply:
        answer = await self._with_token(trip, self._upstream.send)
        if answer.status >= 400:
            error = error_for(answer.status, answer.body, retry_after=answer.retry_after)
            if not trip.amend(error):
                trip.waited()
                _judge(trip, error)
                raise error
            return await self._fetch_from(trip)
        trip.waited()
        reply = trip.reply(answer.request_id)
        reply.answer = trip.prepared.answer(answer.body)
        trip.worked()
        trip.end(None)
        return reply

    async def _open_at(self, trip: Trip, *, hold: bool) -> tuple[Reply, LiveStream]:
        stream = await self._with_token(trip, self._upstream.open)
        try:
            if stream.status >= 400:
                error = error_for(stream.status, await stream.read_error(), retry_after=stream.retry_after)
                if not trip.amend(error):
                    _judge(trip, error)
                    raise error
                await stream.aclose()
                return await self._open_at(trip, hold=hold)
            assert trip.prepared.relay is not None
            relay = trip.prepared.relay()
            first, ended = await opening(stream, relay, hold=hold or trip.model.options.hold)
        except BaseException:
            await stream.aclose()
            raise
        trip.waited()
        reply = trip.reply(stream.request_id)
        reply.relay = relay
        live = LiveStream(first, stream, relay, trip)
        if ended:
            await live.finish()
        return reply, live

    async def _with_token(self, trip: Trip, send: Callable[..., Awaitable[_Response]]) -> _Response:
        """Send with the account's token, and once more with a new one if it is refused (trap 22)."""
        account = trip.account
        token = account.tokens.current() or await account.tokens.get()
        response = await trip.send(send, token)
        if response.status == 401 and account.tokens.invalidate(token):
            if isinstance(response, UpstreamStream):
                await response.aclose()
            response = await trip.send(send, await account.tokens.get())
        return response


def _given_up(ask: Ask) -> GatewayError:
    """Return why an attempt is cancelled: the caller has left, or waits no longer."""
    if time.perf_counter() < ask.deadline:
        return CallerLeft("left during an attempt")
    return OutOfTime("the caller's time limit ran out during an attempt")


def _judge(trip: Trip, error: GatewayError) -> None:
    """A deployment that refuses a request has answered."""
    if error.rests is Rests.NOTHING:
        trip.worked()


def _back_off(attempts: int) -> float:
    """Return the pause before the same deployment is asked again (seconds): full jitter, doubling."""
    return random.uniform(0, min(_LONGEST_BACK_OFF_SECONDS, _BACK_OFF_SECONDS * 2.0**attempts))
