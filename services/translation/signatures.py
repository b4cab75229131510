"""Proofs of thinking, on their way through callers that know only one kind.

Claude's signatures go to callers as they are: Claude Code and the Anthropic SDK expect them so. Those of
other upstreams travel in the same field behind a seal that names their origin, and come back with it: a
signature is only ever shown to the dialect that made it.
"""

from __future__ import annotations

from services.translation.conversation import Redacted, Thinking

CLAUDE = "claude"
_SEAL = "aicore."


def seal(signature: str, origin: str, *, native: str = CLAUDE) -> str:
    """Return the signature as a caller gets it who knows those of `native` as they are."""
    return signature if origin == native or not signature else f"{_SEAL}{origin}.{signature}"


def unseal(sealed: str, *, native: str = CLAUDE) -> tuple[str, str]:
    """Return signature and origin of what such a caller sent back. Both are empty for an empty one."""
    if not sealed.startswith(_SEAL):
        return sealed, native if sealed else ""
    origin, _, signature = sealed[len(_SEAL) :].partition(".")
    return signature, origin


def replayable(block: Thinking | Redacted, *origins: str) -> bool:
    """Whether the upstream that speaks one of `origins` takes this block back."""
    signed = block.data if isinstance(block, Redacted) else block.signature
    return bool(signed) and block.origin in origins
