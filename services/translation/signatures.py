"""Proofs of thinking, on their way through callers that know only one kind.

Claude's signatures go to callers as they are: Claude Code and the Anthropic SDK expect them so. Those of
other upstreams travel in the same field behind a seal that names their origin, and come back with it: a
signature is only ever shown to the dialect that made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import msgspec

from services.translation.conversation import Block, Redacted, Thinking, ToolUse

CLAUDE = "claude"
CALL_SIGNER = "gemini"
"""The only upstream that signs calls (wire §5.4); for callers the proof travels in an empty thought."""

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


def with_call_signatures(blocks: Sequence[Block]) -> Iterable[Block]:
    """Yield the blocks; calls have the signature back that travelled in the empty thought before them."""
    signature = ""
    for block, after in zip_longest(blocks, blocks[1:]):
        if isinstance(block, Thinking) and _signs(block, after):
            signature = block.signature
        elif isinstance(block, ToolUse) and signature:
            yield msgspec.structs.replace(block, signature=signature)
            signature = ""
        else:
            yield block


def _signs(block: Thinking, after: Block | None) -> bool:
    return not block.text and block.origin == CALL_SIGNER and isinstance(after, ToolUse)
