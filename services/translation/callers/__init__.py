"""How clients speak: one module a dialect, each a `dialects.Caller`."""

from __future__ import annotations

from collections.abc import Mapping

from services.translation.callers import bedrock, chat, completions, gemini, messages, responses
from services.translation.dialects import Caller

CALLERS: Mapping[str, Caller] = {
    module.CALLER.surface: module.CALLER
    for module in (chat, completions, messages, bedrock, responses, gemini)
}
"""Surface → how its clients speak."""
