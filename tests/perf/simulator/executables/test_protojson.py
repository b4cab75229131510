"""JSON read as a protocol buffer: spellings, and what is told about faults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perf.simulator.executables.gemini_fields import MESSAGES
from perf.simulator.executables.protojson import read
from perf.simulator.executables.validation import BadBody


def taken(body: Any) -> dict[str, Any]:
    """A request as it is understood."""
    return read(json.dumps(body).encode(), "GenerateContentRequest", MESSAGES)


def told(body: Any) -> str:
    """The complaint about a request."""
    with pytest.raises(BadBody) as caught:
        taken(body)
    return caught.value.problem.message


@pytest.mark.parametrize(
    "config",
    [
        {"generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"thinkingLevel": "LOW"}}},
        {"generation_config": {"max_output_tokens": 5.0, "thinking_config": {"thinking_level": "low"}}},
        {"generation_config": {"maxOutputTokens": "5", "thinkingConfig": {"thinkingLevel": "Low"}}},
    ],
)
def test_both_spellings_are_read(config: dict[str, Any]) -> None:
    """CamelCase and snake_case, numbers as text, enums in any case (wire §4.5)."""
    assert {"generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"thinkingLevel": "LOW"}}} == taken(
        config
    )


def test_a_single_object_is_a_list_of_one() -> None:
    """As in the samples of the help page (wire §4.5)."""
    single = taken({"contents": {"role": "user", "parts": {"text": "hi"}}})

    assert {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]} == single


def test_free_json_keeps_its_names() -> None:
    """Arguments and JSON Schema are nobody's fields."""
    schema = {"type": "object", "properties": {"a_b": {"const": 1, "$ref": "#/x"}}}
    declared = {"name": "f", "parameters_json_schema": schema}
    body = taken({"tools": [{"function_declarations": [declared]}]})

    assert schema == body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]


def test_null_is_nothing() -> None:
    """A field that is null is not set."""
    assert {} == taken({"tools": None, "generationConfig": None})


CALL = "tools[0].function_declarations[0].parameters"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"stream": True}, 'Invalid JSON payload received. Unknown name "stream": Cannot find field.'),
        ({"model": "m"}, 'Invalid JSON payload received. Unknown name "model": Cannot find field.'),
        (
            {"contents": [{"parts": [{"functionResponse": {"id": "1", "name": "f", "response": {}}}]}]},
            'Invalid JSON payload received. Unknown name "id" at '
            "'contents[0].parts[0].function_response': Cannot find field.",
        ),
        (
            {"tools": [{"functionDeclarations": [{"parameters": {"properties": {"x": {"const": 1}}}}]}]},
            f"Invalid JSON payload received. Unknown name \"const\" at '{CALL}.properties[0].value': "
            "Cannot find field.",
        ),
        (
            {"tools": [{"functionDeclarations": [{"parameters": {"properties": {"x": {"enum": [1]}}}}]}]},
            f"Invalid value at '{CALL}.properties[0].value.enum[0]' (TYPE_STRING), 1",
        ),
        (
            {"tools": [{"functionDeclarations": [{"parameters": {"type": ["string", "null"]}}]}]},
            f"Invalid JSON payload received. Unknown name \"type\" at '{CALL}': "
            "Proto field is not repeating, cannot start list.",
        ),
        (
            {"generationConfig": {"maxOutputTokens": 1.5}},
            "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32), 1.5",
        ),
        (
            {"generationConfig": {"temperature": True}},
            "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), true",
        ),
        (
            {"safetySettings": [{"threshold": "NEVER"}]},
            "Invalid value at 'safety_settings[0].threshold' (TYPE_ENUM), \"NEVER\"",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "&"}}]}]},
            "Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), "
            'Base64 decoding failed for "&"',
        ),
        (
            {"systemInstruction": "be brief"},
            "Invalid value at 'system_instruction' "
            '(type.googleapis.com/google.cloud.aiplatform.v1.Content), "be brief"',
        ),
        ([], 'Invalid JSON payload received. Unknown name "": Root element must be a message.'),
    ],
)
def test_faults_are_told_with_their_place(body: Any, message: str) -> None:
    """Google's own words (wire §5.4)."""
    assert message == told(body)


@pytest.mark.parametrize(
    "keyword",
    ["$ref", "$defs", "$schema", "additionalProperties", "oneOf", "allOf", "not", "exclusiveMinimum"],
)
def test_trap_44_parameters_know_few_keywords(keyword: str) -> None:
    """Trap 44: what `parametersJsonSchema` takes, `parameters` refuses."""
    declared: dict[str, Any] = {"name": "f", "parameters": {"type": "OBJECT", keyword: {}}}

    assert f'Unknown name "{keyword}"' in told({"tools": [{"functionDeclarations": [declared]}]})
    declared["parametersJsonSchema"] = declared.pop("parameters")
    assert taken({"tools": [{"functionDeclarations": [declared]}]})


def test_all_faults_are_told_at_once() -> None:
    """One line each, and the details name the fields."""
    with pytest.raises(BadBody) as caught:
        taken({"stream": True, "generationConfig": {"seed": "x"}})
    problem = caught.value.problem

    assert 2 == len(problem.message.splitlines())
    assert problem.inner is not None
    assert ["", "generation_config.seed"] == [v["field"] for v in problem.inner["fieldViolations"]]


def test_broken_json_is_told() -> None:
    """Not an internal error."""
    with pytest.raises(BadBody, match="Invalid JSON payload received"):
        read(b'{"contents":', "GenerateContentRequest", MESSAGES)
