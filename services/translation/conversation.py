"""The request side of the neutral pivot: what any caller can say, and any model can be told.

Rich enough that nothing is lost between Anthropic Messages and Claude; every other dialect says less. A
surface parses into it, an upstream dialect builds from it. Nothing here is ever changed after it is made: a
further attempt needs it again (`msgspec.structs.replace` makes a variant).

Single values that steer the model have no member of their own. They are in `settings`, under the names that
chat completions give them (`temperature`, `stop`, `seed`, …), whatever the caller called them: that is the
vocabulary of the field rules in `catalogue.toml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec


class CacheMark(msgspec.Struct, frozen=True):
    """A prompt-cache breakpoint behind the block that carries it. `ttl` is "5m", "1h" or empty."""

    ttl: str = ""


class Text(msgspec.Struct, frozen=True):
    """Text. `citations` are Anthropic's, as they came, on text that the model wrote earlier."""

    text: str
    cache: CacheMark | None = None
    citations: tuple[Any, ...] = ()


class Image(msgspec.Struct, frozen=True):
    """A picture: base64 `data` of `media_type`, or a remote one by `url` alone."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    detail: str = ""
    """OpenAI's "low", "high" or "auto"; empty where nothing was said."""
    cache: CacheMark | None = None


class Document(msgspec.Struct, frozen=True):
    """A file to read: base64 `data` of `media_type`, plain `text` (with "text/plain"), or a `url` alone."""

    media_type: str = ""
    data: str = ""
    text: str = ""
    url: str = ""
    title: str = ""
    context: str = ""
    citations: bool = False
    cache: CacheMark | None = None


class Audio(msgspec.Struct, frozen=True):
    """Sound: base64 `data` of `media_type`, such as "audio/wav"."""

    media_type: str
    data: str


class ToolUse(msgspec.Struct, frozen=True):
    """The model called a tool. `arguments` is JSON text, as the model wrote it: it may be no JSON at all."""

    id: str
    name: str
    arguments: str = "{}"
    signature: str = ""
    """Gemini's thought signature of this call (wire §5.4), without a seal."""
    cache: CacheMark | None = None


class ToolResult(msgspec.Struct, frozen=True):
    """What the tool answered to the `ToolUse` with the same id."""

    tool_id: str
    content: tuple[Text | Image | Document, ...] = ()
    is_error: bool = False
    cache: CacheMark | None = None


class Thinking(msgspec.Struct, frozen=True):
    """What the model thought earlier, with the proof that it did.

    `origin` is the upstream dialect that signed it ("claude", "responses", "gemini", "converse",
    "orchestration"); empty for text without a signature. Only its origin takes a signature back.
    """

    text: str = ""
    signature: str = ""
    origin: str = ""


class Redacted(msgspec.Struct, frozen=True):
    """Thinking that only the model can read."""

    data: str
    origin: str = "claude"


Block = Text | Image | Document | Audio | ToolUse | ToolResult | Thinking | Redacted
Role = Literal["user", "assistant", "system"]


class Turn(msgspec.Struct, frozen=True):
    """What one side said. Tool results are the user's; a "system" turn came in mid-conversation."""

    role: Role
    blocks: tuple[Block, ...]


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call. `schema` is the JSON Schema of its arguments, an object.

    `freeform` is a tool that takes plain text (OpenAI's `custom`): it goes up as a function with one string
    `input`, and the caller's writer turns a call of it back.
    """

    name: str
    description: str = ""
    schema: Mapping[str, Any] = {}
    strict: bool | None = None
    cache: CacheMark | None = None
    freeform: bool = False


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether tools are called: as the model likes, at least one, none, or the named one."""

    mode: Literal["auto", "any", "none", "tool"] = "auto"
    name: str = ""


class Reasoning(msgspec.Struct, frozen=True):
    """How much the model is to think: by `effort`, by `budget` in tokens, or as it sees fit (`adaptive`).

    `effort` is one of `efforts.EFFORTS`; "none" is off. `shown` is whether the caller wants to read the
    thoughts; None where it did not say.
    """

    effort: str = ""
    budget: int | None = None
    adaptive: bool = False
    shown: bool | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    """The answer has to be JSON: any object without a `schema`, else one that fits it."""

    schema: Mapping[str, Any] | None = None
    name: str = "output"
    description: str = ""
    strict: bool | None = None


class Conversation(msgspec.Struct, frozen=True):
    """Everything that a caller asks of a model, in no dialect."""

    turns: tuple[Turn, ...]
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_tokens: int | None = None
    reasoning: Reasoning | None = None
    output: OutputFormat | None = None
    settings: Mapping[str, Any] = {}
    """Canonical name → value; see `SETTINGS`."""
    names: Mapping[str, str] = {}
    """Canonical name → the caller's own name of the field, where it differs. For errors and reports."""
    betas: tuple[str, ...] = ()
    """Anthropic beta flags the caller asked for, unfiltered."""
    orchestration: Mapping[str, Any] | None = None
    """Modules of SAP's orchestration the caller asked for (filtering, masking, …), as they came."""
    stream: bool = False
    wants_usage: bool = False
    """Whether a stream is to tell its usage, for the surfaces where that is the caller's choice."""
    dropped: tuple[str, ...] = ()
    """The caller's fields and kinds of tools that no model behind SAP AI Core takes."""

    def name_of(self, canonical: str) -> str:
        """Return the caller's own name of a field."""
        return self.names.get(canonical, canonical)

    def is_text(self) -> bool:
        """Whether nothing is in it but text: no tools, no pictures, no thinking. Short ones mostly are."""
        if self.tools:
            return False
        for turn in self.turns:
            for block in turn.blocks:
                if type(block) is not Text:
                    return False
        return True

    def blocks(self) -> Iterator[Block]:
        """Yield every block of every turn."""
        for turn in self.turns:
            yield from turn.blocks

    def parts(self) -> Iterator[Block]:
        """Yield every block, and behind a result what it holds."""
        for block in self.blocks():
            yield block
            if isinstance(block, ToolResult):
                yield from block.content


SETTINGS: Mapping[str, Any] = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "stop": list[str],
    "seed": int,
    "n": int,
    "presence_penalty": float,
    "frequency_penalty": float,
    "logit_bias": dict[str, float],
    "logprobs": bool,
    "top_logprobs": int,
    "verbosity": str,
    "user": str,
    "safety_identifier": str,
    "prompt_cache_key": str,
    "service_tier": str,
    "store": bool,
    "metadata": dict[str, Any],
    "prediction": dict[str, Any],
    "truncation": str,
    # Not said to any model: the rules in `catalogue.toml` drop or refuse them.
    "web_search_options": Any,
    "audio": Any,
    "modalities": Any,
    "prompt_cache_retention": Any,
}
"""The settings there are, and the type each has in a `Conversation`; surfaces decode into these."""
