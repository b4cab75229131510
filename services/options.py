"""What the configuration says about sub-accounts and models, as plain values.

The services know nothing of files, environment or validation: whoever reads the configuration checks it
and fills these in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """One configured deployment: its full URL or its id, and its share of the traffic."""

    address: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class SubAccountOptions:
    """One sub-account: which resource group, which deployments, which names are wanted."""

    name: str
    resource_group: str = "default"
    deployment_models: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    """Public name → deployment URLs."""
    deployment_ids: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    """Public name → deployment ids."""
    weight: float = 1.0
    discover: bool = True
    include: tuple[str, ...] = ()
    """Globs; a discovered backend model must match one, if there are any."""
    exclude: tuple[str, ...] = ()
    """Globs; a discovered backend model must match none."""
    include_filters: tuple[str, ...] = ()
    """Regular expressions (`re.search`) for configured and discovered names alike."""
    exclude_filters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleOverrides:
    """Changes to the field rules that the model catalogue brings."""

    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    refuse: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TimeoutOverrides:
    """Time limits of one model in seconds; None means the general one."""

    connect: float | None = None
    first_byte: float | None = None
    first_token: float | None = None
    stall: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What is configured for one public name. Everything is optional."""

    aliases: tuple[str, ...] = ()
    """Further names; one with `*`, `?` or `[` is a glob."""
    model: str | None = None
    """The backend model's name, where it differs from the public one."""
    family: str | None = None
    """The executable id that decides the wire form, such as `azure-openai`; overrides discovery."""
    api_version: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Put into a request where the caller left the field out."""
    fallbacks: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    """Deployment id → share of the traffic; 0 takes a deployment out."""
    sub_accounts: tuple[str, ...] = ()
    """Only these sub-accounts; empty means all."""
    hidden: bool = False
    context_length: int | None = None
    max_output_tokens: int | None = None
    rules: RuleOverrides = field(default_factory=RuleOverrides)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    """Members of `ModelFacts` that replace the catalogue's."""
    orchestration: Mapping[str, Any] = field(default_factory=dict)
    """Modules of SAP's orchestration around every request (wire §4.7); with any, it is served that way."""
    timeouts: TimeoutOverrides = field(default_factory=TimeoutOverrides)
    max_in_flight: int | None = None
    """How many requests each of its deployments may have at once; None means the general limit."""
    hold: bool = False
    """Whether its streams are held back until they are complete."""
