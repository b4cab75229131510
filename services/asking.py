"""A request as the pipeline takes it, and how far the pipeline goes for its answer."""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import msgspec

from services.calls import Call, Caller
from services.catalog import Catalog, Model
from services.deployments import Deployment
from services.errors import BadRequest
from services.inflight import Mode
from services.translation import fields
from services.translation.fields import Fields
from services.translation.replies import Inline, Prepared, Target
from services.upstream import TimeLimits


class Prepare(Protocol):
    """How a surface translates a request for a model."""

    def __call__(self, body: Fields, target: Target, /) -> Prepared:
        """Return the request in the upstream's form. Raises BadRequest."""


class Ask(msgspec.Struct):
    """A request as its surface read it."""

    model: str
    body: Fields
    prepare: Prepare
    call: Call
    idempotency_key: str | None = None
    pinned: str = ""
    """The one deployment that can serve it, "sub-account/id"; empty for any."""
    fetched: Mapping[str, Inline] = {}
    """What remote URLs in the body stand for."""
    deadline: float = math.inf
    """When the caller gives up (`time.perf_counter`): nothing is begun that cannot be done until then."""
    hold: bool = False
    """Whether a stream is held back until it is complete, so that a cut one can be tried again unseen."""


class Options(msgspec.Struct, frozen=True):
    """How far the pipeline goes for an answer."""

    attempts: int = 3
    dedup: Mode = "safe"
    limits: TimeLimits = TimeLimits()
    in_flight: int | None = None
    """How many requests a deployment may have at once."""
    api_version: str = "2025-04-01-preview"


def prepare(ask: Ask, model: Model, deployment: Deployment, *, api_version: str) -> Prepared:
    """Translate for one deployment's backend model: during a rollout they may differ.

    Raises BadRequest for a model that is not spoken, or a field that it cannot honour.
    """
    facts = model.facts_of(deployment)
    if not facts.dialect:
        kind = model.family or "an unknown kind of deployment"
        raise BadRequest(
            f"the model '{model.name}' runs on {kind}, which this gateway does not speak yet", param="model"
        )
    options = model.options
    target = Target(
        # Clients compare: Claude Code forgets its thinking when another name answers than it asked for.
        public_name=ask.model if ask.call.model == model.name else model.name,
        backend_model=deployment.model,
        facts=facts,
        api_version=options.api_version or api_version,
        defaults={name: fields.raw(value) for name, value in options.defaults.items()},
        version=deployment.version or "latest",
        modules=options.orchestration,
        fetched=ask.fetched,
        caller=caller_tag(ask.call.caller),
        mint=_mint,
    )
    return ask.prepare(ask.body, target)


def _mint() -> tuple[str, int]:
    # The module's own generator: it is seeded anew in a forked worker, one of ours would not be.
    return f"{random.getrandbits(96):024x}", int(time.time())


def caller_tag(caller: Caller) -> str:
    """Return what tells this caller's stored answers from those of others (`Target.caller`)."""
    return _tag(caller.id)


@lru_cache(maxsize=4096)
def _tag(caller: bytes) -> str:
    """Return a name for the caller that says nothing about its key."""
    return hashlib.sha256(b"stored answers of " + caller).hexdigest()[:16]


def fallback_names(ask: Ask, model: Model) -> list[str]:
    """Return the configured fallbacks that the caller may use."""
    return [name for name in model.options.fallbacks if ask.call.caller.may_use(name)]


def fallbacks(ask: Ask, model: Model, catalog: Catalog) -> list[Model]:
    """Return those of them that something serves now."""
    known = map(catalog.find, fallback_names(ask, model))
    return [other for other in known if other is not None and other.candidates]
