"""Modules around the model: the configuration's, and what a caller may put there (wire §4.7)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from perf.simulator.executables.orchestration_body import CompletionRequest
from services.errors import BadRequest
from services.translation.conversation import (
    Document,
    Image,
    OutputFormat,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
)
from tests.services.translation.upstreams.orchestration_samples import (
    BRACES,
    CLAUDE,
    GEMINI,
    GPT,
    body,
    model_turn,
    request,
    talk,
    templating,
    turn,
)

Json = dict[str, Any]
LLAMA = {"type": "llama_guard_3_8b", "config": {"privacy": True}}
TRANSLATION = {
    "input": {"type": "sap_document_translation", "config": {"target_language": "en-US"}},
}
GROUNDING: Json = {
    "type": "document_grounding_service",
    "config": {
        "filters": [{"id": "f1", "data_repositories": ["*"], "data_repository_type": "vector"}],
        "placeholders": {"input": ["q"], "output": "ctx"},
    },
}
MASKING = {
    "providers": [
        {
            "type": "sap_data_privacy_integration",
            "method": "anonymization",
            "entities": [{"type": "profile-email"}],
        }
    ]
}
TOOL = Tool("f")


def azure(**thresholds: Any) -> Json:
    """A filter of Azure Content Safety."""
    return {"type": "azure_content_safety", "config": thresholds}


def filtering(*filters: Json, way: str = "input", **more: Any) -> Json:
    """Filters of one direction."""
    return {way: {"filters": list(filters), **more}}


def modules(asked: Any = None, configured: Mapping[str, Any] | None = None) -> Json:
    """What stands around the model in the end."""
    made = body(talk(orchestration=asked), modules=configured)["config"]["modules"]
    del made["prompt_templating"]
    return dict(made)


def refused(asked: Any, configured: Mapping[str, Any] | None = None, **members: Any) -> str | None:
    """The field that cannot be honoured."""
    with pytest.raises(BadRequest) as caught:
        request(talk(orchestration=asked, **members), modules=configured)
    return caught.value.param


# --- what is configured, and what is asked -----------------------------------------------------------


def test_configured_modules_are_around_every_request() -> None:
    """As they stand in the configuration."""
    configured = {"filtering": filtering(azure(hate=0)), "masking": MASKING, "translation": TRANSLATION}

    assert configured == modules(configured=configured)


def test_a_caller_may_ask_for_modules() -> None:
    """Besides what is configured, or in its place."""
    other = {"output": TRANSLATION["input"]}
    asked = {"translation": other, "masking": MASKING}

    assert asked == modules(asked, {"translation": TRANSLATION})


@pytest.mark.parametrize("off", [None, False])
def test_a_caller_may_turn_a_module_off(off: Any) -> None:
    """One that protects nothing, and one that is not there."""
    configured = {"translation": TRANSLATION, "grounding": GROUNDING}

    assert {"grounding": GROUNDING} == modules({"translation": off, "filtering": off}, configured)


@pytest.mark.parametrize("name", ["filtering", "masking"])
@pytest.mark.parametrize("value", [None, False, {}])
def test_configured_protection_cannot_be_turned_off(name: str, value: Any) -> None:
    """The field is named."""
    configured = {"filtering": filtering(azure(hate=0)), "masking": MASKING}

    assert f"orchestration.{name}" == refused({name: value}, configured)


@pytest.mark.parametrize(
    "asked",
    [
        filtering(azure(hate=2, prompt_shield=True)),
        filtering(azure(hate=0, prompt_shield=True)),
        filtering(LLAMA, azure(hate=0, prompt_shield=True)),
        filtering(azure(hate=2, prompt_shield=True)) | filtering(LLAMA, way="output"),
    ],
    ids=["the same", "stricter", "one more", "the other way too"],
)
def test_a_caller_may_filter_more(asked: Json) -> None:
    """Its module wins when it lets no more through."""
    configured = {"filtering": filtering(azure(hate=2, prompt_shield=True))}

    assert {"filtering": asked} == modules({"filtering": asked}, configured)


@pytest.mark.parametrize(
    "asked",
    [
        filtering(azure(hate=4, prompt_shield=True)),
        filtering(azure(hate=2, prompt_shield=False)),
        filtering(azure(hate=True, prompt_shield=True)),
        filtering(azure(hate="0", prompt_shield=True)),
        filtering(azure(hate=2)),
        filtering(azure(hate=2, prompt_shield=True, violence=6)),
        filtering(LLAMA),
        filtering("x"),  # type: ignore[arg-type]
        filtering(),
        filtering(azure(hate=2, prompt_shield=True), stream_options={"overlap": 1}),
        filtering(azure(hate=2, prompt_shield=True), way="output"),
        {"input": {"filters": {}}},
        {"input": None},
    ],
)
def test_a_caller_may_not_filter_less(asked: Json) -> None:
    """No threshold higher, no switch off, no filter gone, nothing that nobody knows."""
    configured = {"filtering": filtering(azure(hate=2, prompt_shield=True))}

    assert "orchestration.filtering" == refused({"filtering": asked}, configured)


def test_a_filter_that_is_configured_wrongly_stays() -> None:
    """Nobody can say what is stricter than that."""
    assert "orchestration.filtering" == refused(
        {"filtering": filtering(azure())}, {"filtering": {"input": "on"}}
    )


def test_the_same_masking_is_no_change() -> None:
    """Any other may hide less."""
    weaker = {"providers": [MASKING["providers"][0] | {"allowlist": ["SAP"]}]}

    assert {"masking": MASKING} == modules({"masking": MASKING}, {"masking": MASKING})
    assert "orchestration.masking" == refused({"masking": weaker}, {"masking": MASKING})


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"prompt_templating": {}}, "orchestration.prompt_templating"),
        ({"stream": {}}, "orchestration.stream"),
        ({"filtering": []}, "orchestration.filtering"),
        ({"grounding": "yes"}, "orchestration.grounding"),
        ({"grounding": {"config": {}}}, "orchestration.grounding"),
        ({"placeholder_values": {"a": 1}}, "orchestration.placeholder_values"),
        ({"fallbacks": "gpt-5"}, "orchestration.fallbacks"),
        ({"config_ref": "x"}, "orchestration.config_ref"),
        ({"template_ref": {"id": "x", "more": 1}}, "orchestration.template_ref"),
        ({"config_ref": {"id": "x"}, "fallbacks": ["gpt-5"]}, "orchestration.fallbacks"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(asked: Json, param: str) -> None:
    """Unknown members, and those of another type."""
    assert param == refused(asked)


def test_null_members_are_as_if_absent() -> None:
    """Also of what is no module."""
    nothing = dict.fromkeys(("placeholder_values", "fallbacks", "config_ref", "template_ref"))

    assert request(talk()).body == request(talk(orchestration=nothing)).body


# --- references --------------------------------------------------------------------------------------


def test_a_template_of_the_registry() -> None:
    """The conversation is its history, the caller's values are its parameters."""
    asked = {"template_ref": {"id": "x", "scope": "tenant"}, "placeholder_values": {"a": BRACES}}
    document = body(talk(orchestration=asked))

    assert {"template_ref": {"id": "x", "scope": "tenant"}} == templating(document)["prompt"]
    assert {"a": BRACES} == document["placeholder_values"]
    assert [{"role": "user", "content": "Hello"}] == document["messages_history"]


@pytest.mark.parametrize(
    ("members", "param"),
    [({"tools": (TOOL,)}, "functions"), ({"output": OutputFormat()}, "response_format")],
)
def test_a_template_of_the_registry_has_its_own_tools(members: Json, param: str) -> None:
    """A reference stands alone, so that the caller's field is refused by its own name."""
    asked = {"template_ref": {"id": "x"}}

    assert param == refused(asked, names={"tools": "functions"}, **members)


def test_a_configuration_of_the_registry() -> None:
    """What the request says goes along, over what is stored."""
    reference = {"scenario": "s", "name": "n", "version": "1"}
    document = body(talk(orchestration={"config_ref": reference}))

    assert reference == document["config_ref"]
    assert GPT == templating(document)["model"]["name"]


@pytest.mark.parametrize("name", ["filtering", "masking"])
def test_a_reference_goes_not_round_the_configuration(name: str) -> None:
    """What is stored may protect less."""
    assert "orchestration.config_ref" == refused({"config_ref": {"id": "x"}}, {name: {}})


# --- fallbacks ---------------------------------------------------------------------------------------


def test_fallbacks_are_module_configurations() -> None:
    """The same modules around each model, which is told what it takes."""
    asked = {"fallbacks": ["gpt-5", CLAUDE], "masking": MASKING}
    conversation = talk(
        orchestration=asked, settings={"temperature": 0.5, "seed": 1}, max_tokens=9, tools=(TOOL,)
    )
    sent = request(conversation)
    configurations = json.loads(sent.body)["config"]["modules"]
    models = [one["prompt_templating"]["model"] for one in configurations]

    assert [GPT, "gpt-5", CLAUDE] == [model["name"] for model in models]
    assert [MASKING] * 3 == [one["masking"] for one in configurations]
    assert [
        {"temperature": 0.5, "seed": 1, "max_completion_tokens": 9},
        {"seed": 1, "max_completion_tokens": 9},
        {"temperature": 0.5, "max_tokens": 9},
    ] == [model["params"] for model in models]
    assert {"temperature", "seed"} == set(sent.dropped)
    assert msgspec.json.decode(sent.body, type=CompletionRequest)


def test_a_fallback_has_to_take_what_is_sent() -> None:
    """All of them read the same messages."""
    with pytest.raises(BadRequest) as caught:
        request(talk(turn(Document("application/pdf", "AAAA")), orchestration={"fallbacks": [GPT]}), GEMINI)

    assert "messages" == caught.value.param


# --- grounding ---------------------------------------------------------------------------------------


def test_grounding_asks_what_the_user_said() -> None:
    """What it finds stands behind it, and no text of the caller is a template."""
    document = body(talk(turn(BRACES, "b")), modules={"grounding": GROUNDING})
    [message] = templating(document)["prompt"]["template"]

    assert ["{{?gateway_text_1}}", "{{?gateway_text_2}}", "{{?ctx}}"] == [
        p["text"] for p in message["content"]
    ]
    assert {"q": f"{BRACES}\nb", "gateway_text_1": BRACES, "gateway_text_2": "b"} == document[
        "placeholder_values"
    ]


def test_a_caller_may_ask_grounding_itself() -> None:
    """By the placeholder's value."""
    asked = {"grounding": GROUNDING, "placeholder_values": {"q": "What is SAP?"}}

    assert "What is SAP?" == body(talk(orchestration=asked))["placeholder_values"]["q"]


def test_grounding_in_a_tool_loop_asks_the_last_words() -> None:
    """Results are no question; a picture alone asks nothing."""
    said = (turn("Why?"), model_turn(ToolUse("t", "f")), turn(ToolResult("t", (Text("r"),))))
    asked = [
        body(talk(*turns), modules={"grounding": GROUNDING})
        for turns in (said, (turn(Image("image/png", "AA")),))
    ]

    assert ["Why?", ""] == [document["placeholder_values"]["q"] for document in asked]


def test_grounding_fills_a_template_of_the_registry() -> None:
    """The question is the user's; where the findings stand is the template's to say."""
    asked = {"grounding": GROUNDING, "template_ref": {"id": "x"}}
    document = body(talk(orchestration=asked))

    assert ({"q": "Hello"}, {"template_ref": {"id": "x"}}) == (
        document["placeholder_values"],
        templating(document)["prompt"],
    )


def test_a_value_of_the_gateways_own_name_is_refused() -> None:
    """It would be lost."""
    asked = {"placeholder_values": {"gateway_text_1": "mine"}}

    assert "orchestration.placeholder_values.gateway_text_1" == refused(asked, tools=(TOOL,))


def test_grounding_cannot_follow_the_model() -> None:
    """The findings have to stand in the user's message."""
    with pytest.raises(BadRequest):
        request(
            talk(turn("a"), model_turn("b", Thinking("t", "s", "claude"))),
            CLAUDE,
            modules={"grounding": GROUNDING},
        )
