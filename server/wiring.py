"""Settings → services: the one place where the classes meet."""

from __future__ import annotations

from collections.abc import Mapping

from server import runtime
from server.settings import Settings
from services import stores
from services.accounts import Account
from services.answers import NAMESPACE, AnswerCache
from services.asking import Options
from services.attempts import Attempts
from services.balancer import Balancer
from services.board import Board
from services.calls import ANONYMOUS, Caller
from services.catalog import Catalog
from services.container import Keys, Services
from services.control_plane import open_client
from services.deployments import Discovery
from services.health import Health
from services.inflight import Inflight
from services.journal import Journal
from services.limits import RateLimiter
from services.listing import ModelList
from services.pipeline import Kept, Pipeline
from services.recorder import Recorder
from services.tokens import TokenProvider
from services.upstream import Pool, TimeLimits, Upstream
from services.watch import DeploymentWatch


def build_services(settings: Settings, board: Board | None = None) -> Services:
    """Return one worker's services. Must be called in the worker's loop; opens nothing yet."""
    board = board or Board(runtime.board_path(), columns=max(16, 4 * settings.workers))
    http = open_client()
    accounts, tokens = _accounts(settings)
    catalog = Catalog(settings.models)
    watch = DeploymentWatch(
        [
            (
                account.options,
                account.credential.api_url,
                Discovery(account.options, account.credential, tokens=tokens[account.name], http=http),
            )
            for account in settings.sub_accounts
        ],
        on_change=catalog.update,
        refresh_seconds=settings.discovery.refresh_seconds,
    )
    limits = TimeLimits(**settings.timeouts.model_dump())
    upstream = Upstream(
        pool=Pool(max_idle=settings.pool.max_idle_per_upstream, idle_seconds=settings.pool.idle_seconds),
    )
    redis_options = _redis(settings)
    redis = stores.redis_client(redis_options) if redis_options else None
    cache = _cache(settings, redis_options)
    balancer = Balancer(board, strategy=settings.routing.strategy)
    options = Options(
        attempts=settings.routing.attempts,
        cool_down_seconds=settings.routing.cool_down_seconds,
        dedup=settings.dedup.mode,
        limits=limits,
        api_version=settings.api_version,
    )
    attempts = Attempts(
        catalog=catalog,
        balancer=balancer,
        accounts=accounts,
        upstream=upstream,
        options=options,
        rediscover=watch.refresh_soon,
    )
    pipeline = Pipeline(
        catalog=catalog,
        attempts=attempts,
        inflight=Inflight(buffer_bytes=settings.dedup.buffer_bytes),
        cache=cache,
        limiter=RateLimiter(board, requests_per_minute=settings.limits.requests_per_minute, redis=redis),
        options=options,
    )
    recorder = (
        Recorder(settings.recorder.path, bodies=settings.recorder.bodies) if settings.recorder.path else None
    )
    return Services(
        keys=_keys(settings),
        body_limit=settings.limits.body_bytes,
        accounts=accounts,
        board=board,
        balancer=balancer,
        catalog=catalog,
        watch=watch,
        upstream=upstream,
        cache=cache,
        pipeline=pipeline,
        models=ModelList(catalog),
        health=Health(accounts=accounts, catalog=catalog, watch=watch),
        journal=Journal(recorder),
        closers=[closer for closer in (http, redis) if closer is not None],
    )


def _accounts(settings: Settings) -> tuple[dict[str, Account], Mapping[str, TokenProvider]]:
    tokens = {account.name: TokenProvider(account.credential) for account in settings.sub_accounts}
    accounts = {
        account.name: Account(
            name=account.name,
            resource_group=account.options.resource_group,
            tenant_id=account.credential.tenant_id,
            tokens=tokens[account.name],
        )
        for account in settings.sub_accounts
    }
    return accounts, tokens


def _keys(settings: Settings) -> Keys:
    callers = {
        key.digest: Caller(
            name=key.name, id=key.digest, models=key.models, requests_per_minute=key.requests_per_minute
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
