"""Gemini's `predict` (wire §4.5, §8.11)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.perf.simulator.executables.direct import unary

MODEL = "gemini-embedding"


def predicted(*instances: Any, path: str = MODEL, **parameters: Any) -> tuple[int, Any]:
    """Status and body."""
    body = {"instances": list(instances)} | ({"parameters": parameters} if parameters else {})
    return unary(MODEL, f"models/{path}:predict", body)


@pytest.mark.parametrize("path", ["gemini-embedding", "gemini-embedding-001"])
def test_instances_become_vectors(path: str) -> None:
    """Unit vectors with statistics, under either name; the body is the help page's."""
    instance = {"task_type": "RETRIEVAL_QUERY", "title": "", "content": "hello you"}
    status, body = predicted(instance, path=path)
    embeddings = body["predictions"][0]["embeddings"]

    assert (200, 3072) == (status, len(embeddings["values"]))
    assert math.isclose(1, sum(number * number for number in embeddings["values"]), rel_tol=1e-5)
    assert {"token_count": 3, "truncated": False} == embeddings["statistics"]


def test_dimensions_are_cut_on_demand() -> None:
    """`outputDimensionality`."""
    body = predicted({"content": "a"}, {"content": "b"}, outputDimensionality=8)[1]

    assert [8, 8] == [len(one["embeddings"]["values"]) for one in body["predictions"]]


def test_long_texts_are_cut_and_said_so() -> None:
    """Unless that is switched off."""
    long = {"content": "x" * 9000}
    body = predicted(long)[1]

    assert {"token_count": 2048, "truncated": True} == body["predictions"][0]["embeddings"]["statistics"]
    assert 400 == predicted(long, autoTruncate=False)[0]


@pytest.mark.parametrize(
    ("instance", "parameters", "text"),
    [
        ({"content": ""}, {}, "The text content of instances[0] is empty."),
        ({"content": "a", "task_type": "FUN"}, {}, "Unsupported task_type 'FUN' at instances[0]."),
        (
            {"content": "a", "title": "t", "task_type": "CLUSTERING"},
            {},
            "`title` is only valid with task_type RETRIEVAL_DOCUMENT.",
        ),
        (
            {"content": "a", "taskType": "CLUSTERING"},
            {},
            "Invalid JSON payload received. Unknown name \"taskType\" at 'instances[0]': Cannot find field.",
        ),
        (
            {"content": "a"},
            {"outputDimensionality": 4000},
            "outputDimensionality must be between 1 and 3072.",
        ),
        (
            {"content": ["a"]},
            {},
            "Invalid JSON payload received. Unknown name \"content\" at 'instances[0]': "
            "Proto field is not repeating, cannot start list.",
        ),
    ],
)
def test_what_is_refused(instance: Any, parameters: Any, text: str) -> None:
    """With the reason."""
    status, body = predicted(instance, **parameters)

    assert (400, text) == (status, body["error"]["message"])


@pytest.mark.parametrize("count", [0, 251])
def test_the_number_of_instances_is_bounded(count: int) -> None:
    """At least one, at most 250."""
    assert 400 == predicted(*[{"content": "a"}] * count)[0]


def test_a_chat_model_predicts_nothing() -> None:
    """400, not a vector."""
    status, body = unary("gemini-3.5-flash", "models/x:predict", {"instances": [{"content": "a"}]})

    assert (400, "Model gemini-3.5-flash does not support predict.") == (status, body["error"]["message"])
