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
RESPONSES = "responses"
ORCHESTRATION = "orchestration"

FieldRules = Mapping[str, "FieldRule"]


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
    thinking: str = ""
    """How thinking is asked for: "budget", "adaptive", "either", "level" or, where it is not, empty."""
    json_schema: str = "native"
    """How an answer is made to fit a schema: "native", by a "tool" that is called with it, or a "hint"."""
    tools_with_effort: str = CHAT
    """Which API takes function tools and `reasoning_effort` together (wire §5.1)."""
    batch: int = 0
    """How many inputs one embeddings call takes; 0 for as many as come."""
    flags: frozenset[str] = frozenset()
    """Further habits of the model; `catalogue.toml` explains each."""
    betas: frozenset[str] = frozenset()
    """Anthropic beta flags that it takes."""
    fields: FieldRules = msgspec.field(default_factory=dict)
    """Rules for requests under their canonical names (those of chat completions)."""
    native: Mapping[str, FieldRules] = msgspec.field(default_factory=dict)
    """Surface → rules for requests that are passed through in that surface's own names."""


class _Dialect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[str, ...] = ()
    native: Mapping[str, tuple[str, ...]] = {}
    model_in_body: bool = False
    finish_fix: bool = False


class _Executable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dialect: str


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
    dialect: str = ""
    native: Mapping[str, tuple[str, ...]] = {}
    thinking: str = ""
    json_schema: str = "native"
    tools_with_effort: str = CHAT
    batch: int = 0
    flags: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()


class _Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    why: str
    allowed: tuple[Any, ...]


class _RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    drop: Mapping[str, str] = {}
    refuse: Mapping[str, _Refusal] = {}
    rename: Mapping[str, str] = {}


class _Betas(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allow: frozenset[str]
    rename: Mapping[str, str]


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole data file."""

    rules: Mapping[str, _RuleSet]
    dialects: Mapping[str, _Dialect]
    executables: Mapping[str, _Executable]
    betas: _Betas
    models: tuple[_Model, ...]


@cache
def catalogue() -> Catalogue:
    """Read the data file that is shipped with the package."""
    text = files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Catalogue)


def facts_for(model: str, executable: str = "", dialect: str = "") -> ModelFacts:
    """Return what is known of a backend model whose deployment runs `executable` ("" if unknown).

    `dialect` is the wire form where the configuration knows better than the catalogue.
    """
    entry = _entry(model)
    kind = executable or (entry.executable if entry else "")
    spoken = catalogue().executables.get(kind)
    own = entry
    if own is not None and kind == ORCHESTRATION:
        # Every model's habits reach through the envelope (wire §5.5), and what its own dialect cannot say.
        rules = catalogue().dialects[_dialect_of(own)].rules
        own = msgspec.structs.replace(
            own, executable=kind, dialect="", rules=(*rules, *own.rules), native={}, tools_with_effort=CHAT
        )
    if own is None or own.executable != kind:
        # Discovery knows better what runs there: the model's rules were made for another executable.
        own = _Model(
            names=(model,),
            executable=kind,
            modes=entry.modes if entry else (CHAT,),
            context_length=entry.context_length if entry else 0,
        )
    name = dialect or own.dialect or (spoken.dialect if spoken else "")
    manner = catalogue().dialects.get(name, _Dialect())
    surfaces = dict.fromkeys((*manner.native, *own.native))
    return ModelFacts(
        executable=kind,
        dialect=name,
        modes=own.modes,
        context_length=own.context_length,
        max_output_tokens=own.max_output_tokens,
        inputs=own.inputs,
        efforts=own.efforts,
        model_in_body=manner.model_in_body,
        finish_fix=manner.finish_fix,
        thinking=own.thinking,
        json_schema=own.json_schema,
        tools_with_effort=own.tools_with_effort,
        batch=own.batch,
        flags=own.flags,
        betas=catalogue().betas.allow if name == "claude" else frozenset(),
        fields=_field_rules((*manner.rules, *own.rules), own.sampling_at_effort),
        native={
            surface: _field_rules((*manner.native.get(surface, ()), *own.native.get(surface, ())))
            for surface in surfaces
        },
    )


def names_on(executable: str) -> tuple[str, ...]:
    """Return the exact names of the models that the catalogue knows to run there."""
    entries = (entry for entry in catalogue().models if entry.executable == executable)
    return tuple(name for entry in entries for name in entry.names if "*" not in name)


def aliases_for(model: str) -> tuple[int, tuple[str, ...]]:
    """Return the short names that the catalogue gives a backend model, and its place there: newest first."""
    for place, entry in enumerate(catalogue().models):
        if model in entry.names:
            return place, entry.aliases
    return 0, ()


def beta_flags(asked: Iterable[str], facts: ModelFacts) -> tuple[str, ...]:
    """Return the Anthropic beta flags that may go up, renamed where Bedrock's name differs (wire §5.2)."""
    rename = catalogue().betas.rename
    named = (rename.get(flag, flag) for flag in asked)
    return tuple(dict.fromkeys(flag for flag in named if flag in facts.betas))


def override(
    facts: ModelFacts,
    *,
    keep: Iterable[str] = (),
    drop: Iterable[str] = (),
    refuse: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
) -> ModelFacts:
    """Return the facts with field rules of the configuration on top, for requests that pass through too."""
    why = "the gateway's configuration says so for this model"
    own = {name: FieldRule(why=why) for name in drop}
    own |= {name: FieldRule(why=why, refuse=True) for name in refuse}
    own |= {name: FieldRule(why=why, rename_to=to) for name, to in (rename or {}).items()}
    kept = frozenset(keep)

    def changed(rules: FieldRules) -> FieldRules:
        return {name: rule for name, rule in rules.items() if name not in kept} | own

    native = {surface: changed(rules) for surface, rules in facts.native.items()}
    return msgspec.structs.replace(facts, fields=changed(facts.fields), native=native)


def _entry(model: str) -> _Model | None:
    models = catalogue().models
    for entry in models:
        if model in entry.names:
            return entry
    for entry in models:
        if any(fnmatchcase(model, pattern) for pattern in entry.names):
            return entry
    return None


def _dialect_of(entry: _Model) -> str:
    return entry.dialect or catalogue().executables[entry.executable].dialect


def _field_rules(names: Iterable[str], sampling_at_effort: str | None = None) -> dict[str, FieldRule]:
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
