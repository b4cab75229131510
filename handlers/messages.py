"""POST /v1/messages and /v1/messages/count_tokens, also under /anthropic; and Bedrock's URL form."""

from __future__ import annotations

from urllib.parse import unquote

from sanic import Blueprint, HTTPResponse, Request

from handlers.plain import document
from handlers.serving import read_fields, services_of, take
from services.errors import BadRequest
from services.translation import fields
from services.translation.callers.bedrock import CONTENT_TYPE
from services.translation.fields import Fields
from services.translation.translate import count_tokens

bp = Blueprint("messages")

_LONG_CONTEXT = "[1m]"
_LONG_CONTEXT_BETA = "context-1m-2025-08-07"


@bp.post("/v1/messages", stream=True, name="create", ctx_surface="messages")
@bp.post("/messages", stream=True, name="create_short", ctx_surface="messages")
@bp.post("/anthropic/v1/messages", stream=True, name="create_anthropic", ctx_surface="messages")
async def create(request: Request) -> HTTPResponse | None:
    """Create a message.

    openapi:
    ---
    summary: Anthropic's Messages, whole or streamed, from any model
    requestBody:
      required: true
      content:
        application/json:
          schema:
            type: object
            required: [model, max_tokens, messages]
            properties:
              model: {type: string, example: anthropic--claude-4.6-sonnet}
              max_tokens: {type: integer, example: 1024}
              messages: {type: array, items: {type: object}}
              stream: {type: boolean, default: false}
    responses:
      '200': {description: A message, or its events}
      '400': {description: A field is missing, wrong, or cannot be honoured; the text names it}
    """
    return await take(request, surface="messages", edit=_with_betas)


@bp.post("/v1/messages/count_tokens", stream=True, name="count", ctx_surface="messages")
@bp.post("/messages/count_tokens", stream=True, name="count_short", ctx_surface="messages")
@bp.post("/anthropic/v1/messages/count_tokens", stream=True, name="count_anthropic", ctx_surface="messages")
async def count(request: Request) -> HTTPResponse:
    """Estimate a message's input tokens.

    openapi:
    ---
    summary: Input tokens of a message, estimated here; SAP AI Core has no such endpoint
    """
    body, _ = await read_fields(request)
    name = fields.required(body, "model", str)
    services_of(request).models.one(name, request.ctx.caller)  # a wrong name is told here as well
    body["max_tokens"] = fields.raw(1)  # not asked of this endpoint
    return document(request, {"input_tokens": count_tokens(body, surface="messages")})


@bp.post("/model/<model:str>/invoke", stream=True, ctx_surface="bedrock")
async def invoke(request: Request, model: str) -> HTTPResponse | None:
    """Create a message, Bedrock's way: the model is in the path.

    openapi:
    ---
    summary: Anthropic's Messages in Bedrock's URL form
    """
    return await take(request, surface="bedrock", model=unquote(model), stream=False)


@bp.post("/model/<model:str>/invoke-with-response-stream", stream=True, ctx_surface="bedrock")
async def invoke_streaming(request: Request, model: str) -> HTTPResponse | None:
    """Stream a message, Bedrock's way.

    openapi:
    ---
    summary: Anthropic's Messages in Bedrock's URL form, as an AWS event stream
    """
    return await take(
        request, surface="bedrock", model=unquote(model), stream=True, content_type=CONTENT_TYPE
    )


def _with_betas(request: Request, body: Fields) -> None:
    """Put the head's beta flags into the body, where Bedrock wants them (wire §5.2). Raises BadRequest."""
    asked = [flag.strip() for flag in request.headers.get("anthropic-beta", "").split(",") if flag.strip()]
    if (model := fields.read(body, "model", str)) and model.endswith(_LONG_CONTEXT):
        asked.append(_LONG_CONTEXT_BETA)  # Claude Code's mark for the long context window
    if not asked:
        return
    given = fields.read(body, "anthropic_beta", list) or []
    if not all(isinstance(flag, str) for flag in given):
        raise BadRequest("'anthropic_beta' must be an array of strings", param="anthropic_beta")
    body["anthropic_beta"] = fields.raw(list(dict.fromkeys((*given, *asked))))
