"""OpenAI's own SDK against the real process with two workers."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.conftest import Stack

pytestmark = pytest.mark.e2e

HELLO: Any = [{"role": "user", "content": "echo: hello there, you"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
CLOCK: Any = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
    },
}
MODELS = ["gpt-5", "gpt-4.1", "mistralai--mistral-small", "qwen3-max"]


@pytest.fixture
async def async_sdk(shared: Stack) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{shared.gateway.url}/v1", api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def azure(shared: Stack) -> Iterator[AzureOpenAI]:
    with AzureOpenAI(
        azure_endpoint=shared.gateway.url, api_key=CLIENT_KEY, api_version="2024-10-21", max_retries=0
    ) as client:
        yield client


def asked_for(name: str) -> Any:
    return [{"role": "user", "content": f"please call {name} for me"}]


def assembled(chunks: list[Any]) -> dict[int, dict[str, str]]:
    """The tool calls of a stream, put together from their fragments."""
    calls: dict[int, dict[str, str]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            for piece in choice.delta.tool_calls or ():
                call = calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += piece.id or ""
                call["name"] += piece.function.name or ""
                call["arguments"] += piece.function.arguments or ""
    return calls


def text_of(chunks: list[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


# --- whole answers and streams ---------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_whole_answer(sdk: OpenAI, model: str) -> None:
    """Every family answers under the name it was asked for, with its usage."""
    answer = sdk.chat.completions.create(model=model, messages=HELLO)

    assert ("hello there, you", "stop", model) == (
        answer.choices[0].message.content,
        answer.choices[0].finish_reason,
        answer.model,
    )
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_a_stream(sdk: OpenAI, model: str) -> None:
    """Every family streams its text in pieces, under the name it was asked for, and ends with a reason."""
    chunks = list(sdk.chat.completions.create(model=model, messages=HELLO, stream=True))

    assert "hello there, you" == text_of(chunks)
    assert {model} == {chunk.model for chunk in chunks}
    assert "stop" == chunks[-1].choices[0].finish_reason
    assert len(chunks) > 3


@pytest.mark.parametrize("model", MODELS)
def test_usage_of_a_stream_comes_when_asked_for(sdk: OpenAI, model: str) -> None:
    """With include_usage the last chunk has the usage and no choice, as in a whole answer."""
    whole = sdk.chat.completions.create(model=model, messages=HELLO)
    chunks = list(
        sdk.chat.completions.create(
            model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )

    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert ([], whole.usage.total_tokens) == (chunks[-1].choices, chunks[-1].usage.total_tokens)
    assert {None} == {chunk.usage for chunk in chunks[:-1]}


@pytest.mark.parametrize("model", MODELS)
def test_usage_of_a_stream_stays_away_unasked(sdk: OpenAI, model: str) -> None:
    """Without include_usage no chunk has usage and every chunk has a choice."""
    chunks = list(sdk.chat.completions.create(model=model, messages=HELLO, stream=True))

    assert {None} == {chunk.usage for chunk in chunks}
    assert all(chunk.choices for chunk in chunks)


async def test_a_whole_answer_asynchronously(async_sdk: AsyncOpenAI) -> None:
    """The asynchronous client gets the same."""
    answer = await async_sdk.chat.completions.create(model="gpt-5", messages=HELLO)

    assert "hello there, you" == answer.choices[0].message.content


async def test_a_stream_asynchronously(async_sdk: AsyncOpenAI) -> None:
    """The asynchronous client streams the same."""
    stream = await async_sdk.chat.completions.create(model="gpt-5", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]

    assert "hello there, you" == text_of(chunks)
    assert "stop" == chunks[-1].choices[0].finish_reason


def test_the_raw_answer_has_the_heads(sdk: OpenAI, tenant: Simulator) -> None:
    """with_raw_response shows who served, in how many attempts, and the gateway's own milliseconds."""
    raw = sdk.chat.completions.with_raw_response.create(
        model="gpt-5", messages=HELLO, extra_headers={"x-request-id": "sdk-raw-1"}
    )
    served = {one["id"] for name in tenant.tenants for one in tenant.deployments("gpt-5", tenant=name)}

    assert ("sdk-raw-1", "gpt-5", "1") == (
        raw.headers["x-request-id"],
        raw.headers["x-aicore-model"],
        raw.headers["x-aicore-attempts"],
    )
    assert raw.headers["x-aicore-sub-account"] in tenant.tenants
    assert raw.headers["x-aicore-deployment"] in served
    assert 0 <= float(raw.headers["x-aicore-overhead-ms"]) < 1000
    assert "hello there, you" == raw.parse().choices[0].message.content


def test_the_raw_stream_has_the_heads(sdk: OpenAI) -> None:
    """A stream has them too, before its first chunk."""
    with sdk.chat.completions.with_streaming_response.create(
        model="gpt-5", messages=HELLO, stream=True
    ) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        assert {"x-aicore-sub-account", "x-aicore-deployment", "x-request-id"} <= set(raw.headers)


# --- tools -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_forced_tool_is_called(sdk: OpenAI, model: str) -> None:
    """tool_choice by name calls that tool, with arguments that fit its schema, and finish_reason says so."""
    answer = sdk.chat.completions.create(
        model=model,
        messages=HELLO,
        tools=[WEATHER, CLOCK],
        tool_choice={"type": "function", "function": {"name": "get_time"}},
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert isinstance(calls[0], ChatCompletionMessageFunctionToolCall)

    assert ("get_time", {"zone"}) == (calls[0].function.name, set(json.loads(calls[0].function.arguments)))
    expected = {"stop", "tool_calls"} if model.startswith("gpt") else {"tool_calls"}
    assert answer.choices[0].finish_reason in expected


def test_several_tools_are_called_at_once(sdk: OpenAI) -> None:
    """Parallel calls arrive as several calls with ids of their own."""
    answer = sdk.chat.completions.create(
        model="gpt-5", messages=asked_for("get_weather and get_time"), tools=[WEATHER, CLOCK]
    )
    calls = answer.choices[0].message.tool_calls or []

    assert ["get_weather", "get_time"] == [call.function.name for call in calls if call.type == "function"]
    assert 2 == len({call.id for call in calls})


def test_parallel_calls_can_be_refused(sdk: OpenAI) -> None:
    """parallel_tool_calls false goes up, and one call comes back."""
    answer = sdk.chat.completions.create(
        model="gpt-5",
        messages=asked_for("get_weather and get_time"),
        tools=[WEATHER, CLOCK],
        parallel_tool_calls=False,
    )

    assert 1 == len(answer.choices[0].message.tool_calls or ())


@pytest.mark.parametrize("model", MODELS)
def test_streamed_tool_calls_can_be_assembled(sdk: OpenAI, model: str) -> None:
    """The fragments of two calls make the same calls as a whole answer; finish_reason is tool_calls."""
    request: Any = {"model": model, "tools": [WEATHER, CLOCK]}
    request["messages"] = asked_for("get_weather and get_time")
    whole = sdk.chat.completions.create(**request).choices[0]
    chunks = list(sdk.chat.completions.create(**request, stream=True))
    calls = assembled(chunks)

    assert [(call.function.name, call.function.arguments) for call in whole.message.tool_calls or ()] == [
        (calls[index]["name"], calls[index]["arguments"]) for index in sorted(calls)
    ]
    assert 2 == len({call["id"] for call in calls.values()})
    assert ("tool_calls", "tool_calls") == (whole.finish_reason, chunks[-1].choices[0].finish_reason)


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_result_goes_back(sdk: OpenAI, model: str) -> None:
    """The result of a call, sent with the call, leads to an answer in words."""
    asked = asked_for("get_weather")
    first = sdk.chat.completions.create(model=model, messages=asked, tools=[WEATHER])
    message = first.choices[0].message
    assert message.tool_calls
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "18 degrees"}
    messages: Any = [*asked, message, result]  # the answer's message as it is, as OpenAI documents it
    second = sdk.chat.completions.create(model=model, messages=messages, tools=[WEATHER])

    assert ("The tool answered: 18 degrees", "stop") == (
        second.choices[0].message.content,
        second.choices[0].finish_reason,
    )


class City(BaseModel):
    name: str
    inhabitants: int


def test_a_parsed_answer(sdk: OpenAI) -> None:
    """`parse` with a model class gets an instance of it, through json_schema."""
    answer = sdk.chat.completions.parse(model="gpt-5", messages=HELLO, response_format=City)

    assert isinstance(answer.choices[0].message.parsed, City)


# --- embeddings ------------------------------------------------------------------------------------


def test_embeddings_as_the_sdk_asks(sdk: OpenAI, tenant: Simulator) -> None:
    """The SDK asks for base64 by itself; it reads the vectors, in the order of the texts."""
    answer = sdk.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    (deployment,) = tenant.deployments("text-embedding-3-small")

    assert [(0, 1536), (1, 1536)] == [(one.index, len(one.embedding)) for one in answer.data]
    assert answer.data[0].embedding != answer.data[1].embedding
    assert "base64" == tenant.last_request(deployment["id"])["body"]["encoding_format"]


def test_embeddings_as_numbers_and_as_base64_are_the_same(sdk: OpenAI) -> None:
    """Both encodings carry the same vector."""
    numbers = sdk.embeddings.create(model="text-embedding-3-small", input="one", encoding_format="float")
    packed = sdk.embeddings.with_raw_response.create(
        model="text-embedding-3-small", input="one", encoding_format="base64"
    )
    raw = base64.b64decode(json.loads(packed.text)["data"][0]["embedding"])

    assert 1536 * 4 == len(raw)
    assert numbers.data[0].embedding == pytest.approx(memoryview(raw).cast("f").tolist())


def test_embeddings_of_a_given_length(sdk: OpenAI) -> None:
    """`dimensions` goes up."""
    answer = sdk.embeddings.create(model="text-embedding-3-small", input="one", dimensions=256)

    assert 256 == len(answer.data[0].embedding)


@pytest.mark.parametrize(("tokens", "count"), [([1, 2, 3], 1), ([[1, 2, 3], [4, 5]], 2)])
def test_embeddings_of_tokens(sdk: OpenAI, tokens: Any, count: int) -> None:
    """Arrays of tokens, and arrays of these, go up as they are."""
    assert count == len(sdk.embeddings.create(model="text-embedding-3-small", input=tokens).data)


async def test_embeddings_asynchronously(async_sdk: AsyncOpenAI) -> None:
    """The asynchronous client embeds too."""
    answer = await async_sdk.embeddings.create(model="text-embedding-3-small", input="one")

    assert 1536 == len(answer.data[0].embedding)


# --- models ----------------------------------------------------------------------------------------


def test_the_models_are_listed(sdk: OpenAI) -> None:
    """Every model that runs is listed once, and nothing that is pending or stopped in both tenants."""
    names = [model.id for model in sdk.models.list()]

    assert {"gpt-5", "gpt-5-mini", "gpt-4.1", "gpt-4.1-mini", "text-embedding-3-small", *MODELS} <= set(names)
    assert "gpt-5-nano" not in names
    assert len(names) == len(set(names))


@pytest.mark.parametrize("model", [*MODELS, "text-embedding-3-small"])
def test_a_model_is_described(sdk: OpenAI, model: str) -> None:
    """`retrieve` finds what `list` lists."""
    assert (model, "model") == (sdk.models.retrieve(model).id, sdk.models.retrieve(model).object)


def test_an_unknown_model_is_not_described(sdk: OpenAI) -> None:
    """`retrieve` of something else is NotFoundError."""
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.models.retrieve("gpt-99")

    assert "model_not_found" == caught.value.code


# --- Azure's client --------------------------------------------------------------------------------


def test_azures_client_chats(azure: AzureOpenAI) -> None:
    """The deployment's name in the path is the model."""
    answer = azure.chat.completions.create(model="gpt-4.1", messages=HELLO)

    assert ("hello there, you", "gpt-4.1") == (answer.choices[0].message.content, answer.model)


def test_azures_client_streams(azure: AzureOpenAI) -> None:
    """It streams too."""
    chunks = list(
        azure.chat.completions.create(model="mistralai--mistral-small", messages=HELLO, stream=True)
    )

    assert "hello there, you" == text_of(chunks)


def test_azures_client_embeds(azure: AzureOpenAI) -> None:
    """It embeds too."""
    answer = azure.embeddings.create(model="text-embedding-3-small", input="one", dimensions=64)

    assert 64 == len(answer.data[0].embedding)


async def test_azures_asynchronous_client(shared: Stack) -> None:
    """The asynchronous one chats."""
    async with AsyncAzureOpenAI(
        azure_endpoint=shared.gateway.url, api_key=CLIENT_KEY, api_version="2024-10-21", max_retries=0
    ) as client:
        answer = await client.chat.completions.create(model="gpt-5", messages=HELLO)

    assert "hello there, you" == answer.choices[0].message.content


# --- errors ----------------------------------------------------------------------------------------


def test_a_wrong_key_is_an_authentication_error(shared: Stack) -> None:
    """401 with OpenAI's code."""
    wrong = OpenAI(base_url=f"{shared.gateway.url}/v1", api_key="sk-wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError) as caught:
        wrong.chat.completions.create(model="gpt-5", messages=HELLO)

    assert ("invalid_api_key", "authentication_error") == (caught.value.code, caught.value.type)


def test_a_wrong_model_is_not_found(sdk: OpenAI) -> None:
    """404 with the names that come near."""
    with pytest.raises(openai.NotFoundError, match=r"gpt-4\.1") as caught:
        sdk.chat.completions.create(model="gpt-4.l", messages=HELLO)

    assert "model_not_found" == caught.value.code


@pytest.mark.parametrize(
    ("more", "param"),
    [({"n": 2}, "n"), ({"logprobs": True}, "logprobs"), ({"modalities": ["text", "audio"]}, "modalities")],
)
def test_what_cannot_be_honoured_is_a_bad_request(sdk: OpenAI, more: Any, param: str) -> None:
    """400 naming the field, instead of an answer that lacks what was asked for."""
    with pytest.raises(openai.BadRequestError, match=param) as caught:
        sdk.chat.completions.create(model="gpt-5", messages=HELLO, **more)

    assert (param, "unsupported_parameter") == (caught.value.param, caught.value.code)


def test_the_upstreams_refusal_keeps_its_words(sdk: OpenAI) -> None:
    """400 of the model: its text, its param."""
    messages: Any = [{"role": "tool", "tool_call_id": "nobody", "content": "?"}]
    with pytest.raises(openai.BadRequestError, match="must be a response to a preceding") as caught:
        sdk.chat.completions.create(model="gpt-4.1", messages=messages)

    assert "messages.[0].role" == caught.value.param


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("429", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("503", openai.InternalServerError),
        ("413", openai.APIStatusError),
        ("content-filter", openai.BadRequestError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_upstream_faults_are_the_sdks_exceptions(
    sdk: OpenAI, kind: str, error: type[openai.APIStatusError], stream: bool
) -> None:
    """Each status becomes the SDK's own exception, streaming or not, with the request's id."""
    messages: Any = [{"role": "user", "content": f"[[fault:{kind}]]"}]
    with pytest.raises(error) as caught:
        sdk.chat.completions.create(model="qwen3-max", messages=messages, stream=stream)

    assert caught.value.request_id
    assert caught.value.body
    assert msgspec.json.decode(caught.value.response.content)["error"]["message"] in caught.value.message


def test_a_broken_stream_raises(sdk: OpenAI, tenant: Simulator) -> None:
    """An error inside a stream is raised by the SDK; what came before it was read."""
    tenant.set_pace(chunk_interval_ms=20)
    messages: Any = [{"role": "user", "content": "one two three four [[fault:cut:3]]"}]
    read: list[Any] = []
    stream = sdk.chat.completions.create(model="gpt-4.1", messages=messages, stream=True)
    with pytest.raises(openai.APIError, match="cut off"):
        read.extend(stream)

    assert len(read) >= 2
