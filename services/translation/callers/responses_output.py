"""The items of an answer's `output`, each with the events that build it up (wire §8.10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from services.translation.turns import freeform_input

_encode = msgspec.json.encode


class Numbered:
    """Writes the events of one stream, numbered from 0."""

    def __init__(self) -> None:
        self._number = 0

    def event(self, kind: str, **members: Any) -> bytes:
        """Return one event."""
        data = _encode({"type": kind, "sequence_number": self._number, **members})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def pieces(self, kind: str, tail: str = "", **where: Any) -> Callable[[str], bytes]:
        """Return what writes events that differ by their `delta` only: there are many of these."""
        name = kind.encode()
        head = b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name)
        middle = b"," + _encode(where)[1:-1] + b',"delta":'
        end = tail.encode() + b"}\n\n"

        def piece(delta: str) -> bytes:
            number = self._number
            self._number = number + 1
            return b"%b%d%b%b%b" % (head, number, middle, _encode(delta), end)

        return piece


class Item(Protocol):
    """An item that is being written."""

    def opened(self) -> bytes:
        """Return the events that begin it."""

    def closed(self, status: str) -> tuple[bytes, msgspec.Raw]:
        """Return the events that end it, and the item."""


class _Base:
    """What all items have: an id, and a place in `output`."""

    prefix = ""

    def __init__(self, events: Numbered, name: str, index: int) -> None:
        self._events = events
        self._id = f"{self.prefix}_{name}"
        self._index = index

    @property
    def _where(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self._index}

    def _added(self, item: dict[str, Any]) -> bytes:
        return self._events.event("response.output_item.added", output_index=self._index, item=item)

    def _done(self, item: dict[str, Any]) -> tuple[bytes, msgspec.Raw]:
        raw = msgspec.Raw(_encode(item))
        return self._events.event("response.output_item.done", output_index=self._index, item=raw), raw


# --- message -----------------------------------------------------------------------------------------


class _Part:
    """A part of a message: text, or the model's refusal."""

    def __init__(self, events: Numbered, where: dict[str, Any], *, refuses: bool) -> None:
        self.refuses = refuses
        self._events = events
        self._where = where
        self._kind = "refusal" if refuses else "output_text"
        self._delta = events.pieces(
            f"response.{self._kind}.delta", "" if refuses else ',"logprobs":[]', **where
        )
        self._pieces: list[str] = []
        self._annotations: list[dict[str, Any]] = []
        self._cited = (0, 0)

    def opened(self) -> bytes:
        return self._events.event("response.content_part.added", **self._where, part=self._part(""))

    def piece(self, text: str) -> bytes:
        self._pieces.append(text)
        return self._delta(text)

    def cited(self, url: str, title: str) -> bytes:
        """Name a source of the text since the last ones."""
        end = sum(map(len, self._pieces))
        if end != self._cited[1]:
            self._cited = (self._cited[1], end)
        annotation = {
            "type": "url_citation",
            "start_index": self._cited[0],
            "end_index": end,
            "url": url,
            "title": title,
        }
        number = len(self._annotations)
        self._annotations.append(annotation)
        return self._events.event(
            "response.output_text.annotation.added",
            **self._where,
            annotation_index=number,
            annotation=annotation,
        )

    def closed(self) -> tuple[bytes, dict[str, Any]]:
        text = "".join(self._pieces)
        told = {"refusal": text} if self.refuses else {"text": text, "logprobs": []}
        part = self._part(text)
        done = self._events.event(f"response.{self._kind}.done", **self._where, **told)
        return done + self._events.event("response.content_part.done", **self._where, part=part), part

    def _part(self, text: str) -> dict[str, Any]:
        if self.refuses:
            return {"type": self._kind, "refusal": text}
        return {"type": self._kind, "text": text, "annotations": list(self._annotations), "logprobs": []}


class Message(_Base):
    """What the model says: parts of text and refusal."""

    prefix = "msg"

    def __init__(self, events: Numbered, name: str, index: int) -> None:
        super().__init__(events, name, index)
        self._parts: list[dict[str, Any]] = []
        self._open: _Part | None = None

    def opened(self) -> bytes:
        """Return the events that begin it."""
        return self._added(self._item("in_progress"))

    def text(self, text: str) -> bytes:
        """Return the events for a piece of text."""
        part = self._open
        if part is not None and not part.refuses:
            return part.piece(text)
        return self._begun(refuses=False) + self._part.piece(text)

    def refusal(self, text: str) -> bytes:
        """Return the events for a piece of the model's refusal."""
        if self._open is not None and self._open.refuses:
            return self._open.piece(text)
        return self._begun(refuses=True) + self._part.piece(text)

    def cited(self, url: str, title: str) -> bytes:
        """Return the events for a source of the text before."""
        out = b"" if self._open is not None and not self._open.refuses else self._begun(refuses=False)
        return out + self._part.cited(url, title)

    def closed(self, status: str) -> tuple[bytes, msgspec.Raw]:
        """Return the events that end it, and the item."""
        out = self._part_closed()
        done, item = self._done(self._item(status))
        return out + done, item

    @property
    def _part(self) -> _Part:
        assert self._open is not None
        return self._open

    def _begun(self, *, refuses: bool) -> bytes:
        out = self._part_closed()
        where = {**self._where, "content_index": len(self._parts)}
        self._open = _Part(self._events, where, refuses=refuses)
        return out + self._open.opened()

    def _part_closed(self) -> bytes:
        if self._open is None:
            return b""
        out, part = self._open.closed()
        self._open = None
        self._parts.append(part)
        return out

    def _item(self, status: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": self._parts,
        }


# --- reasoning ---------------------------------------------------------------------------------------


class Reasoning(_Base):
    """What the model thought: one part of summary, or none."""

    prefix = "rs"

    def __init__(self, events: Numbered, name: str, index: int) -> None:
        super().__init__(events, name, index)
        self.proof = ""
        """What brings the thinking back, sealed."""
        self._pieces: list[str] = []
        where = {**self._where, "summary_index": 0}
        self._place = where
        self._delta = events.pieces("response.reasoning_summary_text.delta", **where)

    def opened(self) -> bytes:
        """Return the events that begin it."""
        return self._added(self._item([]))

    def text(self, text: str) -> bytes:
        """Return the events for a piece of thinking."""
        out = b"" if self._pieces else self._told("part.added", part=_summary(""))
        self._pieces.append(text)
        return out + self._delta(text)

    def closed(self, status: str) -> tuple[bytes, msgspec.Raw]:
        """Return the events that end it, and the item."""
        out, parts = b"", []
        if self._pieces:
            text = "".join(self._pieces)
            parts = [_summary(text)]
            out = self._told("text.done", text=text) + self._told("part.done", part=parts[0])
        done, item = self._done(self._item(parts))
        return out + done, item

    def _told(self, what: str, **members: Any) -> bytes:
        return self._events.event(f"response.reasoning_summary_{what}", **self._place, **members)

    def _item(self, parts: list[dict[str, str]]) -> dict[str, Any]:
        item = {"id": self._id, "type": "reasoning", "summary": parts}
        return item | ({"encrypted_content": self.proof} if self.proof else {})


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}


# --- calls -------------------------------------------------------------------------------------------


class _BaseCall(_Base):
    def __init__(self, events: Numbered, name: str, index: int, call_id: str, tool: str) -> None:
        super().__init__(events, name, index)
        self._call = {"call_id": call_id, "name": tool}
        self._pieces: list[str] = []


class FunctionCall(_BaseCall):
    """A call of a function."""

    prefix = "fc"

    def __init__(self, events: Numbered, name: str, index: int, call_id: str, tool: str) -> None:
        super().__init__(events, name, index, call_id, tool)
        self._delta = events.pieces("response.function_call_arguments.delta", **self._where)

    def opened(self) -> bytes:
        """Return the events that begin it."""
        return self._added(self._item("in_progress", ""))

    def arguments(self, piece: str) -> bytes:
        """Return the events for a piece of the arguments."""
        self._pieces.append(piece)
        return self._delta(piece)

    def closed(self, status: str) -> tuple[bytes, msgspec.Raw]:
        """Return the events that end it, and the item."""
        out = b"" if self._pieces or status != "completed" else self.arguments("{}")
        arguments = "".join(self._pieces)
        out += self._events.event(
            "response.function_call_arguments.done",
            **self._where,
            name=self._call["name"],
            arguments=arguments,
        )
        done, item = self._done(self._item(status, arguments))
        return out + done, item

    def _item(self, status: str, arguments: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "function_call",
            "status": status,
            **self._call,
            "arguments": arguments,
        }


class CustomCall(_BaseCall):
    """A call of a freeform tool. Its text comes whole: the model wrote it as JSON, in a member `input`."""

    prefix = "ctc"

    def opened(self) -> bytes:
        """Return the events that begin it."""
        return self._added(self._item("in_progress", ""))

    def arguments(self, piece: str) -> bytes:
        """Keep a piece of the JSON."""
        self._pieces.append(piece)
        return b""

    def closed(self, status: str) -> tuple[bytes, msgspec.Raw]:
        """Return the events that end it, and the item."""
        text = freeform_input("".join(self._pieces))
        kind = "response.custom_tool_call_input"
        out = self._events.event(f"{kind}.delta", **self._where, delta=text)
        out += self._events.event(f"{kind}.done", **self._where, input=text)
        done, item = self._done(self._item(status, text))
        return out + done, item

    def _item(self, status: str, text: str) -> dict[str, Any]:
        return {"id": self._id, "type": "custom_tool_call", "status": status, **self._call, "input": text}
