"""Reading the deployment list with all its oddities (wire §3.2), and configured deployments."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from services import control_plane
from services.causes import cause_of
from services.credentials import Credential
from services.deployments import Deployment, Discovery, HalfRead, static_deployments
from services.errors import (
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamMissing,
    UpstreamRefused,
)
from services.options import SubAccountOptions, Target
from tests.services.fakes import SkippingClock, credential

API = "https://api.example/v2"
ACCOUNT = SubAccountOptions("main", resource_group="team-a")


def backend(name: str, version: str = "latest") -> dict[str, Any]:
    """The details' inner object, in which the model is named."""
    return {"model": {"name": name, "version": version}}


def entry(identifier: str, model: str | None = "gpt-5", **fields: Any) -> dict[str, Any]:
    """One entry as newer tenants answer it: both spellings, every field."""
    both = {"backendDetails": backend(model), "backend_details": backend(model)} if model else {}
    return {
        "id": identifier,
        "deploymentUrl": f"{API}/inference/deployments/{identifier}",
        "configurationId": f"c-{identifier}",
        "configurationName": "not-a-model-name",
        "executableId": "azure-openai",
        "scenarioId": "foundation-models",
        "status": "RUNNING",
        "statusMessage": None,
        "ttl": None,
        "details": {"scaling": {"backendDetails": {}, "backend_details": {}}, "resources": both},
    } | fields


class FakeTokens:
    """Hands out t1, t2, …; a new one after each invalidation."""

    def __init__(self, *, renews: bool = True) -> None:
        self.number = 1
        self.renews = renews

    async def get(self) -> str:
        """Return the current token."""
        return f"t{self.number}"

    def invalidate(self, token: str) -> bool:
        """Renew it, if this fake does."""
        if self.renews and token == f"t{self.number}":
            self.number += 1
        return self.renews


class FakeAPI:
    """A management plane with these deployments and configurations."""

    def __init__(self, entries: list[Any] = (), **configurations: Any) -> None:  # type: ignore[assignment]
        self.entries = list(entries)
        self.configurations = configurations
        self.requests: list[httpx.Request] = []
        self.tokens = FakeTokens()
        self.refuses: set[str] = set()
        self.count: Callable[[int, int], int | None] = lambda total, page: total
        self.largest_page = 100_000
        self.ignores_skip = False
        self.reply: httpx.Response | None = None
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer one request as the management plane would."""
        self.requests.append(request)
        if request.headers["authorization"].removeprefix("Bearer ") in self.refuses:
            return httpx.Response(401, text="Missing Tenant Id")
        if self.reply is not None:
            return httpx.Response(
                self.reply.status_code, headers=self.reply.headers, content=self.reply.content
            )
        if "/lm/configurations/" in request.url.path:
            return self.configuration(request.url.path.rsplit("/", 1)[1])
        top, skip = (int(request.url.params[name]) for name in ("$top", "$skip"))
        skip = 0 if self.ignores_skip else skip
        page = self.entries[skip : skip + min(top, self.largest_page)]
        return httpx.Response(
            200, json={"count": self.count(len(self.entries), len(page)), "resources": page}
        )

    def configuration(self, identifier: str) -> httpx.Response:
        """Answer for one configuration."""
        found = self.configurations.get(identifier.replace("-", "_"))
        return httpx.Response(404, text="gone") if found is None else httpx.Response(200, json=found)

    def discovery(self, *, page_size: int = 1000, access: Credential | None = None) -> Discovery:
        """Return a discovery of this plane."""
        return Discovery(
            ACCOUNT,
            access or credential(),
            tokens=self.tokens,
            http=self.client,
            page_size=page_size,
            sleep=SkippingClock().sleep,
            jitter=lambda: 0.0,
        )

    async def read(self, **options: Any) -> tuple[Deployment, ...]:
        """Discover once."""
        return (await self.discovery(**options).read()).deployments

    async def notes(self) -> str:
        """Discover once, for the remarks."""
        return "; ".join((await self.discovery().read()).notes)

    def paths(self) -> list[str]:
        """Return the paths that were asked."""
        return [request.url.path.removeprefix("/v2/lm/") for request in self.requests]


@pytest.fixture
async def api() -> AsyncIterator[Callable[..., FakeAPI]]:
    """Make fake management planes, and close them."""
    async with contextlib.AsyncExitStack() as stack:

        def make(entries: list[Any] = (), **configurations: Any) -> FakeAPI:  # type: ignore[assignment]
            fake = FakeAPI(entries, **configurations)
            stack.push_async_callback(fake.client.aclose)
            return fake

        yield make


async def test_a_running_deployment_is_read_whole(api) -> None:
    """Every field that routing needs is taken over; the URL loses its trailing slash."""
    fake = api([entry("d-0001", deploymentUrl=f"{API}/inference/deployments/d-0001/")])
    wanted = Deployment(
        id="d-0001",
        url=f"{API}/inference/deployments/d-0001",
        sub_account="main",
        resource_group="team-a",
        executable="azure-openai",
        model="gpt-5",
        version="latest",
    )

    assert (wanted,) == await fake.read()
    assert fake.paths() == ["deployments"]


async def test_the_headers_that_tenants_need(api) -> None:
    """Bearer token, resource group, tenant and client type (trap 49)."""
    fake = api()
    await fake.read()
    headers = fake.requests[0].headers

    assert [
        headers[name] for name in ("authorization", "ai-resource-group", "ai-tenant-id", "ai-client-type")
    ] == ["Bearer t1", "team-a", "tenant-1", "aicore-gateway"]


async def test_no_tenant_header_without_a_tenant(api) -> None:
    """A service key without identityzoneid sends none (trap 49)."""
    fake = api()
    await fake.read(access=credential(tenant_id=""))

    assert "ai-tenant-id" not in fake.requests[0].headers


@pytest.mark.parametrize("spelling", ["backendDetails", "backend_details"])
async def test_either_spelling_of_the_details_will_do(api, spelling: str) -> None:
    """Older answers know only one; the other may be missing, null or empty (trap 47)."""
    other = {"backendDetails": "backend_details", "backend_details": "backendDetails"}[spelling]
    shapes = [{spelling: backend("gpt-5")}, {spelling: backend("gpt-5"), other: {}}]
    shapes += [{spelling: backend("gpt-5"), other: None}, {spelling: backend("gpt-5"), other: {"model": {}}}]
    fake = api([entry(f"d-{n:04}", details={"resources": shape}) for n, shape in enumerate(shapes)])

    assert [deployment.model for deployment in await fake.read()] == ["gpt-5"] * 4
    assert fake.paths() == ["deployments"]


async def test_only_running_deployments_count(api) -> None:
    """Every other state is left out, and remarked (trap 47)."""
    states = ["PENDING", "STOPPED", "DEAD", "STOPPING", "UNKNOWN", "COMPLETED", None]
    fake = api([entry("d-run1"), *(entry(f"d-{n:04}", status=state) for n, state in enumerate(states))])

    assert [deployment.id for deployment in await fake.read()] == ["d-run1"]
    assert "2 UNKNOWN" in await fake.notes()


@pytest.mark.parametrize("url", ["", None, "ftp://x", "https://", "https://[", "http://h:99999999/", "/v2"])
async def test_a_deployment_without_a_url_is_skipped(api, url: str | None) -> None:
    """It cannot be called yet, and says so."""
    fake = api([entry("d-0001", deploymentUrl=url)])

    assert await fake.read() == ()
    assert "d-0001 runs but has no URL" in await fake.notes()


async def test_a_missing_executable_is_read_from_the_configuration(api) -> None:
    """The configuration says it, and is asked only once for all refreshes."""
    fake = api(
        [entry("d-0001", executableId=None)],
        c_d_0001={"executableId": "aws-bedrock", "parameterBindings": []},
    )
    discovery = fake.discovery()
    found = [await discovery.read() for _ in range(3)]

    assert [one.deployments[0].executable for one in found] == ["aws-bedrock"] * 3
    assert fake.paths().count("configurations/c-d-0001") == 1


async def test_a_missing_model_is_read_from_the_configuration(api) -> None:
    """From the parameter modelName; the configuration's own name is never a model's."""
    bindings = [{"key": "modelVersion", "value": "1"}, {"key": "modelName", "value": "gpt-5-mini"}]
    fake = api([entry("d-0001", None)], c_d_0001={"parameterBindings": bindings})

    assert [(one.model, one.executable) for one in await fake.read()] == [("gpt-5-mini", "azure-openai")]


async def test_the_running_configuration_counts(api) -> None:
    """During an update the new configuration does not run yet."""
    old = {"parameterBindings": [{"key": "modelName", "value": "old"}]}
    fake = api([entry("d-0001", None, latestRunningConfigurationId="c-run")], c_run=old)

    assert [one.model for one in await fake.read()] == ["old"]


async def test_an_unreadable_configuration_leaves_the_model_usable(api) -> None:
    """The executable stays unknown, with a note, and is asked for again next time."""
    fake = api([entry("d-0001", executableId="")])
    discovery = fake.discovery()
    first = await discovery.read()
    fake.configurations["c_d_0001"] = {"executableId": "azure-openai"}
    second = await discovery.read()

    assert [found.deployments[0].executable for found in (first, second)] == ["", "azure-openai"]
    assert "configuration cannot be read" in first.notes[0]


async def test_no_name_is_invented(api) -> None:
    """A deployment whose model nobody names is left out: the configuration's name is no substitute
    (trap 47)."""
    fake = api([entry("d-0001", None)], c_d_0001={"executableId": "my-own", "parameterBindings": None})

    assert await fake.read() == ()
    assert "d-0001 names no model" in await fake.notes()


@pytest.mark.parametrize(
    "fields", [{"executableId": "orchestration"}, {"executableId": None, "scenarioId": "orchestration"}]
)
async def test_orchestration_is_kept_without_a_model(api, fields: dict[str, Any]) -> None:
    """Its details are empty objects, and no configuration needs to be asked (trap 47)."""
    empty = {"scaling": {"backendDetails": {}}, "resources": {"backendDetails": {}, "backend_details": {}}}
    fake = api([entry("d-orch", None, details=empty, **fields)])

    assert [(one.executable, one.model) for one in await fake.read()] == [("orchestration", "")]
    assert fake.paths() == ["deployments"]


@pytest.mark.parametrize(
    ("fields", "started_at"),
    [
        ({"startTime": "2026-03-03T12:03:06Z", "createdAt": "2026-03-03T12:02:12Z"}, "2026-03-03T12:03:06Z"),
        ({"startTime": None, "createdAt": "2026-03-03T12:02:12Z"}, "2026-03-03T12:02:12Z"),
        ({}, ""),
    ],
)
async def test_when_a_deployment_began_is_kept(api, fields: dict[str, Any], started_at: str) -> None:
    """Its start, or its creation where the start is not told (wire §3.2)."""
    [found] = await api([entry("d-0001", **fields)]).read()

    assert started_at == found.started_at


async def test_one_odd_entry_does_not_hide_the_others(api) -> None:
    """What cannot be read is remarked."""
    fake = api([{"id": 7}, "text", entry("d-0001"), {"status": "RUNNING"}])

    assert [one.id for one in await fake.read()] == ["d-0001"]
    assert (await fake.notes()).count("cannot be read") == 3


async def test_notes_are_bounded(api) -> None:
    """A thousand oddities are a number, not a thousand lines."""
    fake = api([{"id": n} for n in range(1000)] + [entry("d-0001")])

    assert (
        (await fake.discovery().read()).notes[-1],
        len((await fake.discovery().read()).notes),
    ) == ("and 980 more", 21)


@pytest.mark.parametrize("total", [0, 1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("counts", ["whole", "page", "none"])
async def test_every_page_is_read(api, total: int, counts: str) -> None:
    """Whether the count is the whole's, the page's or absent (trap 47)."""
    fake = api([entry(f"d-{n:04}") for n in range(total)])
    fake.count = {"whole": lambda t, p: t, "page": lambda t, p: p, "none": lambda t, p: None}[counts]

    assert total == len(await fake.read(page_size=2))


async def test_a_server_may_give_smaller_pages_than_asked(api) -> None:
    """The count says that there is more."""
    fake = api([entry(f"d-{n:04}") for n in range(7)])
    fake.largest_page = 3

    assert len(await fake.read(page_size=1000)) == 7


async def test_paging_stops_at_the_count(api) -> None:
    """No request for an empty page when the whole is known to be read."""
    fake = api([entry(f"d-{n:04}") for n in range(4)])
    await fake.read(page_size=2)

    assert [request.url.params["$skip"] for request in fake.requests] == ["0", "2"]


async def test_paging_ends_when_nothing_new_comes(api) -> None:
    """A server that ignores $skip is not asked for ever; what it promised and did not bring is a failure,
    since deployments that are missing may still run."""
    fake = api([entry(f"d-{n:04}") for n in range(2)])
    fake.ignores_skip, fake.count = True, lambda total, page: 10**9

    with pytest.raises(HalfRead, match="promises 1000000000 and brings 2") as caught:
        await fake.read(page_size=2)
    assert (2, False, 2) == (
        len(caught.value.found.deployments),
        caught.value.found.whole,
        len(fake.requests),
    )


async def test_a_loop_of_pages_ends(api) -> None:
    """Pages that come round again bring nothing new."""
    fake = api([entry(f"d-{n:04}") for n in range(4)])
    fake.count = lambda total, page: None

    def answer(request: httpx.Request) -> httpx.Response:
        skip = int(request.url.params["$skip"]) % 4
        fake.requests.append(request)
        return httpx.Response(200, json={"resources": fake.entries[skip : skip + 2]})

    fake.client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    found = await fake.read(page_size=2)
    await fake.client.aclose()

    assert (4, 3) == (len(found), len(fake.requests))


async def test_a_deployment_listed_twice_counts_once(api) -> None:
    """On one page or on two."""
    fake = api([entry("d-0001"), entry("d-0001", "gpt-4o"), entry("d-0002"), entry("d-0001")])

    assert ["d-0001", "d-0002"] == [one.id for one in await fake.read(page_size=3)]


@pytest.mark.parametrize(
    "broken",
    [
        httpx.Response(500),
        httpx.Response(200, text="<html>login</html>", headers={"content-type": "text/html"}),
        httpx.Response(429, headers={"retry-after": "7"}),
        httpx.ConnectError("gone"),
    ],
    ids=str,
)
async def test_a_page_that_fails_leaves_the_ones_before(api, broken: httpx.Response | Exception) -> None:
    """They are handed over with the failure, and are not taken for the whole."""
    fake = api([entry(f"d-{n:04}") for n in range(4)])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params["$skip"] == "0":
            return fake.answer(request)
        if isinstance(broken, Exception):
            raise broken
        return httpx.Response(broken.status_code, headers=broken.headers, content=broken.content)

    fake.client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    with pytest.raises(HalfRead) as caught:
        await fake.read(page_size=2)
    await fake.client.aclose()
    told = 7.0 if isinstance(broken, httpx.Response) and broken.status_code == 429 else None

    assert ["d-0000", "d-0001"] == [one.id for one in caught.value.found.deployments]
    assert (False, told) == (caught.value.found.whole, caught.value.retry_after)
    assert cause_of(caught.value) == cause_of(caught.value.__cause__)


async def test_a_list_of_nothing_that_promises_something(api) -> None:
    """It is a failure, not an empty tenant."""
    fake = api()
    fake.reply = httpx.Response(200, json={"count": 7, "resources": []})

    with pytest.raises(UpstreamBroken, match="promises 7 and brings 0"):
        await fake.read()


async def test_an_entry_that_cannot_be_read_keeps_its_id(api) -> None:
    """So that nobody takes the deployment for gone; an id that cannot stand in a head is none."""
    odd = [{"id": "d-odd1", "status": 7}, {"id": "d\r\nx: y", "status": "RUNNING"}, {"id": ""}, {"id": "ü"}]
    found = await api([*odd, entry("d-0001")]).discovery().read()

    assert (frozenset({"d-odd1"}), ["d-0001"]) == (found.unclear, [one.id for one in found.deployments])


async def test_a_page_of_oddities_is_not_the_end(api) -> None:
    """The next one is read all the same."""
    fake = api([{"id": 1}, {"id": 2}, entry("d-0001")])

    assert ["d-0001"] == [one.id for one in await fake.read(page_size=2)]


async def test_a_slow_list_is_given_up(api) -> None:
    """However many pages and configurations there are, one discovery has a bound."""
    fake = api([entry(f"d-{n:04}") for n in range(4)])

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params["$skip"] != "0":
            await asyncio.Event().wait()
        return fake.answer(request)

    fake.client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    discovery = Discovery(
        ACCOUNT, credential(), tokens=fake.tokens, http=fake.client, page_size=2, read_seconds=0.05
    )
    with pytest.raises(HalfRead, match=r"discovery took more than 0\.05 s") as caught:
        await discovery.read()
    await fake.client.aclose()

    assert 2 == len(caught.value.found.deployments)


async def test_configurations_that_fail_are_not_all_asked_for(api) -> None:
    """After the first failure the rest waits for the next round; deployments that need none are there, and
    of those that need one it is known that they are there."""
    fake = api([entry("d-plain"), *(entry(f"d-{n:04}", None) for n in range(100))])

    def answer(request: httpx.Request) -> httpx.Response:
        if "configurations" in request.url.path:
            fake.requests.append(request)
            return httpx.Response(400 if request.url.path.endswith("d-0000") else 502)
        return fake.answer(request)

    fake.client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    with pytest.raises(HalfRead) as caught:
        await fake.read()
    await fake.client.aclose()
    found = caught.value.found
    tries = 1 + control_plane.MAX_RETRIES

    assert (["d-plain"], True, 100) == (
        [one.id for one in found.deployments],
        found.whole,
        len(found.unclear),
    )
    assert len(fake.requests) <= 2 + 2 * 8 * tries


async def test_a_configuration_is_asked_for_by_its_id_only(api) -> None:
    """What the list says is data, not a path."""
    fake = api([entry("d-0001", None, configurationId="../../admin?x=1")])
    await fake.discovery().read()

    assert b"/v2/lm/configurations/..%2F..%2Fadmin%3Fx%3D1" == fake.requests[1].url.raw_path


async def test_paging_is_bounded(api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless list is cut and remarked."""
    monkeypatch.setattr("services.deployments.MAX_PAGES", 3)
    fake = api([entry(f"d-{n:04}") for n in range(10)])
    found = await fake.discovery(page_size=1).read()

    assert (len(found.deployments), "more than 3 pages" in found.notes[0]) == (3, True)


async def test_a_refused_token_is_replaced_once(api) -> None:
    """A 401 costs one new token and one more request."""
    fake = api([entry("d-0001")])
    fake.refuses = {"t1"}

    assert len(await fake.read()) == 1
    assert [request.headers["authorization"] for request in fake.requests] == ["Bearer t1", "Bearer t2"]


async def test_two_refused_tokens_are_denied(api) -> None:
    """The second 401 is final."""
    fake = api([entry("d-0001")])
    fake.refuses = {"t1", "t2", "t3"}

    with pytest.raises(UpstreamDenied, match="a new one too"):
        await fake.read()
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (400, UpstreamRefused, "team-a"),
        (403, UpstreamDenied, "resource group 'team-a' exists and that the service key is entitled"),
        (404, UpstreamMissing, "AI_API_URL"),
        (429, UpstreamLimited, "rate limit"),
        (500, UpstreamFailed, "500"),
        (302, UpstreamBroken, "302"),
    ],
)
async def test_refusals_say_what_to_do(api, status: int, kind: type[Exception], says: str) -> None:
    """Each status has its error, the upstream's words, and advice where there is any."""
    fake = api()
    fake.reply = httpx.Response(status, text="RBAC: access denied")

    with pytest.raises(kind) as caught:
        await fake.read()
    assert says in str(caught.value)
    assert "RBAC: access denied" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    ['{"error":{"code":"1","message":"no such group"}}', '{"message":"no such group"}', "no such group"],
)
async def test_the_upstreams_message_is_found(api, body: str) -> None:
    """In any of the shapes that AI Core's services answer."""
    fake = api()
    fake.reply = httpx.Response(403, text=body)

    with pytest.raises(UpstreamDenied, match=r"answered 403 \(no such group\)"):
        await fake.read()


async def test_an_echoed_token_is_cut_out(api) -> None:
    """An upstream that repeats the bearer token does not get it into our log."""
    fake = api()
    fake.reply = httpx.Response(403, text="bad token t1 here")

    with pytest.raises(UpstreamDenied) as caught:
        await fake.read()
    assert "bad token … here" in str(caught.value)
    assert caught.value.public == "The deployments of sub-account main cannot be read."


@pytest.mark.parametrize(
    "body", [b"<html>", b"", b"[]", b"{}", b'{"count":0}', b'{"resources":null}', b"\xff"]
)
async def test_a_list_that_is_none(api, body: bytes) -> None:
    """Only a JSON object with resources is a list; anything else must not pass for an empty one."""
    fake = api()
    fake.reply = httpx.Response(200, content=body, headers={"content-type": "text/html; charset=utf-8"})

    with pytest.raises(UpstreamBroken, match="cannot be read, the answer is text/html"):
        await fake.read()


async def test_configurations_are_read_side_by_side(api) -> None:
    """Forty unknown deployments do not queue one behind the other, nor all at once."""
    fake = api([entry(f"d-{n:04}", executableId=None) for n in range(40)])
    running, most = 0, 0

    async def slow(request: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0)
        running -= 1
        return fake.answer(request)

    fake.client = httpx.AsyncClient(transport=httpx.MockTransport(slow))
    await fake.read()
    await fake.client.aclose()

    assert 1 < most <= 8


async def test_a_broken_api_url_is_reported() -> None:
    """It is named, not a crash."""
    fake = FakeAPI()
    with pytest.raises(UpstreamBroken, match="not a URL"):
        await fake.read(access=credential(api_url="https://api.example:port/v2"))
    await fake.client.aclose()


def test_configured_urls_become_deployments() -> None:
    """The id is the URL's; the model stays open until somebody knows it."""
    account = replace(
        ACCOUNT, deployment_models={"gpt-5": (Target(f"{API}/inference/deployments/d-0001/", 2.0),)}
    )
    wanted = Deployment("d-0001", f"{API}/inference/deployments/d-0001", "main", "team-a", weight=2.0)

    assert {"gpt-5": (wanted,)} == static_deployments(account, API)


def test_configured_ids_get_the_apis_url() -> None:
    """As the AI API builds it."""
    account = replace(ACCOUNT, deployment_ids={"gpt-5": (Target("d-0001"),)})

    assert f"{API}/inference/deployments/d-0001" == static_deployments(account, API)["gpt-5"][0].url


def test_a_deployment_listed_twice_has_a_double_share() -> None:
    """By URL and by id it is the same one."""
    url = f"{API}/inference/deployments/d-0001"
    account = replace(
        ACCOUNT,
        deployment_models={"m": (Target(url), Target(url + "/"))},
        deployment_ids={"m": (Target("d-0001", 0.5),)},
    )

    assert [(one.id, one.weight) for one in static_deployments(account, API)["m"]] == [("d-0001", 2.5)]


def test_a_url_of_another_form_is_known_by_its_last_part() -> None:
    """A mock or a private endpoint needs an id too."""
    account = replace(ACCOUNT, deployment_models={"m": (Target("http://127.0.0.1:9/llm/one"),)})

    assert static_deployments(account, API)["m"][0].id == "one"
