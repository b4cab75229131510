"""Callers who hang up: the upstream is closed at once, wherever the request is, and nothing stays behind."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from perf.simulator.launch import Simulator
from tests.e2e.asked import Asked
from tests.e2e.bodies import CHAT, chat, within
from tests.e2e.callers import (
    HOST,
    RawCaller,
    Way,
    accounts_with_unreachable,
    callers_left,
    counted,
    ends,
    full_backlog,
    left_counted,
    seconds_until,
    workers,
)
from tests.e2e.conftest import Stack
from tests.e2e.gateway import Gateway
from tests.e2e.nginx_server import nginx_server

pytestmark = pytest.mark.e2e

LIMIT = 0.2
"""Seconds from the caller's leaving to the end of the upstream's request."""
ROOM = 40
"""Requests that the gateway serves at once."""
PEEK = 1.0
ALONE = "gpt-5-mini"
"""Runs once: there is nobody else to ask."""
NARROW = "gpt-5.1"
"""Runs once, and takes one request at a time."""
UNREACHABLE = "gpt-4.1-nano"
"""Its only deployment does not accept connections."""
CLAUDE = "anthropic--claude-4.8-opus"
LONG = "[[tokens:2000]]"
WAYS = ["gateway", "nginx"]


@dataclass(frozen=True)
class Site:
    """A gateway, nginx before it and the tenant behind it."""

    stack: Stack
    ways: dict[str, Way]
    backlog: int
    """The port on which no connection is accepted."""
    callers: list[RawCaller] = field(default_factory=list)

    @property
    def tenant(self) -> Simulator:
        return self.stack.tenant

    @property
    def gateway(self) -> Gateway:
        return self.stack.gateway

    def stat(self, name: str) -> int:
        return int(self.tenant.stats()[name])

    @property
    def sent(self) -> int:
        """Requests that came upstream with a good token."""
        return self.stack.sent

    def call(
        self, way: str, body: dict[str, Any], path: str = CHAT, buffer: int | None = None, **heads: str
    ) -> RawCaller:
        self.callers.append(caller := RawCaller(self.ways[way], path, body, buffer=buffer, **heads))
        return caller


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("leaving")
    with ExitStack() as opened:
        tenant = opened.enter_context(Simulator(write_config=folder))
        backlog = opened.enter_context(full_backlog())
        extra = configured(folder / "config.json", backlog)
        gateway = opened.enter_context(Gateway(folder / "config.json", workers=2, extra=extra))
        nginx = opened.enter_context(nginx_server(folder / "nginx", f"{HOST}:{gateway.port}"))
        ways = {"gateway": Way.to(gateway), "nginx": Way.to(nginx)}
        yield Site(Stack(tenant, gateway), ways, backlog.getsockname()[1])


def configured(config: Path, listener: socket.socket) -> dict[str, Any]:
    return {
        "subAccounts": accounts_with_unreachable(config, UNREACHABLE, listener),
        "limits": {"in_flight": ROOM},
        "models": {NARROW: {"max_in_flight": 1}},
        "routing": {"cool_down_seconds": 0, "attempts": 10, "queue_seconds": 20},
        "timeouts": {"peek": PEEK, "heartbeat": 0.3},
    }


@pytest.fixture
def site(started: Site) -> Iterator[Site]:
    started.tenant.reset()
    yield started
    for caller in started.callers:
        caller.leave()
    started.callers.clear()
    assert within(3, lambda: started.stat("in_flight") == 0)


_numbers = itertools.count(1)


class Leaver:
    """A caller with an id, of whom afterwards everything has to be gone."""

    def __init__(self, site: Site, way: str, body: dict[str, Any], path: str = CHAT, **heads: str) -> None:
        self.id = f"leaver-{next(_numbers)}"
        self._site = site
        self.caller = site.call(way, body, path, None, x_request_id=self.id, **heads)

    def leave(self, closed: Callable[[], bool] | None = None) -> float:
        """Hang up, and return after how many seconds the claim was true; by default: nothing is upstream."""
        claim = closed or (lambda: self._site.stat("in_flight") == 0)
        return seconds_until(claim, since=self.caller.leave())

    @property
    def in_log(self) -> bool:
        """Whether the request's line is written."""
        return bool(ends(self._site.gateway, self.id))

    def trace(self) -> tuple[list[str], dict[str, int], bool]:
        """Return the log's codes for it, what is counted in flight, and whether the metrics agree."""
        gateway = self._site.gateway
        assert within(2, lambda: self.in_log)
        codes = [str(line.get("code")) for line in ends(gateway, self.id)]
        left = sum(line.get("code") == "caller_left" for line in gateway.requests())
        told = within(3, lambda: callers_left(gateway) == left)
        return codes, left_counted(gateway, self._site.tenant), told


GONE: tuple[list[str], dict[str, int], bool] = (["caller_left"], {}, True)


# --- phases in which the upstream has the request ---------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """Where a request is when its caller leaves."""

    fault: tuple[str, float | None] | None = None
    pace: dict[str, float] = field(default_factory=dict)
    stream: bool = True
    text: str = LONG
    after: bytes = b""
    """What the caller has got by then."""
    wait: float = 0.15
    heads: dict[str, str] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)


PHASES = {
    "before the head": Phase(("silence", None)),
    "before the head, whole": Phase(("silence", None), stream=False),
    "in a whole answer": Phase(("stall", None), stream=False),
    "after a long prompt": Phase(("silence", None), text="word " * 40_000),
    "during the peek": Phase(("slow-token", 30)),
    "after the peek": Phase(("slow-token", 30), after=b"keep-alive"),
    "held back": Phase(pace={"chunk_interval_ms": 20}, heads={"x_aicore_hold": "true"}, wait=PEEK + 0.3),
    "in a stream": Phase(pace={"chunk_interval_ms": 20}, after=b'"content"', wait=0),
    "in a silent stream": Phase(("stall", 3), after=b'"content"'),
    "within a time limit": Phase(("silence", None), heads={"x_request_timeout": "30"}),
    "alone with what it could share": Phase(("silence", None), members={"temperature": 0}),
    "alone in a stream it could share": Phase(
        pace={"chunk_interval_ms": 20}, after=b'"content"', members={"temperature": 0}
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PHASES)
def test_trap_17_leaving_closes_the_upstream(site: Site, way: str, name: str) -> None:
    """Trap 17: within 200 ms the upstream's request is over, the log and the metrics say who left."""
    phase = PHASES[name]
    if phase.fault:
        kind, arg = phase.fault
        site.tenant.set_fault(kind, **({} if arg is None else {"arg": arg}))
    site.tenant.set_pace(**phase.pace)
    model = "gpt-4.1" if "temperature" in phase.members else "gpt-5"
    body = chat(phase.text, model=model, stream=phase.stream, **phase.members)
    leaver = Leaver(site, way, body, **phase.heads)
    assert within(3, lambda: site.stat("in_flight") == 1)
    leaver.caller.until(phase.after)
    time.sleep(phase.wait)

    assert leaver.leave() < LIMIT
    assert GONE == leaver.trace()
    assert 1 == site.sent


SURFACES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"messages": [{"role": "user", "content": LONG}], "stream": True}),
    "responses": ("/v1/responses", {"input": LONG, "stream": True}),
    "messages": (
        "/v1/messages",
        {"max_tokens": 4000, "messages": [{"role": "user", "content": LONG}], "stream": True},
    ),
    "gemini": (
        "/v1beta/models/{model}:streamGenerateContent",
        {"contents": [{"role": "user", "parts": [{"text": LONG}]}]},
    ),
}


@pytest.mark.parametrize("model", ["gpt-5", "qwen3-max", CLAUDE, "gemini-3.5-flash", "amazon--nova-pro"])
@pytest.mark.parametrize("surface", SURFACES)
def test_trap_17_in_every_dialect(site: Site, surface: str, model: str) -> None:
    """Trap 17: the same in a stream of every surface, passed through or translated."""
    path, body = SURFACES[surface]
    site.tenant.set_pace(chunk_interval_ms=20)
    leaver = Leaver(site, "gateway", {"model": model} | body, path.format(model=model))
    leaver.caller.until(b"data: ")
    took = leaver.leave()

    assert took < LIMIT
    assert 1 == site.stat("cancelled_streams")
    assert {} == left_counted(site.gateway, site.tenant)


def test_a_slow_reader_who_leaves(site: Site) -> None:
    """The gateway waits to be read, and notices the leaving all the same."""
    body = chat("[[tokens:100000]]", stream=True)
    caller = site.call("gateway", body, buffer=8192)
    caller.until(b'"content"')
    time.sleep(1)
    assert 1 == site.stat("in_flight")

    assert seconds_until(lambda: site.stat("in_flight") == 0, since=caller.leave()) < LIMIT
    assert 1 == site.stat("cancelled_streams")
    assert {} == left_counted(site.gateway, site.tenant)


@pytest.mark.parametrize("way", WAYS)
def test_leaving_thirty_streams_at_once(site: Site, way: str) -> None:
    """No stream stays behind when many callers leave together, and the gateway answers on."""
    site.tenant.set_pace(chunk_interval_ms=50)
    callers = [site.call(way, chat(LONG, stream=True)) for _ in range(30)]
    for caller in callers:
        caller.until(b'"content"')
    left = max(caller.leave() for caller in callers)

    assert seconds_until(lambda: site.stat("in_flight") == 0, since=left) < LIMIT
    assert 30 == site.stat("cancelled_streams")
    assert {} == left_counted(site.gateway, site.tenant)
    site.tenant.reset()
    assert 200 == Asked(site.gateway, CHAT, chat()).ended().status


def test_leaving_with_an_embedding(site: Site) -> None:
    """Embeddings are whole answers, and shared: the same holds for them."""
    site.tenant.set_fault("silence")
    body = {"model": "text-embedding-3-small", "input": "one"}
    leaver = Leaver(site, "gateway", body, "/v1/embeddings")
    assert within(3, lambda: site.stat("in_flight") == 1)

    assert leaver.leave() < LIMIT
    assert GONE == leaver.trace()


# --- phases before the upstream has it --------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_leaving_at_the_gate(site: Site, way: str) -> None:
    """Who waits for the gateway's own room leaves no place in the line, and never gets upstream."""
    site.tenant.set_pace(chunk_interval_ms=50)
    inside = [site.call("gateway", chat(LONG, stream=True)) for _ in range(ROOM)]
    for caller in inside:
        caller.until(b'"content"')
    leavers = [Leaver(site, way, chat(stream=True)) for _ in range(4)]
    time.sleep(0.3)
    took = [leaver.leave(lambda one=leaver: one.in_log) for leaver in leavers]  # type: ignore[misc]

    assert max(took) < LIMIT
    assert ROOM == counted(site.gateway, site.tenant)["in-flight"] == site.sent
    inside[0].leave()
    next_one = site.call(way, chat(LONG, stream=True)).until(b'"content"', seconds=2)
    for caller in [*inside, next_one]:
        caller.leave()
    assert within(1, lambda: site.stat("in_flight") == 0)
    assert {} == left_counted(site.gateway, site.tenant)


@pytest.mark.parametrize("way", WAYS)
def test_leaving_the_line_for_a_deployment(site: Site, way: str) -> None:
    """The same for the line before a deployment: the one behind moves up."""
    site.tenant.set_pace(chunk_interval_ms=50)
    inside = site.call("gateway", chat(LONG, model=NARROW, stream=True)).until(b'"content"')
    leaver = Leaver(site, way, chat(model=NARROW, stream=True))
    time.sleep(0.3)
    behind = [Asked(site.gateway, CHAT, chat(model=NARROW)) for _ in range(3)]
    time.sleep(0.3)

    assert leaver.leave(lambda: leaver.in_log) < LIMIT
    assert 1 == site.sent
    inside.leave()
    assert [200] * 3 == [one.ended().status for one in behind]
    assert 4 == site.sent
    assert ["caller_left"] == leaver.trace()[0]
    assert {} == left_counted(site.gateway, site.tenant)


@pytest.mark.parametrize("way", WAYS)
def test_leaving_while_there_is_no_token(site: Site, way: str) -> None:
    """The token is fetched on for whoever comes next; the request itself is over."""
    time.sleep(1)  # tokens are replaced by force once a second
    site.tenant.revoke()
    site.tenant.set_fault("slow", plane="oauth", arg=1)
    leaver = Leaver(site, way, chat(model=ALONE, stream=True))
    assert within(3, lambda: site.tenant.stats()["management"].get("POST /oauth/token", 0) > 0)
    before = site.sent
    took = leaver.leave(lambda: leaver.in_log)
    time.sleep(1.5)

    assert took < LIMIT
    assert before == site.sent
    assert GONE == leaver.trace()
    site.tenant.clear_faults()
    assert 200 == Asked(site.gateway, CHAT, chat(model=ALONE)).ended().status


def test_leaving_others_who_wait_for_the_token(site: Site) -> None:
    """Of eight who wait for a token four leave; the others are served, with one token for each worker."""
    time.sleep(1)
    site.tenant.revoke()
    site.tenant.reset()
    site.tenant.set_fault("slow", plane="oauth", arg=1)
    staying = [Asked(site.gateway, CHAT, chat(model=ALONE)) for _ in range(4)]
    leavers = [Leaver(site, "gateway", chat(model=ALONE)) for _ in range(4)]
    time.sleep(0.3)
    took = [leaver.leave(lambda one=leaver: one.in_log) for leaver in leavers]  # type: ignore[misc]

    assert max(took) < LIMIT
    assert [200] * 4 == [one.ended().status for one in staying]
    assert site.stat("token_fetches") <= 2 * 2
    assert {} == left_counted(site.gateway, site.tenant)


@pytest.mark.parametrize("way", WAYS)
def test_leaving_while_connecting(site: Site, way: str) -> None:
    """A connection that is not open yet is given up."""
    leaver = Leaver(site, way, chat(model=UNREACHABLE, stream=True))
    assert within(3, lambda: dialling(site) == 1)

    assert leaver.leave(lambda: dialling(site) == 0) < LIMIT
    assert GONE == leaver.trace()


def dialling(site: Site) -> int:
    """Connections of the gateway that the full listener has not accepted."""
    found = [one for worker in workers(site.gateway) for one in worker.net_connections("tcp")]
    return sum(one.status == psutil.CONN_SYN_SENT and one.raddr.port == site.backlog for one in found)


@pytest.mark.parametrize("way", WAYS)
def test_leaving_in_the_pause_before_a_retry(site: Site, way: str) -> None:
    """Nothing is sent again for somebody who has gone."""
    site.tenant.set_fault("500", model=ALONE)
    leaver = Leaver(site, way, chat(model=ALONE))
    assert within(10, lambda: site.sent >= 4)
    took = leaver.leave(lambda: leaver.in_log)
    before = site.sent
    time.sleep(3)

    assert took < LIMIT
    assert before == site.sent
    assert GONE == leaver.trace()


# --- shared calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stream", [False, True])
def test_leaving_a_shared_call(site: Site, way: str, stream: bool) -> None:
    """While one is left the call goes on, and who led it does not matter; the last one closes it."""
    if stream:
        site.tenant.set_pace(chunk_interval_ms=20)
    else:
        site.tenant.set_fault("silence")
    body = chat(LONG, model="gpt-4.1", temperature=0, stream=stream)
    callers = [site.call(way, body) for _ in range(8)]
    if stream:
        for caller in callers:
            caller.until(b'"content"')
    time.sleep(0.3)
    assert 1 <= site.sent <= 2
    *others, last = callers
    left = max(caller.leave() for caller in others)

    assert seconds_until(lambda: site.stat("in_flight") == 1, since=left) < LIMIT
    time.sleep(0.5)
    assert 1 == site.stat("in_flight")
    if stream:
        last.data.clear()
        last.until(b'"content"', seconds=1)
    assert seconds_until(lambda: site.stat("in_flight") == 0, since=last.leave()) < LIMIT
    assert {} == left_counted(site.gateway, site.tenant)


def test_those_who_stay_get_all_of_a_shared_answer(site: Site) -> None:
    """Half of the callers of a whole answer leave; the other half get it, from the same call."""
    site.tenant.set_pace(latency_ms=700)
    body = chat(model="gpt-4.1", temperature=0)
    callers = [site.call("gateway", body) for _ in range(8)]
    time.sleep(0.3)
    for leaver in callers[:4]:
        leaver.leave()

    assert all(b'"finish_reason":"stop"' in one.until(b"usage").data for one in callers[4:])
    assert site.sent <= 2


# --- probes -----------------------------------------------------------------------------------------


def test_probes_answer_while_streams_run(site: Site) -> None:
    """Thirty open streams do not delay /health/live."""
    site.tenant.set_pace(chunk_interval_ms=20)
    callers = [site.call("gateway", chat(LONG, stream=True)) for _ in range(30)]
    for caller in callers:
        caller.until(b'"content"')
    status = httpx.get(f"{site.gateway.url}/health/live", trust_env=False, timeout=2).status_code
    for caller in callers:
        caller.leave()

    assert 200 == status
