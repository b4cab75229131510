"""The model list as callers see it: TTL-cached through aiocache, one refresh at a time under load."""

from __future__ import annotations

from typing import Any

from services.calls import Caller
from services.catalog import Catalog, Model
from services.refreshed import Refreshed

TTL_SECONDS = 10.0
STALE_SECONDS = 300.0


class ModelList:
    """GET /v1/models in OpenAI's shape, with what is known of each model beside it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._entries: Refreshed[list[dict[str, Any]]] = Refreshed(
            self._read, name="models", ttl_seconds=TTL_SECONDS, stale_seconds=STALE_SECONDS
        )

    async def all(self, caller: Caller) -> dict[str, Any]:
        """Return the models that this caller may use and that a deployment serves."""
        entries = [entry for entry in await self._entries.get() if caller.may_use(entry["id"])]
        return {"object": "list", "data": entries}

    def one(self, name: str, caller: Caller) -> dict[str, Any]:
        """Return one model by any of its names. Raises UnknownModel."""
        model = self._catalog.resolve(name, allowed=caller.may_use)
        if not caller.may_use(model.name):
            raise self._catalog.unknown(name, allowed=caller.may_use)
        return entry(model)

    async def forget(self) -> None:
        """Show a change at the next request: the deployments are others now."""
        await self._entries.forget()

    async def _read(self) -> list[dict[str, Any]]:
        return [entry(model) for model in self._catalog.listing() if model.facts.dialect]


def entry(model: Model) -> dict[str, Any]:
    """Return one entry of the list. `created` is 0: SAP AI Core does not say when a model was made."""
    facts = model.facts
    known = {
        "context_length": facts.context_length,
        "max_output_tokens": facts.max_output_tokens,
        "input_modalities": list(facts.inputs),
        "capabilities": list(facts.modes),
        "reasoning_efforts": list(facts.efforts),
        "aliases": [alias for alias in model.options.aliases],
    }
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "sap-ai-core",
        "family": model.family,
        **{name: value for name, value in known.items() if value},
    }
