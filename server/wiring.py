"""Settings → services: the one place where the classes meet."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import httpx

from server import logs, runtime
from server.settings import Embeddings, Images, Routing, Settings
from services import stores
from services.accounts import Account
from services.answers import NAMESPACE, AnswerCache
from services.asking import Options
from services.attempts import Attempts
from services.balancer import Balancer, Patience
from services.board import Board
from services.budget import RetryBudget
from services.calls import ANONYMOUS, Caller
from services.catalog import Catalog
from services.container import Keys, Services
from services.control_plane import open_client
from services.deployments import Discovery
from services.embedding import Batches
from services.fetching import Fetcher, open_client as open_fetcher
from services.gate import Gate
from services.health import Health
from services.inflight import Inflight
from services.journal import Journal
from services.limits import RateLimiter
from services.listing import ModelList
from services.pipeline import Kept, Pipeline
from services.recorder import Recorder
from services.tokens import TokenProvider
from services.upstream import Pool, TimeLimits, Upstream
from services.waiting import Lines
from services.watch import DeploymentWatch

_RETRIES_A_SECOND = 10.0
"""Further attempts of a model that all workers may make together, beyond their share of its traffic."""


def build_services(settings: Settings, board: Board | None = None) -> Services:
    """Return one worker's services. Must be called in the worker's loop; opens nothing yet."""
    board = board or Board(runtime.board_path(), columns=max(8, 3 * settings.workers))
    http = open_client()
    redis_options = _redis(settings)
    redis = stores.redis_client(redis_options) if redis_options else None
    cache = _cache(settings, redis_options)
    accounts = _accounts(settings)
    catalog = Catalog(settings.models)
    watch = _watch(settings, accounts, catalog, http)
    pool = Pool(max_idle=settings.pool.max_idle_per_upstream, idle_seconds=settings.pool.idle_seconds)
    upstream = Upstream(pool=pool)
    routing = settings.routing
    balancer = Balancer(board, strategy=routing.strategy, patience=_patience(routing))
    lines = partial(Lines, seconds=routing.queue_seconds, length=routing.queue_length)
    attempts = Attempts(
        catalog=catalog,
        balancer=balancer,
        accounts=accounts,
        upstream=upstream,
        options=_options(settings),
        budget=partial(RetryBudget, share=routing.retry_budget, floor=_RETRIES_A_SECOND / settings.workers),
        lines=lines(),
        rediscover=watch.refresh_soon,
    )
    fetching = open_fetcher() if settings.images.fetch else None
    limiter = RateLimiter(board, requests_per_minute=settings.limits.requests_per_minute, redis=redis)
    return Services(
        keys=_keys(settings),
        body_limit=settings.limits.body_bytes,
        heartbeat_seconds=settings.timeouts.heartbeat,
        gate=Gate(board.row("in-flight"), limit=settings.limits.in_flight, lines=lines()),
        accounts=accounts,
        board=board,
        balancer=balancer,
        catalog=catalog,
        watch=watch,
        upstream=upstream,
        cache=cache,
        pipeline=_pipeline(settings, catalog, attempts, cache, limiter, fetching, watch),
        models=ModelList(catalog),
        health=Health(accounts=accounts, catalog=catalog, watch=watch),
        journal=Journal(_recorder(settings), tell=logs.tell_request),
        closers=[closer for closer in (http, redis, fetching) if closer is not None],
    )


def _accounts(settings: Settings) -> dict[str, Account]:
    return {
        account.name: Account(
            name=account.name,
            resource_group=account.options.resource_group,
            tenant_id=account.credential.tenant_id,
            tokens=TokenProvider(account.credential),
        )
        for account in settings.sub_accounts
    }


def _watch(
    settings: Settings, accounts: Mapping[str, Account], catalog: Catalog, http: httpx.AsyncClient
) -> DeploymentWatch:
    watched = [
        (
            one.options,
            one.credential.api_url,
            Discovery(one.options, one.credential, tokens=accounts[one.name].tokens, http=http),
        )
        for one in settings.sub_accounts
    ]
    return DeploymentWatch(
        watched, on_change=catalog.update, refresh_seconds=settings.discovery.refresh_seconds
    )


def _patience(routing: Routing) -> Patience:
    return Patience(cool_down=routing.cool_down_seconds, slow_start=routing.slow_start_seconds)


def _options(settings: Settings) -> Options:
    return Options(
        attempts=settings.routing.attempts,
        dedup=settings.dedup.mode,
        limits=TimeLimits(**settings.timeouts.model_dump(exclude={"heartbeat"})),
        in_flight=settings.limits.in_flight_per_deployment,
        api_version=settings.api_version,
    )


def _pipeline(
    settings: Settings,
    catalog: Catalog,
    attempts: Attempts,
    cache: AnswerCache[Kept] | None,
    limiter: RateLimiter,
    fetching: httpx.AsyncClient | None,
    watch: DeploymentWatch,
) -> Pipeline:
    return Pipeline(
        catalog=catalog,
        attempts=attempts,
        inflight=Inflight(buffer_bytes=settings.dedup.buffer_bytes),
        cache=cache,
        limiter=limiter,
        options=_options(settings),
        fetcher=_fetcher(settings.images, fetching) if fetching else None,
        batches=_batches(settings.embeddings),
        complete=watch.complete,
    )


def _batches(embeddings: Embeddings) -> Batches | None:
    seconds = embeddings.batch_milliseconds / 1000
    return Batches(seconds=seconds, max_inputs=embeddings.batch_inputs) if seconds else None


def _fetcher(images: Images, http: httpx.AsyncClient) -> Fetcher:
    return Fetcher(http, max_bytes=images.max_bytes, hosts=frozenset(images.hosts))


def _recorder(settings: Settings) -> Recorder | None:
    path = settings.recorder.path
    return None if path is None else Recorder(path, bodies=settings.recorder.bodies)


def _keys(settings: Settings) -> Keys:
    callers = {
        key.digest: Caller(
            name=key.name,
            id=key.digest,
            models=key.models,
            requests_per_minute=key.requests_per_minute,
            heartbeats=key.heartbeats,
        )
        for key in settings.client_keys
    }
    return Keys(by_digest=callers, anonymous=None if callers else ANONYMOUS)


def _redis(settings: Settings) -> stores.RedisOptions | None:
    redis = settings.redis
    if redis.host is None:
        return None
    password = redis.password.get_secret_value() if redis.password else None
    return stores.RedisOptions(
        host=redis.host, port=redis.port, db=redis.db, password=password, tls=redis.tls
    )


def _cache(settings: Settings, redis: stores.RedisOptions | None) -> AnswerCache[Kept] | None:
    cache = settings.cache
    if not cache.enabled:
        return None
    if cache.store == "redis" and redis is not None:
        store = stores.redis_cache(redis, namespace=NAMESPACE)
    else:
        store = stores.MemoryCache(max_entries=cache.max_entries)
    return AnswerCache(store, Kept, ttl_seconds=cache.ttl_seconds, max_answer_bytes=cache.max_answer_bytes)
