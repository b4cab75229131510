"""How the control plane speaks HTTP: one bounded exchange, with the retries that SAP's own SDK makes.

Used for tokens and for the AI API; a request of a caller never comes through here. Any status comes back
as an `Answer`: what it means is the business of whoever asked.
"""

from __future__ import annotations

import asyncio
import math
import os
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from services.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable

Sleep = Callable[[float], Awaitable[None]]

MAX_RETRIES = 3
MAX_ANSWER_BYTES = 32 * 1024 * 1024
FIRST_DELAY_SECONDS = 0.3
DEFAULT_RETRY_AFTER_SECONDS = 1.0

# The n-th retry waits 0.3 · factorⁿ seconds (wire §2.3). A status that is not here is final.
_FACTORS: Mapping[int, int] = {408: 2, 502: 2, 504: 2, 500: 3, 503: 3}
_CONNECTION_FACTOR = 2

_SILENT = "SAP AI Core's control plane gives no usable answer."

_TIMEOUT = httpx.Timeout(15.0, connect=10.0)
_LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=4, keepalive_expiry=30.0)


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

    def text(self, limit: int = 200) -> str:
        """Return the beginning of the body on one line, for a log."""
        return " ".join(self.body[: 4 * limit].decode("utf-8", "replace").split())[:limit]


def open_client(*, cert_pem: str | None = None, key_pem: str | None = None) -> httpx.AsyncClient:
    """Make a client for the control plane, with a client certificate if one is given.

    To be called in the worker that uses it. Raises `ssl.SSLError` when the PEM texts are not usable.
    """
    context = client_certificate(cert_pem, key_pem or "") if cert_pem else _default_context()
    return httpx.AsyncClient(verify=context, timeout=_TIMEOUT, limits=_LIMITS)


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
    total_seconds: float = 30.0,
) -> Answer:
    """Send the request, at most four times, and return the last answer whatever its status.

    Raises `UpstreamUnreachable`, `UpstreamTimeout` or `UpstreamBroken` when there is no answer.
    """
    try:
        async with asyncio.timeout(total_seconds):
            return await _exchange(http, request, sleep, total_seconds)
    except TimeoutError as exc:
        raise UpstreamTimeout(
            f"{_place(request)}: no answer within {total_seconds:g} s", public=_SILENT
        ) from exc


async def _exchange(
    http: httpx.AsyncClient, request: httpx.Request, sleep: Sleep, total_seconds: float
) -> Answer:
    for attempt in range(MAX_RETRIES):
        try:
            answer = await _once(http, request)
        except (UpstreamUnreachable, UpstreamTimeout):
            delay = FIRST_DELAY_SECONDS * _CONNECTION_FACTOR**attempt
        else:
            delay = _delay(answer, attempt)
            if delay >= total_seconds:
                return answer
        await sleep(delay)
    return await _once(http, request)


def _delay(answer: Answer, attempt: int) -> float:
    """Return the seconds before the next try; infinite when the answer is final."""
    if answer.status == 429:
        return retry_after(answer.headers) or DEFAULT_RETRY_AFTER_SECONDS
    factor = _FACTORS.get(answer.status)
    return math.inf if factor is None else float(FIRST_DELAY_SECONDS * factor**attempt)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, which may also be a date; None if there is none."""
    value = headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


async def _once(http: httpx.AsyncClient, request: httpx.Request) -> Answer:
    try:
        response = await http.send(request, stream=True)
        try:
            return Answer(response.status_code, response.headers, await _read(response))
        finally:
            await response.aclose()
    except httpx.HTTPError as exc:
        raise _fault(exc)(f"{_place(request)}: {type(exc).__name__} {exc}".rstrip(), public=_SILENT) from exc


_FAULTS: tuple[tuple[type[httpx.HTTPError], type[UpstreamError]], ...] = (
    (httpx.TimeoutException, UpstreamTimeout),
    (httpx.NetworkError, UpstreamUnreachable),
    (httpx.RemoteProtocolError, UpstreamUnreachable),
    (httpx.ProxyError, UpstreamUnreachable),
)


def _fault(exc: httpx.HTTPError) -> type[UpstreamError]:
    return next((fault for kind, fault in _FAULTS if isinstance(exc, kind)), UpstreamBroken)


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            detail = f"{_place(response.request)}: an answer of more than {MAX_ANSWER_BYTES} bytes"
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
