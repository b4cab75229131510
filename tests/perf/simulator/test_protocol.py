"""HTTP, spoken by hand."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from perf.simulator.launch import Simulator


@pytest.fixture
def peer(sim: Simulator) -> Iterator[socket.socket]:
    """A plain connection."""
    host, port = sim.base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        yield connection


def read_until(peer: socket.socket, end: bytes) -> bytes:
    """Everything up to these bytes, or to the end of the connection."""
    seen = b""
    while end not in seen:
        piece = peer.recv(65536)
        if not piece:
            break
        seen += piece
    return seen


def test_pipelined_requests_are_answered_in_order(peer: socket.socket) -> None:
    """Forty in one segment, more than may wait."""
    peer.sendall(b"".join(b"GET /_sim/n%d HTTP/1.1\r\nhost: x\r\n\r\n" % n for n in range(39)))
    peer.sendall(b"GET /_sim/faults HTTP/1.1\r\nhost: x\r\n\r\n")
    seen = read_until(peer, b"[]")

    assert 39 == seen.count(b"HTTP/1.1 404")
    assert seen.endswith(b"[]")


def test_a_body_is_waited_for(peer: socket.socket) -> None:
    """`Expect: 100-continue` gets its line before the body is sent."""
    peer.sendall(b"POST /_sim/pace HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
    first = read_until(peer, b"\r\n\r\n")
    peer.sendall(b"{}")

    assert b"HTTP/1.1 100 Continue\r\n\r\n" == first
    assert b"HTTP/1.1 200 OK" in read_until(peer, b"}")


def test_a_chunked_body_is_joined(peer: socket.socket) -> None:
    """In whatever pieces it comes."""
    peer.sendall(b"POST /_sim/pace HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    for piece in (b'7\r\n{"laten\r\n', b'9\r\ncy_ms":0}\r\n', b"0\r\n\r\n"):
        peer.sendall(piece)

    assert b"HTTP/1.1 200 OK" in read_until(peer, b"}")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 67108865\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\n" + b"a: %b\r\n" % (b"x" * 1000) * 70 + b"\r\n", b"431"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
    ids=["body", "head", "syntax"],
)
def test_what_cannot_be_served_is_refused_and_closed(
    peer: socket.socket, request_bytes: bytes, status: bytes
) -> None:
    """With a status, not with a reset."""
    peer.sendall(request_bytes)
    seen = read_until(peer, b"never")

    assert b"HTTP/1.1 " + status == seen[:12]


def test_an_upgrade_is_ignored(peer: socket.socket) -> None:
    """The request is answered as usual, and so is the next one."""
    request = b"GET /_sim/faults HTTP/1.1\r\nhost: x\r\n"
    peer.sendall(
        request + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n" + request + b"connection: close\r\n\r\n"
    )

    assert 2 == read_until(peer, b"never").count(b"HTTP/1.1 200 OK")


def test_close_is_honoured(peer: socket.socket) -> None:
    """And announced."""
    peer.sendall(b"GET /_sim/faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    assert b"connection: close\r\n" in read_until(peer, b"never")


def test_connections_are_counted(sim: Simulator, peer: socket.socket) -> None:
    """The open one and the one that asks."""
    peer.sendall(b"GET /_sim/faults HTTP/1.1\r\nhost: x\r\n\r\n")
    read_until(peer, b"[]")

    assert 2 <= sim.stats()["connections"]["open"]
