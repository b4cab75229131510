"""The caller's connection: whole answers on it, the pieces of a stream, and its end.

Sanic's own way to the socket passes many functions for each answer and each piece. Same rules here: wait
while the caller's side is full, stop when it has gone, and tell the connection's silence watch that something
happened.
"""

from __future__ import annotations

import asyncio
import re
import time
from functools import partial
from typing import Any, ClassVar

from sanic import HTTPResponse, Request
from sanic.exceptions import BadRequest, BadURL, RequestCancelled
from sanic.http.constants import Stage
from sanic.server import HttpProtocol

from services.errors import GatewayError


class _Sent(HTTPResponse):
    """Stands for an answer that is on its way already: Sanic wants to see one, and to send its end."""

    async def send(self, data: Any = None, end_stream: bool | None = None) -> None:
        """There is nothing left to send."""


MAX_HEAD = 16 * 1024
"""Bytes; keys may be long tokens. Sanic takes no more, and nginx is to let no more through."""

_SENT = _Sent()
_SPACED_NAME = re.compile(rb"\r\n(?:[ \t]|[^:\r\n]*[ \t]:)")
_JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def needs_sanic(request: Request) -> bool:
    """Whether Sanic has to send the answer: it gives CORS fields to web pages, and HEAD no body."""
    http: Any = request.stream
    return http.head_only or "origin" in request.headers


async def write_whole(request: Request, head: bytes, body: bytes) -> None:
    """Answer with JSON at once, in one write, and leave the connection ready for the next request.

    `head` are further lines of the head.
    What Sanic does for it (response object, middleware, head) costs as much as the whole way to the upstream
    and back. Only for a request whose body has been read, and that does not need Sanic.
    """
    http: Any = request.stream
    end = b"content-length: %d\r\nconnection: %b\r\n\r\n" % (
        len(body),
        b"keep-alive" if http.keep_alive else b"close",
    )
    protocol = http.protocol
    if not protocol._can_write.is_set():
        await protocol._can_write.wait()
    if protocol.transport.is_closing():
        raise RequestCancelled
    protocol.transport.write(b"".join((_JSON_HEAD, head, end, body)))
    protocol._time = time.monotonic()
    http.response = _SENT
    http.response_func = None
    http.stage = Stage.IDLE
    request.responded = True


class PieceWriter:
    """Writes to a response whose head, with `transfer-encoding: chunked`, has been sent.

    While there is nothing to write for `seconds`, `beat` goes out instead, between two pieces; an empty one
    never does: a model may think for minutes, and what lies between it and the caller gives up connections
    that are silent. To be closed.
    """

    __slots__ = ("_beat", "_loop", "_protocol", "_seconds", "_timer", "_transport", "_writable")

    def __init__(self, request: Request, response: HTTPResponse, *, beat: bytes, seconds: float) -> None:
        if response.headers.get("transfer-encoding") != "chunked":
            raise RuntimeError("the response is not sent in chunks")
        self._transport: Any = request.transport
        protocol: Any = self._transport.get_protocol()
        self._protocol = protocol
        self._writable = protocol._can_write
        self._beat = beat
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._look) if beat else None

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
        rest = self._protocol._time + self._seconds - now
        if rest <= 0:
            rest = self._seconds
            if self._writable.is_set():  # else it is the caller who is slow
                self._transport.write(b"%x\r\n%b\r\n" % (len(self._beat), self._beat))
                self._protocol._time = now
        self._timer = self._loop.call_later(rest, self._look)


class _Nowhere:
    """Stands for the context variable in which Sanic keeps the request that is served."""

    def set(self, request: Request) -> None:
        """Keep nothing."""

    def get(self, default: Any = None) -> Any:
        """Return the default."""
        return default


class CallerRequest(Request):
    """Sanic's, kept in no context, and strict about the head.

    What a request begins and leaves to others inherits its context: a pooled connection would keep the
    request that opened it, its body too, for as long as it is open.
    Two servers in a row that read a head differently can be made to see different requests, so what may be
    read in two ways is refused (RFC 9112 §2.2, §5.1; RFC 9110 §5.5).
    """

    _current: Any = _Nowhere()

    def __init__(self, *, url_bytes: bytes, head: bytes = b"", **options: Any) -> None:
        """Raises BadRequest for a head that may be read in two ways, SanicException for a broken URL."""
        suspicious = b" :" in head or b"\r\n " in head or b"\t" in head
        if b"\0" in head or (suspicious and _SPACED_NAME.search(head)):
            raise BadRequest("Bad Request")
        try:
            super().__init__(url_bytes, head=head, **options)
        except BadURL:
            if head:
                raise
            super().__init__(b"*", **options)  # it stands for a request that could not be read


def is_unread(request: Request) -> bool:
    """Whether this stands for a request whose head could not be read: Sanic answers errors to one."""
    return not request.head


class _Arrival(asyncio.Event):
    """An event that knows its loop: to find it asyncio asks the system for the process id, every time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._own = loop

    def _get_loop(self) -> asyncio.AbstractEventLoop:
        return self._own


class CallerConnection(HttpProtocol):
    """Sanic's protocol, whose connections end with the request they are serving when its time is over.

    When the worker stops, Sanic closes the idle ones, once. One that is busy at that moment would be idle a
    little later, stay open until the grace time is over, and take new requests from nginx meanwhile.
    """

    open: ClassVar[set[CallerConnection]] = set()
    """The connections of this process."""

    def connection_made(self, transport: Any) -> None:
        """Begin to serve a connection."""
        self.open.add(self)
        self._data_received = _Arrival(self.loop)
        super().connection_made(transport)  # type: ignore[no-untyped-call]  # Sanic leaves it untyped

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection.

        Until an answer is complete, Sanic's `Http`, request and response refer to one another: a cycle, which
        would wait for the collector.
        """
        self.open.discard(self)
        if self._http is not None and self._task is not None:
            self._task.add_done_callback(partial(_let_go, self._http))
        super().connection_lost(exc)  # type: ignore[no-untyped-call]

    def check_timeouts(self) -> None:
        """Let a request that takes too long end; Sanic, having cancelled it, looks no more at the connection.

        A caller who has taken nothing for as long would not take the error either: it is not waited for.
        """
        if not self._can_write.is_set() and time.monotonic() - self._time > self.response_timeout:
            self.abort()  # type: ignore[no-untyped-call]
            return
        super().check_timeouts()  # type: ignore[no-untyped-call]
        if self._http and self._http.exception is not None:
            self._http.keep_alive = False

    def interrupt(self, error: GatewayError) -> None:
        """Let the request that is served now, if there is one, end with this failure."""
        http: Any = self._http
        if http and self._task is not None:
            http.exception = error  # Sanic answers a cancelled request with it
            self._task.cancel()

    def close_if_idle(self) -> bool:
        """Close the connection now if it is idle, else after the answer."""
        if self._http is not None:
            self._http.keep_alive = False
        return bool(super().close_if_idle())


def _let_go(http: Any, _: object) -> None:
    http.response_func = None
    for part in (http.request, http.response):
        if part is not None:
            part.stream = None
