"""The model catalogue: what is known of a model, by exact name and by pattern."""

from __future__ import annotations

import pytest

from services.translation.capabilities import (
    ModelFacts,
    aliases_for,
    beta_flags,
    catalogue,
    facts_for,
    names_on,
    override,
)


def test_every_reference_in_the_data_file_leads_somewhere() -> None:
    """Rule sets that executables and models name are there, and no model is named twice."""
    data = catalogue()
    names = [name for model in data.models for name in model.names]

    named = [*data.dialects.values(), *data.models]
    used = {rule for one in named for rules in (one.rules, *one.native.values()) for rule in rules}
    assert used == set(data.rules)
    spoken = {one.dialect for one in (*data.executables.values(), *data.models) if one.dialect}
    assert spoken == set(data.dialects)
    assert len(names) == len(set(names))


def test_every_pattern_stands_behind_the_exact_names_it_covers() -> None:
    """A more general pattern does not hide a narrower one."""
    order = [name for model in catalogue().models for name in model.names if "*" in name]

    for at, general in enumerate(order):
        stem = general.removesuffix("*")
        assert [] == [narrow for narrow in order[at + 1 :] if narrow.startswith(stem)], general


@pytest.mark.parametrize(
    ("model", "executable", "dialect", "modes"),
    [
        ("gpt-5", "azure-openai", "azure-openai", ("chat", "responses")),
        ("gpt-5-2025-08-07", "azure-openai", "azure-openai", ("chat", "responses")),
        ("gpt-5.6-sol", "azure-openai", "azure-openai", ("chat", "responses")),
        ("gpt-4o-2024-11-20", "azure-openai", "azure-openai", ("chat",)),
        ("o4-mini", "azure-openai", "azure-openai", ("chat",)),
        ("gpt-5.3-codex", "azure-openai", "azure-openai", ("responses",)),
        ("gpt-realtime", "azure-openai", "azure-openai", ("realtime",)),
        ("text-embedding-3-large", "azure-openai", "azure-openai", ("embeddings",)),
        ("text-embedding-4", "azure-openai", "azure-openai", ("embeddings",)),
        ("mistralai--mistral-small", "aicore-mistralai", "openai-like", ("chat",)),
        ("qwen3-max", "aicore-opensource", "openai-like", ("chat",)),
        ("sonar-pro", "perplexity-ai", "openai-like", ("chat",)),
        ("anthropic--claude-4.6-sonnet", "aws-bedrock", "claude", ("chat",)),
        ("amazon--titan-embed-text", "aws-bedrock", "titan", ("embeddings",)),
        ("gemini-embedding", "gcp-vertexai", "gemini", ("embeddings",)),
        ("gemini-3.5-flash", "gcp-vertexai", "gemini", ("chat",)),
    ],
)
def test_trap_36_a_model_has_its_executable_and_its_uses(
    model: str, executable: str, dialect: str, modes: tuple[str, ...]
) -> None:
    """Trap 36: from exact names and vendor patterns, and from nothing else."""
    facts = facts_for(model)

    assert (executable, dialect, modes) == (facts.executable, facts.dialect, facts.modes)


def test_nothing_is_made_up_of_an_unknown_model() -> None:
    """No executable, no dialect, no limits, no rules."""
    assert ModelFacts() == facts_for("my-own-model")


def test_an_unknown_model_is_what_discovery_says() -> None:
    """The executable alone decides the wire form."""
    facts = facts_for("my-own-model", "aicore-opensource")

    assert ("openai-like", True, True) == (facts.dialect, facts.model_in_body, facts.finish_fix)


def test_discovery_beats_the_catalogue() -> None:
    """Rules made for another executable do not apply there; what the model is stays."""
    facts = facts_for("gpt-5", "aicore-opensource")

    assert ("openai-like", 400_000) == (facts.dialect, facts.context_length)
    assert "temperature" not in facts.fields
    assert "max_tokens" == facts.fields["max_completion_tokens"].rename_to


def test_an_executable_that_nobody_knows_has_no_dialect() -> None:
    """The gateway does not guess how to speak to it."""
    assert ("brand-new", "") == (facts_for("gpt-5", "brand-new").executable, facts_for("x", "new").dialect)


def test_limits_and_inputs_are_known() -> None:
    """The model list shows them."""
    facts = facts_for("gpt-5.4")

    assert (1_050_000, 128_000, ("text", "image")) == (
        facts.context_length,
        facts.max_output_tokens,
        facts.inputs,
    )
    assert "xhigh" in facts.efforts


@pytest.mark.parametrize(("model", "effort"), [("gpt-5", None), ("gpt-5.1", "none"), ("gpt-5.5", "none")])
def test_sampling_comes_back_at_one_effort(model: str, effort: str | None) -> None:
    """Wire §5.1: from gpt-5.1 on, without reasoning; only the reasoning rules know it."""
    fields = facts_for(model).fields

    assert effort == fields["temperature"].kept_at_effort
    assert fields["store"].kept_at_effort is None


def test_the_configuration_comes_on_top() -> None:
    """It can keep, drop, refuse and rename, against the catalogue."""
    facts = override(
        facts_for("gpt-5"),
        keep=["temperature"],
        drop=["user", "n"],
        refuse=["seed"],
        rename={"top_p": "nucleus"},
    )

    assert "temperature" not in facts.fields
    assert (False, None) == (facts.fields["n"].refuse, facts.fields["user"].rename_to)
    assert facts.fields["seed"].refuse
    assert "nucleus" == facts.fields["top_p"].rename_to
    assert "configuration" in facts.fields["user"].why


def test_an_override_of_nothing_changes_nothing() -> None:
    """And the facts that were given stay as they are."""
    facts = facts_for("gpt-5")

    assert facts == override(facts)


def test_trap_28_only_beta_flags_that_bedrock_takes_go_up() -> None:
    """Renamed where its name differs, each once, unknown ones not at all."""
    asked = [
        "effort-2025-11-24",
        "advanced-tool-use-2025-11-20",
        "tool-search-tool-2025-10-19",
        "new-2030-01-01",
    ]

    assert ("effort-2025-11-24", "tool-search-tool-2025-10-19") == beta_flags(
        asked, facts_for("anthropic--claude-4.6-sonnet")
    )
    assert () == beta_flags(asked, facts_for("gpt-5"))


def test_short_names_belong_to_exact_names() -> None:
    """A model that only a pattern knows has none; newer models come first."""
    newer, older = (aliases_for(f"anthropic--claude-{version}-sonnet") for version in ("4.6", "4.5"))

    assert (("sonnet",), ("sonnet",), True) == (newer[1], older[1], newer[0] < older[0])
    assert (0, ()) == aliases_for("anthropic--claude-9.9-sonnet")


def test_a_models_habits_reach_through_orchestration() -> None:
    """Its own rules with those of the envelope, in the envelope's dialect (wire §5.5)."""
    facts = facts_for("gpt-5.5", "orchestration")

    assert ("orchestration", "orchestration", "chat", True) == (
        facts.executable,
        facts.dialect,
        facts.tools_with_effort,
        "xhigh" in facts.efforts,
    )
    assert {"temperature", "store", "n"} <= set(facts.fields)


def test_a_configured_dialect_beats_the_catalogue() -> None:
    """With that dialect's rules."""
    facts = facts_for("my-claude", "aws-bedrock", "claude")

    assert ("claude", True) == (facts.dialect, "metadata" in facts.native["messages"])


def test_the_configurations_rules_hold_for_what_passes_through_too() -> None:
    """Under the same names."""
    facts = override(
        facts_for("anthropic--claude-4.6-sonnet"), keep=["metadata"], drop=["new"], refuse=["odd"]
    )

    native = facts.native["messages"]
    assert (False, True, True) == ("metadata" in native, "new" in native, native["odd"].refuse)


@pytest.mark.parametrize(
    ("model", "left_out"),
    [("anthropic--claude-4.8-opus", {"seed", "temperature"}), ("gpt-5", {"temperature", "top_k"})],
)
def test_a_dialects_habits_reach_through_orchestration(model: str, left_out: set[str]) -> None:
    """What the model's own deployments cannot be told means nothing to it there either."""
    assert left_out <= facts_for(model, "orchestration").fields.keys()


def test_models_that_run_only_there_are_known_by_name() -> None:
    """Exact names, no patterns."""
    assert ("sap-abap-1",) == names_on("orchestration")
