"""Orchestration's requests around the messages, member by member (wire §4.7, §4.8).

An empty template is refused (u); tools, and what configures grounding and translation, may have more members.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from perf.simulator.executables.orchestration_errors import BODY, Failure
from perf.simulator.executables.orchestration_messages import CacheControl, Message, Strict

T = TypeVar("T")


# prompt templating


class Function(msgspec.Struct, gc=False):
    """A function that may be called."""

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    description: str | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    strict: bool | UnsetType = UNSET


class Tool(msgspec.Struct, gc=False):
    """One entry of `tools`."""

    type: Literal["function"]
    function: Function
    cache_control: CacheControl | UnsetType = UNSET


class JsonSchema(Strict):
    """The schema of a structured answer."""

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    description: str | UnsetType = UNSET
    schema: dict[str, Any] | UnsetType = UNSET
    strict: bool | UnsetType = UNSET


class ResponseFormat(Strict):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | UnsetType = UNSET


class Reference(Strict):
    """Names something in the prompt registry."""

    id: str | UnsetType = UNSET
    scenario: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    scope: Literal["resource_group", "tenant"] | UnsetType = UNSET


class Prompt(Strict):
    """A template, or the reference to one."""

    template: Annotated[list[Message], Meta(min_length=1)] | UnsetType = UNSET
    defaults: dict[str, Any] | UnsetType = UNSET
    response_format: ResponseFormat | UnsetType = UNSET
    tools: list[Tool] | UnsetType = UNSET
    template_ref: Reference | UnsetType = UNSET


Timeout = Annotated[int, Meta(ge=1, le=1200)]
Retries = Annotated[int, Meta(ge=0, le=5)]


class ModelDetails(Strict):
    """The model, and what is passed on to it."""

    name: str
    version: str = "latest"
    params: dict[str, Any] | UnsetType = UNSET
    timeout: Timeout = 600
    max_retries: Retries = 2


class PromptTemplating(Strict):
    """The one module that must be there."""

    model: ModelDetails
    prompt: Prompt | UnsetType = UNSET


# the other modules

Threshold = Literal[0, 2, 4, 6]


class AzureThresholds(Strict):
    """Most severity that passes, by category."""

    hate: Threshold | UnsetType = UNSET
    self_harm: Threshold | UnsetType = UNSET
    sexual: Threshold | UnsetType = UNSET
    violence: Threshold | UnsetType = UNSET
    prompt_shield: bool | UnsetType = UNSET
    protected_material_code: bool | UnsetType = UNSET


class AzureFilter(Strict, tag_field="type", tag="azure_content_safety"):
    """Azure Content Safety."""

    config: AzureThresholds | UnsetType = UNSET


class LlamaGuard(Strict, tag_field="type", tag="llama_guard_3_8b"):
    """Llama Guard: categories that do not pass."""

    config: dict[str, bool]


Filters = Annotated[list[AzureFilter | LlamaGuard], Meta(min_length=1)]


class InputFiltering(Strict):
    """What the prompt must pass."""

    filters: Filters


class Overlap(Strict):
    """Characters that one chunk repeats of the one before."""

    overlap: Annotated[int, Meta(ge=0, le=10_000)] = 0


class OutputFiltering(Strict):
    """What the answer must pass."""

    filters: Filters
    stream_options: Overlap | UnsetType = UNSET


class Filtering(Strict):
    """Both ways."""

    input: InputFiltering | UnsetType = UNSET
    output: OutputFiltering | UnsetType = UNSET


class Replacement(Strict):
    """What stands for an entity."""

    method: Literal["constant", "fabricated_data"]
    value: str | UnsetType = UNSET


class Entity(Strict):
    """A kind of entity that is known, or an expression."""

    type: str | UnsetType = UNSET
    regex: str | UnsetType = UNSET
    replacement_strategy: Replacement | UnsetType = UNSET


class MaskGrounding(Strict):
    """Whether the question to grounding is masked."""

    enabled: bool = False


class MaskingProvider(Strict):
    """The one service that masks."""

    type: Literal["sap_data_privacy_integration"]
    method: Literal["anonymization", "pseudonymization"]
    entities: Annotated[list[Entity], Meta(min_length=1)]
    allowlist: list[str] | UnsetType = UNSET
    mask_grounding_input: MaskGrounding | UnsetType = UNSET
    mask_file_input_method: str | UnsetType = UNSET


Providers = Annotated[list[MaskingProvider], Meta(min_length=1)]


class Masking(Strict):
    """`masking_providers` is the older spelling."""

    providers: Providers | UnsetType = UNSET
    masking_providers: Providers | UnsetType = UNSET

    @property
    def provider(self) -> MaskingProvider | None:
        """The provider, whichever way it is spelled."""
        providers = self.providers or self.masking_providers
        return providers[0] if providers else None


class GroundingPlaceholders(Strict):
    """Which parameters are the question, and which one gets the findings."""

    input: Annotated[list[str], Meta(min_length=1)]
    output: str


class GroundingConfig(msgspec.Struct, gc=False):
    """Where to look; the filters are taken as they are."""

    placeholders: GroundingPlaceholders
    filters: list[Any] | UnsetType = UNSET


class Grounding(Strict):
    """Finds documents before the template is filled."""

    type: Literal["document_grounding_service"]
    config: GroundingConfig


class TranslationConfig(msgspec.Struct, gc=False):
    """From and to."""

    target_language: Any
    source_language: str | UnsetType = UNSET


class Translator(msgspec.Struct, gc=False):
    """One direction."""

    type: Literal["sap_document_translation"]
    config: TranslationConfig


class Translation(Strict):
    """Both ways."""

    input: Translator | UnsetType = UNSET
    output: Translator | UnsetType = UNSET


# requests


class Modules(Strict):
    """One module configuration."""

    prompt_templating: PromptTemplating
    filtering: Filtering | UnsetType = UNSET
    masking: Masking | UnsetType = UNSET
    grounding: Grounding | UnsetType = UNSET
    translation: Translation | UnsetType = UNSET


class StreamOptions(Strict):
    """`config.stream`."""

    enabled: bool = False
    chunk_size: Annotated[int, Meta(ge=1, le=10_000)] = 100
    delimiters: list[str] | UnsetType = UNSET


class Config(Strict):
    """Modules, or a list of them to fall back on."""

    modules: Modules | Annotated[list[Modules], Meta(min_length=1)]
    stream: StreamOptions = msgspec.field(default_factory=StreamOptions)


class CompletionRequest(Strict):
    """The body of `v2/completion`."""

    config: Config | UnsetType = UNSET
    config_ref: Reference | UnsetType = UNSET
    placeholder_values: dict[str, str] = msgspec.field(default_factory=dict)
    messages_history: list[Message] = msgspec.field(default_factory=list)


class EmbeddingParams(Strict):
    """What is passed on to the embedding model."""

    dimensions: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    encoding_format: Literal["float", "base64", "binary"] = "float"
    normalize: bool | UnsetType = UNSET


class EmbeddingModel(Strict):
    """The embedding model."""

    name: str
    version: str = "latest"
    params: EmbeddingParams = msgspec.field(default_factory=EmbeddingParams)
    timeout: Timeout = 600
    max_retries: Retries = 2


class Embeddings(Strict):
    """The module that must be there."""

    model: EmbeddingModel


class EmbeddingModules(Strict):
    """Its modules."""

    embeddings: Embeddings
    masking: Masking | UnsetType = UNSET


class EmbeddingConfig(Strict):
    """Its configuration."""

    modules: EmbeddingModules


class EmbeddingInput(Strict):
    """What to embed."""

    text: str | Annotated[list[str], Meta(min_length=1)]
    type: (
        Literal[
            "text",
            "document",
            "query",
            "search_document",
            "search_query",
            "classification",
            "clustering",
            "image",
        ]
        | UnsetType
    ) = UNSET


class EmbeddingRequest(Strict):
    """The body of `v2/embeddings`."""

    config: EmbeddingConfig
    input: EmbeddingInput


_COMPLAINTS = (
    (
        re.compile("Object contains unknown field `(.*?)`"),
        "Additional properties are not allowed ('{}' was unexpected)",
    ),
    (re.compile("Object missing required field `(.*?)`"), "'{}' is a required property"),
    (re.compile("(.*)", re.DOTALL), "{}"),
)
_PATH = re.compile(r" - at `\$\.?(.*)`$")


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode and check a body. Raises Failure in the words of a JSON Schema validator (wire §6.2)."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Failure(_worded(str(error)), BODY) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failure(f"Request body is not valid JSON: {error}", BODY) from error


def _worded(complaint: str) -> str:
    found = _PATH.search(complaint)
    plain = _PATH.sub("", complaint)
    for pattern, words in _COMPLAINTS:
        match = pattern.match(plain)
        if match:
            plain = words.format(match[1])
            break
    return f"{plain} - '{found[1]}'" if found and found[1] else plain
