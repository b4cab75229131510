"""The contents of a Gemini request: turns of blocks (wire §4.5, §8.4)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import ClassVar

import msgspec

from services.errors import BadRequest
from services.translation import fields as f
from services.translation.callers.gemini_message import Message
from services.translation.callers.gemini_seals import is_foreign, standard_base64, unseal
from services.translation.conversation import (
    Audio,
    Block,
    Document,
    Image,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
)

_NUMBER = re.compile(r"\[(\d+)\]")
_ROLES: Mapping[str, Role] = {"": "user", "user": "user", "function": "user", "model": "assistant"}
_REFUSED = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
_WRAPS = ("error", "output", "result")
"""Members that alone are the whole of a `response`: an error, or a result that was no object."""


class Contents:
    """Reads contents in their order. `dropped` names what no model but Gemini takes."""

    def __init__(self) -> None:
        self.dropped: list[str] = []
        self._open: list[ToolUse] = []

    def turns(self, contents: Iterable[Message]) -> tuple[Turn, ...]:
        """Return the turns. Raises BadRequest naming the place.

        Clients send each frame of a streamed answer back as a content of its own: one role, one turn.
        """
        said = [(self._role(content), self._blocks(content)) for content in contents]
        return tuple(
            _turn(role, [block for _, blocks in group for block in blocks])
            for role, group in groupby(said, key=lambda one: one[0])
        )

    def system(self, content: Message | None) -> tuple[Text, ...]:
        """Return the texts of a `systemInstruction`. Raises BadRequest for anything else in it."""
        if content is None:
            return ()
        content.get("role", str)  # says nothing
        texts = [self._system_text(part) for part in content.messages("parts")]
        self._leave(content)
        return tuple(Text(text) for text in texts if text)

    def _system_text(self, part: Message) -> str:
        text = part.get("text", str)
        if text is None:
            raise part.refusal("text", "is required: a system instruction holds text only")
        self._leave(part)
        return text

    def _leave(self, message: Message) -> None:
        self.dropped += message.unread()

    def _role(self, content: Message) -> Role:
        role = content.get("role", str) or ""
        if role not in _ROLES:
            raise content.refusal("role", "must be 'user' or 'model'")
        return _ROLES[role]

    def _blocks(self, content: Message) -> list[Block]:
        parts = content.messages("parts")
        if not parts and self._role(content) == "user":
            raise content.refusal("parts", "is required")
        self._leave(content)
        return [block for part in parts for block in self._part(part)]

    # parts

    def _part(self, part: Message) -> list[Block]:
        for name in _REFUSED:
            if name in part:
                raise part.refusal(name, "cannot be sent: SAP AI Core runs no tools for a model")
        kinds = [name for name in ("text", *self._KINDS) if name in part]
        if len(kinds) > 1:
            raise part.refusal(kinds[1], f"cannot stand beside '{kinds[0]}'")
        signature = part.get("thoughtSignature", str) or ""
        thought = part.get("thought", bool) or False
        blocks = (
            [self._of_kind(kinds[0], part, signature)]
            if kinds and kinds[0] in self._KINDS
            else self._text(part, signature, thought=thought)
        )
        self._leave(part)
        return blocks

    def _of_kind(self, kind: str, part: Message, signature: str) -> Block:
        inner = part.message(kind)
        assert inner is not None, "it is in the part"
        block = self._KINDS[kind](self, inner)
        self._leave(inner)
        if isinstance(block, ToolUse) and signature and not is_foreign(signature):
            return msgspec.structs.replace(block, signature=signature)
        return block

    def _text(self, part: Message, signature: str, *, thought: bool) -> list[Block]:
        text = part.get("text", str)
        if text is None and not signature and not thought:
            raise _no_part(part)
        if thought:
            return [unseal(signature, text or "") if signature else Thinking(text or "")]
        blocks: list[Block] = [Text(text)] if text else []
        return [*blocks, unseal(signature)] if signature else blocks

    def _inline(self, blob: Message) -> Block:
        kind = blob.need("mimeType", str).lower()
        data = standard_base64(blob.need("data", str))
        title = blob.get("displayName", str) or ""
        family = kind.partition("/")[0]
        if family == "image":
            return Image(kind, data)
        if family == "audio":
            return Audio(kind, data)
        if family == "video":
            raise blob.refusal("mimeType", "cannot be video for this model")
        if family == "text":
            return Document("text/plain", text=_plain(data, blob), title=title)
        return Document(kind, data, title=title)

    def _file(self, file: Message) -> Block:
        uri = file.need("fileUri", str)
        kind = (file.get("mimeType", str) or "").lower()
        title = file.get("displayName", str) or ""
        if not uri.startswith(("https://", "http://")):
            raise file.refusal("fileUri", "must be a https URL: SAP AI Core keeps no files")
        if kind.startswith(("audio/", "video/")):
            raise file.refusal("mimeType", "cannot be sound or video; send sound itself as 'inlineData'")
        if kind.startswith("image/") or not (kind or uri.lower().endswith(".pdf")):
            return Image(url=uri)
        return Document(url=uri, title=title)

    def _call(self, call: Message) -> ToolUse:
        name = call.need("name", str)
        identifier = call.get("id", str) or "_".join(["call", *_NUMBER.findall(call.place)])
        use = ToolUse(identifier, name, call.object_text("args") or "{}")
        self._open.append(use)
        return use

    def _response(self, response: Message) -> ToolResult:
        use = self._answered(response)
        told, is_error = _told(response)
        content: list[Text | Image | Document] = [Text(told)] if told else []
        for part in response.messages("parts"):
            for block in self._part(part):
                if not isinstance(block, Image | Document):
                    raise BadRequest(f"'{part.place}' must be a picture or a document", param=part.place)
                content.append(block)
        return ToolResult(use.id, tuple(content), is_error)

    def _answered(self, response: Message) -> ToolUse:
        """Return the call: by its id, else the first open one of that name (trap 43)."""
        identifier, name = response.get("id", str), response.need("name", str)
        by_id = (use for use in self._open if use.id == identifier)
        by_name = (use for use in self._open if use.name == name)
        use = next(by_id, None) or next(by_name, None)
        if use is None:
            raise response.refusal("name", "answers no function call before it")
        self._open.remove(use)
        return use

    _KINDS: ClassVar[Mapping[str, Callable[[Contents, Message], Block]]] = {
        "inlineData": _inline,
        "fileData": _file,
        "functionCall": _call,
        "functionResponse": _response,
    }


def _no_part(part: Message) -> BadRequest:
    name = part.only()
    if name:
        return part.refusal(name, "is no kind of part that models here take")
    return BadRequest(f"'{part.place}' holds nothing that models here take", param=part.place)


def _plain(data: str, blob: Message) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise blob.refusal("data", "is no base64-encoded UTF-8 text") from exc


def _told(response: Message) -> tuple[str, bool]:
    """Return what a function answered, and whether that is an error."""
    text, answer = response.object_text("response"), response.message("response")
    if text is None or answer is None:
        raise response.refusal("response", "is required")
    wrap = answer.only()
    inner = answer.raw(wrap)
    if wrap not in _WRAPS or inner is None:
        return text, False
    plain = answer.get(wrap, str) or "" if f.first_byte(inner) == b'"' else bytes(inner).decode()
    return plain, wrap == "error"


def _turn(role: Role, blocks: list[Block]) -> Turn:
    if role == "user":
        return Turn(role, tuple(blocks))
    runs = (list(run) for _, run in groupby(blocks, key=_Run()))
    return Turn(role, tuple(block for run in runs for block in _joined(run)))


class _Run:
    """Numbers the pieces of a turn: those of one streamed block alike. A signature ends a thought."""

    def __init__(self) -> None:
        self._number = 0
        self._before: Block | None = None

    def __call__(self, block: Block) -> int:
        before, self._before = self._before, block
        goes_on = type(block) is type(before) and not (isinstance(before, Thinking) and before.signature)
        self._number += not goes_on
        return self._number


def _joined(run: list[Block]) -> list[Block]:
    """Return the pieces of one streamed block as one; blocks of other kinds as they are."""
    if isinstance(run[-1], Text | Thinking) and len(run) > 1:
        whole = "".join(piece.text for piece in run if isinstance(piece, Text | Thinking))
        return [msgspec.structs.replace(run[-1], text=whole)]
    return run
