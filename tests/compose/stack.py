"""The stack under test: one docker compose project, and HTTP to it. Standard library only."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "tests/compose/compose.test.yml")
KEY = "sk-simulator"  # in the configuration that the simulator writes
MODEL = "gpt-5-mini"

# What reaches docker: a developer's AICORE_* and ports must not leak into the test.
_KEPT = ("PATH", "HOME", "USER", "TMPDIR", "LANG", "http_proxy", "https_proxy", "no_proxy")
_KEPT_PREFIXES = ("DOCKER_", "BUILDKIT_", "XDG_", "SSH_")


class CheckFailed(Exception):
    """What was seen instead of what was expected."""


@dataclass
class Answer:
    """A response, with the moment (seconds since the request) at which each piece of its body arrived."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    arrivals: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def json(self) -> Any:
        """The body; CheckFailed if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise CheckFailed(f"status {self.status}, not JSON: {self.body[:200]!r}") from None

    @property
    def complete_stream(self) -> bool:
        """Whether it is an event stream that reached its end."""
        return self.status == 200 and self.body.rstrip().endswith(b"data: [DONE]")


class Stack:
    """One compose project. `deadline` is a time.monotonic() that no command may pass."""

    def __init__(self, *, deadline: float) -> None:
        self.deadline = deadline
        self.project = f"acg-test-{os.getpid()}-{secrets.token_hex(2)}"
        self.https_port, self.http_port = _free_ports(2)
        self.tls = ssl.create_default_context()
        given = os.environ.get("GATEWAY_IMAGE")
        self.builds = not given
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if name in _KEPT or name.startswith(_KEPT_PREFIXES)
        } | {
            "GATEWAY_IMAGE": given or "aicore-gateway:compose-test",
            "SIMULATOR_IMAGE": os.environ.get("SIMULATOR_IMAGE", ""),
            "HTTPS_PORT": str(self.https_port),
            "HTTP_PORT": str(self.http_port),
        }

    def compose(self, *arguments: str, seconds: float = 60.0, check: bool = True) -> str:
        """Run `docker compose`; its output.

        Raises:
            CheckFailed: it failed or took longer than allowed; its last lines are in the text.
        """
        options = ["--env-file", os.devnull, "-p", self.project, "--project-directory", str(ROOT)]
        for file in FILES:
            options += ["-f", str(ROOT / file)]
        return self.run("docker", "compose", *options, *arguments, seconds=seconds, check=check)

    def run(self, *command: str, seconds: float = 60.0, check: bool = True) -> str:
        """Run a command; its output, both streams. Raises CheckFailed as `compose` does."""
        left = min(seconds, self.deadline - time.monotonic())
        if left <= 0:
            raise CheckFailed("the time limit of the whole test has passed")
        try:
            done = subprocess.run(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=left, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise CheckFailed(f"`{_short(command)}` took longer than {left:.0f} s") from late
        text = done.stdout.decode(errors="replace").strip()
        if check and done.returncode:
            raise CheckFailed(f"`{_short(command)}` ended with {done.returncode}: {text[-1500:]}")
        return text

    def containers(self, service: str) -> list[str]:
        """Ids of the running containers of a service."""
        return self.compose("ps", "-q", service).split()

    def shell(self, service: str, script: str, *, user: str | None = None) -> str:
        """The output of `sh -c script` in a running container, whatever its exit status."""
        as_user = ["-u", user] if user else []
        return self.compose("exec", "-T", *as_user, service, "sh", "-c", script, check=False)

    def trust_certificate(self) -> str:
        """Trust what the server shows from now on; returns it. The name is still checked."""
        pem = ssl.get_server_certificate(("localhost", self.https_port))
        self.tls = ssl.create_default_context(cadata=pem)
        return pem

    def connect(
        self, *, plain: bool = False, tls: ssl.SSLContext | None = None
    ) -> http.client.HTTPConnection:
        """A connection to nginx."""
        if plain:
            return http.client.HTTPConnection("localhost", self.http_port, timeout=30)
        return http.client.HTTPSConnection("localhost", self.https_port, timeout=30, context=tls or self.tls)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = KEY,
        headers: dict[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
        plain: bool = False,
    ) -> Answer:
        """One request, on a connection of its own unless one is given. Raises OSError, HTTPException."""
        own = connection is None
        connection = connection or self.connect(plain=plain)
        sent = {"Content-Type": "application/json", **(headers or {})}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        start = time.monotonic()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            return _read(connection.getresponse(), start)
        finally:
            if own:
                connection.close()

    def chat(self, tokens: int, *, stream: bool = False, **options: Any) -> Answer:
        """A chat completion of that many tokens."""
        question = {"role": "user", "content": f"[[tokens:{tokens}]] {secrets.token_hex(4)}"}
        body = {"model": MODEL, "messages": [question], "stream": stream}
        return self.request("POST", "/v1/chat/completions", body, **options)


def _read(response: http.client.HTTPResponse, start: float) -> Answer:
    answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()})
    while piece := response.read1(65536):
        answer.arrivals.append(time.monotonic() - start)
        answer.body += piece
    response.read()  # tells http.client that the body is over, so that the connection can be used again
    answer.seconds = time.monotonic() - start
    return answer


def _short(command: tuple[str, ...]) -> str:
    return " ".join(command[-5:])


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
