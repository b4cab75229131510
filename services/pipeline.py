"""The use case: a request in, an answer out, through whichever deployment can give it.

limits → catalog → cache → in-flight table → attempts. What one attempt is, is in `services.attempts`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgspec

from services.answers import AnswerCache
from services.asking import Ask, Options, fallbacks, prepare
from services.attempts import Attempts
from services.calls import Reply
from services.catalog import Catalog, Model
from services.deployments import Deployment
from services.embedding import Batches, in_parts
from services.errors import NoDeployment, NotFound, UnknownModel
from services.fetching import Fetcher
from services.inflight import Events, Inflight, fingerprint, shareable
from services.limits import RateLimiter
from services.live import Replay
from services.orchestrated import looked_up, routed
from services.translation.capabilities import EMBEDDINGS
from services.translation.replies import Answer, Prepared
from services.translation.translate import remote_urls

_UNKNOWN_SECONDS = 5.0


class Kept(msgspec.Struct, frozen=True):
    """An answer in the response cache: the caller's bytes, and where they came from."""

    body: bytes
    model: str
    sub_account: str
    deployment: str


class Pipeline:
    """Serves whole answers and streams, for every surface.

    `complete` says whether all deployments are known that there are: before, no name can be called unknown.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        attempts: Attempts,
        inflight: Inflight,
        cache: AnswerCache[Kept] | None,
        limiter: RateLimiter,
        options: Options,
        fetcher: Fetcher | None = None,
        batches: Batches | None = None,
        complete: Callable[[], bool] = lambda: True,
    ) -> None:
        self._catalog = catalog
        self._attempts = attempts
        self._inflight = inflight
        self._cache = cache
        self._limiter = limiter
        self._options = options
        self._fetcher = fetcher
        self._batches = batches
        self._complete = complete

    async def whole(self, ask: Ask) -> Reply:
        """Return the answer. Raises GatewayError."""
        model, prepared = await self._admit(ask)
        key = self._key(ask, model, prepared)
        if key is None:
            return _told(ask, await self._whole_from(ask, model, prepared))
        if self._cache is not None and (kept := await self._cache.get(key)) is not None:
            return _told(ask, _from_cache(kept))
        joined = time.perf_counter()
        reply, coalesced = await self._inflight.answer(
            key, lambda: self._fetch(_for_all(ask), model, prepared, keep_as=key)
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
            return Replay(kept.body)
        joined = time.perf_counter()
        reply, shared, coalesced = await self._inflight.stream(
            key, lambda: self._open(_for_all(ask), model, prepared, keep_as=key)
        )
        _told(ask, reply, coalesced_since=joined if coalesced else None)
        return shared

    # --- before the upstream ---------------------------------------------------------------------

    async def _admit(self, ask: Ask) -> tuple[Model, Prepared]:
        caller = ask.call.caller
        await self._limiter.admit(caller)
        model = self._resolved(ask)
        if not caller.may_use(model.name):
            raise self._catalog.unknown(ask.model, allowed=caller.may_use)
        ask.call.model = model.name
        looked_up(ask, model, self._catalog)
        model = routed(ask, model)
        if ask.pinned:
            model = self._pinned(ask, model)
        serving = self._serving(ask, model)
        if self._fetcher is not None:
            await self._fetch_media(ask, serving, self._fetcher)
        version = self._options.api_version
        return model, prepare(ask, serving, serving.candidates[0], api_version=version)

    def _resolved(self, ask: Ask) -> Model:
        """Return the model of this name. Raises UnknownModel, NoDeployment while not all are known."""
        try:
            return self._catalog.resolve(ask.model, allowed=ask.call.caller.may_use)
        except UnknownModel as unknown:
            if self._complete():
                raise
            text = (
                f"the deployments are not all known yet, and '{ask.model}' may be one; try again in a moment"
            )
            raise NoDeployment(text, retry_after=_UNKNOWN_SECONDS) from unknown

    async def _fetch_media(self, ask: Ask, model: Model, fetcher: Fetcher) -> None:
        """Fetch the pictures and documents that the request names by URL."""
        facts = model.facts_of(model.candidates[0])
        if urls := remote_urls(ask.body, surface=ask.call.surface, facts=facts):
            ask.fetched = await fetcher.all(urls)

    def _pinned(self, ask: Ask, model: Model) -> Model:
        """Return the model with the one deployment that the request is bound to. Raises NotFound."""
        bound = tuple(one for one in model.candidates if one.origin == ask.pinned)
        if not bound:
            raise NotFound(
                f"no deployment of '{model.name}' keeps this answer: another model made it, or it is gone; "
                "send the whole history instead",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return msgspec.structs.replace(
            model, candidates=bound, options=replace(model.options, fallbacks=()), shares=False
        )

    def _serving(self, ask: Ask, model: Model) -> Model:
        """Return the model, or its first fallback that has a deployment. Raises NoDeployment."""
        if model.candidates:
            return model
        for other in fallbacks(ask, model, self._catalog):
            return other
        raise NoDeployment(f"no running deployment serves '{model.name}' now; try again in a minute")

    def _key(self, ask: Ask, model: Model, prepared: Prepared) -> bytes | None:
        """Return what identical requests have in common; None for one that is not to be shared."""
        call = ask.call
        if ask.pinned or prepared.method != "POST":
            return None  # about an answer that is stored: the next look may find it changed
        mode, marked = self._options.dedup, ask.idempotency_key
        if not shareable(mode, deterministic=prepared.deterministic, idempotency_key=marked):
            return None
        way = ("held stream" if ask.hold else "stream") if call.stream else ""
        return fingerprint(call.caller.id, call.surface, model.name, ask.body, (marked, way))

    async def _fetch(self, ask: Ask, model: Model, prepared: Prepared, *, keep_as: bytes) -> Reply:
        reply = await self._whole_from(ask, model, prepared)
        if self._cache is not None and reply.answer is not None:
            self._cache.put_soon(keep_as, _kept(reply, reply.answer.body))
        return reply

    def _whole_from(self, ask: Ask, model: Model, prepared: Prepared) -> Awaitable[Reply]:
        if ask.call.surface == EMBEDDINGS:
            return self._embedded(ask, model, prepared)
        return self._attempts.whole(ask, model, prepared)

    async def _embedded(self, ask: Ask, model: Model, prepared: Prepared) -> Reply:
        async def whole(part: Ask) -> Reply:
            return await self._attempts.whole(part, model, prepared if part is ask else None)

        answering = (model, *fallbacks(ask, model, self._catalog))
        sizes = [one.facts_of(candidate).batch for one in answering for candidate in one.candidates]
        if any(sizes):  # whoever answers in the end has to take what it is sent
            return await in_parts(ask, min(filter(None, sizes)), whole)
        if self._batches is None:
            return await self._attempts.whole(ask, model, prepared)
        return await self._batches.answer(ask, model, whole)

    async def _open(
        self, ask: Ask, model: Model, prepared: Prepared, *, keep_as: bytes | None = None
    ) -> tuple[Reply, Events]:
        reply, chunks = await self._attempts.stream(ask, model, prepared)
        if self._cache is None or keep_as is None:
            return reply, chunks
        return reply, await self._cache.recorded(keep_as, chunks, lambda body: _kept(reply, body))


def _for_all(ask: Ask) -> Ask:
    """Return the request without its caller's time limit: others may wait longer for the shared answer."""
    return msgspec.structs.replace(ask, deadline=math.inf)


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
