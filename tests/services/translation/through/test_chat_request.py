"""Chat requests: every rule of the catalogue, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from services.errors import BadRequest
from services.translation import fields
from services.translation.capabilities import catalogue, facts_for, override
from services.translation.through import chat
from tests.services.translation.samples import body, sent, target

# One model for each rule set.
MODEL = {
    "azure-openai": "gpt-4o",
    "no-top-k": "gpt-4o",
    "reasoning": "gpt-5",
    "openai-like": "mistralai--mistral-small",
    "one-choice": "mistralai--mistral-small",
    "no-effort": "mistralai--mistral-small",
    "no-tools": "sonar",
}
RULES = {name: catalogue().rules[name] for name in MODEL}
DROPPED = [(name, field) for name, rules in RULES.items() for field in rules.drop]
REFUSED = [(name, field) for name, rules in RULES.items() for field in rules.refuse]
ALLOWED = [
    (name, field, value)
    for name, rules in RULES.items()
    for field, rule in rules.refuse.items()
    for value in rule.allowed
]
RENAMED = [(name, *pair) for name, rules in RULES.items() for pair in rules.rename.items()]


def prepared(model: str = "gpt-4o", *, stream: Any = False, **members: Any) -> Any:
    """What goes up for this model."""
    return chat.prepare(body(**members), target(model), stream=stream)


# --- the catalogue's rules ---


@pytest.mark.parametrize(("rules", "field"), DROPPED)
def test_trap_37_a_field_that_the_model_does_not_take_is_dropped_and_named(rules: str, field: str) -> None:
    """Traps 37, 42: it does not go up, and the caller can learn that."""
    request = prepared(MODEL[rules], **{field: 1})

    assert field not in sent(request.body)
    assert (field,) == request.dropped


@pytest.mark.parametrize(("rules", "field"), DROPPED + REFUSED)
def test_a_null_says_nothing(rules: str, field: str) -> None:
    """It is left out without a word, and refused by nobody."""
    request = prepared(MODEL[rules], **{field: None})

    assert (field not in sent(request.body), ()) == (True, request.dropped)


@pytest.mark.parametrize(("rules", "field"), REFUSED)
def test_trap_42_what_cannot_be_honoured_is_refused_by_name(rules: str, field: str) -> None:
    """Trap 42: 400 with the field in `param`, never an answer without what was asked for."""
    with pytest.raises(BadRequest, match=field) as caught:
        prepared(MODEL[rules], **{field: {"some": "value"}})

    assert (400, field, "unsupported_parameter") == (
        caught.value.status,
        caught.value.param,
        caught.value.code,
    )


@pytest.mark.parametrize(("rules", "field", "value"), ALLOWED)
def test_a_refused_field_may_say_what_holds_anyway(rules: str, field: str, value: Any) -> None:
    """Then it is left out: there is nothing to honour."""
    request = prepared(MODEL[rules], **{field: value})

    assert (field not in sent(request.body), ()) == (True, request.dropped)


@pytest.mark.parametrize(("rules", "field", "to"), RENAMED)
def test_trap_37_a_renamed_field_goes_up_under_its_other_name(rules: str, field: str, to: str) -> None:
    """Trap 37: with its value."""
    members = sent(prepared(MODEL[rules], **{field: 77}).body)

    assert (77, False) == (members[to], field in members)


@pytest.mark.parametrize(("rules", "field", "to"), RENAMED)
def test_of_both_names_the_models_own_wins(rules: str, field: str, to: str) -> None:
    """`max_tokens` and `max_completion_tokens` together: one goes up, the other is named as dropped."""
    request = prepared(MODEL[rules], **{field: 77, to: 88})

    assert (88, (field,)) == (sent(request.body)[to], request.dropped)


@pytest.mark.parametrize(("rules", "field", "to"), RENAMED)
@pytest.mark.parametrize("null_first", [True, False])
def test_a_null_under_one_name_does_not_hide_the_other(
    rules: str, field: str, to: str, null_first: bool
) -> None:
    """A limit that the caller set stays a limit, in either order."""
    both = {to: None, field: 77} if null_first else {field: 77, to: None}
    request = prepared(MODEL[rules], **both)

    assert (77, ()) == (sent(request.body)[to], request.dropped)


@pytest.mark.parametrize(
    ("model", "effort", "kept"),
    [
        ("gpt-5.1", "none", True),
        ("gpt-5.1", "low", False),
        ("gpt-5.1", None, False),
        ("gpt-5", "none", False),
    ],
)
def test_sampling_is_kept_at_the_effort_that_allows_it(model: str, effort: str | None, kept: bool) -> None:
    """Wire §5.1: gpt-5.1 and later, with `reasoning_effort` none."""
    request = prepared(model, temperature=0.5, reasoning_effort=effort)

    assert (kept, () if kept else ("temperature",)) == (
        "temperature" in sent(request.body),
        request.dropped,
    )


def test_an_effort_that_is_no_word_is_refused() -> None:
    """It decides what becomes of other fields."""
    with pytest.raises(BadRequest, match="'reasoning_effort' must be a string"):
        prepared("gpt-5.1", temperature=0.5, reasoning_effort=3)


@pytest.mark.parametrize("value", [b'["\xff"]', b"1e999"])
def test_a_value_that_cannot_be_read_is_the_callers_fault(value: bytes) -> None:
    """Where a rule has to look at it, it must be readable."""
    asked = fields.parse(b'{"messages":[],"n":' + value + b"}")

    with pytest.raises(BadRequest, match="'n' cannot be read"):
        chat.prepare(asked, target("gpt-5"), stream=False)


def test_the_configuration_can_bring_a_field_back() -> None:
    """Rules of the configuration are on top."""
    facts = override(facts_for("gpt-5"), keep=["temperature"], refuse=["user"])

    request = chat.prepare(body(temperature=1), target("gpt-5", facts=facts), stream=False)
    assert 1 == sent(request.body)["temperature"]
    with pytest.raises(BadRequest, match="configuration"):
        chat.prepare(body(user="u"), target("gpt-5", facts=facts), stream=False)


# --- defaults ---


def test_a_default_fills_in_what_was_left_out() -> None:
    """And is subject to the model's rules like any field."""
    request = chat.prepare(
        body(), target("gpt-4o", defaults={"max_tokens": 50, "user": "team"}), stream=False
    )

    assert {"max_completion_tokens": 50, "user": "team"} == sent(request.body)


@pytest.mark.parametrize("default", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("asked", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("model", ["gpt-4o", "mistralai--mistral-small"])
def test_a_default_never_overrides_the_caller(model: str, asked: str, default: str) -> None:
    """Under neither of a field's names, and it is not reported as dropped."""
    request = chat.prepare(body(**{asked: 7}), target(model, defaults={default: 1000}), stream=False)

    assert [7] == [value for name, value in sent(request.body).items() if name.startswith("max_")]
    assert () == request.dropped


# --- what goes up ---


def test_trap_39_model_goes_up_where_it_is_wanted() -> None:
    """Traps 38, 39: Azure gets an api-version and no model, others the backend's name and no api-version."""
    azure = prepared("gpt-4o")
    like = prepared("mistralai--mistral-small")

    assert ("/chat/completions?api-version=2025-04-01-preview", None) == (
        azure.path,
        sent(azure.body).get("model"),
    )
    assert ("/chat/completions", "mistralai--mistral-small") == (like.path, sent(like.body)["model"])


def test_model_is_not_needed_in_the_body() -> None:
    """In Azure's URL form it is in the path."""
    asked = fields.parse(b'{"messages":[]}')

    assert b'{"messages":[]}' == chat.prepare(asked, target(), stream=False).body


FUTURE = b'{"messages": [ {"content":"\\u00e9 \xe2\x80\xa8 1.0e+2"} ],"zeta":{"b":1.10,"a":[ ]},"\\u00fc":1}'


def test_what_nobody_knows_survives_byte_for_byte() -> None:
    """Unknown members keep spaces, number forms, escapes and order."""
    up = fields.parse(chat.prepare(fields.parse(FUTURE), target(), stream=False).body)

    assert {name: bytes(raw) for name, raw in fields.parse(FUTURE).items()} == {
        name: bytes(raw) for name, raw in up.items()
    }


@given(
    st.dictionaries(
        st.text(min_size=1).map("x_".__add__),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5),
    )
)
def test_any_unknown_members_survive(unknown: dict[str, Any]) -> None:
    """Whatever they are called and hold."""
    assert unknown == sent(prepared("gpt-4o", **unknown).body)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", MODEL.values())
def test_trap_55_the_request_is_never_changed(model: str, stream: bool) -> None:
    """Trap 55: a retry and the log need it as it came."""
    asked = body(max_tokens=1, max_completion_tokens=None, temperature=1, stream_options={"x": 1}, store=True)
    before = {name: bytes(raw) for name, raw in asked.items()}
    wanted = target(model, defaults={"seed": 1})
    defaults = dict(wanted.defaults)

    chat.prepare(asked, wanted, stream=stream)

    assert before == {name: bytes(raw) for name, raw in asked.items()}
    assert defaults == wanted.defaults


@pytest.mark.parametrize(("model", "shared"), [("gpt-5", True), ("gpt-4.1", True)])
def test_a_seed_makes_a_request_deterministic(model: str, shared: bool) -> None:
    """What decides on sharing an answer is what really goes up."""
    assert shared is prepared(model, seed=1).deterministic
    assert (model == "gpt-4.1") is prepared(model, temperature=0).deterministic


# --- streams ---


@pytest.mark.parametrize(
    "options", [None, {}, {"include_usage": False}, {"include_usage": True}, {"include_usage": None}]
)
def test_trap_8_the_upstream_is_always_asked_for_usage(options: Any) -> None:
    """Trap 8: whatever the caller said."""
    members = sent(prepared(stream=True, stream_options=options).body)

    assert (True, {"include_usage": True}) == (members["stream"], members["stream_options"])


def test_other_stream_options_survive() -> None:
    """Only `include_usage` is ours."""
    members = sent(prepared(stream=True, stream_options={"include_obfuscation": False}).body)

    assert {"include_obfuscation": False, "include_usage": True} == members["stream_options"]


def test_stream_options_must_be_an_object() -> None:
    """400 naming them."""
    with pytest.raises(BadRequest, match="'stream_options' must be an object"):
        prepared(stream=True, stream_options=[1])


def test_only_a_stream_has_a_relay() -> None:
    """And every response gets one of its own."""
    request = prepared(stream=True)

    assert prepared().relay is None
    assert request.relay() is not request.relay()


# --- what cannot be sent at all ---


@pytest.mark.parametrize(
    ("messages", "words"), [("null", "is required"), ('"hi"', "must be an array"), ("{}", "must be an array")]
)
def test_messages_are_needed(messages: str, words: str) -> None:
    """Missing and null are one fault, another kind is the other."""
    asked = fields.parse(f'{{"messages":{messages}}}'.encode())

    with pytest.raises(BadRequest, match=words) as caught:
        chat.prepare(asked, target(), stream=False)
    assert "messages" == caught.value.param


def test_missing_messages_are_named() -> None:
    """As null is."""
    with pytest.raises(BadRequest, match="'messages' is required"):
        chat.prepare({}, target(), stream=False)
