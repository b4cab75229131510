"""Gemini's embeddings through `predict` (wire §4.5, §8.11): instances in, vectors with statistics out."""

from __future__ import annotations

from typing import Any

from perf.simulator import text
from perf.simulator.answers import Reply, reply_json
from perf.simulator.executables import embeddings, protojson
from perf.simulator.executables.chat import Invalid
from perf.simulator.executables.gemini_fields import MESSAGES
from perf.simulator.models import Model

MAX_INSTANCES = 250
MAX_TOKENS = 2048

_TASKS = (
    "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING",
    "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
)  # fmt: skip


def answer(body: bytes, model: Model) -> Reply:
    """The vectors. Raises BadBody and Invalid."""
    wanted = protojson.read(body, "PredictRequest", MESSAGES)
    if not model.dimensions:
        raise Invalid(f"Model {model.name} does not support predict.")
    instances = wanted.get("instances", [])
    parameters = wanted.get("parameters", {})
    if not 1 <= len(instances) <= MAX_INSTANCES:
        raise Invalid(f"{len(instances)} instance(s) is not allowed: 1 to {MAX_INSTANCES} are expected.")
    dimensions = parameters.get("outputDimensionality", model.dimensions)
    if not 1 <= dimensions <= model.dimensions:
        raise Invalid(f"outputDimensionality must be between 1 and {model.dimensions}.")
    truncates = parameters.get("autoTruncate", True)
    predictions = [
        _prediction(instance, place, dimensions, truncates=truncates)
        for place, instance in enumerate(instances)
    ]
    billed = sum(len(instance["content"]) for instance in instances)
    return reply_json({"predictions": predictions, "metadata": {"billableCharacterCount": billed}})


def _prediction(instance: dict[str, Any], place: int, dimensions: int, *, truncates: bool) -> dict[str, Any]:
    content, task = instance.get("content"), instance.get("task_type", "RETRIEVAL_QUERY")
    if not content:
        raise Invalid(f"The text content of instances[{place}] is empty.")
    if task not in _TASKS:
        raise Invalid(f"Unsupported task_type {task!r} at instances[{place}].")
    if instance.get("title") and task != "RETRIEVAL_DOCUMENT":
        raise Invalid("`title` is only valid with task_type RETRIEVAL_DOCUMENT.")
    size = text.count(len(content))
    if size > MAX_TOKENS and not truncates:
        raise Invalid(f"The input token count is {size} but the model supports up to {MAX_TOKENS}.")
    return {
        "embeddings": {
            "values": embeddings.vector(content, dimensions, as_base64=False),
            "statistics": {"token_count": min(size, MAX_TOKENS), "truncated": size > MAX_TOKENS},
        }
    }
