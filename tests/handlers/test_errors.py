"""Any failure in OpenAI's envelope, with its true status."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sanic.exceptions import (
    BadRequest as SanicBadRequest,
    ExpectationFailed,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RequestTimeout,
    SanicException,
    ServerError,
    ServiceUnavailable,
)
from structlog.testing import capture_logs

from handlers.errors import outcome, render
from services.errors import (
    BadRequest,
    CallerLeft,
    GatewayError,
    RateLimited,
    Unauthorized,
    UnknownModel,
    UpstreamDenied,
    UpstreamRefused,
)
from services.translation.callers.envelopes import openai_error
from tests.handlers.fakes import request


def rendered(error: Exception, **changes: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, error object and head of the answer."""
    answer = render(request(x_request_id="r-1", **changes), error)
    assert answer.body is not None
    assert "application/json" == answer.content_type
    return answer.status, json.loads(answer.body)["error"], dict(answer.headers)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (BadRequest("bad n", param="n"), 400, ("bad n", "invalid_request_error", "n", "invalid_request")),
        (
            UnknownModel("no model 'x'", param="model"),
            404,
            ("no model 'x'", "invalid_request_error", "model", "model_not_found"),
        ),
        (RateLimited("slowly"), 429, ("slowly", "rate_limit_error", None, "rate_limit_exceeded")),
        (
            UpstreamDenied("tenant t-1 refused", public="refused"),
            502,
            ("refused", "api_error", None, "upstream_denied"),
        ),
        (BadRequest("packed", status=415), 415, ("packed", "invalid_request_error", None, "invalid_request")),
    ],
)
def test_our_own_failures_tell_what_they_may(
    error: GatewayError, status: int, told: tuple[str, str, str | None, str]
) -> None:
    """Message, type, param and code; the detail for the log stays here."""
    got, inner, head = rendered(error)

    assert (status, told) == (got, tuple(inner[name] for name in ("message", "type", "param", "code")))
    assert "r-1" == head["x-request-id"]


def test_further_members_of_the_upstreams_error_pass() -> None:
    """Such as the content filter's verdict."""
    error = UpstreamRefused("m", code="content_filter")
    error.extra = {"innererror": {"hate": True}}

    assert {"hate": True} == json.loads(openai_error(error))["error"]["innererror"]


def test_a_caller_learns_when_to_come_back() -> None:
    """In whole seconds, never too early."""
    assert "3" == rendered(RateLimited("slowly", retry_after=2.1))[2]["retry-after"]
    assert "retry-after" not in rendered(RateLimited("slowly"))[2]


def test_a_401_says_which_scheme() -> None:
    """As HTTP wants it."""
    status, _, head = rendered(Unauthorized("no key"))

    assert (401, "Bearer") == (status, head["www-authenticate"])


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "words"),
    [
        (SanicBadRequest("x"), 400, "invalid_request_error", "bad_request", "cannot be read"),
        (NotFound("x"), 404, "invalid_request_error", "not_found", "there is no POST /v1/{x}"),
        (RequestTimeout("x"), 408, "timeout_error", "request_timeout", "in time"),
        (PayloadTooLarge("x"), 413, "invalid_request_error", "request_too_large", "too large"),
        (ExpectationFailed("x"), 417, "invalid_request_error", "expectation_failed", "Expect"),
        (ServiceUnavailable("x"), 503, "api_error", "unavailable", "in time"),
    ],
)
def test_the_servers_own_failures_have_the_same_form(
    error: Exception, status: int, kind: str, code: str, words: str
) -> None:
    """404, 405, 413 and timeouts too; a path with braces in it is only text."""
    got, inner, _ = rendered(error, path="/v1/{x}")

    assert (status, kind, code) == (got, inner["type"], inner["code"])
    assert words in inner["message"]


def test_a_405_says_what_is_allowed() -> None:
    """As HTTP wants it."""
    status, inner, head = rendered(MethodNotAllowed("x", "PUT", ["GET", "POST"]), method="PUT")

    assert (405, "method_not_allowed", "GET, POST") == (status, inner["code"], head["Allow"])
    assert "does not take PUT" in inner["message"]


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("secret"), ServerError("secret"), SanicException("secret")]
)
def test_what_nobody_foresaw_is_logged_and_told_generically(error: Exception) -> None:
    """500 without a word of the reason; the log has it, under the same request id."""
    with capture_logs() as logged:
        status, inner, _ = rendered(error)

    assert (500, "internal_error") == (status, inner["code"])
    assert "secret" not in inner["message"]
    assert [("unexpected_failure", "r-1", error)] == [
        (line["event"], line["request_id"], line["exc_info"])
        for line in logged
        if line["log_level"] == "error"
    ]


@pytest.mark.parametrize("error", [BadRequest("x"), NotFound("x"), ServiceUnavailable("x")])
def test_what_is_foreseen_is_logged_as_a_refusal_not_as_a_failure(error: Exception) -> None:
    """Callers' mistakes are no alarms; the line has no word of what the caller sent."""
    with capture_logs() as logged:
        rendered(error)

    assert [("refused", "info")] == [(line["event"], line["log_level"]) for line in logged]
    assert {"event", "log_level", "request_id", "method", "path", "status", "code"} == set(logged[0])


def test_a_call_that_failed_ends_with_its_failure() -> None:
    """Ours as it is, others as an internal error."""
    ours = BadRequest("x")
    with capture_logs():
        assert (ours, 500) == (outcome(request(), ours), outcome(request(), ZeroDivisionError()).status)


@pytest.mark.parametrize("left", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()])
def test_a_call_that_was_cut_off_ends_with_the_caller_leaving(left: BaseException) -> None:
    """499, for the log only."""
    error = outcome(request(), left)

    assert (CallerLeft, 499) == (type(error), error.status)


@pytest.mark.parametrize(
    ("surface", "body"),
    [
        (
            "",
            {
                "error": {
                    "message": "slowly",
                    "type": "rate_limit_error",
                    "param": None,
                    "code": "rate_limit_exceeded",
                }
            },
        ),
        (
            "messages",
            {
                "type": "error",
                "error": {"type": "rate_limit_error", "message": "slowly"},
                "request_id": "r-1",
            },
        ),
        ("gemini", {"error": {"code": 429, "message": "slowly", "status": "RESOURCE_EXHAUSTED"}}),
        ("bedrock", {"message": "slowly"}),
    ],
)
def test_each_surface_has_its_own_envelope(surface: str, body: Any) -> None:
    """The caller's client has to understand it."""
    asked = request(public=False, x_request_id="r-1")
    asked.route.ctx.surface = surface

    answer = render(asked, RateLimited("slowly"))

    assert (429, body) == (answer.status, json.loads(answer.body or b""))
