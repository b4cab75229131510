"""Errors in each vendor's words."""

from __future__ import annotations

import json

import pytest

from services.errors import BadRequest, GatewayError
from services.translation.callers.envelopes import (
    anthropic_error,
    bedrock_error,
    bedrock_exception,
    google_error,
    openai_error,
)
from services.translation.faults import error_for, error_inside


@pytest.mark.parametrize(
    ("status", "anthropic", "google", "aws"),
    [
        (400, "invalid_request_error", "INVALID_ARGUMENT", "validationException"),
        (401, "authentication_error", "UNAUTHENTICATED", "accessDeniedException"),
        (403, "permission_error", "PERMISSION_DENIED", "accessDeniedException"),
        (402, "billing_error", "INVALID_ARGUMENT", "validationException"),
        (404, "not_found_error", "NOT_FOUND", "resourceNotFoundException"),
        (408, "timeout_error", "DEADLINE_EXCEEDED", "modelTimeoutException"),
        (409, "invalid_request_error", "ABORTED", "validationException"),
        (413, "request_too_large", "INVALID_ARGUMENT", "validationException"),
        (429, "rate_limit_error", "RESOURCE_EXHAUSTED", "throttlingException"),
        (500, "api_error", "INTERNAL", "internalServerException"),
        (502, "api_error", "INTERNAL", "internalServerException"),
        (503, "overloaded_error", "UNAVAILABLE", "serviceUnavailableException"),
        (504, "timeout_error", "DEADLINE_EXCEEDED", "modelTimeoutException"),
        (507, "api_error", "INTERNAL", "internalServerException"),
        (529, "overloaded_error", "UNAVAILABLE", "serviceUnavailableException"),
    ],
)
def test_each_vendor_has_its_word_for_a_status(status: int, anthropic: str, google: str, aws: str) -> None:
    """Clients decide by it whether to try again."""
    error = GatewayError("detail", public="text", status=status)

    assert {
        "type": "error", "error": {"type": anthropic, "message": "text"}, "request_id": "r",
    } == json.loads(anthropic_error(error, "r"))  # fmt: skip
    assert {"error": {"code": status, "message": "text", "status": google}} == json.loads(google_error(error))
    assert ({"message": "text"}, aws) == (json.loads(bedrock_error(error)), bedrock_exception(error))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b'{"type":"error","error":{"type":"overloaded_error"}}', "overloaded_error"),
        (200, b'{"type":"error","error":{"type":"rate_limit_error"}}', "rate_limit_error"),
        (200, b'{"type":"error","error":{"type":"timeout_error"}}', "timeout_error"),
        (200, b'{"type":"error","error":{"type":"api_error"}}', "api_error"),
        (200, b'{"type":"error","error":{"type":"request_too_large"}}', "request_too_large"),
        (424, b"", "overloaded_error"),
        (429, b"", "rate_limit_error"),
        (503, b'{"message":"Model is getting throttled. Try your request again."}', "overloaded_error"),
        (504, b"upstream request timeout", "timeout_error"),
        (529, b"", "overloaded_error"),
    ],
)
def test_anthropics_words_survive_the_way_through(status: int, body: bytes, kind: str) -> None:
    """Wire §6.2: a caller of Messages learns of an overload as of Anthropic's own."""
    error = error_inside(body) if status == 200 else error_for(status, body)

    assert kind == json.loads(anthropic_error(error))["error"]["type"]


def test_anthropics_has_no_request_id_in_a_stream() -> None:
    """It travels in the head there."""
    assert "request_id" not in json.loads(anthropic_error(GatewayError("x")))


def test_openais_names_the_field() -> None:
    """In `param`."""
    error = BadRequest("no", param="n", code="unsupported_parameter")

    assert {
        "error": {
            "message": "no",
            "type": "invalid_request_error",
            "param": "n",
            "code": "unsupported_parameter",
        }
    } == json.loads(openai_error(error))
