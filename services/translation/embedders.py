"""How each family of models is asked for vectors (wire §4.4, §4.5, §4.6, §4.8, §8.11)."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.errors import BadRequest, UpstreamBroken
from services.translation import fields as f
from services.translation.faults import error_inside
from services.translation.fields import Fields
from services.translation.replies import Target

READ = frozenset({"model", "input", "dimensions", "encoding_format", "input_type"})
"""The request fields that are looked at."""


class Wanted(msgspec.Struct, frozen=True):
    """What is to be embedded, and how long the vectors are to be (None: as the model likes)."""

    texts: tuple[str, ...]
    dimensions: int | None = None
    kind: str = ""
    """`input_type` of the caller, such as "query"; an extension that Cohere's and NVIDIA's clients know."""


class Vectors(msgspec.Struct, frozen=True):
    """The vectors in the order of the texts, and the tokens that these had."""

    vectors: list[list[float]]
    tokens: int


Sent = tuple[str, Mapping[str, Any], tuple[str, ...]]


class Embedder(msgspec.Struct, frozen=True):
    """`request` gives path, body and what was dropped; raises BadRequest. `answer` raises UpstreamError."""

    request: Callable[[Wanted, Target], Sent]
    answer: Callable[[bytes], Vectors]


def base64_of(vector: list[float]) -> msgspec.Raw:
    """Return the vector as OpenAI encodes it: little-endian float32 in base64."""
    return f.raw(base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode())


def _decoded(decoder: msgspec.json.Decoder[f.T], body: bytes) -> f.T:
    """Return the answer. Raises UpstreamBroken, or the UpstreamError that it reports instead."""
    try:
        return f.decoded(decoder, body, f.ANSWER)
    except UpstreamBroken as exc:
        if f.present(f.decoded(f.decoder, body, f.ANSWER).get("error", f.ABSENT)):
            raise error_inside(body) from exc
        raise


# --- NVIDIA: OpenAI's form with two members more -------------------------------------------------------


def nvidia(out: Fields, dropped: tuple[str, ...]) -> tuple[Fields, tuple[str, ...]]:
    """Return a request in OpenAI's form as NVIDIA's models need it (wire §4.6)."""
    if f.present(out.get("dimensions", f.ABSENT)):
        raise BadRequest(
            "'dimensions' cannot be honoured: this model's vectors have one length", param="dimensions"
        )
    lost = ("user",) if f.present(out.get("user", f.ABSENT)) else ()
    kept = {name: raw for name, raw in out.items() if name != "user"}
    added = {"input_type": f.raw("passage"), "truncate": f.raw("NONE")}
    return {**added, **kept, "input": f.listed(out["input"])}, (*dropped, *lost)


# --- Titan: one text a call ----------------------------------------------------------------------------


class _Titan(msgspec.Struct):
    embedding: list[float]
    tokens: int = msgspec.field(name="inputTextTokenCount", default=0)


_titan = msgspec.json.Decoder(_Titan)


def _titan_request(wanted: Wanted, target: Target) -> Sent:
    body: dict[str, Any] = {"inputText": wanted.texts[0]}
    if wanted.dimensions is not None:
        body["embeddingConfig"] = {"outputEmbeddingLength": wanted.dimensions}
    return "/invoke", body, ("input_type",) if wanted.kind else ()


def _titan_answer(body: bytes) -> Vectors:
    answer = _decoded(_titan, body)
    return Vectors([answer.embedding], answer.tokens)


TITAN = Embedder(_titan_request, _titan_answer)


# --- Gemini on Vertex ----------------------------------------------------------------------------------


class _Statistics(msgspec.Struct, frozen=True):
    token_count: float = 0


class _Values(msgspec.Struct):
    values: list[float]
    statistics: _Statistics = _Statistics()


class _Prediction(msgspec.Struct):
    embeddings: _Values


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction]


_predictions = msgspec.json.Decoder(_Predictions)

# Vertex's task types for what other vendors call input types.
_TASKS: Mapping[str, str] = {
    "query": "RETRIEVAL_QUERY",
    "passage": "RETRIEVAL_DOCUMENT",
    "document": "RETRIEVAL_DOCUMENT",
    "search_query": "RETRIEVAL_QUERY",
    "search_document": "RETRIEVAL_DOCUMENT",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}


def _gemini_request(wanted: Wanted, target: Target) -> Sent:
    task = _task_of(wanted)
    instances = [{"content": text, **({"task_type": task} if task else {})} for text in wanted.texts]
    body: dict[str, Any] = {"instances": instances}
    if wanted.dimensions is not None:
        body["parameters"] = {"outputDimensionality": wanted.dimensions}
    return f"/models/{target.backend_model}:predict", body, ()


def _task_of(wanted: Wanted) -> str:
    if not wanted.kind:
        return ""
    if wanted.kind not in _TASKS:
        raise BadRequest(f"'input_type' must be one of: {', '.join(_TASKS)}", param="input_type")
    return _TASKS[wanted.kind]


def _gemini_answer(body: bytes) -> Vectors:
    made = [one.embeddings for one in _decoded(_predictions, body).predictions]
    return Vectors([one.values for one in made], sum(int(one.statistics.token_count) for one in made))


GEMINI = Embedder(_gemini_request, _gemini_answer)


# --- orchestration -------------------------------------------------------------------------------------


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Counted(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0


class _Result(msgspec.Struct):
    data: list[_Vector]
    usage: _Counted = _Counted()


class _Envelope(msgspec.Struct):
    final_result: _Result


_envelope = msgspec.json.Decoder(_Envelope)
_TYPES: Mapping[str, str] = {"query": "query", "passage": "document", "document": "document"}


def _orchestration_request(wanted: Wanted, target: Target) -> Sent:
    params = {"encoding_format": "float"} | (
        {} if wanted.dimensions is None else {"dimensions": wanted.dimensions}
    )
    # The gateway retries by itself (wire §6.2).
    model = {"name": target.backend_model, "version": target.version, "params": params, "max_retries": 0}
    given: dict[str, Any] = {"text": list(wanted.texts)}
    if wanted.kind:
        given["type"] = _TYPES.get(wanted.kind, wanted.kind)
    modules: dict[str, Any] = {"embeddings": {"model": model}}
    if "masking" in target.modules:
        modules["masking"] = target.modules["masking"]
    return "/v2/embeddings", {"config": {"modules": modules}, "input": given}, ()


def _orchestration_answer(body: bytes) -> Vectors:
    result = _decoded(_envelope, body).final_result
    ordered = sorted(result.data, key=lambda one: one.index)
    return Vectors([one.embedding for one in ordered], result.usage.prompt_tokens)


ORCHESTRATION = Embedder(_orchestration_request, _orchestration_answer)
