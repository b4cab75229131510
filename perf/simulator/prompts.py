"""Directives in a prompt: `[[fault:KIND[:ARG]]]` in the last user message, or in an embedding's input."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from perf.simulator import text

_DIRECTIVE = re.compile(r"\[\[fault:([a-z0-9-]+(?::[0-9.]+)?)\]\]")


def directive(body: bytes) -> str | None:
    """The fault that the prompt asks for, if it does; older messages of a conversation do not count."""
    if not text.holds(body, b"[[fault:"):
        return None
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    found = _DIRECTIVE.search(_last_words(document))
    return found[1] if found else None


def _is_conversation(given: Any) -> bool:
    """Whether an `input` is of Responses, not of embeddings."""
    return isinstance(given, list) and any(isinstance(item, dict) for item in given)


def _orchestrated(document: dict[str, Any]) -> str:
    """The last message of the template or the history, with the parameters that may go into it."""
    modules = document["config"].get("modules")
    first = modules[0] if isinstance(modules, list) else modules
    prompt = first.get("prompt_templating", {}).get("prompt", {})
    messages = prompt.get("template") or document.get("messages_history")
    said = _last_words({"messages": messages})
    return f"{said} {document.get('placeholder_values', '')} {document.get('input', '')}"


def _last_words(document: Any) -> str:
    if not isinstance(document, dict):
        return ""
    if "config" in document:
        return _orchestrated(document)
    given = document.get("input", document.get("inputText"))
    if given is not None and not _is_conversation(given):
        return str(given)
    messages = given or document.get("messages")
    said = (
        [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
        if isinstance(messages, list)
        else []
    )
    return str(said[-1].get("content")) if said else ""
