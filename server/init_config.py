"""Build a first configuration document from a credential and the deployments that were found with it.

Pure: reading the service key, asking SAP AI Core and writing the file are left to the command line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from server.keys import NewKey


def from_key_file(
    service_key_json: str,
    *,
    found: Iterable[tuple[str, str]] = (),
    resource_group: str = "default",
    key: NewKey | None = None,
    name: str = "default",
) -> dict[str, Any]:
    """Return a document that names a service key file.

    `found` are pairs of model and deployment id, `key` the first client key; only its SHA-256 is written.
    """
    account = {
        "resource_group": resource_group,
        "service_key_json": service_key_json,
        "deployment_ids": _by_model(found),
    }
    return {**_head(key), "subAccounts": {name: account}}


def from_variables(
    environ: Mapping[str, str],
    *,
    found: Iterable[tuple[str, str]] = (),
    key: NewKey | None = None,
) -> dict[str, Any]:
    """Return a document without a credential: that stays in the AICORE_* variables, where it was found."""
    group = environ.get("AICORE_RESOURCE_GROUP")
    named = {"resource_group": group} if group else {}
    return {**_head(key), **named, "deployment_ids": _by_model(found)}


def text_of(document: Mapping[str, Any]) -> str:
    """Return the document as it is written to a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _head(key: NewKey | None) -> dict[str, Any]:
    tokens = [{"name": "first", "sha256": key.sha256.removeprefix("sha256:")}] if key else []
    return {"host": "127.0.0.1", "port": 3001, "secret_authentication_tokens": tokens}


def _by_model(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Group deployment ids by model, sorted; a deployment without a model is left out."""
    models: dict[str, list[str]] = {}
    for model, deployment in sorted(set(found)):
        if model:
            models.setdefault(model, []).append(deployment)
    return models
