"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

from urllib.parse import unquote

from sanic import Blueprint, HTTPResponse, Request

from handlers.plain import document
from handlers.serving import services_of

bp = Blueprint("models")


@bp.get("/v1/models", name="list")
@bp.get("/models", name="list_short")
async def list_models(request: Request) -> HTTPResponse:
    """List the models that this key may use.

    openapi:
    ---
    summary: The models that can be asked for, with context length and capabilities where known
    """
    return document(request, await services_of(request).models.all(request.ctx.caller))


@bp.get("/v1/models/<model:path>", name="one")
@bp.get("/models/<model:path>", name="one_short")
async def one_model(request: Request, model: str) -> HTTPResponse:
    """Describe one model, by any of its names.

    openapi:
    ---
    summary: One model
    """
    return document(request, services_of(request).models.one(unquote(model), request.ctx.caller))
