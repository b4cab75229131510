"""Glue: routes, errors, documentation and the worker's services become an application. No I/O here."""

from __future__ import annotations

import gc
import os
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import swagger_ui_bundle
from sanic import Sanic
from sanic.config import Config
from sanic.response import BaseHTTPResponse
from sanic_ext import Extend
from sanic_ext.extensions.http.extension import HTTPExtension
from sanic_ext.extensions.openapi.extension import OpenAPIExtension

from handlers import routes
from handlers.auth import authenticate, open_documents
from handlers.errors import render
from handlers.wire import MAX_HEAD, CallerRequest
from server import logs
from server.config import is_loopback
from server.drain import LAST_SECONDS, Drain
from server.reviving import revive_workers
from server.settings import Settings
from server.stopping import stop_cleanly
from server.wiring import build_services

log = structlog.get_logger()

NAME = "aicore-gateway"
VERSION = "0.1.0"
_ALLOW_HEADERS = "access-control-allow-headers"


class GatewayConfig(Config):
    """Sanic's settings, from ours. The environment has no say: `server.config` reads it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(env_prefix="")
        self.ACCESS_LOG = False  # the journal writes one line a request
        self.AUTO_EXTEND = False
        self.FALLBACK_ERROR_FORMAT = "json"
        self.REQUEST_MAX_SIZE = settings.limits.body_bytes
        self.REQUEST_MAX_HEADER_SIZE = MAX_HEAD
        self.REQUEST_BUFFER_SIZE = 1024 * 1024
        self.REQUEST_TIMEOUT = 120
        self.RESPONSE_TIMEOUT = int(_longest_silence(settings)) + 60
        self.KEEP_ALIVE_TIMEOUT = 120  # longer than nginx keeps its idle connections
        self.GRACEFUL_SHUTDOWN_TIMEOUT = settings.drain_seconds + LAST_SECONDS
        self.OAS_URL_PREFIX = "/docs"
        self.OAS_UI_DEFAULT = "swagger"
        self.OAS_UI_REDOC = False
        self.OAS_UI_SWAGGER_HTML_TITLE = NAME
        self.OAS_PATH_TO_SWAGGER_HTML = str(Path(__file__).with_name("docs.html"))
        self.API_TITLE = NAME
        self.API_VERSION = VERSION
        self.CORS_ORIGINS = "*" if "*" in settings.cors.origins else ",".join(settings.cors.origins)
        self.CORS_ALWAYS_SEND = False
        self.CORS_SEND_WILDCARD = True
        self.CORS_MAX_AGE = 600
        self.CORS_EXPOSE_HEADERS = "*"


def _longest_silence(settings: Settings) -> float:
    """Return how long a caller may have to wait for a byte: every model asked may use up its time limits.

    The attempts at one share them; after its fallbacks a model may be asked once more.
    """
    general, own = settings.timeouts, [model.timeouts for model in settings.models.values()]
    limits = [general.first_byte, general.stall, general.total]
    limits += [limit for one in own for limit in (one.first_byte, one.stall, one.total) if limit]
    fallbacks = max((len(model.fallbacks) for model in settings.models.values()), default=0)
    return max(settings.routing.attempts, 2 + fallbacks) * max(limits) + settings.routing.queue_seconds


def build_app(settings: Settings) -> Sanic[Any, Any]:
    """Return the application; each worker makes its services when it starts."""
    app: Sanic[Any, Any] = Sanic(
        NAME,
        config=GatewayConfig(settings),
        log_config=logs.sanic_logging(),
        request_class=CallerRequest,
    )
    app.blueprint(routes)
    assets = Path(swagger_ui_bundle.swagger_ui_path)
    app.static("/docs/assets", assets, name="assets")
    app.register_middleware(_allow_authorization, "response")  # runs after those that are registered later
    Extend(app, built_in_extensions=False, extensions=[HTTPExtension, OpenAPIExtension])
    app.error_handler.add(Exception, render)
    app.on_request(authenticate)
    refuse_strangers = partial(_refuse_strangers, settings=settings)
    app.main_process_start(refuse_strangers)
    app.before_server_start(refuse_strangers)  # a single process has no main process
    drain = Drain(seconds=settings.drain_seconds, lead=settings.drain_lead_seconds)
    longest = settings.drain_lead_seconds + settings.drain_seconds + LAST_SECONDS
    app.main_process_ready(partial(stop_cleanly, seconds=longest))
    app.main_process_ready(revive_workers)

    @app.before_server_start
    async def open_services(app: Sanic[Any, Any]) -> None:
        logs.setup(settings.log_level)
        app.ctx.services = build_services(settings)
        await app.ctx.services.open()
        _quiet_collector()

    @app.after_server_start
    async def open_what_is_public(app: Sanic[Any, Any]) -> None:
        open_documents(app)  # only now are the routes there that sanic-ext makes
        if hasattr(app, "multiplexer"):  # there is a main process
            drain.heed_signals(app)
        log.info("worker_ready", pid=os.getpid())

    app.before_server_stop(drain.begin)

    @app.after_server_stop
    async def close_services(app: Sanic[Any, Any]) -> None:
        await app.ctx.services.close()

    return app


async def _allow_authorization(request: Any, response: BaseHTTPResponse) -> None:
    """Name the header in preflights: by the Fetch standard `*` is every header but this one."""
    if response.headers.get(_ALLOW_HEADERS) == "*":
        response.headers[_ALLOW_HEADERS] = "*, Authorization"


async def _refuse_strangers(app: Sanic[Any, Any], *, settings: Settings) -> None:
    """End if there are no client keys and another machine can call: Sanic's own command line has a --host.

    Our configuration has been checked already, with the address that it names.
    """
    if settings.client_keys or settings.allow_anonymous:
        return
    for server in app.state.server_info:
        host = server.settings.get("host")
        if host and not server.settings.get("unix") and not is_loopback(host):
            raise SystemExit(f"there are no client keys, and {host} can be reached from other machines")


def _quiet_collector() -> None:
    """Keep the garbage collector off what lives as long as the worker, and let it run seldom.

    At the default thresholds it takes a fifteenth of the time: every request makes hundreds of short-lived
    objects, and they go by reference counting alone. What is left to it are a few frames of Converse that
    only Python's own parser reads, and flaws of ours not found yet. What it meets in use waits for the third
    generation, which is small, all that was there at the start being out of it.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # else the frozen count as survivors, and the third generation waits for a quarter as many
    gc.set_threshold(10_000, 5, 5)
