"""The management plane, over HTTP."""

from __future__ import annotations

import httpx
import pytest

from perf.simulator.launch import Simulator
from perf.simulator.models import MODELS
from perf.simulator.tenants import FIXTURES
from tests.perf.simulator.conftest import Tenant

ALL = len(FIXTURES["alpha"])
RUNNING = [fixture.model for fixture in FIXTURES["alpha"] if fixture.status == "RUNNING"]
ON_AZURE = [name for name in RUNNING if name and MODELS[name].executable == "azure-openai"]
EXECUTABLES = {model.executable for model in MODELS.values()} - {"orchestration"}


def test_the_list_shows_every_oddity(alpha: Tenant) -> None:
    """Wire §3.2: no executableId, one spelling or both, empty URL and details, `latest`, a model twice."""
    listed = alpha.get("/v2/lm/deployments").json()["resources"]
    spellings = {tuple(d["details"]["resources"]) for d in listed}

    assert {("backendDetails",), ("backendDetails", "backend_details")} == spellings
    assert 1 == sum("executableId" not in d for d in listed)
    assert {"RUNNING", "PENDING", "STOPPED"} == {d["status"] for d in listed}
    assert [""] == [d["deploymentUrl"] for d in listed if d["status"] == "PENDING"]
    assert [{}] == [
        d["details"]["resources"]["backendDetails"] for d in listed if d["scenarioId"] == "orchestration"
    ]
    models = [d["details"]["resources"]["backendDetails"].get("model", {}) for d in listed]
    assert 2 == sum(m.get("name") == "gpt-5" for m in models)
    assert "latest" in {m.get("version") for m in models}


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"status": "RUNNING"}, len(RUNNING)),
        ({"scenarioId": "orchestration"}, 1),
        ({"executableIds": "aicore-mistralai,aicore-opensource"}, 2),
        (
            {"status": "RUNNING", "scenarioId": "foundation-models", "executableIds": "azure-openai"},
            len(ON_AZURE),
        ),
        ({"configurationId": "unknown"}, 0),
    ],
)
def test_filters_narrow_the_list(alpha: Tenant, parameters: dict[str, str], count: int) -> None:
    """In the list, and in its count."""
    listed = alpha.get("/v2/lm/deployments", **parameters).json()

    assert (count, count) == (listed["count"], len(listed["resources"]))
    assert str(count) == alpha.get("/v2/lm/deployments/$count", **parameters).text


def test_pages_cover_the_list(alpha: Tenant) -> None:
    """`count` is the number of all; `$top` and `$skip` cut."""
    skips = (0, ALL - 2, ALL)
    pages = [alpha.get("/v2/lm/deployments", **{"$top": 4, "$skip": skip}).json() for skip in skips]

    assert [4, 2, 0] == [len(page["resources"]) for page in pages]
    assert {ALL} == {page["count"] for page in pages}


def test_select_leaves_the_status(alpha: Tenant) -> None:
    """`$select=status`."""
    assert {"id", "status"} == set(
        alpha.get("/v2/lm/deployments", **{"$select": "status"}).json()["resources"][0]
    )


@pytest.mark.parametrize("parameters", [{"$top": "0"}, {"$top": "x"}, {"status": "GREEN"}, {"$select": "id"}])
def test_senseless_queries_are_refused(alpha: Tenant, parameters: dict[str, str]) -> None:
    """400 in the AI API's shape (wire §3.6)."""
    answer = alpha.get("/v2/lm/deployments", **parameters)

    assert (400, {"code", "message", "requestId", "target", "details"}) == (
        answer.status_code,
        set(answer.json()["error"]),
    )


def test_a_configuration_tells_what_the_deployment_hides(alpha: Tenant) -> None:
    """The model and the executable of a deployment that lists none (wire §3.2)."""
    listed = alpha.get("/v2/lm/deployments").json()["resources"]
    bare = next(d for d in listed if "executableId" not in d)
    configuration = alpha.get(f"/v2/lm/configurations/{bare['configurationId']}").json()

    assert "azure-openai" == configuration["executableId"]
    assert {"key": "modelName", "value": "gpt-5-mini"} in configuration["parameterBindings"]


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/v2/lm/configurations", ALL),
        ("/v2/lm/scenarios", 2),
        ("/v2/lm/scenarios/foundation-models/models", len(MODELS)),
        ("/v2/lm/scenarios/foundation-models/executables", len(EXECUTABLES)),
        ("/v2/lm/scenarios/orchestration/executables", 1),
        ("/v2/admin/resourceGroups", 1),
    ],
)
def test_lists_have_count_and_resources(alpha: Tenant, path: str, count: int) -> None:
    """Every list of wire §3."""
    answer = alpha.get(path).json()

    assert (count, count) == (answer["count"], len(answer["resources"]))


def test_quota_is_a_bare_list(alpha: Tenant) -> None:
    """Wire §3.5."""
    assert "requestPerMinute" == alpha.get("/v2/admin/quota/model").json()[0]["quotaDetails"][0]["unit"]


@pytest.mark.parametrize(
    "path", ["/v2/lm/deployments/d000", "/v2/lm/nothing", "/", "/v2/lm/scenarios/x/models"]
)
def test_what_is_not_there_is_404(alpha: Tenant, path: str) -> None:
    """In the AI API's shape."""
    answer = alpha.get(path)

    assert (404, True) == (answer.status_code, "error" in answer.json())


@pytest.mark.parametrize("group", [None, "other"])
def test_a_wrong_or_forgotten_resource_group_is_denied(alpha: Tenant, group: str | None) -> None:
    """403 in plain text."""
    headers = {"authorization": alpha.client.headers["authorization"]} | (
        {"ai-resource-group": group} if group else {}
    )
    answer = httpx.get(f"{alpha.sim.base_url}/v2/lm/deployments", headers=headers)

    assert (403, "RBAC: access denied", "text/plain") == (
        answer.status_code,
        answer.text,
        answer.headers["content-type"],
    )


def test_a_tenant_sees_its_own_deployments(alpha: Tenant, beta: Tenant) -> None:
    """No id is shared."""
    lists = [{d["id"] for d in t.get("/v2/lm/deployments").json()["resources"]} for t in (alpha, beta)]

    assert not lists[0] & lists[1]


@pytest.mark.e2e
def test_a_page_limit_beats_top() -> None:
    """`--page-limit` makes every client page."""
    with Simulator("--page-limit", "3") as sim, Tenant(sim) as tenant:
        page = tenant.get("/v2/lm/deployments", **{"$top": 1000}).json()

    assert (ALL, 3) == (page["count"], len(page["resources"]))
