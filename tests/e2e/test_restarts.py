"""Workers that are killed or renewed: what they counted is gone, what others serve is not touched."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e import processes
from tests.e2e.asked import Asked, on_both_workers, ready_workers, serving, stream
from tests.e2e.bodies import CHAT, chat, content, events, within
from tests.e2e.conftest import Stack, Starter
from tests.e2e.gateway import Gateway
from tests.e2e.nginx_server import nginx_server

pytestmark = pytest.mark.e2e

PACE = ("--chunk-interval-ms", "50")
LONG = 600  # tokens: thirty seconds at this pace


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the gateway makes its folder."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def counted(scratch: Path) -> dict[int, int]:
    """Return what each process has on the shared counters: process id → how many of them are not zero."""
    (board,) = scratch.glob("aicore-gateway-*/board")
    with board.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        _, rows, columns = struct.unpack_from("<8sQQ", memory)
        pids = struct.unpack_from(f"<{columns}q", memory, 64)
        cells = struct.unpack_from(f"<{rows * columns}q", memory, 64 + columns * 8 + rows * 16)
    return {pid: sum(map(bool, cells[column::columns])) for column, pid in enumerate(pids) if pid}


def served(gateway: Gateway) -> bool:
    """Whether a request is answered."""
    asked = Asked(gateway, CHAT, chat()).ended()
    return asked.failure is None and asked.status == 200


class Load:
    """Callers that ask one request after the other, each on its own connection, streams and whole answers."""

    def __init__(self, url: str, key: str, callers: int, **options: object) -> None:
        self.done = 0
        self.failures: list[str] = []
        self._over = threading.Event()
        self._client = httpx.Client(
            base_url=url,
            headers={"x-api-key": key},
            timeout=20,
            trust_env=False,
            **options,  # type: ignore[arg-type]
        )
        self._callers = [
            threading.Thread(target=self._call, args=(index % 2 == 0,), daemon=True)
            for index in range(callers)
        ]

    def __enter__(self) -> Load:
        for caller in self._callers:
            caller.start()
        assert within(10, lambda: self.done >= len(self._callers))
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for caller in self._callers:
            caller.join(20)
        self._client.close()

    def _call(self, streamed: bool) -> None:
        body = chat("[[tokens:20]]", stream=True) if streamed else chat()
        while not self._over.is_set():
            try:
                answer = self._client.post(CHAT, json=body)
                whole = events(answer.text)[-1] == "[DONE]" if streamed else content(answer) == "hello there"
                if not whole:
                    self.failures.append(answer.text[-300:])
            except (httpx.HTTPError, KeyError, IndexError) as exc:
                self.failures.append(repr(exc))
            self.done += 1


def have_begun(gateway: Gateway, count: int) -> bool:
    """Whether so many workers have begun to serve since the start, and not one more."""
    return within(15, lambda: len(ready_workers(gateway)) == count)


def renewed(gateway: Gateway, old: list[int]) -> bool:
    """Whether none of the old workers is left, and as many new ones serve."""
    return not any(map(psutil.pid_exists, old)) and len(ready_workers(gateway)) >= 2 * len(old)


def test_workers_are_renewed_without_a_lost_request(stack: Starter) -> None:
    """SIGHUP: one after the other, under load on kept connections, while long streams go on to their end."""
    started = stack("--chunk-interval-ms", "20")
    long = on_both_workers(started.gateway, 150)
    old = ready_workers(started.gateway)
    process = started.gateway.process
    assert process is not None
    with Load(started.gateway.url, "sk-simulator", 8) as load:
        process.send_signal(signal.SIGHUP)
        assert within(20, lambda: renewed(started.gateway, old))
        before = load.done
        assert within(5, lambda: load.done > before + 20)
    ends = {events(one.ended().text)[-1] for one in long}

    assert [] == load.failures
    assert {"[DONE]"} == ends
    assert 4 == len(ready_workers(started.gateway))
    assert '"level":"error"' not in started.gateway.log()
    assert 0 == started.gateway.stop()


def test_the_gateway_stays_ready_while_its_workers_are_renewed(stack: Starter) -> None:
    """A balancer in front has no reason to look elsewhere."""
    started = stack()
    old = ready_workers(started.gateway)
    process = started.gateway.process
    assert process is not None
    process.send_signal(signal.SIGHUP)
    statuses = set()

    def probed() -> bool:
        statuses.add(httpx.get(started.gateway.url + "/health/ready", trust_env=False).status_code)
        return renewed(started.gateway, old)

    assert within(20, probed)
    assert {200} == statuses


def test_renewals_do_not_pile_up(stack: Starter) -> None:
    """While the old workers still have streams a further wish waits, and is granted once."""
    started = stack(*PACE)
    running = on_both_workers(started.gateway, 120)
    process = started.gateway.process
    assert process is not None
    for count in (4, 4, 4):
        process.send_signal(signal.SIGHUP)
        assert have_begun(started.gateway, count)
    for one in running:
        assert "[DONE]" == events(one.ended().text)[-1]

    assert within(10, lambda: len(ready_workers(started.gateway)) == 6)
    assert served(started.gateway)


def test_the_end_comes_also_in_the_middle_of_a_renewal(stack: Starter) -> None:
    """Old workers with streams, new ones just begun: the streams end, and then all of them."""
    started = stack(*PACE)
    running = on_both_workers(started.gateway, 60)
    process = started.gateway.process
    assert process is not None
    process.send_signal(signal.SIGHUP)
    assert within(10, lambda: len(ready_workers(started.gateway)) == 3)
    family = processes.children(process)
    status = started.gateway.stop()

    assert 0 == status
    assert {"[DONE]"} == {events(one.ended().text)[-1] for one in running}
    assert [] == processes.alive(family)


def test_only_a_killed_workers_streams_are_cut(stack: Starter, scratch: Path) -> None:
    """The others go on; what the dead one counted counts no more, before another takes its place."""
    started = stack(*PACE)
    running = on_both_workers(started.gateway, 80)
    victim = ready_workers(started.gateway)[0]
    lost = serving(victim, started.gateway.port)
    assert counted(scratch)[victim]
    os.kill(victim, signal.SIGKILL)

    assert within(0.5, lambda: victim not in counted(scratch))
    assert within(0.5, lambda: not list(scratch.glob(f"aicore-gateway-*/metrics/gauge_*_{victim}.db")))
    assert within(10, lambda: len(ready_workers(started.gateway)) == 3)
    cut = [one for one in running if one.ended().failure is not None]
    assert lost == len(cut)
    assert {"[DONE]"} == {events(one.text)[-1] for one in running if one.failure is None}
    assert within(2, lambda: set(counted(scratch)) == set(ready_workers(started.gateway)[1:]))


def test_two_kills_in_a_row(stack: Starter, scratch: Path) -> None:
    """Both workers at once, and their successors as soon as they serve: each time there are two again."""
    started = stack()
    for already in (2, 4):
        assert have_begun(started.gateway, already)
        for pid in ready_workers(started.gateway)[-2:]:
            os.kill(pid, signal.SIGKILL)

    assert within(15, lambda: len(ready_workers(started.gateway)) == 6)
    assert served(started.gateway)
    assert within(5, lambda: set(counted(scratch)) == set(ready_workers(started.gateway)[-2:]))
    assert 0 == started.gateway.stop()


def test_a_renewal_goes_on_when_a_worker_dies_in_it(stack: Starter) -> None:
    """The new worker is killed before it serves: another one is started, and only then the old one goes."""
    started = stack()
    old = ready_workers(started.gateway)
    process = started.gateway.process
    assert process is not None
    family = {one.pid for one in processes.children(process)}
    process.send_signal(signal.SIGHUP)
    newborn: set[int] = set()

    def born() -> bool:
        newborn.update({one.pid for one in processes.children(process)} - family)
        return bool(newborn)

    assert within(5, born)
    with suppress(ProcessLookupError):
        os.kill(newborn.pop(), signal.SIGKILL)

    assert within(20, lambda: renewed(started.gateway, old))
    assert served(started.gateway)


def test_nothing_outlives_the_main_process(stack: Starter) -> None:
    """It is killed: its workers finish what they have, and end; the port is free before that."""
    started = stack(*PACE)
    running = on_both_workers(started.gateway, 60)
    process = started.gateway.process
    assert process is not None
    family = processes.children(process)
    process.kill()
    process.wait()

    assert within(3, started.gateway.refuses)
    assert {"[DONE]"} == {events(one.ended().text)[-1] for one in running}
    assert within(5, lambda: processes.alive(family) == [])
    assert "Traceback" not in started.gateway.log()


@contextmanager
def two_gateways(stack: Starter, tmp_path: Path) -> Iterator[tuple[Stack, Gateway]]:
    """A stack, and a second gateway in front of the same tenants."""
    started = stack("--chunk-interval-ms", "20", workers=1)
    with Gateway(tmp_path / "config.json", workers=1) as other:
        yield started, other


def test_one_of_two_gateways_restarts_without_a_lost_request(stack: Starter, tmp_path: Path) -> None:
    """Behind nginx, under load, with streams on both that last longer than the stop."""
    with two_gateways(stack, tmp_path) as (started, other):
        gateways = (started.gateway, other)
        with (
            nginx_server(tmp_path / "nginx", *(f"127.0.0.1:{one.port}" for one in gateways)) as nginx,
            Load(nginx.https_url, "sk-simulator", 6, verify=nginx.ssl_context()) as load,
        ):
            long = [stream(one, 150) for one in gateways]
            assert 0 == started.gateway.stop()
            started.gateway.start()
            before = load.done
            assert within(10, lambda: load.done > before + 30)

    assert [] == load.failures
    assert {"[DONE]"} == {events(one.ended().text)[-1] for one in long}
