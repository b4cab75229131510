"""What a request's head says of how it wants to be served: how long it waits, and whether it is held back."""

from __future__ import annotations

import math

from sanic import Request

from services.asking import Ask
from services.errors import BadRequest

_TIMEOUT = "x-request-timeout"
_HOLD = "x-aicore-hold"
_SDK_TIMEOUTS = ("x-stainless-timeout", "x-stainless-read-timeout", "x-server-timeout")
"""What the SDKs of OpenAI, Anthropic and Google say by themselves (seconds); what is no number is ignored."""

_WISHES = frozenset((_TIMEOUT, _HOLD, *_SDK_TIMEOUTS))
_SWITCH = {"true": True, "1": True, "false": False, "0": False}


def read_wishes(request: Request, ask: Ask) -> None:
    """Note them in the request. Raises BadRequest naming a field of the head that makes no sense."""
    headers = request.headers
    if _WISHES.isdisjoint(headers):  # Sanic has made the names lower-case
        return
    seconds = [limit for name in _SDK_TIMEOUTS if (limit := _seconds(headers.get(name)))]
    if (given := headers.get(_TIMEOUT)) is not None:
        own = _seconds(given)
        if own is None:
            raise BadRequest(f"'{_TIMEOUT}' must be a number of seconds above 0", param=_TIMEOUT)
        seconds.append(own)
    if seconds:
        ask.deadline = ask.call.started + min(seconds)
    if (held := headers.get(_HOLD)) is not None:
        if held.lower() not in _SWITCH:
            raise BadRequest(f"'{_HOLD}' must be true or false", param=_HOLD)
        ask.hold = _SWITCH[held.lower()]


def _seconds(value: str | None) -> float | None:
    """Return a positive number, None for anything else."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None
