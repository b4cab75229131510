"""`/_sim/`: what happened, and what shall happen. No token is asked for; the simulator belongs on loopback.

GET    /_sim/stats              counters; `?bodies=1` adds the last request of each deployment
POST   /_sim/reset              counters to zero, faults gone, the pace of the command line
GET    /_sim/faults             the faults that are set
POST   /_sim/faults             kind, arg, model, deployment, tenant, plane, times, probability
DELETE /_sim/faults             everything works again
POST   /_sim/pace               any of latency_ms, chunk_interval_ms, answer_tokens, chunk_size
POST   /_sim/revoke             all tokens are refused from now on; {"tenant": NAME} for one tenant
GET    /_sim/tenants            service keys, deployments and AICORE_* variables
POST   /_sim/deployments/ID     {"status": "RUNNING"}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from perf.simulator.answers import Reply, reply_json, reply_text
from perf.simulator.faults import Fault
from perf.simulator.protocol import Request
from perf.simulator.settings import Pace

if TYPE_CHECKING:
    from perf.simulator.app import Simulator


class Revocation(msgspec.Struct, forbid_unknown_fields=True):
    """Whose tokens."""

    tenant: str | None = None


class NewStatus(msgspec.Struct, forbid_unknown_fields=True):
    """What becomes of a deployment."""

    status: Literal["PENDING", "RUNNING", "COMPLETED", "DEAD", "STOPPING", "STOPPED", "UNKNOWN"]


def answer(simulator: Simulator, request: Request, path: str, query: dict[str, str]) -> Reply:
    """Answer an administrative request; 400 says what is wrong with its body."""
    name = path.removeprefix("/_sim/")
    try:
        if name.startswith("deployments/") and request.method == b"POST":
            return _set_status(simulator, name.removeprefix("deployments/"), request.body)
        handler = _HANDLERS.get((request.method, name))
        return (
            handler(simulator, request, query) if handler else reply_text(404, "no such simulator endpoint")
        )
    except (msgspec.DecodeError, ValueError) as error:
        return reply_json({"error": str(error)}, status=400)


def _stats(simulator: Simulator, request: Request, query: dict[str, str]) -> Reply:
    report = simulator.stats.report()
    if query.get("bodies"):
        report["last"] = {name: _shown(last) for name, last in simulator.stats.last.items()}
    return reply_json(report)


def _shown(request: Request) -> dict[str, Any]:
    text = request.body.decode("utf-8", "replace")
    try:
        parsed = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        parsed = None
    return {
        "method": request.method.decode("latin-1"),
        "target": request.target.decode("latin-1"),
        "headers": {k.decode("latin-1"): v.decode("latin-1") for k, v in request.headers.items()},
        "text": text,
        "body": parsed,
    }


def _reset(simulator: Simulator, request: Request, query: dict[str, str]) -> Reply:
    simulator.stats.reset()
    simulator.faults.clear()
    simulator.pace = simulator.settings.pace
    return reply_json({"reset": True})


def _faults(simulator: Simulator, request: Request, query: dict[str, str]) -> Reply:
    return reply_json(simulator.faults.active)


def _add_fault(simulator: Simulator, request: Request, query: dict[str, str]) -> Reply:
    fault = msgspec.json.decode(request.body, type=Fault)
    simulator.faults.add(fault)
    return reply_json(fault, status=201)


def _clear_faults(simulator: Simulator, request: Request, query: dict[str, str]) -> Reply:
    simulator.faults.clear()
    return reply_json([])


def _set_pace(simulator: Simulator, request: Request, query: dict[str, str]) -> Reply:
    changed = msgspec.to_builtins(simulator.pace) | msgspec.json.decode(request.body, type=dict[str, Any])
    simulator.pace = msgspec.convert(changed, Pace)
    return reply_json(simulator.pace)


def _revoke(simulator: Simulator, request: Request, query: dict[str, str]) -> Reply:
    whose = msgspec.json.decode(request.body or b"{}", type=Revocation)
    return reply_json({"revoked": simulator.tokens.revoke(whose.tenant)})


def _tenants(simulator: Simulator, request: Request, query: dict[str, str]) -> Reply:
    return reply_json(
        {
            name: {
                "service_key": tenant.service_key(),
                "environment": tenant.environment(),
                "resource_groups": tenant.resource_groups,
                "deployments": [
                    {
                        "id": d.id,
                        "model": d.model.name if d.model else None,
                        "executable": d.executable,
                        "status": d.status,
                        "url": d.url,
                    }
                    for d in tenant.deployments
                ],
            }
            for name, tenant in simulator.tenants.items()
        }
    )


def _set_status(simulator: Simulator, deployment_id: str, body: bytes) -> Reply:
    deployment = simulator.deployments.get(deployment_id)
    if deployment is None:
        return reply_text(404, "no such deployment")
    deployment.status = msgspec.json.decode(body, type=NewStatus).status
    return reply_json(deployment.listing())


_HANDLERS: dict[tuple[bytes, str], Callable[[Simulator, Request, dict[str, str]], Reply]] = {
    (b"GET", "stats"): _stats,
    (b"POST", "reset"): _reset,
    (b"GET", "faults"): _faults,
    (b"POST", "faults"): _add_fault,
    (b"DELETE", "faults"): _clear_faults,
    (b"POST", "pace"): _set_pace,
    (b"POST", "revoke"): _revoke,
    (b"GET", "tenants"): _tenants,
}
