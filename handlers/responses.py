"""POST /v1/responses, and what belongs to stored responses; also without /v1, and in Azure's URL forms."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from urllib.parse import unquote

from sanic import Blueprint, HTTPResponse, Request

from handlers.bodies import read_body
from handlers.serving import ask_of, begin, receive, serve, services_of, take
from services.asking import Ask, caller_tag
from services.calls import Caller
from services.errors import BadRequest, NotFound
from services.translation import fields, stored
from services.translation.fields import Fields
from services.translation.through import responses as through

SURFACE = "responses"
bp = Blueprint(SURFACE)

Handler = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]

_PREFIXES = {"v1": "/v1", "short": "", "azure": "/openai", "azure_v1": "/openai/v1"}


def _route(method: str, path: str = "") -> Callable[[Handler], Handler]:
    """Serve a path below `responses`, under every prefix that clients know."""

    def add(handler: Handler) -> Handler:
        for name, prefix in _PREFIXES.items():
            bp.add_route(
                handler,
                f"{prefix}/responses{path}",
                methods=[method],
                name=f"{handler.__name__}_{name}",
                stream=method == "POST",
                ctx_surface=SURFACE,
            )
        return handler

    return add


@_route("POST")
async def create(request: Request) -> HTTPResponse | None:
    """Create a response.

    openapi:
    ---
    summary: OpenAI's Responses, whole or streamed, from any model
    requestBody:
      required: true
      content:
        application/json:
          schema:
            type: object
            required: [model, input]
            properties:
              model: {type: string, example: gpt-5}
              input: {description: a text, or a list of items}
              stream: {type: boolean, default: false}
              previous_response_id: {type: string, description: GPT models only; the others store nothing}
    responses:
      '200': {description: A response, or its events}
      '400': {description: A field is missing, wrong, or cannot be honoured; error.param names it}
      '404': {description: No such model, or no such previous response}
    """
    return await take(request, surface=SURFACE, keeper=_keeper)


@_route("POST", "/compact")
async def compact(request: Request) -> HTTPResponse | None:
    """Make a conversation short.

    openapi:
    ---
    summary: A conversation as one item that only the model can read; GPT models only
    """
    body, call = await receive(request, surface=SURFACE)
    pinned = _keeper(body, call.caller)
    return await serve(request, ask_of(request, body, call, through.compact, pinned=pinned))


@_route("GET", "/<response_id:str>")
async def retrieve(request: Request, response_id: str) -> HTTPResponse | None:
    """Show a stored response.

    openapi:
    ---
    summary: A stored response, also while it is made in the background; whole only
    """
    if request.args.get("stream", "false") != "false":
        raise BadRequest(
            "'stream' cannot be honoured: a stored response comes whole; ask again until it is done",
            param="stream",
        )
    return await _keep(request, response_id, method="GET")


@_route("DELETE", "/<response_id:str>")
async def delete(request: Request, response_id: str) -> HTTPResponse | None:
    """Delete a stored response.

    openapi:
    ---
    summary: Delete a stored response
    """
    return await _keep(request, response_id, method="DELETE")


@_route("POST", "/<response_id:str>/cancel")
async def cancel(request: Request, response_id: str) -> HTTPResponse | None:
    """Cancel a response that is made in the background.

    openapi:
    ---
    summary: Cancel a response that is made in the background
    """
    await read_body(request, limit=services_of(request).body_limit)  # some clients send an empty object
    return await _keep(request, response_id, method="POST", operation="/cancel")


@_route("GET", "/<response_id:str>/input_items")
async def input_items(request: Request, response_id: str) -> HTTPResponse | None:
    """Say that there is no such list.

    openapi:
    ---
    summary: Not offered by SAP AI Core; always 404
    """
    raise NotFound("SAP AI Core does not list the input items of a response; keep what you sent")


def _keeper(body: Fields, caller: Caller) -> str:
    """Return the deployment that keeps the response to go on from; empty where any will do.

    An id that leads nowhere is not told here: what is wrong with it depends on the model.
    """
    given = fields.read(body, "previous_response_id", str)
    try:
        return stored.unseal(given, caller_tag(caller))[1] if given else ""
    except NotFound:
        return ""


async def _keep(
    request: Request, response_id: str, *, method: str, operation: str = ""
) -> HTTPResponse | None:
    """Ask the deployment that keeps a response about it. Raises NotFound."""
    call = begin(request, surface=SURFACE)
    response_id = unquote(response_id)
    _, origin = stored.unseal(response_id, caller_tag(call.caller))
    model = services_of(request).catalog.serving(origin, allowed=call.caller.may_use)
    if model is None:
        raise stored.missing(response_id)
    about = partial(
        through.keeping,
        response_id=response_id,
        method=method,
        operation=operation,
        dropped=tuple(name for name in request.args if name not in ("api-version", "stream")),
    )
    # No member of it goes up: it tells this request from others about other responses.
    body = {"response_id": fields.raw(response_id), "operation": fields.raw(f"{method} {operation}")}
    return await serve(request, Ask(model=model.name, body=body, prepare=about, call=call, pinned=origin))
