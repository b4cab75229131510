"""HTTP/1.1 for the simulator: keep-alive, pipelining, `Expect: 100-continue`, bounded heads and bodies."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools
import msgspec

from perf.simulator.answers import Reply, head, reply_text
from perf.simulator.player import Ending, Play, Player, Wheel
from perf.simulator.stats import Stats

MAX_BODY = 64 << 20
MAX_HEAD = 64 << 10
MAX_PIPELINED = 32
"""Requests of one connection that may wait; beyond that the socket is not read."""

LINGER_SECONDS = 1.0
"""How long a refused client may go on sending before the connection is closed."""

_LINGER_RESET = struct.pack("ii", 1, 0)


class Request(msgspec.Struct, gc=False):
    """One complete request; header names are in lower case."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool
    chunks_allowed: bool
    """False for HTTP/1.0, whose clients know no chunked bodies."""
    certificate: bool
    """Whether the client showed a certificate that the configured authority signed."""


Answer = Callable[[Request], Play]


class Connection(asyncio.Protocol):
    """One client connection. Requests are answered one after the other, in order."""

    def __init__(self, answer: Answer, stats: Stats, wheel: Wheel) -> None:
        self._answer = answer
        self._stats = stats
        self._wheel = wheel
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any data
        self._certificate = False
        self._player: Player | None = None
        self._waiting: deque[Request] = deque()
        self._write_paused = False
        self._read_paused = False
        self._continue_due = False
        self._refused = False
        self._closing = False
        self.on_message_begin()

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no subclass
        self._certificate = bool(transport.get_extra_info("peercert"))
        self._stats.connections_accepted += 1
        self._stats.connections_open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; an answer in progress stops."""
        self._stats.connections_open -= 1
        self._closing = True
        self._waiting.clear()
        if self._player is not None:
            self._player.stop()
            self._player = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; it calls the `on_*` methods."""
        if self._refused:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The request was answered as usual; a new parser reads on where this one gave up.
            self._parser = httptools.HttpRequestParser(self)
            if rest := data[upgrade.args[0] :]:
                self.data_received(rest)
        except httptools.HttpParserError as error:
            self._refuse(400, f"not HTTP: {error}")

    def pause_writing(self) -> None:
        """The client reads more slowly than it is sent."""
        self._write_paused = True
        if self._player is not None:
            self._player.hold()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._write_paused = False
        if self._player is not None:
            self._player.resume()

    # the parser's side

    def on_message_begin(self) -> None:
        """A new request starts."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._body_size = 0
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        """The target, possibly in pieces."""
        self._target += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        self._headers[name.lower()] = value
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD:
            self._refuse(431, "the head is too large")

    def on_headers_complete(self) -> None:
        """The head is known; a body that is announced too large is refused unread."""
        if self._head_size > MAX_HEAD:
            self._refuse(431, "the head is too large")
        length = self._headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY:
            self._refuse(413, "Payload Too Large")
        elif self._headers.get(b"expect", b"").lower() == b"100-continue" and not self._refused:
            self._continue_due = True
            self._send_continue()

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        self._body_size += len(piece)
        if self._body_size > MAX_BODY:
            self._refuse(413, "Payload Too Large")
        if not self._refused:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The request is whole: answer it, or let it wait for the one before."""
        if self._refused:
            return
        parser, pieces = self._parser, self._pieces
        self._continue_due = False
        request = Request(
            parser.get_method(),
            self._target,
            self._headers,
            pieces[0] if len(pieces) == 1 else b"".join(pieces),
            parser.should_keep_alive(),
            parser.get_http_version() != "1.0",
            self._certificate,
        )
        self._waiting.append(request)
        if self._player is None:
            self._serve_waiting()
        elif len(self._waiting) >= MAX_PIPELINED:
            self._read_paused = True
            self._transport.pause_reading()

    # answering

    def _serve_waiting(self) -> None:
        while self._waiting and self._player is None and not self._closing:
            request = self._waiting.popleft()
            play = self._answer(request)
            self._play(play, keep_alive=request.keep_alive)
        if self._read_paused and not self._closing and len(self._waiting) < MAX_PIPELINED:
            self._read_paused = False
            self._transport.resume_reading()
        if self._continue_due:
            self._send_continue()

    def _play(self, play: Play, *, keep_alive: bool) -> None:
        player = self._player = Player(
            play, self._transport, self._wheel, ended=self._ended if keep_alive else self._ended_for_good
        )
        if self._write_paused:
            player.hold()
        player.start()

    def _ended(self, ending: Ending) -> None:
        self._player = None
        if ending is Ending.KEEP:
            if self._waiting:
                self._wheel.soon(self._serve_waiting)
            elif self._continue_due:
                self._send_continue()
            return
        self._closing = True
        if ending is Ending.RESET:
            self._reset()
        else:
            self._transport.close()

    def _ended_for_good(self, ending: Ending) -> None:
        self._ended(Ending.CLOSE if ending is Ending.KEEP else ending)

    def _reset(self) -> None:
        peer: socket.socket | Any = self._transport.get_extra_info("socket")
        # With a linger time of zero the kernel sends RST instead of FIN.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._transport.abort()

    def _send_continue(self) -> None:
        if self._continue_due and self._player is None and not self._waiting and not self._closing:
            self._continue_due = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, status: int, text: str) -> None:
        """Answer what cannot be read as a request, and close."""
        if self._refused:
            return
        self._refused = True
        if self._player is None and not self._closing:
            self._transport.write(_whole(reply_text(status, text)))
        self._closing = True
        # Closing with unread bytes would reset the connection and take the answer along.
        self._wheel.at(self._wheel.time() + LINGER_SECONDS, self._transport.close)


def _whole(reply: Reply) -> bytes:
    lines = reply.headers + b"connection: close\r\n"
    return head(reply.status, reply.content_type, len(reply.body), lines) + reply.body
