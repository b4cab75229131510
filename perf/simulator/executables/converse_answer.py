"""Converse's answers, whole and as events (wire §4.4).

Every stream ends with members that Python writes as `None` and `False`, and the default text has an
apostrophe, quotes, a line feed and letters beyond ASCII: whoever takes the frames for JSON stumbles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from perf.simulator import text
from perf.simulator.executables import bedrock_plan, chat, signatures
from perf.simulator.executables.bedrock_plan import Decision, Prompt
from perf.simulator.executables.bedrock_wire import Event
from perf.simulator.executables.claude_answer import PICTURE_CHARACTERS, new_id
from perf.simulator.executables.claude_body import Generation
from perf.simulator.executables.converse_body import check
from perf.simulator.models import Model

OPENING = 1
"""`messageStart`; blocks of text have no start."""

_ODD = ("It's", ' a "größer"', "\nanswer\u2028in", " Ulm:")
"""Written instead of the first words of a text that nothing else determines."""

_REASONS = {"refusal": "content_filtered"}


def decide(body: Any, model: Model, answer_tokens: int) -> Decision:
    """Check a body and decide the answer. Raises Invalid."""
    asked = check(body, model)
    decided = bedrock_plan.decide(_wish(body, asked, answer_tokens))
    if decided.usage.total > model.context_length:
        raise chat.Invalid("Input is too long for requested model.")
    size = len(_ODD)
    if decided.tokens[:size] == text.filler(size):
        decided = msgspec.structs.replace(decided, tokens=_ODD + decided.tokens[size:])
    return decided


def _wish(body: dict[str, Any], asked: Generation, answer_tokens: int) -> bedrock_plan.Wish:
    tools = body.get("toolConfig", {})
    specs = [tool["toolSpec"] for tool in tools.get("tools", ()) if "toolSpec" in tool]
    return bedrock_plan.Wish(
        prompt=_prompt(body),
        last=_last(body["messages"]),
        default_tokens=answer_tokens,
        functions=[
            chat.Function(s["name"], parameters=msgspec.Raw(msgspec.json.encode(s["inputSchema"]["json"])))
            for s in specs
        ],
        tool_choice=_choice(tools.get("toolChoice", {"auto": {}})),
        parallel=True,
        schema=asked.schema,
        stop=body.get("inferenceConfig", {}).get("stopSequences", []),
        limit=asked.max_tokens,
        effort=asked.effort,
        shows_thoughts=asked.shows_thoughts,
    )


def _choice(chosen: dict[str, Any]) -> str | dict[str, Any]:
    ((kind, value),) = chosen.items()
    return {"auto": "auto", "any": "required"}.get(kind) or {"name": value["name"]}


def _last(messages: list[Any]) -> chat.Message:
    message = next(m for m in reversed(messages) if m["role"] == "user")
    results = [_shown(b["toolResult"]["content"]) for b in message["content"] if "toolResult" in b]
    if results:
        return chat.Message("tool", "\n".join(results))
    return chat.Message("user", _shown(message["content"]))


def _shown(content: list[Any]) -> str:
    texts = [
        b["text"] if "text" in b else msgspec.json.encode(b["json"]).decode() for b in _readable(content)
    ]
    return "\n".join(texts)


def _readable(content: list[Any]) -> Iterator[Any]:
    return (block for block in content if "text" in block or "json" in block)


def _prompt(body: dict[str, Any]) -> Prompt:
    prompt = Prompt()
    for block in (*body.get("toolConfig", {}).get("tools", ()), *body.get("system", ())):
        _add(prompt, block)
    for message in body["messages"]:
        if message["role"] == "assistant":
            prompt.answered()
        for block in message["content"]:
            _add(prompt, block)
    return prompt


def _add(prompt: Prompt, block: Any) -> None:
    if "cachePoint" in block:
        prompt.mark()
    else:
        prompt.add(_characters(block))


def _characters(block: Any) -> int:
    ((kind, value),) = block.items()
    if kind == "text":
        return len(value)
    if kind in ("image", "document"):
        return PICTURE_CHARACTERS
    if kind == "toolResult":
        return sum(map(_characters, value["content"]))
    return len(msgspec.json.encode(value))


class Answer:
    """One answer: whole, or as the events of a stream."""

    def __init__(self, decided: Decision, latency_ms: float) -> None:
        self._decided = decided
        self._latency = int(latency_ms)

    def whole(self) -> dict[str, Any]:
        """The body of a unary answer."""
        content: list[Any] = [{"reasoningContent": thought} for thought in self._thinking()]
        if self._decided.tokens or not (content or self._decided.calls):
            content.append({"text": "".join(self._decided.tokens)})
        content += [
            {"toolUse": {**self._call(call), "input": msgspec.Raw(call.arguments.encode())}}
            for call in self._decided.calls
        ]
        return {
            "output": {"message": {"role": "assistant", "content": content}},
            **self._stop(),
            **self._figures(),
        }

    def _thinking(self) -> Iterator[dict[str, Any]]:
        if self._decided.thought is None:
            return
        thought = "".join(self._decided.thought)
        if self._decided.sealed:
            yield {"redactedContent": signatures.seal(thought).encode()}
        else:
            yield {"reasoningText": {"text": thought, "signature": signatures.sign(thought)}}

    def _call(self, call: chat.FunctionCall) -> dict[str, Any]:
        return {"toolUseId": new_id("tooluse_"), "name": call.name}

    def _stop(self) -> dict[str, Any]:
        reason, sequence = self._decided.stop_reason, self._decided.stop_sequence
        return {
            "stopReason": _REASONS.get(reason, reason),
            "additionalModelResponseFields": {"stop_sequence": sequence, "truncated": reason == "max_tokens"},
        }

    def _figures(self) -> dict[str, Any]:
        used, output = self._decided.usage, self._decided.output_tokens
        usage = {
            "inputTokens": used.fresh,
            "outputTokens": output,
            "totalTokens": used.total + output,
            "cacheReadInputTokens": used.read,
            "cacheWriteInputTokens": used.written,
        }
        return {"usage": usage, "metrics": {"latencyMs": self._latency}}

    # events, in groups that go out together: each group but the opening one has one piece of content

    def steps(self, size: int) -> Iterator[list[Event]]:
        """All events but the last."""
        yield [{"messageStart": {"role": "assistant"}}]
        waiting: list[Event] = []
        for index, (start, deltas) in enumerate(self._blocks(size)):
            if start is not None:
                waiting.append({"contentBlockStart": {"start": start, "contentBlockIndex": index}})
            for delta in deltas:
                yield [*waiting, {"contentBlockDelta": {"delta": delta, "contentBlockIndex": index}}]
                waiting = []
            waiting.append({"contentBlockStop": {"contentBlockIndex": index}})
        if waiting:
            yield waiting

    def _blocks(self, size: int) -> Iterator[tuple[dict[str, Any] | None, list[dict[str, Any]]]]:
        """Each block: its start, if it has one, and its pieces."""
        for thought in self._thinking():
            told = thought.get("reasoningText")
            pieces = [thought]
            if told is not None:
                pieces = [{"text": token} for token in self._decided.thought or ()]
                pieces.append({"signature": told["signature"]})
            yield None, [{"reasoningContent": piece} for piece in pieces]
        if self._decided.tokens:
            yield None, [{"text": token} for token in text.group(self._decided.tokens, size)]
        for call in self._decided.calls:
            arguments = text.split(call.arguments)
            yield {"toolUse": self._call(call)}, [{"toolUse": {"input": piece}} for piece in arguments]

    def last(self) -> list[Event]:
        """Why it stopped, and the figures."""
        return [{"messageStop": self._stop()}, {"metadata": self._figures()}]
