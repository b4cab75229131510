"""Pieces of a stream on the caller's connection, and what goes out while there are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from google import genai
from google.genai import types as google
from sanic.exceptions import RequestCancelled

from handlers import serving
from handlers.wire import PieceWriter
from services.translation.callers import CALLERS
from tests.traps.wire import streamed

SILENCE = 15.0
COMMENT = b": keep-alive\n\n"
CHUNK = b"e\r\n: keep-alive\n\n\r\n"


class Line:
    """The caller's connection, its protocol, its loop, and their clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.sent: list[bytes] = []
        self.closing = False
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.protocol = SimpleNamespace(_can_write=asyncio.Event(), _time=self.now)
        self.protocol._can_write.set()
        monkeypatch.setattr("handlers.wire.time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr("handlers.wire.asyncio", SimpleNamespace(get_running_loop=lambda: self))

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        timer = (self.now + seconds, callback)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer))

    def writer(self, beat: bytes = COMMENT, seconds: float = SILENCE) -> PieceWriter:
        request: Any = SimpleNamespace(transport=self)
        response: Any = SimpleNamespace(headers={"transfer-encoding": "chunked"})
        return PieceWriter(request, response, beat=beat, seconds=seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass, with the timers that it brings."""
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, callback = self.timers.pop(0)
            callback()
        self.now = end


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


def test_only_chunked_responses_are_written() -> None:
    """The framing would be missing."""
    with pytest.raises(RuntimeError, match="chunks"):
        PieceWriter(SimpleNamespace(), SimpleNamespace(headers={}), beat=b"", seconds=1)  # type: ignore[arg-type]


async def test_a_piece_is_a_chunk(line: Line) -> None:
    """And tells the connection's silence watch that something happened."""
    writer = line.writer()
    line.now += 3
    await writer.write(b"data: a\n\n")

    assert ([b"9\r\ndata: a\n\n\r\n"], 1003.0) == (line.sent, line.protocol._time)


async def test_nothing_is_written_to_who_has_gone(line: Line) -> None:
    """The handler learns of it."""
    writer = line.writer()
    line.closing = True

    with pytest.raises(RequestCancelled):
        await writer.write(b"a")


def test_trap_15_silence_is_filled(line: Line) -> None:
    """Trap 15: one beat for each interval without a piece, and the connection counts as alive."""
    line.writer()
    line.wait(3.5 * SILENCE)

    assert [CHUNK] * 3 == line.sent
    assert 1000.0 + 3 * SILENCE == line.protocol._time


@pytest.mark.parametrize("seconds", [0.5, 4, 100])
def test_trap_15_the_silence_is_as_long_as_configured(line: Line, seconds: float) -> None:
    """Trap 15: what lies between may give up earlier, or later, than usual."""
    line.writer(seconds=seconds)
    line.wait(2.5 * seconds)

    assert [CHUNK] * 2 == line.sent


async def test_trap_15_a_piece_puts_the_beat_off(line: Line) -> None:
    """Trap 15: it comes an interval after the last piece, not after the last look."""
    writer = line.writer()
    line.wait(10)
    await writer.write(b"a")
    line.wait(SILENCE - 1)
    before = len(line.sent)
    line.wait(1)

    assert (1, [CHUNK]) == (before, line.sent[1:])


def test_a_slow_caller_gets_no_beats_on_top(line: Line) -> None:
    """Its side is full, and its silence is its own; later ones come again."""
    line.writer()
    line.protocol._can_write.clear()
    line.wait(2 * SILENCE)
    quiet = list(line.sent), line.protocol._time
    line.protocol._can_write.set()
    line.wait(SILENCE)

    assert (([], 1000.0), [CHUNK]) == (quiet, line.sent)


@pytest.mark.parametrize("closed", [False, True])
def test_the_heart_stops_with_the_stream(line: Line, closed: bool) -> None:
    """When it has ended, and when its caller has gone."""
    writer = line.writer()
    line.closing = not closed
    if closed:
        writer.close()
    line.wait(5 * SILENCE)

    assert ([], []) == (line.sent, line.timers)


def test_an_empty_beat_is_none(line: Line) -> None:
    """It would end the body."""
    line.writer(b"").close()

    assert [] == line.timers


# --- in each client's own dialect ------------------------------------------------------------------------


def with_beats(surface: str) -> bytes:
    """A stream of this surface with a beat before and behind each event."""
    beat = serving._BEATS.get(surface, serving._COMMENT)
    events = streamed(surface, "gemini-3.5-flash").removesuffix(b"\n\n").split(b"\n\n")
    return beat + b"".join(event + b"\n\n" + beat for event in events)


def answering(surface: str) -> Any:
    """An HTTP client that gets this stream."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=with_beats(surface))
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))


def test_trap_15_openais_sdk_skips_the_beats() -> None:
    """Trap 15: a comment, in each of its APIs."""
    with answering("chat") as http:
        client = openai.OpenAI(api_key="k", base_url="http://gateway", http_client=http, max_retries=0)
        chunks = list(client.chat.completions.create(model="m", messages=[], stream=True))
    with answering("responses") as http:
        client = openai.OpenAI(api_key="k", base_url="http://gateway", http_client=http, max_retries=0)
        events = list(client.responses.create(model="m", input="hi", stream=True))

    assert "tool_calls" == chunks[-1].choices[0].finish_reason
    assert "response.completed" == events[-1].type


def test_trap_15_anthropics_sdk_skips_the_beats() -> None:
    """Trap 15: its own `ping`."""
    with answering("messages") as http:
        client = anthropic.Anthropic(api_key="k", base_url="http://gateway", http_client=http, max_retries=0)
        messages: Any = [{"role": "user", "content": "hi"}]
        with client.messages.stream(model="m", max_tokens=9, messages=messages) as stream:
            message = stream.get_final_message()

    assert "tool_use" == message.stop_reason


def test_trap_15_googles_sdk_skips_the_beats() -> None:
    """Trap 15: an empty line; a comment would be broken JSON to it."""
    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=with_beats("gemini"))
    http = httpx.Client(transport=httpx.MockTransport(lambda _: answer))
    options = google.HttpOptions(base_url="http://gateway", httpx_client=http)
    with genai.Client(api_key="k", http_options=options) as client:
        chunks = list(client.models.generate_content_stream(model="m", contents="hi"))

    assert google.FinishReason.STOP == chunks[-1].candidates[0].finish_reason  # type: ignore[index]


def test_every_surface_has_beats_that_were_tried() -> None:
    """A new one needs a test of its own client."""
    assert {"chat", "completions", "messages", "responses", "gemini", "bedrock"} == set(CALLERS)
