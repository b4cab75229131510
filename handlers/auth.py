"""The caller's key → Caller, before any handler and before the body is read.

Every route wants a key unless it is marked `ctx_public=True` (`open_documents` marks those that we do not
write). Keys are compared whole and by their SHA-256 (trap 50); a wrong one gets one generic answer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from sanic import Request, Sanic

from handlers.wire import is_unread
from services.calls import Caller
from services.container import Keys
from services.errors import Unauthorized

_KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")
_MAX_KEY_LENGTH = 4096
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LIBRARY_ROUTES = frozenset({"openapi", "assets"})


class _Headers(Protocol):
    def get(self, name: str, /) -> str | None: ...


def authenticate(request: Request) -> None:
    """Put the caller on `request.ctx`. Raises Unauthorized.

    What could not be read has no key to be found, and is answered with what is wrong with it.
    """
    if (
        request.method == "OPTIONS"
        or (request.route is not None and getattr(request.route.ctx, "public", False))
        or is_unread(request)
    ):
        return
    request.ctx.caller = identify(request.headers, request.app.ctx.services.keys)


def identify(headers: _Headers, keys: Keys) -> Caller:
    """Return who the head's key belongs to. Raises Unauthorized."""
    if keys.anonymous is not None:
        return keys.anonymous
    for key in _presented(headers):
        caller = _holder(key, keys.by_digest)
        if caller is not None:
            return caller
    raise Unauthorized(
        "no valid API key was given; send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'"
    )


def _presented(headers: _Headers) -> Iterator[str]:
    authorization = headers.get("authorization")
    if authorization:
        scheme, _, rest = authorization.partition(" ")
        yield rest.strip() if rest and scheme.lower() == "bearer" else authorization
    for name in _KEY_HEADERS:
        if value := headers.get(name):
            yield value


def _holder(key: str, by_digest: Mapping[bytes, Caller]) -> Caller | None:
    if len(key) > _MAX_KEY_LENGTH:
        return None
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    caller = by_digest.get(digest)
    return caller if caller is not None and hmac.compare_digest(caller.id, digest) else None


def open_documents(app: Sanic[Any, Any]) -> None:
    """Open the documentation, its assets, and the HEAD form of public routes: libraries made these routes."""
    public = {route.path for route in app.router.routes if getattr(route.ctx, "public", False)}
    for route in app.router.routes:
        probe = route.path in public and route.methods <= _SAFE_METHODS
        if probe or route.name.split(".")[1] in _LIBRARY_ROUTES:
            route.ctx.public = True
