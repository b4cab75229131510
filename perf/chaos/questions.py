"""Questions whose right answers are known: the simulator repeats what it is told to.

Each text is another one, so that an answer to somebody else's question is wrong; but for some questions of
temperature 0, which are asked again and again, so that requests share calls and answers are kept.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perf.dialects import Event
from perf.engine import Exchange
from perf.http1 import request_head
from perf.surfaces import ENDPOINTS, Question
from perf.workload import Target, encode

WORDS = (
    "harbour", "lantern", "copper", "meadow", "whistle", "orchard", "granite", "saffron", "thimble", "walnut",
    "breeze", "pebble", "violet", "anchor", "timber", "cobalt", "feather", "mirror", "kettle", "prairie",
)  # fmt: skip
LENGTHS = (8, 60)
"""Fewest and most words of an answer."""
SHARED = 12
"""Texts that are asked again and again."""


@dataclass(frozen=True, slots=True)
class Form:
    """Where the text of an answer is, thoughts left aside, and whether it says that it is finished."""

    piece: Callable[[Event], str]
    """Of one event of a stream."""
    whole: Callable[[Any], str]
    """Of a unary answer."""
    finished: Callable[[Any], bool]
    """Of a unary answer."""


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


FORMS: Mapping[str, Form] = {
    "chat": Form(
        _choices,
        lambda answer: answer["choices"][0]["message"]["content"],
        lambda answer: answer["choices"][0]["finish_reason"] == "stop",
    ),
    "messages": Form(
        _delta,
        lambda answer: "".join(block.get("text", "") for block in answer["content"]),
        lambda answer: answer["stop_reason"] == "end_turn",
    ),
    "responses": Form(_output_delta, _output, lambda answer: answer["status"] == "completed"),
    "gemini": Form(
        _candidates, _candidates, lambda answer: answer["candidates"][0]["finishReason"] == "STOP"
    ),
}


class Asked:
    """One question: a `Sendable` of the engine that keeps what it is answered."""

    def __init__(
        self, target: Target, key: str, *, surface: str, model: str, stream: bool, text: str, shared: bool
    ) -> None:
        endpoint = ENDPOINTS[surface]
        self.surface, self.model, self.stream, self.text = surface, model, stream, text
        self.form = FORMS[surface]
        self.said: list[str] = []
        """The pieces of a streamed answer."""
        self.told: Event | None = None
        """The event in which a stream says that it failed."""
        self.body = b""
        """A unary answer, or an error."""
        # No frame is skipped as plain: all are read for their text.
        self.dialect = replace(endpoint.dialect, plain=lambda _: False, output=self._take)
        self._output = endpoint.dialect.output
        question = Question(f"echo: {text}", model, stream=stream)
        assert endpoint.body is not None
        document = endpoint.body(question) | ({"temperature": 0} if shared else {})
        payload = encode(document)
        fields = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        path = target.path(endpoint.at(question))
        self._bytes = (request_head("POST", path, target.authority, fields, len(payload)), payload)

    @property
    def name(self) -> str:
        """Surface, form and model, for people."""
        return f"{self.surface} {'stream' if self.stream else 'whole'} {self.model}"

    def parts(self) -> Sequence[bytes]:
        """The bytes to send."""
        return self._bytes

    def accepts(self, body: bytes) -> bool:
        """Keep a unary answer; what it is worth is the verdict's business."""
        self.body = body
        return True

    def answer(self) -> tuple[str, bool]:
        """What the model said so far, and of a unary answer whether it is finished. Raises ValueError."""
        if self.stream:
            return "".join(self.said), False
        try:
            document = json.loads(self.body)
            return self.form.whole(document), self.form.finished(document)
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            raise ValueError(f"not an answer: {self.body[:200]!r}") from exc

    def _take(self, event: Event) -> bool:
        if event.get("error") or event.get("type") in {"error", "response.failed"}:
            self.told = event
        self.said.append(self.form.piece(event))
        return self._output(event)


class Asking(Exchange):
    """An exchange that keeps the body of an error as it is."""

    work: Asked

    def fail(self, failure: str, detail: str = "") -> None:
        """Note what went wrong; the first finding counts."""
        if failure == "status" and self.failure is None:
            self.work.body = b"".join(self.body)
        super().fail(failure, detail)


Kind = tuple[str, str]
"""Surface and model."""

KINDS: Sequence[Kind] = tuple(
    (surface, model)
    for surface in FORMS
    for model in (
        "gpt-5", "anthropic--claude-4.5-sonnet", "gemini-2.5-flash-lite", "mistralai--mistral-small",
        "amazon--nova-lite", "cohere--command-a-reasoning",
    )
)  # fmt: skip
MODELS = tuple(dict.fromkeys(model for _, model in KINDS))
REPEATED: Kind = ("chat", "gpt-4.1")
"""Whose questions of temperature 0 are asked again and again."""


def questions(target: Target, key: str, chance: random.Random) -> Iterator[Asked]:
    """Endless questions over all surfaces and families; two in three are answered as a stream."""
    repeated = [_text(chance, f"r{number}") for number in range(SHARED)]
    number = 0
    while True:
        number += 1
        shared = chance.random() < 0.1
        surface, model = REPEATED if shared else chance.choice(KINDS)
        text = chance.choice(repeated) if shared else _text(chance, f"n{number}")
        stream = chance.random() < 2 / 3
        yield Asked(target, key, surface=surface, model=model, stream=stream, text=text, shared=shared)


def _text(chance: random.Random, name: str) -> str:
    """A text that names its question at both ends, so that no part of it passes for the whole."""
    return " ".join([name, *chance.choices(WORDS, k=chance.randint(*LENGTHS)), f"end-of-{name}"])
