"""`aicore-gateway check`: try every step from here to an answer, and say what to do about failures."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from server.settings import Settings, SubAccount
from server.wiring import build_services
from services.asking import Ask
from services.board import Board
from services.calls import ANONYMOUS, Call
from services.catalog import Model
from services.container import Services
from services.control_plane import open_client
from services.deployments import AccountDeployments, Discovery, Found, static_deployments
from services.errors import GatewayError, UpstreamDenied
from services.tokens import TokenProvider
from services.translation import chat, embeddings, fields
from services.translation.capabilities import CHAT, EMBEDDINGS
from services.translation.replies import Prepared, Target

_PROBE_TOKENS = 16


class Step(msgspec.Struct, frozen=True):
    """One thing that was tried. `ok` None means: not tried, and `text` says why."""

    sub_account: str
    name: str
    ok: bool | None
    text: str
    advice: str = ""
    seconds: float = 0.0


async def examine(settings: Settings, *, call_models: bool = True) -> AsyncIterator[Step]:
    """Yield each step when it has been tried, sub-account by sub-account, then model by model."""
    services = build_services(settings, Board())
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
            yield await _model_step(model, services, call=call_models)
    finally:
        await http.aclose()
        await services.close()


async def _account_steps(
    account: SubAccount, services: Services, http: Any, known: dict[str, AccountDeployments]
) -> AsyncIterator[Step]:
    name, credential = account.name, account.credential
    kind = "client secret" if credential.client_secret else "X.509 certificate"
    yield Step(name, "service key", True, f"readable, with a {kind}")
    tokens: TokenProvider = services.accounts[name].tokens
    started = time.perf_counter()
    try:
        await tokens.get()
    except GatewayError as exc:
        yield Step(
            name, "token", False, str(exc), "compare the service key with a new one from the BTP cockpit"
        )
        yield Step(name, "deployments", None, "not tried without a token")
        known[name] = _configured(account)
        return
    lifetime = tokens.state().lifetime_seconds or 0.0
    yield Step(name, "token", True, f"obtained; lives for {_spell(lifetime)}", seconds=_since(started))
    started = time.perf_counter()
    try:
        found = await Discovery(account.options, credential, tokens=tokens, http=http).read()
    except GatewayError as exc:
        denied = isinstance(exc, UpstreamDenied)
        yield Step(
            name, "resource group" if denied else "deployments", False, str(exc), _advice(account, denied)
        )
        known[name] = _configured(account)
        return
    group = account.options.resource_group
    yield Step(name, "resource group", True, f"'{group}' is accepted", seconds=_since(started))
    yield _listed(name, found)
    known[name] = AccountDeployments(account.options, _configured(account).configured, found.deployments)


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


def _advice(account: SubAccount, denied: bool) -> str:
    if denied:
        return f"is '{account.options.resource_group}' the resource group of this tenant, spelled exactly so?"
    return f"is {account.credential.api_url} the AI_API_URL of the service key?"


async def _model_step(model: Model, services: Services, *, call: bool) -> Step:
    label = f"model {model.name}"
    if not model.candidates:
        return Step(
            "", label, False, "no running deployment", "deploy it, or remove it from the configuration"
        )
    accounts = ", ".join(dict.fromkeys(one.sub_account for one in model.candidates))
    where = f"{len(model.candidates)} deployment(s) in {accounts}"
    if not model.facts.dialect:
        return Step(
            "", label, None, f"{where}; runs on {model.family}, which this version does not speak yet"
        )
    ask = _probe(model)
    if ask is None or not call:
        return Step("", label, None, f"{where}; not called")
    started = time.perf_counter()
    try:
        reply = await services.pipeline.whole(ask)
    except GatewayError as exc:
        return Step("", label, False, str(exc), exc.public if exc.public != str(exc) else "", _since(started))
    text = f"answered through {reply.deployment.sub_account}; {where}"
    return Step("", label, True, text, seconds=_since(started))


def _probe(model: Model) -> Ask | None:
    """Return the smallest request that the model can answer, None if it takes none that we know."""
    if CHAT in model.facts.modes:
        body = {"messages": [{"role": "user", "content": "Say ok."}], "max_tokens": _PROBE_TOKENS}
        prepare, surface = _prepare_chat, "chat"
    elif EMBEDDINGS in model.facts.modes:
        body, prepare, surface = {"input": "ok"}, embeddings.prepare, "embeddings"
    else:
        return None
    call = Call(surface=surface, caller=ANONYMOUS, request_id="check", started=time.perf_counter())
    return Ask(model=model.name, body={k: fields.raw(v) for k, v in body.items()}, prepare=prepare, call=call)


def _prepare_chat(body: fields.Fields, target: Target) -> Prepared:
    return chat.prepare(body, target, stream=False)


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def _spell(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
