"""The model list as a caller sees it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.calls import ANONYMOUS, Caller
from services.catalog import Catalog
from services.deployments import AccountDeployments, Deployment
from services.errors import UnknownModel
from services.listing import ModelList
from services.options import ModelOptions, SubAccountOptions

LIMITED = Caller("limited", b"x", models=("gpt-4*",))


def update(catalog: Catalog, models: Sequence[str]) -> None:
    """Let these models run."""
    found = tuple(Deployment(f"d-{one}", "https://x", "a", "default", "", one) for one in models)
    catalog.update({"a": AccountDeployments(SubAccountOptions("a"), {}, found)})


def catalog_of(*models: str, **options: ModelOptions) -> Catalog:
    """A catalog with these models running."""
    catalog = Catalog({name.replace("_", "-"): value for name, value in options.items()})
    update(catalog, models)
    return catalog


async def ids(listed: ModelList, caller: Caller = ANONYMOUS) -> list[str]:
    """The names in the list."""
    return [entry["id"] for entry in (await listed.all(caller))["data"]]


async def test_an_entry_has_openais_shape_and_what_is_known() -> None:
    """Everything else is left out."""
    listed = ModelList(catalog_of("gpt-5", "gpt-4o"))
    whole = await listed.all(ANONYMOUS)

    assert ("list", ["gpt-4o", "gpt-5"]) == (whole["object"], [entry["id"] for entry in whole["data"]])
    assert {
        "id": "gpt-5", "object": "model", "created": 0, "owned_by": "sap-ai-core", "family": "azure-openai",
        "context_length": 400_000, "max_output_tokens": 128_000, "input_modalities": ["text", "image"],
        "capabilities": ["chat", "responses"], "reasoning_efforts": ["minimal", "low", "medium", "high"],
    } == whole["data"][1]  # fmt: skip
    assert "reasoning_efforts" not in whole["data"][0]


async def test_aliases_are_shown() -> None:
    """A client may use them."""
    listed = ModelList(catalog_of(gpt_5=ModelOptions(aliases=("fast",))))

    assert ["fast"] == listed.one("fast", ANONYMOUS)["aliases"]


async def test_only_what_can_be_asked_for_is_listed() -> None:
    """Not what is hidden, not what nothing serves, not what the gateway does not speak."""
    catalog = catalog_of(
        "gpt-5",
        "gpt-4o",
        "sap-rpt-1.5",
        gpt_4o=ModelOptions(hidden=True),
        gone=ModelOptions(),
    )

    assert ["gpt-5"] == await ids(ModelList(catalog))


async def test_a_key_sees_only_its_models() -> None:
    """In the list and one by one."""
    listed = ModelList(catalog_of("gpt-5", "gpt-4o"))

    assert ["gpt-4o"] == await ids(listed, LIMITED)
    assert "gpt-4o" == listed.one("gpt-4o", LIMITED)["id"]
    with pytest.raises(UnknownModel):
        listed.one("gpt-5", LIMITED)


@pytest.mark.parametrize("name", ["gpt-5", "gpt-55"])
async def test_a_hint_names_only_what_the_key_is_for(name: str) -> None:
    """Neither a model that exists nor a near one is confirmed to who must not know it."""
    listed = ModelList(catalog_of("gpt-5", "gpt-5.1"))

    with pytest.raises(UnknownModel) as caught:
        listed.one(name, LIMITED)
    assert "Did you mean" not in str(caught.value)


async def test_the_list_is_cached_until_it_is_forgotten() -> None:
    """One that reads the catalog for every client would cost too much; a change shows at once."""
    catalog = catalog_of("gpt-5")
    listed = ModelList(catalog)
    await listed.all(ANONYMOUS)
    update(catalog, ["gpt-4o"])

    assert ["gpt-5"] == await ids(listed)
    await listed.forget()
    assert ["gpt-4o"] == await ids(listed)
