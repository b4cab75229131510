"""Turns in the order that strict upstreams want."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given, strategies as st

from services.errors import BadRequest
from services.translation.capabilities import ModelFacts
from services.translation.conversation import (
    Audio,
    Block,
    Conversation,
    Document,
    Image,
    Redacted,
    Role,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from services.translation.turns import (
    FILLER,
    arguments_object,
    arranged,
    check_inputs,
    document_text,
    forgets_thinking,
    freeform_input,
    hoisted,
    image_format,
    merged,
    opened_by_user,
    parameters,
)

CALL = ToolUse("t1", "f")
RESULT = ToolResult("t1", (Text("sun"),))
OTHER = ToolResult("t2")


def user(*blocks: Block) -> Turn:
    return Turn("user", blocks)


def assistant(*blocks: Block) -> Turn:
    return Turn("assistant", blocks)


# --- system ------------------------------------------------------------------------------------------


def test_system_turns_join_the_system_texts_in_order() -> None:
    """A system turn in mid-conversation becomes a system text (traps 27, 30)."""
    asked = Conversation(
        system=(Text("first"),),
        turns=(user(Text("hi")), Turn("system", (Text("second"), Text(" "))), user(Text("you?"))),
    )

    assert ((Text("first"), Text("second")), (user(Text("hi")), user(Text("you?")))) == hoisted(asked)


def test_a_system_turn_with_a_picture_is_refused_by_the_callers_name() -> None:
    """System turns hold text only."""
    asked = Conversation(
        turns=(Turn("system", (Image("image/png", "aGk="),)),), names={"messages": "contents"}
    )

    with pytest.raises(BadRequest, match="text only") as caught:
        hoisted(asked)

    assert "contents" == caught.value.param


# --- merging -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ((user(Text("a")), user(Text("b"))), (user(Text("a"), Text("b")),)),
        (
            (user(RESULT), user(Text("go on")), user(OTHER)),
            (user(RESULT, OTHER, Text("go on")),),
        ),
        ((user(Text("a"), RESULT),), (user(RESULT, Text("a")),)),
        ((assistant(Text(""), CALL),), (assistant(CALL),)),
        ((user(Text("a")), assistant(Text(" \n")), user(Text("b"))), (user(Text("a"), Text("b")),)),
        (
            (user(Text("a")), assistant(Text("b")), user(Text(""))),
            (user(Text("a")), assistant(Text("b")), user(FILLER)),
        ),
        ((user(RESULT), user(Text(""))), (user(RESULT),)),
        ((user(), user(Text("\t"))), (user(FILLER),)),
        (
            (user(ToolResult("t", (Text(""), Text("x")), is_error=True)),),
            (user(ToolResult("t", (Text("x"),), is_error=True)),),
        ),
    ],
    ids=[
        "two of the user's",
        "results first, in one turn",
        "a result behind text",
        "empty text beside a call",
        "an empty assistant's turn",
        "an empty user's turn is no prefill",
        "an empty text beside a result",
        "nothing but empty text",
        "empty text inside a result",
    ],
)
def test_turns_alternate_without_empty_text(turns: tuple[Turn, ...], expected: tuple[Turn, ...]) -> None:
    """Roles alternate, results are first, nothing is blank (traps 31, 32)."""
    assert expected == merged(turns)


BLOCKS: dict[Role, st.SearchStrategy[Block]] = {
    "user": st.builds(Text, st.sampled_from(["", " ", ".", "a"])) | st.sampled_from([RESULT, OTHER]),
    "assistant": st.builds(Text, st.sampled_from(["", "\n", "b"])) | st.just(CALL),
}
TURNS = st.lists(
    st.sampled_from(list(BLOCKS)).flatmap(
        lambda role: st.lists(BLOCKS[role], max_size=3).map(lambda blocks: Turn(role, tuple(blocks)))
    ),
    max_size=6,
)


@given(turns=TURNS)
def test_any_turns_come_out_alternating_and_whole(turns: list[Turn]) -> None:
    """Whatever comes, the user opens, roles alternate, and every block that says something is there once."""
    out = opened_by_user(merged(turns))
    roles = [turn.role for turn in out]
    said = [b for turn in turns for b in turn.blocks if not isinstance(b, Text) or b.text.strip()]
    kept = [block for turn in out for block in turn.blocks if block is not FILLER]

    assert ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2) == roles
    assert all(turn.blocks for turn in out)
    assert sorted(map(repr, said)) == sorted(map(repr, kept))


def test_a_conversation_that_the_assistant_opens_gets_a_users_turn_before() -> None:
    """Upstreams want the user to begin."""
    assert (user(FILLER), assistant(Text("hello"))) == opened_by_user((assistant(Text("hello")),))


def test_a_conversation_of_system_messages_alone_gets_a_users_turn() -> None:
    """There is always something to answer to."""
    asked = Conversation(turns=(Turn("system", (Text("Be brief."),)),))

    assert ((Text("Be brief."),), (user(FILLER),)) == arranged(asked)


# --- thinking ----------------------------------------------------------------------------------------

THOUGHTS = (
    Thinking("mine", "sig", "claude"),
    Thinking("theirs", "sig", "gemini"),
    Thinking("unsigned"),
    Redacted("data"),
    Redacted("other", "converse"),
)


def test_only_thinking_of_its_own_goes_back() -> None:
    """A signature is shown to the dialect that made it; what has none stays here."""
    asked = Conversation(turns=(user(Text("hi")), assistant(*THOUGHTS)))

    assert (user(Text("hi")), assistant(THOUGHTS[0], THOUGHTS[3])) == arranged(asked, "claude")[1]


@pytest.mark.parametrize(("origins", "expected"), [(("claude",), True), (("claude", "gemini"), False)])
def test_forgotten_thinking_is_known(origins: tuple[str, ...], expected: bool) -> None:
    """What is left out can be reported."""
    asked = Conversation(turns=(assistant(*THOUGHTS[:2]),))

    assert expected is forgets_thinking(asked, *origins)


# --- tools -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", b"{}"),
        (" \n", b"{}"),
        ('{"b": 12345678901234567890123, "a": 1.10}', b'{"b": 12345678901234567890123, "a": 1.10}'),
        ("[1]", b'{"_raw":"[1]"}'),
        ("null", b'{"_raw":"null"}'),
        ('{"a":', b'{"_raw":"{\\"a\\":"}'),
        ("sunny", b'{"_raw":"sunny"}'),
        ("[" * 5000, b'{"_raw":"' + b"[" * 5000 + b'"}'),
    ],
    ids=["none", "blank", "object as written", "list", "null", "cut off", "prose", "deep"],
)
def test_arguments_are_always_an_object(arguments: str, expected: bytes) -> None:
    """An object stays as the model wrote it, anything else travels as `_raw` (trap 33)."""
    assert expected == bytes(arguments_object(arguments))


@given(st.text())
def test_arguments_are_always_json(arguments: str) -> None:
    """Whatever a model writes, the request stays JSON."""
    assert isinstance(json.loads(msgspec.json.encode(arguments_object(arguments))), dict)


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (Tool("f", schema={"type": "object", "x": 1}), {"type": "object", "x": 1}),
        (Tool("f"), {"type": "object", "properties": {}}),
        (
            Tool("f", schema={"type": "object"}, freeform=True),
            {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]},
        ),
    ],
    ids=["its own", "none", "freeform"],
)
def test_every_tool_has_a_schema(tool: Tool, expected: object) -> None:
    """A tool without parameters takes an empty object, a freeform one a string."""
    assert expected == parameters(tool)


# --- pictures and documents --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (Image("image/png", "aGk="), "image"),
        (Audio("audio/wav", "aGk="), "audio"),
        (Document("application/pdf", "aGk="), "pdf"),
        (ToolResult("t", (Image("image/png", "aGk="),)), "image"),
    ],
)
def test_inputs_that_the_model_does_not_take_are_refused(block: Block, kind: str) -> None:
    """The refusal names the field and the kind, also inside a tool's result."""
    with pytest.raises(BadRequest, match=f"no {kind} input, only: text") as caught:
        check_inputs(Conversation(turns=(user(block),)), ModelFacts(inputs=("text",)))

    assert "messages" == caught.value.param


@pytest.mark.parametrize("inputs", [(), ("text", "image")])
def test_inputs_that_may_be_taken_pass(inputs: tuple[str, ...]) -> None:
    """Of an unknown model everything is believed, and plain text is no special input."""
    asked = Conversation(turns=(user(Image("image/png", "aGk="), Document("text/plain", text="a")),))

    assert check_inputs(asked, ModelFacts(inputs=inputs)) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("image/png", "png"),
        ("image/JPEG", "jpeg"),
        ("image/jpg", "jpeg"),
        ("image/gif", "gif"),
        ("image/webp", "webp"),
    ],
)
def test_picture_formats(media_type: str, expected: str) -> None:
    """`jpg` is no format: it is `jpeg` (trap 34)."""
    assert expected == image_format(Image(media_type, "aGk="), Conversation(turns=()))


def test_other_pictures_are_refused() -> None:
    """The refusal names the type and what would do."""
    with pytest.raises(BadRequest, match=r"image/tiff.*png, jpeg, gif or webp"):
        image_format(Image("image/tiff", "aGk="), Conversation(turns=()))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (Document("text/plain", text="Grüße"), "Grüße"),
        (Document("text/csv", base64.b64encode("ü,1".encode()).decode()), "ü,1"),
        (Document("application/json", "e30="), "{}"),
        (Document("application/pdf", "e30="), None),
        (Document("text/plain"), ""),
    ],
)
def test_text_of_documents(document: Document, expected: str | None) -> None:
    """Text comes out whichever way it was sent."""
    assert expected == document_text(document, Conversation(turns=()))


@pytest.mark.parametrize("data", ["%%%", "/w=="])
def test_documents_that_are_no_text_are_refused(data: str) -> None:
    """What calls itself text has to be base64-encoded UTF-8."""
    with pytest.raises(BadRequest, match="no base64-encoded UTF-8 text"):
        document_text(Document("text/plain", data), Conversation(turns=()))


@pytest.mark.parametrize("text", ["plain", '{"input":1}', "[" * 100_000, '{"other":"x"}', ""])
def test_a_freeform_call_that_keeps_to_no_form_is_text_itself(text: str) -> None:
    """However deeply nested: nothing that a model writes breaks its answer."""
    assert text == freeform_input(text)
    assert "x" == freeform_input('{"input":"x"}')
