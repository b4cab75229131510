"""The model list as callers see it: TTL-cached through aiocache, one refresh at a time under load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from services.calls import Caller
from services.catalog import Catalog, Model
from services.refreshed import Refreshed
from services.translation.capabilities import EMBEDDINGS

TTL_SECONDS = 10.0
STALE_SECONDS = 300.0


Entry = dict[str, Any]


class Shape(NamedTuple):
    """How one vendor's clients read models: one of them, and all on one page."""

    one: Callable[[Entry], Entry]
    page: Callable[[list[Entry]], Entry]


def _anthropic(one: Entry) -> Entry:
    return {
        "type": "model",
        "id": one["id"],
        "display_name": one["id"],
        "created_at": "1970-01-01T00:00:00Z",  # SAP AI Core does not say
        "max_input_tokens": one.get("context_length"),
        "max_tokens": one.get("max_output_tokens"),
    }


def _anthropic_page(data: list[Entry]) -> Entry:
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": ends[0], "last_id": ends[1]}


def _gemini(one: Entry) -> Entry:
    embeds = EMBEDDINGS in one["capabilities"]
    return {
        "name": f"models/{one['id']}",
        "displayName": one["id"],
        "inputTokenLimit": one.get("context_length"),
        "outputTokenLimit": one.get("max_output_tokens"),
        "supportedGenerationMethods": [] if embeds else _GEMINI_METHODS,
    }


_GEMINI_METHODS = ["generateContent", "streamGenerateContent", "countTokens"]

OPENAI = Shape(lambda one: one, lambda data: {"object": "list", "data": data})
ANTHROPIC = Shape(_anthropic, _anthropic_page)  # wire §8.6
GEMINI = Shape(_gemini, lambda models: {"models": models})


class ModelList:
    """GET /v1/models, with what is known of each model beside it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._entries: Refreshed[list[Entry]] = Refreshed(
            self._read, name="models", ttl_seconds=TTL_SECONDS, stale_seconds=STALE_SECONDS
        )

    async def all(self, caller: Caller, shape: Shape = OPENAI) -> Entry:
        """Return the models that this caller may use and that a deployment serves."""
        entries = [entry for entry in await self._entries.get() if caller.may_use(entry["id"])]
        return shape.page([shape.one(entry) for entry in entries])

    def one(self, name: str, caller: Caller, shape: Shape = OPENAI) -> Entry:
        """Return one model by any of its names. Raises UnknownModel."""
        model = self._catalog.resolve(name, allowed=caller.may_use)
        if not caller.may_use(model.name):
            raise self._catalog.unknown(name, allowed=caller.may_use)
        return shape.one(entry(model))

    async def forget(self) -> None:
        """Show a change at the next request: the deployments are others now."""
        await self._entries.forget()

    async def _read(self) -> list[Entry]:
        return [entry(model) for model in self._catalog.listing() if model.facts.dialect]


def entry(model: Model) -> Entry:
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
