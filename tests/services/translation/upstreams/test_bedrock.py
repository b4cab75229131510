"""Errors inside a 200 of Bedrock."""

from __future__ import annotations

from typing import Any

import pytest

from services.errors import UpstreamFailed, UpstreamLimited, UpstreamRefused
from services.translation.upstreams.bedrock import reported


@pytest.mark.parametrize(
    ("document", "kind", "message"),
    [
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
            UpstreamFailed,
            "busy",
        ),
        ({"type": "error", "error": {"type": "api_error", "message": "oops"}}, UpstreamFailed, "oops"),
        ({"type": "error", "message": "ThrottlingException: slow\ndown"}, UpstreamLimited, "slow\ndown"),
        ({"message": "TooManyRequestsException: 429"}, UpstreamLimited, "429"),
        ({"message": "TooManyRequests"}, UpstreamLimited, "TooManyRequests"),
        ({"message": "ServiceUnavailableException: later"}, UpstreamFailed, "later"),
        ({"message": "no"}, UpstreamFailed, "no"),
        ({"errors": {"message": "no"}}, UpstreamFailed, "no"),
        ({"throttlingException": {"message": "Too many tokens"}}, UpstreamLimited, "Too many tokens"),
        ({"modelStreamErrorException": {"message": "broke"}}, UpstreamFailed, "broke"),
        ({"internalServerException": {}}, UpstreamFailed, "internalServerException"),
        ({"validationException": "bad"}, UpstreamRefused, "bad"),
        ({"type": "error"}, UpstreamFailed, "the upstream reported an error without a reason"),
    ],
)
def test_errors_are_recognised(document: dict[str, Any], kind: type[Exception], message: str) -> None:
    """Every shape of wire §4.3 and §8.3 is read, and throttling is told from failure (traps 14, 23)."""
    error = reported(document)

    assert kind is type(error)
    assert error is not None
    assert message == error.public


@pytest.mark.parametrize("document", [{}, {"type": "ping"}, {"message": {"content": []}}, {"error": None}])
def test_other_documents_report_nothing(document: dict[str, Any]) -> None:
    """What is no error is none."""
    assert reported(document) is None
