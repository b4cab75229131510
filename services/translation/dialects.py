"""What a dialect has to offer: the seams between the pivot, the upstreams and the callers.

Three separate steps: framing (bytes → frames, `frames`), reading (frame → events, an `Upstream`), writing
(event → bytes, a `Caller`). `translate` joins them; `callers` and `upstreams` have a module a dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from services.errors import GatewayError, UpstreamError
from services.translation.conversation import Conversation
from services.translation.events import Event
from services.translation.fields import Fields
from services.translation.replies import Target


class ReplyInfo(msgspec.Struct, frozen=True):
    """What an answer is made with besides its content, so that the same events give the same bytes."""

    id: str
    """Hexadecimal and unique; each dialect puts its own prefix before it, also for parts of the answer."""
    created: int
    """Seconds since 1970."""
    model: str
    """The public name."""
    conversation: Conversation


class Sent(msgspec.Struct, frozen=True):
    """A request in an upstream's form."""

    path: str
    """What follows the deployment URL, with its query."""
    body: bytes
    dropped: tuple[str, ...] = ()
    """Canonical names, or plain words, of what this dialect cannot say."""
    whole: bool = False
    """The upstream answers whole although the caller wants a stream: the answer is replayed as one."""
    amend: Callable[[UpstreamError], Sent | None] | None = None
    """Return another form of the request after this refusal, or None. It may have a further one."""


class Reader(Protocol):
    """Reads one upstream stream. A new one for each response."""

    done: bool
    """The upstream said that nothing more comes."""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events of one frame's data. Raises UpstreamBroken, or the UpstreamError it reports."""

    def close(self) -> list[Event]:
        """Return what only the end of the stream tells. Raises UpstreamBroken when it was cut short."""


class Upstream(msgspec.Struct, frozen=True):
    """How one kind of deployment is spoken to."""

    request: Callable[[Conversation, Target], Sent]
    """Raises BadRequest naming the caller's field (`conversation.name_of`)."""
    answer: Callable[[bytes, ReplyInfo], Sequence[Event]]
    """Raises UpstreamBroken for what cannot be read, the UpstreamError for an error inside a 200."""
    reader: Callable[[ReplyInfo], Reader]
    takes: frozenset[str] = frozenset()
    """Canonical names that it takes although the model's other dialect does not."""


class Writer(Protocol):
    """Writes one stream for a caller. Nothing goes out for `Started` alone: content opens the stream."""

    def feed(self, event: Event) -> bytes:
        """Return the caller's bytes; empty when the event says nothing in this dialect."""

    def close(self) -> bytes:
        """Return the end of a stream that is complete."""

    def fail(self, error: GatewayError) -> bytes:
        """Return the end of a stream that is not."""


class Caller(msgspec.Struct, frozen=True):
    """How one kind of client speaks."""

    surface: str
    parse: Callable[[Fields], Conversation]
    """Raises BadRequest naming the field."""
    render: Callable[[Sequence[Event], ReplyInfo], bytes]
    """A whole answer."""
    writer: Callable[[ReplyInfo], Writer]
    envelope: Callable[[GatewayError, str], bytes]
    """The body of an error answer, with the request id."""
