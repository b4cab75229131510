"""The model list in the shape that the client reads."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.models import _shape
from services.listing import ANTHROPIC, GEMINI, OPENAI, Shape
from tests.handlers.fakes import request


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        ({}, OPENAI),
        ({"authorization": "Bearer x"}, OPENAI),
        ({"anthropic_version": "2023-06-01"}, ANTHROPIC),
        ({"x_goog_api_client": "genai"}, GEMINI),
        ({"x_goog_api_key": "x"}, GEMINI),
    ],
)
def test_what_only_one_vendor_sends_decides(head: dict[str, Any], shape: Shape) -> None:
    """Everybody else reads OpenAI's."""
    assert shape is _shape(request(**head))


METHODS = ["generateContent", "streamGenerateContent", "countTokens"]
ENTRY = {"id": "m", "object": "model", "capabilities": ["chat"], "context_length": 9, "max_output_tokens": 3}


@pytest.mark.parametrize(
    ("shape", "page"),
    [
        (OPENAI, {"object": "list", "data": [ENTRY]}),
        (
            ANTHROPIC,
            {
                "data": [
                    {
                        "type": "model", "id": "m", "display_name": "m", "created_at": "1970-01-01T00:00:00Z",
                        "max_input_tokens": 9, "max_tokens": 3,
                    }
                ],
                "has_more": False, "first_id": "m", "last_id": "m",
            },
        ),
        (
            GEMINI,
            {
                "models": [
                    {
                        "name": "models/m", "displayName": "m", "inputTokenLimit": 9, "outputTokenLimit": 3,
                        "supportedGenerationMethods": METHODS,
                    }
                ]
            },
        ),
    ],
)  # fmt: skip
def test_a_page_in_each_shape(shape: Shape, page: Any) -> None:
    """All models on one."""
    assert page == shape.page([shape.one(ENTRY)])


def test_an_empty_page_has_no_ends() -> None:
    """Anthropic's names the first and the last."""
    assert {"data": [], "has_more": False, "first_id": None, "last_id": None} == ANTHROPIC.page([])


def test_a_model_for_embeddings_generates_nothing() -> None:
    """Google's clients look."""
    assert [] == GEMINI.one({**ENTRY, "capabilities": ["embeddings"]})["supportedGenerationMethods"]
