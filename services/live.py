"""A stream that has begun, on its way from a deployment to the caller."""

from __future__ import annotations

from services.errors import GatewayError
from services.translation.replies import Relay
from services.trips import Trip
from services.upstream import UpstreamStream


class LiveStream:
    """A stream that has begun, in the caller's dialect. Closing it frees the deployment and the connection.

    A class and not a generator: a generator that was never started would forget to clean up when closed.
    """

    __slots__ = ("_first", "_relay", "_stream", "_trip")

    def __init__(self, first: bytes, stream: UpstreamStream, relay: Relay, trip: Trip) -> None:
        self._first: bytes | None = first
        self._stream: UpstreamStream | None = stream
        self._relay = relay
        self._trip = trip

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
                    break
                if out := relay.feed(piece):
                    return out
            out = relay.close()
        except GatewayError as exc:
            self._trip.end(exc)
            raise
        self._stream = None
        self._trip.end(None)
        await stream.finish()
        if not out:  # a dialect whose last event has gone out already
            raise StopAsyncIteration
        return out

    async def aclose(self) -> None:
        """Close the upstream's response; harmless the second time."""
        stream, self._stream = self._stream, None
        self._trip.end(None)
        if stream is not None:
            await stream.close()


async def first_event(stream: UpstreamStream, relay: Relay) -> tuple[bytes, bool]:
    """Read until the caller has something to see; return it, and whether it is all there is.

    Raises what the upstream reports instead.
    """
    while piece := await stream.read():
        out = relay.feed(piece)
        if relay.failure is not None:
            raise relay.failure
        if out:
            return out, False
        if relay.done:
            break
    return relay.close(), True


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
