"""Probes and metrics: /health, /health/live, /health/ready, /metrics; and what clients send unasked."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from sanic import Blueprint, HTTPResponse, Request

from handlers.plain import document
from handlers.serving import services_of
from services import metrics

bp = Blueprint("health")

_UNREADY = frozenset({"unavailable", "draining"})


@bp.get("/", ctx_public=True)
async def root(request: Request) -> HTTPResponse:
    """Say what this is.

    openapi:
    ---
    summary: What this is, and where to look; HEAD answers probes
    """
    return document(
        request, {"name": "aicore-gateway", "docs": "/docs", "health": "/health", "models": "/v1/models"}
    )


@bp.get("/health/live", ctx_public=True)
async def live(request: Request) -> HTTPResponse:
    """Say that the process answers.

    openapi:
    ---
    summary: Alive; says nothing about SAP AI Core
    """
    return document(request, {"status": "alive"})


@bp.get("/health/ready", ctx_public=True)
async def ready(request: Request) -> HTTPResponse:
    """Say whether requests can be served: a usable token and a running deployment for at least one model.

    openapi:
    ---
    summary: 200 if models can be served, 503 if none can; `unserved` and `failing` count what does not work
    responses:
      '200': {description: ready, or degraded where some models cannot be served}
      '503': {description: no model can be served, or the gateway is about to stop}
    """
    report = await services_of(request).health.report()
    body = {name: report[name] for name in ("status", "models", "failing")}
    body["unserved"] = len(report["unserved"])
    return document(request, body, status=503 if report["status"] in _UNREADY else 200)


@bp.get("/health", ctx_public=True)
async def health(request: Request) -> HTTPResponse:
    """Say how things are, without names: those are for holders of a key, at /health/details.

    openapi:
    ---
    summary: The state in short, cached for a second
    """
    report = await services_of(request).health.report()
    return document(request, {name: report[name] for name in ("status", "models", "uptime_seconds")})


@bp.get("/health/details")
async def details(request: Request) -> HTTPResponse:
    """Say how things are, sub-account by sub-account.

    openapi:
    ---
    summary: Tokens, discovery and what cannot be served; wants a key
    """
    return document(request, await services_of(request).health.report())


@bp.post("/api/event_logging/batch")
async def events(request: Request) -> HTTPResponse:
    """Take Claude Code's telemetry, which goes where its requests go, and forget it.

    openapi:
    ---
    summary: Telemetry of Claude Code; accepted and thrown away
    """
    return document(request, {"status": "success"})


@bp.get("/metrics")
async def prometheus(request: Request) -> HTTPResponse:
    """Give the metrics of all workers.

    openapi:
    ---
    summary: Prometheus metrics; wants a key
    """
    return HTTPResponse(metrics.render(), content_type=CONTENT_TYPE_LATEST)
