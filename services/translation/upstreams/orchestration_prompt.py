"""Messages and tools for SAP's orchestration (wire §4.7, §8.5).

Messages have the form of chat completions, strictly: no member more, no null. Claude's cache marks and the
thinking that orchestration signed go along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from services.errors import BadRequest
from services.translation.capabilities import ModelFacts
from services.translation.conversation import (
    Block,
    CacheMark,
    Conversation,
    Document,
    Image,
    Redacted,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.fields import Json
from services.translation.signatures import CLAUDE
from services.translation.turns import (
    arranged,
    as_text,
    chooses_from_nothing,
    forgets_thinking,
    hoisted,
    image_format,
    merged,
    opened_by_user,
    parameters,
)
from services.translation.upstreams import chat_form
from services.translation.upstreams.bedrock import Marks
from services.translation.upstreams.claude_thinking import check_end
from services.translation.upstreams.orchestration_params import GEMINI, SIGNED_BY, Backend
from services.translation.upstreams.orchestration_reader import ORIGIN

_OPENAI = frozenset({"azure-openai", "openai-like"})
"""Families whose messages are those of chat completions all the way down."""

_NO_BRACES = str.maketrans("{}", "()")


class Prompt(msgspec.Struct, frozen=True):
    """What the model is to read."""

    messages: Sequence[Json]
    tools: Sequence[Json] = ()
    response_format: Json | None = None
    dropped: tuple[str, ...] = ()
    """What could not be said."""


def prompt(conversation: Conversation, model: Backend) -> Prompt:
    """Return the prompt. Raises BadRequest for content that the model does not take."""
    moved: tuple[str, ...] = ()
    if "no-system" in model.facts.flags:
        conversation, moved = _without_system(conversation)
    if model.family in _OPENAI:
        made = _openai_prompt(conversation, model.facts)
    else:
        made = _Form(conversation, model).prompt()
    output = conversation.output and chat_form.response_format(conversation.output)
    dropped = (*moved, *made.dropped, *_unsaid(conversation, model))
    return msgspec.structs.replace(made, response_format=output, dropped=dropped)


def _without_system(conversation: Conversation) -> tuple[Conversation, tuple[str, ...]]:
    """Return the conversation with its system prompt in front of what the user says first (wire §5.6)."""
    system, turns = hoisted(conversation)
    if not system:
        return conversation, ()
    first, *rest = opened_by_user(merged(turns))
    turns = (Turn("user", (*system, *first.blocks)), *rest)
    return msgspec.structs.replace(conversation, system=(), turns=turns), ("system",)


def _unsaid(conversation: Conversation, model: Backend) -> Iterator[str]:
    if model.family in _OPENAI:  # `chat_form.lost` says it
        return
    if chooses_from_nothing(conversation):
        yield "tool_choice"
    if any(tool.strict for tool in conversation.tools):
        yield "strict"


def _openai_prompt(conversation: Conversation, facts: ModelFacts) -> Prompt:
    _check_images(conversation)
    messages = chat_form.messages(conversation, facts)
    if not messages:
        raise BadRequest("the conversation says nothing", param=conversation.name_of("messages"))
    return Prompt(
        messages=[{name: value for name, value in one.items() if value is not None} for one in messages],
        tools=[chat_form.tool(tool) for tool in conversation.tools],
        dropped=chat_form.lost(conversation),
    )


def _check_images(conversation: Conversation) -> None:
    for part in conversation.parts():
        if isinstance(part, Image):
            image_format(part, conversation)


class _Form:
    """Builds the prompt of a model that is not OpenAI's, in the order in which Claude caches it."""

    def __init__(self, conversation: Conversation, model: Backend) -> None:
        self._conversation = conversation
        self._model = model
        self._is_claude = model.family == CLAUDE
        self._signed_by = SIGNED_BY if self._is_claude else (ORIGIN,)
        self._marks = Marks()
        self._unmarked = False

    def prompt(self) -> Prompt:
        """Return messages and tools."""
        conversation = self._conversation
        tools = [self._tool(tool) for tool in conversation.tools]
        system, turns = arranged(conversation, *self._signed_by)
        check_end(conversation, turns, self._model.facts)
        messages: list[Json] = []
        if system:
            content = _content([self._text(text) for text in system], "\n\n")
            messages.append({"role": "system", "content": content})
        for turn in turns:
            messages += self._messages(turn)
        return Prompt(messages, tools, dropped=tuple(self._lost()))

    def _lost(self) -> Iterator[str]:
        conversation, parts = self._conversation, tuple(self._conversation.parts())
        if forgets_thinking(conversation, *self._signed_by) or any(isinstance(p, Redacted) for p in parts):
            yield "thinking"
        if self._model.family == GEMINI and any(isinstance(p, ToolUse) and p.signature for p in parts):
            yield "thought signatures"
        if self._unmarked:
            yield "cache_control"
        yield from self._marks.thinned()
        if any(isinstance(part, Document | Text) and part.citations for part in parts):
            yield "citations"

    def _mark(self, part: Json, cache: CacheMark | None) -> Json:
        """Put a cache mark on a part, where the model knows them."""
        if self._is_claude:
            return self._marks.put(part, cache)
        self._unmarked |= cache is not None
        return part

    def _tool(self, tool: Tool) -> Json:
        function: Json = {"name": tool.name, "parameters": parameters(tool)}
        if tool.description:
            function["description"] = tool.description
        return self._mark({"type": "function", "function": function}, tool.cache)

    # --- messages ------------------------------------------------------------------------------------

    def _messages(self, turn: Turn) -> list[Json]:
        return [self._assistant(turn.blocks)] if turn.role == "assistant" else self._user(turn.blocks)

    def _assistant(self, blocks: Iterable[Block]) -> Json:
        message: Json = {"role": "assistant"}
        texts, thoughts, calls = [], [], []
        for block in blocks:
            match block:
                case Text():
                    texts.append(self._text(block))
                case Thinking(text, signature):
                    thoughts.append({"content": text, "signature": signature})
                case ToolUse():
                    calls.append(chat_form.call(block))
                    self._unmarked |= block.cache is not None
                case _:
                    pass  # redacted thinking has no place; `_lost` reports it
        if thoughts:
            message["reasoning_content"] = thoughts
        if texts or not calls:
            message["content"] = _content(texts, "")
        if calls:
            message["tool_calls"] = calls
        return message

    def _user(self, blocks: Iterable[Block]) -> list[Json]:
        """Return the tool messages first, then what else the user says and what results show."""
        out: list[Json] = []
        parts: list[Json] = []
        for block in blocks:
            if isinstance(block, ToolResult):
                shown = self._shown(block)
                out.append(self._result(block, bool(shown)))
                parts += shown
            else:
                parts += self._parts(block)
        return [*out, {"role": "user", "content": _content(parts)}] if parts else out

    def _result(self, result: ToolResult, shown: bool) -> Json:
        parts = [part for one in result.content for part in self._texts(one)]
        if shown:
            parts.append(_said(chat_form.SEEN_BELOW))
        if result.is_error:
            parts = [_said("Error:"), *parts]
        if parts:
            self._mark(parts[-1], result.cache)
        return {"role": "tool", "tool_call_id": result.tool_id, "content": _content(parts, "\n")}

    def _shown(self, result: ToolResult) -> list[Json]:
        """Return what a tool message cannot hold, behind a line that says where it is from."""
        media = [one for one in result.content if as_text(one, self._conversation) is None]
        if not media:
            return []
        return [chat_form.label(result), *(part for one in media for part in self._parts(one))]

    # --- parts ---------------------------------------------------------------------------------------

    def _parts(self, block: Block) -> list[Json]:
        match block:
            case Image():
                return [self._image(block)]
            case Text():
                return [self._text(block)]
            case Document():
                return self._texts(block) or self._file(block)
            case _:  # Audio
                raise BadRequest("orchestration takes no sound", param=self._conversation.name_of("messages"))

    def _texts(self, block: Text | Document | Image) -> list[Json]:
        text = as_text(block, self._conversation)
        return [] if text is None else [self._mark(_said(text), block.cache)]

    def _text(self, text: Text) -> Json:
        return self._mark(_said(text.text), text.cache)

    def _image(self, image: Image) -> Json:
        url: Json = {"url": f"data:image/{image_format(image, self._conversation)};base64,{image.data}"}
        if image.detail:
            url["detail"] = image.detail
        return self._mark({"type": "image_url", "image_url": url}, image.cache)

    def _file(self, document: Document) -> list[Json]:
        kind = document.media_type.translate(_NO_BRACES)
        file = {"file_data": f"data:{kind};base64,{document.data}"}
        if document.title:  # a file's name may stand in a template, where braces would mean something
            file["filename"] = document.title.translate(_NO_BRACES)
        about = [_said(document.context)] if document.context else []
        return [*about, self._mark({"type": "file", "file": file}, document.cache)]


def _said(text: str) -> Json:
    return {"type": "text", "text": text}


def _content(parts: Sequence[Json], glue: str | None = None) -> str | Sequence[Json]:
    """Return the parts as plain text where they are no more than that: one text, or several and a glue."""
    plain = all(part["type"] == "text" and "cache_control" not in part for part in parts)
    if plain and (glue is not None or len(parts) == 1):
        return (glue or "").join(part["text"] for part in parts)
    return parts
