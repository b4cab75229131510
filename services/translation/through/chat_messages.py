"""Messages of a chat conversation that another model began (wire §8.7).

Our answers carry extensions that let Claude's thinking and Gemini's signatures come back. Deployments that
speak chat completions themselves refuse those members, so they stay here.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from services.translation import fields as f
from services.translation.fields import ABSENT, Fields


class _Call(msgspec.Struct, gc=False):
    extra_content: msgspec.Raw = ABSENT


class _Message(msgspec.Struct, gc=False):
    reasoning_content: msgspec.Raw = ABSENT
    thinking_blocks: msgspec.Raw = ABSENT
    tool_calls: list[_Call] | None = None


_EXTENSIONS = ("reasoning_content", "thinking_blocks")
_CALLS = "tool_calls"
_CALL_EXTENSION = "extra_content"
_seen = msgspec.json.Decoder(list[_Message])
_objects = msgspec.json.Decoder(list[Fields])


def without_extensions(messages: msgspec.Raw) -> tuple[msgspec.Raw, tuple[str, ...]]:
    """Return the messages without what chat completions do not know, and the names of what that was.

    Messages that cannot be read are the upstream's to judge.
    """
    try:
        seen = _seen.decode(messages)
    except f.UNREADABLE:
        return messages, ()
    if not any(map(_is_extended, seen)):
        return messages, ()
    lost: dict[str, None] = {}
    plain = [_plain(message, lost) for message in _objects.decode(messages)]
    return f.raw(plain), tuple(lost)


def _is_extended(message: _Message) -> bool:
    return (
        len(message.reasoning_content) > 0
        or len(message.thinking_blocks) > 0
        or (message.tool_calls is not None and any(len(call.extra_content) for call in message.tool_calls))
    )


def _plain(message: Fields, lost: dict[str, None]) -> Fields:
    plain = _without(message, _EXTENSIONS, "messages", lost)
    if f.present(calls := plain.get(_CALLS, ABSENT)):
        place = f"messages.{_CALLS}"
        objects = _objects.decode(calls)
        plain[_CALLS] = f.raw([_without(call, (_CALL_EXTENSION,), place, lost) for call in objects])
    return plain


def _without(members: Fields, names: Iterable[str], place: str, lost: dict[str, None]) -> Fields:
    lost |= {f"{place}.{name}": None for name in names if f.present(members.get(name, ABSENT))}
    return {name: value for name, value in members.items() if name not in names}
