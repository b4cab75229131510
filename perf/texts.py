"""Where the text of an answer is, on each surface, thoughts left aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from perf.dialects import Event


@dataclass(frozen=True, slots=True)
class Text:
    """How a surface's answers are read for their text."""

    piece: Callable[[Event], str]
    """Of one event of a stream."""
    whole: Callable[[Any], str]
    """Of a unary answer."""
    finished: Callable[[Any], bool]
    """Whether a unary answer says that the model had said all."""

    def read(self, answer: Any) -> tuple[str, bool]:
        """The text of a unary answer, and whether it is finished. Raises ValueError for another form."""
        try:
            return self.whole(answer), self.finished(answer)
        except (LookupError, TypeError, AttributeError) as exc:
            raise ValueError(f"not an answer: {str(answer)[:200]}") from exc


def _choices(event: Event) -> str:
    return "".join((one.get("delta") or {}).get("content") or "" for one in event.get("choices") or ())


def _delta(event: Event) -> str:
    return (event.get("delta") or {}).get("text", "") if event.get("type") == "content_block_delta" else ""


def _output_delta(event: Event) -> str:
    return event["delta"] if event.get("type") == "response.output_text.delta" else ""


def _candidates(event: Event) -> str:
    return "".join(
        part.get("text", "")
        for one in event.get("candidates") or ()
        for part in (one.get("content") or {}).get("parts") or ()
        if not part.get("thought")
    )


def _output(answer: Any) -> str:
    messages = (item for item in answer["output"] if item["type"] == "message")
    return "".join(part["text"] for item in messages for part in item["content"])


TEXTS: Mapping[str, Text] = {
    "chat": Text(
        _choices,
        lambda answer: answer["choices"][0]["message"]["content"] or "",
        lambda answer: answer["choices"][0]["finish_reason"] == "stop",
    ),
    "messages": Text(
        _delta,
        lambda answer: "".join(block.get("text", "") for block in answer["content"]),
        lambda answer: answer["stop_reason"] == "end_turn",
    ),
    "responses": Text(_output_delta, _output, lambda answer: answer["status"] == "completed"),
    "gemini": Text(
        _candidates, _candidates, lambda answer: answer["candidates"][0]["finishReason"] == "STOP"
    ),
}
