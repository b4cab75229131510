"""Names and ids of tools that every upstream takes, and the way back (wire §8.0).

Both are made from the original alone, so that a result finds its call again in a later request.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from services.translation.conversation import Block, Conversation, ToolChoice, ToolResult, ToolUse

_SAFE = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_KEPT = 55


def safe(name: str) -> str:
    """Return the name itself where every upstream takes it, else what is readable of it with a hash."""
    if _SAFE.match(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_UNSAFE.sub('_', name)[:_KEPT]}_{digest}"


def renamed(conversation: Conversation) -> tuple[Conversation, Mapping[str, str]]:
    """Return the conversation with safe tool names and ids, and safe → original for changed names."""
    if conversation.is_text():
        return conversation, {}
    named = ((safe(tool.name), tool.name) for tool in conversation.tools)
    originals = {name: original for name, original in named if name != original}
    if not originals and all(_fits(block) for block in conversation.blocks()):
        return conversation, {}
    choice = conversation.tool_choice and _choice_made_safe(conversation.tool_choice)
    return (
        msgspec.structs.replace(
            conversation,
            tools=tuple(msgspec.structs.replace(tool, name=safe(tool.name)) for tool in conversation.tools),
            tool_choice=choice,
            turns=tuple(
                msgspec.structs.replace(turn, blocks=tuple(_made_safe(block) for block in turn.blocks))
                for turn in conversation.turns
            ),
        ),
        originals,
    )


def _choice_made_safe(choice: ToolChoice) -> ToolChoice:
    return msgspec.structs.replace(choice, name=safe(choice.name)) if choice.name else choice


def _fits(block: Block) -> bool:
    made = _made_safe(block)
    return made is block or made == block


def _made_safe(block: Block) -> Block:
    if isinstance(block, ToolUse):
        return msgspec.structs.replace(block, id=safe(block.id), name=safe(block.name))
    if isinstance(block, ToolResult):
        return msgspec.structs.replace(block, tool_id=safe(block.tool_id))
    return block
