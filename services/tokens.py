"""Hold the OAuth token of one credential (wire §2): fetched once, renewed ahead of expiry.

One provider per credential and worker. However many callers ask, one fetch runs; it belongs to the provider
and not to the caller who came first, so nobody's leaving cancels it. A token that is still valid stays in
use while its renewal fails.
"""

from __future__ import annotations

import asyncio
import math
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import structlog

from services.control_plane import Answer, Sleep, exchange, open_client, retry_after
from services.credentials import Credential
from services.errors import CredentialError, UpstreamError
from services.tasks import spawn

log = structlog.get_logger()

REFRESH_AHEAD_SECONDS = 300.0
REFRESH_AHEAD_SHARE = 0.1
LAST_MOMENT_SECONDS = 5.0
LEAST_PAUSE_SECONDS = 0.5
LONGEST_LIFETIME_SECONDS = 30 * 86_400.0
FETCH_SECONDS = 30.0
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 1.0, 30.0
NEGATIVE_MEMORY_SECONDS = 5.0
FORCED_REFRESH_INTERVAL_SECONDS = 1.0

# What an operator can do about it; anything else gets no advice.
_ADVICE = {
    400: "the token service does not accept this client id",
    401: "the client id or the secret is wrong, or the service key was deleted",
    403: "the service key may not ask for tokens",
    404: "the token URL is wrong",
    429: "the token service limits us",
}


@dataclass(frozen=True, slots=True)
class TokenState:
    """What readiness, the doctor and metrics need to know of one credential."""

    name: str
    ready: bool
    expires_in_seconds: float | None
    lifetime_seconds: float | None
    error: str | None
    """Why the latest fetch failed; for the log and the operator, not for callers."""
    fetches: int
    failures: int


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    expires_at: float
    lifetime: float

    def usable_until(self) -> float:
        # The answer must still be on its way when the upstream looks at the token.
        return self.expires_at - min(LAST_MOMENT_SECONDS, self.lifetime * REFRESH_AHEAD_SHARE / 2)


class TokenProvider:
    """Tokens for one credential.

    `http` is used as it is and stays the caller's to close; without it the provider opens its own client at
    the first fetch, with the certificate of an X.509 key. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        credential: Credential,
        *,
        http: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        self._credential = credential
        self._http = http
        self._owns_http = http is None
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._fetch_seconds = fetch_seconds
        self._token: _Token | None = None
        self._text: str | None = None
        self._usable_until = -math.inf
        self._flight: asyncio.Task[CredentialError | None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._error: CredentialError | None = None
        self._backoff = FIRST_BACKOFF_SECONDS
        self._quiet_until = -math.inf
        self._forced_at = -math.inf
        self._fetches = self._failures = 0
        self._closed = False

    def current(self) -> str | None:
        """Return the token if there is one to use now. No waiting, no side effect: the hot path."""
        return self._text if self._clock() < self._usable_until else None

    async def get(self) -> str:
        """Return a usable token, fetching one if needed. Raises `CredentialError`."""
        text = self.current()
        if text is None:
            error = await asyncio.shield(self._fetch_soon())
            text = self.current()
            if text is None:
                raise _copy(error or self._refusal("the token is too short-lived to be used"))
        return text

    def invalidate(self, token: str) -> bool:
        """Drop this token, which the upstream refused, and begin to fetch another.

        Any other token stays, so a hundred requests that saw the same 401 cause one fetch. Returns False
        when the token was renewed by force a moment ago: then a new one will not help either.
        """
        if token != self._text:
            return True
        now = self._clock()
        if now - self._forced_at < FORCED_REFRESH_INTERVAL_SECONDS:
            return False
        self._forced_at = now
        self._token = self._text = None
        self._usable_until = -math.inf
        self._quiet_until = -math.inf
        self._fetch_soon()
        return True

    @property
    def expires_at(self) -> float | None:
        """When the token expires, on the provider's clock."""
        return self._token.expires_at if self._token else None

    def state(self) -> TokenState:
        """Return the provider's state for readiness, the doctor and metrics."""
        token = self._token
        return TokenState(
            name=self._credential.name,
            ready=self.current() is not None,
            expires_in_seconds=max(0.0, token.expires_at - self._clock()) if token else None,
            lifetime_seconds=token.lifetime if token else None,
            error=str(self._error) if self._error else None,
            fetches=self._fetches,
            failures=self._failures,
        )

    async def close(self) -> None:
        """Stop renewing, and close the provider's own client."""
        self._closed = True
        tasks = [task for task in (self._timer, self._flight) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._owns_http and self._http is not None:
            await self._http.aclose()

    def _fetch_soon(self) -> asyncio.Future[CredentialError | None]:
        """Join the running fetch or start one; just after a failure, remember that one instead."""
        if self._flight is not None:
            return self._flight
        if self._closed:
            return _settled(self._refusal("the gateway is shutting down"))
        if self._error is not None and self._clock() < self._quiet_until:
            return _settled(self._error)
        self._flight = spawn(self._renew(), name=f"token {self._credential.name}")
        return self._flight

    async def _renew(self) -> CredentialError | None:
        """Fetch once. The failure is returned: raised, it would be lost when nobody waits any more."""
        try:
            token = await self._fetch()
        except CredentialError as error:
            self._failed(error)
            return error
        finally:
            self._flight = None
        self._succeeded(token)
        return None

    def _succeeded(self, token: _Token) -> None:
        self._token, self._text, self._usable_until = token, token.text, token.usable_until()
        self._error = None
        self._backoff = FIRST_BACKOFF_SECONDS
        self._fetches += 1
        log.info("token_fetched", sub_account=self._credential.name, lifetime_seconds=token.lifetime)
        margin = min(REFRESH_AHEAD_SECONDS, token.lifetime * REFRESH_AHEAD_SHARE)
        # Workers that started together must not come back together.
        ahead = margin * (1 + self._jitter() / 2)
        self._renew_after(token.expires_at - ahead - self._clock())

    def _failed(self, error: CredentialError) -> None:
        self._error = error
        self._failures += 1
        wait = max(self._backoff, min(error.retry_after or 0.0, LONGEST_BACKOFF_SECONDS))
        self._quiet_until = self._clock() + min(wait, NEGATIVE_MEMORY_SECONDS)
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
        log.warning(
            "token_failed", sub_account=self._credential.name, error=str(error), again_in_seconds=wait
        )
        self._renew_after(wait * (1 + self._jitter() / 2))

    def _renew_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = spawn(self._wait_and_renew(seconds), name=f"token timer {self._credential.name}")

    async def _wait_and_renew(self, seconds: float) -> None:
        await self._sleep(max(LEAST_PAUSE_SECONDS, seconds))
        self._timer = None
        self._quiet_until = -math.inf
        self._fetch_soon()

    async def _fetch(self) -> _Token:
        sent_at = self._clock()
        try:
            http = self._client()
            request = http.build_request("POST", self._credential.token_url, data=self._form())
            answer = await exchange(http, request, sleep=self._sleep, total_seconds=self._fetch_seconds)
        except ssl.SSLError as exc:
            raise self._refusal(f"the certificate or its key is not usable: {exc.reason or exc}") from exc
        except httpx.InvalidURL as exc:
            raise self._refusal(f"the token URL is not a URL: {exc}") from exc
        except UpstreamError as exc:
            raise self._refusal(str(exc)) from exc
        return self._read(answer, sent_at)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = open_client(cert_pem=self._credential.cert_pem, key_pem=self._credential.key_pem)
        return self._http

    def _form(self) -> dict[str, str]:
        form = {"grant_type": "client_credentials", "client_id": self._credential.client_id}
        if self._credential.client_secret is not None:
            form["client_secret"] = self._credential.client_secret
        return form

    def _read(self, answer: Answer, sent_at: float) -> _Token:
        body = answer.json()
        if answer.status != 200:
            raise self._refused(answer, body)
        if not isinstance(body, dict):
            raise self._refusal("the token service answered 200 with something that is not a JSON object")
        text = body.get("access_token")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable() or not text.strip():
            raise self._refusal("the token service answered 200 without a usable access_token")
        lifetime = _seconds(body.get("expires_in"))
        if lifetime is None:
            raise self._refusal("the token service answered 200 without a usable expires_in")
        return _Token(text, sent_at + lifetime, lifetime)

    def _refused(self, answer: Answer, body: Any) -> CredentialError:
        code = body.get("error") if isinstance(body, dict) else None
        # Only a word of OAuth's own is repeated: a description may echo what was sent.
        said = (
            f" {code}" if isinstance(code, str) and len(code) < 50 and code.replace("_", "").isalpha() else ""
        )
        advice = _ADVICE.get(answer.status)
        detail = f"the token service answered {answer.status}{said}" + (f": {advice}" if advice else "")
        return self._refusal(detail, wait=retry_after(answer.headers))

    def _refusal(self, detail: str, *, wait: float | None = None) -> CredentialError:
        name = self._credential.name
        return CredentialError(
            f"sub-account {name}: {detail}", public=f"No token for sub-account {name}.", retry_after=wait
        )


def _seconds(value: object) -> float | None:
    """Read a lifetime: a positive number, or one written as a string."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return float(min(value, LONGEST_LIFETIME_SECONDS))


def _copy(error: CredentialError) -> CredentialError:
    """Return the same failure as an object of its own; a shared one would collect all tracebacks."""
    copy = CredentialError(str(error), public=error.public, retry_after=error.retry_after)
    copy.__cause__ = error.__cause__
    return copy


def _settled(error: CredentialError) -> asyncio.Future[CredentialError | None]:
    future: asyncio.Future[CredentialError | None] = asyncio.get_running_loop().create_future()
    future.set_result(error)
    return future
