"""Chat requests that ask for modules of SAP's orchestration, by an `orchestration` object of their own.

They go to orchestration deployments, also where the model has others. What the object says is read where the
request is translated; only the models that it names are looked up here, for the caller may not use them all.
"""

from __future__ import annotations

from typing import Any

from services.asking import Ask
from services.catalog import Catalog, Model
from services.errors import BadRequest
from services.translation import fields
from services.translation.capabilities import CHAT

_FIELD = "orchestration"
_FALLBACKS = f"{_FIELD}.fallbacks"


def routed(ask: Ask, model: Model) -> Model:
    """Return the model as the request has to reach it. Raises BadRequest where there is no such way."""
    if _FIELD not in ask.body or ask.call.surface != CHAT:
        return model
    served = model.through_orchestration()
    if served is None:
        raise BadRequest(
            f"'{_FIELD}' cannot be honoured: no orchestration deployment is there for '{model.name}'",
            param=_FIELD,
        )
    return served


def looked_up(ask: Ask, model: Model, catalog: Catalog) -> None:
    """Put backend names in place of the public ones that the object's `fallbacks` has; forget a null object.

    Raises BadRequest, or UnknownModel for a model that the caller may not use.
    """
    if _FIELD not in ask.body or ask.call.surface != CHAT:
        return
    body = dict(ask.body)
    asked = fields.read(ask.body, _FIELD, dict[str, Any])
    if asked is None:
        del body[_FIELD]
    elif isinstance(names := asked.get("fallbacks"), list):
        backends = [_backend(name, ask, model, catalog) for name in names]
        body[_FIELD] = fields.raw(asked | {"fallbacks": backends})
    ask.body = body


def _backend(name: object, ask: Ask, model: Model, catalog: Catalog) -> str:
    if not isinstance(name, str):
        raise BadRequest(f"'{_FALLBACKS}' must be a list of model names", param=_FALLBACKS)
    may_use = ask.call.caller.may_use
    other = catalog.resolve(name, allowed=may_use)
    if not may_use(other.name):
        raise catalog.unknown(name, allowed=may_use)
    served = other.through_orchestration()
    if served is None:
        raise BadRequest(f"no orchestration deployment is there for '{name}'", param=_FALLBACKS)
    if other.options.orchestration and other.options.orchestration != model.options.orchestration:
        raise BadRequest(
            f"'{name}' has modules of its own and cannot stand in for '{model.name}'", param=_FALLBACKS
        )
    return served.candidates[0].model
