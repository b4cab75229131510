"""Which models SAP's orchestration serves, and by which of its deployments (wire §3.2, §4.7)."""

from __future__ import annotations

from typing import Any

import pytest

from services.catalog import Catalog
from services.deployments import AccountDeployments, Deployment
from services.listing import entry
from services.options import ModelOptions, SubAccountOptions

CLAUDE = "anthropic--claude-4.5-sonnet"
FILTERED = ModelOptions(orchestration={"filtering": {"input": {}}})


def native(identifier: str, model: str, executable: str = "azure-openai") -> Deployment:
    """A model's own deployment."""
    return Deployment(identifier, f"https://api.example/{identifier}", "main", "default", executable, model)


def orchestration(identifier: str = "d-orch", *, started_at: str = "", account: str = "main") -> Deployment:
    """A deployment of orchestration."""
    url = f"https://api.example/{identifier}"
    return Deployment(identifier, url, account, "default", "orchestration", started_at=started_at)


def configured(identifier: str, executable: str = "") -> Deployment:
    """One that the configuration names; what runs there may be known."""
    return Deployment(identifier, f"https://api.example/{identifier}", "main", "default", executable)


def known(*discovered: Deployment, named: Any = None, **options: Any) -> AccountDeployments:
    """What is known of a sub-account."""
    return AccountDeployments(SubAccountOptions(**{"name": "main"} | options), named or {}, discovered)


def catalog(*accounts: AccountDeployments, **models: ModelOptions) -> Catalog:
    """A catalog of these models that knows these sub-accounts."""
    made = Catalog(models)
    made.update({one.account.name: one for one in accounts})
    return made


def served(found: Catalog, name: str) -> list[tuple[str, str, str]]:
    """By which deployments a model is served: id, executable, backend model."""
    return [(one.id, one.executable, one.model) for one in found.resolve(name).candidates]


def names(found: Catalog) -> list[str]:
    """All public names."""
    return [model.name for model in found.models()]


# --- models that are served by it -----------------------------------------------------------------------


@pytest.mark.parametrize("how", [FILTERED, ModelOptions(family="orchestration")], ids=["modules", "family"])
def test_a_model_may_be_configured_to_be_orchestrated(how: ModelOptions) -> None:
    """Its own deployments are left alone then."""
    found = catalog(known(native("d-1", "gpt-5"), orchestration()), **{"gpt-5": how})

    assert [("d-orch", "orchestration", "gpt-5")] == served(found, "gpt-5")
    assert "orchestration" == found.resolve("gpt-5").facts.dialect


def test_a_public_name_stands_for_its_backend_model() -> None:
    """The envelope says which model."""
    options = ModelOptions(model=CLAUDE, orchestration={"masking": {}})
    found = catalog(known(orchestration()), careful=options)

    assert [("d-orch", "orchestration", CLAUDE)] == served(found, "careful")


def test_a_model_with_modules_never_goes_round_them() -> None:
    """Without an orchestration deployment nothing serves it, and the operator is told."""
    found = catalog(known(native("d-1", "gpt-5")), **{"gpt-5": FILTERED})

    assert [] == served(found, "gpt-5")
    assert found.resolve("gpt-5").through_orchestration() is None
    assert "gpt-5: it is served through orchestration, and no such deployment runs" in found.notes


def test_modules_count_more_than_the_family() -> None:
    """There is no other way to have them."""
    options = ModelOptions(family="azure-openai", orchestration={"masking": {}})
    found = catalog(known(native("d-1", "gpt-5"), orchestration()), **{"gpt-5": options})

    assert "orchestration" == found.resolve("gpt-5").family


def test_a_configured_dialect_is_not_orchestrations() -> None:
    """It is said of the model's own deployments."""
    options = ModelOptions(capabilities={"dialect": "converse"})
    model = catalog(
        known(native("d-1", CLAUDE, "aws-bedrock"), orchestration()), **{CLAUDE: options}
    ).resolve(CLAUDE)
    through = model.through_orchestration()

    assert through is not None
    assert ("converse", "orchestration") == (model.facts.dialect, through.facts.dialect)


def test_what_runs_nowhere_else_is_public() -> None:
    """As soon as a sub-account has orchestration."""
    found = catalog(known(orchestration()))

    assert [("d-orch", "orchestration", "sap-abap-1")] == served(found, "sap-abap-1")
    assert ["gpt-5"] == names(catalog(known(native("d-1", "gpt-5"))))


def test_patterns_choose_among_what_runs_nowhere_else() -> None:
    """As they do among discovered models."""
    assert [] == names(catalog(known(orchestration(), exclude=("sap-*",))))


def test_a_sub_account_serves_what_its_patterns_want() -> None:
    """Through orchestration too."""
    one = known(orchestration("d-1"), include=("gpt-*",))
    two = known(orchestration("d-2", account="two"), name="two")
    found = catalog(one, two, **{CLAUDE: ModelOptions(family="orchestration")})

    assert [("d-2", "orchestration", CLAUDE)] == served(found, CLAUDE)


def test_a_model_may_be_kept_to_some_sub_accounts() -> None:
    """As its own deployments may."""
    accounts = [known(orchestration(f"d-{n}", account=n), name=n) for n in ("one", "two")]
    found = catalog(*accounts, m=ModelOptions(family="orchestration", sub_accounts=("two",)))

    assert [("d-two", "orchestration", "m")] == served(found, "m")


# --- deployments ----------------------------------------------------------------------------------------


def test_the_newest_deployment_of_a_sub_account_is_taken() -> None:
    """By its start; the operator is told of the others."""
    times = {"d-a": "2026-03-03T12:03:06Z", "d-b": "2026-05-01T00:00:00Z", "d-c": ""}
    found = catalog(known(*(orchestration(one, started_at=at) for one, at in times.items())), m=FILTERED)

    assert [("d-b", "orchestration", "m")] == served(found, "m")
    assert {
        "orchestration: deployment d-a is left out, d-b is newer",
        "orchestration: deployment d-c is left out, d-b is newer",
    } == set(found.notes)


@pytest.mark.parametrize("executable", ["", "orchestration"])
def test_a_configured_deployment_is_taken_instead(executable: str) -> None:
    """Also where nobody says what runs there: nothing else can be meant."""
    named = {"m": (configured("d-mine", executable),)}
    found = catalog(known(orchestration(), named=named), m=FILTERED)

    assert [("d-mine", "orchestration", "m")] == served(found, "m")


def test_a_models_own_deployment_is_none_of_orchestration() -> None:
    """Discovery knows what runs at a configured address."""
    named = {"gpt-5": (configured("d-1", "azure-openai"),)}
    found = catalog(known(orchestration(), named=named), **{"gpt-5": FILTERED})

    assert [("d-orch", "orchestration", "gpt-5")] == served(found, "gpt-5")


def test_an_orchestration_deployment_may_be_configured_for_a_model() -> None:
    """The model is served that way then."""
    found = catalog(known(named={"gpt-5": (configured("d-mine", "orchestration"),)}))
    model = found.resolve("gpt-5")

    assert ("orchestration", [("d-mine", "orchestration", "gpt-5")]) == (model.family, served(found, "gpt-5"))
    assert model.through_orchestration() is model


def test_weights_hold_for_orchestration() -> None:
    """Of the deployment and of the sub-account; 0 takes it out."""
    weighed = ModelOptions(family="orchestration", weights={"d-1": 2})
    out = ModelOptions(family="orchestration", weights={"d-1": 0})
    found = catalog(known(orchestration("d-1"), weight=0.5), m=weighed, n=out)

    assert ([1.0], []) == ([one.weight for one in found.resolve("m").candidates], served(found, "n"))


# --- on demand ------------------------------------------------------------------------------------------


def test_any_model_may_be_had_through_orchestration() -> None:
    """The same public name with other candidates and the facts for them."""
    model = catalog(known(native("d-1", "gpt-5"), orchestration())).resolve("gpt-5")
    through = model.through_orchestration()

    assert through is not None
    assert ("gpt-5", "orchestration") == (through.name, through.family)
    assert [("d-orch", "gpt-5")] == [(one.id, one.model) for one in through.candidates]
    assert ("azure-openai", "orchestration") == (model.facts.dialect, through.facts.dialect)
    assert ["d-1"] == [one.id for one in model.candidates]


def test_without_orchestration_no_model_is_to_be_had_through_it() -> None:
    """Configured deployments of an unknown kind are the model's own."""
    named = {"gpt-5": (configured("d-1"),)}

    assert catalog(known(named=named)).resolve("gpt-5").through_orchestration() is None


def test_a_model_that_is_orchestrated_anyway_is_itself() -> None:
    """There is no second way."""
    model = catalog(known(orchestration())).resolve("sap-abap-1")

    assert model.through_orchestration() is model


def test_the_list_shows_the_family() -> None:
    """/v1/models says how a model is served."""
    found = catalog(known(native("d-1", "gpt-5"), orchestration()), **{"gpt-5": FILTERED})

    assert {"gpt-5": "orchestration", "sap-abap-1": "orchestration"} == {
        one["id"]: one["family"] for one in map(entry, found.listing())
    }
