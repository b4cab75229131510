"""Answers that are not a model's: the model list, health, documents."""

from __future__ import annotations

import msgspec
from sanic import HTTPResponse, Request

from handlers.ids import request_id


def document(request: Request, content: object, *, status: int = 200) -> HTTPResponse:
    """Return a JSON document with the request's id."""
    return HTTPResponse(
        msgspec.json.encode(content),
        status=status,
        headers={"x-request-id": request_id(request)},
        content_type="application/json",
    )
