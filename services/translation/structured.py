"""Answers that have to fit a JSON schema, from models that cannot promise it (wire §8.2).

The schema becomes a tool that has to be called, and the call's arguments become the answer's text. That the
arguments fit is the model's good will: the README lists it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from services.translation.capabilities import ModelFacts
from services.translation.conversation import Conversation, OutputFormat, Text, Tool, ToolChoice
from services.translation.events import Event, Stopped, TextPiece, ToolOpened, ToolPiece

TOOL = "structured_output"
_PURPOSE = "Give the final answer by calling this tool once, and say nothing else."
_PLAIN = "Answer with one JSON object and nothing else: no prose, no code fence."


def emulated(conversation: Conversation, facts: ModelFacts) -> tuple[Conversation, bool]:
    """Return the conversation as a model without such a mode needs it, and whether a call answers it."""
    wanted = conversation.output
    if wanted is None or facts.json_schema == "native":
        return conversation, False
    if wanted.schema is None or facts.json_schema == "hint":
        return _hinted(conversation, wanted), False
    tool = Tool(TOOL, description=wanted.description or _PURPOSE, schema=wanted.schema)
    adapted = msgspec.structs.replace(
        conversation,
        tools=(*conversation.tools, tool),
        tool_choice=_choice(conversation),
        parallel_tools=False,
        output=None,
    )
    return adapted, True


def _choice(conversation: Conversation) -> ToolChoice:
    """Return what has to be called: the caller's own tools only as far as it lets them."""
    asked = conversation.tool_choice or ToolChoice()
    if not conversation.tools or asked.mode == "none":
        return ToolChoice("tool", TOOL)
    return asked if asked.mode == "tool" else ToolChoice("any")


def _hinted(conversation: Conversation, wanted: OutputFormat) -> Conversation:
    hint = _PLAIN
    if wanted.schema is not None:
        hint += " It has to fit this JSON schema: " + msgspec.json.encode(wanted.schema).decode()
    return msgspec.structs.replace(conversation, system=(*conversation.system, Text(hint)), output=None)


class Unwrapping:
    """Turns the call of our own tool back into text, event by event."""

    def __init__(self) -> None:
        self._inside = False
        self._empty = False
        self._others = False

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Return the events as the caller expects them."""
        out: list[Event] = []
        for event in events:
            if isinstance(event, ToolPiece) and self._inside:
                self._empty = False
                out.append(TextPiece(event.arguments))
                continue
            if self._empty:  # a call without arguments
                self._empty = False
                out.append(TextPiece("{}"))
            if isinstance(event, ToolOpened):
                self._inside = self._empty = event.name == TOOL
                self._others = self._others or not self._inside
                if self._inside:
                    continue
            elif isinstance(event, Stopped) and event.reason == "tool_calls" and not self._others:
                event = Stopped("stop")
            out.append(event)
        return out
