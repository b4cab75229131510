"""Sends requests over keep-alive connections and times them: the heart of load, replay and bench.

Callbacks instead of futures and tasks, one sweep for all time-outs: the generator shares a machine with what
it measures, and must cost little. Closed loops and open loops differ only in who submits (`perf.loops`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from perf.dialects import Dialect
from perf.http1 import AnswerReader
from perf.judge import StreamJudge
from perf.workload import Target

SWEEP_SECONDS = 0.05
MAX_ANSWER = 64 * 1024 * 1024
MAX_CONNECTIONS = 4096
_now = time.perf_counter


class Sendable(Protocol):
    """What the engine needs to know of a request. `Workload` is one."""

    stream: bool
    dialect: Dialect

    def parts(self) -> Sequence[bytes]:
        """The bytes to send."""

    def accepts(self, body: bytes) -> bool:
        """Whether a unary answer has the right shape."""


FAILURES = (
    "connect", "timeout", "reset", "status", "error_event", "truncated", "malformed", "overload",
    "unfinished",
)  # fmt: skip


class Exchange:
    """One request and what was seen of its answer. Times are `time.perf_counter` seconds, 0 for never."""

    __slots__ = (
        "body", "chunks", "completion_tokens", "deadline", "detail", "ended", "failure", "first_byte",
        "first_token", "gaps", "intended", "judge", "last_chunk", "prompt_tokens", "sent", "size", "status",
        "tag", "work",
    )  # fmt: skip

    def __init__(self, work: Sendable, intended: float, *, tag: object = None) -> None:
        self.work = work
        self.intended = intended
        """When it should have started: latencies count from here, so waiting for a slow peer is not lost."""
        self.tag = tag
        self.sent = self.ended = self.last_chunk = self.deadline = 0.0
        self.first_byte = self.first_token = 0.0
        """Of a stream: of its body, and the first piece that the model wrote."""
        self.status = self.chunks = self.size = self.prompt_tokens = self.completion_tokens = 0
        self.gaps: list[float] = []
        self.failure: str | None = None
        """None, or a name from `FAILURES`."""
        self.detail = ""
        self.body: list[bytes] = []
        self.judge: StreamJudge | None = None

    def fail(self, failure: str, detail: str = "") -> None:
        """Note what went wrong; the first finding counts."""
        if self.failure is None:
            self.failure, self.detail = failure, detail[:300]


IDLE_SECONDS = 5.0
"""How long an idle connection is used again, as the SDKs' HTTP client has it: a server may close an older one
in the moment in which a request is sent on it."""

MAX_GAPS = 100_000
"""Inter-token gaps kept of one stream; a longer one still counts its chunks."""


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The peer accepted."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not instances of it

    @property
    def usable(self) -> bool:
        """Open, as far as we know."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, exchange: Exchange) -> None:
        """Start an exchange; the connection must be idle."""
        assert self._transport is not None
        self.exchange = exchange
        self._reader.reset()
        exchange.sent = _now()
        exchange.deadline = exchange.sent + self._engine.timeout
        self._transport.writelines(exchange.work.parts())

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        now = _now()
        exchange = self.exchange
        if exchange is None:  # nobody asked: the peer is out of step
            self.abort()
            return
        reader = self._reader
        try:
            for piece in reader.feed(data):
                self._body(exchange, piece, now)
        except ValueError as exc:
            exchange.fail("malformed", str(exc))
            self._end(exchange, now, reusable=False)
            return
        if reader.complete:
            self._end(exchange, now, reusable=reader.keep_alive)

    def _body(self, exchange: Exchange, piece: bytes, now: float) -> None:
        exchange.size += len(piece)
        judge = exchange.judge
        if judge is None:
            if exchange.size > MAX_ANSWER:
                raise ValueError(f"an answer of more than {MAX_ANSWER} bytes")
            if (
                not exchange.body
                and exchange.work.stream
                and self._reader.content_type.startswith(exchange.work.dialect.content_type)
            ):
                judge = exchange.judge = StreamJudge(exchange.work.dialect)
                exchange.first_byte = now
            else:
                exchange.body.append(piece)
                return
        before = judge.frames
        fresh = judge.feed(piece)
        self._engine.frames += judge.frames - before
        if fresh:
            self._progress(exchange, fresh, now)

    def _progress(self, exchange: Exchange, fresh: int, now: float) -> None:
        gaps = exchange.gaps
        if exchange.first_token == 0.0:
            exchange.first_token = now
            fresh -= 1
        elif len(gaps) < MAX_GAPS:
            gaps.append(now - exchange.last_chunk)
            fresh -= 1
        if fresh and len(gaps) < MAX_GAPS:  # they came in one read, so no time passed between them
            gaps.extend([0.0] * fresh)
        exchange.last_chunk = now

    def _end(self, exchange: Exchange, now: float, *, reusable: bool) -> None:
        exchange.ended = now
        exchange.status = self._reader.status
        if exchange.failure is None:
            judge_answer(exchange)
        self.exchange = None
        if not reusable:
            self.abort()
        self._engine.finished(self, exchange)

    def expire(self, now: float) -> None:
        """The time limit ran out."""
        if self.exchange is not None:
            self.exchange.fail("timeout", f"no complete answer after {self._engine.timeout:g} s")
            self._end(self.exchange, now, reusable=False)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, perhaps in the middle of an answer."""
        exchange, self._transport = self.exchange, None
        if exchange is not None:
            if not self._reader.eof():
                kind = "truncated" if self._reader.status else "reset"
                exchange.fail(kind, str(exc or "the connection was closed early"))
            self._end(exchange, _now(), reusable=False)
        self._engine.lost(self)


def judge_answer(exchange: Exchange) -> None:
    """Find what is wrong with a completely transferred answer, and read its usage."""
    if not 200 <= exchange.status < 300:
        exchange.fail("status", f"{exchange.status} {b''.join(exchange.body)[:200].decode(errors='replace')}")
    elif exchange.judge is not None:
        _judge_stream(exchange, exchange.judge)
    else:
        body = exchange.body[0] if len(exchange.body) == 1 else b"".join(exchange.body)
        if exchange.work.stream:
            exchange.fail("malformed", "asked for a stream, got " + body[:80].decode(errors="replace"))
        elif not exchange.work.accepts(body):
            exchange.fail("malformed", body[:200].decode(errors="replace"))
        dialect = exchange.work.dialect
        exchange.prompt_tokens = sum(count_in(body, name) for name in dialect.prompt)
        exchange.completion_tokens = sum(count_in(body, name) for name in dialect.completion)
    exchange.body = []


def _judge_stream(exchange: Exchange, judge: StreamJudge) -> None:
    if judge.failure is not None:
        exchange.fail("error_event", judge.failure)
    elif missing := judge.missing():
        exchange.fail("truncated", missing)
    exchange.chunks = judge.chunks
    exchange.prompt_tokens = judge.prompt_tokens
    exchange.completion_tokens = judge.completion_tokens or judge.chunks


def count_in(body: bytes, name: str) -> int:
    """The whole number behind the last member `name` of a JSON text; 0 without. Far cheaper than parsing."""
    key = b'"%b"' % name.encode()
    at = body.rfind(key)
    digits = body[at + len(key) : at + len(key) + 24].lstrip(b" :") if at >= 0 else b""
    length = 0
    while length < len(digits) and 48 <= digits[length] <= 57:
        length += 1
    return int(digits[:length] or 0)


class Engine:
    """A pool of connections to one target, grown on demand up to `connections`.

    What finds no free connection waits, at most `backlog` of them; more are failed as `overload`.
    """

    def __init__(
        self,
        target: Target,
        *,
        connections: int,
        timeout: float,
        on_finish: Callable[[Exchange], None],
        backlog: int = 100_000,
    ) -> None:
        self._target = target
        self._limit = min(connections, MAX_CONNECTIONS)
        self._backlog_limit = backlog
        self._on_finish = on_finish
        self.timeout = timeout
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._waiting: deque[Exchange] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self.frames = 0
        """Frames received, of all streams, but [DONE]."""

    async def __aenter__(self) -> Engine:
        self._sweep()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)

    @property
    def pending(self) -> int:
        """Exchanges submitted and not finished."""
        return len(self._waiting) + sum(1 for connection in self._open if connection.exchange is not None)

    def submit(self, exchange: Exchange) -> None:
        """Send now, or as soon as a connection is free."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and _now() - connection.idle_since < IDLE_SECONDS:
                connection.send(exchange)
                return
            connection.abort()
        if len(self._waiting) >= self._backlog_limit:
            exchange.fail("overload", "the generator's backlog is full")
            exchange.ended = _now()
            self._on_finish(exchange)
            return
        self._waiting.append(exchange)
        self._grow()

    def _grow(self) -> None:
        if self._closed or len(self._opening) >= len(self._waiting):
            return
        if len(self._open) + len(self._opening) < self._limit:
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled():
            task.result()
        self._grow()

    async def _connect(self) -> None:
        target = self._target
        try:
            async with asyncio.timeout(min(self.timeout, 10)):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self),
                    target.host,
                    target.port,
                    ssl=target.tls,
                    server_hostname=target.host if target.tls else None,
                )
        except (OSError, TimeoutError) as exc:
            self._refused(exc)
            return
        if connection.usable:
            self._open.add(connection)
            self._release(connection)
        else:  # a peer that accepts and hangs up must not be dialled in a circle
            self._refused(ConnectionResetError("closed as soon as it was open"))

    def _refused(self, exc: Exception) -> None:
        if self._waiting:
            exchange = self._waiting.popleft()
            exchange.fail("connect", f"{type(exc).__name__}: {exc}")
            exchange.ended = _now()
            self._on_finish(exchange)

    def _release(self, connection: Connection) -> None:
        if not connection.usable:
            return
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            connection.idle_since = _now()
            self._idle.append(connection)

    def finished(self, connection: Connection, exchange: Exchange) -> None:
        """Called by the connection when an exchange has ended, well or not."""
        self._release(connection)
        self._on_finish(exchange)

    def lost(self, connection: Connection) -> None:
        """Called by the connection when it is closed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._grow()

    def _sweep(self) -> None:
        now = _now()
        for connection in list(self._open):
            exchange = connection.exchange
            if exchange is not None and exchange.deadline < now:
                connection.expire(now)
        while self._waiting and self._waiting[0].intended + self.timeout < now:
            exchange = self._waiting.popleft()
            exchange.fail("timeout", f"no free connection for {self.timeout:g} s")
            exchange.ended = now
            self._on_finish(exchange)
        if not self._closed:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def give_up(self) -> None:
        """Fail all that is still under way as `unfinished`."""
        now = _now()
        for exchange in list(self._waiting):
            exchange.fail("unfinished", "the run ended first")
            exchange.ended = now
            self._on_finish(exchange)
        self._waiting.clear()
        for connection in list(self._open):
            if connection.exchange is not None:
                connection.exchange.fail("unfinished", "the run ended first")
                connection.expire(now)
