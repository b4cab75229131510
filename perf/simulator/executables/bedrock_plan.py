"""What Claude and Nova decide alike: thoughts, text, calls, why they stop, and what they charge.

Directives in the last message, beside those of `chat`:

    [[refuse]]      the model declines to answer
    [[redacted]]    thoughts, if any, come sealed
"""

from __future__ import annotations

from typing import Any

import msgspec

from perf.simulator import text
from perf.simulator.executables import chat

_THOUGHTS = {"low": 8, "medium": 16, "high": 32, "xhigh": 48, "max": 64}


class Prompt(msgspec.Struct):
    """The characters of the prompt's parts in their order, and the cache marks between them."""

    sizes: list[int] = msgspec.field(default_factory=list)
    marks: dict[int, str] = msgspec.field(default_factory=dict)
    """Time to live by the number of parts before the mark."""
    known: int = 0
    """How many parts were there when the model last answered: these can be in the cache already."""

    def add(self, characters: int) -> None:
        """Append a part."""
        self.sizes.append(characters)

    def mark(self, ttl: str = "5m") -> None:
        """All parts so far shall be cached."""
        self.marks[len(self.sizes)] = ttl

    def answered(self) -> None:
        """An answer of the model begins here."""
        self.known = len(self.sizes)

    def usage(self) -> Usage:
        """What is read from the cache, written to it, and neither.

        Nothing is remembered between requests: the parts before the model's last answer count as cached up
        to their last mark, the parts up to the last mark of all as written now.
        """
        cached = self._tokens(max((at for at in self.marks if at <= self.known), default=0))
        last = max(self.marks, default=0)
        total = 3 + self._tokens(len(self.sizes))
        marked = self._tokens(last)
        return Usage(total - marked, cached, marked - cached, self.marks.get(last, "5m"))

    def _tokens(self, parts: int) -> int:
        return sum(1 + text.count(size) for size in self.sizes[:parts])


class Usage(msgspec.Struct, frozen=True):
    """Tokens of a prompt."""

    fresh: int
    read: int
    written: int
    ttl: str

    @property
    def total(self) -> int:
        """All of them."""
        return self.fresh + self.read + self.written


class Wish(msgspec.Struct):
    """What a request asks for, whichever way it was written."""

    prompt: Prompt
    last: chat.Message
    """The last turn; of role `tool` if it brings results."""
    default_tokens: int
    functions: list[chat.Function]
    tool_choice: str | dict[str, Any] | None
    parallel: bool
    schema: dict[str, Any] | None
    stop: list[str]
    limit: int | None
    effort: str | None
    """None if the model shall not think."""
    shows_thoughts: bool = True


class Decision(msgspec.Struct, frozen=True):
    """An answer before it has a wire format."""

    thought: tuple[str, ...] | None
    """None for an answer without a thinking block."""
    sealed: bool
    tokens: tuple[str, ...]
    calls: list[chat.FunctionCall]
    stop_reason: str
    stop_sequence: str | None
    usage: Usage
    output_tokens: int


def decide(wish: Wish) -> Decision:
    """Decide the answer. Raises Invalid for a tool choice that names no tool."""
    planned = chat.plan(_chat_wish(wish))
    said = wish.last.text()
    thoughts = 0 if wish.effort is None else _THOUGHTS[wish.effort]
    tokens, calls, sequence = planned.tokens, planned.calls, None
    if "[[refuse]]" in said:
        tokens, calls, reason = (), [], "refusal"
    elif calls:
        tokens, reason = _announced(wish, calls), "tool_use"
    else:
        tokens, sequence = _until_stop(tokens, wish.stop)
        reason = "end_turn" if sequence is None else "stop_sequence"
        if wish.limit is not None and thoughts + len(tokens) > wish.limit:
            thoughts = min(thoughts, wish.limit)
            tokens, reason, sequence = tokens[: wish.limit - thoughts], "max_tokens", None
    arguments = sum(2 + text.count(len(call.arguments)) for call in calls)
    thought = text.filler(thoughts) if wish.shows_thoughts else ()
    return Decision(
        thought=None if wish.effort is None else thought,
        sealed="[[redacted]]" in said,
        tokens=tokens,
        calls=calls,
        stop_reason=reason,
        stop_sequence=sequence,
        usage=wish.prompt.usage(),
        output_tokens=max(1, thoughts + len(tokens) + arguments),
    )


def _announced(wish: Wish, calls: list[chat.FunctionCall]) -> tuple[str, ...]:
    """Words before a call; a model that is forced to call says none."""
    return text.split(f"I call {calls[0].name}.") if wish.tool_choice == "auto" else ()


def _chat_wish(wish: Wish) -> chat.Wish:
    """The shared planner's part: it knows neither why an answer stops nor thoughts."""
    schema = None if wish.schema is None else chat.JsonSchema("answer", schema=wish.schema)
    return chat.Wish(
        last=wish.last,
        default_tokens=wish.default_tokens,
        functions=wish.functions,
        tool_choice=wish.tool_choice,
        parallel=wish.parallel,
        response_format=None if schema is None else chat.ResponseFormat("json_schema", schema),
        stop=[],
        limit=None,
        reasoning_tokens=0,
    )


def _until_stop(tokens: tuple[str, ...], stop: list[str]) -> tuple[tuple[str, ...], str | None]:
    """The tokens before the first stop sequence, and that sequence."""
    whole = "".join(tokens)
    found = [(at, word) for word in stop if (at := whole.find(word)) >= 0]
    if not found:
        return tokens, None
    at, word = min(found)
    return text.split(whole[:at]), word
