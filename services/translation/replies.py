"""What the pipeline needs of a dialect, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from services.errors import BadRequest, GatewayError, UpstreamError
from services.translation.capabilities import ModelFacts
from services.translation.fields import Fields


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer, OpenAI's way: the prompt includes cached tokens, the completion reasoning."""

    # Some upstreams send null, or whole numbers as floats: no reason to call the answer broken.
    prompt_tokens: int | float | None = 0
    completion_tokens: int | float | None = 0
    total_tokens: int | float | None = 0


class Inline(msgspec.Struct, frozen=True):
    """A remote picture or document that was fetched for the caller: base64 `data`."""

    media_type: str
    data: str


def inline(url: str, fetched: Mapping[str, Inline], place: str) -> Inline:
    """Return what was fetched for a URL that stands at `place`. Raises BadRequest where nothing was."""
    try:
        return fetched[url]
    except KeyError:
        raise BadRequest(
            "remote images and documents are not fetched here; send the data itself, base64-encoded",
            param=place,
            code="remote_media",
        ) from None


def _unminted() -> tuple[str, int]:
    return "0" * 24, 0


class Target(msgspec.Struct, frozen=True):
    """The model that a request is translated for, and what the translation may not find out by itself."""

    public_name: str
    """The name that answers carry: the caller's own for the model, or the fallback's."""
    backend_model: str
    facts: ModelFacts
    api_version: str
    defaults: Fields
    version: str = "latest"
    """The backend model's version, for orchestration."""
    modules: Mapping[str, Any] = {}
    """Orchestration modules that the configuration puts around this model (wire §4.7)."""
    fetched: Mapping[str, Inline] = {}
    """What remote URLs in the request stand for."""
    caller: str = ""
    """What tells this caller's stored answers from those of others."""
    mint: Callable[[], tuple[str, int]] = _unminted
    """Return a new id (hexadecimal) and the time (seconds since 1970) for an answer."""


class Answer(msgspec.Struct):
    """A whole answer in the caller's dialect."""

    body: bytes
    usage: Usage | None = None
    finish_reason: str = ""


class Relay(Protocol):
    """Turns the upstream's stream into the caller's. A new one for each response; never reused."""

    began: bool
    """Content was taken: text, thinking, a call or its arguments, a finish reason. Openings are none."""
    done: bool
    """The upstream said that nothing more comes."""
    failure: UpstreamError | None
    """What ended the stream, when it came in one piece with something for the caller."""

    @property
    def usage(self) -> Usage | None:
        """Tokens, as far as they are known."""

    @property
    def finish_reason(self) -> str:
        """Why the model stopped; empty before."""

    def feed(self, chunk: bytes) -> bytes:
        """Return the caller's bytes for these; empty when nothing is ready. Raises UpstreamError."""

    def close(self) -> bytes:
        """Return the end of the caller's stream. Raises UpstreamBroken if no end was seen."""

    def fail(self, error: GatewayError) -> bytes:
        """Return the end of a stream that cannot be completed, in the caller's dialect."""


class Prepared(msgspec.Struct):
    """A request in the upstream's form. The same for every attempt, never changed after it is made."""

    path: str
    """What follows the deployment URL, with its query."""
    body: bytes
    dropped: tuple[str, ...]
    """Fields of the caller that the model does not take."""
    deterministic: bool
    """Whether the same request again would bring the same answer, as far as the upstream lets us say so."""
    answer: Callable[[bytes], Answer]
    relay: Callable[[], Relay] | None = None
    """None for an answer that comes whole."""
    amend: Callable[[UpstreamError], Prepared | None] | None = None
    """Return another form of the request after this refusal, or None. It may have a further one."""
    bind: Callable[[str], Prepared] | None = None
    """Return the request for one deployment, "sub-account/id", where its answers have to say it."""
    method: str = "POST"
