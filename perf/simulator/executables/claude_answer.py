"""Claude's answers in Anthropic's form, whole and as events (wire §4.3)."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from typing import Any

import msgspec

from perf.simulator import text
from perf.simulator.executables import bedrock_plan, chat, claude_turns, signatures
from perf.simulator.executables.bedrock_plan import Decision, Prompt
from perf.simulator.executables.bedrock_wire import Event
from perf.simulator.executables.claude_body import LONG_CONTEXT, Generation, check
from perf.simulator.executables.claude_turns import Block
from perf.simulator.models import Model

OPENING = 2
"""`message_start`, and the start of the first block."""

PICTURE_CHARACTERS = 4096
"""What an image or a document counts for, whatever its size."""

_ALPHABET = string.ascii_letters + string.digits
_REFUSAL = {"type": "refusal", "category": None, "explanation": "The simulated model declines to answer."}


def new_id(prefix: str) -> str:
    """An id as Bedrock gives them."""
    return f"{prefix}01{''.join(random.choices(_ALPHABET, k=22))}"


def decide(body: Any, model: Model, answer_tokens: int) -> Decision:
    """Check a body and decide the answer. Raises Invalid."""
    asked = check(body, model)
    wish = _wish(body, asked, answer_tokens)
    limit = model.context_length
    if LONG_CONTEXT in (asked.anthropic_beta or ()):
        limit = max(limit, 1_000_000)
    decided = bedrock_plan.decide(wish)
    if decided.usage.total > limit:
        raise chat.Invalid("Input is too long for requested model.")
    return decided


def _wish(body: dict[str, Any], asked: Generation, answer_tokens: int) -> bedrock_plan.Wish:
    chosen = body.get("tool_choice", {"type": "auto"})
    return bedrock_plan.Wish(
        prompt=_prompt(body),
        last=_last(body["messages"]),
        default_tokens=answer_tokens,
        functions=[
            chat.Function(tool["name"], parameters=msgspec.Raw(msgspec.json.encode(tool["input_schema"])))
            for tool in body.get("tools", ())
        ],
        tool_choice={"name": chosen["name"]} if "name" in chosen else _CHOICES[chosen["type"]],
        parallel=not chosen.get("disable_parallel_tool_use", False),
        schema=asked.schema,
        stop=body.get("stop_sequences", []),
        limit=asked.max_tokens,
        effort=asked.effort,
        shows_thoughts=asked.shows_thoughts,
    )


_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def _last(messages: list[Any]) -> chat.Message:
    """The user's last turn; of role `tool` if it brings results."""
    turn = next(turn for turn in reversed(claude_turns.turns(messages)) if turn.role == "user")
    results = [_shown(block.get("content", "")) for block in turn.blocks if block["type"] == "tool_result"]
    if results:
        return chat.Message("tool", "\n".join(results))
    return chat.Message("user", _shown(turn.blocks))


def _shown(content: Any) -> str:
    return "\n".join(b["text"] for b in claude_turns.blocks(content) if b["type"] == "text")


# tokens of the prompt


def _prompt(body: dict[str, Any]) -> Prompt:
    prompt = Prompt()
    for block in (*body.get("tools", ()), *claude_turns.blocks(body.get("system", []))):
        _add(prompt, block)
    for message in body["messages"]:
        if message["role"] == "assistant":
            prompt.answered()
        for block in claude_turns.blocks(message["content"]):
            _add(prompt, block)
    return prompt


def _add(prompt: Prompt, block: Block) -> None:
    prompt.add(_characters(block))
    if "cache_control" in block:
        prompt.mark(block["cache_control"].get("ttl", "5m"))


def _characters(block: Block) -> int:
    kind = block.get("type")
    if kind == "text":
        return len(block["text"])
    if kind in ("image", "document"):
        return PICTURE_CHARACTERS
    if kind == "tool_result":
        return sum(map(_characters, claude_turns.blocks(block.get("content", ""))))
    return len(msgspec.json.encode({name: v for name, v in block.items() if name != "cache_control"}))


# the answer


class Answer:
    """One answer under an id of its own: whole, or as the events of a stream."""

    def __init__(self, decided: Decision, model: Model, latency_ms: float) -> None:
        assert model.claude is not None, "the caller has looked"
        self._decided = decided
        self._model = model.claude.snapshot
        self._latency = int(latency_ms)

    def whole(self) -> dict[str, Any]:
        """The body of a unary answer."""
        content = list(self._thinking())
        if self._decided.tokens:
            content.append({"type": "text", "text": "".join(self._decided.tokens)})
        content += [self._call(call, msgspec.Raw(call.arguments.encode())) for call in self._decided.calls]
        usage = {**self._prompt_usage(), "output_tokens": self._decided.output_tokens}
        return {**self._message(content, usage), **self._stop()}

    def _message(self, content: list[Any], usage: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": new_id("msg_bdrk_"),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def _thinking(self) -> Iterator[Block]:
        if self._decided.thought is None:
            return
        thought = "".join(self._decided.thought)
        if self._decided.sealed:
            yield {"type": "redacted_thinking", "data": signatures.seal(thought)}
        else:
            yield {"type": "thinking", "thinking": thought, "signature": signatures.sign(thought)}

    def _call(self, call: chat.FunctionCall, arguments: Any) -> Block:
        return {"type": "tool_use", "id": new_id("toolu_bdrk_"), "name": call.name, "input": arguments}

    def _stop(self) -> dict[str, Any]:
        reason = self._decided.stop_reason
        stop = {"stop_reason": reason, "stop_sequence": self._decided.stop_sequence}
        return {**stop, "stop_details": _REFUSAL} if reason == "refusal" else stop

    def _prompt_usage(self) -> dict[str, Any]:
        used = self._decided.usage
        return {
            "input_tokens": used.fresh,
            "cache_creation_input_tokens": used.written,
            "cache_read_input_tokens": used.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": used.written if used.ttl == "5m" else 0,
                "ephemeral_1h_input_tokens": used.written if used.ttl == "1h" else 0,
            },
        }

    # events, in groups that go out together: each group but the opening ones has one piece of content

    def steps(self, size: int) -> Iterator[list[Event]]:
        """All events but the last."""
        usage = {**self._prompt_usage(), "output_tokens": 1}
        yield [{"type": "message_start", "message": self._message([], usage)}]
        waiting: list[Event] = []
        for index, (start, deltas, end) in enumerate(self._blocks(size)):
            waiting.append({"type": "content_block_start", "index": index, "content_block": start})
            if index == 0:
                yield waiting
                waiting = []
            for delta in deltas:
                yield [*waiting, _delta(index, delta)]
                waiting = []
            waiting += [_delta(index, delta) for delta in end]
            waiting.append({"type": "content_block_stop", "index": index})
        usage = {"output_tokens": self._decided.output_tokens}
        yield [*waiting, {"type": "message_delta", "delta": self._stop(), "usage": usage}]

    def _blocks(self, size: int) -> Iterator[tuple[Block, list[Block], list[Block]]]:
        """Each block: how it starts, its pieces, and what comes behind them."""
        for block in self._thinking():
            if block["type"] == "redacted_thinking":
                yield block, [], []
                continue
            pieces = [{"type": "thinking_delta", "thinking": token} for token in self._decided.thought or ()]
            signature = {"type": "signature_delta", "signature": block["signature"]}
            yield {"type": "thinking", "thinking": "", "signature": ""}, pieces, [signature]
        if self._decided.tokens:
            tokens = text.group(self._decided.tokens, size)
            yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": t} for t in tokens], []
        for call in self._decided.calls:
            pieces = [
                {"type": "input_json_delta", "partial_json": piece} for piece in text.split(call.arguments)
            ]
            yield self._call(call, {}), pieces, []

    def last(self) -> list[Event]:
        """The end, with Bedrock's own figures."""
        used = self._decided.usage
        metrics = {
            "inputTokenCount": used.fresh,
            "outputTokenCount": self._decided.output_tokens,
            "invocationLatency": self._latency,
            "firstByteLatency": self._latency,
            "cacheReadInputTokenCount": used.read,
            "cacheWriteInputTokenCount": used.written,
        }
        return [{"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics}]


def _delta(index: int, delta: Block) -> Event:
    return {"type": "content_block_delta", "index": index, "delta": delta}
