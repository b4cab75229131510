"""A relay between a client and the gateway that keeps what the client said."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import threading
from contextlib import suppress
from typing import Any, Self, cast

_REQUEST = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.1\r$", re.M)


class Tap:
    """Listens on a free loopback port and relays every connection to `port`, byte by byte."""

    def __init__(self, port: int) -> None:
        self._said: list[bytearray] = []
        self._server = _Server(("127.0.0.1", 0), _Relay)
        self._server.tap, self._server.target = self, port
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def listen(self) -> bytearray:
        """Return what one more connection will fill."""
        self._said.append(bytearray())
        return self._said[-1]

    def requests(self) -> list[str]:
        """Return method and path of every request, such as `HEAD /`."""
        found = (match for said in self._said for match in _REQUEST.finditer(said))
        return [f"{match[1].decode()} {match[2].decode()}" for match in found]

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """Return the JSON bodies that were posted to a path, as far as they came in one piece."""
        decoder = json.JSONDecoder()
        bodies = []
        for said in self._said:
            for match in re.finditer(rb"^POST %b.*?\r\n\r\n" % re.escape(path.encode()), said, re.M | re.S):
                body = said[match.end() :].decode(errors="replace")
                bodies.append(cast(dict[str, Any], decoder.raw_decode(body)[0]))
        return bodies


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    tap: Tap
    target: int


class _Relay(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = cast(_Server, self.server)
        said = server.tap.listen()
        with socket.create_connection(("127.0.0.1", server.target)) as gateway:
            back = threading.Thread(target=_pump, args=(gateway, self.request), daemon=True)
            back.start()
            _pump(self.request, gateway, said)
            back.join()


def _pump(source: socket.socket, sink: socket.socket, copy: bytearray | None = None) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if copy is not None:
                copy += data
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
