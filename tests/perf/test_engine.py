"""The measuring client against a stub on loopback."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest
import trustme

from perf.engine import Engine, Exchange, count_in
from perf.options import Ask
from perf.workload import Target, tls_context
from tests.perf.stub import StubServer, stub_server


async def exchanged(stub: StubServer, ask: Ask, *, timeout: float = 1.0, number: int = 1) -> list[Exchange]:
    """So many exchanges with the stub, finished."""
    done: list[Exchange] = []
    finished = asyncio.Event()

    def on_finish(exchange: Exchange) -> None:
        done.append(exchange)
        if len(done) == number:
            finished.set()

    work = ask.workload(Target(stub.url), "secret-key")
    async with Engine(Target(stub.url), connections=4, timeout=timeout, on_finish=on_finish) as engine:
        for _ in range(number):
            engine.submit(Exchange(work, time.perf_counter()))
        async with asyncio.timeout(2):
            await finished.wait()
    return done


@pytest.mark.e2e
async def test_a_unary_answer_is_measured() -> None:
    """Status, usage and times in order."""
    async with stub_server() as stub:
        (done,) = await exchanged(stub, Ask())

    assert (done.failure, done.status, done.prompt_tokens, done.completion_tokens) == (None, 200, 9, 2)


@pytest.mark.e2e
async def test_a_stream_is_measured() -> None:
    """First byte, first token, gaps between the rest, and completeness."""
    async with stub_server() as stub:
        (done,) = await exchanged(stub, Ask(stream=True))
    in_order = done.intended < done.sent < done.first_byte <= done.first_token <= done.ended

    assert (
        done.failure, done.chunks, len(done.gaps), in_order,
    ) == (None, 3, 2, True)  # fmt: skip


@pytest.mark.e2e
@pytest.mark.parametrize("surface", ["chat", "messages", "responses", "gemini", "bedrock", "completions"])
async def test_every_surface_is_measured(surface: str) -> None:
    """Whole and as a stream: nothing wrong, the tokens of its own usage, three chunks."""
    async with stub_server() as stub:
        (whole,) = await exchanged(stub, Ask(surface))
        (streamed,) = await exchanged(stub, Ask(surface, stream=True))

    assert (None, 9, 2) == (whole.failure, whole.prompt_tokens, whole.completion_tokens)
    assert (None, 9, 3) == (streamed.failure, streamed.prompt_tokens, streamed.chunks)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("model", "stream", "failure"),
    [
        ("busy", False, "status"),
        ("busy", True, "status"),
        ("reset", False, "reset"),
        ("silent", False, "timeout"),
        ("no-done", True, "truncated"),
        ("no-finish", True, "truncated"),
        ("cut", True, "truncated"),
        ("error-event", True, "error_event"),
    ],
)
async def test_every_fault_has_its_kind(model: str, stream: bool, failure: str) -> None:
    """What a caller would have to tell apart."""
    async with stub_server() as stub:
        (done,) = await exchanged(stub, Ask(model=model, stream=stream), timeout=0.1)

    assert failure == done.failure


@pytest.mark.e2e
async def test_nobody_listening_is_a_connect_error() -> None:
    """Named as such, and not endlessly repeated."""
    (done,) = await exchanged(Nowhere(), Ask())

    assert done.failure == "connect"


class Nowhere(StubServer):
    """A port on which nothing listens: 1 is reserved."""

    def __init__(self) -> None:
        super().__init__()
        self.port = 1


@pytest.mark.e2e
async def test_connections_are_kept_and_bounded() -> None:
    """Twenty requests over at most four connections, none lost."""
    async with stub_server() as stub:
        done = await exchanged(stub, Ask(), number=20)

    assert (20, {None}) == (len(done), {exchange.failure for exchange in done})


@pytest.mark.e2e
@pytest.mark.parametrize(("trusted", "failure"), [(True, None), (False, "connect")])
async def test_a_certificate_is_verified(tmp_path: Path, trusted: bool, failure: str | None) -> None:
    """Against the authority given; another one's certificate ends as a connect error."""
    authority, other = trustme.CA(), trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    (authority if trusted else other).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    done: list[Exchange] = []
    finished = asyncio.Event()

    def on_finish(exchange: Exchange) -> None:
        done.append(exchange)
        finished.set()

    async with stub_server(server) as stub:
        target = Target(f"https://127.0.0.1:{stub.port}", tls_context(ca=tmp_path / "ca.pem"))
        async with Engine(target, connections=1, timeout=1.5, on_finish=on_finish) as engine:
            engine.submit(Exchange(Ask().workload(target, None), time.perf_counter()))
            await finished.wait()

    assert done[0].failure == failure


async def test_a_full_backlog_is_an_overload() -> None:
    """Never an unbounded queue, never a silent drop."""
    done: list[Exchange] = []
    work = Ask().workload(Target("http://127.0.0.1:1"), None)
    engine = Engine(
        work_target := Target("http://127.0.0.1:1"),
        connections=0,
        timeout=1,
        on_finish=done.append,
        backlog=1,
    )
    assert work_target.port == 1
    engine.submit(Exchange(work, 0.0))
    engine.submit(Exchange(work, 0.0))

    assert [exchange.failure for exchange in done] == ["overload"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b'{"n": 12}', 12), (b'{"n":7,"x":1}', 7), (b'{"x":1}', 0), (b'{"n":null}', 0), (b'"n":1,"n": 23', 23)],
)
def test_a_number_is_read_without_parsing(body: bytes, expected: int) -> None:
    """The last one of that name; 0 without one."""
    assert expected == count_in(body, "n")
