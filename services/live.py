"""A stream on its way from a deployment to the caller: how it opens, and how it goes on."""

from __future__ import annotations

from services.errors import GatewayError
from services.translation.replies import Relay
from services.trips import Trip
from services.upstream import UpstreamStream

MAX_HELD_BYTES = 1024 * 1024
"""Of a stream that is held back: beyond it, what is here goes out."""


class LiveStream:
    """A stream that has begun, in the caller's dialect. Closing it frees the deployment and the connection.

    A class and not a generator: a generator that was never started would forget to clean up when closed.
    """

    __slots__ = ("_expects", "_first", "_relay", "_stream", "_trip")

    def __init__(self, first: bytes, stream: UpstreamStream, relay: Relay, trip: Trip) -> None:
        self._first: bytes | None = first
        self._stream: UpstreamStream | None = stream
        self._relay = relay
        self._trip = trip
        self._expects = True
        """Whether its first content is still to come: a head alone does not say that the model works."""
        self._look()

    def __aiter__(self) -> LiveStream:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        stream, relay = self._stream, self._relay
        if stream is None:
            raise StopAsyncIteration
        try:
            while not relay.done:
                if relay.failure is not None:
                    raise relay.failure
                piece = await stream.read()
                if not piece:
                    if piece is None:
                        continue
                    break
                out = relay.feed(piece)
                if self._expects:
                    self._look()
                if out:
                    return out
            out = relay.close()
        except GatewayError as exc:
            self._trip.end(exc)
            raise
        await self.finish()
        if not out:  # a dialect whose last event has gone out already
            raise StopAsyncIteration
        return out

    def _look(self) -> None:
        if self._relay.began and self._stream is not None:
            self._expects = False
            self._trip.worked()
            self._stream.began()

    async def finish(self) -> None:
        """Note that all of it is here."""
        stream, self._stream = self._stream, None
        self._trip.end(None)
        if stream is not None:
            await stream.finish()

    async def aclose(self) -> None:
        """Close the upstream's response; harmless the second time."""
        stream, self._stream = self._stream, None
        self._trip.end(None)
        if stream is not None:
            await stream.aclose()


async def opening(stream: UpstreamStream, relay: Relay, *, hold: bool = False) -> tuple[bytes, bool]:
    """Read until the answer has begun; return what the caller gets until then, and whether that is all.

    What only introduces the answer is held back: until content is here another deployment can still take
    over. After the time for peeking what is held goes out, which may be nothing. With `hold` the whole answer
    is held back for as long as a whole answer may take. More than MAX_HELD_BYTES are held back of neither.
    Raises what the upstream reports instead.
    """
    held: list[bytes] = []
    size = 0
    stream.whole(hold)
    while not relay.done:
        piece = await stream.read()
        if not piece:
            if piece is None:
                if hold:
                    continue
                return b"".join(held), False
            break
        if out := relay.feed(piece):
            held.append(out)
            size += len(out)
        if relay.failure is not None:
            raise relay.failure
        if relay.began:
            stream.began()
        if size > MAX_HELD_BYTES or (relay.began and not hold):
            stream.whole(False)
            return b"".join(held), False
    held.append(relay.close())
    return b"".join(held), True


class Replay:
    """A stream from the cache: all of it at once."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    def __aiter__(self) -> Replay:
        return self

    async def __anext__(self) -> bytes:
        body, self._body = self._body, None
        if body is None:
            raise StopAsyncIteration
        return body

    async def aclose(self) -> None:
        """Forget what was not read."""
        self._body = None
