"""gcp-vertexai: a conversation as Gemini's `generateContent` (wire §4.5, §5.4, §8.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from services.errors import BadRequest
from services.translation.capabilities import ModelFacts
from services.translation.conversation import (
    Audio,
    Block,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Reasoning,
    Redacted,
    Text,
    Thinking,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.dialects import Sent, Upstream
from services.translation.efforts import budget_of, effort_of, nearest
from services.translation.fields import Json
from services.translation.replies import Target
from services.translation.turns import (
    arguments_object,
    arranged,
    check_inputs,
    document_text,
    parameters,
    unsaid,
)
from services.translation.upstreams.gemini_answer import ORIGIN, Reader, answer

SETTINGS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
"""Canonical name → member of `generationConfig`."""

MAX_STOPS = 5
NO_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the signature of a call that no Gemini model made (wire §8.4)."""

_LEAST_BUDGET, _MOST_BUDGET = 512, 24_576
"""Tokens of thought that every model with a budget takes: Flash-Lite has the highest floor, both Flash the
lowest ceiling (Google's model pages)."""

_MODES: Mapping[str, str] = {"auto": "AUTO", "any": "ANY", "none": "NONE", "tool": "ANY"}
_NO_DETAIL = ("", "auto")
_MEDIA_TYPES: Mapping[str, str] = {"image/jpg": "image/jpeg"}


def request(conversation: Conversation, target: Target) -> Sent:
    """Return the request. Raises BadRequest for what Gemini cannot be told."""
    facts = target.facts
    check_inputs(conversation, facts)
    system, turns = arranged(conversation, ORIGIN)
    config, dropped = _generation_config(conversation, facts)
    contents = _Contents(conversation, signs="signed-calls" in facts.flags)
    body: Json = {"contents": [contents.content(turn) for turn in turns]}
    if system:
        body["systemInstruction"] = {"parts": [{"text": block.text} for block in system]}
    body |= _tools(conversation)
    if config:
        body["generationConfig"] = config
    method = "streamGenerateContent?alt=sse" if conversation.stream else "generateContent"
    return Sent(
        path=f"/models/{target.backend_model}:{method}",
        body=msgspec.json.encode(body),
        dropped=(*dropped, *_unsaid(conversation)),
    )


def _unsaid(conversation: Conversation) -> Iterator[str]:
    """Yield what Gemini has no words for (wire §8.4)."""
    yield from unsaid(conversation, ORIGIN)
    if any(isinstance(part, Image) and part.detail not in _NO_DETAIL for part in conversation.parts()):
        yield "detail"


# --- contents ----------------------------------------------------------------------------------------


class _Contents:
    """Writes turn after turn; results find the name of their call by its id (trap 43)."""

    def __init__(self, conversation: Conversation, *, signs: bool) -> None:
        self._conversation = conversation
        self._signs = signs
        self._calls: dict[str, tuple[int, str]] = {}

    def content(self, turn: Turn) -> Json:
        """Return one turn in Gemini's form."""
        if turn.role == "assistant":
            return {"role": "model", "parts": self._said(turn.blocks)}
        return {"role": "user", "parts": [part for block in self._asked(turn) for part in self._parts(block)]}

    def _asked(self, turn: Turn) -> Iterable[Block]:
        """Results in the order of their calls: without ids, calls of one function are told apart by it."""
        results = [block for block in turn.blocks if isinstance(block, ToolResult)]
        others = [block for block in turn.blocks if not isinstance(block, ToolResult)]
        return [*sorted(results, key=lambda result: self._call(result)[0]), *others]

    def _said(self, blocks: Iterable[Block]) -> list[Json]:
        parts: list[Json] = []
        signs = self._signs
        for block in blocks:
            if isinstance(block, ToolUse):
                parts.append(self._use(block, needs_signature=signs))
                signs = False  # of parallel calls only the first is signed
            elif isinstance(block, Thinking | Redacted):
                _sign(parts, block)
            else:
                parts += self._parts(block)
        return parts

    def _use(self, call: ToolUse, *, needs_signature: bool) -> Json:
        self._calls[call.id] = (len(self._calls), call.name)
        part: Json = {"functionCall": {"name": call.name, "args": arguments_object(call.arguments)}}
        signature = call.signature or (NO_SIGNATURE if needs_signature else "")
        return part | ({"thoughtSignature": signature} if signature else {})

    def _call(self, result: ToolResult) -> tuple[int, str]:
        try:
            return self._calls[result.tool_id]
        except KeyError:
            raise BadRequest(
                f"the tool result '{result.tool_id}' answers no earlier tool call",
                param=self._conversation.name_of("messages"),
            ) from None

    def _parts(self, block: Block) -> Iterable[Json]:
        if isinstance(block, ToolResult):
            return self._result(block)
        if isinstance(block, Document):
            return self._document(block)
        if isinstance(block, Image | Audio):
            return (_inline(block.media_type, block.data),)
        assert isinstance(block, Text), "calls and thinking are only what the model said"
        return ({"text": block.text},)

    def _document(self, document: Document) -> Iterator[Json]:
        for about in filter(None, (document.title, document.context)):
            yield {"text": about}
        text = document_text(document, self._conversation)
        yield _inline(document.media_type, document.data) if text is None else {"text": text}

    def _result(self, result: ToolResult) -> Iterator[Json]:
        """Yield the result, text as its `response`, and beside it what a `response` cannot hold (§8.12)."""
        _, name = self._call(result)
        parts = [part for block in result.content for part in self._parts(block)]
        texts = [part["text"] for part in parts if "text" in part]
        yield {"functionResponse": {"name": name, "response": _response("\n".join(texts), result.is_error)}}
        yield from (part for part in parts if "text" not in part)


def _response(text: str, is_error: bool) -> msgspec.Raw | Json:
    """Return an object as it is, anything else wrapped; a failure says so (wire §8.12)."""
    told = _object(text)
    if is_error:
        return {"error": text if told is None else told}
    return {"result": text} if told is None else told


def _object(text: str) -> msgspec.Raw | None:
    if not text.lstrip().startswith("{"):
        return None
    made = arguments_object(text)
    return made if bytes(made) == text.encode() else None


def _inline(media_type: str, data: str) -> Json:
    kind = media_type.lower()
    return {"inlineData": {"mimeType": _MEDIA_TYPES.get(kind, kind), "data": data}}


def _sign(parts: list[Json], block: Thinking | Redacted) -> None:
    """Put a proof back where it came: on a thought, on the text before it, or on a part of its own."""
    signed = {"thoughtSignature": block.data if isinstance(block, Redacted) else block.signature}
    if isinstance(block, Thinking) and block.text:
        parts.append({"text": block.text, "thought": True, **signed})
    elif parts and parts[-1].keys() == {"text"}:
        parts[-1] |= signed
    else:
        parts.append({"text": "", **signed})


# --- tools -------------------------------------------------------------------------------------------


def _tools(conversation: Conversation) -> Json:
    choice = conversation.tool_choice
    if not conversation.tools:
        return {}
    declared = []
    for tool in conversation.tools:
        about = {"description": tool.description} if tool.description else {}
        declared.append({"name": tool.name, **about, "parametersJsonSchema": parameters(tool)})  # trap 44
    tools: Json = {"tools": [{"functionDeclarations": declared}]}
    return tools if choice is None else tools | {"toolConfig": {"functionCallingConfig": _calling(choice)}}


def _calling(choice: ToolChoice) -> Json:
    allowed = {"allowedFunctionNames": [choice.name]} if choice.mode == "tool" else {}
    return {"mode": _MODES[choice.mode], **allowed}


# --- generationConfig --------------------------------------------------------------------------------


def _generation_config(conversation: Conversation, facts: ModelFacts) -> tuple[Json, list[str]]:
    settings = conversation.settings
    stops = settings.get("stop", ())
    if len(stops) > MAX_STOPS:
        own = conversation.name_of("stop")
        raise BadRequest(f"'{own}' can hold {MAX_STOPS} sequences for this model", param=own)
    config = {SETTINGS[name]: value for name, value in settings.items() if name in SETTINGS}
    dropped = [name for name in settings if name not in SETTINGS]
    if conversation.max_tokens is not None:  # thoughts count, as they do in every caller's own dialect
        config["maxOutputTokens"] = conversation.max_tokens
    if conversation.output is not None:
        config |= _output(conversation.output)
    if conversation.reasoning is not None:
        thinking, honoured = thinking_config(conversation.reasoning, facts)
        if thinking:
            config["thinkingConfig"] = thinking
        if not honoured:
            dropped.append("reasoning_effort")
    return config, dropped


def _output(wanted: OutputFormat) -> Json:
    config: Json = {"responseMimeType": "application/json"}
    return config if wanted.schema is None else config | {"responseJsonSchema": wanted.schema}


def thinking_config(reasoning: Reasoning, facts: ModelFacts) -> tuple[Json, bool]:
    """Return `thinkingConfig`, and whether it says what was asked for (wire §8.0)."""
    if not facts.thinking:
        return {}, False
    off = effort_of(reasoning) == "none"
    config = _level(reasoning, facts) if facts.thinking == "level" else _budget(reasoning, facts)
    if not off and reasoning.shown is not False:
        config["includeThoughts"] = True
    return config, not (off and "no-thinking-off" in facts.flags)


def _level(reasoning: Reasoning, facts: ModelFacts) -> Json:
    effort = effort_of(reasoning)
    if not effort or _as_it_sees_fit(reasoning):
        return {}
    return {"thinkingLevel": nearest(effort, facts.efforts).upper()}


def _budget(reasoning: Reasoning, facts: ModelFacts) -> Json:
    if _as_it_sees_fit(reasoning):
        return {"thinkingBudget": -1}
    effort, budget = effort_of(reasoning), budget_of(reasoning)
    if not effort:
        return {}
    if budget == 0 and "no-thinking-off" not in facts.flags:
        return {"thinkingBudget": 0}
    return {"thinkingBudget": max(_LEAST_BUDGET, min(budget, _MOST_BUDGET))}


def _as_it_sees_fit(reasoning: Reasoning) -> bool:
    dynamic = reasoning.adaptive or (reasoning.budget is not None and reasoning.budget < 0)
    return dynamic and not reasoning.effort


UPSTREAM = Upstream(request=request, answer=answer, reader=Reader)
