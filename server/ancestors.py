"""Keys of the proxies that this gateway replaces: taken over where they mean the same, otherwise noted.

Nothing is dropped in silence: every key without effect leaves a sentence for the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Document = dict[str, Any]

# Keys of a sub-account, or of the flat format, that have another name here.
_RENAMED: Mapping[str, str] = {
    "auto_discover_deployments": "discover",
    "include_patterns": "include",
    "exclude_patterns": "exclude",
}

# Top-level keys without effect → what to know instead.
_WITHOUT_EFFECT: Mapping[str, str] = {
    "debug": "use log_level",
    "log_requests": "use recorder to keep traffic for replay; no log line carries a prompt",
    "refresh_cache": "discovered deployments are kept in memory only, see discovery.refresh_seconds",
    "ca_cert_bundle": "a private authority must be in the system's trust store",
}

_FLAT_KEYS = ("service_key_json", "deployment_models", "deployment_ids", "resource_group")


def adapted(document: Mapping[str, Any], notes: list[str]) -> Document:
    """Return the document in today's names. A sentence is added to `notes` for what has no effect."""
    found = {key: value for key, value in document.items() if _has_effect(key, value, notes)}
    found = _renamed(found)
    found = _with_refresh(found)
    accounts = found.get("subAccounts")
    if isinstance(accounts, dict):
        found["subAccounts"] = {name: _each(_renamed, account) for name, account in accounts.items()}
        _without_flat_keys(found, notes)
    return found


def _has_effect(key: str, value: Any, notes: list[str]) -> bool:
    if key not in _WITHOUT_EFFECT:
        return True
    if value is not None:
        notes.append(f"{key} has no effect here: {_WITHOUT_EFFECT[key]}.")
    return False


def _each(change: Callable[[Document], Document], value: Any) -> Any:
    return change(value) if isinstance(value, dict) else value


def _renamed(found: Document) -> Document:
    # Both names at once: today's wins the place, the old one stays and is reported as unknown.
    return {_RENAMED[key] if _RENAMED.get(key, key) not in found else key: one for key, one in found.items()}


def _with_refresh(found: Document) -> Document:
    old = "discovery_refresh_interval_seconds"
    if old not in found or not isinstance(found.get("discovery", {}), dict):
        return found
    discovery = {"refresh_seconds": found[old], **found.get("discovery", {})}
    return {**{key: value for key, value in found.items() if key != old}, "discovery": discovery}


def _without_flat_keys(found: Document, notes: list[str]) -> None:
    for key in _FLAT_KEYS:
        if key in found:
            del found[key]
            notes.append(
                f"{key} at the top level has no effect beside subAccounts; each of those has its own."
            )
