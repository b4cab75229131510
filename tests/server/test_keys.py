"""New client keys."""

from __future__ import annotations

import hashlib

from server.keys import new_key


def test_a_key_is_long_and_marked() -> None:
    """256 random bits behind the prefix, in characters that any header takes."""
    key = new_key().key

    assert key.startswith("sk-aicore-")
    assert len("sk-aicore-") + 43 == len(key)
    assert key.isascii()


def test_no_two_keys_are_the_same() -> None:
    """They come from the system's randomness."""
    assert len({new_key().key for _ in range(100)}) == 100


def test_the_hash_is_the_one_to_configure() -> None:
    """In the form that secret_authentication_tokens takes."""
    made = new_key()

    assert f"sha256:{hashlib.sha256(made.key.encode()).hexdigest()}" == made.sha256


def test_the_key_is_not_shown() -> None:
    """A log line with the object has only the hash."""
    made = new_key()

    assert made.key not in repr(made)
