"""NVIDIA's embeddings (wire §4.6, §8.11)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.perf.simulator.executables.direct import unary

MODEL = "nvidia--llama-3.2-nv-embedqa-1b"
BODY = {"model": "nvidia/llama-3.2-nv-embedqa-1b", "input": ["a", "b"], "input_type": "query"}


def test_vectors_come_in_order() -> None:
    """As OpenAI lists them."""
    status, answer = unary(MODEL, "embeddings", {**BODY, "encoding_format": "float", "truncate": "NONE"})

    assert (200, [0, 1]) == (status, [one["index"] for one in answer["data"]])
    assert {2048} == {len(one["embedding"]) for one in answer["data"]}
    assert {"prompt_tokens": 2, "total_tokens": 2} == answer["usage"]


def test_queries_and_passages_differ() -> None:
    """The type is part of what is embedded."""
    query, passage = (
        unary(MODEL, "embeddings", {**BODY, "input_type": kind})[1]["data"][0]["embedding"]
        for kind in ("query", "passage")
    )

    assert query != passage


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"input_type": None}, 400, "'input_type' parameter is required for asymmetric models"),
        ({"input_type": "document"}, 400, "input_type"),
        ({"model": "llama-3.2-nv-embedqa-1b"}, 404, "does not exist"),
        ({"encoding_format": "int8"}, 400, "encoding_format"),
        ({"dimensions": 256}, 400, "Unrecognized request argument supplied: dimensions"),
        ({"input": [[1, 2]]}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": [""]}, 400, "Input must not be empty."),
        ({"input": "x" * 40_000}, 400, "Input length 10000 exceeds maximum allowed token size 8192"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], status: int, text: str) -> None:
    """In the shape of the other `aicore-*` servers."""
    got, answer = unary(MODEL, "embeddings", BODY | fields)

    assert (status, "error") == (got, answer["object"])
    assert text in answer["message"]


def test_base64_is_given_on_demand() -> None:
    """Little-endian 32-bit floats, under the catalogue's name too."""
    answer = unary(MODEL, "embeddings", {**BODY, "model": MODEL, "encoding_format": "base64"})[1]

    assert 2048 * 4 == len(base64.b64decode(answer["data"][0]["embedding"]))


def test_long_inputs_may_be_cut() -> None:
    """`truncate`."""
    answer = unary(MODEL, "embeddings", {**BODY, "input": "x" * 40_000, "truncate": "END"})[1]

    assert 8192 == answer["usage"]["prompt_tokens"]
