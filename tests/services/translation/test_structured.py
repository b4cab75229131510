"""Answers that fit a schema, from models that cannot promise it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.translation.capabilities import ModelFacts
from services.translation.conversation import Conversation, OutputFormat, Text, Tool, ToolChoice
from services.translation.events import Event, Started, Stopped, TextPiece, ToolOpened, ToolPiece
from services.translation.structured import TOOL, Unwrapping, emulated

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
WANTED = Conversation(turns=(), output=OutputFormat(schema=SCHEMA, description="the sum"))


def facts(how: str) -> ModelFacts:
    """A model that makes answers fit this way."""
    return ModelFacts(json_schema=how)


@pytest.mark.parametrize(
    ("asked", "how"), [(WANTED, "native"), (msgspec.structs.replace(WANTED, output=None), "tool")]
)
def test_nothing_happens_where_nothing_is_needed(asked: Conversation, how: str) -> None:
    """The model can do it, or nobody asked."""
    assert (asked, False) == emulated(asked, facts(how))


def test_the_schema_becomes_a_tool_that_has_to_be_called() -> None:
    """Once; its description is the format's own."""
    made, unwraps = emulated(WANTED, facts("tool"))

    assert ((Tool(TOOL, "the sum", SCHEMA),), ToolChoice("tool", TOOL), False, None, True) == (
        made.tools,
        made.tool_choice,
        made.parallel_tools,
        made.output,
        unwraps,
    )
    assert () == WANTED.tools


def test_beside_other_tools_any_of_them_has_to_be_called() -> None:
    """One at a time: an answer and a call together would be neither."""
    made, _ = emulated(msgspec.structs.replace(WANTED, tools=(Tool("f"),)), facts("tool"))

    assert (["f", TOOL], ToolChoice("any"), False) == (
        [tool.name for tool in made.tools],
        made.tool_choice,
        made.parallel_tools,
    )


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        (ToolChoice("none"), ToolChoice("tool", TOOL)),
        (ToolChoice("tool", "f"), ToolChoice("tool", "f")),
        (ToolChoice("any"), ToolChoice("any")),
    ],
)
def test_the_caller_decides_which_of_its_tools_may_be_called(asked: ToolChoice, made: ToolChoice) -> None:
    """None of them, the named one, or any."""
    wanted = msgspec.structs.replace(WANTED, tools=(Tool("f"),), tool_choice=asked)

    assert made == emulated(wanted, facts("tool"))[0].tool_choice


@pytest.mark.parametrize(
    ("how", "schema", "told"), [("tool", None, ""), ("hint", None, ""), ("hint", SCHEMA, '"integer"')]
)
def test_else_the_model_is_asked_for_json(how: str, schema: Any, told: str) -> None:
    """In a line of its system prompt."""
    asked = msgspec.structs.replace(WANTED, system=(Text("Be brief."),), output=OutputFormat(schema=schema))

    made, unwraps = emulated(asked, facts(how))

    assert ("Be brief.", None, False) == (made.system[0].text, made.output, unwraps)
    assert ("JSON" in made.system[1].text, told in made.system[1].text) == (True, True)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (
            [Started(), ToolOpened("1", TOOL), ToolPiece('{"a":'), ToolPiece("1}"), Stopped("tool_calls")],
            [Started(), TextPiece('{"a":'), TextPiece("1}"), Stopped("stop")],
        ),
        (
            [ToolOpened("1", "f"), ToolPiece("{}"), Stopped("tool_calls")],
            [ToolOpened("1", "f"), ToolPiece("{}"), Stopped("tool_calls")],
        ),
        ([TextPiece("x"), Stopped("length")], [TextPiece("x"), Stopped("length")]),
        ([ToolOpened("1", TOOL), Stopped("tool_calls")], [TextPiece("{}"), Stopped("stop")]),
    ],
)
def test_the_call_of_our_own_tool_becomes_text(events: list[Event], expected: list[Event]) -> None:
    """Calls of others stay calls; one without arguments is an empty object."""
    unwrapping = Unwrapping()

    assert expected == [out for event in events for out in unwrapping.feed([event])]
