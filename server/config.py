"""Make `Settings` of a configuration file, the environment and the command line; or say all that is wrong.

The command line wins over the environment, the environment over the file. Without a file the tenant comes
from the variables, profiles and bindings that SAP's SDKs know.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from server.accounts import Place, sub_accounts
from server.ancestors import adapted
from server.document import ConfigDocument
from server.environment import apply_environment, apply_overrides
from server.faults import ConfigError, Fault, Faults
from server.names import client_keys, model_options
from server.reading import filled_in, is_there, read_document
from server.settings import Cors, Settings
from server.validation import Positions, validated

__all__ = ["DEFAULT_FILES", "ConfigError", "Fault", "Settings", "load"]

DEFAULT_FILES = ("config.json", "config.yaml", "config.yml")

_KEYS = "secret_authentication_tokens"
_TAKEN_OVER = (
    *("host", "port", "log_level", "allow_anonymous", "api_version", "routing", "timeouts", "dedup", "cache"),
    *("pool", "limits", "redis", "discovery", "images", "embeddings", "recorder"),
    *("drain_seconds", "drain_lead_seconds"),
)


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> Settings:
    """Read the configuration.

    `path` is the file asked for on the command line; without it CONFIG_PATH, `config.json`, `config.yaml` and
    `config.yml` are tried. `environ` is the process's own environment unless given. `overrides` are the
    command line's values: key, dotted where it is nested → value, None for an option that was not given.
    Raises `ConfigError` with every fault at once.
    """
    environ = os.environ if environ is None else environ
    faults, notes = Faults(), list[str]()
    file = _file(path, environ, notes)
    source = str(file) if file else "the environment"
    written = adapted(read_document(file, faults), notes) if file else {}
    unreadable = bool(faults) and not written
    document = filled_in(written, environ, faults)
    apply_environment(document, environ, faults, notes)
    apply_overrides(document, overrides, faults)
    config, positions = validated(ConfigDocument, document, written, faults)
    if config is None or unreadable:
        raise ConfigError(faults, source=source)

    place = Place(environ, file.parent if file else Path(), has_file=file is not None)
    return _settings(config, positions, place, source, faults, notes)


def _settings(
    config: ConfigDocument, positions: Positions, place: Place, source: str, faults: Faults, notes: list[str]
) -> Settings:
    accounts = sub_accounts(config, place, faults, notes)
    keys = client_keys(config.secret_authentication_tokens, positions, faults, notes)
    models = model_options(config, positions, faults)
    _check_exposure(config, faults, notes)
    _check_cache(config, faults)
    if faults:
        raise ConfigError(faults, source=source)
    return Settings(
        sub_accounts=accounts,
        client_keys=keys,
        models=models,
        workers=config.workers or _cores(),
        cors=_cors(config),
        source=source,
        notes=tuple(notes),
        **{name: getattr(config, name) for name in _TAKEN_OVER},
    )


def _file(path: Path | None, environ: Mapping[str, str], notes: list[str]) -> Path | None:
    if path is not None:
        return path
    if named := environ.get("CONFIG_PATH"):
        if is_there(Path(named)):
            return Path(named)
        notes.append(f"CONFIG_PATH names {named}, which does not exist.")
    return next((Path(name) for name in DEFAULT_FILES if is_there(Path(name))), None)


def _cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_exposure(config: ConfigDocument, faults: Faults, notes: list[str]) -> None:
    if config.secret_authentication_tokens:
        return
    if is_loopback(config.host):
        notes.append("There are no client keys: whoever is on this machine may call.")
    elif config.allow_anonymous:
        notes.append(f"There are no client keys: whoever reaches {config.host} may call.")
    else:
        faults.follow(
            (_KEYS,),
            f"is empty, and {config.host} can be reached from other machines",
            "add a key (make one with: aicore-gateway keys new), listen on 127.0.0.1, or set allow_anonymous",
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address; a name other than localhost is not trusted."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _cors(config: ConfigDocument) -> Cors:
    """Without client keys no web page is let in unasked: any that the user visits could read answers."""
    if config.secret_authentication_tokens or "cors" in config.model_fields_set:
        return config.cors
    return Cors(origins=())


def _check_cache(config: ConfigDocument, faults: Faults) -> None:
    if config.cache.enabled and config.cache.store == "redis" and config.redis.host is None:
        faults.follow(("cache", "store"), "is redis, and there is none", "set redis.host, or use memory")
