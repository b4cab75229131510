"""One HTTP/1.1 connection as a client sees it: an exchange at a time, over whatever transport it is given.

Knows bytes, not policy: where to connect to, how long to wait and what to try again are decided elsewhere.
The response is read by llhttp (httptools); nothing is held back, and nothing unbounded is collected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from services.errors import UpstreamBroken, UpstreamError, UpstreamUnreachable

MAX_HEAD_BYTES = 64 * 1024
MAX_UNREAD_BYTES = 256 * 1024
"""What may wait for the reader of a stream; beyond it nothing more is taken from the socket."""

MAX_ERROR_BYTES = 256 * 1024
"""What is collected of the body of an error answer."""

ONE_WRITE_BYTES = 64 * 1024
_SLICE_BYTES = 256 * 1024


class Until(Enum):
    """What the one waiting task waits for."""

    HEAD = "the response head"
    PIECE = "a piece of the body"
    END = "the end of the body"
    ROOM = "room to send more"


def _unexpected(data: bytes) -> None:
    raise HttpParserError("bytes on a connection that is not there")


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection: `post`, then `read` or `body`; `reusable` says whether another may follow.

    A failure leaves the connection aborted, and stays: whatever is asked of the exchange raises it again.
    """

    __slots__ = (
        "_collect",
        "_eof",
        "_error",
        "_feed",
        "_fields",
        "_full",
        "_keep",
        "_nudged",
        "_on_end",
        "_on_lost",
        "_overhead",
        "_parser",
        "_paused",
        "_pieces",
        "_sent",
        "_size",
        "_timer",
        "_told",
        "_transport",
        "_until",
        "_waiter",
        "complete",
        "has_head",
        "heard",
        "idle_since",
        "loop",
        "lost",
        "on_header",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[Connection], None]) -> None:
        self.loop = loop
        self.idle_since = 0.0
        self.heard = False
        """Set whenever bytes arrive and whenever a wait begins; for whoever watches the time to unset."""
        self.lost = False
        self.complete = True
        self._on_lost = on_lost
        self._on_end: Callable[[Connection], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._until = Until.HEAD
        self._told: dict[bytes, bytes] = {}
        self.on_header = self._told.__setitem__
        """Called by the parser for every field of a head, or of a trailer: a dozen a response."""
        self._parser: HttpResponseParser | None = None
        self._feed: Callable[[bytes], None] = _unexpected
        self._keep = True
        self._full = False
        self._paused = False
        self._eof = False
        self._begin(None)

    def _begin(self, collect: int | None) -> None:
        self.status = 0
        self._fields: dict[bytes, bytes] = {}
        self._told.clear()
        self.has_head = False
        self._collect = collect
        self._error: UpstreamError | None = None
        self._overhead = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._sent = False
        self._nudged = False

    # --- an exchange -----------------------------------------------------------------------------

    async def post(self, head: bytes, body: bytes, *, collect: int | None = None) -> None:
        """Send a request and wait for the response head; with `collect`, for a body of at most so many bytes
        (of an error, MAX_ERROR_BYTES).

        Raises UpstreamUnreachable or UpstreamBroken. Cancelled, it leaves the connection aborted.
        """
        self._begin(collect)
        if self.lost:  # between being made and being used
            raise self._cut_off(None)
        self.complete = False
        try:
            if len(body) <= ONE_WRITE_BYTES:
                self._transport.write(head + body)
                self._sent = True
            else:
                await self._post_in_slices(head, body)
            await self._wait(Until.HEAD if collect is None else Until.END)
        except BaseException:
            self.abort()
            raise

    async def read(self) -> bytes | None:
        """Return what has come since then, b"" at the end, None when nudged. Raises UpstreamBroken."""
        if not self._pieces:
            if self.complete:
                return b""
            await self._wait(Until.PIECE)
            if not self._pieces:
                if self._nudged:
                    self._nudged = False
                    return None
                return b""
        return self.body()

    def nudge(self) -> None:
        """Let the one who waits for a piece go without it."""
        if self._waiter is not None and self._until is Until.PIECE:
            self._nudged = True
            self._wake()

    def body(self) -> bytes:
        """Return what is here of the body and not yet read."""
        pieces = self._pieces
        self._pieces = []
        self._size = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def field(self, name: bytes) -> bytes:
        """Return a field of the response head, by its name in lower case; empty if it is not there."""
        value = self._fields.get(name)  # nearly always: whatever speaks HTTP/2 behind it has made it so
        if value is None:
            value = next((value for own, value in self._fields.items() if own.lower() == name), b"")
        return value

    @property
    def untouched(self) -> bool:
        """Whether not one byte of a response has come."""
        return not self.has_head and not self._overhead

    @property
    def waiting(self) -> bool:
        """Whether a task waits for the upstream now."""
        return self._waiter is not None

    @property
    def reusable(self) -> bool:
        """Whether the response is complete and the connection may carry another request."""
        return self.complete and self._keep and not self.lost and not self._transport.is_closing()

    def fail(self, error: UpstreamError) -> None:
        """End the exchange with this failure, and the connection with it."""
        if self._error is None and not self.complete:
            self._error = error
        self.abort()
        self._wake()

    def abort(self) -> None:
        """Close the connection at once, whatever is still to be sent or read."""
        self._keep = False
        self._on_end = None
        self._disarm()
        self._transport.abort()

    def linger(self, then: Callable[[Connection], None], seconds: float) -> None:
        """Wait for the end of the body without a reader.

        `then` is called when it is here; the connection is closed if more than framing comes, or nothing.
        """
        self._on_end = then
        if self._pieces:
            self.abort()
            return
        self._timer = self.loop.call_later(seconds, self.abort)

    async def _post_in_slices(self, head: bytes, body: bytes) -> None:
        self._transport.write(head)
        whole = memoryview(body)
        for at in range(0, len(body), _SLICE_BYTES):
            self._transport.write(whole[at : at + _SLICE_BYTES])
            await self._wait(Until.ROOM)
            if self._refused:
                return
        self._sent = True

    @property
    def _refused(self) -> bool:
        """Whether an error has come before the whole request was sent: the rest is of no use."""
        return self.complete or (self.has_head and self.status >= 400)

    async def _wait(self, until: Until) -> None:
        while not self._reached(until):
            if self._error is not None:
                raise self._error
            self._until = until
            self._waiter = self.loop.create_future()
            self.heard = True
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _reached(self, until: Until) -> bool:
        if until is Until.PIECE:
            return bool(self._pieces) or self.complete or self._nudged
        if until is Until.HEAD:
            return self.has_head
        if until is Until.END:
            return self.complete
        return (not self._full and self._error is None) or self._refused

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- the transport's side --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport.

        Only now is there a parser: it refers to this object, and is let go when the connection is lost.
        """
        self._transport = cast(asyncio.Transport, transport)
        self._parser = HttpResponseParser(self)
        self._feed = self._parser.feed_data

    def data_received(self, data: bytes) -> None:
        """Read on in the response."""
        if self.complete:  # nobody asked for it: no further answer could be trusted
            self._keep = False
            self._transport.abort()
            return
        self.heard = True
        self._overhead += len(data)
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            self._unreadable(exc)
        else:
            if self._overhead > MAX_HEAD_BYTES:
                self._unreadable(ValueError("more than 64 KB without a byte of the body"))

    def eof_received(self) -> None:
        """Note that the upstream has closed properly; the transport then closes itself."""
        self._eof = True
        if self.complete:  # it must not be taken from the pool until then
            self._keep = False
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange: a body without a length ends so, anything else has been cut off."""
        self.lost = True
        self._keep = False
        self._disarm()
        self._parser, self._feed = None, _unexpected
        if not self.complete and self._error is None:
            if self.has_head and self._eof and exc is None and not self._framed:
                self.complete = True
            else:
                self._error = self._cut_off(exc)
        self._wake()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Stop sending slices of a large body."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on sending."""
        self._full = False
        if self._until is Until.ROOM:
            self._wake()

    # --- the parser's side -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Refuse a second response: there was one request."""
        if self.complete:
            raise ValueError("bytes after the end of the response")

    def on_headers_complete(self) -> None:
        """Tell the status, unless it is an interim one (1xx)."""
        assert self._parser is not None, "it is what calls"
        status = self._parser.get_status_code()
        fields = self._told.copy()
        self._told.clear()
        if self._overhead > MAX_HEAD_BYTES:
            _check(fields)
        if status < 200:
            if status == 101:
                raise ValueError("a change of protocol that nobody asked for")
            return
        self._fields = fields
        self.status = status
        self.has_head = True
        if self._until is Until.HEAD or self._until is Until.ROOM:
            self._wake()

    def on_body(self, data: bytes) -> None:
        """Keep a piece for the reader."""
        self._overhead = 0
        self._pieces.append(data)
        self._size += len(data)
        if self._until is Until.PIECE:
            self._wake()
        if self._size > MAX_UNREAD_BYTES or self._on_end is not None:
            self._too_much()

    def on_message_complete(self) -> None:
        """End the exchange, and learn whether the connection can be kept."""
        if not self.has_head:
            return
        if self._told:
            _check(self._told)
        assert self._parser is not None, "it is what calls"
        self._keep = self._keep and self._sent and self._parser.should_keep_alive()
        self.complete = True
        self._wake()
        if self._on_end is not None:
            self.loop.call_soon(self._on_end, self)
            self._on_end = None
            self._disarm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_much(self) -> None:
        if self._on_end is not None:
            self.abort()
        elif self._collect is None:
            if not self._paused:
                self._paused = True
                self._transport.pause_reading()
        elif self._size > (limit := self._collect if self.status < 400 else MAX_ERROR_BYTES):
            self._unreadable(ValueError(f"a body of more than {limit} bytes"))

    # --- failures --------------------------------------------------------------------------------

    @property
    def _framed(self) -> bool:
        chunked = self.field(b"transfer-encoding").lower().endswith(b"chunked")
        return chunked or bool(self.field(b"content-length"))

    def _unreadable(self, exc: Exception) -> None:
        error = UpstreamBroken(
            f"not a valid response: {exc.__context__ or exc}",
            public="the upstream's answer could not be read",
        )
        error.__cause__ = exc
        self.fail(error)

    def _cut_off(self, exc: Exception | None) -> UpstreamError:
        why = f"{type(exc).__name__}: {exc}" if exc else "the upstream closed the connection"
        if self.has_head:
            error: UpstreamError = UpstreamBroken(why, public="the upstream's answer was cut off")
        else:
            public = "the connection to the upstream was lost before it answered"
            error = UpstreamUnreachable(why, public=public)
        error.__cause__ = exc
        return error


def _check(fields: Mapping[bytes, bytes]) -> None:
    if sum(len(name) + len(value) + 4 for name, value in fields.items()) > MAX_HEAD_BYTES:
        raise ValueError("a head or a trailer of more than 64 KB")
