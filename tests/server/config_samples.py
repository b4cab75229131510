"""Service keys and small configurations for the tests of the configuration. No secret in here is one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from server.config import ConfigError, Settings, load

API = "https://api.ai.prod.eu-central-1.aws.ml.hana.ondemand.com"
AUTH = "https://my-subdomain.authentication.eu10.hana.ondemand.com"
CERT_AUTH = "https://my-subdomain.authentication.cert.eu10.hana.ondemand.com"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\nMIIC\n-----END PRIVATE KEY-----\n"
SECRET = "not-a-real-secret$placeholder="
KEY = "sk-test-0123456789abcdef"

SERVICE_KEY: dict[str, Any] = {
    "serviceurls": {"AI_API_URL": API},
    "appname": "6f0a1c2e!b123|aicore!b540",
    "clientid": "sb-6f0a1c2e!b123|aicore!b540",
    "clientsecret": SECRET,
    "identityzone": "my-subdomain",
    "identityzoneid": "9a1b2c3d-0000-1111-2222-333344445555",
    "url": AUTH,
}
X509_KEY: dict[str, Any] = {
    **{name: value for name, value in SERVICE_KEY.items() if name != "clientsecret"},
    "certificate": CERTIFICATE.replace("\n", "\\n"),
    "key": PRIVATE_KEY,
    "certurl": CERT_AUTH,
}


def url(deployment: str = "d19b998f347341aa") -> str:
    """Return the URL of a deployment."""
    return f"{API}/v2/inference/deployments/{deployment}"


def account(**more: Any) -> dict[str, Any]:
    """Return a sub-account that is whole."""
    return {"service_key": SERVICE_KEY, **more}


def document(**more: Any) -> dict[str, Any]:
    """Return a configuration that is whole, with one sub-account called prod."""
    return {"subAccounts": {"prod": account()}, "secret_authentication_tokens": [KEY], **more}


def write(directory: Path, content: Any, name: str = "config.json") -> Path:
    """Write a document, or a text as it is, and return the file."""
    file = directory / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


class Loader:
    """Loads documents from one directory, in an environment without anything of this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(
        self,
        content: Any = None,
        *,
        name: str = "config.json",
        environ: Mapping[str, str] = {},
        **overrides: Any,
    ) -> Settings:
        """Load a document, or what the directory and the environment hold."""
        file = None if content is None else write(self.directory, content, name)
        return load(file, environ={"HOME": str(self.directory), **environ}, overrides=overrides)

    def faults(self, content: Any = None, **more: Any) -> dict[str, str]:
        """Return the faults of a document that must not load: place → problem and remedy."""
        with pytest.raises(ConfigError) as caught:
            self(content, **more)
        return {fault.where: f"{fault.problem}; {fault.remedy}" for fault in caught.value.faults}
