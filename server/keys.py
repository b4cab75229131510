"""Client keys: strong ones from the system's source of randomness, and the form to configure them in."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

PREFIX = "sk-aicore-"
_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to hand to a client, and what to put into `secret_authentication_tokens` for it."""

    key: str = field(repr=False)
    sha256: str
    """`sha256:` and 64 hexadecimal digits."""


def new_key() -> NewKey:
    """Make a key with 256 random bits."""
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return NewKey(key, f"sha256:{digest(key).hex()}")


def digest(key: str) -> bytes:
    """Return the SHA-256 by which a key is known."""
    return hashlib.sha256(key.encode()).digest()
