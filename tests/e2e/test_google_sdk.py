"""Google's own SDK against the real process: Gemini passed through, other families translated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from perf.simulator.launch import CLIENT_KEY
from tests.e2e.conftest import Stack

pytestmark = pytest.mark.e2e

FAMILIES = [
    "gemini-2.5-flash-lite",
    "gemini-3.5-flash",
    "anthropic--claude-4.6-sonnet",
    "gpt-5",
    "amazon--nova-pro",
]
HELLO = "echo: hello there, you"
WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            description="Tells the weather.",
            parameters_json_schema={
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            },
        )
    ]
)


@pytest.fixture
def google(shared: Stack) -> Iterator[genai.Client]:
    client = genai.Client(api_key=CLIENT_KEY, http_options=types.HttpOptions(base_url=shared.gateway.url))
    yield client
    client.close()


@pytest.mark.parametrize("model", FAMILIES)
def test_an_answer(google: genai.Client, model: str) -> None:
    """Whole, with its usage."""
    answer = google.models.generate_content(model=model, contents=HELLO)

    assert ("hello there, you", model) == (answer.text, answer.model_version)
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata.candidates_token_count or 0) > 0


@pytest.mark.parametrize("model", FAMILIES)
def test_a_stream(google: genai.Client, model: str) -> None:
    """In pieces, with a finish reason at the end."""
    pieces = list(google.models.generate_content_stream(model=model, contents=HELLO))

    assert "hello there, you" == "".join(piece.text or "" for piece in pieces)
    assert types.FinishReason.STOP == pieces[-1].candidates[0].finish_reason  # type: ignore[index]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", FAMILIES)
def test_a_tool_loop(google: genai.Client, model: str, streamed: bool) -> None:
    """The call goes back with its thought signature, and its result beside it."""
    config: Any = types.GenerateContentConfig(
        tools=[WEATHER], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    contents: list[Any] = [
        types.Content(role="user", parts=[types.Part(text="please call get_weather for me")])
    ]
    parts = _parts(google, streamed, model=model, contents=contents, config=config)
    calls = [part.function_call for part in parts if part.function_call]
    assert ["get_weather"] == [call.name for call in calls]
    assert {"city", "days"} == set(calls[0].args or {})

    contents += [
        types.Content(role="model", parts=parts),
        types.Content(
            role="user",
            parts=[types.Part.from_function_response(name="get_weather", response={"result": "sunny"})],
        ),
    ]
    after = _parts(google, streamed, model=model, contents=contents, config=config)
    assert any(part.text for part in after)


def _parts(client: genai.Client, streamed: bool, **asked: Any) -> list[types.Part]:
    answers = (
        client.models.generate_content_stream(**asked)
        if streamed
        else [client.models.generate_content(**asked)]
    )
    return [
        part
        for answer in answers
        for candidate in answer.candidates or ()
        for part in (candidate.content.parts if candidate.content else None) or ()
    ]


@pytest.mark.parametrize("model", FAMILIES)
def test_structured_output(google: genai.Client, model: str) -> None:
    """An object that fits the schema."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = google.models.generate_content(
        model=model,
        contents="Plan a trip.",
        config=types.GenerateContentConfig(
            response_mime_type="application/json", response_json_schema=schema
        ),
    )

    assert '"city"' in (answer.text or "")


def test_tokens_are_counted(google: genai.Client) -> None:
    """Estimated here."""
    assert (google.models.count_tokens(model="gemini-3.5-flash", contents=HELLO).total_tokens or 0) > 0


def test_the_models_in_geminis_shape(google: genai.Client) -> None:
    """All on one page."""
    names = [model.name for model in google.models.list()]

    assert "models/gemini-3.5-flash" in names


@pytest.mark.parametrize(("model", "status"), [("gemini-99", 404), ("gemini-embedding", 400)])
def test_errors_are_googles(google: genai.Client, model: str, status: int) -> None:
    """With their status."""
    with pytest.raises(errors.ClientError) as caught:
        google.models.generate_content(model=model, contents=HELLO)
    assert status == caught.value.code


def test_a_wrong_key(shared: Stack) -> None:
    """401."""
    client = genai.Client(api_key="wrong", http_options=types.HttpOptions(base_url=shared.gateway.url))
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model="gemini-3.5-flash", contents=HELLO)
    client.close()
    assert 401 == caught.value.code
