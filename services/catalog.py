"""Public model name → the deployments that serve it.

A name is looked up, in this order, and the first hit wins:

1. as it stands among the public names: configured ones and the backend names that discovery found;
2. as it stands among the configured aliases;
3. by the configured alias globs; the one with the most literal characters wins;
4. in its plain form, which spellings of one model share: `claude-sonnet-4-5`, `claude-4.5-sonnet`,
   `anthropic--claude-4.5-sonnet`, `claude-sonnet-4-5-20250929` and `claude-sonnet-4-5[1m]`, in any case.
   A vendor or a date that both sides name must be the same one. Of several hits: the one with the same
   date, with the same vendor, without a date, with the newest date, the one configured first.

5. as a short name that the model catalogue gives, such as `sonnet`: of the served models that have it, the
   first in the catalogue's order, which is the newest.

Nothing else: a name that is not found is an error, never another model.

SAP's orchestration reaches every model through one deployment. A model is served that way, and no other,
where the configuration says so (its `family`, or modules around it) or where it runs nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import translate
from typing import NamedTuple

import msgspec
from cachetools import LRUCache

from services.candidates import Orchestration, is_model, native
from services.deployment_list import ORCHESTRATION
from services.deployments import AccountDeployments, Deployment
from services.errors import UnknownModel
from services.options import ModelOptions
from services.translation.capabilities import ModelFacts, aliases_for, facts_for, names_on, override

NAMES_CACHED = 4096
LONGEST_NAME = 256
NEAR_NAMES = 3

_MARK = re.compile(r"\[[^\]]*\]$")  # a context marker: claude-opus-4-6[1m]
_VENDOR = re.compile(r"^([a-z0-9]+)--")  # anthropic--claude-4.5-sonnet
_DATE = re.compile(r"-(20\d\d)(-?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])$")  # -20251001, -2025-08-07

# What makes one spelling of the rest.
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<=\d)\.(?=\d)"), "-"),  # 4.5 → 4-5
    (
        re.compile(r"^([a-z]+)-(\d+(?:-\d+)*)-([a-z]+(?:-[a-z]+)*)$"),
        r"\1-\3-\2",
    ),  # claude-4-5-sonnet → claude-sonnet-4-5
)

_WILDCARD = re.compile(r"\[[^\]]*\]|[*?]")


class PlainForm(NamedTuple):
    """What is left of a name when spelling is taken away."""

    key: str
    vendor: str = ""
    date: str = ""
    """Eight digits, or empty."""

    def may_mean(self, other: PlainForm) -> bool:
        """Whether neither names a vendor or a date that the other contradicts."""
        return self.vendor in ("", other.vendor or self.vendor) and self.date in ("", other.date or self.date)


def plain_form(name: str) -> PlainForm:
    """Take marks, vendor, date and spelling off a model name."""
    key = _MARK.sub("", name.strip().casefold())
    vendor, date = "", ""
    if match := _VENDOR.match(key):
        vendor, key = match[1], key[match.end() :]
    if match := _DATE.search(key):
        date, key = match[1] + match[3] + match[4], key[: match.start()]
    for pattern, replacement in _REWRITES:
        key = pattern.sub(replacement, key)
    return PlainForm(key, vendor, date)


class Model(msgspec.Struct, frozen=True):
    """One public name, ready to be served."""

    name: str
    family: str
    """The executable id that decides the wire form; empty when nothing says what runs there."""
    candidates: tuple[Deployment, ...]
    """In the order of the configuration, all of this family, with their final weights (> 0). May be empty."""
    options: ModelOptions
    facts: ModelFacts
    """Of the first candidate's backend model."""
    facts_by_model: Mapping[str, ModelFacts]
    shares: bool = False
    """Whether the candidates were given weights of their own, to split the model's traffic (a rollout)."""
    orchestrated: Model | None = None
    """The same by orchestration, for a model that is served in another way."""

    def through_orchestration(self) -> Model | None:
        """Return the model as SAP's orchestration serves it; None where no deployment of it is there."""
        model = self if self.family == ORCHESTRATION else self.orchestrated
        return model if model is not None and model.candidates else None

    def facts_of(self, deployment: Deployment) -> ModelFacts:
        """Return the facts of this candidate's backend model: during a rollout they may differ."""
        return self.facts_by_model.get(deployment.model, self.facts)


Allowed = Callable[[str], bool]


def _anything(name: str) -> bool:
    return True


class Catalog:
    """Every model that can be asked for. `update` replaces the whole at once."""

    def __init__(self, models: Mapping[str, ModelOptions]) -> None:
        self._options = dict(models)
        self._index = _Index({}, ())

    def update(self, deployments: Mapping[str, AccountDeployments]) -> None:
        """Rebuild from what is known of the sub-accounts, given in the order of the configuration."""
        notes: list[str] = []
        orchestrations = [Orchestration(known, notes) for known in deployments.values()]
        models = {
            name: self._model(name, deployments, orchestrations, notes)
            for name in self._names(deployments, orchestrations)
        }
        self._index = _Index(models, tuple(notes))

    def resolve(self, name: str, *, allowed: Allowed = _anything) -> Model:
        """Return the model that the name means. Raises `UnknownModel`.

        It may have no candidates, when it is configured but nothing serves it now. `allowed` says which
        names this caller may read in the error; it does not restrict what is found.
        """
        model = self.find(name)
        if model is None:
            raise self.unknown(name, allowed=allowed)
        return model

    def find(self, name: str) -> Model | None:
        """Return the model that the name means, None where it means none."""
        index = self._index
        return index.exact.get(name) or index.find(name)

    def unknown(self, name: str, *, allowed: Allowed = _anything) -> UnknownModel:
        """Return the error for a name that nobody knows, or that this caller must not know."""
        near = self._index.near(name, allowed)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        text = f"The model {name[:100]!r} does not exist here.{hint} GET /v1/models lists the models."
        return UnknownModel(text, param="model")

    def serving(self, origin: str, *, allowed: Allowed = _anything) -> Model | None:
        """Return the first model that has the deployment "sub-account/id" among its candidates.

        `allowed` says which names may be found.
        """
        serving = (
            model
            for model in self._index.names.values()
            if allowed(model.name) and any(one.origin == origin for one in model.candidates)
        )
        return next(serving, None)

    def listing(self) -> tuple[Model, ...]:
        """Return the models to show, by name: not hidden, and with a deployment that serves them."""
        return self._index.listed

    def models(self) -> tuple[Model, ...]:
        """Return every model, hidden and unserved ones too, in the order of the configuration."""
        return tuple(self._index.names.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What the operator should know: double meanings, and deployments left out."""
        return self._index.notes

    def _names(
        self, deployments: Mapping[str, AccountDeployments], orchestrations: Iterable[Orchestration]
    ) -> dict[str, None]:
        names = dict.fromkeys(self._options)
        for account in deployments.values():
            names |= dict.fromkeys(account.configured)
        for account in deployments.values():
            names |= dict.fromkeys(one.model for one in account.discovered if is_model(one))
        nowhere_else = names_on(ORCHESTRATION)
        for one in orchestrations:
            names |= dict.fromkeys(name for name in nowhere_else if one.reaches(name))
        return names

    def _model(
        self,
        name: str,
        deployments: Mapping[str, AccountDeployments],
        orchestrations: Iterable[Orchestration],
        notes: list[str],
    ) -> Model:
        options = self._options.get(name, _NO_OPTIONS)
        only = _is_orchestrated(name, options)
        through = tuple(
            deployment for one in orchestrations for deployment in one.serving(name, options, only=only)
        )
        if only and not through:
            notes.append(f"{name}: it is served through orchestration, and no such deployment runs")
        orchestrated = (
            _model(name, options, through, notes, family=ORCHESTRATION) if only or through else None
        )
        if orchestrated is not None and only:
            return orchestrated
        model = _model(name, options, tuple(native(name, options, deployments)), notes)
        return msgspec.structs.replace(model, orchestrated=orchestrated)


class _Index:
    """One state of the catalog; never changed, but for its memory of names already looked up."""

    def __init__(self, names: dict[str, Model], notes: tuple[str, ...]) -> None:
        self.names = names
        self.exact = dict(names)
        served = [model for model in names.values() if model.candidates and not model.options.hidden]
        self.listed = tuple(sorted(served, key=lambda model: model.name))
        self._globs: list[tuple[int, re.Pattern[str], Model]] = []
        self._forms: dict[str, list[tuple[PlainForm, Model]]] = {}
        self._found: LRUCache[str, Model | None] = LRUCache(NAMES_CACHED)
        self._short = _short_names(served)
        self.notes = (*notes, *self._add_aliases(), *self._add_forms())

    def _add_aliases(self) -> Iterator[str]:
        for model in self.names.values():
            for alias in model.options.aliases:
                holder = self.exact.setdefault(alias, model)
                if holder is not model:
                    yield f"alias {alias} of {model.name} already means {holder.name}"
                if literal := _literal_characters(alias):
                    self._globs.append((literal, re.compile(translate(alias)), model))
        self._globs.sort(key=lambda glob: -glob[0])

    def _add_forms(self) -> Iterator[str]:
        for name, model in self.exact.items():
            form = plain_form(name)
            self._forms.setdefault(form.key, []).append((form, model))
        for key, entries in self._forms.items():
            meanings = list(dict.fromkeys(model.name for _, model in entries))
            if len(meanings) > 1:
                yield f"other spellings of {key} can mean {', '.join(meanings)}; the first that fits is taken"

    def find(self, name: str) -> Model | None:
        """Look a name up by alias glob and plain form, and remember the outcome."""
        if len(name) > LONGEST_NAME:
            return None
        try:
            return self._found[name]
        except KeyError:
            model = self._found[name] = (
                self._by_glob(name) or self._by_form(name) or self._short.get(plain_form(name).key)
            )
            return model

    def _by_glob(self, name: str) -> Model | None:
        return next((model for _, pattern, model in self._globs if pattern.match(name)), None)

    def _by_form(self, name: str) -> Model | None:
        asked = plain_form(name)
        fitting = [entry for entry in self._forms.get(asked.key, ()) if asked.may_mean(entry[0])]
        return min(fitting, key=lambda entry: _distance(asked, entry[0]))[1] if fitting else None

    def near(self, name: str, allowed: Allowed) -> list[str]:
        """Return up to three listed names that look like this one."""
        spellings = {plain_form(model.name).key: model.name for model in self.listed if allowed(model.name)}
        close = get_close_matches(plain_form(name[:LONGEST_NAME]).key, spellings, n=NEAR_NAMES)
        return [spellings[key] for key in close]


def _short_names(served: Iterable[Model]) -> dict[str, Model]:
    """Return short name → model; `aliases_for` says how new a model is among those of the same short name."""
    short: dict[str, tuple[int, Model]] = {}
    for model in served:
        for backend in model.facts_by_model:
            place, names = aliases_for(backend)
            for name in names:
                if name not in short or place < short[name][0]:
                    short[name] = (place, model)
    return {name: model for name, (_, model) in short.items()}


def _distance(asked: PlainForm, offered: PlainForm) -> tuple[bool, bool, bool, int]:
    newest_first = -int(offered.date or 0)
    return (asked.date != offered.date, asked.vendor != offered.vendor, bool(offered.date), newest_first)


def _literal_characters(alias: str) -> int:
    """Return how many characters of a glob stand for themselves; 0 for a plain name."""
    literal = _WILDCARD.sub("", alias)
    return 0 if literal == alias else max(1, len(literal))


_NO_OPTIONS = ModelOptions()


def _is_orchestrated(name: str, options: ModelOptions) -> bool:
    """Whether orchestration is the only way to the model."""
    if options.orchestration or options.family == ORCHESTRATION:
        return True
    return not options.family and facts_for(options.model or name).executable == ORCHESTRATION


def _model(
    name: str,
    options: ModelOptions,
    deployments: tuple[Deployment, ...],
    notes: list[str],
    *,
    family: str = "",
) -> Model:
    backend = deployments[0].model if deployments else options.model or name
    told = family or options.family
    family = told or next(filter(None, map(_family, deployments)), "") or facts_for(backend).executable
    kept = [one for one in deployments if told or _family(one) in ("", family)]
    for one in deployments:
        if one not in kept:
            notes.append(
                f"{name}: deployment {one.id} is left out, it runs {_family(one)} and the first {family}"
            )
    if not family:
        notes.append(f"{name}: nobody says what runs there; set models.{name}.family")
    candidates = tuple(msgspec.structs.replace(one, executable=family) for one in kept)
    facts = {
        model: _facts(model, family, options)
        for model in dict.fromkeys((backend, *(c.model for c in candidates)))
    }
    return Model(
        name=name,
        family=family,
        candidates=candidates,
        options=options,
        facts=facts[backend],
        facts_by_model=facts,
        shares=bool(options.weights) or _split(candidates),
    )


def _split(candidates: tuple[Deployment, ...]) -> bool:
    """Whether deployments of one sub-account were given different weights."""
    weights: dict[str, set[float]] = {}
    for one in candidates:
        weights.setdefault(one.sub_account, set()).add(one.weight)
    return any(len(different) > 1 for different in weights.values())


def _family(deployment: Deployment) -> str:
    return deployment.executable or facts_for(deployment.model).executable


def _facts(model: str, family: str, options: ModelOptions) -> ModelFacts:
    """Return the catalogue's facts with the configuration on top."""
    rules = options.rules
    capabilities = dict(options.capabilities)
    if family == ORCHESTRATION:  # it has but one dialect
        capabilities.pop("dialect", None)
    facts = override(
        facts_for(model, family, str(capabilities.get("dialect", ""))),
        keep=rules.keep,
        drop=rules.drop,
        refuse=rules.refuse,
        rename=rules.rename,
    )
    return msgspec.structs.replace(
        facts,
        **capabilities,
        context_length=options.context_length or facts.context_length,
        max_output_tokens=options.max_output_tokens or facts.max_output_tokens,
    )
