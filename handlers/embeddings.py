"""POST /v1/embeddings, and its Azure URL form."""

from __future__ import annotations

from sanic import Blueprint, HTTPResponse, Request

from handlers.serving import ask_of, receive, serve
from services.translation import embeddings

bp = Blueprint("embeddings")


@bp.post("/v1/embeddings", stream=True, name="create")
@bp.post("/embeddings", stream=True, name="create_short")
async def create(request: Request) -> HTTPResponse | None:
    """Embed texts or token arrays.

    openapi:
    ---
    summary: Embeddings of one text or many
    requestBody:
      required: true
      content:
        application/json:
          schema:
            type: object
            required: [model, input]
            properties:
              model: {type: string, example: text-embedding-3-small}
              input: {description: a text, a list of texts, a list of tokens, or a list of token lists}
              dimensions: {type: integer}
              encoding_format: {type: string, enum: [float, base64]}
    responses:
      '200': {description: The vectors in the order of the input}
    """
    return await _create(request, model=None)


@bp.post("/openai/deployments/<model:str>/embeddings", stream=True)
async def create_at_deployment(request: Request, model: str) -> HTTPResponse | None:
    """Embed texts, Azure's way: the model is in the path.

    openapi:
    ---
    summary: Embeddings in Azure's URL form; `api-version` is accepted and not needed
    """
    return await _create(request, model=model)


async def _create(request: Request, *, model: str | None) -> HTTPResponse | None:
    body, call = await receive(request, surface="embeddings")
    return await serve(request, ask_of(request, body, call, embeddings.prepare, model=model))
