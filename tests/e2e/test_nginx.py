"""nginx with the deployment's own files, before upstreams that misbehave on command."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.nginx_server import NginxServer, nginx_server

pytestmark = pytest.mark.e2e

JSON_BODY = json.dumps({"data": "x" * 3000}).encode()
EVENT = b"data: " + b"x" * 2000 + b"\n\n"
EVENTS, GAP_SECONDS = 5, 0.1


class Instance:
    """A gateway instance of raw sockets: `behave(connection, n)` answers a connection's nth request."""

    def __init__(self, behave: Callable[[socket.socket, int], None]) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.heads: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            number = 0
            while head := _read_request(connection):
                number += 1
                self.heads.append(head)
                self._behave(connection, number)


def _read_request(connection: socket.socket) -> str:
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536) or _gone()
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        missing = (int(length[1]) if length else 0) - len(body)
        while missing > 0:
            missing -= len(connection.recv(65536) or _gone())
    except OSError:
        return ""
    return head.decode()


def _gone() -> bytes:
    raise OSError("the peer closed the connection")


def answer(connection: socket.socket, number: int) -> None:
    """JSON."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(JSON_BODY)}\r\n\r\n"
    connection.sendall(head.encode() + JSON_BODY)


def stream(connection: socket.socket, number: int) -> None:
    """A few events with pauses."""
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for _ in range(EVENTS):
        connection.sendall(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        time.sleep(GAP_SECONDS)
    connection.sendall(b"0\r\n\r\n")


def fail(connection: socket.socket, number: int) -> None:
    """The gateway's own error."""
    head = b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
    connection.sendall(head + b'{"error":"own"}')


def hang_up_when_reused(connection: socket.socket, number: int) -> None:
    """A first answer; then the connection closes under the next request, as while draining."""
    if number == 1:
        answer(connection, number)
    else:
        connection.shutdown(socket.SHUT_RDWR)


Runner = Callable[..., tuple[NginxServer, list[Instance]]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Runner]:
    """Start nginx before instances of the given behaviours."""
    opened: list[Callable[[], object]] = []

    def start(
        *behaviours: Callable[[socket.socket, int], None], dead: int = 0, body_limit: int = 33_554_432
    ) -> tuple[NginxServer, list[Instance]]:
        instances = [Instance(behave) for behave in behaviours]
        opened.extend(instance.close for instance in instances)
        addresses = [instance.address for instance in instances] + ["127.0.0.1:1"] * dead
        manager = nginx_server(tmp_path / "nginx", *addresses, body_limit=body_limit)
        server = manager.__enter__()
        opened.append(lambda: manager.__exit__(None, None, None))
        return server, instances

    yield start
    for close in reversed(opened):
        close()


def client(nginx: NginxServer) -> httpx.Client:
    """A client that trusts the server and ignores the machine's proxies."""
    return httpx.Client(base_url=nginx.https_url, verify=nginx.ssl_context(), trust_env=False)


def test_a_stream_arrives_as_it_is_made(run: Runner) -> None:
    """Each event comes in its own time, uncompressed, though gzip is accepted (trap 16)."""
    nginx, _ = run(stream)
    arrivals, start = [], time.monotonic()
    with (
        client(nginx) as caller,
        caller.stream("POST", "/v1/x", headers={"accept-encoding": "gzip"}) as reply,
    ):
        for _ in reply.iter_raw():
            arrivals.append(time.monotonic() - start)

    assert EVENTS <= len(arrivals)
    assert arrivals[0] < GAP_SECONDS * (EVENTS - 1) < arrivals[-1]
    assert "content-encoding" not in reply.headers


def test_json_is_compressed(run: Runner) -> None:
    """A JSON body is gzipped for a caller who accepts it, and is the same after unpacking."""
    nginx, _ = run(answer)
    with client(nginx) as caller:
        reply = caller.get("/v1/models", headers={"accept-encoding": "gzip"})

    assert "gzip" == reply.headers["content-encoding"]
    assert JSON_BODY == reply.content


def test_http2_is_offered(run: Runner) -> None:
    """The handshake settles on h2 if the caller wants it."""
    nginx, _ = run(answer)
    context = nginx.ssl_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", nginx.https_port)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        assert "h2" == tls.selected_alpn_protocol()


def test_connections_to_the_gateway_are_kept(run: Runner) -> None:
    """Calls of separate callers share a few connections to the instance."""
    numbers: list[int] = []

    def count(connection: socket.socket, number: int) -> None:
        numbers.append(number)
        answer(connection, number)

    nginx, _ = run(count)
    for _ in range(12):
        with client(nginx) as caller:
            caller.post("/v1/x", json={})

    assert 4 <= max(numbers)


def test_headers_that_steer_are_replaced(run: Runner) -> None:
    """What a caller says of its address and scheme is not passed on."""
    nginx, (instance,) = run(answer)
    claims = {
        "x-forwarded-for": "9.9.9.9",
        "forwarded": "for=9.9.9.9",
        "x-real-ip": "9.9.9.9",
        "te": "trailers",
    }
    with client(nginx) as caller:
        caller.get("/v1/models", headers=claims)
    head = instance.heads[0].lower()

    assert "9.9.9.9" not in head
    assert "\r\nx-forwarded-for: 127.0.0.1" in head
    assert "\r\nx-forwarded-proto: https" in head
    assert "\r\nte:" not in head


@pytest.mark.parametrize(
    ("sent", "kept"), [("my_id-1.x:2", True), ("a b", False), ('"},{"', False), ("x" * 200, False)]
)
def test_a_request_id_is_kept_if_it_is_harmless(run: Runner, sent: str, kept: bool) -> None:
    """A caller's id reaches the gateway only if it can stand in a log line as it is; else one is made."""
    nginx, (instance,) = run(answer)
    with client(nginx) as caller:
        reply = caller.get("/v1/models", headers={"x-request-id": sent})

    assert kept is (sent == reply.headers["x-request-id"])
    assert f"\r\nx-request-id: {reply.headers['x-request-id']}" in instance.heads[0].lower()


def test_a_body_over_the_limit_is_refused_in_json(run: Runner) -> None:
    """413 in OpenAI's envelope, with the request's id, before the body is sent."""
    nginx, (instance,) = run(answer, body_limit=1000)
    connection = http.client.HTTPSConnection(
        "localhost", nginx.https_port, context=nginx.ssl_context(), timeout=10
    )
    connection.putrequest("POST", "/v1/x")
    connection.putheader("Content-Length", "1001")
    connection.putheader("X-Request-Id", "too-large")
    connection.endheaders()
    reply = connection.getresponse()
    error = json.loads(reply.read())["error"]
    connection.close()

    assert (413, "request_too_large", "invalid_request_error") == (reply.status, error["code"], error["type"])
    assert "too-large" in error["message"]
    assert [] == instance.heads


def test_a_body_at_the_limit_is_passed_on(run: Runner) -> None:
    """The limit itself is allowed."""
    nginx, _ = run(answer, body_limit=1000)
    with client(nginx) as caller:
        assert 200 == caller.post("/v1/x", content=b"x" * 1000).status_code


def test_no_instance_is_an_honest_502(run: Runner) -> None:
    """Nothing reachable: 502 in the envelope, retryable, with the request's id."""
    nginx, _ = run(dead=1)
    with client(nginx) as caller:
        reply = caller.post("/v1/x", json={}, headers={"x-request-id": "nobody-home"})

    assert (502, "1", "nobody-home") == (
        reply.status_code,
        reply.headers["retry-after"],
        reply.headers["x-request-id"],
    )
    assert "gateway_unreachable" == reply.json()["error"]["code"]


def test_the_gateways_own_errors_pass_untouched(run: Runner) -> None:
    """A 503 of the gateway keeps its body and is not tried elsewhere."""
    nginx, instances = run(fail, fail)
    with client(nginx) as caller:
        reply = caller.post("/v1/x", json={})

    assert (503, '{"error":"own"}') == (reply.status_code, reply.text)
    assert 1 == sum(len(instance.heads) for instance in instances)


def test_a_post_moves_on_if_an_instance_refuses(run: Runner) -> None:
    """With a dead instance beside a live one no request fails."""
    nginx, _ = run(answer, dead=1)
    with client(nginx) as caller:
        assert {200} == {caller.post("/v1/x", json={}).status_code for _ in range(10)}


def test_a_post_survives_a_connection_closed_under_it(run: Runner) -> None:
    """A kept connection that the instance closes as the request arrives costs the caller nothing."""
    nginx, _ = run(hang_up_when_reused)
    with client(nginx) as caller:
        assert {200} == {caller.post("/v1/x", json={}).status_code for _ in range(10)}


@pytest.mark.parametrize("path", ["/metrics", "/%6detrics", "//metrics", "/a/../metrics", "/metrics?a=b"])
def test_metrics_are_not_for_the_outside(run: Runner, path: str) -> None:
    """Neither the path nor its other spellings reach the gateway."""
    nginx, (instance,) = run(answer)
    connection = http.client.HTTPSConnection("localhost", nginx.https_port, context=nginx.ssl_context())
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()

    assert 404 == status
    assert [] == instance.heads


def test_plain_http_is_redirected(run: Runner) -> None:
    """Everything but health goes to https with its method and query."""
    nginx, _ = run(answer)
    moved = httpx.post(f"{nginx.http_url}/v1/x?a=b", trust_env=False)
    live = httpx.get(f"{nginx.http_url}/health/live", trust_env=False)

    assert (308, f"{nginx.https_url}/v1/x?a=b") == (moved.status_code, moved.headers["location"])
    assert 200 == live.status_code


def test_tls_answers_ask_for_tls(run: Runner) -> None:
    """Strict-Transport-Security is on answers and on nginx's own errors, once."""
    nginx, _ = run(answer)
    with client(nginx) as caller:
        replies = [caller.get("/v1/models"), caller.get("/metrics")]

    assert [["max-age=31536000"]] * 2 == [
        reply.headers.get_list("strict-transport-security") for reply in replies
    ]


def test_logs_hold_no_secrets(run: Runner) -> None:
    """Keys from a header and from a query are in neither log, though the instance refuses the connection
    (trap 51)."""
    nginx, _ = run(dead=1)
    with client(nginx) as caller:
        caller.post("/v1/x?key=canary-query", headers={"authorization": "Bearer canary-head"})
    (line,) = [line for line in nginx.access_lines() if line["path"].startswith("/v1")]

    assert "canary" not in json.dumps(nginx.access_lines()) + nginx.error_text()
    assert ("POST", "/v1/x", 502) == (line["method"], line["path"], line["status"])
