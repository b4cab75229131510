"""Messages, tools and formats of chat completions, for every upstream that takes them so (wire §8.7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.errors import BadRequest
from services.translation.capabilities import ModelFacts
from services.translation.conversation import (
    Audio,
    Block,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Redacted,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.fields import Json
from services.translation.toolnames import safe
from services.translation.turns import FILLER, arranged, as_text, chooses_from_nothing, merged, parameters

_PDF = "application/pdf"
SEEN_BELOW = "[shown in the next message]"
"""Stands in a tool message for what it cannot hold."""


# --- messages ----------------------------------------------------------------------------------------


def messages(conversation: Conversation, facts: ModelFacts) -> list[Json]:
    """Return the messages. Raises BadRequest for content that the model does not take.

    Models with the flag "alternates" want the system prompt first, then user and assistant in turns.
    """
    alternates = "alternates" in facts.flags
    system, turns = arranged(conversation) if alternates else _in_place(conversation)
    form = _Form(conversation, facts, joins=alternates)
    out = [_system(system)] if system else []
    for turn in turns:
        out += form.turn(turn)
    return out


def lost(conversation: Conversation) -> tuple[str, ...]:
    """Return what messages in this form cannot say."""
    parts = tuple(conversation.parts())
    marked = (*conversation.system, *conversation.tools, *parts)
    said = {
        "thinking": any(isinstance(part, Thinking | Redacted) for part in parts),
        "cache_control": any(getattr(one, "cache", None) is not None for one in marked),
        "citations": any(isinstance(part, Document | Text) and part.citations for part in parts),
        "tool_choice": chooses_from_nothing(conversation),
    }
    return tuple(name for name, found in said.items() if found)


def _in_place(conversation: Conversation) -> tuple[tuple[Text, ...], tuple[Turn, ...]]:
    """Return the turns with system messages where they came, but never between a call and its results.

    OpenAI wants the results directly after the call (wire §5.1, trap 32).
    """
    out: list[Turn] = []
    held: list[Turn] = []
    waiting: set[str] = set()
    for turn in map(_without_thinking, conversation.turns):
        if turn.role == "system" and waiting:
            held.append(turn)
            continue
        out.append(turn)
        results = {block.tool_id for block in turn.blocks if isinstance(block, ToolResult)}
        if turn.role == "user":
            waiting = waiting - results if results else set()
        waiting |= {block.id for block in turn.blocks if isinstance(block, ToolUse)}
        if not waiting:
            out += held
            held = []
    return tuple(one for one in conversation.system if one.text.strip()), merged((*out, *held))


def _without_thinking(turn: Turn) -> Turn:
    kept = tuple(block for block in turn.blocks if not isinstance(block, Thinking | Redacted))
    return Turn(turn.role, kept)


def _system(texts: Iterable[Block]) -> Json:
    return {"role": "system", "content": "\n\n".join(one.text for one in texts if isinstance(one, Text))}


class _Form:
    """Turns of one conversation in this form."""

    def __init__(self, conversation: Conversation, facts: ModelFacts, *, joins: bool) -> None:
        self._conversation = conversation
        self._takes_files = facts.dialect == "azure-openai" and "pdf" in facts.inputs
        self._joins = joins

    def turn(self, turn: Turn) -> list[Json]:
        match turn.role:
            case "system":
                return [_system(turn.blocks)]
            case "assistant":
                return [_assistant(turn.blocks)]
            case _:
                return self._user(turn.blocks)

    def _user(self, blocks: Iterable[Block]) -> list[Json]:
        """Return the tool messages first, then what else the user says and what results show (wire §8.7)."""
        out: list[Json] = []
        parts: list[Json] = []
        for block in blocks:
            if isinstance(block, ToolResult):
                shown = self._shown(block)
                out.append(self._result(block, shown))
                parts += shown
            else:
                parts.append(self._part(block))
        if not (self._joins and out and parts):
            return [*out, _said(parts)] if parts else out
        # A user's message directly behind a tool's is refused where roles have to alternate.
        if all(part["type"] == "text" for part in parts):
            out[-1]["content"] = "\n\n".join([out[-1]["content"], *(part["text"] for part in parts)])
            return out
        return [*out, _assistant([FILLER]), _said(parts)]

    def _result(self, result: ToolResult, shown: list[Json]) -> Json:
        said = (as_text(part, self._conversation) for part in result.content)
        texts = [text for text in said if text is not None]
        content = "\n".join([*texts, SEEN_BELOW] if shown else texts)
        if result.is_error:
            content = f"Error: {content}"
        return {"role": "tool", "tool_call_id": result.tool_id, "content": content}

    def _shown(self, result: ToolResult) -> list[Json]:
        """Return what a tool message cannot hold, behind a line that says where it is from."""
        media = [self._part(part) for part in result.content if as_text(part, self._conversation) is None]
        return [label(result), *media] if media else []

    def _part(self, block: Block) -> Json:
        text = as_text(block, self._conversation)
        if text is not None:
            return {"type": "text", "text": text}
        if isinstance(block, Image):
            image = {"url": f"data:{block.media_type};base64,{block.data}"}
            return {
                "type": "image_url",
                "image_url": image | ({"detail": block.detail} if block.detail else {}),
            }
        if isinstance(block, Document) and block.media_type == _PDF and self._takes_files:
            data = f"data:{_PDF};base64,{block.data}"
            return {"type": "file", "file": {"filename": block.title or "document.pdf", "file_data": data}}
        kind = block.media_type if isinstance(block, Document | Audio) else type(block).__name__
        raise BadRequest(
            f"this model takes no input of type '{kind}'", param=self._conversation.name_of("messages")
        )


def label(result: ToolResult) -> Json:
    """Return the line before what a result shows outside of its tool message."""
    return {"type": "text", "text": f"Result of the tool call {result.tool_id}:"}


def _said(parts: list[Json]) -> Json:
    alone = len(parts) == 1 and parts[0]["type"] == "text"
    return {"role": "user", "content": parts[0]["text"] if alone else parts}


def _assistant(blocks: Iterable[Block]) -> Json:
    blocks = tuple(blocks)
    text = "".join(block.text for block in blocks if isinstance(block, Text))
    calls = [call(block) for block in blocks if isinstance(block, ToolUse)]
    return {"role": "assistant", "content": text or None} | ({"tool_calls": calls} if calls else {})


def call(use: ToolUse) -> Json:
    """Return a call that the model made."""
    function = {"name": use.name, "arguments": use.arguments or "{}"}
    return {"id": use.id, "type": "function", "function": function}


# --- tools -------------------------------------------------------------------------------------------


def tool(asked: Tool) -> Json:
    """Return one tool."""
    function: Json = {"name": asked.name, "parameters": parameters(asked)}
    if asked.description:
        function["description"] = asked.description
    if asked.strict is not None:
        function["strict"] = asked.strict
    return {"type": "function", "function": function}


MODES: Mapping[str, str] = {"auto": "auto", "any": "required", "none": "none"}
"""How tools are to be called, in OpenAI's words."""


def tool_choice(choice: ToolChoice) -> str | Json:
    """Return how tools are to be called."""
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return MODES[choice.mode]


# --- formats -----------------------------------------------------------------------------------------


def response_format(wanted: OutputFormat) -> Json:
    """Return the form that the answer has to have."""
    if wanted.schema is None:
        return {"type": "json_object"}
    schema: Json = {"name": safe(wanted.name), "schema": wanted.schema}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}
