"""Error answers in each kind of client's own form. `error.public` is all that a caller may read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.errors import GatewayError

# wire §8.6
_ANTHROPIC_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_GOOGLE_STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}

_BEDROCK_EXCEPTIONS: Mapping[int, str] = {
    400: "validationException",
    401: "accessDeniedException",
    403: "accessDeniedException",
    404: "resourceNotFoundException",
    408: "modelTimeoutException",
    413: "validationException",
    429: "throttlingException",
    503: "serviceUnavailableException",
    504: "modelTimeoutException",
    529: "serviceUnavailableException",
}


def openai_error(error: GatewayError, request_id: str = "") -> bytes:
    """Return OpenAI's error object; the request id travels in the head."""
    inner: dict[str, Any] = {
        "message": error.public,
        "type": error.kind,
        "param": error.param,
        "code": error.code,
    }
    return msgspec.json.encode({"error": inner | dict(error.extra)})


def anthropic_error(error: GatewayError, request_id: str = "") -> bytes:
    """Return Anthropic's error object."""
    kind = _ANTHROPIC_TYPES.get(error.status, "api_error" if error.status >= 500 else _ANTHROPIC_TYPES[400])
    body: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": error.public}}
    if request_id:
        body["request_id"] = request_id
    return msgspec.json.encode(body)


def google_error(error: GatewayError, request_id: str = "") -> bytes:
    """Return Google's error object."""
    status = _GOOGLE_STATUSES.get(error.status, "INTERNAL" if error.status >= 500 else _GOOGLE_STATUSES[400])
    return msgspec.json.encode({"error": {"code": error.status, "message": error.public, "status": status}})


def bedrock_exception(error: GatewayError) -> str:
    """Return what AWS calls such a failure, as a member or header names it."""
    fallback = "internalServerException" if error.status >= 500 else _BEDROCK_EXCEPTIONS[400]
    return _BEDROCK_EXCEPTIONS.get(error.status, fallback)


def bedrock_error(error: GatewayError, request_id: str = "") -> bytes:
    """Return AWS's error object."""
    return msgspec.json.encode({"message": error.public})
