"""Every failure the gateway can report, with what the caller may read.

    GatewayError
    ├── CallerError              the request cannot be served as it stands
    │   ├── BadRequest           400, names the field in `param`
    │   ├── Unauthorized         401, one generic text
    │   ├── NotFound             404, no such path or object
    │   │   └── UnknownModel     404, code `model_not_found`
    │   ├── TooLarge             413
    │   └── RateLimited          429, the gateway's own limit
    ├── UpstreamError            SAP AI Core, or the model behind it, failed
    │   ├── UpstreamRefused      a 4xx that is about the request; its text is passed on
    │   ├── UpstreamDenied       403: what our credential may not; shown as 502
    │   │   └── UpstreamUnauthorized   401: not our credential at all, after a new token too
    │   ├── UpstreamMissing      404: the deployment is gone or not routable yet
    │   ├── UpstreamLimited      429, with the upstream's Retry-After
    │   ├── UpstreamFailed       5xx, or an error inside a 200
    │   ├── UpstreamUnreachable  no connection; shown as 502
    │   ├── UpstreamTimeout      a limit ran out; shown as 504
    │   └── UpstreamBroken       an answer that ends early or cannot be read; shown as 502
    ├── CredentialError          no token for a sub-account; shown as 502
    ├── NoDeployment             none is running; 503
    │   └── Busy                 all rest, or have as much to do as they may; 429 or 503
    ├── OutOfTime                the caller's own time limit has run out; 504
    ├── Draining                 the worker stops before the answer is complete; 503
    └── CallerLeft               the caller hung up; 499, for the log only

Each class says what is done about it: whether another attempt may follow (`again`) and what is left alone
for a while (`rests`). The rules are those of trusted proxies: nothing is sent twice that would fail twice.

`str(error)` is for the log; `error.public` is for the caller and never carries a secret, a URL of the
tenant or a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any


class Again(Enum):
    """Which further attempt may follow a failure, as long as the caller has not been sent a byte."""

    NEVER = "it would fail in the same way anywhere"
    ELSEWHERE = "at another candidate, at once"
    WAIT = "at another candidate at once, else when the first of them may be asked again"
    ANYWHERE = "at another candidate at once, else at the same one after a pause"


class Rests(Enum):
    """What is left alone for a while after a failure."""

    NOTHING = "the deployment did its part"
    DEPLOYMENT = "the deployment, for this model"
    SUB_ACCOUNT = "all deployments of the sub-account"


class GatewayError(Exception):
    """Base of the tree. `status` is the HTTP status for the caller, `kind` OpenAI's error `type`."""

    status: int = 500
    kind: str = "api_error"
    code: str = "internal_error"
    again: Again = Again.NEVER
    rests: Rests = Rests.NOTHING

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

    @property
    def retryable(self) -> bool:
        """Whether another attempt may follow at all."""
        return self.again is not Again.NEVER


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

    status, code = 502, "upstream_error"
    again, rests = Again.ANYWHERE, Rests.DEPLOYMENT


class UpstreamRefused(UpstreamError):
    """The upstream will not take this request: a 4xx about its content. Never retried."""

    status, kind, code = 400, "invalid_request_error", "invalid_request"
    again, rests = Again.NEVER, Rests.NOTHING


class UpstreamDenied(UpstreamError):
    """The upstream refused the gateway's resource group, or this deployment to it (403)."""

    code = "upstream_denied"
    again = Again.ELSEWHERE


class UpstreamUnauthorized(UpstreamDenied):
    """The upstream refused the gateway's token, and a new one as well (401)."""

    rests = Rests.SUB_ACCOUNT


class UpstreamMissing(UpstreamError):
    """The deployment is unknown to the upstream, or not routable yet."""

    status, kind, code = 404, "invalid_request_error", "model_not_found"
    again = Again.ELSEWHERE


class UpstreamLimited(UpstreamError):
    """The upstream's rate limit; `retry_after` in seconds where it said."""

    status, kind, code = 429, "rate_limit_error", "rate_limit_exceeded"
    again = Again.WAIT


class UpstreamFailed(UpstreamError):
    """A 5xx of the upstream, or an error object inside a 200."""


class UpstreamUnreachable(UpstreamError):
    """No connection: refused, reset before the response head, DNS, TLS."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """A time limit ran out while waiting for the upstream."""

    status, code = 504, "upstream_timeout"
    again = Again.ELSEWHERE


class UpstreamBroken(UpstreamError):
    """The answer ended early, stalled, or cannot be read."""

    code = "upstream_broken"


class CredentialError(GatewayError):
    """No usable token for a sub-account."""

    status, code = 502, "upstream_credential"
    again, rests = Again.ELSEWHERE, Rests.SUB_ACCOUNT


class NoDeployment(GatewayError):
    """No candidate is there."""

    status, code = 503, "no_deployment"


class Busy(NoDeployment):
    """Every candidate rests after a rate limit, or it or the gateway has as much to do as it may."""

    code = "overloaded"


class OutOfTime(GatewayError):
    """The time that the caller allows has run out."""

    status, kind, code = 504, "timeout_error", "deadline_exceeded"


class Draining(GatewayError):
    """The worker stops, and its time to finish what it serves is over."""

    status, code = 503, "shutting_down"


class CallerLeft(GatewayError):
    """The caller hung up before the answer was complete. Seen in the log only."""

    status, code = 499, "caller_left"


def settle(error: BaseException | None) -> None:
    """Drop the traces of a failure that is over.

    Their frames hold the request, its body with it, and the failure itself: a cycle, for which the garbage
    collector comes seldom.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
