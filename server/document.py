"""The configuration document as people write it: what is checked first, and what editors complete.

Short forms (one URL instead of a list, a key instead of an object) are brought to the long form here, so that
nothing behind this module knows of them. Keys keep the spelling of the older proxy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from server.faults import Wrong
from server.settings import (
    Cache,
    Cors,
    Dedup,
    Discovery,
    Embeddings,
    Images,
    Limits,
    LogLevel,
    Pool,
    Recorder,
    Redis,
    Routing,
    Seconds,
    Section,
    Timeouts,
)

_DEPLOYMENT_URL = re.compile(r"https?://[^\s/?#]+(?:/[^\s?#]*)?/inference/deployments/[\w.-]+\Z")
_DEPLOYMENT_ID = re.compile(r"[\w.-]{4,64}\Z")
RESOURCE_GROUP = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.-]{1,251}[a-zA-Z0-9]\Z")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_BEARER = re.compile(r"\s*bearer\s+", re.IGNORECASE)
_DIGEST_MARK = "sha256:"


def _deployment_url(value: str) -> str:
    url = value.strip().rstrip("/")
    if not _DEPLOYMENT_URL.match(url):
        raise Wrong(
            "is not the URL of a deployment", "give https://…/v2/inference/deployments/<id>, ending in the id"
        )
    return url


def _matching(pattern: re.Pattern[str], problem: str, remedy: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.match(value):
            raise Wrong(problem, remedy)
        return value

    return AfterValidator(check)


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as exc:
        raise Wrong(
            f"is not a regular expression: {exc}", "correct it, or escape special characters with \\"
        ) from exc
    return value


def _glob(value: str) -> str:
    if not value:
        raise Wrong("is empty", "give a name, or a pattern with * and ?")
    if re.search(r"\[[^\]]*\Z", value):
        raise Wrong("has [ without ]", "close the bracket, or write [[] for a plain [")
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _entries(member: str) -> Callable[[Any], Any]:
    """Make a reader of `"x" | ["x" | {member: "x", weight}]`."""

    def entries(value: Any) -> Any:
        values = value if isinstance(value, list) else [value]
        return [{member: one} if isinstance(one, str) else one for one in values]

    return entries


def _client_key(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.startswith(_DIGEST_MARK):
        return {"sha256": value.removeprefix(_DIGEST_MARK)}
    return {"key": value}


def _or_default(value: Any) -> Any:
    return "default" if value in ("", None) else value


DeploymentUrl = Annotated[str, AfterValidator(_deployment_url)]
DeploymentId = Annotated[
    str, _matching(_DEPLOYMENT_ID, "is not a deployment id", "give the id alone, such as d19b998f347341aa")
]
ResourceGroup = Annotated[
    str,
    _matching(
        RESOURCE_GROUP,
        "is not a resource group",
        "3 to 253 letters, digits, dots or hyphens, no such sign at the ends",
    ),
    BeforeValidator(_or_default, json_schema_input_type=str),
]
Regex = Annotated[str, AfterValidator(_regex)]
Glob = Annotated[str, AfterValidator(_glob)]
Globs = Annotated[tuple[Glob, ...], BeforeValidator(_as_list, json_schema_input_type=list[str] | str)]
Name = Annotated[str, Field(min_length=1)]
Word = Annotated[str, _matching(_WORD, "is not a plain word", "use letters, digits, dots and hyphens")]
Weight = Annotated[float, Field(ge=0)]


class WeightedUrl(Section):
    """A deployment by its URL, and its share of the traffic."""

    url: DeploymentUrl = Field(description="https://…/v2/inference/deployments/{id}")
    weight: Weight = Field(default=1.0, description="Share of the model's traffic, relative to the others.")


class WeightedId(Section):
    """A deployment by its id, and its share of the traffic."""

    id: DeploymentId = Field(description="The id of the deployment.")
    weight: Weight = Field(default=1.0, description="Share of the model's traffic, relative to the others.")


Urls = Annotated[
    tuple[WeightedUrl, ...],
    BeforeValidator(_entries("url"), json_schema_input_type=str | WeightedUrl | list[str | WeightedUrl]),
]
Ids = Annotated[
    tuple[WeightedId, ...],
    BeforeValidator(_entries("id"), json_schema_input_type=str | WeightedId | list[str | WeightedId]),
]


class ModelFilters(Section):
    """Which model names are served, as regular expressions that match anywhere in the name."""

    include_filters: tuple[Regex, ...] = Field(
        default=(), description="Regular expressions; a name must match one, if there are any."
    )
    exclude_filters: tuple[Regex, ...] = Field(
        default=(), description="Regular expressions; a name must match none."
    )


class Account(Section):
    """What the flat format and each of subAccounts have in common."""

    resource_group: ResourceGroup = Field(default="default", description="Sent as AI-Resource-Group.")
    service_key_json: str | None = Field(
        default=None,
        description="File with the service key, relative to this file, then to the working directory.",
    )
    service_key: dict[str, Any] | None = Field(
        default=None, description="The service key itself, instead of a file; take secrets from ${NAME}."
    )
    deployment_models: dict[Name, Urls] = Field(
        default_factory=dict, description="Public model name → the URLs of its deployments."
    )
    deployment_ids: dict[Name, Ids] = Field(
        default_factory=dict, description="Public model name → the ids of its deployments."
    )
    model_filters: ModelFilters = Field(
        default_factory=ModelFilters,
        description="Which names are served, configured and discovered ones alike.",
    )
    discover: bool = Field(
        default=True, description="Whether running deployments are found through the AI API."
    )
    include: Globs = Field(default=(), description="Discovered models to serve, as globs; empty: all.")
    exclude: Globs = Field(default=(), description="Discovered models to leave out, as globs.")


class SubAccountDocument(Account):
    """One tenant and resource group."""

    weight: Weight = Field(
        default=1.0, description="Share of the traffic, relative to the other sub-accounts."
    )


class ClientKeyDocument(Section):
    """A client key with a name, and what it may do."""

    name: Name | None = Field(default=None, description="Shown in logs and metrics.")
    key: SecretStr | None = Field(default=None, description="The key itself; best given as ${NAME}.")
    sha256: Annotated[
        str | None,
        _matching(_SHA256, "is not a SHA-256", "give 64 hexadecimal digits, see: aicore-gateway keys new"),
    ] = Field(default=None, description="The SHA-256 of the key in hexadecimal, instead of the key.")
    models: Globs = Field(default=(), description="Public names it may use, as globs; empty: all.")
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Its own limit; null: the general one."
    )
    heartbeats: bool = Field(
        default=True, description="Whether its streams get signs of life while the model is silent."
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.key is None) == (self.sha256 is None):
            raise Wrong("needs either key or sha256", "give exactly one of the two")
        if self.key is not None and not self.plain:
            raise Wrong("is an empty key", "make one with: aicore-gateway keys new")
        return self

    @property
    def plain(self) -> str:
        """The key as a caller's header holds it; the older proxy also took it with its `Bearer`."""
        return _BEARER.sub("", self.key.get_secret_value(), count=1).strip() if self.key else ""


class RulesDocument(Section):
    """Changes to what the model catalogue says about request fields."""

    keep: tuple[Name, ...] = Field(default=(), description="Fields to pass on, whatever the catalogue says.")
    drop: tuple[Name, ...] = Field(default=(), description="Fields to leave out.")
    refuse: tuple[Name, ...] = Field(default=(), description="Fields to refuse with an error.")
    rename: dict[Name, Name] = Field(
        default_factory=dict, description="Fields to pass on under another name."
    )


class TimeoutsDocument(Section):
    """Time limits of one model in seconds, where they differ."""

    connect: Seconds | None = Field(default=None, description="Seconds to open a connection.")
    first_byte: Seconds | None = Field(default=None, description="Seconds until the answer begins.")
    first_token: Seconds | None = Field(
        default=None, description="Seconds until a stream has its first content."
    )
    stall: Seconds | None = Field(default=None, description="Seconds of silence within an answer.")
    total: Seconds | None = Field(
        default=None,
        description="Seconds for a whole answer, or until a stream begins; all attempts together.",
    )


class CapabilitiesDocument(Section):
    """What a model can do, where the model catalogue does not know it or is wrong."""

    dialect: Word | None = Field(
        default=None,
        description="The wire form, where the executable does not decide it.",
        examples=["claude"],
    )
    modes: tuple[Literal["chat", "responses", "embeddings"], ...] | None = Field(
        default=None, description="Which APIs it has."
    )
    inputs: tuple[Literal["text", "image", "pdf", "audio", "video"], ...] | None = Field(
        default=None, description="What it can be shown."
    )
    efforts: tuple[Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"], ...] | None = Field(
        default=None, description="The reasoning efforts it takes."
    )
    thinking: Literal["", "budget", "adaptive", "either", "level"] | None = Field(
        default=None, description="How thinking is asked for; empty: not at all."
    )
    json_schema: Literal["native", "tool", "hint"] | None = Field(
        default=None, description="How an answer is made to fit a schema."
    )
    tools_with_effort: Literal["chat", "responses"] | None = Field(
        default=None, description="Which API takes tools and reasoning_effort together."
    )
    batch: int | None = Field(
        default=None, ge=0, description="Inputs that one embeddings call takes; 0: any."
    )
    flags: frozenset[Word] | None = Field(default=None, description="Further habits, as in the catalogue.")
    betas: frozenset[Word] | None = Field(
        default=None, description="The Anthropic beta flags it takes, in place of the catalogue's."
    )


class ModelDocument(Section):
    """What is special about one public model name."""

    aliases: Globs = Field(default=(), description="Further names; * and ? make a pattern.")
    model: Name | None = Field(default=None, description="The backend model's name, where it differs.")
    family: Word | None = Field(
        default=None,
        description="Executable id that decides the wire form, where discovery cannot tell.",
        examples=["azure-openai", "aicore-opensource", "aws-bedrock", "gcp-vertexai"],
    )
    api_version: Word | None = Field(default=None, description="api-version for azure-openai deployments.")
    defaults: dict[Name, Any] = Field(
        default_factory=dict, description="Request fields to set where the caller left them out."
    )
    fallbacks: tuple[Name, ...] = Field(
        default=(), description="Public names to try, in order, when no deployment of this model can serve."
    )
    weights: dict[DeploymentId, Weight] = Field(
        default_factory=dict, description="Deployment id → share of the traffic; 0 takes it out."
    )
    sub_accounts: tuple[Name, ...] = Field(default=(), description="Only these sub-accounts; empty: all.")
    hidden: bool = Field(default=False, description="Whether it is left out of /v1/models.")
    context_length: int | None = Field(default=None, ge=1, description="Shown in /v1/models, in tokens.")
    max_output_tokens: int | None = Field(default=None, ge=1, description="Shown in /v1/models, in tokens.")
    rules: RulesDocument = Field(default_factory=RulesDocument, description="Changes to the model catalogue.")
    capabilities: CapabilitiesDocument = Field(
        default_factory=CapabilitiesDocument, description="Where the model catalogue is wrong about it."
    )
    orchestration: dict[Name, Any] = Field(
        default_factory=dict,
        description="Modules around every request: filtering, masking, grounding, translation. "
        "With any, the model is reached through an orchestration deployment.",
    )
    timeouts: TimeoutsDocument = Field(default_factory=TimeoutsDocument, description="Its own time limits.")
    max_in_flight: int | None = Field(
        default=None, ge=1, description="Requests that each of its deployments may have at once."
    )
    hold: bool = Field(
        default=False,
        description="Whether streams are held back until they are complete: a cut one is tried again.",
    )


ClientKeyEntry = Annotated[
    ClientKeyDocument, BeforeValidator(_client_key, json_schema_input_type=str | ClientKeyDocument)
]


class ConfigDocument(Account):
    """The whole configuration of the gateway."""

    schema_: str | None = Field(
        default=None, alias="$schema", description="Where the JSON Schema is, for editors."
    )
    subAccounts: dict[Name, SubAccountDocument] | None = Field(  # the older proxy's spelling
        default=None,
        description="Name → sub-account. Without it the keys at the top level describe the only one.",
    )
    secret_authentication_tokens: tuple[ClientKeyEntry, ...] = Field(
        default=(),
        description='Keys that clients must present: the key, "sha256:<64 hex>", or an object with a name.',
    )
    host: Name = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 is every address.")
    port: int = Field(default=3001, ge=1, le=65_535, description="TCP port to listen on.")
    workers: int | None = Field(
        default=None, ge=1, le=256, description="Worker processes; null: one for each processor core."
    )
    log_level: LogLevel = Field(default="info", description="The least severe level that is logged.")
    allow_anonymous: bool = Field(
        default=False, description="Whether to listen beyond this machine although there are no client keys."
    )
    drain_seconds: Seconds = Field(
        default=600.0,
        description="Seconds that running requests may go on after SIGTERM; then each ends with an error.",
    )
    drain_lead_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Seconds that requests are still accepted after SIGTERM, while /health/ready says 503: "
        "longer than a balancer in front takes to notice. nginx needs none: it asks another instance.",
    )
    models: dict[Name, ModelDocument] = Field(
        default_factory=dict, description="Public model name → options."
    )
    routing: Routing = Field(default_factory=Routing, description="How a deployment is chosen.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="Time limits towards SAP AI Core.")
    dedup: Dedup = Field(
        default_factory=Dedup, description="Sharing of identical requests that run together."
    )
    cache: Cache = Field(default_factory=Cache, description="The exact response cache.")
    pool: Pool = Field(default_factory=Pool, description="How many idle connections are kept.")
    limits: Limits = Field(default_factory=Limits, description="What a caller may use at most.")
    redis: Redis = Field(default_factory=Redis, description="State that several machines share.")
    discovery: Discovery = Field(default_factory=Discovery, description="How deployments are found.")
    images: Images = Field(default_factory=Images, description="Pictures and documents named by URL.")
    embeddings: Embeddings = Field(default_factory=Embeddings, description="How embeddings are asked for.")
    recorder: Recorder = Field(default_factory=Recorder, description="The traffic recorder.")
    cors: Cors = Field(default_factory=Cors, description="Access from web pages.")
    api_version: Word = Field(
        default="2025-04-01-preview", description="api-version for azure-openai, where a model has no own."
    )
