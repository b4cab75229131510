"""Read a sub-account's deployments from the AI API (wire §3.2), and those that are only configured.

`Discovery` asks once and says what is there now; `services.watch` keeps asking.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import msgspec
from cachetools import LRUCache

from services.control_plane import Answer, Sleep, exchange, retry_after
from services.credentials import Credential
from services.errors import (
    GatewayError,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamRefused,
)
from services.options import SubAccountOptions, Target

ORCHESTRATION = "orchestration"
CLIENT_TYPE = "aicore-gateway"

PAGE_SIZE = 1000
MAX_PAGES = 100
MAX_NOTES = 20
CONFIGURATIONS_AT_ONCE = 8
CONFIGURATIONS_CACHED = 4096

_ID_IN_URL = re.compile(r"/deployments/([\w.-]+)")


class Deployment(msgspec.Struct, frozen=True, gc=False):
    """One deployment that may be called. `(sub_account, id)` identifies it; the rest may be learned later."""

    id: str
    url: str
    """Without a trailing slash; sub-paths are appended."""
    sub_account: str
    resource_group: str
    executable: str = ""
    """Decides the wire form; empty when nobody has said it."""
    model: str = ""
    """The backend's name of the model; empty for orchestration."""
    version: str = ""
    weight: float = 1.0
    started_at: str = ""
    """When it began to run, or else was created: ISO 8601 in UTC, as the AI API says it. Empty if unknown."""

    @property
    def origin(self) -> str:
        """What tells it from every other deployment."""
        return f"{self.sub_account}/{self.id}"


class Found(msgspec.Struct, frozen=True):
    """What one discovery brought."""

    deployments: tuple[Deployment, ...]
    notes: tuple[str, ...] = ()
    """What was left out and why, for the operator."""


@dataclass(frozen=True, slots=True)
class AccountDeployments:
    """What can be called in one sub-account: configured by public name, and discovered."""

    account: SubAccountOptions
    configured: Mapping[str, tuple[Deployment, ...]]
    discovered: tuple[Deployment, ...] = ()


class Tokens(Protocol):
    """The part of `TokenProvider` that is needed here."""

    async def get(self) -> str: ...  # noqa: D102 - see TokenProvider

    def invalidate(self, token: str) -> bool: ...  # noqa: D102 - see TokenProvider


class _Model(msgspec.Struct):
    name: str | None = None
    version: str | None = None


class _Backend(msgspec.Struct):
    model: _Model | None = None


class _Resources(msgspec.Struct):
    # Newer answers carry both spellings, older ones only the first.
    camel: _Backend | None = msgspec.field(default=None, name="backendDetails")
    snake: _Backend | None = msgspec.field(default=None, name="backend_details")


class _Details(msgspec.Struct):
    resources: _Resources | None = None


class _Entry(msgspec.Struct, rename="camel"):
    id: str
    status: str | None = None
    deployment_url: str | None = None
    configuration_id: str | None = None
    latest_running_configuration_id: str | None = None
    executable_id: str | None = None
    scenario_id: str | None = None
    start_time: str | None = None
    created_at: str | None = None
    details: _Details | None = None

    def model(self) -> _Model:
        resources = (self.details and self.details.resources) or _Resources()
        named = (
            side.model
            for side in (resources.camel, resources.snake)
            if side and side.model and side.model.name
        )
        return next(named, _Model())

    def is_orchestration(self) -> bool:
        return ORCHESTRATION in (self.executable_id, self.scenario_id)

    def configuration(self) -> str:
        return self.latest_running_configuration_id or self.configuration_id or ""


class _Page(msgspec.Struct):
    count: int | None = None
    resources: list[msgspec.Raw] = []


class _Binding(msgspec.Struct):
    key: str | None = None
    value: str | None = None


class _Configuration(msgspec.Struct, rename="camel"):
    executable_id: str | None = None
    parameter_bindings: list[_Binding] | None = None

    def parameter(self, key: str) -> str:
        bindings = self.parameter_bindings or []
        return next((b.value for b in bindings if b.key == key and b.value), "")


class Discovery:
    """The deployments of one sub-account's resource group, as the AI API tells them."""

    def __init__(
        self,
        account: SubAccountOptions,
        credential: Credential,
        *,
        tokens: Tokens,
        http: httpx.AsyncClient,
        page_size: int = PAGE_SIZE,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._account = account
        self._credential = credential
        self._tokens = tokens
        self._http = http
        self._page_size = page_size
        self._sleep = sleep
        # A configuration never changes, so each is read once.
        self._configurations: LRUCache[str, _Configuration] = LRUCache(CONFIGURATIONS_CACHED)

    async def read(self) -> Found:
        """Return the running deployments. Raises `UpstreamError` or `CredentialError`."""
        notes = _Notes()
        entries = [entry async for entry in self._entries(notes)]
        running = [entry for entry in entries if entry.status == "RUNNING"]
        notes.states(entry.status or "UNKNOWN" for entry in entries)
        gate = asyncio.Semaphore(CONFIGURATIONS_AT_ONCE)
        made = await asyncio.gather(*(self._deployment(entry, gate, notes) for entry in running))
        deployments = sorted((d for d in made if d is not None), key=lambda d: d.id)
        return Found(tuple(deployments), notes.taken())

    async def _entries(self, notes: _Notes) -> AsyncIterator[_Entry]:
        """Page through the list. Stops at the count, and at a page that brings nothing new."""
        seen: set[str] = set()
        read = 0
        for _ in range(MAX_PAGES):
            page = await self._page(skip=read)
            read += len(page.resources)
            new = [entry for entry in _decoded(page.resources, notes) if entry.id not in seen]
            seen.update(entry.id for entry in new)
            for entry in new:
                yield entry
            if not new or not self._more(page, read):
                return
        notes.add(f"the deployment list has more than {MAX_PAGES} pages; the rest was not read")

    def _more(self, page: _Page, read: int) -> bool:
        full = len(page.resources) >= self._page_size
        if page.count is None:
            return full
        # Some services count the page instead of the whole: a full first page proves nothing.
        return read < page.count or (full and page.count <= self._page_size)

    async def _page(self, *, skip: int) -> _Page:
        answer = await self._get("/lm/deployments", {"$top": self._page_size, "$skip": skip})
        try:
            return msgspec.json.decode(answer.body, type=_Page)
        except msgspec.DecodeError as exc:
            raise self._fault(UpstreamBroken, f"the deployment list cannot be read: {exc}") from exc

    async def _deployment(self, entry: _Entry, gate: asyncio.Semaphore, notes: _Notes) -> Deployment | None:
        url = (entry.deployment_url or "").rstrip("/")
        if not url.startswith(("https://", "http://")):
            notes.add(f"deployment {entry.id} runs but has no URL yet")
            return None
        model, executable = entry.model(), entry.executable_id or ""
        name = model.name or ""
        if entry.is_orchestration():
            executable, name = ORCHESTRATION, ""
        elif not (name and executable):
            async with gate:
                configuration = await self._configuration(entry, notes)
            executable = executable or configuration.executable_id or ""
            name = name or configuration.parameter("modelName")
            if not name and executable != ORCHESTRATION:
                notes.add(f"deployment {entry.id} names no model")
                return None
        return Deployment(
            id=entry.id,
            url=url,
            sub_account=self._account.name,
            resource_group=self._account.resource_group,
            executable=executable,
            model=name,
            version=model.version or "",
            started_at=entry.start_time or entry.created_at or "",
        )

    async def _configuration(self, entry: _Entry, notes: _Notes) -> _Configuration:
        """Return the deployment's configuration; an empty one, with a note, when it cannot be read."""
        identifier = entry.configuration()
        known = self._configurations.get(identifier)
        if known is not None or not identifier:
            return known or _Configuration()
        try:
            answer = await self._get(f"/lm/configurations/{identifier}", {})
            configuration = msgspec.json.decode(answer.body, type=_Configuration)
        except (GatewayError, msgspec.DecodeError) as exc:
            notes.add(f"deployment {entry.id}: its configuration cannot be read: {exc}")
            return _Configuration()
        self._configurations[identifier] = configuration
        return configuration

    async def _get(self, path: str, query: Mapping[str, Any]) -> Answer:
        """Ask the AI API, with one new token if the first is refused. Returns a 200 only."""
        token = await self._tokens.get()
        answer = await self._send(path, query, token)
        if answer.status == 401 and self._tokens.invalidate(token):
            token = await self._tokens.get()
            answer = await self._send(path, query, token)
        if answer.status != 200:
            raise self._refusal(answer, token)
        return answer

    async def _send(self, path: str, query: Mapping[str, Any], token: str) -> Answer:
        try:
            request = self._http.build_request(
                "GET", self._credential.api_url + path, params=query, headers=self._headers(token)
            )
        except httpx.InvalidURL as exc:
            raise self._fault(UpstreamBroken, f"the AI API URL is not a URL: {exc}") from exc
        return await exchange(self._http, request, sleep=self._sleep)

    def _headers(self, token: str) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {token}",
            "AI-Resource-Group": self._account.resource_group,
            "AI-Client-Type": CLIENT_TYPE,
            "Accept": "application/json",
        }
        if self._credential.tenant_id:
            headers["AI-Tenant-Id"] = self._credential.tenant_id
        return headers

    def _refusal(self, answer: Answer, token: str) -> UpstreamError:
        kind, advice = _REFUSALS.get(
            answer.status, (UpstreamFailed if answer.status >= 500 else UpstreamBroken, "")
        )
        said = _text_of(answer).replace(token, "…")
        detail = (
            f"the AI API answered {answer.status} ({said})"
            if said
            else f"the AI API answered {answer.status}"
        )
        if advice:
            detail += ": " + advice.format(group=self._account.resource_group)
        return self._fault(kind, detail, wait=retry_after(answer.headers))

    def _fault(self, kind: type[UpstreamError], detail: str, *, wait: float | None = None) -> UpstreamError:
        name = self._account.name
        return kind(
            f"sub-account {name}: {detail}",
            public=f"The deployments of sub-account {name} cannot be read.",
            retry_after=wait,
        )


_REFUSALS: Mapping[int, tuple[type[UpstreamError], str]] = {
    400: (UpstreamRefused, "resource group {group!r} or the tenant is not accepted"),
    401: (UpstreamDenied, "the token is refused, a new one too; is it for this AI_API_URL?"),
    403: (
        UpstreamDenied,
        "check that resource group {group!r} exists and that the service key is entitled to it",
    ),
    404: (UpstreamMissing, "check AI_API_URL in the service key"),
    429: (UpstreamLimited, "the tenant's rate limit"),
}


def static_deployments(account: SubAccountOptions, api_url: str) -> dict[str, tuple[Deployment, ...]]:
    """Return public name → deployments that the configuration gives by URL or id.

    A deployment listed twice under a name counts once, with the sum of its weights.
    """
    configured: dict[str, tuple[Deployment, ...]] = {}
    for name in dict.fromkeys((*account.deployment_models, *account.deployment_ids)):
        merged: dict[str, Deployment] = {}
        for deployment in _configured(account, api_url, name):
            before = merged.get(deployment.id)
            weight = deployment.weight + (before.weight if before else 0.0)
            merged[deployment.id] = msgspec.structs.replace(before or deployment, weight=weight)
        configured[name] = tuple(merged.values())
    return configured


def _configured(account: SubAccountOptions, api_url: str, name: str) -> Iterator[Deployment]:
    targets = [(target.address, target) for target in account.deployment_models.get(name, ())]
    by_id = account.deployment_ids.get(name, ())
    targets += [(f"{api_url}/inference/deployments/{target.address}", target) for target in by_id]
    for url, target in targets:
        yield _static(account, url.rstrip("/"), target)


def _static(account: SubAccountOptions, url: str, target: Target) -> Deployment:
    match = _ID_IN_URL.search(url)
    return Deployment(
        id=match[1] if match else url.rsplit("/", 1)[-1],
        url=url,
        sub_account=account.name,
        resource_group=account.resource_group,
        weight=target.weight,
    )


class _Notes:
    """A bounded list of remarks."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        self._more = 0

    def add(self, note: str) -> None:
        if len(self._notes) < MAX_NOTES:
            self._notes.append(note)
        else:
            self._more += 1

    def states(self, states: Iterable[str]) -> None:
        """Remark how many deployments are in another state than RUNNING."""
        idle = Counter(state for state in states if state != "RUNNING")
        if idle:
            self.add("not running: " + ", ".join(f"{count} {state}" for state, count in sorted(idle.items())))

    def taken(self) -> tuple[str, ...]:
        return (*self._notes, *([f"and {self._more} more"] if self._more else []))


def _decoded(resources: Iterable[msgspec.Raw], notes: _Notes) -> Iterator[_Entry]:
    """Decode entry by entry: an odd one must not hide the others."""
    for raw in resources:
        try:
            yield msgspec.json.decode(raw, type=_Entry)
        except msgspec.DecodeError as exc:
            notes.add(f"an entry of the deployment list cannot be read: {exc}")


def _text_of(answer: Answer) -> str:
    """Return what the AI API says in its error object, or the beginning of a body of any other kind."""
    body = answer.json()
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message[:200] if isinstance(message, str) else answer.text()
