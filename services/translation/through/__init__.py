"""Pass-through: caller and upstream speak the same dialect, so nothing is rebuilt.

The request goes up with the few edits that the wire document requires, frames come down as bytes, and members
that nobody here knows survive both ways. One module a dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.translation.replies import Prepared
from services.translation.through import bedrock, chat, gemini, messages, responses

THROUGH: Mapping[tuple[str, str], Callable[..., Prepared]] = {
    ("chat", "azure-openai"): chat.prepare,
    ("chat", "openai-like"): chat.prepare,
    ("messages", "claude"): messages.prepare,
    ("bedrock", "claude"): bedrock.prepare,
    ("gemini", "gemini"): gemini.prepare,
    ("responses", "azure-openai"): responses.prepare,
}
"""(surface, dialect) → how its requests pass: `prepare(body, target, stream=…)`."""
