"""The router in front of every deployment: who is refused, how, and what is counted."""

from __future__ import annotations

import httpx
import pytest

from perf.simulator.launch import Simulator
from tests.perf.simulator.conftest import VERSION, Tenant, fetch_token


def test_answers_carry_the_ids_of_sap(alpha: Tenant) -> None:
    """The same UUID twice, and the milliseconds of the model (wire §3.1)."""
    headers = alpha.chat().headers

    assert headers["x-request-id"] == headers["ai-inference-id"]
    assert "0" == headers["x-upstream-service-time"]


def test_another_tenants_token_is_refused(alpha: Tenant, beta: Tenant) -> None:
    """400 `tenant not found` (wire §2.3)."""
    answer = beta.client.post(alpha.url("gpt-5") + "/chat/completions" + VERSION, json={})

    assert (400, "tenant not found") == (answer.status_code, answer.text)


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer nonsense"}])
def test_without_a_good_token_nothing_is_served(sim: Simulator, header: dict[str, str]) -> None:
    """401 in plain text."""
    url = sim.deployments("gpt-5")[0]["url"] + "/chat/completions" + VERSION
    answer = httpx.post(url, json={}, headers={"ai-resource-group": "default", **header})

    assert (401, "text/plain") == (answer.status_code, answer.headers["content-type"])


def test_an_unknown_deployment_is_404(alpha: Tenant) -> None:
    """With its id in the message (wire §3.6)."""
    answer = alpha.client.post("/v2/inference/deployments/d123/chat/completions", json={})

    assert (404, "Deployment ID <d123> not found") == (answer.status_code, answer.json()["error"]["message"])


def test_a_deployment_answers_once_it_runs(alpha: Tenant) -> None:
    """PENDING is 404; after it has turned RUNNING it serves; STOPPED is 503."""
    deployment = alpha.sim.deployments("gpt-5-nano")[0]["id"]
    url = f"/v2/inference/deployments/{deployment}/chat/completions{VERSION}"
    body = {"messages": [{"role": "user", "content": "hi"}]}
    statuses = [alpha.client.post(url, json=body).status_code]
    for status in ("RUNNING", "STOPPED", "PENDING"):
        alpha.sim.set_status(deployment, status)
        statuses.append(alpha.client.post(url, json=body).status_code)

    assert [404, 200, 503, 404] == statuses


@pytest.mark.parametrize(
    ("model", "subpath"),
    [("gpt-5", "v1/models"), ("mistralai--mistral-small", "embeddings"), (None, "completion")],
)
def test_other_subpaths_are_refused(alpha: Tenant, model: str | None, subpath: str) -> None:
    """Each executable has its allow-list (wire §4)."""
    url = next(d["url"] for d in alpha.sim.deployments() if d["model"] == model)
    answer = alpha.client.post(f"{url}/{subpath}", json={})

    assert (403, "Subpath not allowed") == (answer.status_code, answer.json()["error"]["message"])


def test_only_post_is_served(alpha: Tenant) -> None:
    """405 for a GET on a chat endpoint."""
    assert 405 == alpha.get(alpha.url("gpt-5") + "/chat/completions").status_code


def test_requests_are_counted_and_the_last_one_kept(alpha: Tenant) -> None:
    """What a test asserts on."""
    alpha.chat(said="echo: one")
    alpha.chat(said="echo: two")
    deployment = alpha.sim.deployments("gpt-5")[0]["id"]
    last = alpha.sim.last_request(deployment)

    assert 2 == alpha.sim.stats()["deployments"][deployment]["requests"]
    assert "echo: two" == last["body"]["messages"][0]["content"]
    assert "default" == last["headers"]["ai-resource-group"]


def test_token_fetches_are_counted(sim: Simulator) -> None:
    """For each tenant."""
    fetch_token(sim)
    fetch_token(sim, "beta")
    fetch_token(sim, "beta")

    assert {"alpha": 1, "beta": 2} == sim.stats()["token_fetches_by_tenant"]


def test_revoked_tokens_are_refused(alpha: Tenant) -> None:
    """From the next call on."""
    before = alpha.chat().status_code
    alpha.sim.revoke("alpha")

    assert (200, 401) == (before, alpha.chat().status_code)


@pytest.mark.e2e
def test_a_minute_has_so_many_requests() -> None:
    """`--rpm` counts all deployments of a model together, and says how long to wait."""
    with Simulator("--rpm", "1", "--tenants", "1") as sim, Tenant(sim) as tenant:
        answers = [tenant.chat("gpt-4.1"), tenant.chat("gpt-4.1"), tenant.chat("gpt-5")]

    # A minute may begin between the first two; then both pass.
    if [200, 200] != [a.status_code for a in answers[:2]]:
        assert [200, 429] == [a.status_code for a in answers[:2]]
        assert 1 <= int(answers[1].headers["retry-after"]) <= 60
    assert 200 == answers[2].status_code
