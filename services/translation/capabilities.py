"""What each model accepts, and how its deployments are spoken to: `catalogue.toml`, compiled.

The only place that reads the data file. A model is found by its exact name, then by the first pattern
that matches; a deployment's executable, known from discovery, overrides the catalogue's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

EMBEDDINGS = "embeddings"
CHAT = "chat"


class FieldRule(msgspec.Struct, frozen=True):
    """What becomes of one field of a request. Exactly one of the three kinds.

    `rename_to`: it goes up under that name. `refuse`: 400, unless the value is in `allowed`.
    Neither: it is dropped, unless `kept_at_effort` is the request's `reasoning_effort`.
    """

    why: str = ""
    rename_to: str | None = None
    refuse: bool = False
    allowed: tuple[Any, ...] = ()
    kept_at_effort: str | None = None


class ModelFacts(msgspec.Struct, frozen=True):
    """What is known of a model. Zero and empty mean: not known."""

    executable: str = ""
    dialect: str = ""
    """The wire form its deployments speak; empty when this gateway does not speak it."""
    modes: tuple[str, ...] = (CHAT,)
    context_length: int = 0
    max_output_tokens: int = 0
    inputs: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    model_in_body: bool = False
    finish_fix: bool = False
    fields: Mapping[str, FieldRule] = msgspec.field(default_factory=dict)


class _Executable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dialect: str
    rules: tuple[str, ...]
    model_in_body: bool
    finish_fix: bool = False


class _Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: tuple[str, ...]
    executable: str
    rules: tuple[str, ...] = ()
    modes: tuple[str, ...] = (CHAT,)
    context_length: int = 0
    max_output_tokens: int = 0
    inputs: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    sampling_at_effort: str | None = None


class _Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    why: str
    allowed: tuple[Any, ...]


class _RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    drop: Mapping[str, str] = {}
    refuse: Mapping[str, _Refusal] = {}
    rename: Mapping[str, str] = {}


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole data file."""

    rules: Mapping[str, _RuleSet]
    executables: Mapping[str, _Executable]
    models: tuple[_Model, ...]


@cache
def catalogue() -> Catalogue:
    """Read the data file that is shipped with the package."""
    text = files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Catalogue)


def facts_for(model: str, executable: str = "") -> ModelFacts:
    """Return what is known of a backend model whose deployment runs `executable` ("" if unknown)."""
    entry = _entry(model)
    kind = executable or (entry.executable if entry else "")
    spoken = catalogue().executables.get(kind)
    if entry is None or entry.executable != kind:
        # Discovery knows better what runs there: the model's rules were made for another executable.
        entry = _Model(
            names=(model,),
            executable=kind,
            modes=entry.modes if entry else (CHAT,),
            context_length=entry.context_length if entry else 0,
        )
    rules = (*(spoken.rules if spoken else ()), *entry.rules)
    return ModelFacts(
        executable=kind,
        dialect=spoken.dialect if spoken else "",
        modes=entry.modes,
        context_length=entry.context_length,
        max_output_tokens=entry.max_output_tokens,
        inputs=entry.inputs,
        efforts=entry.efforts,
        model_in_body=bool(spoken and spoken.model_in_body),
        finish_fix=bool(spoken and spoken.finish_fix),
        fields=_field_rules(rules, entry.sampling_at_effort),
    )


def override(
    facts: ModelFacts,
    *,
    keep: Iterable[str] = (),
    drop: Iterable[str] = (),
    refuse: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
) -> ModelFacts:
    """Return the facts with field rules of the configuration on top."""
    fields = {name: rule for name, rule in facts.fields.items() if name not in set(keep)}
    why = "the gateway's configuration says so for this model"
    fields |= {name: FieldRule(why=why) for name in drop}
    fields |= {name: FieldRule(why=why, refuse=True) for name in refuse}
    fields |= {name: FieldRule(why=why, rename_to=to) for name, to in (rename or {}).items()}
    return msgspec.structs.replace(facts, fields=fields)


def _entry(model: str) -> _Model | None:
    models = catalogue().models
    for entry in models:
        if model in entry.names:
            return entry
    for entry in models:
        if any(fnmatchcase(model, pattern) for pattern in entry.names):
            return entry
    return None


def _field_rules(names: Iterable[str], sampling_at_effort: str | None) -> dict[str, FieldRule]:
    fields: dict[str, FieldRule] = {}
    for name in names:
        rules = catalogue().rules[name]
        for field, why in rules.drop.items():
            fields[field] = FieldRule(
                why=why, kept_at_effort=sampling_at_effort if name == "reasoning" else None
            )
        for field, refusal in rules.refuse.items():
            fields[field] = FieldRule(why=refusal.why, refuse=True, allowed=refusal.allowed)
        for field, to in rules.rename.items():
            fields[field] = FieldRule(rename_to=to)
    return fields
