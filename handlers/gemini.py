"""Gemini's API: generateContent, streamGenerateContent, countTokens, and its model list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote

from sanic import Blueprint, HTTPResponse, Request

from handlers.plain import document
from handlers.serving import read_fields, services_of, take
from services.errors import NotFound
from services.listing import GEMINI
from services.translation import fields
from services.translation.fields import Fields
from services.translation.translate import count_tokens

bp = Blueprint("gemini")


@bp.post("/v1beta/models/<model:path>", stream=True, name="call", ctx_surface="gemini")
@bp.post("/v1/models/<model:path>", stream=True, name="call_v1", ctx_surface="gemini")
async def call_model(request: Request, model: str) -> HTTPResponse | None:
    """Call a model, Google's way: the model and the method are in the path.

    openapi:
    ---
    summary: Gemini's generateContent, streamGenerateContent (server-sent events) and countTokens
    """
    name, _, method = unquote(model).rpartition(":")
    serve = _METHODS.get(method)
    if serve is None or not name:
        offers = ", ".join(_METHODS)
        raise NotFound(f"there is no method '{method}'; models have: {offers}")
    return await serve(request, name)


@bp.get("/v1beta/models", ctx_surface="gemini")
async def list_models(request: Request) -> HTTPResponse:
    """List the models in Gemini's shape.

    openapi:
    ---
    summary: The models that can be asked for, in Gemini's shape
    """
    return document(request, await services_of(request).models.all(request.ctx.caller, GEMINI))


@bp.get("/v1beta/models/<model:path>", ctx_surface="gemini")
async def one_model(request: Request, model: str) -> HTTPResponse:
    """Describe one model in Gemini's shape.

    openapi:
    ---
    summary: One model in Gemini's shape
    """
    return document(request, services_of(request).models.one(unquote(model), request.ctx.caller, GEMINI))


async def _generate(request: Request, model: str) -> HTTPResponse | None:
    return await take(request, surface="gemini", model=model, stream=False)


async def _stream(request: Request, model: str) -> HTTPResponse | None:
    return await take(request, surface="gemini", model=model, stream=True)


async def _count(request: Request, model: str) -> HTTPResponse:
    body, _ = await read_fields(request)
    body = fields.read(body, "generateContentRequest", Fields) or body  # a caller may wrap it
    services_of(request).models.one(model, request.ctx.caller)
    return document(request, {"totalTokens": count_tokens(body, surface="gemini")})


_METHODS: Mapping[str, Callable[[Request, str], Awaitable[HTTPResponse | None]]] = {
    "generateContent": _generate,
    "streamGenerateContent": _stream,
    "countTokens": _count,
}
