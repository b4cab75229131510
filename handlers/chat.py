"""POST /v1/chat/completions, and its Azure URL form."""

from __future__ import annotations

from sanic import Blueprint, HTTPResponse, Request

from handlers.serving import take

bp = Blueprint("chat")


@bp.post("/v1/chat/completions", stream=True, name="create")
@bp.post("/chat/completions", stream=True, name="create_short")
async def create(request: Request) -> HTTPResponse | None:
    """Create a chat completion.

    openapi:
    ---
    summary: Chat completion, whole or streamed
    requestBody:
      required: true
      content:
        application/json:
          schema:
            type: object
            required: [model, messages]
            properties:
              model: {type: string, example: gpt-5}
              messages: {type: array, items: {type: object}}
              stream: {type: boolean, default: false}
    responses:
      '200': {description: A chat completion, or its chunks as server-sent events}
      '400': {description: A field is missing, wrong, or cannot be honoured; error.param names it}
      '401': {description: No valid key}
      '404': {description: No such model}
    """
    return await _create(request, model=None)


@bp.post("/openai/deployments/<model:str>/chat/completions", stream=True)
async def create_at_deployment(request: Request, model: str) -> HTTPResponse | None:
    """Create a chat completion, Azure's way: the model is in the path.

    openapi:
    ---
    summary: Chat completion in Azure's URL form; `api-version` is accepted and not needed
    """
    return await _create(request, model=model)


async def _create(request: Request, *, model: str | None) -> HTTPResponse | None:
    return await take(request, surface="chat", model=model)
