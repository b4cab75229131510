"""Why SAP AI Core gives no usable answer: a reason for the probes, and what an operator can do about it.

The error's own text, which names hosts, is for the log and for `aicore-gateway check`; a reason here names
nobody, so that callers may read it.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import httpx

from services.errors import (
    UpstreamBroken,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)


class Cause(NamedTuple):
    """What is behind a failure."""

    reason: str
    """In few words, without a name or an address."""
    advice: str = ""
    """What to do; empty where that depends on what was asked for."""


_CLOCK = "compare this machine's clock; if it is right, the owner of that host must renew the certificate"
_AUTHORITY = (
    "if a proxy or a private authority signs for that host, put its certificate into the file that "
    "SSL_CERT_FILE names and restart; otherwise somebody else answers in its name"
)
_NETWORK = "check the network, the firewall and, where a proxy is needed, HTTPS_PROXY and NO_PROXY"

# OpenSSL's X509_V_ERR codes; whatever is missing here is a matter of whom to trust.
_CERTIFICATE_ADVICE: Mapping[int, str] = {
    9: _CLOCK,  # not yet valid
    10: _CLOCK,  # expired
    62: "check the URL: the certificate is for another host name",
    64: "check the URL: the certificate is for another address",
}

_CAUSES: tuple[tuple[type[BaseException], Cause], ...] = (
    (ssl.SSLCertVerificationError, Cause("its certificate is not accepted", _AUTHORITY)),
    # Before TLS: a handshake that is given up leaves an unfinished read of TLS behind.
    (httpx.TimeoutException, Cause("no answer in time", _NETWORK)),
    (UpstreamTimeout, Cause("no answer in time", _NETWORK)),
    (ssl.SSLError, Cause("TLS cannot be agreed on", "check scheme and port of the URL, and any proxy")),
    (
        socket.gaierror,
        Cause(
            "its host name cannot be resolved",
            "check the spelling of the URL and this machine's DNS; where a proxy is needed, HTTPS_PROXY",
        ),
    ),
    (httpx.ProxyError, Cause("the proxy lets nothing through", "check HTTPS_PROXY and NO_PROXY")),
    (ConnectionRefusedError, Cause("the connection is refused", _NETWORK)),
    (UpstreamUnreachable, Cause("the connection fails", _NETWORK)),
    (UpstreamLimited, Cause("its rate limit is reached", "wait: the gateway asks again by itself")),
    (UpstreamFailed, Cause("it answers with a server error", "wait, or see SAP's status page")),
    (UpstreamDenied, Cause("the credential is refused")),
    (UpstreamMissing, Cause("nothing is there")),
    (UpstreamRefused, Cause("the request is refused")),
    (
        UpstreamBroken,
        Cause("its answer is not usable", "check the URL: a proxy or a login page may answer in its place"),
    ),
)

_OTHER = Cause("an unforeseen failure", "see the log")

_OUR_CERTIFICATE = Cause(
    "the client certificate is not usable", "create a new service key: X.509 ones live for days only"
)

# What OpenSSL says while it reads that certificate and its key, and a server's alert when it is shown.
_OURS = re.compile(r"X509|PEM|ALERT_\w*(CERTIFICATE|CA\b)|CERTIFICATE_(REQUIRED|EXPIRED|REVOKED|UNKNOWN)")

_KINDS: Mapping[int, type[UpstreamError]] = {
    400: UpstreamRefused,
    401: UpstreamDenied,
    403: UpstreamDenied,
    404: UpstreamMissing,
    429: UpstreamLimited,
}


def cause_of(error: BaseException) -> Cause:
    """Return what is behind an error: the most telling of all that it was raised from."""
    chain = list(_chain(error))
    for kind, cause in _CAUSES:
        for one in chain:
            if isinstance(one, kind):
                return _in_detail(one, cause)
    return _OTHER


def root_text(error: BaseException) -> str:
    """Return what the system said, in the words of a log line; empty when it said nothing."""
    for one in _chain(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {one.verify_message}"
        if isinstance(one, socket.gaierror):
            return f"its name cannot be resolved: {one.strerror}"
        if isinstance(one, ConnectionRefusedError):
            return "the connection is refused"
    return ""


def kind_of(status: int) -> type[UpstreamError]:
    """Return the failure that a status of the control plane stands for."""
    return _KINDS.get(status, UpstreamFailed if status >= 500 else UpstreamBroken)


def is_about_trust(error: BaseException) -> bool:
    """Whether a certificate is at fault: asking again at once changes nothing."""
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in _chain(error))


def _in_detail(error: BaseException, cause: Cause) -> Cause:
    if isinstance(error, ssl.SSLCertVerificationError):
        return cause._replace(advice=_CERTIFICATE_ADVICE.get(error.verify_code, _AUTHORITY))
    if isinstance(error, ssl.SSLError) and _OURS.search(str(error)):
        return _OUR_CERTIFICATE
    return cause


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        # A group has one failure for each address of the host; the first tells as much as any.
        # httpcore raises some of its errors without a cause: only the context knows.
        behind = error.__cause__ or error.__context__
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else behind
