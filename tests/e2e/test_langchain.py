"""LangChain's OpenAI client against the real process."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from perf.simulator.launch import CLIENT_KEY
from tests.e2e.conftest import Stack

pytestmark = pytest.mark.e2e

FAMILIES = [
    "gpt-5",
    "anthropic--claude-4.6-sonnet",
    "gemini-3.5-flash",
    "amazon--nova-pro",
    "mistralai--mistral-small",
]


def chat(stack: Stack, model: str) -> ChatOpenAI:
    """LangChain's client for this model."""
    return ChatOpenAI(
        model=model, base_url=f"{stack.gateway.url}/v1", api_key=SecretStr(CLIENT_KEY), max_retries=0
    )


@tool
def get_weather(city: str, days: int) -> str:
    """Tell the weather."""
    return f"sunny in {city} for {days} days"


@pytest.mark.parametrize("model", FAMILIES)
def test_whole_and_streamed(shared: Stack, model: str) -> None:
    """The same text either way."""
    llm = chat(shared, model)

    whole = llm.invoke("echo: hello there, you")
    streamed = "".join(str(piece.content) for piece in llm.stream("echo: hello there, you"))

    assert ("hello there, you", "hello there, you") == (whole.content, streamed)


@pytest.mark.parametrize("model", FAMILIES)
def test_a_tool_loop(shared: Stack, model: str) -> None:
    """LangChain keeps only what OpenAI's own fields say: even so the loop has to close."""
    llm = chat(shared, model).bind_tools([get_weather])
    messages: list[Any] = [HumanMessage("please call get_weather for me")]
    first = llm.invoke(messages)
    assert isinstance(first, AIMessage)
    assert ["get_weather"] == [call["name"] for call in first.tool_calls]

    messages += [first, *(ToolMessage("sunny", tool_call_id=call["id"]) for call in first.tool_calls)]
    second = llm.invoke(messages)
    assert second.content


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


@pytest.mark.parametrize("model", FAMILIES)
def test_structured_output(shared: Stack, model: str) -> None:
    """By a strict schema."""
    made = chat(shared, model).with_structured_output(Trip, method="json_schema").invoke("Plan a trip.")

    assert isinstance(made, Trip)


def test_embeddings(shared: Stack) -> None:
    """LangChain sends tokens to OpenAI's models and texts to others."""
    tokens = OpenAIEmbeddings(
        model="text-embedding-3-small", base_url=f"{shared.gateway.url}/v1", api_key=SecretStr(CLIENT_KEY),
        check_embedding_ctx_length=False,
    )  # fmt: skip

    assert 2 == len(tokens.embed_documents(["one", "two"]))
