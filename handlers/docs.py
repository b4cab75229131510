"""/openapi.json beside the /docs that sanic-ext serves. Everything loads without internet."""

from __future__ import annotations

from sanic import Blueprint, HTTPResponse, Request
from sanic_ext.extensions.openapi import openapi
from sanic_ext.extensions.openapi.builders import SpecificationBuilder

from handlers.plain import document

bp = Blueprint("documents")


@bp.get("/openapi.json", ctx_public=True)
@openapi.exclude()
async def specification(request: Request) -> HTTPResponse:
    """Give the OpenAPI document that is made from the routes."""
    made = SpecificationBuilder().build(request.app).serialize()  # type: ignore[no-untyped-call]  # sanic-ext leaves it untyped
    return document(request, made)
