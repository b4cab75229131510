"""What tests ask, and how they read streamed answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import msgspec

CHAT = "/v1/chat/completions"


def chat(text: str = "echo: hello there", *, model: str = "gpt-5", **more: Any) -> dict[str, Any]:
    """Return the body of a chat request with one user message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def events(text: str) -> list[Any]:
    """Return the events of a stream: decoded, and the terminator as its text."""
    found = [block.removeprefix("data: ") for block in text.split("\n\n") if block.startswith("data: ")]
    return [one if one == "[DONE]" else msgspec.json.decode(one) for one in found]


def said(chunks: list[Any]) -> str:
    """Return the content of all chunks."""
    deltas = [choice["delta"] for chunk in chunks if chunk != "[DONE]" for choice in chunk.get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas)


def content(answer: httpx.Response) -> str:
    """Return the text of a whole answer."""
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def within(seconds: float, claim: Callable[[], bool]) -> bool:
    """Whether the claim becomes true in that time."""
    deadline = time.monotonic() + seconds
    while not (done := claim()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return done
