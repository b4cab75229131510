"""Claude's conversations: tool results right after their calls, thoughts unchanged (wire §5.2)."""

from __future__ import annotations

from typing import Any

from perf.simulator.executables import signatures
from perf.simulator.executables.chat import Invalid

Block = dict[str, Any]

_THOUGHTS = ("thinking", "redacted_thinking")


class Turn:
    """Messages of one role in a row, which count as one."""

    def __init__(self, role: str, place: int) -> None:
        self.role = role
        self.place = place
        self.blocks: list[Block] = []

    def ids(self, kind: str, key: str) -> list[str]:
        """The ids of one kind of block."""
        return [block[key] for block in self.blocks if block["type"] == kind]

    @property
    def calls(self) -> list[str]:
        """Ids of the tools it uses."""
        return self.ids("tool_use", "id")

    @property
    def results(self) -> list[str]:
        """Ids of the uses whose results stand before anything else."""
        found = []
        for block in self.blocks:
            if block["type"] != "tool_result":
                break
            found.append(block["tool_use_id"])
        return found


def blocks(content: Any) -> list[Block]:
    """A content as blocks; an empty text is none."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def turns(messages: list[Any]) -> list[Turn]:
    """The turns of a conversation."""
    found: list[Turn] = []
    for place, message in enumerate(messages):
        if not found or found[-1].role != message["role"]:
            found.append(Turn(message["role"], place))
        found[-1].blocks += blocks(message["content"])
    return found


def check(messages: list[Any], *, thinks: bool, prefill: bool) -> None:
    """Refuse conversations that the model would not go on with. Raises Invalid."""
    if messages[0]["role"] != "user":
        raise Invalid('messages: first message must use the "user" role')
    for place, message in enumerate(messages):
        _check_content(message, place, last=place == len(messages) - 1)
    spoken = turns(messages)
    _check_pairs(spoken)
    if messages[-1]["role"] == "assistant":
        _check_prefill(spoken[-1], thinks=thinks, prefill=prefill)
    elif thinks:
        _check_thoughts_kept(spoken)


def _check_content(message: Any, place: int, *, last: bool) -> None:
    content = message["content"]
    if not content:
        if last and message["role"] == "assistant":
            return
        raise Invalid(
            f"messages.{place}: all messages must have non-empty content except for the optional final "
            "assistant message"
        )
    check_text("messages", content)
    for number, block in enumerate(blocks(content)):
        where = f"messages.{place}.content.{number}"
        if block["type"] == "thinking" and not signatures.genuine(block["thinking"], block["signature"]):
            raise Invalid(f"{where}: Invalid `signature` in `thinking` block")
        if block["type"] == "redacted_thinking" and not signatures.sealed_here(block["data"]):
            raise Invalid(f"{where}: Invalid `data` in `redacted_thinking` block")
        if block["type"] == "tool_result" and isinstance(block.get("content"), list):
            check_text("messages", block["content"])


def check_text(where: str, content: Any) -> None:
    """Refuse blank text blocks. Raises Invalid."""
    for block in blocks(content):
        if block["type"] == "text" and not block["text"].strip():
            raise Invalid(f"{where}: text content blocks must contain non-whitespace text")


def _check_pairs(spoken: list[Turn]) -> None:
    """Every use has its result in the next turn, before anything else, and every result its use."""
    seen: set[str] = set()
    for before, turn in zip([Turn("user", 0), *spoken], [*spoken, Turn("user", len(spoken))], strict=True):
        made, calls, results = before.calls, turn.calls, turn.results
        missing = [call for call in made if call not in results]
        if missing:
            raise Invalid(
                f"messages.{before.place}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(missing)}. Each `tool_use` block must have a corresponding "
                "`tool_result` block in the next message."
            )
        _check_results(turn, made)
        if not seen.isdisjoint(calls) or len(calls) != len(set(calls)):
            raise Invalid(f"messages.{turn.place}: `tool_use` ids must be unique")
        seen.update(calls)


def _check_results(turn: Turn, calls: list[str]) -> None:
    answered = turn.ids("tool_result", "tool_use_id")
    for name in answered:
        if name not in calls:
            raise Invalid(
                f"messages.{turn.place}: unexpected `tool_use_id` found in `tool_result` blocks: {name}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if answered.count(name) > 1:
            raise Invalid(
                f"messages.{turn.place}: each tool_use must have a single result. Found multiple "
                f"`tool_result` blocks with id: {name}"
            )


def _check_prefill(turn: Turn, *, thinks: bool, prefill: bool) -> None:
    if not prefill:
        raise Invalid(
            "This model does not support assistant message prefill. The conversation must end with a user "
            "message."
        )
    if thinks:
        raise _no_thought(turn)
    words = turn.blocks[-1].get("text", "") if turn.blocks else ""
    if words != words.rstrip():
        raise Invalid("messages: final assistant content cannot end with trailing whitespace")


def _check_thoughts_kept(spoken: list[Turn]) -> None:
    """In a tool loop the model's last turn still begins with its thought; (u) for adaptive thinking."""
    before = spoken[-2] if len(spoken) > 1 else None
    if before is not None and before.calls and before.blocks[0]["type"] not in _THOUGHTS:
        raise _no_thought(before)


def _no_thought(turn: Turn) -> Invalid:
    found = turn.blocks[0]["type"] if turn.blocks else "nothing"
    return Invalid(
        f"messages.{turn.place}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
        f"`{found}`. When `thinking` is enabled, a final `assistant` message must start with a thinking "
        "block (preceding the lastmost set of `tool_use` and `tool_result` blocks)."
    )
