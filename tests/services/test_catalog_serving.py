"""From a deployment back to a model that it serves."""

from __future__ import annotations

from services.catalog import Catalog
from services.deployments import AccountDeployments, Deployment
from services.options import ModelOptions, SubAccountOptions


def catalog() -> Catalog:
    """Two names for one deployment, and another one."""
    found = tuple(
        Deployment(
            id=name, url="", sub_account="main", resource_group="", executable="azure-openai", model=model
        )
        for name, model in (("d-1", "gpt-5"), ("d-2", "gpt-4o"))
    )
    made = Catalog({"ours": ModelOptions(model="gpt-5")})
    made.update({"main": AccountDeployments(SubAccountOptions("main"), {}, found)})
    return made


def test_the_first_model_in_order_is_taken() -> None:
    """Configured ones come first."""
    model = catalog().serving("main/d-1")

    assert model is not None
    assert "ours" == model.name


def test_only_among_those_the_caller_may_use() -> None:
    """Another name of the same deployment may be open to it."""
    model = catalog().serving("main/d-1", allowed=lambda name: name == "gpt-5")

    assert model is not None
    assert "gpt-5" == model.name


def test_a_deployment_that_is_gone_serves_none() -> None:
    """Nor does one of another sub-account."""
    assert catalog().serving("other/d-1") is None
