"""The items of a Responses conversation: their members, and which may follow which (wire §4.2, §8.8).

Choices where the wire document is unsure (u): items of tools that are not allowed are no known type; an item
that is only referred to must be stored; every call needs its output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from perf.simulator.errors import Problem
from perf.simulator.executables import chat
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.signatures import seal, sealed_here
from perf.simulator.executables.validation import BadBody

Status = Literal["in_progress", "completed", "incomplete"] | None


class _Strict(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", gc=False):
    """Has no members but those it names."""


class InputText(_Strict, tag="input_text", gc=False):
    """Text to the model."""

    text: str


class InputImage(_Strict, tag="input_image", gc=False):
    """An image to the model."""

    image_url: str
    detail: Literal["low", "high", "auto", "original"] | None = None


class InputFile(_Strict, tag="input_file", gc=False):
    """A file to the model, as a data URI."""

    file_data: str
    filename: str


class OutputText(_Strict, tag="output_text", gc=False):
    """Text of the model."""

    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class Refusal(_Strict, tag="refusal", gc=False):
    """The model would not."""

    refusal: str


Part = InputText | InputImage | InputFile | OutputText | Refusal
_PARTS = {"assistant": ("output_text", "refusal")}
_INPUT_PARTS = ("input_text", "input_image", "input_file")


class Message(_Strict, tag="message", gc=False):
    """A message of anyone."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]
    id: str | None = None
    status: Status = None
    phase: str | None = None


CallId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class FunctionCall(_Strict, tag="function_call", gc=False):
    """A call the model made."""

    call_id: CallId
    name: str
    arguments: str
    id: str | None = None
    status: Status = None


class FunctionCallOutput(_Strict, tag="function_call_output", gc=False):
    """What the function gave."""

    call_id: CallId
    output: str | list[InputText | InputImage | InputFile]
    id: str | None = None
    status: Status = None


class Reasoning(_Strict, tag="reasoning", gc=False):
    """Thoughts, readable only for who made them."""

    summary: list[dict[str, Any]]
    id: str | None = None
    encrypted_content: str | None = None
    content: list[dict[str, Any]] | None = None
    status: Status = None


class ItemReference(_Strict, tag="item_reference", gc=False):
    """Stands for a stored item."""

    id: str


class Compaction(_Strict, tag="compaction", gc=False):
    """An older part of the conversation, made short by `responses/compact`."""

    encrypted_content: str
    id: str | None = None


Item = Message | FunctionCall | FunctionCallOutput | Reasoning | ItemReference | Compaction

_CIPHER = "gAAAAAB"
"""What everything encrypted by Azure begins with."""

_ID_PREFIXES: dict[type, str] = {Message: "msg", FunctionCall: "fc", Reasoning: "rs"}

T = TypeVar("T")


def encrypted(text: str) -> str:
    """A text that only this region can read back."""
    return _CIPHER + seal(text)


def resolved(items: Sequence[Item], stored: Mapping[str, Item]) -> list[Item]:
    """The items with references replaced by what they stand for.

    Raises BadBody (404) for an item that is not stored.
    """
    return [_stored(item.id, stored) if isinstance(item, ItemReference) else item for item in items]


def _stored(key: str, stored: Mapping[str, T]) -> T:
    if key in stored:
        return stored[key]
    raise BadBody(
        Problem(
            404,
            f"Item with id '{key}' not found. Items are not persisted when `store` is set to false. "
            "Try again with `store` set to true, or remove this item from your input.",
            param="input",
        )
    )


def check_items(items: Sequence[Item], stored: Mapping[str, Item]) -> None:
    """Refuse an item that is wrong by itself. Raises Invalid, and BadBody for what is not stored."""
    for place, item in enumerate(items):
        where = f"input[{place}]"
        _check_id(item, where)
        if isinstance(item, Message):
            _check_parts(item, where)
        elif isinstance(item, Reasoning):
            _check_reasoning(item, where, stored)
        elif isinstance(item, Compaction):
            _check_seal(item.encrypted_content, item.id)


def _check_id(item: Item, where: str) -> None:
    prefix = _ID_PREFIXES.get(type(item))
    if prefix and item.id is not None and not item.id.startswith(prefix):
        raise Invalid(
            f"Invalid '{where}.id': '{item.id}'. Expected an ID that begins with '{prefix}'.",
            param=f"{where}.id",
            code="invalid_value",
        )


def _check_parts(message: Message, where: str) -> None:
    if isinstance(message.content, str):
        return
    known = _PARTS.get(message.role, _INPUT_PARTS)
    for number, part in enumerate(message.content):
        kind = part.__struct_config__.tag
        if kind not in known:
            raise Invalid(
                f"Invalid value: '{kind}'. Supported values are: {', '.join(map(repr, known))}.",
                param=f"{where}.content[{number}].type",
                code="invalid_value",
            )
        if isinstance(part, InputImage):
            _check_image(part, f"{where}.content[{number}].image_url")


def _check_image(part: InputImage, where: str) -> None:
    if not part.image_url.startswith(("data:image/", "https://", "http://")):
        raise Invalid(
            f"Invalid '{where}'. Expected a valid URL, but got a value with an invalid format.",
            param=where,
            code="invalid_value",
        )


def _check_reasoning(item: Reasoning, where: str, stored: Mapping[str, Item]) -> None:
    if item.encrypted_content is not None:
        _check_seal(item.encrypted_content, item.id)
    elif item.id is None:
        raise Invalid(
            f"Missing required parameter: '{where}.id'.",
            param=f"{where}.id",
            code="missing_required_parameter",
        )
    else:
        _stored(item.id, stored)


def _check_seal(token: str, key: str | None) -> None:
    if not (token.startswith(_CIPHER) and sealed_here(token.removeprefix(_CIPHER))):
        raise Invalid(
            f"The encrypted content for item {key} could not be verified. "
            "Reason: Encrypted content could not be decrypted or parsed.",
            code="invalid_encrypted_content",
        )


def check_order(items: Sequence[Item]) -> None:
    """Refuse calls and outputs without each other, and reasoning that leads to nothing. Raises Invalid."""
    unanswered: dict[str, None] = {}
    called: set[str] = set()
    for item, follower in zip(items, [*items[1:], None], strict=True):
        if isinstance(item, FunctionCall):
            called.add(item.call_id)
            unanswered[item.call_id] = None
        elif isinstance(item, FunctionCallOutput):
            if item.call_id not in called:
                raise Invalid(
                    f"No tool call found for function call output with call_id {item.call_id}.", param="input"
                )
            unanswered.pop(item.call_id, None)
        elif isinstance(item, Reasoning) and not _comes_from_reasoning(follower):
            raise Invalid(
                f"Item '{item.id}' of type 'reasoning' was provided without its required following item.",
                param="input",
            )
    for call_id in unanswered:
        raise Invalid(f"No tool output found for function call {call_id}.", param="input")


def _comes_from_reasoning(item: Item | None) -> bool:
    return isinstance(item, FunctionCall | Reasoning) or (
        isinstance(item, Message) and item.role == "assistant"
    )


def as_message(item: Item) -> chat.Message:
    """The item in the terms of the shared planner."""
    if isinstance(item, Message):
        return chat.Message(item.role, _text(item.content))
    if isinstance(item, FunctionCallOutput):
        return chat.Message("tool", _text(item.output), tool_call_id=item.call_id)
    if isinstance(item, FunctionCall):
        return chat.Message("assistant", item.name + item.arguments)
    return chat.Message("assistant", "")


def _text(content: str | Sequence[Part]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content if isinstance(part, InputText | OutputText))
