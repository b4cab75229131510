"""Put a conversation into the order that strict upstreams want.

Claude, Converse and Gemini refuse what chat clients send every day: two user messages in a row, empty text,
tool results behind other text, a system message in the middle. Everything here returns new turns; nothing is
added but a "." where an upstream wants a user's word and there is none.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

import msgspec

from services.errors import BadRequest
from services.translation.capabilities import ModelFacts
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
    ToolResult,
    Turn,
)
from services.translation.fields import UNREADABLE, decoder
from services.translation.signatures import replayable

FILLER = Text(".")
"""Says nothing, where an upstream wants the user to have said something (wire §8.2)."""

_Thought = Thinking | Redacted


class _Freeform(msgspec.Struct):
    input: str


_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}
_FREEFORM: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}
_freeform = msgspec.json.Decoder(_Freeform)
_IMAGES: Mapping[str, str] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}


# --- turns -------------------------------------------------------------------------------------------


def arranged(conversation: Conversation, *origins: str) -> tuple[tuple[Text, ...], tuple[Turn, ...]]:
    """Return the system texts and the turns, in the order that strict upstreams want.

    Thinking stays only where an upstream of one of `origins` signed it. All of `hoisted`, `merged` and
    `opened_by_user` at once: what most upstreams need.
    """
    if _is_plain(conversation):  # what most short requests are
        return conversation.system, conversation.turns
    system, turns = hoisted(conversation)
    kept = (
        Turn(turn.role, tuple(block for block in turn.blocks if not _is_lost(block, origins)))
        for turn in turns
    )
    return system, opened_by_user(merged(kept))


def _is_plain(conversation: Conversation) -> bool:
    """Whether nothing but text is said, in turns, beginning with the user."""
    role = "assistant"
    for turn in conversation.turns:
        if turn.role == role or turn.role == "system" or not turn.blocks:
            return False
        role = turn.role
        if not all(type(block) is Text and block.text.strip() for block in turn.blocks):
            return False
    return bool(conversation.turns) and not any(map(_is_blank, conversation.system))


def forgets_thinking(conversation: Conversation, *origins: str) -> bool:
    """Whether there is thinking that none of `origins` signed, so that `arranged` leaves it out."""
    return any(_is_lost(block, origins) for block in conversation.blocks())


def hoisted(conversation: Conversation) -> tuple[tuple[Text, ...], tuple[Turn, ...]]:
    """Return the system texts and the turns of the others.

    System turns in mid-conversation go to the end of the system texts, in order: their place is lost
    (wire §8.2). Raises BadRequest for one that holds anything but text.
    """
    texts, rest = list(conversation.system), []
    for turn in conversation.turns:
        if turn.role == "system":
            texts += (_system_text(block, conversation) for block in turn.blocks)
        else:
            rest.append(turn)
    return tuple(text for text in texts if not _is_blank(text)), tuple(rest)


def merged(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Return turns that alternate, without empty text, tool results first in each (traps 31, 32).

    An assistant's turn without content is left out, a user's becomes `FILLER`: else the model would take the
    assistant's last words as its own to be continued.
    """
    cleaned = [turn for turn in map(_cleaned, turns) if turn.blocks]
    alternating = []
    for role, group in groupby(cleaned, key=lambda turn: turn.role):
        blocks = [block for turn in group for block in turn.blocks]
        if len(blocks) > 1:
            said = (block for block in blocks if block is not FILLER)
            blocks = sorted(said, key=_is_no_result) or [FILLER]
        alternating.append(Turn(role, tuple(blocks)))
    return tuple(alternating)


def opened_by_user(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Return turns of which the first is the user's."""
    return turns if turns and turns[0].role == "user" else (Turn("user", (FILLER,)), *turns)


def _system_text(block: Block, conversation: Conversation) -> Text:
    if not isinstance(block, Text):
        raise BadRequest("system messages can hold text only", param=conversation.name_of("messages"))
    return block


def _is_lost(block: Block, origins: tuple[str, ...]) -> bool:
    return isinstance(block, _Thought) and not replayable(block, *origins)


def _cleaned(turn: Turn) -> Turn:
    blocks = tuple(_without_blanks(block) for block in turn.blocks if not _is_blank(block))
    return Turn(turn.role, blocks or ((FILLER,) if turn.role == "user" else ()))


def _without_blanks(block: Block) -> Block:
    if isinstance(block, ToolResult) and any(map(_is_blank, block.content)):
        content = tuple(part for part in block.content if not _is_blank(part))
        return msgspec.structs.replace(block, content=content)
    return block


def _is_blank(block: Block) -> bool:
    return isinstance(block, Text) and not block.text.strip()


def _is_no_result(block: Block) -> bool:
    return not isinstance(block, ToolResult)


# --- tools -------------------------------------------------------------------------------------------


def arguments_object(arguments: str) -> msgspec.Raw:
    """Return the arguments of a call as an encoded JSON object, byte for byte what the model wrote.

    No text at all is `{}`; text that is no JSON object becomes `{"_raw": text}` (wire §8.0).
    """
    if not arguments.strip():
        return msgspec.Raw(b"{}")
    try:
        decoder.decode(arguments)
    except UNREADABLE:
        return msgspec.Raw(msgspec.json.encode({"_raw": arguments}))
    return msgspec.Raw(arguments.encode())


def parameters(tool: Tool) -> Mapping[str, Any]:
    """Return the JSON Schema of a tool's arguments; a freeform tool takes one string, `input`."""
    return _FREEFORM if tool.freeform else tool.schema or _NO_PARAMETERS


def freeform_input(arguments: str) -> str:
    """Return the text in the arguments of a freeform tool; what does not keep to the form is text itself."""
    try:
        return _freeform.decode(arguments).input
    except UNREADABLE:
        return arguments


# --- what cannot be said -----------------------------------------------------------------------------


UNTOLD: Mapping[str, Any] = {"n": 1, "logprobs": False, "top_logprobs": 0}
"""What the events of an answer have no place for, with the value that asks for nothing."""


def unsaid(conversation: Conversation, origin: str) -> list[str]:
    """Return what dialects cannot say that are not OpenAI's. `origin` is the one whose thinking goes back."""
    lost = []
    if not conversation.is_text():
        if forgets_thinking(conversation, origin):
            lost.append("unsigned thinking")
        if any(tool.strict for tool in conversation.tools):
            lost.append("strict")
    if chooses_from_nothing(conversation):
        lost.append("tool_choice")
    return lost


def chooses_from_nothing(conversation: Conversation) -> bool:
    """Whether it is said how tools are to be called, and there are none."""
    choice = conversation.tool_choice
    return choice is not None and choice.mode != "none" and not conversation.tools


# --- pictures and documents --------------------------------------------------------------------------


def check_inputs(conversation: Conversation, facts: ModelFacts) -> None:
    """Raise BadRequest for pictures, PDFs and sound that the model is known not to take."""
    if not facts.inputs or conversation.is_text():
        return
    for part in conversation.parts():
        kind = _kind(part)
        if kind and kind not in facts.inputs:
            raise BadRequest(
                f"this model takes no {kind} input, only: {', '.join(facts.inputs)}",
                param=conversation.name_of("messages"),
            )


def _kind(block: Block) -> str:
    if isinstance(block, Image):
        return "image"
    if isinstance(block, Audio):
        return "audio"
    return "pdf" if isinstance(block, Document) and block.media_type == "application/pdf" else ""


def image_format(image: Image, conversation: Conversation) -> str:
    """Return "png", "jpeg", "gif" or "webp". Raises BadRequest for other pictures."""
    try:
        return _IMAGES[image.media_type.lower()]
    except KeyError:
        raise BadRequest(
            f"pictures of type '{image.media_type}' are not taken; send png, jpeg, gif or webp",
            param=conversation.name_of("messages"),
        ) from None


def document_text(document: Document, conversation: Conversation) -> str | None:
    """Return the text of a plain-text document, None for any other. Raises BadRequest for what is no text."""
    if document.text or not document.data:
        return document.text
    if not document.media_type.startswith("text/") and document.media_type != "application/json":
        return None
    try:
        return base64.b64decode(document.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise BadRequest(
            f"a document of type '{document.media_type}' is no base64-encoded UTF-8 text",
            param=conversation.name_of("messages"),
        ) from exc


def as_text(block: Block, conversation: Conversation) -> str | None:
    """Return what can stand as text, None for what cannot. Raises BadRequest as `document_text` does."""
    if isinstance(block, Text):
        return block.text
    if not isinstance(block, Document):
        return None
    text = document_text(block, conversation)
    return None if text is None else "\n\n".join(filter(None, (block.title, block.context, text)))
