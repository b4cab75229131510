"""Gemini's answers, whole and as the frames of a stream (wire §4.5).

Thoughts come first if they are asked for, function calls whole, `finishReason` is STOP even with calls, every
frame carries the usage so far and the last one all of it, and nothing follows the last one.

Besides what `chat` reads from the last message:

    [[block:REASON]]    the prompt is blocked: `promptFeedback` and no candidates (wire §6.3)
    [[finish:REASON]]   half the answer, and that reason: SAFETY, RECITATION, MALFORMED_FUNCTION_CALL, …
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from perf.simulator import schemas, text
from perf.simulator.answers import sse
from perf.simulator.errors import new_uuid
from perf.simulator.executables import chat, gemini_signatures
from perf.simulator.executables.gemini_body import (
    ENUM_TYPE,
    JSON_TYPE,
    Thinking,
    calling,
    functions,
    turns,
)
from perf.simulator.models import Model

_THOUGHTS = ("Weighing", " what", " was", " asked.")
_LEVEL_TOKENS = {"MINIMAL": 0, "LOW": 8, "MEDIUM": 16, "HIGH": 32}
_MAX_THOUGHTS = 32
_TOKENS_OF_MEDIA = 258

_BLOCK = re.compile(r"\[\[block:([A-Z_]+)\]\]")
_FINISH = re.compile(r"\[\[finish:([A-Z_]+)\]\]")
_SAFETY = [
    {"category": f"HARM_CATEGORY_{name}", "probability": "NEGLIGIBLE", "severity": "HARM_SEVERITY_NEGLIGIBLE"}
    for name in ("HATE_SPEECH", "DANGEROUS_CONTENT", "HARASSMENT", "SEXUALLY_EXPLICIT")
]

_encode = msgspec.json.encode


class Answer:
    """One answer: whole, or as the frames of a stream. Raises chat.Invalid for what cannot be answered."""

    def __init__(self, body: dict[str, Any], model: Model, thinking: Thinking, answer_tokens: int) -> None:
        config = body.get("generationConfig", {})
        self._about = {
            "modelVersion": model.name,
            "createTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "responseId": new_uuid().replace("-", "")[:22],
        }
        last = _last(body)
        self._blocked = _BLOCK.search(last.text())
        self._plan = chat.plan(_wish(body, thinking, last, answer_tokens))
        self._tokens, self._finish = _finished(self._plan, last)
        self._signed = bool(thinking.levels)
        shown = config.get("thinkingConfig", {}).get("includeThoughts")
        self._thoughts = _THOUGHTS[: self._plan.reasoning_tokens] if shown else ()
        self._choices = range(config.get("candidateCount", 1))
        self._logprobs = config.get("logprobs", 0) if config.get("responseLogprobs") else None
        self._prompt, self._media = _prompt(body)

    # whole

    def whole(self) -> bytes:
        """The body of a unary answer."""
        if self._blocked:
            return _encode(self._refusal())
        candidates = [self._candidate(index) for index in self._choices]
        return _encode({"candidates": candidates, "usageMetadata": self._usage(), **self._about})

    def _candidate(self, index: int) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        if self._thoughts:
            parts.append({"text": "".join(self._thoughts), "thought": True})
        if self._tokens:
            parts.append({"text": "".join(self._tokens)})
        parts += self._call_parts()
        # A model that used up its limit in thought says nothing, and `parts` is missing.
        content = {"role": "model", "parts": parts} if parts else {"role": "model"}
        return {"content": content, **self._ending(index)}

    def _ending(self, index: int) -> dict[str, Any]:
        ending = {"finishReason": self._finish, "safetyRatings": _SAFETY, "index": index}
        if self._logprobs is not None:
            ending |= {"avgLogprobs": -0.25, "logprobsResult": self._probabilities(self._logprobs)}
        return ending

    def _probabilities(self, others: int) -> dict[str, Any]:
        chosen = [{"token": token, "tokenId": len(token), "logProbability": -0.25} for token in self._tokens]
        tops = [{"candidates": [one] * min(others, 1)} for one in chosen] if others else []
        return {"chosenCandidates": chosen, "topCandidates": tops}

    def _call_parts(self) -> list[dict[str, Any]]:
        parts = []
        for place, call in enumerate(self._plan.calls):
            arguments = msgspec.json.decode(call.arguments)
            made = {"name": call.name, "args": arguments if isinstance(arguments, dict) else {}}
            part: dict[str, Any] = {"functionCall": made}
            if self._signed and place == 0:
                part["thoughtSignature"] = gemini_signatures.signature(made)
            parts.append(part)
        return parts

    def _refusal(self) -> dict[str, Any]:
        assert self._blocked is not None
        feedback = {
            "blockReason": self._blocked[1],
            "blockReasonMessage": "The prompt was blocked.",
            "safetyRatings": _SAFETY,
        }
        return {"promptFeedback": feedback, "usageMetadata": self._usage_so_far(0), **self._about}

    # frames

    def content(self, size: int) -> Iterator[bytes]:
        """Thoughts, a frame for every `size` tokens, then each function call."""
        if self._blocked:
            yield sse(_encode(self._refusal()))
            return
        told = 0
        for token in text.group(self._thoughts, size):
            yield self._frame({"text": token, "thought": True}, told)
        for token in text.group(self._tokens, size):
            told = min(told + size, len(self._tokens))
            yield self._frame({"text": token}, told)
        for part in self._call_parts():
            yield self._frame(part, told)

    def closing(self) -> Iterator[bytes]:
        """The finish and the whole usage."""
        if self._blocked:
            return
        content = {"role": "model", "parts": [{"text": ""}]}
        candidates = [{"content": content, **self._ending(index)} for index in self._choices]
        yield sse(_encode({"candidates": candidates, "usageMetadata": self._usage(), **self._about}))

    def _frame(self, part: dict[str, Any], told: int) -> bytes:
        content = {"role": "model", "parts": [part]}
        candidates = [{"content": content, "index": index} for index in self._choices]
        usage = self._usage_so_far(told)
        return sse(_encode({"candidates": candidates, "usageMetadata": usage, **self._about}))

    # usage

    def _usage_so_far(self, told: int) -> dict[str, Any]:
        usage: dict[str, Any] = {"promptTokenCount": self._prompt}
        if told:
            usage["candidatesTokenCount"] = told * len(self._choices)
        return usage | {
            "totalTokenCount": self._prompt + told * len(self._choices),
            "trafficType": "ON_DEMAND",
        }

    def _usage(self) -> dict[str, Any]:
        thoughts = self._plan.reasoning_tokens
        spent = len(self._tokens) if not self._plan.calls else self._plan.completion_tokens - thoughts
        answered = spent * len(self._choices)
        details = [{"modality": "TEXT", "tokenCount": self._prompt - sum(self._media.values())}]
        details += [{"modality": kind, "tokenCount": tokens} for kind, tokens in self._media.items()]
        usage = {
            "promptTokenCount": self._prompt,
            "candidatesTokenCount": answered,
            "totalTokenCount": self._prompt + answered + thoughts,
            "cachedContentTokenCount": 0,
            "trafficType": "ON_DEMAND",
            "promptTokensDetails": details,
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": answered}],
        }
        return usage | {"thoughtsTokenCount": thoughts} if thoughts else usage


def _wish(body: dict[str, Any], thinking: Thinking, last: chat.Message, answer_tokens: int) -> chat.Wish:
    config = body.get("generationConfig", {})
    declared, choice = _offered(body)
    wanted = config.get("responseJsonSchema", _lowered(config.get("responseSchema")))
    kind = config.get("responseMimeType")
    if kind == ENUM_TYPE and wanted:
        last = chat.Message("user", f"echo: {schemas.example(wanted, root=wanted)}")
    return chat.Wish(
        last=last,
        default_tokens=answer_tokens,
        functions=declared,
        tool_choice=choice,
        parallel=True,
        response_format=_format(wanted) if kind == JSON_TYPE else None,
        stop=config.get("stopSequences", []),
        limit=config.get("maxOutputTokens"),
        reasoning_tokens=_thought_tokens(config.get("thinkingConfig", {}), thinking),
    )


def _format(schema: Any) -> chat.ResponseFormat:
    if schema is None:
        return chat.ResponseFormat("json_object")
    return chat.ResponseFormat("json_schema", chat.JsonSchema("answer", schema))


def _thought_tokens(config: dict[str, Any], thinking: Thinking) -> int:
    if "thinkingLevel" in config:
        return _LEVEL_TOKENS[config["thinkingLevel"]]
    budget = config.get("thinkingBudget")
    if budget is None:
        return thinking.tokens
    return 16 if budget == -1 else min(budget, _MAX_THOUGHTS)


def _offered(body: dict[str, Any]) -> tuple[list[chat.Function], str | dict[str, Any] | None]:
    """The functions that may be called, and OpenAI's word for the mode."""
    config = calling(body)
    allowed = config.get("allowedFunctionNames")
    declared = [
        chat.Function(one["name"], one.get("description"), msgspec.Raw(_encode(_parameters(one))))
        for one in functions(body)
        if not allowed or one["name"] in allowed
    ]
    return declared, {"ANY": "required", "NONE": "none"}.get(config.get("mode", ""), "auto")


def _parameters(function: dict[str, Any]) -> Any:
    return function.get("parametersJsonSchema", _lowered(function.get("parameters", {})))


def _lowered(schema: Any) -> Any:
    """Vertex's schema in JSON Schema's words: only the types are spelled otherwise."""
    if isinstance(schema, list):
        return [_lowered(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _lowered(value)
        for name, value in schema.items()
    }


def _last(body: dict[str, Any]) -> chat.Message:
    parts = turns(body["contents"])[-1].parts
    results = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
    if results:
        return chat.Message("tool", "\n".join(map(_told, results)))
    return chat.Message("user", "\n".join(part["text"] for part in parts if part.get("text")))


def _told(response: dict[str, Any]) -> str:
    said = response.get("result", response.get("output", response))
    return said if isinstance(said, str) else _encode(said).decode()


def _finished(plan: chat.Plan, last: chat.Message) -> tuple[tuple[str, ...], str]:
    asked = _FINISH.search(last.text())
    if asked:
        return plan.tokens[: len(plan.tokens) // 2], asked[1]
    return plan.tokens, "MAX_TOKENS" if plan.finish == "length" else "STOP"


def _prompt(body: dict[str, Any]) -> tuple[int, dict[str, int]]:
    """Tokens of the prompt, and those among them for images and documents."""
    contents = [*body["contents"], body.get("systemInstruction", {})]
    media: dict[str, int] = {}
    size = 0
    for part in (part for content in contents for part in content.get("parts", ())):
        size += len(part.get("text", ""))
        size += len(_encode(part.get("functionCall") or part.get("functionResponse") or ""))
        blob = part.get("inlineData") or part.get("fileData")
        if blob:
            family = blob["mimeType"].partition("/")[0]
            kind = "DOCUMENT" if family in ("application", "text") else family.upper()
            media[kind] = media.get(kind, 0) + _TOKENS_OF_MEDIA
    tools = len(_encode(body.get("tools", ""))) - 2
    return 1 + text.count(size) + text.count(tools) + sum(media.values()), media
