"""Error answers of SAP AI Core and of the models behind it, read from any of their shapes (wire §6)."""

from __future__ import annotations

import re
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
    UpstreamUnauthorized,
)
from services.translation.fields import UNREADABLE, Json

_MAX_TEXT = 2_000
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")
_WAITS: Mapping[str, float] = {"retry-after": 1, "x-retry-after": 1, "retry-after-ms": 0.001}
"""Header → what its number counts, in seconds."""

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
    401: (UpstreamUnauthorized, 502),
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

# The same, for what a working deployment says of something behind it: our token and its own URL were right.
_BEHIND: Mapping[int, tuple[type[UpstreamError], int]] = {
    **_BY_STATUS,
    401: (UpstreamFailed, 502),
    404: (UpstreamRefused, 404),
}

# The status that an error inside a 200 would have had, by its code or type: any vendor's, in lower case.
_WORDS: Mapping[int, tuple[str, ...]] = {
    400: (
        "invalid_request_error", "invalid_request", "bad_request",
        "content_filter", "content_policy_violation", "responsibleaipolicyviolation",  # wire §6.3
        "context_length_exceeded", "string_above_max_length",
        "invalid_argument", "failed_precondition", "out_of_range",  # Google's
        "validationexception",  # AWS's
        # of a Responses object, as OpenAI's SDK lists them
        "invalid_prompt", "bio_policy", "misalignment_policy_violation",
        "invalid_image", "invalid_image_format", "invalid_image_mode", "invalid_image_url",
        "invalid_base64_image", "image_too_large", "image_too_small", "image_parse_error",
        "image_content_policy_violation", "image_file_too_large", "image_file_not_found",
        "unsupported_image_media_type", "empty_image_file", "failed_to_download_image",
    ),
    413: ("request_too_large",),
    429: (  # wire §6.4
        "too_many_requests", "rate_limit_exceeded", "rate_limit_error", "insufficient_quota",
        "throttling_exception", "throttlingexception", "servicequotaexceededexception",
        "resource_exhausted",
    ),
    503: ("unavailable", "serviceunavailableexception", "modelnotreadyexception"),
    504: ("timeout_error", "deadline_exceeded", "modeltimeoutexception"),
    529: ("overloaded_error",),
}  # fmt: skip
_STATUS_OF: Mapping[str, int] = {word: status for status, words in _WORDS.items() for word in words}

_ADVICE: Mapping[int, str] = {
    401: "SAP AI Core refused the gateway's token; run `aicore-gateway check`",
    403: "SAP AI Core refused access: usually a wrong resource group or a missing entitlement; "
    "run `aicore-gateway check`",
    404: "SAP AI Core does not know this deployment, or it is not routable yet; try again in a minute",
}


def error_for(status: int, body: bytes, *, retry_after: float | None = None) -> UpstreamError:
    """Return the error for an answer with a status of 400 or more. `retry_after` in seconds."""
    fault = read_fault(body)
    waits = [wait for wait in (retry_after, fault.retry_after) if wait is not None]
    fault = msgspec.structs.replace(fault, retry_after=max(waits, default=None))
    what = f"answered {status}"
    if fault.location or (status == 404 and fault.kind in _MODELS_OWN):
        return _told(_BEHIND, status, fault, what)
    if status not in _ADVICE:
        return _told(_BY_STATUS, status, fault, what)
    kind, shown = _BY_STATUS[status]
    return kind(
        f"the upstream {what}: {fault.message}",
        public=_ADVICE[status],
        status=shown,
        retry_after=fault.retry_after,
    )


def error_inside(body: bytes | msgspec.Raw) -> UpstreamError:
    """Return the error for an error object that came inside a 200 (wire §6.4)."""
    return _inside(read_fault(bytes(body)))


def error_in(document: Json) -> UpstreamError:
    """Return the same for an object that is decoded."""
    return _inside(_fault_in(document) or Fault(message=_plain(msgspec.json.encode(document))))


def _inside(fault: Fault) -> UpstreamError:
    return _told(_BEHIND, _status_inside(fault), fault, "reported an error")


def _told(
    meanings: Mapping[int, tuple[type[UpstreamError], int]], status: int, fault: Fault, what: str
) -> UpstreamError:
    """Return the error in the upstream's own words."""
    kind, shown = meanings.get(status, _other(status))
    where = f" ({fault.location})" if fault.location else ""
    silent = f"{fault.location} failed" if fault.location else f"the upstream {what}"
    error = kind(
        f"the upstream {what}{where}: {fault.message}",
        public=fault.message or f"{silent} without a reason",
        status=shown,
        retry_after=fault.retry_after,
        param=fault.param,
        code=_code(status, fault),
    )
    error.extra = fault.extra
    return error


def _code(status: int, fault: Fault) -> str | None:
    """Return the code that says more than the error's class does."""
    if status == 400 and fault.location.startswith(_FILTER):
        return "content_filter"
    if fault.code and not fault.code.isdecimal():
        return fault.code
    return "not_found" if status == 404 else None


def _status_inside(fault: Fault) -> int:
    """Return the status that the error would have had; 502 where nothing says it."""
    for word in (fault.code, fault.kind):
        if word.isdecimal() and 400 <= int(word) <= 599:
            return int(word)
        if status := _STATUS_OF.get(word.lower()):
            return status
    return 502


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
    fault = _fault_in(document) if isinstance(document, dict) else None
    return fault or Fault(message=_plain(body))


def _fault_in(document: Json) -> Fault | None:
    """Return the upstream's words in an object of a known shape, None for others."""
    inner = document.get("error") or document.get("errors") or document
    if isinstance(inner, list) and inner:
        inner = inner[-1]
    if isinstance(inner, str):  # XSUAA's form
        message = document.get("error_description") or document.get("message") or inner
        return Fault(message=_cut(str(message)), code=inner)
    return _fault_of(inner) if isinstance(inner, dict) else None


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
    """Return the seconds until the latest time that a header names. Dates are not read: there is no clock."""
    if not isinstance(headers, dict):
        return None
    named = {str(name).lower(): str(value).strip() for name, value in headers.items()}
    found = [(_NUMBER.fullmatch(named.get(name, "")), unit) for name, unit in _WAITS.items()]
    return max((float(number[0]) * unit for number, unit in found if number), default=None)


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
