"""The request id: the caller's if it is a sane one, else a new one."""

from __future__ import annotations

import random
import re

from sanic import Request

_SANE = re.compile(r"[\w.:-]{1,128}\Z", re.ASCII)


def request_id(request: Request) -> str:
    """Return the request's id, the same every time."""
    known: str | None = getattr(request.ctx, "request_id", None)
    if known is None:
        given = request.headers.get("x-request-id")
        known = request.ctx.request_id = given if given and _SANE.match(given) else new_id()
    return known


def new_id() -> str:
    """Return an id for a log line. Unique enough to find a request by; nothing is secret about it."""
    # The module's own generator: it is seeded anew in a forked worker, one of ours would not be.
    return f"{random.getrandbits(128):032x}"
