"""What works now, truthfully: tokens, discovery, and which models can be served."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from services import metrics
from services.accounts import Account
from services.catalog import Catalog, Model
from services.refreshed import Refreshed
from services.watch import DeploymentWatch

TTL_SECONDS = 1.0
STALE_SECONDS = 30.0


class Health:
    """The health report of one worker, cached for a second."""

    def __init__(self, *, accounts: Mapping[str, Account], catalog: Catalog, watch: DeploymentWatch) -> None:
        self._accounts = accounts
        self._catalog = catalog
        self._watch = watch
        self._started = time.monotonic()
        self._report: Refreshed[dict[str, Any]] = Refreshed(
            self._read, name="health", ttl_seconds=TTL_SECONDS, stale_seconds=STALE_SECONDS
        )

    async def report(self) -> dict[str, Any]:
        """Return the whole report. `status` is ok, degraded (some models cannot be served) or unavailable."""
        return await self._report.get()

    async def _read(self) -> dict[str, Any]:
        models = [model for model in self._catalog.models() if model.facts.dialect]
        unserved = {model.name: reason for model in models if (reason := self._unserved(model))}
        served = len(models) - len(unserved)
        self._gauge()
        return {
            "status": "unavailable" if not served else "degraded" if unserved else "ok",
            "models": served,
            "unserved": unserved,
            "sub_accounts": {state.name: self._account(state.name) for state in self._watch.state()},
            "uptime_seconds": round(time.monotonic() - self._started),
        }

    def _unserved(self, model: Model) -> str | None:
        """Return why the model cannot be served now, None if it can."""
        if not model.candidates:
            return "no running deployment"
        if not any(self._accounts[one.sub_account].tokens.state().ready for one in model.candidates):
            return "no token for its sub-account"
        return None

    def _account(self, name: str) -> dict[str, Any]:
        token = self._accounts[name].tokens.state()
        state = next(state for state in self._watch.state() if state.name == name)
        return {
            "token": "ok" if token.ready else "missing",
            "token_expires_in_seconds": None
            if token.expires_in_seconds is None
            else round(token.expires_in_seconds),
            "discovery": "off" if not state.discover else "ok" if state.ok else "failing",
            "deployments": state.configured + state.discovered,
        }

    def _gauge(self) -> None:
        for state in self._watch.state():
            metrics.DEPLOYMENTS.labels(state.name).set(state.configured + state.discovered)
            seconds = self._accounts[state.name].tokens.state().expires_in_seconds
            metrics.TOKEN_SECONDS.labels(state.name).set(seconds or 0.0)
