"""Responses requests that pass through to Azure: few edits, everything else as it came (wire §4.2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.errors import BadRequest, GatewayError, NotFound, UpstreamMissing, UpstreamRefused
from services.translation import stored
from services.translation.capabilities import ModelFacts
from services.translation.replies import Prepared, Target
from services.translation.through import responses
from tests.services.translation.responses_samples import CALLER, ORIGIN, body, target

MCP = {"type": "mcp"}
F = {"type": "function", "name": "f", "parameters": {"type": "object"}}
MINE = stored.seal("resp_1", ORIGIN, CALLER)


def prepared(*, stream: bool = False, to: Target | None = None, **members: Any) -> Prepared:
    """The request with these members."""
    return responses.prepare(body(**members), to or target(), stream=stream)


def sent(*, stream: bool = False, to: Target | None = None, **members: Any) -> dict[str, Any]:
    """What goes up."""
    return dict(json.loads(prepared(stream=stream, to=to, **members).body))


def test_a_request_goes_up_as_it_is() -> None:
    """But for the model, which the deployment decides; fields from the future survive."""
    members: dict[str, Any] = {
        "input": [{"role": "user", "content": "hi"}],
        "future": {"b": 1, "a": [1.10]},
        "store": True,
    }

    assert members == sent(**members)
    assert "/responses?api-version=2025-04-01-preview" == prepared().path
    assert "POST" == prepared().method


def test_what_is_not_looked_at_keeps_its_bytes() -> None:
    """Spaces, number forms and the order of keys."""
    raw = body()
    raw["input"] = type(raw["input"])(
        b'[ {"role":"user", "content":"hi", "x": 1.10, "y":12345678901234567890} ]'
    )

    assert bytes(raw["input"]) in responses.prepare(raw, target(), stream=False).body


def test_a_stream_is_asked_for() -> None:
    """Whoever decides it."""
    assert sent(stream=True)["stream"] is True
    assert "stream" not in sent()


@pytest.mark.parametrize("name", ["metadata", "service_tier", "user"])
def test_what_azure_does_not_take_is_dropped_and_reported(name: str) -> None:
    """By the rules of the catalogue."""
    given: Any = {name: "x"}
    request = prepared(**given)

    assert (name,) == request.dropped
    assert name not in json.loads(request.body)


@pytest.mark.parametrize(
    ("members", "tools", "choice", "dropped"),
    [
        ({"tools": [F]}, [F], None, ()),
        ({"tools": [F], "tool_choice": "required"}, [F], "required", ()),
        ({"tools": []}, [], None, ()),
        (
            {"tools": [F, {"type": "web_search"}, {"type": "custom", "name": "p"}, {"type": "web_search"}]},
            [F],
            None,
            ("web_search", "custom"),
        ),
        (
            {"tools": [{"type": "web_search"}], "tool_choice": "required"},
            [],
            None,
            ("web_search", "tool_choice"),
        ),
        (
            {"tools": [F, {"type": "custom", "name": "p"}], "tool_choice": {"type": "custom", "name": "p"}},
            [F],
            None,
            ("custom", "tool_choice"),
        ),
        (
            {"tools": [F], "tool_choice": {"type": "function", "name": "f"}},
            [F],
            {"type": "function", "name": "f"},
            (),
        ),
        (
            {"tools": [F], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [F]}},
            [F],
            {"type": "allowed_tools", "mode": "auto", "tools": [F]},
            (),
        ),
        (
            {"tools": [F], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [MCP, F]}},
            [F],
            {"type": "allowed_tools", "mode": "auto", "tools": [F]},
            (),
        ),
        (
            {"tools": [F], "tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp"}]}},
            [F],
            None,
            ("tool_choice",),
        ),
        ({"tool_choice": "auto"}, None, "auto", ()),
        ({"tools": [F], "tool_choice": None}, [F], None, ()),
    ],
)  # fmt: skip
def test_trap_41_only_functions_go_up(
    members: dict[str, Any], tools: Any, choice: Any, dropped: tuple[str, ...]
) -> None:
    """Trap 41: others are refused there; a choice among them goes with them."""
    request = prepared(**members)
    up = json.loads(request.body)

    assert (tools, choice, dropped) == (up.get("tools"), up.get("tool_choice"), request.dropped)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": "x"}, "tools"),
        ({"tools": [{"name": "x"}]}, "tools[0].type"),
        ({"tools": [F], "tool_choice": {"name": "f"}}, "tool_choice.type"),
        ({"previous_response_id": 5}, "previous_response_id"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(members: dict[str, Any], param: str) -> None:
    """Only what is looked at."""
    with pytest.raises(BadRequest) as caught:
        prepared(**members)

    assert param == caught.value.param


def test_a_tool_that_is_null_is_none() -> None:
    """It is dropped, and reported."""
    assert ("null",) == prepared(tools=[None, F]).dropped


# --- reasoning of other models ---


def test_what_another_model_thought_is_left_out() -> None:
    """Azure answers 400 to what it did not encrypt itself; its own stays."""
    own = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAAB"}
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    foreign = {"type": "reasoning", "summary": [], "encrypted_content": "aicore.claude.EqoB"}
    said = {"role": "user", "content": '"aicore.claude.EqoB"'}
    request = prepared(input=[said, own, foreign, bare])

    assert [said, own, bare] == json.loads(request.body)["input"]
    assert ("input.reasoning",) == request.dropped


@pytest.mark.parametrize("given", ['"aicore.x"', [{"role": "user", "content": "aicore."}, None]])
def test_text_that_only_looks_so_stays(given: Any) -> None:
    """Whatever the user says."""
    assert given == sent(input=given)["input"]


def test_a_member_that_only_looks_so_stays() -> None:
    """Only reasoning is looked at."""
    items = [None, {"type": "message", "role": "user", "content": "aicore.x", "id": "aicore.y"}]

    assert items == sent(input=items)["input"]


# --- defaults ---


@pytest.mark.parametrize(
    ("defaults", "members", "expected"),
    [
        ({"max_tokens": 50}, {}, {"max_output_tokens": 50}),
        ({"max_tokens": 50}, {"max_output_tokens": 60}, {"max_output_tokens": 60}),
        ({"reasoning_effort": "low"}, {}, {"reasoning": {"effort": "low"}}),
        ({"reasoning_effort": "low"}, {"reasoning": None}, {"reasoning": {"effort": "low"}}),
        (
            {"reasoning_effort": "low"},
            {"reasoning": {"summary": "auto"}},
            {"reasoning": {"effort": "low", "summary": "auto"}},
        ),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "high"}}, {"reasoning": {"effort": "high"}}),
        ({"temperature": 0.5, "seed": 1}, {}, {}),
        ({"parallel_tool_calls": False}, {}, {"parallel_tool_calls": False}),
    ],
)
def test_defaults_of_the_configuration(
    defaults: dict[str, Any], members: dict[str, Any], expected: dict[str, Any]
) -> None:
    """They are in the names of chat completions; what the model does not take is left out."""
    up = sent(to=target(defaults=defaults), **members)

    assert expected == {name: value for name, value in up.items() if name != "input"}


# --- stored responses ---


def test_a_response_to_go_on_from_goes_up_under_its_own_name() -> None:
    """Trap 41: its deployment knows no other."""
    assert "resp_1" == sent(previous_response_id=MINE)["previous_response_id"]


def test_one_that_is_not_the_callers_does_not() -> None:
    """In OpenAI's words."""
    with pytest.raises(NotFound) as caught:
        prepared(previous_response_id="resp_1")

    assert "Previous response with id 'resp_1' not found." == caught.value.public


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"temperature": 0, "store": False}, True),
        ({"temperature": 0, "store": True}, False),
        ({"temperature": 0}, False),
        ({"store": False}, False),
    ],
)
def test_stored_answers_are_never_shared(members: dict[str, Any], expected: bool) -> None:
    """One of two could be deleted."""
    assert expected == prepared(**members).deterministic


def keeping(method: str = "GET", operation: str = "", to: Target | None = None) -> Prepared:
    """The request about a stored response."""
    return responses.keeping({}, to or target(), response_id=MINE, method=method, operation=operation)


@pytest.mark.parametrize(
    ("method", "operation", "path", "content"),
    [
        ("GET", "", "/responses/resp_1?api-version=2025-04-01-preview", b""),
        ("DELETE", "", "/responses/resp_1?api-version=2025-04-01-preview", b""),
        ("POST", "/cancel", "/responses/resp_1/cancel?api-version=2025-04-01-preview", b"{}"),
    ],
)
def test_operations_on_a_stored_response(method: str, operation: str, path: str, content: bytes) -> None:
    """Under its own id; never shared, never as a stream."""
    request = keeping(method, operation)

    assert (method, path, content) == (request.method, request.path, request.body)
    assert (False, None) == (request.deterministic, request.relay)


def test_parameters_that_go_no_further_are_reported() -> None:
    """SAP AI Core takes none of them."""
    request = responses.keeping({}, target(), response_id=MINE, method="GET", dropped=("include",))

    assert ("include",) == request.dropped


def test_the_answer_about_a_stored_response_has_the_callers_id() -> None:
    """Also where it was deleted."""
    bind = keeping("DELETE").bind
    assert bind is not None
    answer = bind(ORIGIN).answer(b'{"id":"resp_1","object":"response.deleted","deleted":true}')

    assert {"id": MINE, "object": "response.deleted", "deleted": True} == json.loads(answer.body)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UpstreamMissing("upstream answered 404: Response with id 'resp_1' not found."), True),
        (UpstreamMissing("upstream answered 404: deployment not found"), False),
        (UpstreamRefused("upstream answered 400: Cannot cancel a synchronous response."), False),
    ],
)
def test_a_response_that_is_gone_is_no_missing_deployment(error: Any, expected: bool) -> None:
    """The deployment would be rested, and others asked in vain."""
    assert expected == isinstance(amended(keeping(), error), NotFound)


def test_nor_is_one_to_go_on_from() -> None:
    """The caller's own id is told, not the upstream's."""
    gone = UpstreamMissing("upstream answered 404: Previous response with id 'resp_1' not found.")
    error = amended(prepared(previous_response_id=MINE), gone)

    assert isinstance(error, NotFound)
    assert f"Previous response with id '{MINE}' not found." == error.public


def amended(request: Prepared, error: Any) -> GatewayError | None:
    """What becomes of an upstream's refusal."""
    assert request.amend is not None
    try:
        assert request.amend(error) is None
    except GatewayError as exc:
        return exc
    return None


def test_without_a_previous_response_nothing_is_amended() -> None:
    """A refusal is a refusal."""
    assert prepared().amend is None


# --- compact ---


def test_a_conversation_is_made_short() -> None:
    """What comes back passes as it is; its id leads nowhere."""
    request = responses.compact(body(tools=[{"type": "mcp"}], instructions="x"), target())
    answer = b'{"id":"resp_9","object":"response.compaction","output":[{"type":"compaction"}]}'

    assert "/responses/compact?api-version=2025-04-01-preview" == request.path
    assert {"input": "hi", "instructions": "x", "tools": []} == json.loads(request.body)
    assert json.loads(answer) == json.loads(request.answer(answer).body)
    assert ("mcp",) == request.dropped


def test_it_does_not_come_as_a_stream() -> None:
    """The upstream has no such form."""
    with pytest.raises(BadRequest) as caught:
        responses.compact(body(stream=True), target())

    assert "stream" == caught.value.param


@pytest.mark.parametrize("facts", [ModelFacts(dialect="claude"), ModelFacts(dialect="azure-openai")])
def test_other_models_have_neither(facts: ModelFacts) -> None:
    """Refused by name."""
    other = target(facts=facts)

    with pytest.raises(BadRequest) as short:
        responses.compact(body(), other)
    with pytest.raises(BadRequest) as kept:
        keeping(to=other)
    assert ("model", "model") == (short.value.param, kept.value.param)


def test_trap_55_the_request_is_not_changed() -> None:
    """Trap 55: another deployment gets the same."""
    given = body(tools=[F, {"type": "mcp"}], metadata={}, previous_response_id=MINE)
    before = {name: bytes(raw) for name, raw in given.items()}

    responses.prepare(given, target(), stream=True)
    assert before == {name: bytes(raw) for name, raw in given.items()}
