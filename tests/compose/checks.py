"""What must hold of the running deployment. Each check returns what it saw, or raises CheckFailed."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Sequence

from stack import KEY, MODEL, Answer, CheckFailed, Stack

PLANTED = "sk-planted-in-the-query"
WRONG_KEY = "sk-not-configured"
LONG_TOKENS = 400  # at 40 ms each


def expect(true: object, otherwise: str) -> None:
    """Raise CheckFailed unless."""
    if not true:
        raise CheckFailed(otherwise)


def first_certificate(stack: Stack) -> str:
    """A first start has TLS, for the name asked for, with a key that only root may read."""
    stack.trust_certificate()
    expect(stack.request("GET", "/health/live").status == 200, "no 200 from /health/live through TLS")
    mode = stack.shell("nginx", "stat -c %a:%u /etc/nginx/certs/privkey.pem")
    expect(mode == "600:0", f"privkey.pem is {mode}")
    return "self-signed for localhost, key 600"


def tls_versions(stack: Stack) -> str:
    """TLS 1.3 and 1.2 and HTTP/2 are offered."""
    stack.tls.set_alpn_protocols(["h2", "http/1.1"])
    best = _handshake(stack, stack.tls)
    stack.trust_certificate()
    older = ssl.create_default_context(cadata=stack.trust_certificate())
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    least = _handshake(stack, older)
    expect(best == ("TLSv1.3", "h2"), f"best is {best}")
    expect(least[0] == "TLSv1.2", f"with 1.2 at most: {least}")
    return "1.3, 1.2, ALPN h2"


def _handshake(stack: Stack, context: ssl.SSLContext) -> tuple[str | None, str | None]:
    connection = stack.connect(tls=context)
    try:
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        return connection.sock.version(), connection.sock.selected_alpn_protocol()
    finally:
        connection.close()


def health(stack: Stack) -> str:
    """Ready through TLS; alive on the plain port; everything else there is sent to https."""
    ready = stack.request("GET", "/health/ready", key=None)
    live = stack.request("GET", "/health/live", key=None, plain=True)
    moved = stack.request("POST", "/v1/chat/completions?a=b", key=None, plain=True)
    expect(
        (ready.status, live.status) == (200, 200),
        f"ready {ready.status} {ready.body[:200]!r}, live {live.status}",
    )
    expect(moved.status == 308, f"plain POST gave {moved.status}")
    target = f"https://localhost:{stack.https_port}/v1/chat/completions?a=b"
    expect(moved.headers["location"] == target, f"redirect to {moved.headers['location']}")
    return "ready 200, plain live 200, else 308"


def wrong_key(stack: Stack) -> str:
    """A wrong key and no key get 401 in OpenAI's envelope."""
    for key in (WRONG_KEY, None):
        answer = stack.chat(5, key=key)
        expect(answer.status == 401, f"key {key}: {answer.status}")
        expect(answer.json()["error"]["message"], "no message")
    return "401, with and without a key"


def unary(stack: Stack) -> str:
    """A chat completion comes back whole, under the request id that was sent."""
    answer = stack.chat(50, headers={"X-Request-Id": "compose-test-1"})
    expect(answer.status == 200, f"{answer.status} {answer.body[:300]!r}")
    reply = answer.json()
    expect(reply["choices"][0]["message"]["content"], "no content")
    expect(reply["usage"]["total_tokens"] > 0, "no usage")
    expect(
        answer.headers.get("x-request-id") == "compose-test-1",
        f"x-request-id {answer.headers.get('x-request-id')}",
    )
    return f"{len(answer.body)} bytes in {answer.seconds:.2f} s"


def stream(stack: Stack) -> str:
    """Events arrive as they are made, not gzipped though gzip is accepted, and the end is marked."""
    answer = stack.chat(60, stream=True, headers={"Accept-Encoding": "gzip"})
    expect(answer.complete_stream, f"{answer.status}, ends with {answer.body[-200:]!r}")
    expect(answer.headers["content-type"].startswith("text/event-stream"), answer.headers["content-type"])
    expect("content-encoding" not in answer.headers, "the stream is compressed")
    first, last = answer.arrivals[0], answer.arrivals[-1]
    gaps = [b - a for a, b in zip(answer.arrivals, answer.arrivals[1:], strict=False)]
    expect(last > 1.0, f"the stream took only {last:.2f} s: nothing was measured")
    expect(first < last / 3, f"first event after {first:.2f} of {last:.2f} s")
    expect(len(gaps) >= 20, f"60 tokens arrived in {len(gaps) + 1} pieces")
    expect(max(gaps) < last / 3, f"a gap of {max(gaps):.2f} s in {last:.2f} s")
    pace = f"{len(gaps) + 1} pieces, longest gap {max(gaps) * 1000:.0f} ms"
    return f"first {first * 1000:.0f} ms, {pace}, end {last:.2f} s"


def compressed_json(stack: Stack) -> str:
    """JSON is gzipped for those who accept it."""
    answer = stack.chat(600, headers={"Accept-Encoding": "gzip"})
    expect(answer.status == 200, f"{answer.status} {answer.body[:300]!r}")
    expect(answer.headers.get("content-encoding") == "gzip", f"headers {answer.headers}")
    plain = gzip.decompress(answer.body)
    expect(json.loads(plain)["choices"], "no choices")
    return f"{len(plain)} -> {len(answer.body)} bytes"


def nginx_errors(stack: Stack) -> str:
    """nginx's own refusals speak JSON and name the request."""
    connection = stack.connect()
    try:
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("Content-Length", str(40 * 1024 * 1024))
        connection.putheader("X-Request-Id", "compose-test-2")
        connection.endheaders()
        response = connection.getresponse()
        large = Answer(response.status, {}, response.read())
    finally:
        connection.close()
    expect(large.status == 413, f"40 MiB: {large.status}")
    expect(large.json()["error"]["code"] == "request_too_large", f"{large.body!r}")
    expect("compose-test-2" in large.json()["error"]["message"], f"{large.body!r}")
    metrics = stack.request("GET", "/metrics")
    expect(metrics.status == 404 and metrics.json()["error"], f"/metrics from outside: {metrics.status}")
    return "413 and 404 in the envelope"


def confinement(stack: Stack) -> str:
    """The gateway: not root, no capability, no new privileges, read-only root; /tmp can be written."""
    script = (
        "id -u; touch /opt/venv/x /etc/aicore-gateway/x 2>/dev/null && echo writable || echo read-only; "
        "touch /tmp/x && echo tmp; grep -E 'CapEff|NoNewPrivs' /proc/1/status | cut -f2"
    )
    seen = stack.shell("gateway", script).split()
    expect(seen[0] != "0", "the gateway runs as root")
    expect(seen[1:3] == ["read-only", "tmp"], f"root: {seen}")
    expect(sorted(seen[3:]) == ["0000000000000000", "1"], f"privileges: {seen[3:]}")
    nginx = stack.shell("nginx", "touch /etc/nginx/x 2>/dev/null && echo writable || echo read-only")
    expect(nginx == "read-only", "nginx has a writable root")
    return f"uid {seen[0]}, read-only, no capabilities"


def isolation(stack: Stack) -> str:
    """Only nginx has ports on the host; the gateway reaches Redis, nginx does not."""
    published = stack.compose("ps", "--format", "{{.Service}} {{.Publishers}}")
    for line in published.splitlines():
        service, _, ports = line.partition(" ")
        expect(service == "nginx" or "127.0.0.1" not in ports, f"published: {line}")
    reach = "import socket; socket.create_connection(('redis', 6379), 3); print('reached')"
    expect("reached" in stack.shell("gateway", f'python -c "{reach}"'), "the gateway cannot reach Redis")
    outside = stack.shell("nginx", "curl -sS -m 3 telnet://redis:6379 </dev/null; echo $?")
    expect(outside.split()[-1] == "6", f"nginx found redis: {outside}")
    return "only nginx is published, Redis is the gateway's"


def no_secrets_in_logs(stack: Stack) -> str:
    """No key in the logs: neither one from a header nor one from a query."""
    stack.request("GET", f"/v1/models?key={PLANTED}")
    logs = stack.compose("logs", "--no-color", "nginx", "gateway")
    for secret in (KEY, PLANTED, WRONG_KEY):
        expect(secret not in logs, f"{secret} is in the logs")
    expect("/v1/models" in logs, "the logs do not show the request at all")
    return f"{len(logs.splitlines())} lines"


def scale(stack: Stack) -> str:
    """A second instance gets requests within seconds, nginx untouched."""
    stack.compose(
        "up", "-d", "--no-build", "--no-recreate", "--scale", "gateway=2", "--wait", "--wait-timeout", "60"
    )
    start = time.monotonic()
    while time.monotonic() - start < 15:
        stack.request("GET", "/v1/models")
        served = instances_in_log(stack)
        if len(served) > 1:
            return f"both answer after {time.monotonic() - start:.1f} s"
    raise CheckFailed(f"only {served} served requests")


def instances_in_log(stack: Stack) -> set[str]:
    """Addresses of the instances that answered so far, by nginx's access log."""
    lines = stack.compose("logs", "--no-color", "--no-log-prefix", "nginx").split("\n")
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return {entry["gateway"] for entry in entries if entry["gateway"] and entry["gateway_status"] == "200"}


def restart_under_load(stack: Stack) -> str:
    """One of two instances restarts while requests and streams go on: none fails, none is cut."""
    # The long ones, one on each instance, outlast ten seconds of draining.
    load = Load(stack, streams=3, unary=3, long_streams=2)
    load.start()
    try:
        time.sleep(1.5)
        began = time.monotonic()
        victim = stack.containers("gateway")[0]
        stack.run("docker", "restart", "-t", "60", victim, seconds=80)
        took = time.monotonic() - began
        _wait_healthy(stack, victim)
        time.sleep(2)
    finally:
        load.stop()
    expect(not load.failures, f"{len(load.failures)} of {load.done} failed, first: {load.failures[:3]}")
    expect(load.done > 30, f"only {load.done} requests: no load")
    return f"{load.done} requests, {load.streamed} of them streams, 0 failed; restart took {took:.1f} s"


def renewal_under_load(stack: Stack) -> str:
    """SIGHUP to one instance: its workers are replaced while requests and streams go on, and none fails."""
    load = Load(stack, streams=3, unary=3, long_streams=2)
    load.start()
    try:
        time.sleep(1.0)
        victim = stack.containers("gateway")[0]
        before = stack.run("docker", "logs", victim).count("worker_ready")
        stack.run("docker", "kill", "-s", "HUP", victim)
        until = time.monotonic() + 30
        while (new := stack.run("docker", "logs", victim).count("worker_ready") - before) < before:
            expect(time.monotonic() < until, f"only {new} of {before} workers are new")
            time.sleep(0.5)
    finally:
        load.stop()
    expect(not load.failures, f"{len(load.failures)} of {load.done} failed, first: {load.failures[:3]}")
    return f"{new} new workers, {load.done} requests, {load.streamed} of them streams, 0 failed"


def _wait_healthy(stack: Stack, container: str) -> None:
    until = time.monotonic() + 40
    state = ""
    while time.monotonic() < until:
        state = stack.run("docker", "inspect", "-f", "{{.State.Health.Status}}", container)
        if state == "healthy":
            return
        time.sleep(0.5)
    raise CheckFailed(f"the restarted instance is {state}")


class Load:
    """A few callers, each one request after the other on its own kept-alive connection."""

    def __init__(self, stack: Stack, *, streams: int, unary: int, long_streams: int) -> None:
        self.failures: list[str] = []
        self.done = 0
        self.streamed = 0
        self._stack = stack
        self._over = threading.Event()
        self._count = threading.Lock()
        self._callers = [
            threading.Thread(target=target, daemon=True, args=arguments)
            for target, arguments, count in (
                (self._call_once, (True, LONG_TOKENS), long_streams),
                (self._call, (True,), streams),
                (self._call, (False,), unary),
            )
            for _ in range(count)
        ]

    def start(self) -> None:
        """Begin."""
        for caller in self._callers:
            caller.start()

    def stop(self) -> None:
        """Let open requests end."""
        self._over.set()
        for caller in self._callers:
            caller.join(30)
            if caller.is_alive():
                self.failures.append("a request never ended")

    def _call(self, stream: bool) -> None:
        connection = self._stack.connect()
        while not self._over.is_set() and len(self.failures) < 20:
            self._call_once(stream, 20, connection)
            time.sleep(0.02)
        connection.close()

    def _call_once(
        self, stream: bool, tokens: int, connection: http.client.HTTPConnection | None = None
    ) -> None:
        problem = self._problem(stream, tokens, connection)
        with self._count:
            self.done += 1
            self.streamed += stream
            if problem:
                self.failures.append(problem)

    def _problem(
        self, stream: bool, tokens: int, connection: http.client.HTTPConnection | None
    ) -> str | None:
        try:
            answer = self._stack.chat(tokens, stream=stream, connection=connection)
        except (OSError, http.client.HTTPException) as error:
            if connection:
                connection.close()
            return f"{tokens} tokens: {type(error).__name__}: {error}"
        if stream and not answer.complete_stream:
            return f"stream of {tokens}: {answer.status}, ends with {answer.body[-160:]!r}"
        return None if answer.status == 200 else f"{answer.status} {answer.body[:160]!r}"


CHECKS: Sequence[tuple[str, Callable[[Stack], str]]] = (
    ("certificate made on first start", first_certificate),
    ("TLS versions and HTTP/2", tls_versions),
    ("health, redirect to https", health),
    (f"unary chat completion, {MODEL}", unary),
    ("stream through TLS, unbuffered, not gzipped", stream),
    ("JSON gzipped", compressed_json),
    ("wrong key", wrong_key),
    ("nginx's own errors", nginx_errors),
    ("non-root, read-only, no capabilities", confinement),
    ("ports and networks", isolation),
    ("no secrets in logs", no_secrets_in_logs),
    ("scale to 2", scale),
    ("renew the workers under load", renewal_under_load),
    ("restart one of two under load", restart_under_load),
)
