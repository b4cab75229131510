"""From a public name to deployments: exactly, and never to another model (traps 36, 56, 59)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from services.catalog import NAMES_CACHED, Catalog, PlainForm, plain_form
from services.deployments import AccountDeployments, Deployment
from services.errors import UnknownModel
from services.options import ModelOptions, RuleOverrides, SubAccountOptions

SONNET = "anthropic--claude-4.5-sonnet"
HAIKU = "anthropic--claude-4.5-haiku"


def one(
    identifier: str, model: str = "", executable: str = "", *, account: str = "main", weight: float = 1.0
) -> Deployment:
    """One deployment."""
    return Deployment(
        id=identifier,
        url=f"https://api.example/v2/inference/deployments/{identifier}",
        sub_account=account,
        resource_group="default",
        executable=executable,
        model=model,
        weight=weight,
    )


def account(
    *discovered: Deployment, name: str = "main", weight: float = 1.0, **configured: tuple[Deployment, ...]
) -> dict[str, AccountDeployments]:
    """What is known of one sub-account, under its name."""
    options = SubAccountOptions(name, weight=weight)
    return {name: AccountDeployments(options, configured, discovered)}


def catalog(known: dict[str, AccountDeployments], **models: ModelOptions) -> Catalog:
    """A catalog of these models that knows these deployments."""
    made = Catalog(models)
    made.update(known)
    return made


def serving(*names: str, **models: ModelOptions) -> Catalog:
    """A catalog whose tenant runs a deployment of each of these."""
    return catalog(account(*(one(f"d-{n:04}", name) for n, name in enumerate(names))), **models)


def ids(found: Catalog, name: str) -> list[str]:
    """The deployments that serve a name."""
    return [candidate.id for candidate in found.resolve(name).candidates]


def options(**fields: Any) -> ModelOptions:
    """What is configured for one model."""
    return ModelOptions(**fields)


# --- names ------------------------------------------------------------------------------------------


def test_a_discovered_model_is_public_under_its_backend_name() -> None:
    """Nothing needs to be configured."""
    assert ids(serving("gpt-5"), "gpt-5") == ["d-0000"]


def test_an_alias_is_taken_as_it_stands() -> None:
    """A configured alias means its model (trap 59)."""
    assert serving("gpt-5", **{"gpt-5": options(aliases=("fast",))}).resolve("fast").name == "gpt-5"


def test_a_public_name_beats_an_alias() -> None:
    """An alias cannot take a model's own name away, and the operator is told."""
    found = serving("gpt-5", "sonar", **{"gpt-5": options(aliases=("sonar",))})

    assert found.resolve("sonar").name == "sonar"
    assert "alias sonar of gpt-5 already means sonar" in found.notes


def test_the_longest_glob_wins() -> None:
    """The one with the most literal characters, wherever it stands."""
    models = {"gpt-5": options(aliases=("claude-*",)), "sonar": options(aliases=("claude-*-haiku*", "*"))}
    found = serving("gpt-5", "sonar", **models)

    assert [found.resolve(name).name for name in ("claude-3-5-haiku", "claude-opus", "anything")] == [
        "sonar",
        "gpt-5",
        "sonar",
    ]


def test_a_glob_beats_the_plain_form() -> None:
    """What the operator configured comes before what we recognise."""
    found = serving("gpt-5", HAIKU, **{"gpt-5": options(aliases=("claude-haiku-*",))})

    assert found.resolve("claude-haiku-4-5-20251001").name == "gpt-5"


def test_an_alias_with_brackets_means_itself_too() -> None:
    """`[1m]` in an alias is a name's mark, not only a class of characters."""
    found = serving("gpt-5", **{"gpt-5": options(aliases=("big[1m]",))})

    assert found.resolve("big[1m]").name == "gpt-5"


@pytest.mark.parametrize(
    "name",
    [
        "claude-sonnet-4-5",
        "claude-4.5-sonnet",
        "claude-4-5-sonnet",
        "claude-sonnet-4.5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-5-2025-09-29",
        "anthropic--claude-sonnet-4-5",
        "anthropic--claude-4.5-sonnet[1m]",
        "claude-sonnet-4-5-20250929[1m]",
        "Claude-Sonnet-4-5",
        "ANTHROPIC--CLAUDE-4.5-SONNET",
    ],
)
def test_spellings_of_claude(name: str) -> None:
    """Dotted, dashed, dated, marked, with and without vendor, in any case (trap 59)."""
    assert serving(SONNET, HAIKU, "anthropic--claude-4-sonnet").resolve(name).name == SONNET


@pytest.mark.parametrize(
    "configured", ["claude-sonnet-4-5", "claude-4.5-sonnet", SONNET, "claude-sonnet-4-5-20250929"]
)
def test_spellings_work_both_ways(configured: str) -> None:
    """Whichever spelling the catalog has, the others find it."""
    assert configured == serving(configured).resolve("Claude-4-5-Sonnet").name


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("mistral-small", "mistralai--mistral-small"),
        ("nova-pro", "amazon--nova-pro"),
        ("gemini-2-5-flash-lite", "gemini-2.5-flash-lite"),
        ("claude-sonnet-4-20250514", "anthropic--claude-4-sonnet"),
        ("claude-3-5-sonnet-20240620", "anthropic--claude-3.5-sonnet"),
    ],
)
def test_spellings_of_other_models(asked: str, name: str) -> None:
    """The same few rules serve every vendor, and a date's digits are no version."""
    names = ("gpt-5", "gpt-5-mini", "mistralai--mistral-small", "amazon--nova-pro", "gemini-2.5-flash-lite")
    found = serving(*names, "gemini-2.5-flash", "anthropic--claude-4-sonnet", "anthropic--claude-3.5-sonnet")

    assert name == found.resolve(asked).name


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4",
        "gpt-5.1",
        "gpt-5-nano",
        "claude-sonnet-4-6",
        "claude-opus-4-5",
        "claude-sonnet",
        "claude",
        "amazon--claude-4.5-sonnet",
        "mini-2024-01-01",
        "gpt-5-mini-2024-01-01",
        "gpt-5-20259999",
        "",
        "[1m]",
        "x" * 10_000,
    ],
)
def test_another_model_is_never_given(name: str) -> None:
    """No version, size, vendor or date is bent to fit (trap 56)."""
    with pytest.raises(UnknownModel):
        serving("gpt-5", SONNET, HAIKU, "gpt-5-mini-2025-08-07").resolve(name)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("GPT-5-2025-08-07", "gpt-5-2025-08-07"),
        ("gpt-5-20250807", "gpt-5-2025-08-07"),
        ("GPT-5", "gpt-5"),
        ("gpt-5-2020-01-01", "gpt-5"),
        ("gpt-4o[1m]", "gpt-4o-2024-11-20"),
        ("b--m", "m"),
        ("M", "m"),
    ],
)
def test_several_hits_are_decided_by_rule(asked: str, name: str) -> None:
    """Same date, same vendor, no date, newest date."""
    found = serving(
        "gpt-5-2025-08-07", "gpt-5", "gpt-5-2024-01-01", "gpt-4o-2024-05-13", "gpt-4o-2024-11-20", "a--m", "m"
    )

    assert name == found.resolve(asked).name


def test_the_first_configured_decides_between_equals() -> None:
    """And the double meaning is told to the operator."""
    found = serving(
        "claude-4.5-sonnet", "a--claude-4.5-sonnet", **{"claude-sonnet-4.5": options(model=SONNET)}
    )

    assert found.resolve("claude-sonnet-4-5").name == "claude-sonnet-4.5"
    assert any(
        "claude-sonnet-4-5 can mean claude-sonnet-4.5, claude-4.5-sonnet" in note for note in found.notes
    )


def test_an_alias_is_recognised_in_other_spellings() -> None:
    """Marks and case do not matter for aliases either."""
    assert (
        serving("gpt-5", **{"gpt-5": options(aliases=("my-sonnet",))}).resolve("My-Sonnet[1m]").name
        == "gpt-5"
    )


def test_an_unknown_name_gets_near_ones() -> None:
    """Up to three, and where to find all."""
    found = serving(SONNET, HAIKU, "gpt-5")

    with pytest.raises(UnknownModel) as caught:
        found.resolve("claude-sonet-4-5")
    assert f"Did you mean {SONNET}" in caught.value.public
    assert "GET /v1/models" in caught.value.public
    assert (caught.value.param, caught.value.status, caught.value.code) == ("model", 404, "model_not_found")


def test_near_names_are_only_those_the_caller_may_see() -> None:
    """Neither hidden models nor forbidden ones are given away."""
    found = serving(SONNET, HAIKU, "claude-4.5-opus", **{HAIKU: options(hidden=True)})

    with pytest.raises(UnknownModel) as caught:
        found.resolve("claude-4.5-x", allowed=lambda name: name != SONNET)
    assert "Did you mean claude-4.5-opus? GET" in caught.value.public


def test_a_name_is_clipped_in_the_error() -> None:
    """An absurd name does not come back whole."""
    with pytest.raises(UnknownModel) as caught:
        serving("gpt-5").resolve("y" * 100_000)
    assert len(caught.value.public) < 300


def test_a_name_learned_later_is_found_at_once() -> None:
    """What was unknown is not remembered beyond an update."""
    found = serving("gpt-5")
    with pytest.raises(UnknownModel):
        found.resolve("Sonar")
    found.update(account(one("d-1", "sonar")))

    assert found.resolve("Sonar").name == "sonar"


def test_the_memory_of_names_is_bounded() -> None:
    """A stream of invented names does not fill the memory."""
    found = serving("gpt-5")
    for number in range(NAMES_CACHED + 100):
        found._index.find(f"invented-{number}")

    assert len(found._index._found) == NAMES_CACHED


@given(st.text(max_size=300))
def test_any_text_is_resolved_or_unknown(name: str) -> None:
    """Whatever a caller sends as a name, there is no other outcome; and asking again gives the same."""
    found = serving("gpt-5", SONNET)
    answers = []
    for _ in range(2):
        try:
            answers.append(found.resolve(name).name)
        except UnknownModel as error:
            answers.append(error.public)

    assert answers[0] == answers[1]


_versions = st.tuples(st.integers(1, 9), st.integers(0, 9))
_words = st.lists(st.sampled_from(["opus", "haiku", "flash", "lite", "mini"]), min_size=1, max_size=2).map(
    "-".join
)


@given(
    st.sampled_from(["claude", "gemini", "acme"]),
    _versions,
    _words,
    st.sampled_from(["", "-20250929", "-2025-09-29"]),
    st.sampled_from(["", "vendor--"]),
    st.sampled_from(["", "[1m]"]),
    st.sampled_from([".", "-"]),
    st.booleans(),
    st.booleans(),
)
def test_every_spelling_has_the_same_plain_form(
    line, version, word, date, vendor, mark, dot, first, upper
) -> None:
    """Version before or after the word, dotted or dashed, with or without the rest."""
    number = dot.join(map(str, version))
    spelled = f"{vendor}{line}-{f'{number}-{word}' if first else f'{word}-{number}'}{date}{mark}"
    spelled = spelled.upper() if upper else spelled

    assert PlainForm(
        f"{line}-{word}-{version[0]}-{version[1]}", vendor[:-2], "20250929" if date else ""
    ) == plain_form(spelled)


@given(st.from_regex(r"[a-z]+-[0-9](\.[0-9])?(-[a-z]+)?", fullmatch=True))
def test_a_plain_form_is_its_own_plain_form(name: str) -> None:
    """Taking spelling away twice changes nothing."""
    assert plain_form(name).key == plain_form(plain_form(name).key).key


# --- candidates -------------------------------------------------------------------------------------


def test_configured_deployments_come_before_discovered_ones() -> None:
    """Each once: the configured entry stands for the discovered one of the same id."""
    known = account(
        one("d-1", "gpt-5", "azure-openai"),
        one("d-2", "gpt-5", "azure-openai"),
        **{"gpt-5": (one("d-2", "gpt-5", "azure-openai", weight=3.0),)},
    )

    assert [(c.id, c.weight) for c in catalog(known).resolve("gpt-5").candidates] == [
        ("d-2", 3.0),
        ("d-1", 1.0),
    ]


def test_sub_accounts_stand_in_the_order_of_the_configuration() -> None:
    """And the same id in two of them is two deployments (trap 47)."""
    known = account(one("d-1", "m", account="b"), name="b") | account(one("d-1", "m", account="a"), name="a")

    assert [candidate.sub_account for candidate in catalog(known).resolve("m").candidates] == ["b", "a"]


def test_a_public_name_may_stand_for_another_backend_model() -> None:
    """The deployments of that model serve it, discovered and configured ones."""
    known = account(one("d-1", "gpt-5"), **{"gpt-5": (one("d-2"),), "my-gpt": (one("d-3"),)})

    assert ids(catalog(known, **{"my-gpt": options(model="gpt-5")}), "my-gpt") == ["d-3", "d-2", "d-1"]


def test_a_candidate_carries_its_backend_model() -> None:
    """As discovery says, else as configured, else the public name (trap 45)."""
    known = account(m=(one("d-1", "found"), one("d-2")))

    assert [c.model for c in catalog(known, m=options(model="said")).resolve("m").candidates] == [
        "found",
        "said",
    ]
    assert [c.model for c in catalog(known).resolve("m").candidates] == ["found", "m"]


def test_a_model_may_be_kept_to_some_sub_accounts() -> None:
    """Deployments elsewhere do not serve it."""
    known = account(one("d-1", "m", account="a"), name="a") | account(one("d-2", "m", account="b"), name="b")

    assert ids(catalog(known, m=options(sub_accounts=("b",))), "m") == ["d-2"]


def test_weights_multiply() -> None:
    """The deployment's, the model's for it, and the sub-account's."""
    known = account(weight=0.5, m=(one("d-1", weight=2.0), one("d-2")))

    assert [c.weight for c in catalog(known, m=options(weights={"d-1": 30})).resolve("m").candidates] == [
        30.0,
        0.5,
    ]


def test_weight_zero_takes_a_deployment_out() -> None:
    """The end of a rollout."""
    assert ids(catalog(account(m=(one("d-1"), one("d-2"))), m=options(weights={"d-1": 0})), "m") == ["d-2"]


def test_orchestration_deployments_are_no_models() -> None:
    """They have no name of their own; what is there is what runs nowhere else (trap 47)."""
    models = catalog(account(one("d-1", "", "orchestration"))).models()

    assert ["sap-abap-1"] == [model.name for model in models]


def test_a_configured_model_without_deployments_stays_known() -> None:
    """It resolves, has no candidates, and is not listed."""
    found = serving("gpt-5", sonar=options())

    assert found.resolve("sonar").candidates == ()
    assert [model.name for model in found.listing()] == ["gpt-5"]


def test_hidden_models_are_served_but_not_listed() -> None:
    """They answer to their name."""
    found = serving("gpt-5", "sonar", sonar=options(hidden=True))

    assert ids(found, "sonar") == ["d-0001"]
    assert [model.name for model in found.listing()] == ["gpt-5"]


def test_the_listing_is_sorted() -> None:
    """By name, whatever the tenant's order."""
    assert [model.name for model in serving("b", "c", "a").listing()] == ["a", "b", "c"]


def test_all_models_stand_in_the_order_of_the_configuration() -> None:
    """Configured names, then discovered ones; hidden and unserved ones too."""
    found = serving("b", "a", z=options(hidden=True), a=options())

    assert [model.name for model in found.models()] == ["z", "a", "b"]


# --- families and facts -----------------------------------------------------------------------------


def test_the_configured_family_counts_most() -> None:
    """Whatever discovery says."""
    model = catalog(account(one("d-1", "m", "aws-bedrock")), m=options(family="azure-openai")).resolve("m")

    assert (model.family, [c.executable for c in model.candidates]) == ("azure-openai", ["azure-openai"])


def test_discovery_counts_more_than_the_data() -> None:
    """A name that looks like GPT may run on an open-source executable."""
    assert (
        catalog(account(one("d-1", "gpt-5", "aicore-opensource"))).resolve("gpt-5").family
        == "aicore-opensource"
    )


def test_the_data_knows_the_family_of_a_silent_deployment() -> None:
    """By the model's whole name, not by a piece of it (trap 36)."""
    model = catalog(account(**{"gpt-5": (one("d-1"),)})).resolve("gpt-5")

    assert (model.family, model.candidates[0].executable) == ("azure-openai", "azure-openai")


def test_a_family_that_nobody_knows_is_told() -> None:
    """Empty, with a note that says what to set."""
    found = catalog(account(mystery=(one("d-1"),)))

    assert found.resolve("mystery").family == ""
    assert "mystery: nobody says what runs there; set models.mystery.family" in found.notes


def test_deployments_of_another_family_are_left_out() -> None:
    """The first one's family stays, and the operator is told."""
    found = catalog(
        account(m=(one("d-1", "m", "azure-openai"), one("d-2", "m", "aws-bedrock"), one("d-3", "m")))
    )

    assert ids(found, "m") == ["d-1", "d-3"]
    assert "m: deployment d-2 is left out, it runs aws-bedrock and the first azure-openai" in found.notes


def test_facts_come_from_the_data() -> None:
    """For the backend model, under an alias too."""
    model = catalog(account(one("d-1", "gpt-5", "azure-openai")), fast=options(model="gpt-5")).resolve("fast")

    assert (model.facts.context_length, model.facts.max_output_tokens) == (400_000, 128_000)


def test_the_configuration_overrides_facts() -> None:
    """Limits and field rules."""
    rules = RuleOverrides(drop=("seed",), rename={"a": "b"})
    model = serving(
        "gpt-5", **{"gpt-5": options(context_length=7, max_output_tokens=8, rules=rules)}
    ).resolve("gpt-5")

    assert (
        model.facts.context_length,
        model.facts.max_output_tokens,
        model.facts.fields["a"].rename_to,
    ) == (7, 8, "b")
    assert "seed" in model.facts.fields


def test_each_candidate_has_its_own_facts() -> None:
    """During a rollout two backend models serve one name."""
    known = account(chat=(one("d-1", "gpt-4.1", "azure-openai"), one("d-2", "gpt-5", "azure-openai")))
    model = catalog(known).resolve("chat")
    facts = [model.facts_of(candidate) for candidate in model.candidates]

    assert facts[0] is model.facts
    assert facts[1].context_length == 400_000
    assert ["temperature" in one.fields for one in facts] == [False, True]


@pytest.mark.parametrize("name", ["sonnet", "Sonnet", "sonnet[1m]"])
def test_a_short_name_is_the_newest_that_is_served(name: str) -> None:
    """Claude Code asks for `sonnet`; what nothing serves does not take it away."""
    found = serving(
        "anthropic--claude-4.5-sonnet", "anthropic--claude-4.6-sonnet", "anthropic--claude-4.5-haiku"
    )

    assert "anthropic--claude-4.6-sonnet" == found.resolve(name).name


def test_a_configured_alias_beats_a_short_name() -> None:
    """The configuration knows better."""
    found = serving("anthropic--claude-4.6-sonnet", "gpt-5", **{"gpt-5": ModelOptions(aliases=("sonnet",))})

    assert "gpt-5" == found.resolve("sonnet").name
