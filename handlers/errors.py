"""Any failure → an error answer in the caller's dialect, with the true status."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import structlog
from sanic import HTTPResponse, Request
from sanic.exceptions import SanicException

from handlers.ids import request_id
from handlers.wire import MAX_HEAD, is_unread
from services.errors import CallerLeft, GatewayError, settle
from services.translation.callers import envelopes

log = structlog.get_logger()

# status → (OpenAI's error type, code, what the caller reads)
_HTTP: Mapping[int, tuple[str, str, str]] = {
    400: ("invalid_request_error", "bad_request", "the HTTP request cannot be read"),
    404: ("invalid_request_error", "not_found", "there is no {method} {path}; /docs lists what there is"),
    405: ("invalid_request_error", "method_not_allowed", "{path} does not take {method}"),
    408: ("timeout_error", "request_timeout", "the request did not arrive in time"),
    413: ("invalid_request_error", "request_too_large", "the request is too large"),
    417: ("invalid_request_error", "expectation_failed", "this Expect header is not supported"),
    431: ("invalid_request_error", "headers_too_large", f"the request's head exceeds {MAX_HEAD} bytes"),
    503: ("api_error", "unavailable", "the gateway could not answer in time"),
}
_UNKNOWN = ("api_error", "internal_error", "the gateway failed; the log has the reason under this request id")


# Surface → its error object; the others have OpenAI's.
_ENVELOPES: Mapping[str, Callable[[GatewayError, str], bytes]] = {
    "messages": envelopes.anthropic_error,
    "gemini": envelopes.google_error,
    "bedrock": envelopes.bedrock_error,
}


def render(request: Request, exception: Exception) -> HTTPResponse:
    """Return the answer for whatever was raised before the first byte went out."""
    error = as_gateway_error(request, exception)
    if not getattr(request.ctx, "told", False):
        _tell(request, error)
    headers = {"x-request-id": request_id(request)}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if error.status == 405 and isinstance(exception, SanicException):
        headers |= {str(k): str(v) for k, v in exception.headers.items()}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    envelope = _ENVELOPES.get(_surface(request), envelopes.openai_error)
    settle(exception)
    return HTTPResponse(
        envelope(error, headers["x-request-id"]),
        status=error.status,
        headers=headers,
        content_type="application/json",
    )


def _surface(request: Request) -> str:
    """Return whose dialect the caller speaks: a path is a surface's with any method, or a broken body."""
    if request.route is not None:
        return str(getattr(request.route.ctx, "surface", ""))
    path = request.path.strip("/")
    found = (getattr(one.ctx, "surface", "") for one in request.app.router.routes if one.path == path)
    return next(filter(None, found), "")


def _tell(request: Request, error: GatewayError) -> None:
    """Log a request that never became a call: no key, nothing there, not readable."""
    log.info(
        "refused",
        request_id=request_id(request),
        method=request.method,
        path=request.path,
        status=error.status,
        code=error.code,
    )


def as_gateway_error(request: Request, exception: BaseException) -> GatewayError:
    """Return the failure as one of ours; the unforeseen is logged with its trace and told generically."""
    if isinstance(exception, GatewayError):
        return exception
    status = exception.status_code if isinstance(exception, SanicException) else 500
    if status == 413 and is_unread(request):  # Sanic says so of heads, too
        status = 431
    kind, code, text = _HTTP.get(status, _UNKNOWN)
    if status >= 500 and status != 503:
        log.error("unexpected_failure", request_id=request_id(request), exc_info=exception)
    public = text.format(method=request.method, path=request.path)
    error = GatewayError(str(exception), public=public, code=code, status=status)
    error.kind = kind
    return error


def outcome(request: Request, exception: BaseException) -> GatewayError:
    """Return what became of a request that ended with this: of a cancelled one, who cancelled it."""
    if isinstance(exception, Exception):
        return as_gateway_error(request, exception)
    reason = getattr(request.stream, "exception", None)
    if isinstance(reason, Exception):
        return as_gateway_error(request, reason)
    return CallerLeft("the caller hung up, or the worker stopped, before the answer was complete")
