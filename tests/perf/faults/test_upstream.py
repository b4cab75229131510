"""The raw upstream: strict as SAP AI Core, broken as its scenario says, and attentive to who leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from perf.faults import provoke
from perf.faults.forms import ANSWER
from perf.faults.scenarios import SCENARIOS, Case, Mode
from perf.faults.tenant import ACCOUNTS, Attempt, Record, deployments, resource_group
from perf.faults.upstream import Upstream

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on the pace."""
    monkeypatch.setattr(provoke, "TOKEN_SECONDS", 0.0)


BODIES: dict[str, Any] = {
    "gpt": {"messages": [{"role": "user", "content": "?"}]},
    "claude": {
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 9,
        "messages": [{"role": "user", "content": "?"}],
    },
}  # fmt: skip
CHAT = "chat/completions?api-version=2025-04-01-preview"


def case_of(scenario: str, mode: Mode = "whole") -> Case:
    """Chat completions from GPT."""
    return Case(next(one for one in SCENARIOS if one.id == scenario), "chat", "gpt", mode)


class Tenant:
    """A client of the upstream that holds its tokens."""

    def __init__(
        self, upstream: Upstream, client: httpx.AsyncClient, ids: dict[tuple[str, str], str]
    ) -> None:
        self.upstream, self.client, self.ids = upstream, client, ids

    async def headers(self, account: str = "one") -> dict[str, str]:
        """What every call needs."""
        key = self.upstream.service_key(account)
        form = {"client_id": key["clientid"], "client_secret": key["clientsecret"]}
        token = (await self.client.post("/oauth/token", data=form)).json()["access_token"]
        return {"authorization": f"Bearer {token}", "ai-resource-group": resource_group(account)}

    async def post(self, case: Case, route: str = "one", **changes: Any) -> httpx.Response:
        """Ask the case's deployment on a route."""
        model = case.fallback if route == "fallback" else case.model
        deployment = self.ids[route, model or ""]
        account = route if route in ACCOUNTS else "one"
        path = f"/v2/inference/deployments/{deployment}/{CHAT}"
        body = {**BODIES["gpt"], **changes}
        return await self.client.post(path, json=body, headers=await self.headers(account))


@asynccontextmanager
async def tenant(*cases: Case) -> AsyncIterator[Tenant]:
    found = deployments(cases)
    async with (
        Upstream(found, provoke.respond).running() as upstream,
        httpx.AsyncClient(base_url=upstream.base_url, trust_env=False) as client,
    ):
        yield Tenant(upstream, client, {(one.route, one.model): one.id for one in found})


async def test_a_wrong_secret_gets_no_token() -> None:
    """XSUAA's answer (wire §2.3)."""
    async with tenant() as here:
        answer = await here.client.post("/oauth/token", data={"client_id": "x", "client_secret": "y"})

    assert (401, "unauthorized") == (answer.status_code, answer.json()["error"])


async def test_each_sub_account_lists_its_own_deployments() -> None:
    """Two routes are two sub-accounts (wire §3.2)."""
    async with tenant(case_of("S04")) as here:
        pages = [
            (await here.client.get("/v2/lm/deployments", headers=await here.headers(account))).json()
            for account in ACCOUNTS
        ]
    names = [
        [one["details"]["resources"]["backendDetails"]["model"]["name"] for one in page["resources"]]
        for page in pages
    ]
    assert [["gpt-ok", "anthropic--claude-ok", "gpt-s04-chat-whole"], ["gpt-s04-chat-whole"]] == names


@pytest.mark.parametrize(
    ("status", "path", "model", "changes"),
    [
        (401, CHAT, "gpt", {"authorization": "Bearer nobody's"}),
        (403, CHAT, "gpt", {"ai-resource-group": "default"}),
        (404, "v1/chat", "gpt", {}),
        (400, "chat/completions", "gpt", {}),
        (200, CHAT, "gpt", {}),
        (200, "invoke", "claude", {}),
    ],
)
async def test_what_is_not_in_order_is_refused(
    status: int, path: str, model: str, changes: dict[str, str]
) -> None:
    """Token, resource group, sub-path and api-version are checked (wire §3, §4)."""
    async with tenant() as here:
        url = f"/v2/inference/deployments/d-ok-{model}/{path}"
        headers = {**await here.headers(), **changes}
        answer = await here.client.post(url, json=BODIES[model], headers=headers)

    assert status == answer.status_code


async def test_claude_refuses_model_and_stream_in_the_body() -> None:
    """The path says whether to stream (wire §4.3)."""
    async with tenant() as here:
        url = "/v2/inference/deployments/d-ok-claude/invoke"
        answer = await here.client.post(
            url, json={**BODIES["claude"], "stream": True}, headers=await here.headers()
        )

    assert (400, True) == (answer.status_code, "Extra inputs" in answer.text)


async def test_the_first_route_that_is_asked_is_the_broken_one() -> None:
    """Whichever a balancer takes first, the fault is met, and the other route is whole."""
    case = case_of("S04")
    async with tenant(case) as here:
        statuses = [(await here.post(case, route)).status_code for route in ("two", "one", "two")]
        record = here.upstream.records[case.model]

    assert ([503, 200, 503], "two", [1, 0, 2]) == (
        statuses, record.broken, [attempt.number for attempt in record.attempts],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scenario", "statuses"),
    [("S01", [429, 200]), ("S02", [429, 429, 429]), ("S03", [500, 200]), ("S12", [400]), ("S13", [400])],
)
async def test_refusals_come_as_often_as_the_scenario_says(scenario: str, statuses: list[int]) -> None:
    """Once, or always."""
    case = case_of(scenario)
    async with tenant(case) as here:
        answers = [await here.post(case) for _ in statuses]

    assert statuses == [answer.status_code for answer in answers]
    assert ("2" if scenario == "S01" else None) == answers[0].headers.get("retry-after")


async def test_a_reset_comes_before_any_byte() -> None:
    """No head, no end of stream: an error of the socket; the next try is answered."""
    case = case_of("S05")
    async with tenant(case) as here:
        with pytest.raises(httpx.ReadError):
            await here.post(case)

        assert ANSWER == (await here.post(case)).json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("mode", ["stream", "whole"])
async def test_a_cut_answer_has_no_proper_end(mode: Mode) -> None:
    """The chunked body lacks its last chunk, the whole one a third of its bytes."""
    case = case_of("S08", mode)
    async with tenant(case) as here:
        with pytest.raises(httpx.RemoteProtocolError):
            await here.post(case, stream=mode == "stream")

        assert "40 tokens" == here.upstream.records[case.model].attempts[0].did


async def test_a_fallback_that_is_sent_half_an_answer_refuses_it() -> None:
    """It takes no prefill, and says so (S14)."""
    case = case_of("S14", "stream")
    async with tenant(case) as here:
        with pytest.raises(httpx.RemoteProtocolError):
            await here.post(case, stream=True)
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "A gateway"}]
        answer = await here.post(case, "fallback", messages=turns)

    assert (400, "invalid_prefill") == (answer.status_code, answer.json()["error"]["code"])


async def test_leaving_is_noticed_at_once() -> None:
    """When the gateway closes its connection during a silence, the record says when."""
    case = case_of("S06")
    async with tenant(case) as here:
        headers = await here.headers()
        others = asyncio.all_tasks()
        here.client.timeout = httpx.Timeout(5, read=0.05)
        url = f"/v2/inference/deployments/{here.ids['one', case.model]}/{CHAT}"
        with pytest.raises(httpx.ReadTimeout):
            await here.client.post(url, json=BODIES["gpt"], headers=headers)
        await asyncio.wait(asyncio.all_tasks() - others, timeout=5)
        attempt = here.upstream.records[case.model].attempts[0]

    assert ("silence", True, None) == (attempt.did, attempt.left is not None, attempt.ended)


@pytest.mark.parametrize(("now", "since"), [(100.0, 0.0), (161.0, 61.0)])
def test_an_outage_counts_from_the_first_request(now: float, since: float) -> None:
    """So a late start does not shorten it (S15)."""
    record = Record()
    record.arrived("one", 100.0)
    record.arrived("fallback", 100.5)

    assert Attempt("one", now, number=2, since=since) == record.arrived("one", now)
