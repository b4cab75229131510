"""POST /v1/embeddings, and its Azure URL form."""

from __future__ import annotations

import time

from sanic import Blueprint, HTTPResponse, Request

from handlers.serving import begin, read_fields, serve
from services.asking import Ask
from services.translation import embeddings, fields

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
    started = time.perf_counter()
    body, size = await read_fields(request)
    ask = Ask(
        model=model or fields.required(body, "model", str),
        body=body,
        prepare=embeddings.prepare,
        call=begin(request, surface="embeddings", body_bytes=size, started=started),
        idempotency_key=request.headers.get("idempotency-key"),
    )
    return await serve(request, ask)
