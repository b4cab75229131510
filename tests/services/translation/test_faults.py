"""Error answers, in every shape and with every status."""

from __future__ import annotations

import msgspec
import pytest

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
from services.translation.faults import Fault, error_for, error_inside, read_fault

# wire §6.1: shape → what is read from it
SHAPES: dict[str, tuple[bytes, Fault]] = {
    "inference router": (
        b'{"error":{"code":"NotFound","message":"no such","requestId":"r","target":"/x","details":{}}}',
        Fault("no such", code="NotFound"),
    ),
    "plain text": (b"RBAC: access denied\n", Fault("RBAC: access denied")),
    "azure": (
        b'{"error":{"code":null,"message":"bad","param":"n","type":"invalid_request_error"}}',
        Fault("bad", kind="invalid_request_error", param="n"),
    ),
    "azure filter": (
        b'{"error":{"code":"content_filter","message":"m","innererror":{"code":"ResponsibleAI"}}}',
        Fault("m", code="content_filter", extra={"innererror": {"code": "ResponsibleAI"}}),
    ),
    "azure filter by the specification": (
        b'{"error":{"message":"m","inner_error":{"a":1}}}',
        Fault("m", extra={"inner_error": {"a": 1}}),
    ),
    "aws": (b'{"message":"Too many tokens"}', Fault("Too many tokens")),
    "bedrock error": (b'{"error":{"message":"x"}}', Fault("x")),
    "bedrock errors": (b'{"errors":{"message":"x"}}', Fault("x")),
    "vertex": (
        b'{"error":{"code":400,"message":"x","status":"INVALID_ARGUMENT","details":[]}}',
        Fault("x", code="400", kind="INVALID_ARGUMENT"),
    ),
    "vertex in an array": (
        b'[{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}]',
        Fault("x", code="429", kind="RESOURCE_EXHAUSTED"),
    ),
    "orchestration": (
        b'{"error":{"request_id":"r","code":400,"message":"x","location":"LLM"}}',
        Fault("x", code="400", location="LLM", extra={"location": "LLM"}),
    ),
    "orchestration's filter": (
        b'{"error":{"code":400,"message":"x","location":"Filtering Module - Input Filter",'
        b'"intermediate_results":{"templating":[],"input_filtering":{"data":{}}}}}',
        Fault(
            "x",
            code="400",
            location="Filtering Module - Input Filter",
            extra={"location": "Filtering Module - Input Filter", "input_filtering": {"data": {}}},
        ),
    ),
    "orchestration's headers": (
        b'{"error":{"code":429,"message":"x","location":"LLM","headers":{"X-Retry-After":"30"}}}',
        Fault("x", code="429", location="LLM", extra={"location": "LLM"}, retry_after=30.0),
    ),
    "orchestration with a date to wait for": (
        b'{"error":{"code":429,"message":"x","headers":{"retry-after":"Sat, 21 Nov 2026 07:00:00 GMT"}}}',
        Fault("x", code="429"),
    ),
    "orchestration with fallbacks": (
        b'{"error":[{"code":429,"message":"first"},{"code":500,"message":"last"}]}',
        Fault("last", code="500"),
    ),
    "orchestration bare": (b'{"request_id":"r","code":400,"message":"x"}', Fault("x", code="400")),
    "xsuaa": (
        b'{"error":"unauthorized","error_description":"Bad credentials"}',
        Fault("Bad credentials", code="unauthorized"),
    ),
    "a word with a message": (b'{"error":"boom","message":"why"}', Fault("why", code="boom")),
    "a word alone": (b'{"error":"boom"}', Fault("boom", code="boom")),
    "a null error beside a message": (b'{"error":null,"message":"x"}', Fault("x")),
    "an empty error": (b'{"error":{}}', Fault("")),
    "empty object": (b"{}", Fault("")),
    "empty": (b"", Fault("")),
    "an empty array": (b"[]", Fault("[]")),
    "a word": (b'"a"', Fault("a")),
    "an array of words": (b'["a"]', Fault('["a"]')),
    "a list of no objects": (b'{"error":["a"]}', Fault("a", code="a")),
    "a number": (b'{"error":7}', Fault('{"error":7}')),
    "html": (
        b"<html><body>502</body></html>",
        Fault("the upstream answered with an HTML page instead of JSON"),
    ),
    "not utf-8": (b"\xff oops", Fault("\ufffd oops")),
    "a param that is no name": (b'{"error":{"message":"x","param":3}}', Fault("x")),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_trap_23_every_shape_is_read(shape: str) -> None:
    """Trap 23: message, code, kind and param come out of whatever the upstream sends."""
    body, expected = SHAPES[shape]

    assert expected == read_fault(body)


def test_a_body_nested_without_end_is_read_as_text() -> None:
    """`read_fault` never raises, and never hands on more than it should."""
    assert 2_002 == len(read_fault(b"[" * 100_000).message)


@pytest.mark.parametrize(
    "body",
    [b"x" * 9_000, b'{"error":{"message":"' + b"x" * 9_000 + b'"}}', b'{"error":"' + b"x" * 9_000 + b'"}'],
)
def test_long_texts_are_cut(body: bytes) -> None:
    """A page of text does not become a page of error message."""
    assert "x" * 2_000 + " …" == read_fault(body).message


# wire §6.2: status → class, status for the caller, whether another deployment is tried
STATUSES: dict[int, tuple[type[UpstreamError], int, bool]] = {
    400: (UpstreamRefused, 400, False),
    401: (UpstreamUnauthorized, 502, True),
    402: (UpstreamRefused, 402, False),
    403: (UpstreamDenied, 502, True),
    404: (UpstreamMissing, 404, True),
    408: (UpstreamTimeout, 504, True),
    412: (UpstreamRefused, 400, False),
    413: (UpstreamRefused, 413, False),
    415: (UpstreamRefused, 400, False),
    422: (UpstreamRefused, 400, False),
    424: (UpstreamFailed, 503, True),
    429: (UpstreamLimited, 429, True),
    500: (UpstreamFailed, 500, True),
    502: (UpstreamFailed, 502, True),
    503: (UpstreamFailed, 503, True),
    504: (UpstreamTimeout, 504, True),
    507: (UpstreamFailed, 502, True),
    529: (UpstreamFailed, 503, True),
}


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_its_meaning(status: int) -> None:
    """Wire §6.2: the class, what the caller sees, and whether it is worth another try."""
    error = error_for(status, b'{"error":{"message":"why"}}')

    assert STATUSES[status] == (type(error), error.status, error.retryable)


@pytest.mark.parametrize("status", [400, 413, 422, 429, 500, 503, 504])
def test_the_upstreams_words_reach_the_caller(status: int) -> None:
    """What it says about the request is told."""
    assert "too long" == error_for(status, b'{"error":{"message":"too long"}}').public


@pytest.mark.parametrize(("status", "advice"), [(401, "token"), (403, "resource group"), (404, "deployment")])
def test_what_concerns_our_credential_is_told_in_our_words(status: int, advice: str) -> None:
    """Neither text nor code of the upstream comes down; the log has them."""
    error = error_for(status, b'{"error":{"code":"Secret","message":"tenant t-1","param":"p"}}')

    assert advice in error.public
    assert "t-1" not in error.public
    assert "Secret" != error.code
    assert error.param is None
    assert "tenant t-1" in str(error)


def test_a_wordless_error_says_its_status() -> None:
    """There is always something to read."""
    assert "the upstream answered 418 without a reason" == error_for(418, b"{}").public


def test_retry_after_is_kept() -> None:
    """For the caller and for the balancer."""
    assert 2.5 == error_for(429, b"", retry_after=2.5).retry_after


def test_a_content_filters_verdict_passes() -> None:
    """Wire §6.3: code, param and the categories reach the caller."""
    body = b'{"error":{"code":"content_filter","param":"prompt","message":"m","innererror":{"hate":1}}}'
    error = error_for(400, body)

    assert ("content_filter", "prompt", {"innererror": {"hate": 1}}) == (error.code, error.param, error.extra)


def test_a_code_that_is_only_the_status_is_not_shown() -> None:
    """`429` says less than our own code."""
    assert "rate_limit_exceeded" == error_for(429, b'{"error":{"code":"429","message":"m"}}').code


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"code":"429","message":"exceeded token rate limit"}}',
        b'{"error":{"code":429,"message":"x"}}',
        b'{"type":"error","error":{"type":"too_many_requests","code":"too_many_requests"}}',
        b'{"error":{"code":"RATE_LIMIT_EXCEEDED"}}',
        b'{"error":{"code":"ThrottlingException"}}',
    ],
)
def test_trap_14_a_throttle_inside_a_200_is_a_rate_limit(body: bytes) -> None:
    """Trap 14, wire §6.4: it is a 429, whatever the status line said."""
    error = error_inside(body)

    assert (UpstreamLimited, 429) == (type(error), error.status)


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"type": "overloaded_error"}, UpstreamFailed, 503),
        ({"type": "timeout_error"}, UpstreamTimeout, 504),
        ({"code": "modelTimeoutException"}, UpstreamTimeout, 504),
        ({"code": "serviceUnavailableException"}, UpstreamFailed, 503),
        ({"code": 503, "status": "UNAVAILABLE"}, UpstreamFailed, 503),
        ({"status": "RESOURCE_EXHAUSTED"}, UpstreamLimited, 429),
        ({"code": "server_error"}, UpstreamFailed, 502),
        ({"code": "500"}, UpstreamFailed, 500),
        ({"code": 7}, UpstreamFailed, 502),
        ({"code": 401}, UpstreamFailed, 502),
        ({"code": 403}, UpstreamDenied, 502),
    ],
)
def test_an_error_inside_a_200_is_as_one_with_its_status(
    error: dict[str, object], kind: type[UpstreamError], status: int
) -> None:
    """So that another deployment is asked; our own token was good, whatever it says."""
    found = error_inside(msgspec.json.encode({"error": error}))

    assert (kind, status, True) == (type(found), found.status, found.retryable)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ({"code": "content_filter", "innererror": {"hate": 1}}, 400, "content_filter"),
        (
            {"code": "context_length_exceeded", "type": "invalid_request_error"},
            400,
            "context_length_exceeded",
        ),
        ({"type": "invalid_request_error"}, 400, "invalid_request"),
        ({"type": "request_too_large"}, 413, "invalid_request"),
        ({"code": 400, "status": "INVALID_ARGUMENT"}, 400, "invalid_request"),
        ({"code": "validationException"}, 400, "validationException"),
        ({"code": "invalid_prompt"}, 400, "invalid_prompt"),
        ({"code": 404, "status": "NOT_FOUND"}, 404, "not_found"),
    ],
)
def test_a_refusal_inside_a_200_is_the_callers(error: dict[str, object], status: int, code: str) -> None:
    """It would be refused again: no other deployment is asked, and the reason is passed on (wire §6.3)."""
    found = error_inside(msgspec.json.encode({"error": error | {"message": "why"}}))

    assert (UpstreamRefused, False) == (type(found), found.retryable)
    assert (status, code, "why") == (found.status, found.code, found.public)
    assert error.get("innererror") == found.extra.get("innererror")


def test_another_error_inside_a_200_is_a_failure() -> None:
    """With the upstream's words."""
    error = error_inside(b'{"error":{"code":"internal","message":"model crashed"}}')

    assert (UpstreamFailed, "model crashed", "internal") == (type(error), error.public, error.code)


def test_a_wordless_error_inside_a_200_says_so() -> None:
    """There is always something to read."""
    assert "the upstream reported an error without a reason" == error_inside(b'{"error":{}}').public


def test_what_is_missing_behind_a_deployment_is_no_matter_of_the_deployment() -> None:
    """A stored answer that is gone: nobody else is asked, and the model's words are passed on."""
    body = (
        b'{"error":{"message":"Item \'rs_1\' not found.","type":"invalid_request_error","param":"input",'
        b'"code":null}}'
    )

    error = error_for(404, body)

    assert (UpstreamRefused, 404, "Item 'rs_1' not found.", "input", "not_found", False) == (
        type(error), error.status, error.public, error.param, error.code, error.retryable,
    )  # fmt: skip


# --- orchestration -----------------------------------------------------------------------------------


def orchestrated(code: int, location: str, message: str = "m", **more: object) -> bytes:
    """An error of one of orchestration's modules."""
    return msgspec.json.encode({"error": {"code": code, "message": message, "location": location} | more})


@pytest.mark.parametrize(
    ("status", "location", "kind", "shown", "code", "retryable"),
    [
        (400, "Filtering Module - Input Filter", UpstreamRefused, 400, "content_filter", False),
        (500, "Filtering Module - Input Filter", UpstreamFailed, 500, "upstream_error", True),
        (400, "LLM Module", UpstreamRefused, 400, "invalid_request", False),
        (401, "LLM Module", UpstreamFailed, 502, "upstream_error", True),
        (404, "Templating Module", UpstreamRefused, 404, "not_found", False),
        (408, "LLM Module", UpstreamTimeout, 504, "upstream_timeout", True),
        (429, "LLM", UpstreamLimited, 429, "rate_limit_exceeded", True),
        (500, "Masking Module - Masking", UpstreamFailed, 500, "upstream_error", True),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_module_of_orchestration_fails(
    status: int,
    location: str,
    kind: type[UpstreamError],
    shown: int,
    code: str,
    retryable: bool,
    inside: bool,
) -> None:
    """Its words and its place are told, in a 200 as well; the deployment itself is not missing."""
    body = orchestrated(status, location)
    error = error_inside(body) if inside else error_for(status, body)

    assert (kind, shown, code, retryable) == (type(error), error.status, error.code, error.retryable)
    assert ("m", {"location": location}) == (error.public, error.extra)


def test_a_module_may_fail_without_a_word() -> None:
    """Then its name is told."""
    assert "LLM Module failed without a reason" == error_for(500, orchestrated(500, "LLM Module", "")).public


def test_the_models_own_time_to_wait_is_in_the_body() -> None:
    """Of that and the answer's own header the later time counts; inside a 200 there is only the one."""
    body = orchestrated(429, "LLM", headers={"x-retry-after": "30"})
    waits = [error_for(429, body, retry_after=header).retry_after for header in (None, 0.0, 5, 31)]

    assert [30, 30, 30, 31] == waits
    assert 30 == error_inside(body).retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"Retry-After": 2, "x-retry-after": "30"}, 30),
        ({"retry-after-ms": "1500", "retry-after": "1"}, 1.5),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon", "retry-after-ms": None}, None),
        ({"retry-after": "1e999"}, None),
        ({}, None),
        ("retry-after: 5", None),
    ],
)
def test_the_latest_time_in_the_body_counts(headers: object, seconds: float | None) -> None:
    """Orchestration passes on the headers of the model behind it (wire §6.2)."""
    body = msgspec.json.encode({"error": {"code": 429, "message": "m", "headers": headers}})

    assert (seconds, seconds) == (error_for(429, body).retry_after, error_inside(body).retry_after)


def test_a_module_without_a_code_fails_as_any_error_inside_a_200() -> None:
    """Nothing says what kind of failure it is."""
    body = b'{"error":{"message":"m","location":"LLM","headers":[],"intermediate_results":null}}'

    assert (UpstreamFailed, 502) == (type(error_inside(body)), error_inside(body).status)
