"""Files from which a gateway, or SAP's own SDK, can start against the simulator.

alpha.key.json …      service keys (wire §1.1)
config.json           the older proxy's format, deployments left to discovery
config.static.json    the same with the deployment URLs written out
alpha.env …           AICORE_* variables as `export` lines
alpha.aicore.json …   the same as a profile file of the SDK
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perf.simulator.tenants import Tenant

CLIENT_KEY = "sk-simulator"
"""The key that clients of the gateway show."""


def write(directory: Path, tenants: Iterable[Tenant]) -> list[Path]:
    """Write all files, made readable for the owner only; returns their paths. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    tenants = list(tenants)
    texts = {
        "config.json": _json(_config(tenants, static=False)),
        "config.static.json": _json(_config(tenants, static=True)),
    }
    for tenant in tenants:
        texts[f"{tenant.name}.key.json"] = _json(tenant.service_key())
        texts[f"{tenant.name}.aicore.json"] = _json(tenant.environment())
        texts[f"{tenant.name}.env"] = _exports(tenant.environment())
    return [_write(directory / name, text) for name, text in texts.items()]


def _config(tenants: list[Tenant], *, static: bool) -> dict[str, Any]:
    return {
        "subAccounts": {tenant.name: _sub_account(tenant, static=static) for tenant in tenants},
        "secret_authentication_tokens": [CLIENT_KEY],
        "host": "127.0.0.1",
        "port": 3001,
    }


def _sub_account(tenant: Tenant, *, static: bool) -> dict[str, Any]:
    account: dict[str, Any] = {
        "resource_group": tenant.resource_groups[0],
        "service_key_json": f"{tenant.name}.key.json",
    }
    if static:
        urls: dict[str, list[str]] = {}
        for deployment in tenant.deployments:
            if deployment.model is not None and deployment.status == "RUNNING":
                urls.setdefault(deployment.model.name, []).append(deployment.url)
        account["deployment_models"] = urls
    return account


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _exports(variables: dict[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _write(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path
