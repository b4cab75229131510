"""GET /v1/models and /v1/models/{id}, in the shape that the client reads."""

from __future__ import annotations

from urllib.parse import unquote

from sanic import Blueprint, HTTPResponse, Request

from handlers.plain import document
from handlers.serving import services_of
from services.listing import ANTHROPIC, GEMINI, OPENAI, Shape

bp = Blueprint("models")


# What only one vendor's clients send → the shape they read; OpenAI's for all others.
_SHAPES = (("anthropic-version", ANTHROPIC), ("x-goog-api-client", GEMINI), ("x-goog-api-key", GEMINI))


def _shape(request: Request) -> Shape:
    return next((shape for name, shape in _SHAPES if name in request.headers), OPENAI)


@bp.get("/v1/models", name="list")
@bp.get("/models", name="list_short")
@bp.get("/anthropic/v1/models", name="list_anthropic", ctx_surface="messages")
async def list_models(request: Request) -> HTTPResponse:
    """List the models that this key may use.

    openapi:
    ---
    summary: The models that can be asked for, with context length and capabilities where known
    """
    return document(request, await services_of(request).models.all(request.ctx.caller, _shape(request)))


@bp.get("/v1/models/<model:path>", name="one")
@bp.get("/models/<model:path>", name="one_short")
@bp.get("/anthropic/v1/models/<model:path>", name="one_anthropic", ctx_surface="messages")
async def one_model(request: Request, model: str) -> HTTPResponse:
    """Describe one model, by any of its names.

    openapi:
    ---
    summary: One model
    """
    models = services_of(request).models
    return document(request, models.one(unquote(model), request.ctx.caller, _shape(request)))
