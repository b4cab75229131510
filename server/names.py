"""Who may call, and what the models are called: client keys and model options of a checked document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from server.document import ClientKeyDocument, ConfigDocument, ModelDocument
from server.faults import Faults, Path, spelled, unknown
from server.keys import digest
from server.settings import ClientKey
from server.validation import Positions
from services.options import ModelOptions, RuleOverrides, TimeoutOverrides
from services.translation.rules import fault_of_default

_KEYS = "secret_authentication_tokens"
_SHORT_KEY_CHARACTERS = 16


def client_keys(
    entries: Sequence[ClientKeyDocument], positions: Positions, faults: Faults, notes: list[str]
) -> tuple[ClientKey, ...]:
    """Return the keys as digests. A key or a name given twice is a fault, a short key leaves a note."""
    by_digest: dict[bytes, Path] = {}
    by_name: dict[str, Path] = {}
    found = []
    for place, entry in enumerate(entries):
        path = positions.written((_KEYS, place))
        name = entry.name or f"key-{int(path[-1]) + 1}"
        hashed = bytes.fromhex(entry.sha256) if entry.sha256 else digest(entry.plain)
        if (first := by_digest.setdefault(hashed, path)) != path:
            faults.follow(path, f"is the same key as {spelled(first)}", "remove one of them")
        elif (first := by_name.setdefault(name, path)) != path:
            faults.follow(path, f"has the same name as {spelled(first)}", "give each key its own name")
        if entry.key is not None and len(entry.plain) < _SHORT_KEY_CHARACTERS:
            notes.append(
                f"Client key {name} is short: aicore-gateway keys new makes one that cannot be guessed."
            )
        found.append(
            ClientKey(name, hashed, entry.models, entry.requests_per_minute, heartbeats=entry.heartbeats)
        )
    return tuple(found)


def model_options(config: ConfigDocument, positions: Positions, faults: Faults) -> dict[str, ModelOptions]:
    """Return the options of each public name; names that clash or lead nowhere are faults."""
    _check_aliases(config, positions, faults)
    _check_fallbacks(config, positions, faults)
    _check_sub_accounts(config, positions, faults)
    _check_defaults(config, positions, faults)
    return {name: _options(model) for name, model in config.models.items()}


def _options(model: ModelDocument) -> ModelOptions:
    rules, timeouts = model.rules, model.timeouts
    return ModelOptions(
        aliases=model.aliases,
        model=model.model,
        family=model.family,
        api_version=model.api_version,
        defaults=model.defaults,
        fallbacks=model.fallbacks,
        weights=model.weights,
        sub_accounts=model.sub_accounts,
        hidden=model.hidden,
        context_length=model.context_length,
        max_output_tokens=model.max_output_tokens,
        capabilities=model.capabilities.model_dump(exclude_none=True),
        orchestration=model.orchestration,
        rules=RuleOverrides(rules.keep, rules.drop, rules.refuse, rules.rename),
        timeouts=TimeoutOverrides(**timeouts.model_dump()),
        max_in_flight=model.max_in_flight,
        hold=model.hold,
    )


def _each(config: ConfigDocument, member: str, positions: Positions) -> Iterator[tuple[str, str, Path]]:
    """Go through one list of names of all models: the model, the name in the list, its path as written."""
    for model, options in config.models.items():
        for place, name in enumerate(getattr(options, member)):
            yield model, name, positions.written(("models", model, member, place))


def _check_aliases(config: ConfigDocument, positions: Positions, faults: Faults) -> None:
    owners: dict[str, str] = {}
    for model, alias, path in _each(config, "aliases", positions):
        if alias in config.models and alias != model:
            faults.follow(path, f'"{alias}" is a model itself', "choose another alias")
        elif (owner := owners.setdefault(alias, model)) != model:
            faults.follow(path, f'"{alias}" is an alias of {owner} too', "keep it for one of them")


def _check_fallbacks(config: ConfigDocument, positions: Positions, faults: Faults) -> None:
    known = _all_names(config)
    for model, fallback, path in _each(config, "fallbacks", positions):
        if fallback == model:
            faults.follow(path, "names the model itself", "name another model, or remove it")
        elif known is not None and not any(fnmatchcase(fallback, name) for name in known):
            faults.follow(path, f'"{fallback}" is no configured model', unknown(fallback, known))


def _check_defaults(config: ConfigDocument, positions: Positions, faults: Faults) -> None:
    for model, options in config.models.items():
        for name, value in options.defaults.items():
            if wrong := fault_of_default(name, value):
                path = positions.written(("models", model, "defaults", name))
                faults.follow(path, f"does not fit: {wrong}", "write it as in a chat completions request")


def _all_names(config: ConfigDocument) -> set[str] | None:
    """Return every name that can be asked for; None where discovery may bring more."""
    accounts = [config] if config.subAccounts is None else [*config.subAccounts.values()]
    if any(account.discover for account in accounts):
        return None
    aliases = {alias for model in config.models.values() for alias in model.aliases}
    return aliases.union(
        config.models, *(a.deployment_models for a in accounts), *(a.deployment_ids for a in accounts)
    )


def _check_sub_accounts(config: ConfigDocument, positions: Positions, faults: Faults) -> None:
    known = ["default"] if config.subAccounts is None else [*config.subAccounts]
    for _, name, path in _each(config, "sub_accounts", positions):
        if name not in known:
            faults.follow(path, f'"{name}" is no sub-account', unknown(name, known))
