"""What stands in the head of an answer, and how a stream begins."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from handlers import serving
from handlers.serving import EVENTS, _listed
from services.asking import Ask
from services.calls import Call, Caller, Reply
from services.deployments import Deployment
from services.errors import OutOfTime, UpstreamTimeout

PIECES = [b"data: one\n\n", b"data: two\n\n"]


class Chunks:
    """A stream: bytes are handed out, failures raised, and a number of seconds is a silence."""

    def __init__(self, *steps: bytes | float | Exception) -> None:
        self.steps = list(steps)
        self.closed = False

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, Exception):
                raise step
            if isinstance(step, bytes):
                return step
            await asyncio.sleep(step)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


class Served:
    """A caller's connection, and what it gets."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.responded = 0
        writable = asyncio.Event()
        writable.set()
        self.transport = self
        self.protocol = SimpleNamespace(_can_write=writable, _time=time.monotonic())
        self.headers = {"transfer-encoding": "chunked"}

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.sent.append(data.split(b"\r\n")[1])

    async def respond(self, response: object) -> Served:
        self.responded += 1
        return self

    async def send(self, data: bytes) -> None:
        self.sent.append(data)

    async def eof(self) -> None:
        self.sent.append(b"end")


async def served(
    chunks: Chunks,
    *,
    surface: str = "chat",
    seconds: float = 15.0,
    heartbeats: bool = True,
    deadline: float | None = None,
) -> list[bytes]:
    """What a caller gets of this stream."""
    caller = Caller(name="c", id=b"c", heartbeats=heartbeats)
    call = Call(surface=surface, caller=caller, request_id="r", started=time.perf_counter())
    ask = Ask(model="m", body={}, prepare=None, call=call)  # type: ignore[arg-type]
    if deadline is not None:
        ask.deadline = call.started + deadline
    source = Deployment("d1", "https://x/d1", "one", "default")

    async def stream(_: Ask) -> Chunks:
        call.reply = Reply(model="m", deployment=source, attempts=1, dropped=(), upstream_seconds=0.0)
        return chunks

    request: Any = Served()
    services: Any = SimpleNamespace(heartbeat_seconds=seconds, pipeline=SimpleNamespace(stream=stream))
    try:
        await serving._stream(request, ask, services, EVENTS)
    finally:
        assert chunks.closed
    return list(request.sent)


async def test_a_stream_is_passed_on() -> None:
    """Piece by piece, then its end; without a beat when nobody had to wait."""
    assert [*PIECES, b"end"] == await served(Chunks(*PIECES))


@pytest.mark.parametrize(("surface", "beat"), [
    ("chat", b": keep-alive\n\n"),
    ("responses", b": keep-alive\n\n"),
    ("messages", b'event: ping\ndata: {"type": "ping"}\n\n'),
    ("gemini", b"\n"),
])  # fmt: skip
async def test_trap_15_a_silent_model_shows_that_it_lives(surface: str, beat: bytes) -> None:
    """Trap 15: a stream that was committed with nothing begins with what this surface's clients skip."""
    assert [beat, *PIECES, b"end"] == await served(Chunks(b"", *PIECES), surface=surface)


@pytest.mark.parametrize(
    "how", [{"surface": "bedrock"}, {"seconds": 0.0}, {"heartbeats": False}], ids=["bedrock", "off", "key"]
)
async def test_who_gets_no_beats_waits_for_the_first_piece(how: Any) -> None:
    """No beat is known for the dialect, they are switched off, or this key's clients choke on them."""
    assert [*PIECES, b"end"] == await served(Chunks(b"", 0.05, *PIECES), **how)


async def test_a_failure_before_the_first_piece_keeps_its_status() -> None:
    """Nothing has been sent: the error can still be told as it is (trap 18)."""
    with pytest.raises(UpstreamTimeout):
        await served(Chunks(b"", UpstreamTimeout("no content")), seconds=0)


async def test_who_waits_for_the_first_piece_waits_as_long_as_it_said() -> None:
    """Though the stream was committed before."""
    with pytest.raises(OutOfTime, match=r"0\.05 s"):
        await served(Chunks(b"", 60.0, *PIECES), seconds=0, deadline=0.05)


async def test_a_stream_that_has_begun_may_take_its_time() -> None:
    """The caller's limit is one for the answer to begin."""
    assert [*PIECES, b"end"] == await served(Chunks(PIECES[0], 0.1, PIECES[1]), deadline=0.05)


@pytest.mark.parametrize(("seconds", "begins"), [(0.05, False), (-1, False), (5, True)])
async def test_nobody_is_served_beyond_its_time(seconds: float, begins: bool) -> None:
    """504, with the time that was allowed."""
    call = Call(surface="chat", caller=Caller(name="c", id=b"c"), request_id="r", started=time.perf_counter())
    ask = Ask(model="m", body={}, prepare=None, call=call)  # type: ignore[arg-type]
    ask.deadline = call.started + seconds

    async def work() -> str:
        await asyncio.sleep(0.2)
        return "done"

    if begins:
        assert "done" == await serving._in_time(ask, work())
    else:
        with pytest.raises(OutOfTime) as caught:
            await serving._in_time(ask, work())

        assert (504, "deadline_exceeded") == (caught.value.status, caught.value.code)


def test_names_that_a_caller_made_up_stay_in_their_line() -> None:
    """A member of the body called like a head field becomes none."""
    assert b"top_k, x%0D%0Aset-cookie: a=b, %C3%A9" == _listed(("top_k", "x\r\nset-cookie: a=b", "é"))


def test_a_list_of_names_is_bounded() -> None:
    """Proxies refuse large heads; how many are not named is told."""
    line = _listed([f"unknown_{n:04}" for n in range(1000)])

    assert line.startswith(b"unknown_0000, unknown_0001, ")
    assert line.endswith(b", unknown_0145, and 854 more")
    assert len(line) < 2100


def test_one_endless_name_is_counted_only() -> None:
    """Nothing of it is shown."""
    assert b"and 1 more" == _listed(["x" * 100_000])
