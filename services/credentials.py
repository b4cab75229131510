"""One OAuth client of an SAP AI Core tenant: what a token request and an API call need to know.

Reading service keys, files and the environment is not done here (wire §1).
"""

from __future__ import annotations

from dataclasses import dataclass, field

OAUTH_PATH = "/oauth/token"
API_PATH = "/v2"


@dataclass(frozen=True, slots=True)
class Credential:
    """A client id with exactly one proof: a secret, or a certificate with its private key.

    `token_url` ends in `/oauth/token` (of the certificate host for X.509), `api_url` in `/v2`; both are
    completed when that is missing. The representation shows no secret. Raises `ValueError` when there is
    no proof, or more than one.
    """

    name: str
    """The sub-account, for logs and metrics."""
    client_id: str
    token_url: str
    api_url: str
    client_secret: str | None = field(default=None, repr=False)
    cert_pem: str | None = field(default=None, repr=False)
    key_pem: str | None = field(default=None, repr=False)
    tenant_id: str = ""
    """`identityzoneid`, sent as `AI-Tenant-Id`; may be empty."""

    def __post_init__(self) -> None:
        if (self.cert_pem is None) != (self.key_pem is None):
            raise ValueError(f"{self.name}: a certificate and its private key belong together")
        if (self.client_secret is None) == (self.cert_pem is None):
            raise ValueError(f"{self.name}: either a client secret or a certificate is needed")
        object.__setattr__(self, "token_url", _ending_in(OAUTH_PATH, self.token_url))
        object.__setattr__(self, "api_url", _ending_in(API_PATH, self.api_url))


def _ending_in(path: str, url: str) -> str:
    url = url.strip().rstrip("/")
    return url if url.endswith(path) else url + path
