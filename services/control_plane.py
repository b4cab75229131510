"""How the control plane speaks HTTP: one bounded exchange, with the retries that SAP's own SDK makes.

Used for tokens and for the AI API; a request of a caller never comes through here. Any status comes back
as an `Answer`: what it means is the business of whoever asked. Redirects are not followed, cookies not kept:
a credential goes to the configured host only, and sub-accounts share nothing.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from services.causes import is_about_trust, root_text
from services.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from services.retry_after import seconds_of

Sleep = Callable[[float], Awaitable[None]]
Jitter = Callable[[], float]
"""Returns a number from 0 to 1: 1 makes a pause half as long again."""

MAX_RETRIES = 3
MAX_ANSWER_BYTES = 32 * 1024 * 1024
FIRST_DELAY_SECONDS = 0.3
DEFAULT_RETRY_AFTER_SECONDS = 1.0

# The n-th retry waits 0.3 · factorⁿ seconds or up to half of that longer, so that workers which failed
# together do not come back together (wire §2.3). A status that is not here is final.
_FACTORS: Mapping[int, int] = {408: 2, 502: 2, 504: 2, 500: 3, 503: 3}
_CONNECTION_FACTOR = 2

_SILENT = "SAP AI Core's control plane gives no usable answer."

_TIMEOUT = httpx.Timeout(15.0, connect=10.0)
# No limit to connections: one tenant that hangs must not use up what the others need.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=4, keepalive_expiry=30.0)


class Answer(NamedTuple):
    """A complete answer of the control plane."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> Any:
        """Return the decoded body, or None when it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def media_type(self) -> str:
        """Return what the body says it is, for a log."""
        kind: str = self.headers.get("content-type", "of no type")
        return kind.partition(";")[0].strip()[:50]

    def text(self, limit: int = 200) -> str:
        """Return the beginning of the body on one line, for a log."""
        return " ".join(self.body[: 4 * limit].decode("utf-8", "replace").split())[:limit]


def open_client(*, cert_pem: str | None = None, key_pem: str | None = None) -> httpx.AsyncClient:
    """Make a client for the control plane, with a client certificate if one is given.

    To be called in the worker that uses it. Raises `ssl.SSLError` when the PEM texts are not usable.
    """
    context = client_certificate(cert_pem, key_pem or "") if cert_pem else _default_context()
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx.AsyncClient(verify=context, timeout=_TIMEOUT, limits=_LIMITS, cookies=cookies)


def client_certificate(cert_pem: str, key_pem: str) -> ssl.SSLContext:
    """Return a TLS context that shows this certificate. Raises `ssl.SSLError` when it is not usable."""
    context = httpx.create_ssl_context()
    with _readable_by_openssl(f"{cert_pem.strip()}\n{key_pem.strip()}\n".encode()) as path:
        # An empty password makes an encrypted key a fault; without it OpenSSL would ask on the terminal.
        context.load_cert_chain(path, password="")
    return context


async def exchange(
    http: httpx.AsyncClient,
    request: httpx.Request,
    *,
    sleep: Sleep = asyncio.sleep,
    jitter: Jitter = random.random,
    total_seconds: float = 30.0,
    retries: int = MAX_RETRIES,
    max_bytes: int = MAX_ANSWER_BYTES,
) -> Answer:
    """Send the request, at most `retries + 1` times, and return the last answer whatever its status.

    A pause that does not fit into what is left of `total_seconds` is not begun. Raises `UpstreamUnreachable`,
    `UpstreamTimeout` or `UpstreamBroken` when there is no answer.
    """
    told: list[str] = []
    clock = asyncio.get_running_loop().time
    started, waited = clock(), 0.0
    try:
        async with asyncio.timeout(total_seconds):
            for attempt in range(retries + 1):
                outcome = await _tried(http, request, max_bytes)
                pause = _pause(outcome, attempt) * (1 + jitter() / 2)
                if attempt == retries or max(waited, clock() - started) + pause >= total_seconds:
                    break
                told.append(f"answered {outcome.status}" if isinstance(outcome, Answer) else str(outcome))
                await sleep(pause)
                waited += pause
    except TimeoutError as exc:
        before = f"; before that: {told[-1]}" if told else ""
        detail = f"{_place(request)}: no answer within {total_seconds:g} s{before}"
        raise UpstreamTimeout(detail, public=_SILENT) from exc
    if isinstance(outcome, UpstreamError):
        raise outcome
    return outcome


async def _tried(http: httpx.AsyncClient, request: httpx.Request, max_bytes: int) -> Answer | UpstreamError:
    try:
        return await _once(http, request, max_bytes)
    except UpstreamError as exc:
        return exc


def _pause(outcome: Answer | UpstreamError, attempt: int) -> float:
    """Return the least seconds before the next try; infinite when the outcome is final."""
    if not isinstance(outcome, Answer):
        passing = isinstance(outcome, UpstreamUnreachable | UpstreamTimeout) and not is_about_trust(outcome)
        return FIRST_DELAY_SECONDS * float(_CONNECTION_FACTOR**attempt) if passing else math.inf
    if outcome.status == 429:
        return retry_after(outcome.headers) or DEFAULT_RETRY_AFTER_SECONDS
    factor = _FACTORS.get(outcome.status)
    return math.inf if factor is None else float(FIRST_DELAY_SECONDS * factor**attempt)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, None if there is none."""
    return seconds_of(headers.get("retry-after", ""), date=headers.get("date", ""))


async def _once(http: httpx.AsyncClient, request: httpx.Request, max_bytes: int) -> Answer:
    try:
        response = await http.send(request, stream=True)
        try:
            return Answer(response.status_code, response.headers, await _read(response, max_bytes))
        finally:
            await response.aclose()
    except httpx.HTTPError as exc:
        told = root_text(exc) or f"{type(exc).__name__} {exc}".rstrip()
        raise _fault(exc)(f"{_place(request)}: {told}", public=_SILENT) from exc


_FAULTS: tuple[tuple[type[httpx.HTTPError], type[UpstreamError]], ...] = (
    (httpx.TimeoutException, UpstreamTimeout),
    (httpx.NetworkError, UpstreamUnreachable),
    (httpx.RemoteProtocolError, UpstreamUnreachable),
    (httpx.ProxyError, UpstreamUnreachable),
)


def _fault(exc: httpx.HTTPError) -> type[UpstreamError]:
    return next((fault for kind, fault in _FAULTS if isinstance(exc, kind)), UpstreamBroken)


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > max_bytes:
            detail = f"{_place(response.request)}: an answer of more than {max_bytes} bytes"
            raise UpstreamBroken(detail, public=_SILENT)
    return bytes(body)


def _place(request: httpx.Request) -> str:
    return f"{request.method} {request.url.copy_with(query=None)}"


@cache
def _default_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


@contextmanager
def _readable_by_openssl(pem: bytes) -> Iterator[str]:
    """Give the text a path, since OpenSSL's loader takes nothing else: in memory where the system can."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(pem)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory() as directory:  # readable by this user only
        path = Path(directory, "client.pem")
        path.touch(mode=0o600)
        path.write_bytes(pem)
        yield str(path)
