"""The caller's connection: the pieces of a stream on it, and its end.

After the head has gone out through Sanic, each piece needs no more than its chunk framing and one write;
Sanic's own way there passes five functions, a tenth of what a piece costs. Same rules: wait while the
caller's side is full, stop when it has gone, and tell the connection's silence watch that something happened.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from sanic import HTTPResponse, Request
from sanic.exceptions import RequestCancelled
from sanic.server import HttpProtocol

HEARTBEAT_SECONDS = 15.0
"""A model may think for minutes; what lies between it and the caller gives up connections that are silent."""


class PieceWriter:
    """Writes to a response whose head, with `transfer-encoding: chunked`, has been sent.

    While there is nothing to write, `beat` goes out instead, between two pieces; an empty one never does.
    To be closed.
    """

    __slots__ = ("_beat", "_loop", "_protocol", "_timer", "_transport", "_writable")

    def __init__(self, request: Request, response: HTTPResponse, *, beat: bytes = b"") -> None:
        if response.headers.get("transfer-encoding") != "chunked":
            raise RuntimeError("the response is not sent in chunks")
        self._transport: Any = request.transport
        protocol: Any = self._transport.get_protocol()
        self._protocol = protocol
        self._writable = protocol._can_write
        self._beat = beat
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(HEARTBEAT_SECONDS, self._look) if beat else None

    async def write(self, data: bytes) -> None:
        """Send one piece; empty ones must not come here, they would end the body."""
        if not self._writable.is_set():
            await self._writable.wait()
        transport = self._transport
        if transport.is_closing():
            raise RequestCancelled
        transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        self._protocol._time = time.monotonic()

    def close(self) -> None:
        """Let the heart stop."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Write the beat after a silence. A timer set anew for each piece would cost as much as the piece."""
        if self._transport.is_closing():
            return
        now = time.monotonic()
        rest = self._protocol._time + HEARTBEAT_SECONDS - now
        if rest <= 0:
            rest = HEARTBEAT_SECONDS
            if self._writable.is_set():  # else it is the caller who is slow
                self._transport.write(b"%x\r\n%b\r\n" % (len(self._beat), self._beat))
                self._protocol._time = now
        self._timer = self._loop.call_later(rest, self._look)


class DrainingProtocol(HttpProtocol):
    """Sanic's protocol, whose connections end with the request they are serving when the worker stops.

    Sanic closes the idle ones, once. One that is busy at that moment would be idle a little later, stay open
    until the grace time is over, and take new requests from nginx meanwhile.
    """

    def close_if_idle(self) -> bool:
        """Close the connection now if it is idle, else after the answer."""
        if self._http is not None:
            self._http.keep_alive = False
        return bool(super().close_if_idle())
