"""POST /v1/completions: the legacy form, answered by chat models."""

from __future__ import annotations

from sanic import Blueprint, HTTPResponse, Request

from handlers.serving import take

bp = Blueprint("completions")


@bp.post("/v1/completions", stream=True, name="create")
@bp.post("/completions", stream=True, name="create_short")
async def create(request: Request) -> HTTPResponse | None:
    """Complete a prompt.

    openapi:
    ---
    summary: Legacy completion of one prompt, whole or streamed, from any chat model
    requestBody:
      required: true
      content:
        application/json:
          schema:
            type: object
            required: [model, prompt]
            properties:
              model: {type: string, example: gpt-5}
              prompt: {type: string}
              stream: {type: boolean, default: false}
    """
    return await take(request, surface="completions")
