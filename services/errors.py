"""Every failure the gateway can report, with what the caller may read.

    GatewayError
    ├── CallerError              the request cannot be served as it stands; never retried
    │   ├── BadRequest           400, names the field in `param`
    │   ├── Unauthorized         401, one generic text
    │   ├── NotFound             404, no such path or object
    │   │   └── UnknownModel     404, code `model_not_found`
    │   ├── TooLarge             413
    │   └── RateLimited          429, the gateway's own limit
    ├── UpstreamError            SAP AI Core, or the model behind it, failed
    │   ├── UpstreamRefused      a 4xx that is about the request; its text is passed on
    │   ├── UpstreamDenied       401 or 403: our credential, not the caller's; shown as 502
    │   ├── UpstreamMissing      404: the deployment is gone or not routable yet
    │   ├── UpstreamLimited      429, with the upstream's Retry-After
    │   ├── UpstreamFailed       5xx, or an error inside a 200
    │   ├── UpstreamUnreachable  no connection; shown as 502
    │   ├── UpstreamTimeout      a limit ran out; shown as 504
    │   └── UpstreamBroken       an answer that ends early or cannot be read; shown as 502
    ├── CredentialError          no token for a sub-account; shown as 502
    ├── NoDeployment             every candidate is resting or none is running; 503
    └── CallerLeft               the caller hung up; 499, for the log only

`str(error)` is for the log; `error.public` is for the caller and never carries a secret, a URL of the
tenant or a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class GatewayError(Exception):
    """Base of the tree. `status` is the HTTP status for the caller, `kind` OpenAI's error `type`."""

    status: int = 500
    kind: str = "api_error"
    code: str = "internal_error"
    retryable: bool = False
    """Whether another candidate may be tried, as long as the caller has not been sent a byte."""

    def __init__(
        self,
        detail: str,
        *,
        public: str | None = None,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.public = detail if public is None else public
        self.param = param
        self.retry_after = retry_after
        self.extra: Mapping[str, Any] = {}
        """Further members of the upstream's error object, passed on to the caller."""
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status


class CallerError(GatewayError):
    """The request cannot be served as it stands."""

    status, kind, code = 400, "invalid_request_error", "invalid_request"


class BadRequest(CallerError):
    """A field is missing, of the wrong type, or cannot be honoured; `param` names it."""


class Unauthorized(CallerError):
    """No key, or one that is not configured. Says no more than that."""

    status, kind, code = 401, "authentication_error", "invalid_api_key"


class NotFound(CallerError):
    """No such path or object."""

    status, code = 404, "not_found"


class UnknownModel(NotFound):
    """No model of that name; the text lists near names."""

    code = "model_not_found"


class TooLarge(CallerError):
    """The body exceeds the configured limit."""

    status, code = 413, "request_too_large"


class RateLimited(CallerError):
    """The gateway's own limit for this caller; `retry_after` says when to come back (seconds)."""

    status, kind, code = 429, "rate_limit_error", "rate_limit_exceeded"


class UpstreamError(GatewayError):
    """SAP AI Core, or the model behind it, failed. `status` is what the caller sees."""

    status, code, retryable = 502, "upstream_error", True


class UpstreamRefused(UpstreamError):
    """The upstream will not take this request: a 4xx about its content. Never retried."""

    status, kind, code, retryable = 400, "invalid_request_error", "invalid_request", False


class UpstreamDenied(UpstreamError):
    """The upstream refused the gateway's own credential or resource group (401, 403)."""

    code = "upstream_denied"


class UpstreamMissing(UpstreamError):
    """The deployment is unknown to the upstream, or not routable yet."""

    status, kind, code = 404, "invalid_request_error", "model_not_found"


class UpstreamLimited(UpstreamError):
    """The upstream's rate limit; `retry_after` in seconds where it said."""

    status, kind, code = 429, "rate_limit_error", "rate_limit_exceeded"


class UpstreamFailed(UpstreamError):
    """A 5xx of the upstream, or an error object inside a 200."""


class UpstreamUnreachable(UpstreamError):
    """No connection: refused, reset before the response head, DNS, TLS."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """A time limit ran out while waiting for the upstream."""

    status, code = 504, "upstream_timeout"


class UpstreamBroken(UpstreamError):
    """The answer ended early, stalled, or cannot be read."""

    code = "upstream_broken"


class CredentialError(GatewayError):
    """No usable token for a sub-account."""

    status, code, retryable = 502, "upstream_credential", True


class NoDeployment(GatewayError):
    """No candidate can take the request now."""

    status, code = 503, "no_deployment"


class CallerLeft(GatewayError):
    """The caller hung up before the answer was complete. Seen in the log only."""

    status, code = 499, "caller_left"
