"""Proofs of thinking, on their way through clients of the Gemini API.

There `thoughtSignature` holds bytes, so clients decode its base64 and encode it again, in either alphabet.
Gemini's own signatures travel as they are; all others, Claude's too, inside a seal that is base64 itself.
"""

from __future__ import annotations

import base64
import binascii

from services.translation.conversation import Redacted, Thinking
from services.translation.upstreams.gemini_answer import ORIGIN

_SEAL = "aicore."
_KINDS = ("thinking", "redacted")
MARK = base64.b64encode(_SEAL.encode())[:9]
"""What the base64 of every seal begins with, in both alphabets."""

_STANDARD = str.maketrans("-_", "+/")


def standard_base64(data: str) -> str:
    """Return base64 in the usual alphabet and padded: Google's clients write the URL's alphabet."""
    plain = data.translate(_STANDARD).rstrip("=")
    return plain + "=" * (-len(plain) % 4)


def seal(proof: str, origin: str, *, redacted: bool = False) -> str:
    """Return a signature, or thinking that only its model can read, as a `thoughtSignature`."""
    if origin == ORIGIN:
        return proof
    return base64.b64encode(f"{_SEAL}{_KINDS[redacted]}.{origin}.{proof}".encode()).decode()


def unseal(signature: str, text: str = "") -> Thinking | Redacted:
    """Return the block that a `thoughtSignature` proves; `text` is what can be read of it."""
    if not signature.startswith(MARK.decode()):
        return Thinking(text, signature, ORIGIN)
    try:
        opened = base64.b64decode(standard_base64(signature), validate=True).decode()
        _, kind, origin, proof = opened.split(".", 3)
    except (binascii.Error, ValueError):
        return Thinking(text, signature, ORIGIN)
    return Redacted(proof, origin) if kind == _KINDS[True] else Thinking(text, proof, origin)


def is_foreign(signature: str) -> bool:
    """Whether another dialect made it, so that no Gemini model may get it."""
    return unseal(signature).origin != ORIGIN
