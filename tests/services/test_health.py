"""The health report: truthful, and cached for a second."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.catalog import Catalog
from services.deployments import AccountDeployments, Deployment
from services.health import Health
from services.options import ModelOptions, SubAccountOptions
from services.tokens import TokenState
from services.watch import AccountState


class Tokens:
    """A provider that is ready or not."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.reason: str | None = None
        self.asked = 0

    def state(self) -> TokenState:
        self.asked += 1
        return TokenState("a", self.seconds is not None, self.seconds, None, self.reason)


class Account:
    def __init__(self, seconds: float | None) -> None:
        self.tokens = Tokens(seconds)


class Watch:
    """Discovery as it is said to be."""

    def __init__(self, *states: tuple[str, bool, bool]) -> None:
        self.states = [AccountState(n, on, ok, None, 3) for n, on, ok in states]

    def state(self) -> list[AccountState]:
        return self.states


def running(sub_account: str, model: str) -> Deployment:
    """A deployment."""
    return Deployment(f"d-{model}", "https://x", sub_account, "default", "azure-openai", model)


def health(
    *deployments: Deployment, seconds: dict[str, float | None], models: dict[str, ModelOptions] | None = None
) -> Health:
    """The health of these deployments and tokens."""
    catalog = Catalog(models or {})
    catalog.update(
        {
            name: AccountDeployments(
                SubAccountOptions(name), {}, tuple(one for one in deployments if one.sub_account == name)
            )
            for name in seconds
        }
    )
    accounts: Any = {name: Account(left) for name, left in seconds.items()}
    watch: Any = Watch(*((name, True, True) for name in seconds))
    return Health(accounts=accounts, catalog=catalog, watch=watch)


async def test_all_is_well() -> None:
    """Every model has a deployment and a token."""
    report = await health(running("a", "gpt-4o"), seconds={"a": 100.4}).report()

    assert ("ok", 1, {}) == (report["status"], report["models"], report["unserved"])
    assert 0 == report["failing"]
    assert {
        "a": {
            "token": "ok",
            "token_fault": None,
            "token_expires_in_seconds": 100,
            "discovery": "ok",
            "discovery_fault": None,
            "discovered_seconds_ago": None,
            "deployments": 3,
        }
    } == report["sub_accounts"]
    assert 0 <= report["uptime_seconds"] < 60


async def test_some_models_cannot_be_served() -> None:
    """Degraded, with the reason for each."""
    report = await health(
        running("a", "gpt-4o"),
        running("b", "gpt-5"),
        seconds={"a": 100, "b": None},
        models={"gpt-4.1": ModelOptions()},
    ).report()

    assert ("degraded", 1) == (report["status"], report["models"])
    assert {"gpt-5": "no token for its sub-account", "gpt-4.1": "no running deployment"} == report["unserved"]
    assert ("missing", None) == (
        report["sub_accounts"]["b"]["token"],
        report["sub_accounts"]["b"]["token_expires_in_seconds"],
    )


@pytest.mark.parametrize("deployments", [(), (running("a", "gpt-4o"),)])
async def test_nothing_can_be_served(deployments: tuple[Deployment, ...]) -> None:
    """Unavailable: no deployment, or no token for any."""
    assert "unavailable" == (await health(*deployments, seconds={"a": None}).report())["status"]


async def test_one_token_of_several_is_enough() -> None:
    """A model with a candidate in each sub-account is served as long as one has a token."""
    report = await health(
        running("a", "gpt-4o"), running("b", "gpt-4o"), seconds={"a": None, "b": 1}
    ).report()

    assert "ok" == report["status"]


async def test_models_that_are_not_spoken_do_not_count() -> None:
    """Nobody can ask for them here."""
    report = await health(
        running("a", "gpt-4o"), seconds={"a": 1}, models={"x": ModelOptions(family="aicore-sap")}
    ).report()

    assert ("ok", 1) == (report["status"], report["models"])


@pytest.mark.parametrize(
    ("discover", "ok", "word"), [(True, True, "ok"), (True, False, "failing"), (False, True, "off")]
)
async def test_discovery_is_told(discover: bool, ok: bool, word: str) -> None:
    """Whether it works, or is not wanted."""
    one = health(running("a", "gpt-4o"), seconds={"a": 1})
    one._watch.states = Watch(("a", discover, ok)).states  # type: ignore[attr-defined]

    assert word == (await one.report())["sub_accounts"]["a"]["discovery"]


@pytest.mark.parametrize(
    ("seconds", "reason", "told"),
    [
        (100, None, None),
        (100, "no answer in time", "no answer in time"),
        (None, "the credential is refused", "the credential is refused"),
        (None, None, "not here yet"),
    ],
)
async def test_what_is_wrong_with_a_token_is_told(
    seconds: float | None, reason: str | None, told: str | None
) -> None:
    """While the old one still serves, too: the sub-account counts as failing before its models do."""
    one = health(running("a", "gpt-4o"), seconds={"a": seconds})
    one._accounts["a"].tokens.reason = reason  # type: ignore[attr-defined]
    report = await one.report()

    assert told == report["sub_accounts"]["a"]["token_fault"]
    assert ("unavailable" if seconds is None else "ok", int(told is not None)) == (
        report["status"],
        report["failing"],
    )


@pytest.mark.parametrize(
    ("reason", "told"), [("its certificate is not accepted",) * 2, (None, "no answer yet")]
)
async def test_what_is_wrong_with_discovery_is_told(reason: str | None, told: str) -> None:
    """And how old the list is that still serves."""
    one = health(running("a", "gpt-4o"), seconds={"a": 1})
    one._watch.states = [AccountState("a", True, False, 61.2, 2, reason)]  # type: ignore[attr-defined]
    report = await one.report()
    account = report["sub_accounts"]["a"]

    assert (told, 61) == (account["discovery_fault"], account["discovered_seconds_ago"])
    assert ("ok", 1) == (report["status"], report["failing"])
    assert "https" not in str(report)


async def test_the_report_is_cached() -> None:
    """Probes cost nothing."""
    one = health(running("a", "gpt-4o"), seconds={"a": 1})
    first = await one.report()
    tokens: Any = one._accounts["a"].tokens
    asked = tokens.asked
    second = await one.report()

    assert (first, asked) == (second, tokens.asked)


async def test_the_gauges_follow() -> None:
    """Deployments and the token's life, by sub-account."""
    await health(seconds={"gauge-test": 42.0, "gauge-none": None}).report()

    assert (3, 42, 0) == (
        REGISTRY.get_sample_value("aicore_deployments", {"sub_account": "gauge-test"}),
        REGISTRY.get_sample_value("aicore_token_expires_in_seconds", {"sub_account": "gauge-test"}),
        REGISTRY.get_sample_value("aicore_token_expires_in_seconds", {"sub_account": "gauge-none"}),
    )


async def test_a_gateway_that_stops_says_so_at_once() -> None:
    """Whatever was found a moment ago."""
    report = health(running("a", "gpt-4o"), seconds={"a": 100.0})
    assert "ok" == (await report.report())["status"]
    report.draining = True

    assert "draining" == (await report.report())["status"]
