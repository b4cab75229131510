"""Tool names and ids that every upstream takes, and the way back."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given, strategies as st

from services.translation.conversation import Conversation, Text, Tool, ToolChoice, ToolResult, ToolUse, Turn
from services.translation.toolnames import renamed, safe

ODD = "mcp.server/über tool"


@given(st.text())
def test_a_safe_name_is_one_that_every_upstream_takes(name: str) -> None:
    """Always, and the same each time."""
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", safe(name))
    assert safe(name) == safe(name)


@given(st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True))
def test_a_name_that_is_safe_stays(name: str) -> None:
    """Most are."""
    assert name == safe(name)


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_names_stay_different(one: str, other: str) -> None:
    """A hash tells them apart."""
    assert (one == other) == (safe(one) == safe(other))


def test_a_long_name_keeps_its_beginning() -> None:
    """The model reads it."""
    assert safe("weather_" * 10).startswith("weather_weather_")


def conversation(name: str, tool_id: str = "call_1") -> Conversation:
    """A tool, its call and its result."""
    return Conversation(
        turns=(
            Turn("user", (Text("x"),)),
            Turn("assistant", (ToolUse(tool_id, name),)),
            Turn("user", (ToolResult(tool_id),)),
        ),
        tools=(Tool(name),),
        tool_choice=ToolChoice("tool", name),
    )


def test_a_conversation_that_fits_stays_itself() -> None:
    """Nothing is copied."""
    asked = conversation("weather")

    assert (asked, {}) == renamed(asked)
    assert asked is renamed(asked)[0]


def test_names_and_ids_change_together_everywhere() -> None:
    """Tool, choice, call and result still belong together; the input stays as it was."""
    asked = conversation(ODD, "call:1")
    before = msgspec.json.encode(asked)

    changed, originals = renamed(asked)

    name, tool_id = safe(ODD), safe("call:1")
    assert {name: ODD} == originals
    assert conversation(name, tool_id) == changed
    assert before == msgspec.json.encode(asked)


@pytest.mark.parametrize("choice", [None, ToolChoice("auto")])
def test_a_choice_without_a_name_stays(choice: ToolChoice | None) -> None:
    """There is nothing to rename."""
    asked = msgspec.structs.replace(conversation(ODD), tool_choice=choice)

    assert choice == renamed(asked)[0].tool_choice


def test_an_id_alone_is_changed_too() -> None:
    """Old calls in a conversation whose tools are gone."""
    asked = msgspec.structs.replace(conversation("weather", "a b"), tools=())

    changed, originals = renamed(asked)

    assert ({}, safe("a b")) == (originals, changed.turns[1].blocks[0].id)  # type: ignore[union-attr]
