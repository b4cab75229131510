"""OAuth: tokens in all forms of wire §2.1, and the check of every bearer.

Errors have XSUAA's bodies (wire §2.3). The client id is in the body or in Basic authentication, the grant
type in the body or in the query; with a verified client certificate no secret is asked for.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qsl

import msgspec

from perf.simulator.answers import Reply, reply_json
from perf.simulator.errors import new_uuid
from perf.simulator.stats import Stats
from perf.simulator.tenants import Tenant

MAX_TOKENS = 20_000
"""Tokens remembered; the oldest is forgotten first."""


class Token(msgspec.Struct):
    """A bearer that was handed out."""

    tenant: Tenant
    expires_at: float
    uses_left: int | None


class TokenService:
    """Hands out tokens and knows which are still good."""

    def __init__(
        self,
        tenants: Iterable[Tenant],
        stats: Stats,
        *,
        lifetime_seconds: int,
        revoke_after: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenants = {tenant.client_id: tenant for tenant in tenants}
        self._stats = stats
        self._lifetime = lifetime_seconds
        self._revoke_after = revoke_after
        self._clock = clock
        self._tokens: dict[bytes, Token] = {}

    def grant(self, headers: Mapping[bytes, bytes], query: str, body: bytes, *, certificate: bool) -> Reply:
        """Answer `POST /oauth/token`."""
        form = _form(query, body)
        if form.get("grant_type") != "client_credentials":
            return _refusal(400, "unsupported_grant_type", "Unsupported grant type")
        client_id, secret = _shown(headers, form)
        tenant = self._tenants.get(client_id)
        if tenant is None:
            self._stats.token_refusals["unknown client"] += 1
            return _refusal(401, "invalid_client", "Client not found")
        if not _is_entitled(tenant, secret, certificate=certificate):
            self._stats.token_refusals[tenant.name] += 1
            return _refusal(401, "unauthorized", "Bad credentials")
        self._stats.token_fetches[tenant.name] += 1
        return reply_json(
            {
                "access_token": self._issue(tenant),
                "token_type": "bearer",
                "expires_in": self._lifetime,
                "scope": "uaa.resource",
                "jti": new_uuid(),
            }
        )

    def asker(self, headers: Mapping[bytes, bytes], query: str, body: bytes) -> Tenant | None:
        """Return the tenant whose client id a token request shows, right secret or not."""
        client_id, _ = _shown(headers, _form(query, body))
        return self._tenants.get(client_id)

    def _issue(self, tenant: Tenant) -> str:
        text = f"eyJhbGciOiJSUzI1NiJ9.{secrets.token_urlsafe(300)}.{secrets.token_urlsafe(40)}"
        if len(self._tokens) >= MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[text.encode()] = Token(tenant, self._clock() + self._lifetime, self._revoke_after)
        return text

    def check(self, authorization: bytes) -> Tenant | None:
        """The tenant of a good bearer; None if it is missing, unknown, expired or revoked."""
        if authorization[:7].lower() != b"bearer ":
            return None
        text = authorization[7:]
        token = self._tokens.get(text)
        if token is None:
            return None
        if token.expires_at <= self._clock():
            del self._tokens[text]
            return None
        if token.uses_left is not None:
            token.uses_left -= 1
            if token.uses_left <= 0:
                del self._tokens[text]
        return token.tenant

    def revoke(self, tenant: str | None = None) -> int:
        """Refuse from now on all tokens of a tenant, or of all; returns how many there were."""
        gone = [text for text, token in self._tokens.items() if tenant in (None, token.tenant.name)]
        for text in gone:
            del self._tokens[text]
        return len(gone)


def _form(query: str, body: bytes) -> dict[str, str]:
    return dict(parse_qsl(query)) | dict(parse_qsl(body.decode("latin-1")))


def _shown(headers: Mapping[bytes, bytes], form: Mapping[str, str]) -> tuple[str, str]:
    """Client id and secret, as they were sent."""
    return _basic(headers) or (form.get("client_id", ""), form.get("client_secret", ""))


def _basic(headers: Mapping[bytes, bytes]) -> tuple[str, str] | None:
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return client_id, secret


def _is_entitled(tenant: Tenant, secret: str, *, certificate: bool) -> bool:
    if not secret:
        return certificate
    return hmac.compare_digest(secret.encode(), tenant.client_secret.encode())


def _refusal(status: int, error: str, description: str) -> Reply:
    return reply_json({"error": error, "error_description": description}, status=status)
