"""Hold the OAuth token of one credential (wire §2): fetched once, renewed ahead of expiry.

One provider per credential and worker. However many callers ask, one fetch runs; it belongs to the provider
and not to the caller who came first, so nobody's leaving cancels it. A token that is still valid stays in
use while its renewal fails. Lifetimes are measured on the monotonic clock: setting the machine's clock
changes nothing, and what a suspended machine gets wrong, the upstream's 401 puts right.

Once a fetch has failed, callers neither wait long nor make it be tried more often: there may be another
sub-account that serves them.
"""

from __future__ import annotations

import asyncio
import math
import random
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import structlog

from services import grants
from services.causes import cause_of
from services.control_plane import MAX_RETRIES, Jitter, Sleep, exchange, open_client
from services.credentials import Credential
from services.errors import (
    CredentialError,
    UpstreamDenied,
    UpstreamError,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamTimeout,
    settle,
)
from services.grants import Token
from services.tasks import spawn

log = structlog.get_logger()

REFRESH_AHEAD_SECONDS = 300.0
REFRESH_AHEAD_SHARE = 0.1
LEAST_PAUSE_SECONDS = 0.5
FETCH_SECONDS = 30.0
FIRST_PATIENCE_SECONDS = 10.0
"""How old a fetch may be that callers wait for."""
PATIENCE_SECONDS = 3.0
"""The same after a fetch that failed."""
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 1.0, 30.0
LONGEST_RETRY_AFTER_SECONDS = 300.0
NEGATIVE_MEMORY_SECONDS = 5.0
"""Callers make a fetch come sooner than the back-off says, but no sooner than this after a failure."""
FORCED_REFRESH_INTERVAL_SECONDS = 1.0
FORCED_REFRESHES, FORCED_REFRESHES_SECONDS = 20, 60.0
MAX_ANSWER_BYTES = 1024 * 1024

_REFUSALS = (UpstreamRefused, UpstreamDenied, UpstreamMissing)
"""Failures that the same request meets again until somebody changes something."""


@dataclass(frozen=True, slots=True)
class TokenState:
    """What readiness, the doctor and metrics need to know of one credential."""

    name: str
    ready: bool
    expires_in_seconds: float | None
    lifetime_seconds: float | None
    reason: str | None = None
    """Why the latest fetch failed, in few words that name nobody: for whoever may read the health report."""


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
        jitter: Jitter = random.random,
        fetch_seconds: float = FETCH_SECONDS,
        first_patience_seconds: float = FIRST_PATIENCE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._credential = credential
        self._http = http
        self._owns_http = http is None
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._fetch_seconds = fetch_seconds
        self._first_patience_seconds = first_patience_seconds
        self._patience_seconds = patience_seconds
        self._token: Token | None = None
        self._text: str | None = None
        self._usable_until = -math.inf
        self._flight: asyncio.Task[None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._error: CredentialError | None = None
        self._backoff = FIRST_BACKOFF_SECONDS
        self._started_at = self._quiet_until = self._told_until = -math.inf
        self._forced: deque[float] = deque(maxlen=FORCED_REFRESHES)
        self._failures = 0
        self._closed = False

    def current(self) -> str | None:
        """Return the token if there is one to use now. No waiting, no side effect: the hot path."""
        return self._text if self._clock() < self._usable_until else None

    async def get(self) -> str:
        """Return a usable token, fetching one if needed. Raises `CredentialError`."""
        text = self.current()
        if text is None:
            self._fetch_soon()
            if self._flight is not None:
                await asyncio.wait({self._flight}, timeout=self._patience())
            text = self.current()
            if text is None:
                raise self._why_none()
        return text

    def _patience(self) -> float:
        """Return how long to wait for the fetch that runs: all its callers give up together."""
        most = self._first_patience_seconds if self._error is None else self._patience_seconds
        return max(0.0, self._started_at + most - self._clock())

    def invalidate(self, token: str) -> bool:
        """Drop this token, which the upstream refused, and begin to fetch another.

        Any other token stays, so a hundred requests that saw the same 401 cause one fetch. Returns False
        when the token was renewed by force a moment ago, or again and again: then a new one will not help
        either.
        """
        if token != self._text:
            return True
        now, forced = self._clock(), self._forced
        if forced and now - forced[-1] < FORCED_REFRESH_INTERVAL_SECONDS:
            return False
        if len(forced) == FORCED_REFRESHES and now - forced[0] < FORCED_REFRESHES_SECONDS:
            return False
        forced.append(now)
        self._token = self._text = None
        self._usable_until = -math.inf
        self._quiet_until = -math.inf
        self._fetch_soon()
        return True

    def state(self) -> TokenState:
        """Return the provider's state for readiness, the doctor and metrics."""
        token = self._token
        return TokenState(
            name=self._credential.name,
            ready=self.current() is not None,
            expires_in_seconds=max(0.0, token.expires_at - self._clock()) if token else None,
            lifetime_seconds=token.lifetime if token else None,
            reason=cause_of(self._error).reason if self._error else None,
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

    def _fetch_soon(self) -> None:
        """Start a fetch unless one runs; not just after a failure, nor sooner than the service allows."""
        if self._flight is None and not self._closed and self._clock() >= self._asked_again_at():
            self._started_at = self._clock()
            self._flight = spawn(self._renew(), name=f"token {self._credential.name}")

    def _asked_again_at(self) -> float:
        return max(self._quiet_until, self._told_until)

    async def _renew(self) -> None:
        """Fetch once. Never raises: nobody may be waiting any more, and the next fetch must come."""
        try:
            token = await self._fetch()
        except CredentialError as exc:
            self._failed(exc)
        except Exception as exc:
            failure = self._refusal(f"{type(exc).__name__}: {exc}")
            failure.__cause__ = exc
            self._failed(failure)
        else:
            self._succeeded(token)
        finally:
            self._flight = None

    def _succeeded(self, token: Token) -> None:
        self._token, self._text, self._usable_until = token, token.text, token.usable_until()
        self._error = None
        self._backoff = FIRST_BACKOFF_SECONDS
        self._quiet_until = self._told_until = -math.inf
        log.info("token_fetched", sub_account=self._credential.name, lifetime_seconds=token.lifetime)
        margin = min(REFRESH_AHEAD_SECONDS, token.lifetime * REFRESH_AHEAD_SHARE)
        # Workers that started together must not come back together.
        ahead = margin * (1 + self._jitter() / 2)
        self._renew_after(token.expires_at - ahead - self._clock())

    def _failed(self, error: CredentialError) -> None:
        self._error = error
        settle(error)  # it is kept for as long as the failure lasts, and a frame holds the secret
        self._failures += 1
        now = self._clock()
        told = min(error.retry_after or 0.0, LONGEST_RETRY_AFTER_SECONDS)
        wait = max(self._backoff, told)
        refused = isinstance(error.__cause__, _REFUSALS)
        self._quiet_until = now + (wait if refused else min(wait, NEGATIVE_MEMORY_SECONDS))
        self._told_until = now + told
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
        self._quiet_until = self._told_until = -math.inf
        self._fetch_soon()

    async def _fetch(self) -> Token:
        sent_at = self._clock()
        try:
            http = self._client()
            request = http.build_request("POST", self._credential.token_url, data=self._form())
            answer = await exchange(
                http,
                request,
                sleep=self._sleep,
                jitter=self._jitter,
                total_seconds=self._fetch_seconds,
                # After a failure the provider's own back-off does the retrying: one request a time.
                retries=MAX_RETRIES if self._error is None else 0,
                max_bytes=MAX_ANSWER_BYTES,
            )
            return grants.read(answer, sent_at=sent_at, place=self._credential.token_url)
        except ssl.SSLError as exc:
            raise self._refusal(f"the certificate or its key is not usable: {exc.reason or exc}") from exc
        except httpx.InvalidURL as exc:
            raise self._refusal(f"the token URL is not a URL: {exc}") from exc
        except UpstreamError as exc:
            raise self._refusal(str(exc), wait=exc.retry_after) from exc

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = open_client(cert_pem=self._credential.cert_pem, key_pem=self._credential.key_pem)
        return self._http

    def _form(self) -> dict[str, str]:
        form = {"grant_type": "client_credentials", "client_id": self._credential.client_id}
        if self._credential.client_secret is not None:
            form["client_secret"] = self._credential.client_secret
        return form

    def _refusal(self, detail: str, *, wait: float | None = None) -> CredentialError:
        name = self._credential.name
        return CredentialError(
            f"sub-account {name}: {detail}", public=f"No token for sub-account {name}.", retry_after=wait
        )

    def _why_none(self) -> CredentialError:
        """Return the failure for one caller: an object of its own, since a shared one collects tracebacks."""
        if self._closed:
            return self._refusal("the gateway is shutting down")
        if self._error is None:
            return self._slow() if self._flight else self._refusal("the token is too short-lived to be used")
        quiet = self._asked_again_at() - self._clock()
        error = CredentialError(
            str(self._error), public=self._error.public, retry_after=quiet if quiet > 0 else None
        )
        error.__cause__ = self._error.__cause__
        return error

    def _slow(self) -> CredentialError:
        slow = f"no answer of {self._credential.token_url} within {self._first_patience_seconds:g} s yet"
        error = self._refusal(slow)
        error.__cause__ = UpstreamTimeout(slow)
        return error
