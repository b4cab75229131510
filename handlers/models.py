"""GET /v1/models and /v1/models/{id}, in OpenAI's shape, or in Anthropic's for its clients."""

from __future__ import annotations

from urllib.parse import unquote

from sanic import Blueprint, HTTPResponse, Request

from handlers.plain import document
from handlers.serving import services_of

bp = Blueprint("models")


def _is_anthropic(request: Request) -> bool:
    """Whether an Anthropic client asks: they all send this head field, nobody else does."""
    return "anthropic-version" in request.headers


@bp.get("/v1/models", name="list")
@bp.get("/models", name="list_short")
@bp.get("/anthropic/v1/models", name="list_anthropic", ctx_surface="messages")
async def list_models(request: Request) -> HTTPResponse:
    """List the models that this key may use.

    openapi:
    ---
    summary: The models that can be asked for, with context length and capabilities where known
    """
    models = services_of(request).models
    if _is_anthropic(request):
        return document(request, await models.anthropic(request.ctx.caller))
    return document(request, await models.all(request.ctx.caller))


@bp.get("/v1/models/<model:path>", name="one")
@bp.get("/models/<model:path>", name="one_short")
@bp.get("/anthropic/v1/models/<model:path>", name="one_anthropic", ctx_surface="messages")
async def one_model(request: Request, model: str) -> HTTPResponse:
    """Describe one model, by any of its names.

    openapi:
    ---
    summary: One model
    """
    models, name = services_of(request).models, unquote(model)
    if _is_anthropic(request):
        return document(request, models.anthropic_one(name, request.ctx.caller))
    return document(request, models.one(name, request.ctx.caller))
