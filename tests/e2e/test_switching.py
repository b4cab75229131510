"""One conversation, another model at every turn: tool loops with thinking, pictures, failed tools."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.bodies import CHAT

pytestmark = pytest.mark.e2e

MODELS = (
    "anthropic--claude-4.5-haiku", "gpt-5", "anthropic--claude-4.8-opus", "gemini-3.5-flash",
    "amazon--nova-pro", "gpt-5.5", "mistralai--mistral-small", "anthropic--claude-4.6-sonnet", "gpt-4.1",
    "anthropic--claude-4.5-sonnet",
)  # fmt: skip
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = ("get_weather", "get_time")
ASKED = "please call get_weather and get_time for me"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SHOWN = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}


def said(answer: httpx.Response) -> Any:
    assert 200 == answer.status_code, answer.text
    return answer.json()


@pytest.mark.parametrize("thinking", [{}, {"thinking": {"type": "enabled", "budget_tokens": 1500}}])
def test_messages(http: httpx.Client, thinking: dict[str, Any]) -> None:
    """Each model gets what the others said, without the proofs that are none of its own."""
    tools = [{"name": name, "input_schema": SCHEMA} for name in TOOLS]
    history: list[Any] = [{"role": "user", "content": ASKED}]
    for turn, model in enumerate(MODELS):
        asked = {"model": model, "max_tokens": 3000, "tools": tools, "messages": history, **thinking}
        answer = said(http.post("/v1/messages", json=asked))
        calls = [block for block in answer["content"] if block["type"] == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": one["id"], "content": [SHOWN]} if at else
            {"type": "tool_result", "tool_use_id": one["id"], "is_error": True, "content": "no"}
            for at, one in enumerate(calls)
        ]  # fmt: skip
        more = [] if calls and turn % 2 else [{"type": "text", "text": ASKED}]
        history += [
            {"role": "assistant", "content": answer["content"]},
            {"role": "user", "content": results + more},
        ]

        assert ("tool_use" if calls else "end_turn") == answer["stop_reason"]
        assert answer["content"]


@pytest.mark.parametrize("effort", [{}, {"reasoning_effort": "medium"}])
def test_chat(http: httpx.Client, effort: dict[str, Any]) -> None:
    """Extensions of one model's answer are no unknown parameters to the next."""
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in TOOLS]
    history: list[Any] = [{"role": "user", "content": ASKED}]
    for model in MODELS:
        asked = {"model": model, "tools": tools, "messages": history, **effort}
        [choice] = said(http.post(CHAT, json=asked))["choices"]
        calls = choice["message"].get("tool_calls") or []
        history.append(choice["message"])
        history += [{"role": "tool", "tool_call_id": one["id"], "content": "ok"} for one in calls]
        if not calls:
            history.append({"role": "user", "content": ASKED})

        assert ("tool_calls" if calls else "stop") == choice["finish_reason"]
