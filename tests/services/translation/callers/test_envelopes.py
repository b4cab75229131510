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


@pytest.mark.parametrize(
    ("status", "anthropic", "google", "aws"),
    [
        (400, "invalid_request_error", "INVALID_ARGUMENT", "validationException"),
        (401, "authentication_error", "UNAUTHENTICATED", "accessDeniedException"),
        (403, "permission_error", "PERMISSION_DENIED", "accessDeniedException"),
        (404, "not_found_error", "NOT_FOUND", "resourceNotFoundException"),
        (409, "invalid_request_error", "INVALID_ARGUMENT", "validationException"),
        (413, "request_too_large", "INVALID_ARGUMENT", "validationException"),
        (429, "rate_limit_error", "RESOURCE_EXHAUSTED", "throttlingException"),
        (500, "api_error", "INTERNAL", "internalServerException"),
        (502, "api_error", "INTERNAL", "internalServerException"),
        (503, "overloaded_error", "UNAVAILABLE", "serviceUnavailableException"),
        (504, "timeout_error", "DEADLINE_EXCEEDED", "modelTimeoutException"),
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
