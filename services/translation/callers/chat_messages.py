"""The messages of a chat request: turns of blocks (wire §8.1, §8.2, §8.4).

Beside OpenAI's own members these extensions are read: Anthropic's `cache_control`, and what an answer of ours
carried so that thinking can go back: `thinking_blocks`, `reasoning_content` and Google's
`tool_calls[].extra_content`.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from services.errors import BadRequest
from services.translation.callers.chat_parts import (
    AudioPart,
    CacheControl,
    FilePart,
    ImagePart,
    RefusalPart,
    TextPart,
    blocks,
    mark,
    marked,
    texts,
)
from services.translation.callers.decoding import Form, take_whole
from services.translation.conversation import (
    Block,
    Document,
    Image,
    Redacted,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.fields import Fields
from services.translation.signatures import unseal

# --- the form ----------------------------------------------------------------------------------------


class _Numbered(msgspec.Struct, kw_only=True, tag_field="type"):
    """An entry of a list; of one that was put together from a stream the number may still be there."""

    index: Any = None


class _ThinkingBlock(_Numbered, tag="thinking"):
    thinking: str = ""
    signature: str | None = None


class _RedactedBlock(_Numbered, tag="redacted_thinking"):
    data: str


class _Function(msgspec.Struct):
    name: str
    arguments: str = ""


class _Custom(msgspec.Struct):
    name: str
    input: str = ""


class _Google(msgspec.Struct):
    thought_signature: str | None = None


class _Extra(msgspec.Struct):
    google: _Google | None = None


class _Call(_Numbered, kw_only=True):
    id: str
    extra_content: _Extra | None = None
    cache_control: CacheControl | None = None


class _FunctionCall(_Call, tag="function"):
    function: _Function


class _CustomCall(_Call, tag="custom"):
    custom: _Custom


class _Message(msgspec.Struct, kw_only=True, tag_field="role"):
    name: str | None = None
    cache_control: CacheControl | None = None


class _System(_Message, tag="system"):
    content: str | list[TextPart]


class _Developer(_System, tag="developer"):
    pass


class _User(_Message, tag="user"):
    content: str | list[TextPart | ImagePart | FilePart | AudioPart]


class _Assistant(_Message, tag="assistant"):
    content: str | list[TextPart | RefusalPart] | None = None
    refusal: str | None = None
    audio: dict[str, Any] | None = None
    tool_calls: list[_FunctionCall | _CustomCall] | None = None
    function_call: _Function | None = None
    thinking_blocks: list[_ThinkingBlock | _RedactedBlock] | None = None
    reasoning_content: str | None = None


class _Tool(_Message, tag="tool"):
    tool_call_id: str
    content: str | list[TextPart | ImagePart | FilePart]


class _FunctionResult(_Message, tag="function"):
    content: str | None = None


_AnyMessage = _System | _Developer | _User | _Assistant | _Tool | _FunctionResult

_MESSAGES: Form[list[_AnyMessage]] = Form(list[_AnyMessage])


# --- to the pivot ------------------------------------------------------------------------------------


def read_messages(body: Fields, dropped: list[str]) -> tuple[tuple[Text, ...], tuple[Turn, ...]]:
    """Return the system prompt that opens a request's `messages`, and their turns.

    What no model behind SAP AI Core is told is added to `dropped`. Raises BadRequest naming the place.
    """
    messages = take_whole(body, "messages", _MESSAGES, dropped)
    if not messages:
        raise BadRequest("'messages' is required and must not be empty", param="messages")
    reading = _Reading()
    system: list[Text] = []
    turns: list[Turn] = []
    for n, message in enumerate(messages):
        if message.name and not isinstance(message, _FunctionResult):
            dropped.append("messages.name")
        if isinstance(message, _System) and not turns:
            system += _system(message)
        else:
            turns.append(reading.turn(message, n))
    return tuple(system), tuple(turns)


class _Reading:
    """Reads one message after the other; results of legacy functions find their call by its name."""

    def __init__(self) -> None:
        self._legacy: dict[str, str] = {}

    def turn(self, message: _AnyMessage, number: int) -> Turn:
        """Return what the message says; a turn without blocks when that is nothing."""
        place = f"messages[{number}]"
        match message:
            case _User():
                return Turn(
                    "user", marked(blocks(message.content, f"{place}.content"), message.cache_control)
                )
            case _System():
                return Turn("system", _system(message))
            case _Assistant():
                return Turn("assistant", marked(self._assistant(message, number), message.cache_control))
            case _Tool():
                return Turn("user", (_result(message, place),))
            case _:
                return Turn("user", (self._legacy_result(message, place),))

    def _assistant(self, message: _Assistant, number: int) -> tuple[Block, ...]:
        place = f"messages[{number}]"
        if message.audio is not None:
            raise BadRequest("SAP AI Core keeps no audio answers to go on from", param=f"{place}.audio")
        said = (*blocks(message.content or "", f"{place}.content"), *texts(message.refusal or ""))
        out: list[Block] = [*_thoughts(message), *said]
        out += [_use(call) for call in message.tool_calls or ()]
        if message.function_call is not None:
            call = message.function_call
            self._legacy[call.name] = f"call_{number}"  # it has no id of its own
            out.append(ToolUse(self._legacy[call.name], call.name, call.arguments or "{}"))
        return tuple(out)

    def _legacy_result(self, message: _FunctionResult, place: str) -> ToolResult:
        call = self._legacy.get(message.name or "")
        if call is None:
            raise BadRequest("the function was not called before", param=f"{place}.name")
        return ToolResult(call, texts(message.content or ""))


def _system(message: _System) -> tuple[Text, ...]:
    said = cast(tuple[Text, ...], blocks(message.content, ""))  # the form has no other parts
    return marked(said, message.cache_control)


def _result(message: _Tool, place: str) -> ToolResult:
    said = blocks(message.content, f"{place}.content")
    content = tuple(one for one in said if isinstance(one, Text | Image | Document))
    return ToolResult(message.tool_call_id, content, cache=mark(message.cache_control))


def _use(call: _FunctionCall | _CustomCall) -> ToolUse:
    google = call.extra_content.google if call.extra_content else None
    signature = (google.thought_signature if google else None) or ""
    cache = mark(call.cache_control)
    if isinstance(call, _FunctionCall):
        arguments = call.function.arguments or "{}"
        return ToolUse(call.id, call.function.name, arguments, signature=signature, cache=cache)
    arguments = msgspec.json.encode({"input": call.custom.input}).decode()
    return ToolUse(call.id, call.custom.name, arguments, signature=signature, cache=cache)


def _thoughts(message: _Assistant) -> list[Block]:
    """Return the thinking, by the blocks with the proof where there are any: the plain text says no more."""
    if message.thinking_blocks:
        return [_thought(block) for block in message.thinking_blocks]
    return [Thinking(message.reasoning_content)] if message.reasoning_content else []


def _thought(block: _ThinkingBlock | _RedactedBlock) -> Block:
    if isinstance(block, _ThinkingBlock):
        return Thinking(block.thinking, *unseal(block.signature or ""))
    return Redacted(*unseal(block.data))
