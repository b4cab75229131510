"""Tokens: how they are asked for, and when they stop being good."""

from __future__ import annotations

import base64
from urllib.parse import urlencode

import msgspec
import pytest

from perf.simulator.stats import Stats
from perf.simulator.tenants import make_tenants
from perf.simulator.tokens import TokenService

ALPHA, BETA = make_tenants(2, base_url="http://127.0.0.1:1", resource_groups=("default",))


class Clock:
    """Seconds, moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


def make(clock: Clock | None = None, *, revoke_after: int | None = None) -> TokenService:
    """A service of two tenants whose tokens live for a minute."""
    return TokenService(
        [ALPHA, BETA], Stats(), lifetime_seconds=60, revoke_after=revoke_after, clock=clock or Clock()
    )


def form(**fields: str) -> bytes:
    """A form body."""
    return urlencode(fields).encode()


GRANT = "client_credentials"
FULL = form(grant_type=GRANT, client_id=ALPHA.client_id, client_secret=ALPHA.client_secret)
BASIC = b"Basic " + base64.b64encode(f"{ALPHA.client_id}:{ALPHA.client_secret}".encode())


def bearer(service: TokenService) -> bytes:
    """The header of a fresh token of alpha."""
    answer = msgspec.json.decode(service.grant({}, "", FULL, certificate=False).body)
    return b"Bearer " + answer["access_token"].encode()


@pytest.mark.parametrize(
    ("headers", "query", "body"),
    [
        ({}, "", FULL),
        ({b"authorization": BASIC}, "", form(grant_type=GRANT)),
        ({b"authorization": BASIC}, "grant_type=client_credentials", b""),
    ],
    ids=["body", "basic", "basic-query"],
)
def test_all_forms_are_accepted(headers: dict[bytes, bytes], query: str, body: bytes) -> None:
    """Wire §2.1, the first three rows."""
    reply = make().grant(headers, query, body, certificate=False)

    assert (200, 60) == (reply.status, msgspec.json.decode(reply.body)["expires_in"])


def test_a_certificate_stands_for_the_secret() -> None:
    """Wire §2.1, the fourth row; without a certificate the same form is refused."""
    body = form(grant_type=GRANT, client_id=ALPHA.client_id)

    assert [200, 401] == [make().grant({}, "", body, certificate=shown).status for shown in (True, False)]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (form(grant_type=GRANT, client_id=ALPHA.client_id, client_secret="no"), 401, "unauthorized"),
        (form(grant_type=GRANT, client_id="who", client_secret="no"), 401, "invalid_client"),
        (form(grant_type="password"), 400, "unsupported_grant_type"),
        (b"\xff\xfe", 400, "unsupported_grant_type"),
    ],
)
def test_refusals_have_xsuaa_bodies(body: bytes, status: int, error: str) -> None:
    """Wire §2.3."""
    reply = make().grant({}, "", body, certificate=False)

    assert (status, error) == (reply.status, msgspec.json.decode(reply.body)["error"])


def test_a_token_expires() -> None:
    """After `expires_in` seconds it is refused."""
    clock = Clock()
    service = make(clock)
    token = bearer(service)
    clock.now = 59.9
    before = service.check(token)
    clock.now = 60.0

    assert (ALPHA, None) == (before, service.check(token))


def test_a_token_may_be_revoked_after_some_uses() -> None:
    """Before it has expired."""
    service = make(revoke_after=2)
    token = bearer(service)

    assert [True, True, False] == [service.check(token) is not None for _ in range(3)]


def test_revoking_spares_other_tenants() -> None:
    """Only the named tenant's tokens go."""
    service = make()
    token = bearer(service)

    assert (0, ALPHA) == (service.revoke("beta"), service.check(token))
    assert (1, None) == (service.revoke("alpha"), service.check(token))


@pytest.mark.parametrize("header", [b"", b"Bearer ", b"Bearer unknown", b"Basic abc"])
def test_other_credentials_are_no_bearer(header: bytes) -> None:
    """Missing, empty, unknown, of another scheme."""
    assert make().check(header) is None
