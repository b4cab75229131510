"""The management plane under `/v2` (wire §3), read-only.

Choices where the wire document is unsure (u): a forgotten resource group is refused like a wrong one;
`$select=status` leaves id and status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from perf.simulator.answers import Reply, reply_json, reply_text
from perf.simulator.errors import api_error
from perf.simulator.models import MODELS, Model
from perf.simulator.settings import Settings
from perf.simulator.tenants import CREATED_AT, Deployment, Tenant

MAX_TOP = 100_000
DEFAULT_TOP = 10_000

_STATUSES = ("PENDING", "RUNNING", "COMPLETED", "DEAD", "STOPPING", "STOPPED", "UNKNOWN")


class Ask(msgspec.Struct):
    """One management request that has passed the token and resource group checks."""

    tenant: Tenant
    resource_group: str
    path: str
    query: dict[str, str]
    settings: Settings

    @property
    def deployments(self) -> list[Deployment]:
        """Those of the resource group that was named."""
        return [d for d in self.tenant.deployments if d.resource_group == self.resource_group]


def needs_group(path: str) -> bool:
    """Whether a path must come with `AI-Resource-Group`."""
    return path.startswith("/v2/lm/") and path != "/v2/lm/meta"


def answer(ask: Ask) -> Reply:
    """Answer a GET; 404 in the AI API's shape for what is not there."""
    handler = _EXACT.get(ask.path)
    if handler is not None:
        return handler(ask)
    for prefix, keyed in _KEYED.items():
        if ask.path.startswith(prefix):
            return keyed(ask, ask.path[len(prefix) :])
    return _absent(ask)


def _absent(ask: Ask) -> Reply:
    return api_error(404, "The requested resource was not found.", code="01010404", target=f"/api{ask.path}")


def _invalid(ask: Ask, message: str) -> Reply:
    return api_error(400, message, code="01010001", target=f"/api{ask.path}")


def _page(ask: Ask, resources: list[Any]) -> Reply:
    """One page; `count` is the number of all."""
    try:
        top, skip = int(ask.query.get("$top", DEFAULT_TOP)), int(ask.query.get("$skip", 0))
    except ValueError:
        return _invalid(ask, "$top and $skip must be numbers.")
    if not 1 <= top <= MAX_TOP or skip < 0:
        return _invalid(ask, f"$top must be between 1 and {MAX_TOP}, $skip not negative.")
    top = min(top, ask.settings.page_limit or top)
    return reply_json({"count": len(resources), "resources": resources[skip : skip + top]})


def _filtered(ask: Ask) -> Iterable[Deployment]:
    query = ask.query
    executables = query.get("executableIds", "").split(",") if "executableIds" in query else None
    for deployment in ask.deployments:
        if executables is not None and deployment.executable not in executables:
            continue
        if query.get("scenarioId", deployment.scenario) != deployment.scenario:
            continue
        if query.get("configurationId", deployment.configuration_id) != deployment.configuration_id:
            continue
        if query.get("status", deployment.status) != deployment.status:
            continue
        yield deployment


def _deployments(ask: Ask) -> Reply:
    if ask.query.get("status", "RUNNING") not in _STATUSES:
        return _invalid(ask, f"status must be one of {', '.join(_STATUSES)}.")
    if ask.query.get("$select", "status") != "status":
        return _invalid(ask, "$select takes only `status`.")
    listed = [deployment.listing() for deployment in _filtered(ask)]
    if "$select" in ask.query:
        listed = [{"id": shown["id"], "status": shown["status"]} for shown in listed]
    return _page(ask, listed)


def _count(ask: Ask) -> Reply:
    return reply_text(200, str(len(list(_filtered(ask)))))


def _deployment(ask: Ask, key: str) -> Reply:
    for deployment in ask.deployments:
        if deployment.id == key:
            return reply_json(deployment.listing())
    return _absent(ask)


def _configurations(ask: Ask) -> Reply:
    found = [deployment.configuration() for deployment in ask.deployments]
    for name in ("scenarioId", "executableId"):
        found = [c for c in found if ask.query.get(name, c[name]) == c[name]]
    return _page(ask, found)


def _configuration(ask: Ask, key: str) -> Reply:
    for deployment in ask.deployments:
        if deployment.configuration_id == key:
            return reply_json(deployment.configuration())
    return _absent(ask)


_SCENARIOS = {
    "foundation-models": "Models of several providers, each through its own executable",
    "orchestration": "Templating, filtering, masking and grounding around a model",
}


def _scenarios(ask: Ask) -> Reply:
    return _page(
        ask,
        [
            {
                "id": name,
                "name": name,
                "description": description,
                "labels": [],
                "createdAt": CREATED_AT,
                "modifiedAt": CREATED_AT,
            }
            for name, description in _SCENARIOS.items()
        ],
    )


def _scenario_part(ask: Ask, rest: str) -> Reply:
    scenario, _, part = rest.partition("/")
    if scenario == "foundation-models" and part == "models":
        return _page(ask, [_described(model) for model in MODELS.values()])
    if scenario not in _SCENARIOS or part != "executables":
        return _absent(ask)
    wanted = scenario == "orchestration"
    models = {model.executable for model in MODELS.values()} - {"orchestration"}
    names = {"orchestration"} if wanted else models
    return _page(ask, [_executable(scenario, name) for name in sorted(names)])


def _executable(scenario: str, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "description": "",
        "scenarioId": scenario,
        "versionId": "0.0.1",
        "deployable": True,
        "labels": [],
        "parameters": [],
        "inputArtifacts": [],
        "outputArtifacts": [],
        "createdAt": CREATED_AT,
        "modifiedAt": CREATED_AT,
    }


def _described(model: Model) -> dict[str, Any]:
    """A model as in wire §3.4."""
    version = {
        "name": model.version,
        "isLatest": True,
        "deprecated": model.deprecated,
        "retirementDate": model.retirement_date,
        "contextLength": model.context_length,
        "inputTypes": list(model.input_types),
        "capabilities": list(model.capabilities),
        "metadata": [],
        "cost": [{"inputCost": "0.001"}, {"outputCost": "0.002"}],
        "suggestedReplacements": [],
        "streamingSupported": model.streaming,
        "orchestrationCapabilities": [],
    }
    return {
        "model": model.name,
        "executableId": model.executable,
        "displayName": model.display_name,
        "description": f"{model.display_name}, simulated",
        "accessType": "Remote",
        "provider": model.provider,
        "allowedScenarios": _allowed(model),
        "versions": [version],
    }


def _allowed(model: Model) -> list[dict[str, str]]:
    """Where it can be used: Responses is no part of orchestration, and some models are there only."""
    allowed = []
    if model.executable != "orchestration":
        allowed.append({"scenarioId": "foundation-models", "executableId": model.executable})
    if not model.responses_only:
        allowed.append({"scenarioId": "orchestration", "executableId": "orchestration"})
    return allowed


def _resource_groups(ask: Ask) -> Reply:
    return _page(
        ask,
        [
            {
                "resourceGroupId": name,
                "tenantId": ask.tenant.name,
                "zoneId": "",
                "createdAt": CREATED_AT,
                "labels": [],
                "status": "PROVISIONED",
                "statusMessage": "All onboarding steps are completed.",
            }
            for name in ask.tenant.resource_groups
        ],
    )


def _quota(ask: Ask) -> Reply:
    """A list, not an object with `resources` (wire §3.5)."""
    limit = ask.settings.rpm or 1_000_000
    details = [
        {
            "unit": "requestPerMinute",
            "limit": limit,
            "descriptors": {"modelName": model.name, "modelVersion": "*", "providerName": model.executable},
        }
        for model in MODELS.values()
    ]
    return reply_json([{"resourceType": "model", "quotaDetails": details}])


def _meta(ask: Ask) -> Reply:
    return reply_json({"runtimeIdentifier": "aicore", "aiApi": {"version": "2.42.0"}, "extensions": []})


_EXACT: dict[str, Callable[[Ask], Reply]] = {
    "/v2/lm/deployments": _deployments,
    "/v2/lm/deployments/$count": _count,
    "/v2/lm/configurations": _configurations,
    "/v2/lm/scenarios": _scenarios,
    "/v2/lm/meta": _meta,
    "/v2/admin/resourceGroups": _resource_groups,
    "/v2/admin/quota/model": _quota,
}

_KEYED: dict[str, Callable[[Ask, str], Reply]] = {
    "/v2/lm/deployments/": _deployment,
    "/v2/lm/configurations/": _configuration,
    "/v2/lm/scenarios/": _scenario_part,
}
