"""What the catalogue says about fields, done to bodies and conversations."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.errors import BadRequest
from services.translation import fields as f
from services.translation.capabilities import FieldRule, ModelFacts
from services.translation.conversation import Conversation, OutputFormat, Reasoning, Tool, ToolChoice
from services.translation.rules import deterministic, fault_of_default, suited

EMPTY = Conversation(turns=())


def facts(**rules: FieldRule) -> ModelFacts:
    """A model with these field rules."""
    return ModelFacts(fields=rules)


@pytest.mark.parametrize(
    "text",
    [
        b'{"temperature":0}',
        b'{"temperature":0.0}',
        b'{"temperature":-0}',
        b'{"temperature":0e3}',
        b'{"seed":7}',
        b'{"temperature":1,"seed":0}',
    ],
)
def test_temperature_0_or_a_seed_is_deterministic(text: bytes) -> None:
    """Encoded or not."""
    assert deterministic(f.parse(text))
    assert deterministic(msgspec.json.decode(text))


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b'{"temperature":1}',
        b'{"temperature":null}',
        b'{"temperature":"0"}',
        b'{"temperature":[0]}',
        b'{"temperature":1e999}',
        b'{"seed":null}',
    ],
)
def test_all_else_is_not(text: bytes) -> None:
    """What cannot be read is no promise either."""
    assert not deterministic(f.parse(text))


@pytest.mark.parametrize(("known", "kept", "dropped"), [((), (), ("anthropic_beta",)), (("b",), ("a",), ())])
def test_beta_flags_are_for_models_that_know_some(
    known: tuple[str, ...], kept: tuple[str, ...], dropped: tuple[str, ...]
) -> None:
    """Which of them go up is for their dialect to say."""
    made = suited(msgspec.structs.replace(EMPTY, betas=("a",)), ModelFacts(betas=frozenset(known)), {})

    assert (kept, dropped) == (made.betas, made.dropped)


def test_a_setting_that_the_model_does_not_take_is_dropped_by_the_callers_name() -> None:
    """And reported after what the surface dropped itself."""
    asked = msgspec.structs.replace(
        EMPTY, settings={"stop": ["x"], "seed": 1}, names={"stop": "stop_sequences"}, dropped=("metadata",)
    )

    left = suited(asked, facts(stop=FieldRule(why="no")), {})

    assert ({"seed": 1}, ("metadata", "stop_sequences")) == (left.settings, left.dropped)
    assert {"stop": ["x"], "seed": 1} == asked.settings


@pytest.mark.parametrize(
    ("name", "member", "value", "empty"),
    [
        ("tools", "tools", (Tool("f"),), ()),
        ("tool_choice", "tool_choice", ToolChoice("any"), None),
        ("parallel_tool_calls", "parallel_tools", False, None),
        ("max_tokens", "max_tokens", 5, None),
        ("reasoning_effort", "reasoning", Reasoning(effort="low"), None),
        ("response_format", "output", OutputFormat(), None),
    ],
)
def test_members_follow_rules_like_settings(name: str, member: str, value: Any, empty: Any) -> None:
    """Under the name that chat completions give them."""
    asked = msgspec.structs.replace(EMPTY, **{member: value})

    left = suited(asked, facts(**{name: FieldRule(why="no")}), {})

    assert (empty, (name,)) == (getattr(left, member), left.dropped)


def test_what_must_not_be_dropped_is_refused_by_the_callers_name() -> None:
    """400 that says why."""
    asked = msgspec.structs.replace(EMPTY, settings={"n": 2}, names={"n": "candidateCount"})

    with pytest.raises(BadRequest, match=r"candidateCount.*one choice") as caught:
        suited(asked, facts(n=FieldRule(why="gives one choice", refuse=True, allowed=(1,))), {})
    assert ("candidateCount", "unsupported_parameter") == (caught.value.param, caught.value.code)


def test_an_allowed_value_says_nothing_and_is_left_out() -> None:
    """Without a report: nothing is lost."""
    asked = msgspec.structs.replace(EMPTY, settings={"n": 1})

    left = suited(asked, facts(n=FieldRule(refuse=True, allowed=(1,))), {})

    assert ({}, ()) == (left.settings, left.dropped)


@pytest.mark.parametrize(("effort", "kept"), [("none", True), ("low", False), ("", False)])
def test_sampling_is_kept_at_the_effort_that_takes_it(effort: str, kept: bool) -> None:
    """GPT 5.1 and later sample when they do not reason (wire §5.1)."""
    asked = msgspec.structs.replace(
        EMPTY, settings={"top_p": 0.5}, reasoning=Reasoning(effort=effort) if effort else None
    )

    left = suited(asked, facts(top_p=FieldRule(why="no", kept_at_effort="none")), {})

    assert kept == ("top_p" in left.settings)


def test_a_conversation_without_such_fields_stays_itself() -> None:
    """Renames are a matter of bodies."""
    rules = facts(max_tokens=FieldRule(rename_to="max_completion_tokens"), seed=FieldRule(why="no"))

    assert EMPTY is suited(EMPTY, rules, {})


def test_defaults_fill_what_the_caller_left_out() -> None:
    """Members and settings, in the names of chat completions."""
    defaults = {
        "temperature": f.raw(0.5),
        "stop": f.raw("END"),
        "max_completion_tokens": f.raw(9),
        "reasoning_effort": f.raw("low"),
        "tool_choice": f.raw("required"),
        "response_format": f.raw({"type": "json_object"}),
        "parallel_tool_calls": f.raw(False),
    }

    made = suited(EMPTY, ModelFacts(), defaults)

    assert {"temperature": 0.5, "stop": ["END"]} == made.settings
    assert (9, Reasoning(effort="low"), ToolChoice("any"), OutputFormat(), False) == (
        made.max_tokens,
        made.reasoning,
        made.tool_choice,
        made.output,
        made.parallel_tools,
    )


def test_defaults_give_way_to_the_caller() -> None:
    """Whatever their name."""
    asked = msgspec.structs.replace(EMPTY, max_tokens=1, settings={"temperature": 1.0})

    made = suited(asked, ModelFacts(), {"max_completion_tokens": f.raw(9), "temperature": f.raw(0.5)})

    assert (1, {"temperature": 1.0}) == (made.max_tokens, made.settings)


def test_what_this_way_to_the_model_takes_is_kept() -> None:
    """Azure's Responses API takes more than its chat completions."""
    asked = msgspec.structs.replace(EMPTY, settings={"prompt_cache_key": "k", "store": True})
    rules = facts(prompt_cache_key=FieldRule(why="no"), store=FieldRule(why="no"))

    left = suited(asked, rules, {}, takes=frozenset({"prompt_cache_key"}))

    assert ({"prompt_cache_key": "k"}, ("store",)) == (left.settings, left.dropped)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 1),
        ("stop", "END"),
        ("stop", ["a"]),
        ("reasoning_effort", "none"),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("max_tokens", 5),
        ("from_the_future", object()),
    ],
)
def test_a_default_that_fits_has_no_fault(name: str, value: Any) -> None:
    """What nobody here knows is the upstream's to judge."""
    assert "" == fault_of_default(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"),
        ("stop", 3),
        ("reasoning_effort", "bogus"),
        ("tool_choice", "f"),
        ("response_format", {"type": "json_schema"}),
        ("max_tokens", 1.5),
    ],
)
def test_a_default_that_does_not_fit_is_a_fault(name: str, value: Any) -> None:
    """Found when the gateway starts, not at each request."""
    assert fault_of_default(name, value)
