"""What the pipeline needs of a dialect, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from services.errors import UpstreamError
from services.translation.capabilities import ModelFacts
from services.translation.fields import Fields


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer, OpenAI's way: the prompt includes cached tokens, the completion reasoning."""

    # Some upstreams send null, or whole numbers as floats: no reason to call the answer broken.
    prompt_tokens: int | float | None = 0
    completion_tokens: int | float | None = 0
    total_tokens: int | float | None = 0


class Target(msgspec.Struct, frozen=True):
    """The model that a request is translated for."""

    public_name: str
    backend_model: str
    facts: ModelFacts
    api_version: str
    defaults: Fields


class Answer(msgspec.Struct):
    """A whole answer in the caller's dialect."""

    body: bytes
    usage: Usage | None = None
    finish_reason: str = ""


class Relay(Protocol):
    """Turns the upstream's stream into the caller's. A new one for each response; never reused."""

    usage: Usage | None
    finish_reason: str
    done: bool
    """The upstream said that nothing more comes."""
    failure: UpstreamError | None
    """What ended the stream, when it came in one piece with something for the caller."""

    def feed(self, chunk: bytes) -> bytes:
        """Return the caller's bytes for these; empty when nothing is ready. Raises UpstreamError."""

    def close(self) -> bytes:
        """Return the end of the caller's stream. Raises UpstreamBroken if no end was seen."""


class Prepared(msgspec.Struct):
    """A request in the upstream's form. The same for every attempt, never changed after it is made."""

    path: str
    """What follows the deployment URL, with its query."""
    body: bytes
    dropped: tuple[str, ...]
    """Fields of the caller that the model does not take."""
    sent: Fields
    """The members of `body`."""
    answer: Callable[[bytes], Answer]
    relay: Callable[[], Relay] | None = None
    """None for an answer that comes whole."""
