"""Thought signatures: issued on function calls by Gemini 3 and required back (wire §5.4).

A signature belongs to one call, so that one which has changed places is refused like a foreign one. Only the
first of parallel calls carries one.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from perf.simulator.executables.chat import Invalid

_SKIP = b"skip_thought_signature_validator"
_DUMMIES = (_SKIP.decode(), base64.b64encode(_SKIP).decode())
"""Taken instead of a signature (u); clients whose field holds bytes send it encoded once more."""

_HEAD = b"\x0a\xc4\x01"


def signature(call: dict[str, Any]) -> str:
    """The signature of a `functionCall`."""
    canonical = msgspec.json.encode([call.get("name"), call.get("args") or {}], order="deterministic")
    return base64.b64encode(_HEAD + hashlib.sha384(canonical).digest()).decode()


def check(parts: list[dict[str, Any]], place: int) -> None:
    """Refuse a model turn whose first function call is unsigned, or any that is signed wrongly.

    Raises Invalid.
    """
    calls = [part for part in parts if "functionCall" in part]
    if calls and not calls[0].get("thoughtSignature"):
        raise Invalid(
            "Function call is missing a thought_signature in functionCall parts. This is required for tools "
            "to work correctly, and missing thought_signature may lead to degraded model performance. "
            f"Additional data, function call `default_api:{calls[0]['functionCall'].get('name')}` , "
            f"position {place + 1}. Please refer to "
            "https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
        )
    for part in calls:
        given = part.get("thoughtSignature")
        if given and given not in _DUMMIES and _standard(given) != signature(part["functionCall"]):
            raise Invalid("Thought signature is not valid.")


def _standard(given: str) -> str:
    return given.replace("-", "+").replace("_", "/")
