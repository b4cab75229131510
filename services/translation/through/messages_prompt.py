"""Messages, system prompt and tools on their way to Claude, as far as Bedrock refuses them (wire §5.2, §8.6).

One quick look, which copies nothing, finds what is at fault; only those messages are taken apart, and in them
every member that may stay keeps the caller's bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec

from services.errors import BadRequest
from services.translation import fields as f
from services.translation.callers.decoding import take
from services.translation.callers.messages import CLIENT_TOOLS, TOOL_MEMBERS
from services.translation.conversation import Block, Redacted, Text, Thinking, ToolResult, Turn
from services.translation.fields import ABSENT, Fields
from services.translation.replies import Inline, inline
from services.translation.signatures import CLAUDE, unseal


class _Mark(msgspec.Struct, gc=False):
    scope: msgspec.Raw = ABSENT


class _Source(msgspec.Struct, gc=False):
    type: str = ""
    content: msgspec.Raw = ABSENT


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    signature: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT
    source: _Source | str | None = None
    cache_control: _Mark | None = None


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[_Block]


class _Tool(msgspec.Struct, gc=False):
    type: str | None = None
    name: str = ""
    cache_control: _Mark | None = None


class _Choice(msgspec.Struct, gc=False):
    type: str = ""
    name: str = ""


_decoder = msgspec.json.Decoder
_word = _decoder(str)
_seen_messages = _decoder(list[_Message])
_seen_blocks = _decoder(list[_Block])
_seen_system = _decoder(str | list[_Block])
_seen_tools = _decoder(list[_Tool])
_choice = _decoder(_Choice)
_members = f.decoder
_objects = _decoder(list[Fields])
_raws = _decoder(list[msgspec.Raw])

UNSIGNED = "unsigned thinking"


class Prompt(msgspec.Struct):
    """The content of a request, fit for Claude."""

    messages: msgspec.Raw
    system: msgspec.Raw | None
    turns: tuple[Turn, ...]
    """An outline: who spoke, and which kinds of blocks."""
    dropped: tuple[str, ...] = ()


def suited(body: Fields, fetched: Mapping[str, Inline]) -> Prompt:
    """Return messages and system prompt as Bedrock takes them.

    Raises BadRequest for what cannot be read, and for URLs of pictures and documents that were not fetched.
    """
    messages = take(body, "messages", _seen_messages)
    if not messages:
        raise BadRequest("'messages' is required and must not be empty", param="messages")
    system = take(body, "system", _seen_system) or ()
    faulty = {at for at, message in enumerate(messages) if _faulty_message(message)}
    if not faulty and not _faulty_content(system):
        return Prompt(body["messages"], body.get("system"), _outline(messages))
    return _Suiting(fetched).prompt(body, faulty)


# --- the quick look ------------------------------------------------------------------------------------


def _faulty_message(message: _Message) -> bool:
    return message.role == "system" or _faulty_content(message.content)


def _faulty_content(content: str | Sequence[_Block]) -> bool:
    if isinstance(content, str):
        return not content.strip()
    try:
        return any(_faulty(block) for block in content)
    except f.UNREADABLE:  # taking it apart tells where
        return True


def _faulty(block: _Block) -> bool:
    if _scoped(block.cache_control):
        return True
    match block.type:
        case "text":
            return _is_blank(block.text)
        case "thinking":
            return not _is_claudes(block.signature)
        case "redacted_thinking":
            return not _is_claudes(block.data)
        case "tool_result":
            return _faulty_parts(block.content)
        case "image" | "document" if isinstance(block.source, _Source):
            return block.source.type == "url" or _faulty_parts(block.source.content)
        case kind:
            return kind == "tool_reference"


def _scoped(mark: _Mark | None) -> bool:
    return mark is not None and len(mark.scope) > 0


def _faulty_parts(content: msgspec.Raw) -> bool:
    if f.first_byte(content) != b"[":
        return False
    return any(_faulty(part) for part in _seen_blocks.decode(content))


def _is_blank(text: msgspec.Raw) -> bool:
    """Whether this is text with nothing to read (trap 31)."""
    said = _string(text)
    return said is not None and not said.strip()


def _is_claudes(signed: msgspec.Raw) -> bool:
    """Whether Claude itself signed this: it refuses what others did, and what nobody did."""
    return unseal(_string(signed) or "")[1] == CLAUDE


def _string(raw: msgspec.Raw) -> str | None:
    """Return the text; None for what is none, which the upstream may judge. Raises what decoding raises."""
    return _word.decode(raw) if f.first_byte(raw) == b'"' else None


def _outline(messages: Iterable[_Message]) -> tuple[Turn, ...]:
    return tuple(Turn("assistant" if one.role == "assistant" else "user", _kinds(one)) for one in messages)


_OUTLINED: Mapping[str, Block] = {
    "thinking": Thinking(),
    "redacted_thinking": Redacted(""),
    "tool_result": ToolResult(""),
}
_OTHER = Text("")


def _kinds(message: _Message) -> tuple[Block, ...]:
    if isinstance(message.content, str):
        return (_OTHER,)
    return tuple(_OUTLINED.get(block.type, _OTHER) for block in message.content)


# --- putting right -------------------------------------------------------------------------------------


class _Suiting:
    """Takes faulty messages apart, and puts them together without the fault."""

    def __init__(self, fetched: Mapping[str, Inline]) -> None:
        self._fetched = fetched
        self._dropped: dict[str, None] = {}

    def prompt(self, body: Fields, faulty: set[int]) -> Prompt:
        """Return the content; `faulty` are the places of the messages to take apart."""
        system = self._system(body.get("system", ABSENT), "system")
        raws = take(body, "messages", _raws) or []
        kept: list[msgspec.Raw] = []
        for at, raw in enumerate(raws):
            if at not in faulty:
                kept.append(raw)
                continue
            message, place = _members.decode(raw), f"messages[{at}].content"
            if _string(message["role"]) == "system":
                system += self._system(message["content"], place)
            elif (content := self._content(message["content"], place)) or at == len(raws) - 1:
                kept.append(f.raw(message | {"content": f.raw(content)}))
        if not kept:
            raise BadRequest("there has to be a message of the user's", param="messages")
        messages = f.raw(kept)
        outline = _outline(_seen_messages.decode(messages))
        return Prompt(messages, f.raw(system) if system else None, outline, tuple(self._dropped))

    def _system(self, raw: msgspec.Raw, place: str) -> list[Fields]:
        """Return a system prompt's blocks; system messages are put behind them (wire §5.2, trap 30)."""
        content = self._content(raw, place)
        return content if isinstance(content, list) else [{"type": _TEXT, "text": f.raw(content)}]

    def _content(self, raw: msgspec.Raw, place: str) -> str | list[Fields]:
        """Return the content at this place without what is at fault; an empty list when nothing is left."""
        if not f.present(raw):
            return []
        if (text := _string(raw)) is not None:
            return text if text.strip() else []
        take({place: raw}, place, _seen_blocks)  # it says what is wrong with a block, and where
        sent = take({place: raw}, place, _objects) or []
        blocks = (self._block(block, f"{place}[{at}]") for at, block in enumerate(sent))
        return [block for block in blocks if block is not None]

    def _block(self, block: Fields, place: str) -> Fields | None:
        try:
            put_right = self._KINDS.get(_string(block.get("type", ABSENT)) or "")
            block = without_scope(block)
            return block if put_right is None else put_right(self, block, place)
        except f.UNREADABLE as exc:
            raise BadRequest(f"'{place}' cannot be read: {exc}", param=place) from exc

    def _text(self, block: Fields, place: str) -> Fields | None:
        return None if _is_blank(block.get("text", ABSENT)) else block

    def _thinking(self, block: Fields, place: str) -> Fields | None:
        return self._if_claudes(block, "signature")

    def _redacted(self, block: Fields, place: str) -> Fields | None:
        return self._if_claudes(block, "data")

    def _if_claudes(self, block: Fields, signed: str) -> Fields | None:
        if _is_claudes(block.get(signed, ABSENT)):
            return block
        self._dropped[UNSIGNED] = None
        return None

    def _result(self, block: Fields, place: str) -> Fields:
        content = block.get("content", ABSENT)
        if f.first_byte(content) != b"[":
            return block
        return block | {"content": f.raw(self._content(content, f"{place}.content"))}

    def _reference(self, block: Fields, place: str) -> Fields:
        name = _string(block.get("tool_name", ABSENT))
        if name is None:
            raise BadRequest(f"'{place}.tool_name' must be a string", param=f"{place}.tool_name")
        return {"type": _TEXT, "text": f.raw(name)}

    def _media(self, block: Fields, place: str) -> Fields:
        raw = block.get("source", ABSENT)
        source = _members.decode(raw) if f.first_byte(raw) == b"{" else {}
        if _string(source.get("type", ABSENT)) == "url":
            url = _string(source.get("url", ABSENT)) or ""
            return block | {"source": self._inline(url, f"{place}.source.url")}
        if f.first_byte(source.get("content", ABSENT)) == b"[":
            content = self._content(source["content"], f"{place}.source.content")
            return block | {"source": f.raw(source | {"content": f.raw(content)})}
        return block

    def _inline(self, url: str, place: str) -> msgspec.Raw:
        data = inline(url, self._fetched, place)
        return f.raw({"type": "base64", "media_type": data.media_type, "data": data.data})

    _KINDS: ClassVar[Mapping[str, Callable[[_Suiting, Fields, str], Fields | None]]] = {
        "text": _text,
        "thinking": _thinking,
        "redacted_thinking": _redacted,
        "tool_result": _result,
        "tool_reference": _reference,
        "image": _media,
        "document": _media,
    }


_TEXT = msgspec.Raw(b'"text"')


def without_scope(block: Fields) -> Fields:
    """Return the block with a cache mark as Bedrock takes it (trap 27)."""
    raw = block.get("cache_control", ABSENT)
    mark = _members.decode(raw) if f.first_byte(raw) == b"{" else {}
    if "scope" not in mark:
        return block
    return block | {"cache_control": f.raw({name: mark[name] for name in mark if name != "scope"})}


# --- tools ---------------------------------------------------------------------------------------------


def suit_tools(out: Fields) -> tuple[str, ...]:
    """Leave only those tools in the body that Claude can be given on Bedrock (wire §5.2).

    Returns what was left out. Raises BadRequest when the model has to call a tool that is not among them.
    """
    tools, seen = take(out, "tools", _objects), take(out, "tools", _seen_tools)
    if not tools or not seen:
        return ()
    kept = [tool for tool, one in zip(tools, seen, strict=True) if one.type in CLIENT_TOOLS]
    lost = [str(one.type) for one in seen if one.type not in CLIENT_TOOLS]
    lost += (f"tools.{name}" for tool in kept for name in tool if name not in TOOL_MEMBERS)
    if not kept:
        lost += ["tool_choice"] if out.pop("tool_choice", None) else []
        del out["tools"]
    elif lost or any(_scoped(one.cache_control) for one in seen):
        _check_choice(out, {one.name for one in seen if one.type in CLIENT_TOOLS})
        out["tools"] = f.raw([_trimmed(tool) for tool in kept])
    return tuple(dict.fromkeys(lost))


def _trimmed(tool: Fields) -> Fields:
    return without_scope({name: tool[name] for name in tool if name in TOOL_MEMBERS})


def _check_choice(body: Fields, names: set[str]) -> None:
    choice = take(body, "tool_choice", _choice)
    if choice is not None and choice.type == "tool" and choice.name not in names:
        raise BadRequest(
            f"'tool_choice.name' is none of the tools that Claude can be given here: {choice.name!r}",
            param="tool_choice.name",
        )
