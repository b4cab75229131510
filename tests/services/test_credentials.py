"""A credential: complete, with exactly one proof, and silent about it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from services.credentials import Credential

BASE: dict[str, Any] = {"name": "prod", "client_id": "c", "token_url": "https://a", "api_url": "https://b/"}


def test_addresses_are_completed() -> None:
    """With the token path and the version of the API."""
    credential = Credential(**BASE, client_secret="s")

    assert (credential.token_url, credential.api_url) == ("https://a/oauth/token", "https://b/v2")


def test_complete_addresses_stay() -> None:
    """However often a credential is copied."""
    once = Credential(**BASE, client_secret="s")

    assert once == Credential("prod", "c", once.token_url, once.api_url, client_secret="s")


def test_no_secret_is_shown() -> None:
    """Neither secret nor certificate nor private key."""
    shown = repr(Credential(**BASE, client_secret="s3cret")) + repr(
        Credential(**BASE, cert_pem="c3rt", key_pem="k3y")
    )

    assert [one for one in ("s3cret", "c3rt", "k3y") if one in shown] == []


@pytest.mark.parametrize(
    "proof",
    [{}, {"cert_pem": "c"}, {"key_pem": "k"}, {"client_secret": "s", "cert_pem": "c", "key_pem": "k"}],
)
def test_there_is_exactly_one_proof(proof: dict[str, str]) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="prod"):
        Credential(**BASE, **proof)


def test_it_survives_pickling() -> None:
    """A spawned worker gets its own copy."""
    credential = Credential(**BASE, client_secret="s")

    assert credential == pickle.loads(pickle.dumps(credential))
