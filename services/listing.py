"""The model list as callers see it: TTL-cached through aiocache, one refresh at a time under load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.calls import Caller
from services.catalog import Catalog, Model
from services.refreshed import Refreshed
from services.translation.capabilities import EMBEDDINGS

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

    async def anthropic(self, caller: Caller) -> dict[str, Any]:
        """Return the models in Anthropic's shape (wire §8.6), all on one page."""
        data = [_anthropic(one) for one in (await self.all(caller))["data"]]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
        return {"data": data, "has_more": False, "first_id": None, "last_id": None, **ends}

    def anthropic_one(self, name: str, caller: Caller) -> dict[str, Any]:
        """Return one model in Anthropic's shape. Raises UnknownModel."""
        return _anthropic(self.one(name, caller))

    async def gemini(self, caller: Caller) -> dict[str, Any]:
        """Return the models in Gemini's shape, all on one page."""
        return {"models": [_gemini(one) for one in (await self.all(caller))["data"]]}

    def gemini_one(self, name: str, caller: Caller) -> dict[str, Any]:
        """Return one model in Gemini's shape. Raises UnknownModel."""
        return _gemini(self.one(name, caller))

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


def _anthropic(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "model",
        "id": one["id"],
        "display_name": one["id"],
        "created_at": "1970-01-01T00:00:00Z",  # SAP AI Core does not say
        "max_input_tokens": one.get("context_length"),
        "max_tokens": one.get("max_output_tokens"),
    }


def _gemini(one: Mapping[str, Any]) -> dict[str, Any]:
    embeds = EMBEDDINGS in one["capabilities"]
    return {
        "name": f"models/{one['id']}",
        "displayName": one["id"],
        "inputTokenLimit": one.get("context_length"),
        "outputTokenLimit": one.get("max_output_tokens"),
        "supportedGenerationMethods": []
        if embeds
        else ["generateContent", "streamGenerateContent", "countTokens"],
    }
