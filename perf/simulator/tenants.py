"""Sub-accounts: their credentials, resource groups and deployments.

Everything is derived from names, so ids, secrets and URLs are the same in every run.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from perf.simulator.models import MODELS, Model

TENANT_NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")
CREATED_AT = "2026-03-03T12:02:12Z"
STARTED_AT = "2026-03-03T12:03:06Z"


def _digest(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def _uuid(*parts: object) -> str:
    digits = _digest(*parts)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


class Fixture(msgspec.Struct, frozen=True):
    """One deployment to be made, with the oddities its listing shows (wire §3.2, §9.3)."""

    model: str | None
    """None makes an orchestration deployment."""
    status: str = "RUNNING"
    shows_executable: bool = True
    spellings: tuple[str, ...] = ("backendDetails", "backend_details")
    version: str = ""
    """Model version as listed; empty takes the model's own."""


_OLD_SPELLING = ("backendDetails",)

_ALPHA = (
    Fixture("gpt-5"),
    Fixture("gpt-5", version="latest"),
    Fixture("gpt-5-mini", shows_executable=False),
    Fixture("gpt-4.1", spellings=_OLD_SPELLING),
    Fixture("text-embedding-3-small", version="latest"),
    Fixture("mistralai--mistral-small"),
    Fixture("qwen3-max"),
    Fixture(None),
    Fixture("gpt-5-nano", status="PENDING"),
    Fixture("gpt-4.1-mini", status="STOPPED"),
    Fixture("gemini-2.5-flash-lite"),
    Fixture("gemini-3.5-flash"),
    Fixture("gemini-embedding"),
    Fixture("cohere--command-a-reasoning"),
    Fixture("nvidia--llama-3.2-nv-embedqa-1b"),
    Fixture("sonar"),
    Fixture("gpt-5.5"),
    Fixture("gpt-5.3-codex"),
    Fixture("gpt-5.1"),
    Fixture("anthropic--claude-4.5-haiku"),
    Fixture("anthropic--claude-4.5-sonnet"),
    Fixture("anthropic--claude-4.6-sonnet"),
    Fixture("anthropic--claude-4.8-opus"),
    Fixture("amazon--nova-pro"),
    Fixture("amazon--nova-lite"),
    Fixture("amazon--titan-embed-text"),
)
_OTHERS = (
    Fixture("gpt-5"),
    Fixture("gpt-4.1", shows_executable=False, version="latest"),
    Fixture("gpt-4.1-mini"),
    Fixture("mistralai--mistral-small", spellings=_OLD_SPELLING),
    Fixture(None),
    Fixture("qwen3-max", status="PENDING"),
    Fixture("gpt-5-mini", status="STOPPED"),
    Fixture("gemini-2.5-flash-lite"),
    Fixture("gemini-3.5-flash"),
    Fixture("gemini-embedding"),
    Fixture("cohere--command-a-reasoning"),
    Fixture("nvidia--llama-3.2-nv-embedqa-1b"),
    Fixture("sonar"),
    Fixture("gpt-5.5"),
    Fixture("gpt-5.3-codex"),
    Fixture("anthropic--claude-4.5-sonnet"),
    Fixture("anthropic--claude-4.6-sonnet"),
    Fixture("amazon--nova-lite"),
    Fixture("amazon--titan-embed-text"),
)
FIXTURES: dict[str, tuple[Fixture, ...]] = {name: _OTHERS for name in TENANT_NAMES} | {"alpha": _ALPHA}


class Deployment(msgspec.Struct):
    """A deployment; only its status changes, through `/_sim/deployments/{id}`, and its memory."""

    id: str
    tenant: str
    resource_group: str
    executable: str
    model: Model | None
    configuration_id: str
    configuration_name: str
    base_url: str
    fixture: Fixture
    status: str
    memory: dict[str, Any] = msgspec.field(default_factory=dict)
    """What the servers behind it remember, such as stored responses."""

    @property
    def scenario(self) -> str:
        """`orchestration` or `foundation-models`."""
        return "orchestration" if self.model is None else "foundation-models"

    @property
    def url(self) -> str:
        """Empty until the deployment runs (wire §3.2)."""
        return (
            ""
            if self.status in ("PENDING", "UNKNOWN")
            else f"{self.base_url}/v2/inference/deployments/{self.id}"
        )

    def _details(self) -> dict[str, Any]:
        if self.model is None:
            details: dict[str, Any] = {}
        else:
            details = {
                "model": {"name": self.model.name, "version": self.fixture.version or self.model.version}
            }
        spellings = self.fixture.spellings
        return {
            "scaling": {name: {} for name in spellings},
            "resources": {name: details for name in spellings},
        }

    def listing(self) -> dict[str, Any]:
        """The deployment as the management plane shows it."""
        shown: dict[str, Any] = {
            "id": self.id,
            "deploymentUrl": self.url,
            "configurationId": self.configuration_id,
            "configurationName": self.configuration_name,
            "executableId": self.executable,
            "scenarioId": self.scenario,
            "status": self.status,
            "statusMessage": None,
            "targetStatus": "STOPPED" if self.status in ("STOPPING", "STOPPED") else "RUNNING",
            "lastOperation": "CREATE",
            "latestRunningConfigurationId": self.configuration_id,
            "ttl": None,
            "details": self._details(),
            "createdAt": CREATED_AT,
            "modifiedAt": CREATED_AT,
            "submissionTime": CREATED_AT,
            "startTime": STARTED_AT if self.status == "RUNNING" else None,
            "completionTime": STARTED_AT if self.status == "STOPPED" else None,
        }
        if not self.fixture.shows_executable:
            del shown["executableId"]
        return shown

    def configuration(self) -> dict[str, Any]:
        """The configuration behind the deployment (wire §3.3)."""
        bindings = []
        if self.model is not None:
            bindings = [
                {"key": "modelName", "value": self.model.name},
                {"key": "modelVersion", "value": self.fixture.version or self.model.version},
            ]
        return {
            "id": self.configuration_id,
            "name": self.configuration_name,
            "scenarioId": self.scenario,
            "executableId": self.executable,
            "parameterBindings": bindings,
            "inputArtifactBindings": [],
            "createdAt": CREATED_AT,
        }


class Tenant(msgspec.Struct):
    """A sub-account with one service key."""

    name: str
    base_url: str
    resource_groups: tuple[str, ...]
    deployments: list[Deployment]

    @property
    def client_id(self) -> str:
        """With the `!` and `|` of the real ones."""
        return f"sb-{_uuid(self.name, 'client')}!b123|aicore!b540"

    @property
    def client_secret(self) -> str:
        """With characters that must be form-encoded."""
        return f"{_digest(self.name, 'secret')[:20]}$simulated+{self.name}="

    def service_key(self, *, certificate: str = "", key: str = "") -> dict[str, Any]:
        """The service key, with a secret, or with PEM texts the X.509 variant (wire §1.1, §1.2)."""
        document: dict[str, Any] = {
            "serviceurls": {"AI_API_URL": self.base_url},
            "appname": f"{_uuid(self.name, 'app')}!b123|aicore!b540",
            "clientid": self.client_id,
            "identityzone": self.name,
            "identityzoneid": _uuid(self.name, "zone"),
            "url": self.base_url,
        }
        if certificate:
            return document | {"certurl": self.base_url, "certificate": certificate, "key": key}
        return document | {"clientsecret": self.client_secret}

    def environment(self) -> dict[str, str]:
        """The variables that SAP's SDKs read (wire §1.3)."""
        return {
            "AICORE_AUTH_URL": self.base_url,
            "AICORE_BASE_URL": self.base_url,
            "AICORE_CLIENT_ID": self.client_id,
            "AICORE_CLIENT_SECRET": self.client_secret,
            "AICORE_RESOURCE_GROUP": self.resource_groups[0],
        }


def make_tenants(count: int, *, base_url: str, resource_groups: tuple[str, ...]) -> list[Tenant]:
    """The first `count` tenants, all deployments in the first resource group.

    Raises ValueError for more tenants than there are names.
    """
    if not 1 <= count <= len(TENANT_NAMES):
        raise ValueError(f"between 1 and {len(TENANT_NAMES)} tenants, not {count}")
    return [
        Tenant(name, base_url, resource_groups, _deployments(name, base_url, resource_groups[0]))
        for name in TENANT_NAMES[:count]
    ]


def _deployments(tenant: str, base_url: str, resource_group: str) -> list[Deployment]:
    return [
        _deployment(tenant, base_url, resource_group, place, fixture)
        for place, fixture in enumerate(FIXTURES[tenant])
    ]


def _deployment(tenant: str, base_url: str, resource_group: str, place: int, fixture: Fixture) -> Deployment:
    model = None if fixture.model is None else MODELS[fixture.model]
    return Deployment(
        id="d" + _digest(tenant, place, fixture.model)[:15],
        tenant=tenant,
        resource_group=resource_group,
        executable="orchestration" if model is None else model.executable,
        model=model,
        configuration_id=_uuid(tenant, place, "configuration"),
        configuration_name="defaultOrchestrationConfig" if model is None else f"{model.name}-{place}",
        base_url=base_url,
        fixture=fixture,
        status=fixture.status,
    )
