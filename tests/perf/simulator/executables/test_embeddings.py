"""Embeddings."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import pytest

from tests.perf.simulator.conftest import Tenant


@pytest.mark.parametrize(
    ("given", "count"), [("one", 1), (["one", "two"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)]
)
def test_every_form_of_input_is_taken(alpha: Tenant, given: Any, count: int) -> None:
    """A string, strings, tokens, token arrays; in order."""
    answer = alpha.embed(given).json()

    assert list(range(count)) == [item["index"] for item in answer["data"]]
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


def test_base64_is_the_same_vector(alpha: Tenant) -> None:
    """Little-endian 32-bit floats, of length one."""
    plain = alpha.embed("one", dimensions=64).json()["data"][0]["embedding"]
    packed = alpha.embed("one", dimensions=64, encoding_format="base64").json()["data"][0]["embedding"]

    assert plain == pytest.approx(struct.unpack("<64f", base64.b64decode(packed)))
    assert 1 == pytest.approx(math.hypot(*plain), abs=1e-5)


def test_different_texts_have_different_vectors(alpha: Tenant) -> None:
    """And the same text always the same."""
    one, two, again = (item["embedding"] for item in alpha.embed(["one", "two", "one"]).json()["data"])

    assert (True, False, 1536) == (one == again, one == two, len(one))


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ("", {}),
        ([], {}),
        (["a", ""], {}),
        (["a", 1], {}),
        ([[]], {}),
        ([-1.5], {}),
        (None, {}),
        (["a"] * 2049, {}),
        ("x" * 40_000, {}),
        ("a", {"dimensions": 1537}),
        ("a", {"dimensions": 0}),
        ("a", {"encoding_format": "hex"}),
        ("a", {"unknown": 1}),
    ],
)
def test_bad_inputs_are_refused(alpha: Tenant, given: Any, fields: dict[str, Any]) -> None:
    """400."""
    assert 400 == alpha.embed(given, **fields).status_code


def test_a_chat_model_embeds_nothing(alpha: Tenant) -> None:
    """`OperationNotSupported`."""
    url = alpha.url("gpt-5") + "/embeddings?api-version=2025-04-01-preview"

    assert "OperationNotSupported" == alpha.client.post(url, json={"input": "a"}).json()["error"]["code"]
