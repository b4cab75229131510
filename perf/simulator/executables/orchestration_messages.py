"""The messages of orchestration; what the schema does not name is refused (wire §4.7).

`null` is no value: members that are not set must be left out (wire §8.5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class Strict(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`additionalProperties: false`."""


class CacheControl(Strict):
    """A cache mark, for Claude."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | UnsetType = UNSET


class TextPart(Strict, tag_field="type", tag="text"):
    """Text."""

    text: str
    cache_control: CacheControl | UnsetType = UNSET


class ImageUrl(Strict):
    """Where an image is."""

    url: str
    detail: Literal["auto", "low", "high"] | UnsetType = UNSET


class ImagePart(Strict, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageUrl
    cache_control: CacheControl | UnsetType = UNSET


class File(Strict):
    """A file, as URL or data URI."""

    file_data: str
    filename: str | UnsetType = UNSET


class FilePart(Strict, tag_field="type", tag="file"):
    """A file."""

    file: File
    cache_control: CacheControl | UnsetType = UNSET


class CalledFunction(Strict):
    """What was called."""

    name: str
    arguments: str


class ToolCall(Strict):
    """A call the model made."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class ReasoningBlock(Strict):
    """Thoughts, and the proof that they are the model's."""

    content: str
    signature: str


Texts = str | list[TextPart]


class SystemMessage(Strict, tag_field="role", tag="system"):
    """Instructions."""

    content: Texts


class DeveloperMessage(Strict, tag_field="role", tag="developer"):
    """The newer name of the same."""

    content: Texts


class UserMessage(Strict, tag_field="role", tag="user"):
    """What the user says."""

    content: str | list[TextPart | ImagePart | FilePart]


class AssistantMessage(Strict, tag_field="role", tag="assistant"):
    """What the model said."""

    content: Texts | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    reasoning_content: list[ReasoningBlock] | UnsetType = UNSET


class ToolMessage(Strict, tag_field="role", tag="tool"):
    """What a function gave."""

    tool_call_id: str
    content: Texts


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


def role(message: Message) -> str:
    """The role of a message."""
    return str(message.__struct_config__.tag)


def texts(message: Message) -> list[str]:
    """All text of a message's content."""
    if isinstance(message.content, str):
        return [message.content]
    return [part.text for part in message.content or () if isinstance(part, TextPart)]


def mapped(messages: list[Message], change: Callable[[str], str]) -> list[Message]:
    """The messages with every text of their contents changed."""
    return [_changed(message, change) for message in messages]


def _changed(message: Message, change: Callable[[str], str]) -> Message:
    if isinstance(message.content, str):
        return msgspec.structs.replace(message, content=change(message.content))
    parts = [
        msgspec.structs.replace(part, text=change(part.text)) if isinstance(part, TextPart) else part
        for part in message.content or ()
    ]
    return msgspec.structs.replace(message, content=parts) if parts else message
