"""Questions whose right answers are known: the simulator repeats what it is told to.

Each text is another one, so that an answer to somebody else's question is wrong; but for some questions of
temperature 0, which are asked again and again, so that requests share calls and answers are kept.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from perf.dialects import Event
from perf.engine import Exchange
from perf.http1 import request_head
from perf.surfaces import ENDPOINTS, Question
from perf.texts import TEXTS
from perf.workload import Target, encode

WORDS = (
    "harbour", "lantern", "copper", "meadow", "whistle", "orchard", "granite", "saffron", "thimble", "walnut",
    "breeze", "pebble", "violet", "anchor", "timber", "cobalt", "feather", "mirror", "kettle", "prairie",
)  # fmt: skip
LENGTHS = (8, 60)
"""Fewest and most words of an answer."""
SHARED = 12
"""Texts that are asked again and again."""


class Asked:
    """One question: a `Sendable` of the engine that keeps what it is answered."""

    def __init__(
        self, target: Target, key: str, *, surface: str, model: str, stream: bool, text: str, shared: bool
    ) -> None:
        endpoint = ENDPOINTS[surface]
        self.surface, self.model, self.stream, self.text = surface, model, stream, text
        self._text = TEXTS[surface]
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
        except ValueError as exc:
            raise ValueError(f"no JSON: {self.body[:200]!r}") from exc
        return self._text.read(document)

    def _take(self, event: Event) -> bool:
        if event.get("error") or event.get("type") in {"error", "response.failed"}:
            self.told = event
        self.said.append(self._text.piece(event))
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
    for surface in TEXTS
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
