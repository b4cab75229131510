"""Signatures of thoughts: only what a model of this region thought may come back to it (wire §8.2)."""

from __future__ import annotations

import base64
import hashlib
import hmac

# The same in every run and for every sub-account: a conversation may go on at another deployment.
_KEY = b"the simulated region"


def sign(thought: str) -> str:
    """The signature of a thought."""
    digest = hmac.digest(_KEY, thought.encode(), hashlib.sha256)
    return base64.b64encode(b"\x12\xaa\x01" + digest + digest).decode()


def genuine(thought: str, signature: str) -> bool:
    """Whether the signature was issued for just this thought."""
    return hmac.compare_digest(sign(thought).encode(), signature.encode())


def seal(thought: str) -> str:
    """A thought that nobody else can read, with its signature in front."""
    return base64.b64encode(f"{sign(thought)} {thought[::-1]}".encode()).decode()


def sealed_here(data: str) -> bool:
    """Whether `seal` gave this."""
    try:
        signature, _, reversed_thought = base64.b64decode(data, validate=True).decode().partition(" ")
    except ValueError:
        return False
    return genuine(reversed_thought[::-1], signature)
