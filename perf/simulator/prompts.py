"""Directives in a prompt: `[[fault:KIND[:ARG]]]` in the last user message, or in an embedding's input."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_DIRECTIVE = re.compile(r"\[\[fault:([a-z0-9-]+(?::[0-9.]+)?)\]\]")


def directive(body: bytes) -> str | None:
    """The fault that the prompt asks for, if it does; older messages of a conversation do not count."""
    if b"[[fault:" not in body:
        return None
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    found = _DIRECTIVE.search(_last_words(document))
    return found[1] if found else None


def _last_words(document: Any) -> str:
    if not isinstance(document, dict):
        return ""
    if "input" in document:
        return str(document["input"])
    messages = document.get("messages")
    said = (
        [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
        if isinstance(messages, list)
        else []
    )
    return str(said[-1].get("content")) if said else ""
