"""`aicore-gateway check`: try every step from here to an answer, and say what to do about failures."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from server.faults import ConfigError
from server.settings import Settings, SubAccount
from server.wiring import build_services
from services.asking import Ask, Prepare
from services.board import Board
from services.calls import ANONYMOUS, Call
from services.catalog import Model
from services.causes import cause_of
from services.container import Services
from services.control_plane import open_client
from services.deployments import AccountDeployments, Discovery, Found, HalfRead, static_deployments
from services.errors import GatewayError, UpstreamDenied, UpstreamUnreachable
from services.tokens import TokenProvider
from services.translation import embeddings, fields, translate
from services.translation.capabilities import CHAT, EMBEDDINGS, RESPONSES

_PROBE_TOKENS = 16
_COMPARE = "compare the service key with a new one from the BTP cockpit"


class Step(msgspec.Struct, frozen=True):
    """One thing that was tried. `ok` None means: not tried, and `text` says why."""

    sub_account: str
    name: str
    ok: bool | None
    text: str
    advice: str = ""
    seconds: float = 0.0


async def examine(settings: Settings, *, call_models: bool = True) -> AsyncIterator[Step]:
    """Yield each step when it has been tried, sub-account by sub-account, then each model in each of them."""
    services = build_services(_without_fallbacks(settings), Board())
    http = open_client()
    known: dict[str, AccountDeployments] = {}
    try:
        for account in settings.sub_accounts:
            async for step in _account_steps(account, services, http, known):
                yield step
        services.catalog.update(known)
        for note in services.catalog.notes:
            yield Step("", "catalog", True, note)
        for model in services.catalog.models():
            if not model.candidates:
                yield _unserved(model)
        for name, deployments in known.items():
            # Alone in the catalog, so that no other sub-account answers for this one.
            services.catalog.update({name: deployments})
            for model in services.catalog.models():
                if model.candidates:
                    call = call_models and services.accounts[name].tokens.state().ready
                    yield await _model_step(name, model, services, call=call)
    finally:
        await http.aclose()
        await services.close()


def faulty(error: ConfigError) -> list[Step]:
    """Return a failed step for each fault of a configuration that cannot be used at all."""
    return [
        Step("", "configuration", False, f"{one.where}: {one.problem}", one.remedy) for one in error.faults
    ]


def _without_fallbacks(settings: Settings) -> Settings:
    """Have each model answer for itself."""
    models = {name: replace(options, fallbacks=()) for name, options in settings.models.items()}
    return replace(settings, models=models)


async def _account_steps(
    account: SubAccount, services: Services, http: Any, known: dict[str, AccountDeployments]
) -> AsyncIterator[Step]:
    name, credential = account.name, account.credential
    kind = "client secret" if credential.client_secret else "X.509 certificate"
    yield Step(name, "service key", True, f"readable, with a {kind}")
    tokens: TokenProvider = services.accounts[name].tokens
    known[name] = _configured(account)
    started = time.perf_counter()
    try:
        await tokens.get()
    except GatewayError as exc:
        yield Step(name, "token", False, str(exc), _advice(exc, _COMPARE), _since(started))
        yield Step(name, "deployments", None, "not tried without a token")
        return
    lifetime = tokens.state().lifetime_seconds or 0.0
    yield Step(name, "token", True, f"obtained; lives for {_spell(lifetime)}", seconds=_since(started))
    started = time.perf_counter()
    failure: GatewayError | None = None
    try:
        found = await Discovery(account.options, credential, tokens=tokens, http=http).read()
    except HalfRead as exc:
        found, failure = exc.found, exc
    except GatewayError as exc:
        yield _undiscovered(account, exc, _since(started))
        return
    group = account.options.resource_group
    yield Step(name, "resource group", True, f"'{group}' is accepted", seconds=_since(started))
    yield _listed(name, found) if failure is None else _half_listed(name, found, failure)
    known[name] = AccountDeployments(account.options, known[name].configured, found.deployments)


def _undiscovered(account: SubAccount, failure: GatewayError, seconds: float) -> Step:
    name, group = account.name, account.options.resource_group
    if isinstance(failure, UpstreamDenied):
        advice = f"is '{group}' the resource group of this tenant, spelled exactly so?"
        return Step(name, "resource group", False, str(failure), advice, seconds)
    otherwise = f"is {account.credential.api_url} the AI_API_URL of the service key?"
    return Step(name, "deployments", False, str(failure), _advice(failure, otherwise), seconds)


def _half_listed(name: str, found: Found, failure: GatewayError) -> Step:
    text = f"{len(found.deployments)} running, but not all could be read: {failure}"
    otherwise = "try again; the gateway does so by itself, and keeps what it knows"
    return Step(name, "deployments", False, text, _advice(failure, otherwise))


def _advice(failure: GatewayError, otherwise: str) -> str:
    """Return what to do about a failure; `otherwise` where its cause says nothing."""
    return cause_of(failure).advice or otherwise


def _listed(name: str, found: Found) -> Step:
    running = len(found.deployments)
    notes = "; ".join(found.notes)
    text = f"{running} running" + (f" ({notes})" if notes else "")
    advice = "" if running else "create a deployment in SAP AI Launchpad, or check the resource group"
    return Step(name, "deployments", bool(running), text, advice)


def _configured(account: SubAccount) -> AccountDeployments:
    return AccountDeployments(
        account.options, static_deployments(account.options, account.credential.api_url), ()
    )


def _unserved(model: Model) -> Step:
    advice = "deploy it, or remove it from the configuration"
    return Step("", f"model {model.name}", False, "no running deployment", advice)


async def _model_step(account: str, model: Model, services: Services, *, call: bool) -> Step:
    label = f"model {model.name}"
    count = len(model.candidates)
    where = "1 deployment" if count == 1 else f"{count} deployments"
    if not model.facts.dialect:
        text = f"{where}; runs on {model.family}, which this version does not speak yet"
        return Step(account, label, None, text)
    ask = _probe(model)
    if ask is None or not call:
        return Step(account, label, None, f"{where}; not called")
    started = time.perf_counter()
    try:
        await services.pipeline.whole(ask)
    except GatewayError as exc:
        advice = exc.public if exc.public != str(exc) else ""
        if isinstance(exc, UpstreamUnreachable):
            advice = cause_of(exc).advice
        return Step(account, label, False, str(exc), advice, _since(started))
    return Step(account, label, True, f"answered; {where}", seconds=_since(started))


def _probe(model: Model) -> Ask | None:
    """Return the smallest request that the model can answer, None if it takes none that we know."""
    if CHAT in model.facts.modes or RESPONSES in model.facts.modes:
        body = {"messages": [{"role": "user", "content": "Say ok."}], "max_tokens": _PROBE_TOKENS}
        prepare: Prepare = partial(translate.prepare, surface="chat", stream=False)
        surface = "chat"
    elif EMBEDDINGS in model.facts.modes:
        body, prepare, surface = {"input": "ok"}, embeddings.prepare, "embeddings"
    else:
        return None
    call = Call(surface=surface, caller=ANONYMOUS, request_id="check", started=time.perf_counter())
    return Ask(model=model.name, body={k: fields.raw(v) for k, v in body.items()}, prepare=prepare, call=call)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def _spell(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
