"""About how many tokens a conversation has, for `count_tokens`: SAP AI Core does not count them (wire §4).

Plain arithmetic, the same for every model, rather a little too much than too little:

* text: two tokens for seven bytes of UTF-8, which also holds for scripts where a character is a token;
* a picture: the most that Claude counts for one, whatever its size in base64 (trap 58);
* a PDF: the tokens of one page for every 50,000 bytes begun;
* some tokens around every turn, call and tool, and those of the tool-use prompt.

More content never makes the estimate smaller.
"""

from __future__ import annotations

import msgspec

from services.translation.conversation import (
    Audio,
    Block,
    Conversation,
    Document,
    Image,
    Redacted,
    Text,
    Thinking,
    Tool,
    ToolUse,
)

_IMAGE = 1_600
_PAGE = 2_000
_PAGE_BYTES = 50_000
_SECOND = 32
_SECOND_BYTES = 32_000  # of sound: 16 kHz, 16 bits
_TURN = 4
_CALL = 12
_TOOL = 16
_TOOL_PROMPT = 350


def estimated_tokens(conversation: Conversation) -> int:
    """Return about how many input tokens a model would count."""
    tools = sum(_tool(tool) for tool in conversation.tools)
    schema = conversation.output.schema if conversation.output else None
    return (
        sum(_text(block.text) for block in conversation.system)
        + sum(_TURN + sum(_block(block) for block in turn.blocks) for turn in conversation.turns)
        + (tools + _TOOL_PROMPT if tools else 0)
        + (_text(msgspec.json.encode(schema).decode()) if schema else 0)
    )


def _text(*texts: str) -> int:
    size = sum(len(text) if text.isascii() else len(text.encode()) for text in texts)
    return -(-size * 2 // 7)


def _tool(tool: Tool) -> int:
    return _TOOL + _text(tool.name, tool.description, msgspec.json.encode(tool.schema).decode())


def _block(block: Block) -> int:
    match block:
        case Text(text) | Thinking(text):
            return _text(text)
        case Redacted(data):
            return _text(data)
        case Image():
            return _IMAGE
        case Document(data=data, text=text, title=title, context=context):
            return _text(text, title, context) + (0 if text else _begun(data, _PAGE_BYTES) * _PAGE)
        case Audio(data=data):
            return _begun(data, _SECOND_BYTES) * _SECOND
        case ToolUse(name=name, arguments=arguments):
            return _CALL + _text(name, arguments)
    return _CALL + sum(_block(part) for part in block.content)


def _begun(data: str, unit: int) -> int:
    """Return how many units the base64 data takes up; at least one."""
    return max(1, -(-len(data) * 3 // 4 // unit))
