"""What works now, truthfully: tokens, discovery, and which models can be served."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from services import metrics
from services.accounts import Account, why_unserved
from services.catalog import Catalog
from services.refreshed import Refreshed
from services.watch import AccountState, DeploymentWatch

TTL_SECONDS = 1.0
STALE_SECONDS = 30.0


class Health:
    """The health report of one worker, cached for a second."""

    def __init__(self, *, accounts: Mapping[str, Account], catalog: Catalog, watch: DeploymentWatch) -> None:
        self._accounts = accounts
        self._catalog = catalog
        self._watch = watch
        self.draining = False
        """Whether the gateway stops: what it still serves it serves, but it wants no more."""
        self._started = time.monotonic()
        self._report: Refreshed[dict[str, Any]] = Refreshed(
            self._read, name="health", ttl_seconds=TTL_SECONDS, stale_seconds=STALE_SECONDS
        )

    async def report(self) -> dict[str, Any]:
        """Return the whole report.

        `status` is ok, degraded (some models cannot be served), unavailable, or draining; `failing` counts
        the sub-accounts whose token or deployments cannot be renewed, though what they have may still serve.
        """
        report = await self._report.get()
        return {**report, "status": "draining"} if self.draining else report

    async def _read(self) -> dict[str, Any]:
        models = [model for model in self._catalog.models() if model.facts.dialect]
        reasons = {model.name: why_unserved(model.candidates, self._accounts) for model in models}
        unserved = {name: reason for name, reason in reasons.items() if reason}
        served = len(models) - len(unserved)
        self._gauge()
        sub_accounts = {state.name: self._account(state) for state in self._watch.state()}
        failing = [one for one in sub_accounts.values() if one["token_fault"] or one["discovery_fault"]]
        return {
            "status": "unavailable" if not served else "degraded" if unserved else "ok",
            "models": served,
            "unserved": unserved,
            "failing": len(failing),
            "sub_accounts": sub_accounts,
            "uptime_seconds": round(time.monotonic() - self._started),
        }

    def _account(self, state: AccountState) -> dict[str, Any]:
        """Return how one sub-account fares. Faults are told in words that name no address."""
        token = self._accounts[state.name].tokens.state()
        return {
            "token": "ok" if token.ready else "missing",
            "token_fault": token.reason if token.ready else token.reason or "not here yet",
            "token_expires_in_seconds": _rounded(token.expires_in_seconds),
            "discovery": "off" if not state.discover else "ok" if state.ok else "failing",
            "discovery_fault": None if state.ok else state.reason or "no answer yet",
            "discovered_seconds_ago": _rounded(state.since_success_seconds),
            "deployments": state.deployments,
        }

    def _gauge(self) -> None:
        for state in self._watch.state():
            metrics.DEPLOYMENTS.labels(state.name).set(state.deployments)
            seconds = self._accounts[state.name].tokens.state().expires_in_seconds
            metrics.TOKEN_SECONDS.labels(state.name).set(seconds or 0.0)


def _rounded(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)
