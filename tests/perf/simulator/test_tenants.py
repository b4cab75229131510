"""Fixtures: stable, distinct, and odd where they should be."""

from __future__ import annotations

import re

import pytest

from perf.simulator.tenants import make_tenants

TENANTS = make_tenants(3, base_url="http://127.0.0.1:1", resource_groups=("default",))
ALPHA = TENANTS[0]


def test_deployment_ids_are_unique_and_stable() -> None:
    """All tenants apart, and the same in every run."""
    again = make_tenants(3, base_url="http://127.0.0.1:2", resource_groups=("default",))
    ids = [d.id for t in TENANTS for d in t.deployments]

    assert len(ids) == len(set(ids))
    assert ids == [d.id for t in again for d in t.deployments]
    assert all(re.fullmatch(r"[\w.-]{4,64}", name) for name in ids)


def test_the_secret_needs_encoding() -> None:
    """A client that forgets to encode the form fails (wire §1.1)."""
    assert set("!|") <= set(ALPHA.client_id)
    assert set("$=+") <= set(ALPHA.client_secret)


def test_a_certificate_replaces_the_secret() -> None:
    """The X.509 service key has no secret (wire §1.2)."""
    key = ALPHA.service_key(certificate="C", key="K")

    assert ("C", "K", False) == (key["certificate"], key["key"], "clientsecret" in key)


@pytest.mark.parametrize("count", [0, 9])
def test_the_number_of_tenants_is_bounded(count: int) -> None:
    """There are eight names."""
    with pytest.raises(ValueError, match="between 1 and 8"):
        make_tenants(count, base_url="", resource_groups=("default",))
