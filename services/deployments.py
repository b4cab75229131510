"""Read a sub-account's deployments from the AI API (wire §3.2), and those that are only configured.

`Discovery` asks once and says what is there now; `services.watch` keeps asking. What came before a failure is
not thrown away, but never passes for the whole either.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from cachetools import LRUCache

from services.causes import kind_of
from services.control_plane import Answer, Jitter, Sleep, exchange, retry_after
from services.credentials import Credential
from services.deployment_list import ORCHESTRATION, Configuration, Entry, Page, Reading
from services.errors import (
    GatewayError,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamError,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamTimeout,
)
from services.options import SubAccountOptions, Target

T = TypeVar("T")

PAGE_SIZE = 1000
MAX_PAGES = 100
READ_SECONDS = 120.0
"""How long one discovery may take, with all its pages and configurations."""
CONFIGURATIONS_AT_ONCE = 8
CONFIGURATIONS_CACHED = 4096

CLIENT_TYPE = "aicore-gateway"

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
    unclear: frozenset[str] = frozenset()
    """Ids of deployments that are there, but of which too little could be read."""
    whole: bool = True
    """Whether the list was read to its end: only then is a deployment gone that it lacks."""


class HalfRead(UpstreamBroken):
    """A discovery that failed on its way; `found` is what it brought until then."""

    def __init__(self, found: Found, failure: GatewayError) -> None:
        super().__init__(str(failure), public=failure.public, retry_after=failure.retry_after)
        self.found = found


@dataclass(frozen=True, slots=True)
class AccountDeployments:
    """What can be called in one sub-account: configured by public name, and discovered."""

    account: SubAccountOptions
    configured: Mapping[str, tuple[Deployment, ...]]
    discovered: tuple[Deployment, ...] = ()


def request_fields(resource_group: str, tenant_id: str, token: str) -> dict[str, str]:
    """Return the head fields of every request to SAP AI Core, on both of its planes (wire §3.1)."""
    fields = {
        "Authorization": f"Bearer {token}",
        "AI-Resource-Group": resource_group,
        "AI-Client-Type": CLIENT_TYPE,
    }
    return {**fields, "AI-Tenant-Id": tenant_id} if tenant_id else fields  # some tenants need it (trap 49)


class Tokens(Protocol):
    """The part of `TokenProvider` that is needed here."""

    async def get(self) -> str: ...  # noqa: D102 - see TokenProvider

    def invalidate(self, token: str) -> bool: ...  # noqa: D102 - see TokenProvider


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
        read_seconds: float = READ_SECONDS,
        sleep: Sleep = asyncio.sleep,
        jitter: Jitter = random.random,
    ) -> None:
        self._account = account
        self._credential = credential
        self._tokens = tokens
        self._http = http
        self._page_size = page_size
        self._read_seconds = read_seconds
        self._sleep = sleep
        self._jitter = jitter
        # A configuration never changes, so each is read once.
        self._configurations: LRUCache[str, Configuration] = LRUCache(CONFIGURATIONS_CACHED)

    async def read(self) -> Found:
        """Return the running deployments.

        Raises `HalfRead` when only a part could be read, `UpstreamError` or `CredentialError` when nothing.
        """
        reading = Reading()
        failure: GatewayError | None = None
        try:
            async with asyncio.timeout(self._read_seconds):
                await self._list(reading)
                await self._configure(reading)
        except GatewayError as exc:
            failure = exc
        except TimeoutError:
            failure = self._fault(UpstreamTimeout, f"discovery took more than {self._read_seconds:g} s")
        if failure is not None and not reading.entries:
            raise failure
        deployments = [one for entry in reading.running() if (one := self._deployment(entry, reading))]
        reading.note_states()
        found = Found(
            tuple(sorted(deployments, key=lambda one: one.id)),
            reading.notes.taken(),
            frozenset(reading.unclear),
            reading.whole,
        )
        if failure is not None:
            raise HalfRead(found, failure) from failure
        return found

    async def _list(self, reading: Reading) -> None:
        """Page through the list. Stops at the count, and at a page that brings nothing new."""
        read = 0
        for _ in range(MAX_PAGES):
            page = await self._page(skip=read)
            read += len(page.resources)
            if not reading.take(page.resources):
                # As many as promised, with some of them twice, is all there is.
                if page.count is not None and page.count > reading.seen() and page.count != read:
                    detail = f"the deployment list promises {page.count} and brings {reading.seen()}"
                    raise self._fault(UpstreamBroken, detail)
                break
            if not self._more(page, read):
                break
        else:
            reading.notes.add(f"the deployment list has more than {MAX_PAGES} pages; the rest was not read")
        reading.whole = True

    def _more(self, page: Page, read: int) -> bool:
        full = len(page.resources) >= self._page_size
        if page.count is None:
            return full
        # Some services count the page instead of the whole: a full first page proves nothing.
        return read < page.count or (full and page.count <= self._page_size)

    async def _page(self, *, skip: int) -> Page:
        answer = await self._get("/lm/deployments", {"$top": self._page_size, "$skip": skip})
        return self._decoded(answer, Page, "the deployment list")

    def _deployment(self, entry: Entry, reading: Reading) -> Deployment | None:
        url = (entry.deployment_url or "").rstrip("/")
        if not _is_callable(url):
            reading.notes.add(f"deployment {entry.id} runs but has no URL yet")
            return None
        configuration = self._configurations.get(entry.configuration())
        known = configuration or Configuration()
        model, executable = entry.model(), entry.executable_id or known.executable_id or ""
        name = model.name or known.parameter("modelName")
        if entry.is_orchestration():
            executable, name = ORCHESTRATION, ""
        elif not name and executable != ORCHESTRATION:
            if configuration is None and entry.configuration():
                reading.unclear.add(entry.id)
            else:
                reading.notes.add(f"deployment {entry.id} names no model")
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

    async def _configure(self, reading: Reading) -> None:
        """Read the configurations of deployments that do not say what they run.

        One that is refused is remarked. Any other failure is raised, and none is asked for after it.
        """
        gate = asyncio.Semaphore(CONFIGURATIONS_AT_ONCE)
        failures: list[GatewayError] = []

        async def ask(entry: Entry) -> None:
            async with gate:
                if failures:
                    return
                try:
                    await self._learn(entry.configuration())
                except GatewayError as exc:
                    reading.notes.add(f"deployment {entry.id}: its configuration cannot be read: {exc}")
                    if not isinstance(exc, _REFUSED):
                        failures.append(exc)

        await asyncio.gather(*(ask(entry) for entry in reading.running() if not entry.is_plain()))
        if failures:
            raise failures[0]

    async def _learn(self, identifier: str) -> None:
        if identifier and identifier not in self._configurations:
            answer = await self._get(f"/lm/configurations/{quote(identifier, safe='')}", {})
            self._configurations[identifier] = self._decoded(answer, Configuration, "it")

    def _decoded(self, answer: Answer, kind: type[T], what: str) -> T:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            detail = f"{what} cannot be read, the answer is {answer.media_type()}: {exc}"
            raise self._fault(UpstreamBroken, detail) from exc

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
        fields = request_fields(self._account.resource_group, self._credential.tenant_id, token)
        try:
            request = self._http.build_request(
                "GET",
                self._credential.api_url + path,
                params=query,
                headers={**fields, "Accept": "application/json"},
            )
        except httpx.InvalidURL as exc:
            raise self._fault(UpstreamBroken, f"the AI API URL is not a URL: {exc}") from exc
        return await exchange(self._http, request, sleep=self._sleep, jitter=self._jitter)

    def _refusal(self, answer: Answer, token: str) -> UpstreamError:
        advice = _ADVICE.get(answer.status)
        said = _text_of(answer).replace(token, "…")
        detail = (
            f"the AI API answered {answer.status} ({said})"
            if said
            else f"the AI API answered {answer.status}"
        )
        if advice:
            detail += ": " + advice.format(group=self._account.resource_group)
        return self._fault(kind_of(answer.status), detail, wait=retry_after(answer.headers))

    def _fault(self, kind: type[UpstreamError], detail: str, *, wait: float | None = None) -> UpstreamError:
        name = self._account.name
        return kind(
            f"sub-account {name}: {detail}",
            public=f"The deployments of sub-account {name} cannot be read.",
            retry_after=wait,
        )


_ADVICE: Mapping[int, str] = {
    400: "resource group {group!r} or the tenant is not accepted",
    401: "the token is refused, a new one too; is it for this AI_API_URL?",
    403: "check that resource group {group!r} exists and that the service key is entitled to it",
    404: "check AI_API_URL in the service key",
    429: "the tenant's rate limit",
}
_REFUSED = (UpstreamRefused, UpstreamDenied, UpstreamMissing)


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


def _is_callable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _text_of(answer: Answer) -> str:
    """Return what the AI API says in its error object, or the beginning of a body of any other kind."""
    body = answer.json()
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message[:200] if isinstance(message, str) else answer.text()
