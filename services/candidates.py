"""Which deployments of a sub-account may serve a model: its own, and those of SAP's orchestration.

Orchestration reaches every model through one deployment; several of them are versions of the same, so the
newest is taken (wire §3.2), unless the configuration names others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from services.deployment_list import ORCHESTRATION
from services.deployments import AccountDeployments, Deployment
from services.options import ModelOptions
from services.watch import NameFilter


class Orchestration:
    """What one sub-account has of orchestration: the newest deployment discovered, and configured ones."""

    def __init__(self, known: AccountDeployments, notes: list[str]) -> None:
        self._known = known
        self._wanted = NameFilter(known.account)
        found = [one for one in known.discovered if one.executable == ORCHESTRATION]
        found.sort(key=lambda one: (one.started_at, one.id), reverse=True)
        self._newest = found[:1]
        for older in found[1:]:
            notes.append(f"orchestration: deployment {older.id} is left out, {found[0].id} is newer")

    def reaches(self, model: str) -> bool:
        """Whether a backend model that nobody configured is to be had here."""
        return bool(self._newest) and self._wanted.discovered(model)

    def serving(self, name: str, options: ModelOptions, *, only: bool) -> Iterator[Deployment]:
        """Yield the deployments for a public name: the configured ones, or else the newest.

        Where orchestration is the `only` way, a configured deployment of an unknown kind can be no other.
        """
        if not _is_for(self._known, options):
            return
        backend = options.model or name
        kinds = (ORCHESTRATION, "") if only else (ORCHESTRATION,)
        configured = [one for one in _configured(self._known, name, backend) if one.executable in kinds]
        newest = self._newest if self.reaches(backend) else []
        for one in configured or newest:
            yield from _weighed(one, backend, options, self._known)


def native(
    name: str, options: ModelOptions, accounts: Mapping[str, AccountDeployments]
) -> Iterator[Deployment]:
    """Yield a name's deployments once each: configured before discovered, sub-account by sub-account."""
    backend = options.model or name
    for known in accounts.values():
        if not _is_for(known, options):
            continue
        discovered = [one for one in known.discovered if one.model == backend and is_model(one)]
        by_id: dict[str, Deployment] = {}
        for one in (*_configured(known, name, backend), *discovered):
            by_id.setdefault(one.id, one)
        for one in by_id.values():
            yield from _weighed(one, backend, options, known)


def _is_for(known: AccountDeployments, options: ModelOptions) -> bool:
    return not options.sub_accounts or known.account.name in options.sub_accounts


def _configured(known: AccountDeployments, name: str, backend: str) -> tuple[Deployment, ...]:
    own = known.configured.get(name, ())
    return own if backend == name else (*own, *known.configured.get(backend, ()))


def _weighed(
    one: Deployment, backend: str, options: ModelOptions, known: AccountDeployments
) -> Iterator[Deployment]:
    """Yield the deployment with its final weight and the model it serves, unless it is taken out."""
    weight = one.weight * options.weights.get(one.id, 1.0) * known.account.weight
    if weight > 0:
        yield msgspec.structs.replace(one, weight=weight, model=one.model or backend)


def is_model(deployment: Deployment) -> bool:
    """Whether the deployment is one model's own."""
    return bool(deployment.model) and deployment.executable != ORCHESTRATION
