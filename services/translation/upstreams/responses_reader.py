"""Answers of Azure's Responses API, whole and as a stream, as events (wire §4.2, §8.8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from services.errors import UpstreamBroken, UpstreamFailed
from services.translation import fields as f
from services.translation.dialects import ReplyInfo
from services.translation.events import (
    Cited,
    Counted,
    Event,
    RedactedPiece,
    RefusalPiece,
    Signed,
    Started,
    Stopped,
    StopReason,
    TextPiece,
    ThinkingPiece,
    Tokens,
    ToolOpened,
    ToolPiece,
)
from services.translation.faults import error_inside

ORIGIN = "responses"
"""Whose signatures these are."""

_ITEM = "an item of the upstream's answer"
_BETWEEN_PARTS = "\n\n"

# --- what is looked at -------------------------------------------------------------------------------


class _Details(msgspec.Struct):
    cached_tokens: float | None = None
    cache_write_tokens: float | None = None
    reasoning_tokens: float | None = None


class _Usage(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None

    def tokens(self) -> Tokens:
        given, made = self.input_tokens_details or _Details(), self.output_tokens_details or _Details()
        read, written = int(given.cached_tokens or 0), int(given.cache_write_tokens or 0)
        return Tokens(
            uncached=max(int(self.input_tokens or 0) - read - written, 0),
            cache_read=read,
            cache_write_5m=written,
            output=int(self.output_tokens or 0),
            reasoning=int(made.reasoning_tokens or 0),
        )


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    output: list[msgspec.Raw] = []
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: msgspec.Raw = f.ABSENT


class _Annotation(msgspec.Struct):
    url: str | None = None
    title: str | None = None


class _Part(msgspec.Struct):
    text: str = ""
    refusal: str = ""
    annotations: list[_Annotation] | None = None


class _Item(msgspec.Struct):
    """A member of `output`, of a kind that is known."""

    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class _Kind(msgspec.Struct):
    type: str = ""


class _Frame(msgspec.Struct, gc=False):
    """One event. What only some kinds have is looked at when the kind is known."""

    type: str = ""
    output_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    arguments: str | None = None
    item: msgspec.Raw = f.ABSENT
    response: msgspec.Raw = f.ABSENT
    annotation: msgspec.Raw = f.ABSENT
    error: msgspec.Raw = f.ABSENT


_frame = msgspec.json.Decoder(_Frame)
_response = msgspec.json.Decoder(_Response)
_kind = msgspec.json.Decoder(_Kind)
_item = msgspec.json.Decoder(_Item)
_annotation = msgspec.json.Decoder(_Annotation)


def _framed(data: bytes) -> _Frame:
    """Return a frame; of one that is of another form, and of no kind that is read here, its kind alone."""
    try:
        return f.decoded(_frame, data, f.FRAME)
    except UpstreamBroken:
        kind = f.decoded(_kind, data, f.FRAME).type
        if kind in _FRAMES:
            raise
        return _Frame(kind)


class _Progress:
    """What was told of an output item so far."""

    __slots__ = ("opened", "part", "told")

    def __init__(self) -> None:
        self.opened = False
        self.told = False
        self.part = 0
        """Which part of the summary is told."""


# --- items -------------------------------------------------------------------------------------------


def _message(item: _Item, progress: _Progress) -> list[Event]:
    events: list[Event] = []
    for part in () if progress.told else item.content or ():
        if part.text:
            events.append(TextPiece(part.text))
        events += [_cited(one) for one in part.annotations or () if one.url]
        if part.refusal:
            events.append(RefusalPiece(part.refusal))
    return events


def _call(item: _Item, progress: _Progress) -> list[Event]:
    events: list[Event] = [] if progress.opened else [ToolOpened(item.call_id, item.name)]
    if item.arguments and not progress.told:
        events.append(ToolPiece(item.arguments))
    progress.opened = progress.told = True
    return events


def _reasoning(item: _Item, progress: _Progress) -> list[Event]:
    events: list[Event] = []
    text = _BETWEEN_PARTS.join(part.text for part in item.summary or item.content or () if part.text)
    if text and not progress.told:
        events.append(ThinkingPiece(text))
        progress.told = True
    if item.encrypted_content:
        proof = item.encrypted_content
        events.append(Signed(proof, ORIGIN) if progress.told else RedactedPiece(proof, ORIGIN))
    return events


_ITEMS: Mapping[str, Callable[[_Item, _Progress], list[Event]]] = {
    "message": _message,
    "function_call": _call,
    "reasoning": _reasoning,
}


def _item_events(raw: msgspec.Raw, progress: _Progress) -> list[Event]:
    """Return what was not told yet of an item that is complete; nothing for unknown kinds."""
    told = _ITEMS.get(f.decoded(_kind, raw, _ITEM).type)
    return told(f.decoded(_item, raw, _ITEM), progress) if told else []


def _cited(annotation: _Annotation) -> Cited:
    return Cited(annotation.url or "", annotation.title or "")


# --- the end -----------------------------------------------------------------------------------------

_INCOMPLETE: Mapping[str | None, StopReason] = {"content_filter": "content_filter"}


def _ending(response: _Response, status: str) -> list[Event]:
    events: list[Event] = [Counted(response.usage.tokens())] if response.usage else []
    why = response.incomplete_details.reason if response.incomplete_details else None
    reason: StopReason = "stop" if status == "completed" else _INCOMPLETE.get(why, "length")
    return [*events, Stopped(reason)]


def _failure(response: _Response) -> Exception:
    if f.present(response.error):
        return error_inside(response.error)
    return UpstreamFailed(f"the upstream's response is '{response.status}' without a reason")


def answer(body: bytes, info: ReplyInfo) -> list[Event]:
    """Return the events of a whole answer. Raises UpstreamBroken, or the UpstreamError that it reports."""
    response = f.decoded(_response, body, f.ANSWER)
    if f.present(response.error) or response.status in ("failed", "cancelled"):
        raise _failure(response)
    if response.status not in ("completed", "incomplete"):
        raise UpstreamBroken(f"the upstream's answer has the status '{response.status}'")
    items = [event for raw in response.output for event in _item_events(raw, _Progress())]
    return [Started(), *items, *_ending(response, response.status)]


# --- stream ------------------------------------------------------------------------------------------


class ResponsesReader:
    """Reads one stream. Items that interleave are put in order: one is told to its end, then the next."""

    def __init__(self, info: ReplyInfo) -> None:
        self.done = False
        self._started = False
        self._failed = False
        self._progress: dict[int, _Progress] = {}
        self._open: int | None = None
        self._held: dict[int, list[Event]] = {}
        self._ended: set[int] = set()

    def feed(self, data: bytes) -> list[Event]:
        """Return the events of one frame. Raises UpstreamBroken, or the UpstreamError that it reports."""
        frame = _framed(data)
        if frame.type == "error" or (not frame.type and f.present(frame.error)):
            raise error_inside(data)
        handle = _FRAMES.get(frame.type)
        events = handle(self, frame) if handle else []
        if self._started or not (events or frame.type == "response.created"):
            return events
        self._started = True
        return [Started(), *events]

    def close(self) -> list[Event]:
        """Return nothing. Raises UpstreamBroken for a stream cut short, UpstreamFailed for a failed one."""
        if self._failed:
            raise UpstreamFailed("the upstream reported a failure without a reason")
        if not self.done:
            raise UpstreamBroken("the upstream's stream ended before its last event")
        return []

    # content

    def _text(self, frame: _Frame) -> list[Event]:
        return self._piece(frame, TextPiece)

    def _refusal(self, frame: _Frame) -> list[Event]:
        return self._piece(frame, RefusalPiece)

    def _arguments(self, frame: _Frame) -> list[Event]:
        if not self._progress_of(frame).opened:
            return []  # whose they are, and what they are, says the item when it is done
        return self._piece(frame, ToolPiece)

    def _all_arguments(self, frame: _Frame) -> list[Event]:
        progress = self._progress_of(frame)
        if progress.told or not progress.opened or not frame.arguments:
            return []
        progress.told = True
        return self._in_order(frame, [ToolPiece(frame.arguments)])

    def _thought(self, frame: _Frame) -> list[Event]:
        progress = self._progress_of(frame)
        if frame.delta and progress.told and progress.part != frame.summary_index:
            frame.delta = _BETWEEN_PARTS + frame.delta
        progress.part = frame.summary_index
        return self._piece(frame, ThinkingPiece)

    def _annotated(self, frame: _Frame) -> list[Event]:
        annotation = f.decoded(_annotation, frame.annotation, f.FRAME)
        return self._in_order(frame, [_cited(annotation)]) if annotation.url else []

    def _piece(self, frame: _Frame, make: Callable[[str], Event]) -> list[Event]:
        if not frame.delta:
            return []
        self._progress_of(frame).told = True
        return self._in_order(frame, [make(frame.delta)])

    # items

    def _added(self, frame: _Frame) -> list[Event]:
        events: list[Event] = []
        if f.decoded(_kind, frame.item, _ITEM).type == "function_call":
            item = f.decoded(_item, frame.item, _ITEM)
            self._progress_of(frame).opened = True
            events.append(ToolOpened(item.call_id, item.name))
        return self._in_order(frame, events)

    def _item_done(self, frame: _Frame) -> list[Event]:
        events = _item_events(frame.item, self._progress_of(frame))
        return self._in_order(frame, events, ends=True)

    def _progress_of(self, frame: _Frame) -> _Progress:
        progress = self._progress.get(frame.output_index)
        if progress is None:
            progress = self._progress[frame.output_index] = _Progress()
        return progress

    def _in_order(self, frame: _Frame, events: list[Event], *, ends: bool = False) -> list[Event]:
        """Return these events if their item's turn has come, and those that waited for its end."""
        at = frame.output_index
        if self._open is None:
            self._open = at
        if at != self._open:
            self._held.setdefault(at, []).extend(events)
            if ends:
                self._ended.add(at)
            return []
        return events + self._next() if ends else events

    def _next(self) -> list[Event]:
        """Return what waited, up to the next item that has not ended."""
        self._open = None
        events: list[Event] = []
        while self._held and self._open is None:
            at = min(self._held)
            events += self._held.pop(at)
            if at not in self._ended:
                self._open = at
        return events

    # the end

    def _finished(self, frame: _Frame) -> list[Event]:
        response = f.decoded(_response, frame.response, f.FRAME)
        waiting = [event for at in sorted(self._held) for event in self._held[at]]
        self.done = True
        return [*waiting, *_ending(response, frame.type.removeprefix("response."))]

    def _has_failed(self, frame: _Frame) -> list[Event]:
        response = f.decoded(_response, frame.response, f.FRAME)
        if f.present(response.error):
            raise error_inside(response.error)
        self._failed = True  # the reason comes in a frame of its own (wire §4.2)
        return []


_FRAMES: Mapping[str, Callable[[ResponsesReader, _Frame], list[Event]]] = {
    "response.output_text.delta": ResponsesReader._text,
    "response.output_text.annotation.added": ResponsesReader._annotated,
    "response.refusal.delta": ResponsesReader._refusal,
    "response.reasoning_summary_text.delta": ResponsesReader._thought,
    "response.reasoning_text.delta": ResponsesReader._thought,
    "response.function_call_arguments.delta": ResponsesReader._arguments,
    "response.function_call_arguments.done": ResponsesReader._all_arguments,
    "response.output_item.added": ResponsesReader._added,
    "response.output_item.done": ResponsesReader._item_done,
    "response.completed": ResponsesReader._finished,
    "response.incomplete": ResponsesReader._finished,
    "response.failed": ResponsesReader._has_failed,
    "response.cancelled": ResponsesReader._has_failed,
}
