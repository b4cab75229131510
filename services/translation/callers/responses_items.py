"""The items of a Responses request, as turns (wire §8.8, §8.10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from services.errors import BadRequest
from services.translation.callers.chat_parts import (
    Breakpoint,
    check_sent,
    document,
    image,
    mark,
    read_parts,
    texts,
)
from services.translation.callers.decoding import Form, decoded, decoded_whole, take
from services.translation.conversation import (
    Block,
    CacheMark,
    Document,
    Image,
    Redacted,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.fields import ABSENT, Fields, first_byte
from services.translation.signatures import seal, unseal, with_call_signatures
from services.translation.upstreams.responses_reader import (
    ORIGIN,  # whose proofs these callers know as they are
)

# --- the form ----------------------------------------------------------------------------------------


class _Part(msgspec.Struct, kw_only=True, tag_field="type"):
    prompt_cache_breakpoint: Breakpoint | None = None


class _InputText(_Part, tag="input_text"):
    text: str


class _OutputText(_Part, tag="output_text"):
    text: str
    annotations: Any = None
    logprobs: Any = None


class _Refusal(_Part, tag="refusal"):
    refusal: str


class _InputImage(_Part, tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class _InputFile(_Part, tag="input_file"):
    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None


_AnyPart = _InputText | _OutputText | _Refusal | _InputImage | _InputFile


class _Item(msgspec.Struct, kw_only=True):
    """What items of earlier answers have too, and no model is told."""

    type: Any = None
    id: Any = None
    status: Any = None


class _Message(_Item):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[_AnyPart]


class _Call(_Item):
    call_id: str
    name: str
    arguments: str = ""


class _CustomCall(_Item):
    call_id: str
    name: str
    input: str = ""


class _Output(_Item):
    call_id: str
    output: str | list[_InputText | _InputImage | _InputFile]


class _Summary(msgspec.Struct):
    text: str
    type: Any = None


class _Reasoning(_Item):
    summary: list[_Summary] = []
    content: list[_Summary] | None = None
    encrypted_content: str | None = None


class _Kind(msgspec.Struct):
    type: str | None = None
    call_id: str | None = None


_text = msgspec.json.Decoder(str)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_kind = msgspec.json.Decoder(_Kind)

_NOT_KEPT = "the gateway keeps no items for this model; send the item itself"
_REFUSED: Mapping[str, str] = {
    "item_reference": _NOT_KEPT,
    "compaction": "only the model that made it can read it; send the whole history",
    "compaction_trigger": "this model does not shorten conversations",
}
"""Items whose loss would change what the conversation says."""

_OTHERS_TOOLS = frozenset(
    {
        "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "computer_call",
        "computer_call_output", "file_search_call", "image_generation_call", "local_shell_call",
        "local_shell_call_output", "mcp_approval_request", "mcp_approval_response", "mcp_call",
        "mcp_list_tools", "program", "program_output", "shell_call", "shell_call_output", "tool_search_call",
        "tool_search_output", "web_search_call",
    }
)  # fmt: skip
"""Items of tools that no model behind SAP AI Core can be given: dropped like the tools."""

# --- reasoning, there and back -----------------------------------------------------------------------

_WHOLE = ":redacted"


def sealed(proof: str, origin: str, *, redacted: bool = False) -> str:
    """Return `encrypted_content` for a signature, or for thinking that only the model can read.

    These callers know the proofs of Responses deployments as they are.
    """
    return seal(proof, origin + _WHOLE if redacted and origin != ORIGIN else origin, native=ORIGIN)


def _thought(item: _Reasoning) -> Thinking | Redacted:
    text = "\n\n".join(part.text for part in item.summary or item.content or ())
    proof, origin = unseal(item.encrypted_content or "", native=ORIGIN)
    if origin.endswith(_WHOLE):
        return Redacted(proof, origin.removesuffix(_WHOLE))
    return Thinking(text, proof, origin)


# --- to the pivot ------------------------------------------------------------------------------------


class Items(msgspec.Struct, frozen=True):
    """What the items of a request say."""

    system: tuple[Text, ...]
    turns: tuple[Turn, ...]
    dropped: tuple[str, ...]


def read_items(body: Fields) -> Items:
    """Return the turns of a request's `input`. Raises BadRequest naming the place."""
    if first_byte(body.get("input", ABSENT)) == b'"':
        said = take(body, "input", _text)
        items = Items((), (Turn("user", (Text(said),)),) if said else (), ())
    else:
        given: list[msgspec.Raw] | None = take(body, "input", _list)
        items = _Reading().items(given or [])
    if not items.turns:
        raise BadRequest("'input' is required and must say something", param="input")
    return items


class _Turn:
    """A turn that may still grow."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.blocks: list[Block] = []


class _Reading:
    """Reads one item after the other."""

    def __init__(self) -> None:
        self._system: list[Text] = []
        self._turns: list[_Turn] = []
        self._calls: dict[str, _Turn] = {}
        self._dropped: list[str] = []
        self._dropped_calls: set[str | None] = set()

    def items(self, items: Sequence[msgspec.Raw]) -> Items:
        for n, raw in enumerate(items):
            self._item(raw, f"input[{n}]")
        turns = (Turn(turn.role, tuple(with_call_signatures(turn.blocks))) for turn in self._turns)
        return Items(tuple(self._system), tuple(turns), tuple(dict.fromkeys(self._dropped)))

    def _item(self, raw: msgspec.Raw, place: str) -> None:
        head = decoded(raw, place, _kind)
        kind = head.type or "message"
        if kind in _OTHERS_TOOLS:
            self._dropped.append(kind)
            self._dropped_calls.add(head.call_id)
            return
        if kind in _REFUSED:
            raise BadRequest(f"'{place}' of type '{kind}' cannot be taken: {_REFUSED[kind]}", param=place)
        if kind not in _ITEMS:
            raise BadRequest(f"'{place}.type' is not known: '{kind}'", param=f"{place}.type")
        form, read = _ITEMS[kind]
        read(self, decoded_whole(raw, place, form, self._dropped), place)

    def message(self, item: _Message, place: str) -> None:
        blocks = _blocks(item.content, f"{place}.content")
        if item.role in ("user", "assistant"):
            self._say("assistant" if item.role == "assistant" else "user", blocks)
            return
        said = [_only_text(block, f"{place}.content[{n}]") for n, block in enumerate(blocks)]
        if self._turns:
            self._say("system", said)
        else:
            self._system += said

    def call(self, item: _Call, place: str) -> None:
        self._called(ToolUse(item.call_id, item.name, item.arguments or "{}"))

    def custom_call(self, item: _CustomCall, place: str) -> None:
        arguments = msgspec.json.encode({"input": item.input}).decode()
        self._called(ToolUse(item.call_id, item.name, arguments))

    def output(self, item: _Output, place: str) -> None:
        """Put the result directly behind its call, wherever it came (trap 32)."""
        if item.call_id in self._dropped_calls:
            self._dropped.append("function_call_output")
            return
        turn = self._calls.get(item.call_id)
        if turn is None:
            raise BadRequest(
                f"No tool call found for function call output with call_id {item.call_id}.",
                param=f"{place}.call_id",
            )
        content = _blocks(item.output, f"{place}.output")
        last = len(self._turns) - 1  # from the end: nearly all results directly follow their calls
        after = next(at for at in range(last, -1, -1) if self._turns[at] is turn) + 1
        if after == len(self._turns) or self._turns[after].role != "user":
            self._turns.insert(after, _Turn("user"))
        self._turns[after].blocks.append(ToolResult(item.call_id, content))

    def reasoning(self, item: _Reasoning, place: str) -> None:
        thought = _thought(item)
        if thought != Thinking():
            self._say("assistant", [thought])

    def _called(self, use: ToolUse) -> None:
        self._say("assistant", [use])
        self._calls[use.id] = self._turns[-1]

    def _say(self, role: Role, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(_Turn(role))
        self._turns[-1].blocks += blocks


_Read = Callable[[_Reading, Any, str], None]
_ITEMS: Mapping[str, tuple[Form[Any], _Read]] = {
    "message": (Form(_Message), _Reading.message),
    "function_call": (Form(_Call), _Reading.call),
    "function_call_output": (Form(_Output), _Reading.output),
    "custom_tool_call": (Form(_CustomCall), _Reading.custom_call),
    "custom_tool_call_output": (Form(_Output), _Reading.output),
    "reasoning": (Form(_Reasoning), _Reading.reasoning),
}


# --- parts -------------------------------------------------------------------------------------------


def _blocks(content: str | Sequence[_AnyPart], place: str) -> tuple[Text | Image | Document, ...]:
    return texts(content) if isinstance(content, str) else read_parts(content, place, _block)


def _block(part: _AnyPart, place: str) -> Text | Image | Document:
    cache = mark(None, part.prompt_cache_breakpoint)
    if isinstance(part, _InputImage):
        url = _given(part.image_url, part.file_id, "image_url", place)
        return image(url, part.detail, cache, f"{place}.image_url")
    if isinstance(part, _InputFile):
        return _document(part, cache, place)
    return Text(part.refusal if isinstance(part, _Refusal) else part.text, cache)


def _document(part: _InputFile, cache: CacheMark | None, place: str) -> Document:
    if part.file_url:
        return Document(url=part.file_url, title=part.filename or "", cache=cache)
    data = _given(part.file_data, part.file_id, "file_data", place)
    return document(data, part.filename, cache, f"{place}.file_data")


def _given(value: str | None, file_id: str | None, name: str, place: str) -> str:
    check_sent(file_id, place)
    if not value:
        raise BadRequest(f"'{place}.{name}' is required", param=f"{place}.{name}")
    return value


def _only_text(block: Block, place: str) -> Text:
    if not isinstance(block, Text):
        raise BadRequest("system and developer messages hold nothing but text", param=f"{place}.type")
    return block
