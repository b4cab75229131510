"""Discovery in the background: what is known stays known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from services.deployments import AccountDeployments, Deployment, Found, HalfRead
from services.errors import (
    CredentialError,
    UpstreamDenied,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamUnreachable,
)
from services.options import SubAccountOptions, Target
from services.watch import DeploymentWatch, NameFilter
from tests.services.fakes import FakeClock, settle

API = "https://api.example/v2"
ACCOUNT = SubAccountOptions("main")
STATIC = replace(ACCOUNT, deployment_ids={"sonnet": (Target("d-0001"),)})


def running(identifier: str, model: str = "gpt-5", executable: str = "azure-openai") -> Deployment:
    """A discovered deployment."""
    url = f"{API}/inference/deployments/{identifier}"
    return Deployment(identifier, url, "main", "default", executable, model, "latest")


class FakeReader:
    """Brings what it is told to; `gate` holds it back."""

    def __init__(self, *found: Deployment) -> None:
        self.result: tuple[Deployment, ...] | Found | Exception = found
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> Found:
        """Bring it."""
        self.reads += 1
        await self.gate.wait()
        if isinstance(self.result, Exception):
            raise self.result
        if isinstance(self.result, Found):
            return self.result
        return Found(self.result, ("not running: 1 PENDING",))


class Watched:
    """A watch with its clock and everything it published."""

    def __init__(
        self,
        *accounts: tuple[SubAccountOptions, FakeReader | None],
        first_seconds: float = 5.0,
        refresh_seconds: float = 300,
    ) -> None:
        self.clock = FakeClock()
        self.published: list[Mapping[str, AccountDeployments]] = []
        self.watch = DeploymentWatch(
            [(options, API, reader) for options, reader in accounts],
            on_change=self.published.append,
            refresh_seconds=refresh_seconds,
            first_seconds=first_seconds,
            clock=self.clock,
            sleep=self.clock.sleep,
            jitter=lambda: 0.5,
        )

    def ids(self, name: str = "main") -> list[str]:
        """The discovered deployments of a sub-account."""
        return [one.id for one in self.watch.snapshot()[name].discovered]


@pytest.fixture
async def watching() -> AsyncIterator[object]:
    """Start watches, and close them."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*accounts: tuple[SubAccountOptions, FakeReader | None], **options: float) -> Watched:
            watched = Watched(*accounts, **options)
            stack.push_async_callback(watched.watch.close)
            await watched.watch.start()
            return watched

        yield start


async def test_start_brings_what_is_there(watching) -> None:
    """After the start the first list is known and published."""
    watched = await watching((ACCOUNT, FakeReader(running("d-0001"))))

    assert watched.ids() == ["d-0001"]
    assert [len(known["main"].discovered) for known in watched.published] == [0, 1]


async def test_a_hanging_tenant_does_not_hold_up_the_start(watching) -> None:
    """The configured deployments are there; the late answer is taken over when it comes."""
    reader = FakeReader(running("d-0001"))
    reader.gate.clear()
    watched = await watching((STATIC, reader), first_seconds=0.01)
    before = [len(watched.published[0]["main"].configured), *watched.ids()]
    reader.gate.set()
    await settle()

    assert before == [1]
    assert watched.ids() == ["d-0001"]
    assert reader.reads == 1


async def test_sub_accounts_are_read_side_by_side(watching) -> None:
    """The second does not wait for the first, which hangs."""
    slow, quick = FakeReader(), FakeReader(running("d-0002"))
    slow.gate.clear()
    watched = await watching((ACCOUNT, slow), (replace(ACCOUNT, name="other"), quick), first_seconds=0.01)

    assert watched.ids("other") == ["d-0002"]


async def test_a_new_deployment_appears_at_the_next_round(watching) -> None:
    """Every refresh_seconds the list is read again."""
    reader = FakeReader(running("d-0001"))
    watched = await watching((ACCOUNT, reader))
    reader.result = (running("d-0001"), running("d-0002"))
    await watched.clock.advance(299)
    before = watched.ids()
    await watched.clock.advance(2)

    assert (before, watched.ids()) == (["d-0001"], ["d-0001", "d-0002"])


async def test_a_stopped_deployment_disappears(watching) -> None:
    """A good answer that lacks it is believed."""
    reader = FakeReader(running("d-0001"), running("d-0002"))
    watched = await watching((ACCOUNT, reader))
    reader.result = (running("d-0002"),)
    await watched.clock.advance(301)

    assert watched.ids() == ["d-0002"]


async def test_an_empty_list_after_a_full_one_is_believed_when_it_comes_again(watching) -> None:
    """The first time everything stays, the log says why, and it is read again five seconds later."""
    reader = FakeReader(running("d-0001"), running("d-0002"))
    watched = await watching((ACCOUNT, reader))
    reader.result = ()
    with capture_logs() as lines:
        await watched.clock.advance(301)
    doubted, state = watched.ids(), watched.watch.state()[0]
    await watched.clock.advance(5)

    assert (["d-0001", "d-0002"], []) == (doubted, watched.ids())
    assert (False, True, 1) == (state.ok, "suddenly empty" in lines[0]["error"], lines[0]["failures"])
    assert watched.watch.state()[0].ok


async def test_an_empty_list_between_full_ones_takes_nothing_away(watching) -> None:
    """Each time it must come twice in a row."""
    reader = FakeReader(running("d-0001"))
    watched = await watching((ACCOUNT, reader))
    for _ in range(3):
        reader.result = ()
        await watched.clock.advance(301)
        reader.result = (running("d-0001"),)
        await watched.clock.advance(5)

    assert (["d-0001"], 2) == (watched.ids(), len(watched.published))


async def test_half_a_list_adds_and_takes_nothing_away(watching) -> None:
    """What page one brought is used though page two failed; what page two had before stays."""
    reader = FakeReader(running("d-0001"), running("d-0003"))
    watched = await watching((ACCOUNT, reader))
    half = Found((running("d-0001", "gpt-4o"), running("d-0002")), ("a note",), whole=False)
    reader.result = HalfRead(half, UpstreamFailed("page two"))
    with capture_logs() as lines:
        await watched.clock.advance(301)
    failed = next(line["error"] for line in lines if line["event"] == "discovery_failed")

    assert ["d-0001", "d-0002", "d-0003"] == watched.ids()
    assert "gpt-4o" == watched.watch.snapshot()["main"].discovered[0].model
    assert (False, "page two") == (watched.watch.state()[0].ok, failed)


async def test_half_of_the_first_list_is_better_than_nothing(watching) -> None:
    """At the start there is nothing else to serve from."""
    reader = FakeReader()
    reader.result = HalfRead(Found((running("d-0001"),), whole=False), UpstreamFailed("page two"))

    assert ["d-0001"] == (await watching((ACCOUNT, reader))).ids()


async def test_a_deployment_that_has_become_unclear_stays(watching) -> None:
    """Its entry cannot be read any more; another one, which the list lacks, is gone."""
    reader = FakeReader(running("d-0001"), running("d-0002"), running("d-0003"))
    watched = await watching((ACCOUNT, reader))
    reader.result = Found((running("d-0003"),), unclear=frozenset({"d-0001", "d-0009"}))
    await watched.clock.advance(301)

    assert ["d-0001", "d-0003"] == watched.ids()


async def test_retry_after_is_honoured(watching) -> None:
    """Neither the next round nor a 404 of an upstream comes before the AI API allows it."""
    reader = FakeReader(running("d-0001"))
    watched = await watching((ACCOUNT, reader))
    reader.result = UpstreamLimited("too many", retry_after=60)
    await watched.clock.advance(301)
    asked = reader.reads
    await watched.clock.advance(50)
    watched.watch.refresh_soon("main")
    await settle()
    before = reader.reads
    await watched.clock.advance(10)

    assert (2, 2, 3) == (asked, before, reader.reads)


@pytest.mark.parametrize("refresh_seconds", [0, 300])
async def test_a_first_discovery_that_fails_late_is_repeated_soon(watching, refresh_seconds: float) -> None:
    """Though the start did not wait for it, and though none that worked would be repeated."""
    reader = FakeReader()
    reader.gate.clear()
    reader.result = UpstreamDenied("no")
    watched = await watching((ACCOUNT, reader), first_seconds=0.01, refresh_seconds=refresh_seconds)
    await watched.clock.advance(30)
    reader.gate.set()
    await settle()
    reader.result = (running("d-0001"),)
    await watched.clock.advance(6)

    assert ["d-0001"] == watched.ids()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (CredentialError("POST https://auth.example: down"), "no token"),
        (UpstreamUnreachable("GET https://api.example: down"), "the connection fails"),
        (UpstreamLimited("too many"), "its rate limit is reached"),
        (RuntimeError("a bug"), "an unforeseen failure"),
    ],
)
async def test_the_reason_names_no_address(watching, fault: Exception, reason: str) -> None:
    """It is for whoever may read the health report; the error's own text is for the log."""
    reader = FakeReader()
    reader.result = fault

    assert reason == (await watching((ACCOUNT, reader))).watch.state()[0].reason


async def test_nothing_is_published_when_nothing_changed(watching) -> None:
    """The catalog keeps its memory then."""
    watched = await watching((ACCOUNT, FakeReader(running("d-0001"))))
    await watched.clock.advance(3000)

    assert len(watched.published) == 2


@pytest.mark.parametrize("fault", [UpstreamDenied("RBAC: access denied"), RuntimeError("a bug")])
async def test_a_failure_takes_nothing_down(watching, fault: Exception) -> None:
    """Discovered and configured deployments stay, and the log says what is wrong (trap 47)."""
    reader = FakeReader(running("d-0001", "claude", "aws-bedrock"))
    watched = await watching((STATIC, reader))
    reader.result = fault
    with capture_logs() as lines:
        await watched.clock.advance(301)
    told = lines[0]

    assert watched.ids() == ["d-0001"]
    assert watched.watch.snapshot()["main"].configured["sonnet"][0].executable == "aws-bedrock"
    assert (watched.watch.state()[0].ok, str(fault) in told["error"], told["failures"]) == (False, True, 1)


async def test_one_tenants_failure_is_its_own(watching) -> None:
    """The other sub-account is fine."""
    broken = FakeReader()
    broken.result = UpstreamDenied("no")
    watched = await watching(
        (ACCOUNT, broken), (replace(ACCOUNT, name="other"), FakeReader(running("d-0002")))
    )

    assert [(state.name, state.ok) for state in watched.watch.state()] == [("main", False), ("other", True)]


async def test_after_a_failure_it_is_tried_again_soon(watching) -> None:
    """5, 10, 20 … seconds, until the usual pause is reached."""
    reader = FakeReader()
    reader.result = UpstreamDenied("no")
    watched = await watching((ACCOUNT, reader))
    await watched.clock.advance(2000)

    assert watched.clock.slept[:8] == [5, 10, 20, 40, 80, 160, 300, 300]


async def test_a_configured_deployment_learns_what_it_runs(watching) -> None:
    """Executable, model and version come from discovery by id; URL and weight stay."""
    options = replace(ACCOUNT, deployment_ids={"sonnet": (Target("d-0001", 3.0),)})
    watched = await watching(
        (options, FakeReader(running("d-0001", "anthropic--claude-4.5-sonnet", "aws-bedrock")))
    )
    known = watched.watch.snapshot()["main"].configured["sonnet"][0]

    assert (
        known.model,
        known.executable,
        known.version,
        known.weight,
    ) == ("anthropic--claude-4.5-sonnet", "aws-bedrock", "latest", 3.0)


async def test_a_configured_deployment_that_is_discovered_counts_once(watching) -> None:
    """Under however many names."""
    names = {"sonnet": (Target("d-0001"),), "other": (Target("d-0001"), Target("d-0003"))}
    reader = FakeReader(running("d-0001"), running("d-0002"))
    watched = await watching((replace(ACCOUNT, deployment_ids=names), reader))

    assert 3 == watched.watch.state()[0].deployments


async def test_what_was_learned_is_kept_when_the_deployment_stops(watching) -> None:
    """A configured deployment is never taken down, nor forgets its executable."""
    reader = FakeReader(running("d-0001", "claude", "aws-bedrock"))
    watched = await watching((STATIC, reader))
    reader.result = ()
    await watched.clock.advance(301)

    assert watched.watch.snapshot()["main"].configured["sonnet"][0].executable == "aws-bedrock"


async def test_a_404_leads_to_one_discovery(watching) -> None:
    """However many requests saw it, the list is read once."""
    reader = FakeReader(running("d-0001"))
    watched = await watching((ACCOUNT, reader))
    await watched.clock.advance(10)
    reader.gate.clear()
    for _ in range(50):
        watched.watch.refresh_soon("main")
        await settle()
    reader.gate.set()
    await settle()

    assert reader.reads == 2


async def test_404s_do_not_hammer_the_tenant(watching) -> None:
    """Moments after a discovery there is no other."""
    reader = FakeReader(running("d-0001"))
    watched = await watching((ACCOUNT, reader))

    watched.watch.refresh_soon("main")
    await settle()

    assert reader.reads == 1


async def test_without_discovery_only_the_configuration_counts(watching) -> None:
    """Nothing is read, and the sub-account is in order."""
    reader = FakeReader(running("d-0009"))
    watched = await watching((replace(STATIC, discover=False), reader))
    state = watched.watch.state()[0]

    assert (reader.reads, watched.ids(), state.ok, state.deployments) == (0, [], True, 1)
    watched.watch.refresh_soon("main")
    await settle()
    assert reader.reads == 0


async def test_state_before_the_first_answer(watching) -> None:
    """A tenant that has not answered yet is not in order."""
    reader = FakeReader()
    reader.gate.clear()
    state = (await watching((ACCOUNT, reader), first_seconds=0.01)).watch.state()[0]

    assert (state.ok, state.reason, state.since_success_seconds) == (False, None, None)


async def test_state_after_success(watching) -> None:
    """How long ago and how many; the log says what was left out."""
    with capture_logs() as lines:
        watched = await watching((STATIC, FakeReader(running("d-0001"), running("d-0002"))))
    await watched.clock.advance(60)
    state = watched.watch.state()[0]

    assert (True, 60, 2) == (state.ok, state.since_success_seconds, state.deployments)
    assert [("not running: 1 PENDING",)] == [line["left_out"] for line in lines]


async def test_close_ends_the_background_work(watching) -> None:
    """Nothing is read any more."""
    reader = FakeReader(running("d-0001"))
    watched = await watching((ACCOUNT, reader))
    await watched.watch.close()
    await watched.clock.advance(3000)

    assert reader.reads == 1


async def test_patterns_choose_among_the_discovered(watching) -> None:
    """Unwanted models do not appear; orchestration has no name to be judged by."""
    options = replace(ACCOUNT, include=("gpt-*", "orch*"), exclude=("*-nano",))
    found = [
        running("d-1", "gpt-5"),
        running("d-2", "gpt-5-nano"),
        running("d-3", "sonar"),
        running("d-4", "", "orchestration"),
    ]
    watched = await watching((options, FakeReader(*found)))

    assert watched.ids() == ["d-1", "d-4"]


async def test_expressions_choose_among_the_configured(watching) -> None:
    """model_filters of the older proxy."""
    options = replace(
        ACCOUNT,
        deployment_ids={"gpt-5": (Target("d-1"),), "sonnet": (Target("d-2"),)},
        exclude_filters=("^gpt",),
    )
    watched = await watching((options, None))

    assert list(watched.watch.snapshot()["main"].configured) == ["sonnet"]


@pytest.mark.parametrize(
    ("options", "name", "configured", "discovered"),
    [
        ({}, "gpt-5", True, True),
        ({"include": ("claude*",)}, "gpt-5", True, False),
        ({"exclude": ("gpt-*",)}, "gpt-5", True, False),
        ({"include_filters": ("gpt",)}, "my-gpt-5", True, True),
        ({"include_filters": ("^gpt",)}, "my-gpt-5", False, False),
        ({"include_filters": ("gpt",), "exclude_filters": ("5$",)}, "gpt-5", False, False),
        ({"include": ("GPT*",)}, "gpt-5", True, False),
    ],
)
def test_globs_are_for_discovered_names_and_expressions_for_all(
    options, name, configured, discovered
) -> None:
    """Include first, then exclude; expressions search anywhere in the name."""
    wanted = NameFilter(replace(ACCOUNT, **options))

    assert (configured, discovered) == (wanted.configured(name), wanted.discovered(name))
