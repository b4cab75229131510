"""Error answers of SAP AI Core and of the models behind it, read from any of their shapes (wire §6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.errors import (
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamTimeout,
)
from services.translation.fields import UNREADABLE

_MAX_TEXT = 2_000
_LIMIT_MARKS = frozenset(
    # wire §6.4, as error codes and types
    {
        "429",
        "too_many_requests",
        "rate_limit_exceeded",
        "rate_limit_error",
        "overloaded_error",
        "throttling_exception",
        "throttlingexception",
    }
)


_FILTER = "Filtering Module"  # wire §6.3; what it refuses, it refuses again


_MODELS_OWN = frozenset({"invalid_request_error", "not_found_error"})
"""Error types that only models' own APIs have; the AI API's error objects have none (wire §6.1)."""


class Fault(msgspec.Struct, frozen=True):
    """The upstream's own words about a failure."""

    message: str
    code: str = ""
    kind: str = ""
    param: str | None = None
    extra: Mapping[str, Any] = {}
    """Further members worth passing on, such as the content filter's verdict."""
    location: str = ""
    """The module of orchestration that failed; empty for what did not come from orchestration."""
    retry_after: float | None = None
    """Seconds, where the body says it: orchestration puts the model's headers there (wire §6.2)."""


# wire §6.2: status -> (class, status for the caller). Other 4xx are refusals, other 5xx failures.
_BY_STATUS: Mapping[int, tuple[type[UpstreamError], int]] = {
    401: (UpstreamDenied, 502),
    403: (UpstreamDenied, 502),
    404: (UpstreamMissing, 404),
    408: (UpstreamTimeout, 504),
    412: (UpstreamRefused, 400),
    415: (UpstreamRefused, 400),
    422: (UpstreamRefused, 400),
    424: (UpstreamFailed, 503),
    429: (UpstreamLimited, 429),
    500: (UpstreamFailed, 500),
    502: (UpstreamFailed, 502),
    503: (UpstreamFailed, 503),
    504: (UpstreamTimeout, 504),
    529: (UpstreamFailed, 503),
}

_ADVICE: Mapping[int, str] = {
    401: "SAP AI Core refused the gateway's token; run `aicore-gateway check`",
    403: "SAP AI Core refused access: usually a wrong resource group or a missing entitlement; "
    "run `aicore-gateway check`",
    404: "SAP AI Core does not know this deployment, or it is not routable yet; try again in a minute",
}


def error_for(status: int, body: bytes, *, retry_after: float | None = None) -> UpstreamError:
    """Return the error for an answer with a status of 400 or more. `retry_after` in seconds."""
    fault = read_fault(body)
    if fault.location:
        return _orchestration_error(status, fault, retry_after)
    if status == 404 and fault.kind in _MODELS_OWN:  # the deployment works: something behind it is missing
        return _refused(status, fault)
    kind, shown = _BY_STATUS.get(status, _other(status))
    public = _ADVICE.get(status) or fault.message or f"the upstream answered {status} without a reason"
    error = kind(
        f"upstream answered {status}: {fault.message}", public=public, status=shown, retry_after=retry_after
    )
    if status not in _ADVICE:  # there the words are ours
        _take_words(error, fault)
    return error


def _refused(status: int, fault: Fault) -> UpstreamError:
    error = UpstreamRefused(
        f"upstream answered {status}: {fault.message}", public=fault.message, status=status, code="not_found"
    )
    _take_words(error, fault)
    return error


def _orchestration_error(status: int, fault: Fault, retry_after: float | None = None) -> UpstreamError:
    """Return the error for what one of orchestration's modules reports: its deployment is there and works."""
    kind, shown = _BY_STATUS.get(status, _other(status))
    if status == 404:  # a template or a configuration that does not exist
        kind = UpstreamRefused
    wait = fault.retry_after if retry_after is None else retry_after
    message = fault.message or f"{fault.location} failed without a reason"
    error = kind(
        f"upstream answered {status} ({fault.location}): {fault.message}",
        public=message,
        status=shown,
        retry_after=wait,
    )
    _take_words(error, fault)
    if status == 400 and fault.location.startswith(_FILTER):
        error.code = "content_filter"
    return error


def error_inside(body: bytes | msgspec.Raw) -> UpstreamError:
    """Return the error for an error object that came inside a 200 (wire §6.4)."""
    fault = read_fault(bytes(body))
    if fault.location and fault.code.isdigit() and int(fault.code) >= 400:
        return _orchestration_error(int(fault.code), fault)
    limited = bool({fault.code.lower(), fault.kind.lower()} & _LIMIT_MARKS)
    kind = UpstreamLimited if limited else UpstreamFailed
    message = fault.message or "the upstream reported an error without a reason"
    error = kind(f"upstream error inside a 200: {message}", public=message)
    _take_words(error, fault)
    return error


def read_fault(body: bytes) -> Fault:
    """Read an error body: any of the JSON shapes of wire §6.1, or plain text. Never raises."""
    try:
        document = msgspec.json.decode(body)
    except UNREADABLE:
        return Fault(message=_plain(body))
    if isinstance(document, str):  # Cohere's, at the end of a stream
        return Fault(message=_cut(document))
    if isinstance(document, list) and document:  # Vertex wraps it; orchestration lists its fallbacks
        document = document[-1]
    if not isinstance(document, dict):
        return Fault(message=_plain(body))
    inner = document.get("error") or document.get("errors") or document
    if isinstance(inner, list) and inner:
        inner = inner[-1]
    if isinstance(inner, str):  # XSUAA's form
        message = document.get("error_description") or document.get("message") or inner
        return Fault(message=_cut(str(message)), code=inner)
    return _fault_of(inner) if isinstance(inner, dict) else Fault(message=_plain(body))


def _fault_of(inner: dict[str, Any]) -> Fault:
    param = inner.get("param")
    location = inner.get("location")
    extra: dict[str, Any] = {name: inner[name] for name in ("innererror", "inner_error") if name in inner}
    if isinstance(location, str) and location:
        extra |= {"location": location} | _verdicts(inner.get("intermediate_results"))
    return Fault(
        message=_cut(str(inner.get("message") or "")),
        code=_word(inner.get("code")),
        kind=_word(inner.get("type") or inner.get("status")),
        param=param if isinstance(param, str) else None,
        extra=extra,
        location=location if isinstance(location, str) else "",
        retry_after=_wait(inner.get("headers")),
    )


def _verdicts(results: object) -> dict[str, Any]:
    """Return what orchestration's filters found; other results hold the prompt."""
    if not isinstance(results, dict):
        return {}
    return {name: results[name] for name in ("input_filtering", "output_filtering") if name in results}


def _wait(headers: object) -> float | None:
    """Return the seconds of the header that says when to come back."""
    if not isinstance(headers, dict):
        return None
    named = {str(name).lower(): str(value).strip() for name, value in headers.items()}
    wait = named.get("retry-after") or named.get("x-retry-after") or ""
    return float(wait) if wait.isdecimal() else None


def _take_words(error: UpstreamError, fault: Fault) -> None:
    error.param = fault.param
    error.extra = fault.extra
    if fault.code and not fault.code.isdigit():
        error.code = fault.code


def _other(status: int) -> tuple[type[UpstreamError], int]:
    return (UpstreamFailed, 502) if status >= 500 else (UpstreamRefused, status)


def _plain(body: bytes) -> str:
    text = body.decode("utf-8", errors="replace").strip()
    if text.startswith("<"):  # an HTML page of some proxy on the way says nothing to a caller
        return "the upstream answered with an HTML page instead of JSON"
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " …"


def _word(value: object) -> str:
    return "" if value is None else str(value)
