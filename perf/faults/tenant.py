"""The tenant: two sub-accounts with deployments for every case, and the record of what reached them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from perf.faults.scenarios import HEALTHY, Case, Family

ACCOUNTS = ("one", "two")
FALLBACK = "fallback"
ANSWERED = "answered"
INFERENCE = "/v2/inference/deployments/"
_EXECUTABLES: Mapping[Family, str] = {"gpt": "azure-openai", "claude": "aws-bedrock"}


def resource_group(account: str) -> str:
    """The one in which all of an account's deployments are."""
    return f"group-{account}"


@dataclass(slots=True)
class Attempt:
    """One request that reached a deployment. Times are `time.monotonic` seconds."""

    route: str
    """`one` or `two` for a sub-account, `fallback` for the other model."""
    at: float
    number: int = 0
    """Which attempt on the broken route it is, from 1; 0 on a healthy route."""
    since: float = 0.0
    """Seconds since the broken route was first asked."""
    did: str = ""
    """What was answered; `ANSWERED` for a whole answer."""
    ended: float | None = None
    """When all had been said that there was to say."""
    left: float | None = None
    """When the gateway closed the connection, if that was before."""


@dataclass(slots=True)
class Record:
    """What happened in one case. The first route that is asked is the broken one, whichever it is."""

    broken: str | None = None
    attempts: list[Attempt] = field(default_factory=list)

    def arrived(self, route: str, now: float) -> Attempt:
        """Note an attempt."""
        if self.broken is None:
            self.broken = route
        attempt = Attempt(route, now)
        self.attempts.append(attempt)
        if route == self.broken:
            attempt.number = sum(one.route == route for one in self.attempts)
            attempt.since = now - self.attempts[0].at
        return attempt


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment of one case, or a healthy one that belongs to none."""

    id: str
    account: str
    model: str
    executable: str
    route: str
    case: Case | None = None

    def listing(self, base_url: str) -> dict[str, Any]:
        """As the management plane shows it (wire §3.2)."""
        backend = {"model": {"name": self.model, "version": "latest"}}
        return {
            "id": self.id, "deploymentUrl": f"{base_url}{INFERENCE}{self.id}",
            "configurationId": f"c-{self.id}", "configurationName": self.model,
            "executableId": self.executable, "scenarioId": "foundation-models", "status": "RUNNING",
            "targetStatus": "RUNNING", "latestRunningConfigurationId": f"c-{self.id}",
            "details": {"resources": {"backendDetails": backend, "backend_details": backend}},
            "createdAt": "2026-03-03T12:02:12Z", "startTime": "2026-03-03T12:03:06Z",
        }  # fmt: skip


def deployments(cases: Iterable[Case]) -> list[Deployment]:
    """All that the cases need, and one healthy deployment for each family."""
    found = [
        Deployment(f"d-ok-{family}", ACCOUNTS[0], model, _EXECUTABLES[family], ACCOUNTS[0])
        for family, model in HEALTHY.items()
    ]
    for case in cases:
        executable = _EXECUTABLES[case.family]
        for account in ACCOUNTS[: 2 if case.scenario.routes == "two" else 1]:
            found.append(Deployment(f"d{len(found):04}", account, case.model, executable, account, case))
        if case.fallback:
            found.append(
                Deployment(f"d{len(found):04}", ACCOUNTS[0], case.fallback, executable, FALLBACK, case)
            )
    return found
