"""Replay recorded traffic with its timing: `python -m perf.replay --help`.

The format of a recording is described in `perf.recording`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import uvloop

from perf import console, results
from perf.arrivals import Alarm
from perf.engine import Engine, Exchange
from perf.http1 import request_head
from perf.loops import on_interrupt
from perf.meter import Meter
from perf.options import MAX_SECONDS, make_target, output_option, target_options
from perf.recording import SECRET_HEADERS, Recorded, Recording, RecordingError
from perf.stats import Histogram
from perf.surfaces import Question, endpoint_of
from perf.workload import Target, bearer, encode, fresh_prompt

_OURS = SECRET_HEADERS | {"host", "content-length", "connection", "transfer-encoding", "accept-encoding",
                          "te", "expect", "keep-alive", "upgrade"}  # fmt: skip
MAX_MISMATCHES = 20
CALLER_LEFT = 499


def synthetic_body(recorded: Recorded) -> dict[str, Any]:
    """A body for a line without one, of about `body_bytes` bytes when encoded, and like no other."""
    build = endpoint_of(recorded.path).body
    assert build is not None, "only requests with a body are made up"
    asked = Question(model=recorded.model, stream=recorded.stream)
    room = recorded.body_bytes - len(encode(build(asked)))
    return build(replace(asked, text=fresh_prompt(max(room, 1))))


class Replayed:
    """A recorded request, ready to be sent to another target."""

    __slots__ = ("_bytes", "dialect", "stream")

    def __init__(self, recorded: Recorded, target: Target, headers: Mapping[str, str]) -> None:
        self.stream = recorded.stream and recorded.method == "POST"
        self.dialect = endpoint_of(recorded.path).dialect
        payload = b""
        if recorded.body is not None:
            payload = encode(recorded.body)
        elif recorded.method == "POST":
            payload = encode(synthetic_body(recorded))
        fields = {
            name.lower(): value for name, value in recorded.headers.items() if name.lower() not in _OURS
        }
        if payload:
            fields["content-type"] = "application/json"
        fields |= headers
        path = target.path(recorded.path)
        self._bytes = request_head(recorded.method, path, target.authority, fields, len(payload)) + payload

    def parts(self) -> Sequence[bytes]:
        """The request."""
        return (self._bytes,)

    def accepts(self, body: bytes) -> bool:
        """Any body: the recording does not say what the right one is."""
        return True


class Comparison:
    """Recorded and replayed figures of the same requests, side by side."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.meter.open_window(time.perf_counter())
        self.total, self.first_byte = Histogram(), Histogram()
        self.statuses: Counter[tuple[int, int]] = Counter()
        self.mismatches: list[str] = []
        self._tokens = Counter[str]()

    def record(self, exchange: Exchange) -> None:
        """Take in a finished exchange, whose tag is its recorded line."""
        recorded = exchange.tag
        assert isinstance(recorded, Recorded)
        if recorded.status is not None and recorded.status >= 400 and exchange.status == recorded.status:
            exchange.failure = None  # failed then, fails now: that is a faithful answer
        self.meter.record(exchange)
        if exchange.failure != "unfinished":
            self._compare(recorded, exchange)
        if exchange.failure is not None:
            return  # it adds nothing to the replayed figures, so neither to the recorded
        for value, histogram in ((recorded.total_ms, self.total), (recorded.first_byte_ms, self.first_byte)):
            if value is not None:
                histogram.record(value / 1e3)
        self._tokens["prompt"] += recorded.prompt_tokens or 0
        self._tokens["completion"] += recorded.completion_tokens or 0

    def _compare(self, recorded: Recorded, exchange: Exchange) -> None:
        if recorded.status in {None, CALLER_LEFT}:  # a caller who left had seen no status
            return
        self.statuses[recorded.status, exchange.status] += 1
        if recorded.status != exchange.status and len(self.mismatches) < MAX_MISMATCHES:
            reason = exchange.detail or "answered"
            self.mismatches.append(
                f"at {recorded.at:g} s {recorded.method} {recorded.path}: "
                f"{recorded.status} recorded, {exchange.status or 'none'} now ({reason})"
            )

    def report(self) -> dict[str, Any]:
        """The content of a `replay` result."""
        return {
            "recorded": {
                "latency_ms": self.total.summary(),
                "first_byte_ms": self.first_byte.summary(),
                "tokens": {"prompt": self._tokens["prompt"], "completion": self._tokens["completion"]},
                "distributions": {
                    "latency": self.total.distribution(),
                    "first_byte": self.first_byte.distribution(),
                },
            },
            "measured": self.meter.report(),
            "statuses": {
                "same": sum(count for (then, now), count in self.statuses.items() if then == now),
                "different": sum(count for (then, now), count in self.statuses.items() if then != now),
                "pairs": [[then, now, count] for (then, now), count in sorted(self.statuses.items())],
                "examples": self.mismatches,
            },
        }


def due_times(requests: Iterator[Recorded], *, speed: float) -> Iterator[tuple[float, Recorded]]:
    """When each request is due, in seconds since the start of the replay, the first one at once."""
    origin: float | None = None
    for recorded in requests:
        if origin is None:
            origin = recorded.at
        yield (recorded.at - origin) / speed, recorded


class Player:
    """Sends requests when they are due, whether or not earlier ones have been answered.

    `sent` counts them. With the clock and alarm of a test it needs no time to pass.
    """

    def __init__(
        self,
        due: Iterator[tuple[float, Recorded]],
        send: Callable[[Recorded, float], None],
        *,
        clock: Callable[[], float] = time.perf_counter,
        alarm: Callable[[Callable[[], None]], Any] = Alarm,
    ) -> None:
        self._due = due
        self._send = send
        self._clock = clock
        self.sent = 0
        self.interrupted = False
        self.done = asyncio.Event()
        self._began = clock()
        self._next = next(due, None)
        self._alarm = alarm(self.ring)

    def ring(self) -> None:
        """Send what is due, and set the alarm for what is next."""
        now = self._clock()
        while self._next is not None and self._began + self._next[0] <= now and not self.done.is_set():
            at, recorded = self._next
            self.sent += 1
            self._send(recorded, self._began + at)
            self._next = next(self._due, None)
        if self._next is None:
            self.done.set()
        elif not self.done.is_set():
            self._alarm.set(self._began + self._next[0])

    def stop(self) -> None:
        """Send no more."""
        self.done.set()
        self._alarm.close()

    def interrupt(self) -> None:
        """Send no more, and do not wait long for answers."""
        self.interrupted = True
        self.stop()


async def play(
    recording: Recording,
    target: Target,
    *,
    headers: Mapping[str, str],
    speed: float,
    start: int = 0,
    limit: int | None = None,
    connections: int = 1000,
    timeout: float = 120.0,
    max_seconds: float = MAX_SECONDS,
    tick: Callable[[int, Meter], None] | None = None,
) -> tuple[Comparison, int]:
    """Replay part of a recording; the comparison, and the number of the next request to resume from.

    SIGINT ends it early: what is under way is given a second.
    """
    comparison = Comparison()
    async with Engine(
        target, connections=connections, timeout=timeout, on_finish=comparison.record
    ) as engine:

        def send(recorded: Recorded, due: float) -> None:
            engine.submit(Exchange(Replayed(recorded, target, headers), due, tag=recorded))

        player = Player(due_times(recording.read(start=start, limit=limit), speed=speed), send)
        on_interrupt(player.interrupt)
        player.ring()
        until = time.perf_counter() + max_seconds
        while not player.done.is_set() and time.perf_counter() < until:
            await _pause(player.done, 0.25)
            if tick is not None:
                tick(player.sent, comparison.meter)
        player.stop()
        await _drain(engine, 1.0 if player.interrupted else timeout)
    return comparison, start + player.sent


async def _pause(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _drain(engine: Engine, seconds: float) -> None:
    until = time.perf_counter() + seconds + 0.2
    while engine.pending and time.perf_counter() < until:  # noqa: ASYNC110 (nobody else waits for it)
        await asyncio.sleep(0.01)
    engine.give_up()


def show_comparison(report: Mapping[str, Any]) -> None:
    """The tables at the end."""
    rows = []
    for key, title in console.LATENCIES.items():
        for side, name in (("recorded", "recorded"), ("measured", "replayed")):
            values = report[side].get(key)
            if values and values["count"]:
                figures = (console.ms(values[point]) for point in console.POINTS)
                rows.append([f"{title}, {name}", str(values["count"]), *figures])
    console.table("Recorded and replayed", ["", "count", *console.POINTS], rows)
    statuses, measured = report["statuses"], report["measured"]
    console.out.print(
        f"{measured['ok']} good, {measured['failed']} failed, {measured['unfinished']} unfinished; "
        f"status as recorded: {statuses['same']}, different: {statuses['different']}"
    )
    for example in statuses["examples"][:5]:
        console.out.print(f"  {example}", style="yellow", markup=False)


@click.command(context_settings={"show_default": True})
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@target_options
@click.option("--speed", type=click.FloatRange(0.001, 10_000), default=1.0, help="2 replays twice as fast.")
@click.option("--start", type=click.IntRange(0), default=0, help="Skip so many requests.")
@click.option("--limit", type=click.IntRange(1), default=None, help="Replay at most so many requests.")
@click.option(
    "--resume",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Go on where this earlier result ended.",
)
@click.option("--connections", type=click.IntRange(1, 4096), default=1000, help="Most connections at a time.")
@click.option(
    "--max-duration",
    type=click.FloatRange(0.1, MAX_SECONDS),
    default=MAX_SECONDS,
    help="Stop sending after so many seconds.",
)
@click.option("--check", is_flag=True, help="Only verify every line of the recording; send nothing.")
@output_option
def main(
    recording: Path, base_url: str, key: str | None, ca: Path | None, insecure: bool, timeout: float,
    quiet: bool, speed: float, start: int, limit: int | None, resume: Path | None, connections: int,
    max_duration: float, check: bool, output: Path | None,
) -> None:  # fmt: skip
    """Send a RECORDING of real traffic to any gateway, with its timing, and compare.

    The gateway writes such a file when its configuration says
    {"recorder": {"path": "traffic.jsonl"}}; without bodies unless "bodies" is true, and then replay makes up
    prompts of the recorded size. Credentials are never recorded: give the key here.

    \b
    Try:
      python -m perf.replay traffic.jsonl --check
      python -m perf.replay traffic.jsonl --key $KEY --speed 10 --output results/replay.json
      python -m perf.replay traffic.jsonl --key $KEY --resume results/replay.json

    Ctrl-C ends it early; the result says where to resume. Exit status 1 if any request failed that had not
    failed when it was recorded, or was answered with another status.
    """
    lines = _checked(recording)
    if check or not len(lines):
        console.out.print(
            f"{recording}: {len(lines)} requests over {lines.seconds:.1f} s, every line is valid"
        )
        return
    target = make_target(base_url, ca=ca, insecure=insecure)
    start = _resume_point(resume) if resume else start
    total = min(len(lines) - start, limit or len(lines))
    if total <= 0:
        raise click.UsageError(f"nothing to replay from request {start} on: the recording has {len(lines)}")
    about = results.about()
    with console.progress(f"replaying on {target.authority}", total, quiet=quiet) as show:
        comparison, following = uvloop.run(
            play(
                lines, target, headers=bearer(key), speed=speed, start=start, limit=limit,
                connections=connections, timeout=timeout, max_seconds=max_duration,
                tick=lambda sent, meter: show(sent, meter.note()),
            )
        )  # fmt: skip
    report = comparison.report()
    show_comparison(report)
    if following < len(lines):
        console.out.print(f"{len(lines) - following} requests are left: go on with --start {following}")
    if output is not None:
        options = {"recording": recording.name, "base_url": base_url, "speed": speed, "start": start}
        document = {**about, "options": options, "next": following, **report}
        console.out.print(f"written: {results.write(output, 'replay', document)}")
    if report["measured"]["failed"] or report["statuses"]["different"]:
        raise SystemExit(1)


def _checked(path: Path) -> Recording:
    try:
        lines = Recording(path)
    except RecordingError as exc:
        raise click.ClickException(str(exc)) from exc
    if lines.cut_short:
        console.err.print("[yellow]the last line is cut short and left out")
    return lines


def _resume_point(path: Path) -> int:
    try:
        result = results.read(path)
    except results.ResultError as exc:
        raise click.ClickException(str(exc)) from exc
    if result["kind"] != "replay":
        raise click.UsageError(f"{path} is not the result of a replay")
    return int(result["next"])


if __name__ == "__main__":
    main()
