"""What the process is configured to do, read once and frozen.

The sections are both what a configuration file says and what the process uses. Secrets are kept out of every
representation, client keys are kept as digests only, and all of it can be pickled for a spawned worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from services.credentials import Credential
from services.options import ModelOptions, SubAccountOptions

LogLevel = Literal["debug", "info", "warning", "error"]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration: frozen, and without room for unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, protected_namespaces=()
    )


class Routing(Section):
    """How a deployment is chosen, and how often another one is tried."""

    strategy: Literal["least-in-flight", "round-robin", "ordered"] = Field(
        default="least-in-flight",
        description="How to choose among the deployments of a model: by load and weight, in turn by weight, "
        "or always the first that can serve.",
    )
    attempts: int = Field(
        default=3,
        ge=1,
        le=20,
        description="How many attempts one request may take at a model, the first included.",
    )
    cool_down_seconds: float = Field(
        default=30.0,
        ge=0,
        description="The longest rest of a deployment after failures in a row, unless it said so itself; "
        "the first is a sixteenth of it, each further one twice as long. After a timeout it is at least as "
        "long as was waited in vain. 0: none.",
    )
    slow_start_seconds: float = Field(
        default=30.0, ge=0, description="How long a deployment's share takes to grow back after a rest."
    )
    retry_budget: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Further attempts as a share of the requests of the last 10 seconds; "
        "10 a second of each model are always allowed.",
    )
    queue_seconds: float = Field(
        default=10.0,
        ge=0,
        description="How long a request waits when no deployment can take it, or the gateway is full.",
    )
    queue_length: int = Field(
        default=100,
        ge=1,
        description="How many requests wait so in each worker: for each model, and for the gateway.",
    )


class Timeouts(Section):
    """Time limits towards SAP AI Core, in seconds."""

    connect: Seconds = Field(default=10.0, description="Seconds to open a connection.")
    first_byte: Seconds = Field(default=600.0, description="Seconds until the answer begins.")
    first_token: Seconds = Field(default=600.0, description="Seconds until a stream has its first content.")
    stall: Seconds = Field(default=300.0, description="Seconds of silence within an answer.")
    total: Seconds = Field(
        default=1260.0,
        description="Seconds for a whole answer, or until a stream begins; all attempts together.",
    )
    peek: Seconds = Field(
        default=10.0,
        description="Seconds for which a stream without content is held back, so that another deployment "
        "can still take over.",
    )
    heartbeat: float = Field(
        default=15.0,
        ge=0,
        description="Seconds of silence in a stream after which the caller gets a sign of life; 0: never.",
    )


class Dedup(Section):
    """Whether identical requests that run at the same time share one upstream call."""

    mode: Literal["off", "safe", "all"] = Field(
        default="safe",
        description="safe: embeddings, deterministic completions and those with an Idempotency-Key; "
        "all: every request; off: none.",
    )
    buffer_bytes: int = Field(
        default=1_048_576,
        ge=1,
        description="How much of a stream is kept for a caller who joins late, in bytes.",
    )


class Cache(Section):
    """The exact response cache, for the same kind of requests as deduplication."""

    enabled: bool = Field(default=False, description="Whether answers are kept and served again.")
    ttl_seconds: Seconds = Field(default=300.0, description="How long an answer is kept, in seconds.")
    max_entries: int = Field(default=1000, ge=1, description="How many answers are kept in memory.")
    max_answer_bytes: int = Field(default=262_144, ge=1, description="Larger answers are not kept, in bytes.")
    store: Literal["memory", "redis"] = Field(
        default="memory", description="memory: for each worker; redis: shared, needs redis.host."
    )


class Pool(Section):
    """Idle connections to SAP AI Core."""

    max_idle_per_upstream: int = Field(
        default=100, ge=0, description="Idle connections kept open for each host."
    )
    idle_seconds: Seconds = Field(
        default=90.0, description="How long an idle connection is kept, in seconds."
    )


class Limits(Section):
    """What a caller may use."""

    body_bytes: int = Field(default=33_554_432, ge=1024, description="The largest request body, in bytes.")
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Requests a caller may make in a minute; null: no limit."
    )
    in_flight: int = Field(
        default=4096, ge=1, description="Requests that the gateway serves at once, over all workers."
    )
    in_flight_per_deployment: int | None = Field(
        default=None, ge=1, description="Requests that a deployment may have at once; null: no limit."
    )


class Redis(Section):
    """State that several machines share. Without a host nothing uses it."""

    host: str | None = Field(default=None, min_length=1, description="Host name or address; null: no Redis.")
    port: int = Field(default=6379, ge=1, le=65_535, description="TCP port.")
    db: int = Field(default=0, ge=0, description="Number of the database.")
    password: SecretStr | None = Field(default=None, description="Password; best given as ${NAME}.")
    tls: bool = Field(default=False, description="Whether to connect with TLS.")


class Discovery(Section):
    """How deployments are found through the AI API."""

    refresh_seconds: float = Field(
        default=300.0, ge=0, description="Seconds between two looks at the deployments; 0: only at the start."
    )


class Images(Section):
    """Pictures and documents that a request names by URL."""

    fetch: bool = Field(
        default=False,
        description="Whether they are fetched for models that cannot; https and the public internet only.",
    )
    hosts: tuple[str, ...] = Field(
        default=(), description="Only from these host names; empty: from any on the public internet."
    )
    max_bytes: int = Field(default=20_971_520, ge=1024, description="The largest of them, in bytes.")


class Embeddings(Section):
    """Embeddings that share a call."""

    batch_milliseconds: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="How long one text waits for others of its model, to share a call; 0: not at all.",
    )
    batch_inputs: int = Field(default=64, ge=2, le=2048, description="The most texts that share a call.")


class Recorder(Section):
    """The traffic recorder, for replaying load later."""

    path: Path | None = Field(
        default=None, description="The JSONL file to append to; null: nothing is recorded."
    )
    bodies: bool = Field(default=False, description="Whether request bodies are recorded, redacted.")


class Cors(Section):
    """Which web pages may call the gateway from a browser."""

    origins: tuple[str, ...] = Field(
        default=("*",),
        description='Allowed origins, such as https://chat.example; "*": any. '
        "Without client keys: none, unless given here.",
    )


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A key that callers may present. Only its SHA-256 is kept."""

    name: str
    """For logs and metrics; `key-1`, `key-2`, … where the configuration gives none."""
    digest: bytes = field(repr=False)
    """SHA-256 of the key, 32 bytes."""
    models: tuple[str, ...] = ()
    """Globs of the public names this key may use; empty means all."""
    requests_per_minute: int | None = None
    """This key's own limit; None means the general one."""
    heartbeats: bool = True


@dataclass(frozen=True, slots=True)
class SubAccount:
    """One tenant and resource group: its credential, and its options for the services."""

    credential: Credential
    options: SubAccountOptions

    @property
    def name(self) -> str:
        """Its name in the configuration, `default` where the configuration gives none."""
        return self.options.name


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, checked. See `server.config.load`."""

    sub_accounts: tuple[SubAccount, ...]
    """At least one; in the order of the configuration."""
    client_keys: tuple[ClientKey, ...] = ()
    models: Mapping[str, ModelOptions] = field(default_factory=dict)
    """Public name → options."""
    host: str = "127.0.0.1"
    port: int = 3001
    workers: int = 1
    """Already resolved: at least 1."""
    log_level: LogLevel = "info"
    allow_anonymous: bool = False
    api_version: str = "2025-04-01-preview"
    """For azure-openai deployments, where the model does not say otherwise."""
    routing: Routing = field(default_factory=Routing)
    timeouts: Timeouts = field(default_factory=Timeouts)
    dedup: Dedup = field(default_factory=Dedup)
    cache: Cache = field(default_factory=Cache)
    pool: Pool = field(default_factory=Pool)
    limits: Limits = field(default_factory=Limits)
    redis: Redis = field(default_factory=Redis)
    discovery: Discovery = field(default_factory=Discovery)
    images: Images = field(default_factory=Images)
    embeddings: Embeddings = field(default_factory=Embeddings)
    recorder: Recorder = field(default_factory=Recorder)
    cors: Cors = field(default_factory=Cors)
    drain_seconds: float = 600.0
    """How long a stopping worker lets running requests go on."""
    drain_lead_seconds: float = 0.0
    """How long it goes on accepting before that, while it says that it is not ready."""
    source: str = "the environment"
    """Where the configuration came from, for the start-up message."""
    notes: tuple[str, ...] = ()
    """What was accepted without effect, or deserves a look; one sentence each."""
