"""The sub-accounts of a checked document: each with its credential, and its options for the services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from server import credentials
from server.document import RESOURCE_GROUP, Account, ConfigDocument, ModelFilters, SubAccountDocument
from server.faults import Faults, Path, spelled
from server.settings import SubAccount
from services.credentials import Credential
from services.options import SubAccountOptions, Target

ONLY = "default"
"""The name of the sub-account that the configuration does not name."""

_NO_CREDENTIAL = """configure it in one of three ways:
    1. a file: --config config.json, CONFIG_PATH, or config.json or config.yaml in the working directory
       (aicore-gateway init writes one from a service key)
    2. variables: AICORE_SERVICE_KEY with the whole service key, or AICORE_CLIENT_ID, AICORE_CLIENT_SECRET,
       AICORE_AUTH_URL and AICORE_BASE_URL
    3. what is there for SAP's SDKs: ~/.aicore/config.json, or a binding in VCAP_SERVICES"""

# Own keys of the flat format; the older proxy's are accepted with a note.
_FLAT_ONLY = ("service_key", "discover", "include", "exclude")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the configuration is read: its variables, and the directory that paths begin at."""

    environ: Mapping[str, str]
    base: FilePath
    has_file: bool


def sub_accounts(
    config: ConfigDocument, place: Place, faults: Faults, notes: list[str]
) -> tuple[SubAccount, ...]:
    """Return those whose credential is whole; every other one leaves a fault."""
    if config.subAccounts is None:
        found = [_only(config, place, faults, notes)]
    else:
        _check_flat(config, faults)
        found = [
            _made(name, account, _credential(name, account, ("subAccounts", name), place, faults), config)
            for name, account in config.subAccounts.items()
        ]
        if not found:
            faults.follow(("subAccounts",), "is empty", "describe at least one sub-account")
    return tuple(account for account in found if account is not None)


def _check_flat(config: ConfigDocument, faults: Faults) -> None:
    for key in _FLAT_ONLY:
        if key in config.model_fields_set:
            faults.follow(
                (key,), "belongs to one sub-account", "move it into the sub-accounts that it is for"
            )


def _only(config: ConfigDocument, place: Place, faults: Faults, notes: list[str]) -> SubAccount | None:
    if config.service_key_json or config.service_key is not None:
        return _made(ONLY, config, _credential(ONLY, config, (), place, faults), config)
    known = len(list(faults))
    found = credentials.from_environment(place.environ, name=ONLY, faults=faults, api_url=_api_url(config))
    if found.credential is None:
        # A document with faults may say it in the part that is wrong.
        if len(list(faults)) == known and not (place.has_file and known):
            faults.add_outside("credentials", _nothing(notes), _NO_CREDENTIAL)
        return None
    group = config.resource_group
    if "resource_group" not in config.model_fields_set:
        group = found.resource_group
        if not RESOURCE_GROUP.match(group):
            faults.add_outside(
                "AICORE_RESOURCE_GROUP", "is not a resource group", "3 to 253 letters, digits, dots, hyphens"
            )
    notes.append(f"The credential comes from {found.source}.")
    return _made(ONLY, config, found.credential, config, group=group)


def _nothing(notes: list[str]) -> str:
    missing = next((note for note in notes if note.startswith("CONFIG_PATH")), "")
    return f"there are none for SAP AI Core{f' ({missing[:-1]})' if missing else ''}"


def _credential(name: str, account: Account, path: Path, place: Place, faults: Faults) -> Credential | None:
    if account.service_key_json and account.service_key is not None:
        faults.follow((*path, "service_key"), "is given beside service_key_json", "keep one of the two")
        return None
    if account.service_key_json:
        return credentials.read_service_key(
            account.service_key_json,
            name=name,
            base=place.base,
            faults=faults,
            place=spelled((*path, "service_key_json")),
            api_url=_api_url(account),
        )
    if account.service_key is None:
        faults.follow(
            path, "has no credential", "give service_key_json (a file) or service_key (the object itself)"
        )
        return None

    def report(member: str, problem: str, remedy: str) -> None:
        inside = tuple(member.split(".")) if member else ()
        faults.add((*path, "service_key", *inside), problem, remedy)

    return credentials.from_service_key(
        account.service_key, name=name, report=report, api_url=_api_url(account)
    )


def _api_url(account: Account) -> str:
    """Return the API that the first configured deployment belongs to; some service keys do not name it."""
    urls = (entry.url for entries in account.deployment_models.values() for entry in entries)
    return next((credentials.api_url_of(url) for url in urls), "")


def _made(
    name: str,
    account: Account,
    credential: Credential | None,
    config: ConfigDocument,
    *,
    group: str | None = None,
) -> SubAccount | None:
    if credential is None:
        return None
    filters = _filters(account, config)
    options = SubAccountOptions(
        name=name,
        resource_group=group or account.resource_group,
        deployment_models=_targets(account.deployment_models, "url"),
        deployment_ids=_targets(account.deployment_ids, "id"),
        weight=account.weight if isinstance(account, SubAccountDocument) else 1.0,
        discover=account.discover,
        include=account.include,
        exclude=account.exclude,
        include_filters=filters.include_filters,
        exclude_filters=filters.exclude_filters,
    )
    return SubAccount(credential, options)


def _filters(account: Account, config: ConfigDocument) -> ModelFilters:
    """Return a sub-account's own filters, or the ones that a fork of the older proxy has at the top level."""
    return account.model_filters if "model_filters" in account.model_fields_set else config.model_filters


def _targets(entries: Mapping[str, tuple[Any, ...]], member: str) -> dict[str, tuple[Target, ...]]:
    return {
        model: tuple(Target(getattr(entry, member), entry.weight) for entry in group)
        for model, group in entries.items()
    }
