"""Error bodies by origin (wire §6.1): the AI API, Azure, Vertex, and the servers behind `aicore-*`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from perf.simulator.answers import Reply, reply_json, reply_text, sse


class Problem(msgspec.Struct, frozen=True):
    """What went wrong, before a family gives it its shape."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    inner: dict[str, Any] | None = None
    retry_after: int | None = None


Shape = Callable[[Problem], dict[str, Any] | list[dict[str, Any]]]


def new_uuid() -> str:
    """A random UUID, cheaper than the uuid module's."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def azure(problem: Problem) -> dict[str, Any]:
    """Azure's shape; a quota error has neither param nor type (wire §4.1, §6.1)."""
    if problem.status == 429 or problem.status >= 500:
        return {"error": {"code": problem.code, "message": problem.message}}
    error = {
        "code": problem.code,
        "message": problem.message,
        "param": problem.param,
        "type": "invalid_request_error",
    }
    if problem.inner is not None:
        error |= {"type": None, "status": problem.status, "innererror": problem.inner}  # type: ignore[dict-item]
    return {"error": error}


def vllm(problem: Problem) -> dict[str, Any]:
    """The un-wrapped shape of vLLM servers (u)."""
    kinds = {400: "BadRequestError", 404: "NotFoundError", 429: "RateLimitError"}
    return {
        "object": "error",
        "message": problem.message,
        "type": kinds.get(problem.status, "InternalServerError"),
        "param": problem.param,
        "code": problem.status,
    }


_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}


def google(problem: Problem) -> dict[str, Any]:
    """The shape of Vertex; `details` are typed, so another family's are left out (wire §6.1)."""
    error = {
        "code": problem.status,
        "message": problem.message,
        "status": _GOOGLE_STATUSES.get(problem.status, "UNKNOWN"),
    }
    if problem.inner is not None and "@type" in problem.inner:
        error["details"] = [problem.inner]
    return {"error": error}


def google_listed(problem: Problem) -> list[dict[str, Any]]:
    """The same in a list of one, as the streaming method refuses (wire §6.1)."""
    return [google(problem)]


def cohere(problem: Problem) -> dict[str, Any]:
    """Cohere's shape (u)."""
    return {"id": new_uuid(), "message": problem.message}


def perplexity(problem: Problem) -> dict[str, Any]:
    """Perplexity's shape: `code` is the status (u)."""
    return {"error": {"message": problem.message, "type": problem.code, "code": problem.status}}


def ai_api(problem: Problem) -> dict[str, Any]:
    """The shape of the AI API and the inference router (wire §3.6)."""
    return {
        "error": {
            "code": problem.code or "01010000",
            "message": problem.message,
            "requestId": new_uuid(),
            "target": problem.param or "/api/v2/lm",
            "details": {},
        }
    }


def shaped(problem: Problem, shape: Shape) -> Reply:
    """The reply for a problem in one family's shape."""
    retry = b"" if problem.retry_after is None else b"retry-after: %d\r\n" % problem.retry_after
    return reply_json(shape(problem), status=problem.status, headers=retry)


def error_frame(problem: Problem, shape: Shape) -> bytes:
    """The same inside a 200 stream (wire §6.4)."""
    body = shape(problem)
    return sse(msgspec.json.encode(body if "error" in body else {"error": body}))


def api_error(status: int, message: str, *, code: str = "01010000", target: str = "/api/v2/lm") -> Reply:
    """A refusal by the AI API itself."""
    return shaped(Problem(status, message, code=code, param=target), ai_api)


def deployment_not_found(deployment_id: str) -> Reply:
    """404 for an unknown deployment, or one not yet routable (wire §3.6, §6.2)."""
    return api_error(
        404,
        f"Deployment ID <{deployment_id}> not found",
        code="01010404",
        target="/api/v2/inference/deployments",
    )


def rbac_denied() -> Reply:
    """403 for a wrong or forgotten resource group, and for a token of the wrong audience (wire §3.6)."""
    return reply_text(403, "RBAC: access denied")


def missing_tenant() -> Reply:
    """401 for a missing, expired, revoked or unknown bearer, with the text proxies report (wire §2.3)."""
    return reply_text(401, "Missing Tenant Id")
