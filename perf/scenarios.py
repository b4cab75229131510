"""What a benchmark measures: loads as data, one way to run them, and what it costs on which core."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import psutil
import uvloop

from perf.engine import Engine
from perf.load import Shape, measure
from perf.loops import Plan, Run
from perf.meter import Meter
from perf.monitor import cpu_seconds
from perf.stack import CLAUDE, GPT, Child, Contender, Cores, StackError, Upstream
from perf.stats import median, spread
from perf.surfaces import Question
from perf.workload import Workload, prompt

TIMEOUT_SECONDS = 60.0
SATURATED = 0.93


@dataclass(frozen=True, slots=True)
class Load:
    """A load, and how the simulator answers it. What is no gateway is asked in the model's own form."""

    title: str
    prompt_bytes: int
    connections: int
    pace: Mapping[str, float]
    stream: bool = False
    surface: str = "chat"
    model: str = GPT


UNARY: Mapping[str, float] = {"latency_ms": 0, "chunk_interval_ms": 0, "answer_tokens": 32, "chunk_size": 1}
# A role frame, 97 of output, the finish, the usage and the empty first one make 101.
STREAM: Mapping[str, float] = {"latency_ms": 0, "chunk_interval_ms": 20, "answer_tokens": 97, "chunk_size": 1}
# Two events that open, 96 of output, and three at the end make 101; in chunks of chat these are 99 or 100.
CLAUDE_STREAM: Mapping[str, float] = {**STREAM, "answer_tokens": 96}
OPEN_STREAMS: Mapping[str, float] = {
    "latency_ms": 0, "chunk_interval_ms": 1000, "answer_tokens": 600, "chunk_size": 1,
}  # fmt: skip

LOADS: Mapping[str, Load] = {
    "small": Load("Unary, 0.8 KB prompt, 64 connections", 800, 64, UNARY),
    "large": Load("Unary, 175 KB prompt, 64 connections", 175_000, 64, UNARY),
    "streams": Load("200 streams of 101 chunks, 20 ms apart", 800, 200, STREAM, stream=True),
    "messages": Load(
        "200 streams of 101 chunks, 20 ms apart, Messages from Claude", 800, 200, CLAUDE_STREAM,
        stream=True, surface="messages", model=CLAUDE,
    ),
    "translated": Load(
        "200 streams of 101 chunks, 20 ms apart, chat completions from Claude", 800, 200, CLAUDE_STREAM,
        stream=True, model=CLAUDE,
    ),
    "translated-unary": Load(
        "Unary, 0.8 KB prompt, 64 connections, chat completions from Claude", 800, 64, UNARY, model=CLAUDE
    ),
}  # fmt: skip
HELD = Load("open streams", 800, 0, OPEN_STREAMS, stream=True)
"""Streams that are only held open; how many is said elsewhere."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one contender. CPU in microseconds, latencies in milliseconds, shares of a core."""

    requests_per_second: float
    cpu_per_request_us: float
    frames_per_second: float
    cpu_per_frame_us: float
    p50_ms: float
    p99_ms: float
    ttft_p50_ms: float
    failed: int
    first_error: str
    contender_share: float
    """CPU of the contender, as a share of the cores it may use."""
    helpers_share: float
    """CPU of generator and upstream, as a share of the cores they may use."""
    others_share: float
    """What other processes of the machine took of the busier of the two sides."""
    generator_us: float
    """CPU of the generator alone, for a request."""

    @property
    def limited_by(self) -> str:
        """Which side had no core time left."""
        if self.contender_share >= SATURATED:
            return "contender"
        if self.helpers_share >= SATURATED:
            return "generator, upstream"
        return "other processes" if self.others_share > 0.1 else "neither"


class CpuMeter:
    """CPU seconds of process trees and of cores between two edges; the trees are looked up once, before."""

    def __init__(self, contender: Child, upstream: Child, placement: Placement) -> None:
        self._sides = [placement.contender, placement.helpers]
        self._sets = [child.tree.members() for child in (contender, upstream)]
        self._marks: dict[str, list[float]] = {}

    def edge(self, name: str, engine: Engine) -> None:
        """Note the counters at `start` or `end`."""
        cpu = [sum(cpu_seconds(process) for process in members) for members in self._sets]
        busy = [busy_seconds(cores) for cores in self._sides]
        self._marks[name] = [*cpu, time.process_time(), time.perf_counter(), float(engine.frames), *busy]

    def deltas(self) -> list[float]:
        """Seconds of contender, upstream, generator; elapsed; frames; busy seconds of both sides' cores."""
        return [end - start for start, end in zip(self._marks["start"], self._marks["end"], strict=True)]


def busy_seconds(cores: Cores | None) -> float:
    """Seconds that these cores were not idle, since the machine started; all cores without a set."""
    every = psutil.cpu_times(percpu=True)
    chosen = every if cores is None else [every[core] for core in cores if core < len(every)]
    return float(sum(sum(times) - times.idle - getattr(times, "iowait", 0.0) for times in chosen))


def workload(contender: Contender, load: Load) -> Workload:
    """The requests of a load, as this contender takes them."""
    question = Question(prompt(load.prompt_bytes), load.model, stream=load.stream)
    endpoint = contender.endpoint(load.surface, load.model)
    return Workload(contender.name, contender.target, endpoint, question, headers=contender.headers)


@dataclass(frozen=True, slots=True)
class Placement:
    """Which cores whom. None where the system cannot pin."""

    contender: Cores | None
    helpers: Cores | None

    @property
    def contender_cores(self) -> int:
        """How many the contender may use."""
        return len(self.contender) if self.contender else os.cpu_count() or 1

    @property
    def helper_cores(self) -> int:
        """How many generator and upstream may use."""
        return len(self.helpers) if self.helpers else os.cpu_count() or 1

    def __str__(self) -> str:
        if not self.contender or not self.helpers:
            return "not pinned"
        own, others = (", ".join(map(str, sorted(cores))) for cores in (self.contender, self.helpers))
        return f"contender on core {own}, generator and upstream on core {others}"


@dataclass(frozen=True, slots=True)
class Effort:
    """How often each load is measured, and for how many seconds after how many of warm-up."""

    repeat: int
    seconds: float
    warmup: float


def sample(
    load: Load, contender: Contender, upstream: Upstream, placement: Placement, effort: Effort
) -> Sample:
    """Load a contender and measure it once, after a warm-up that does not count.

    Raises StackError when nothing succeeded: no figures, or they would look like those of a fast contender.
    """
    upstream.pace(**load.pace)
    work = workload(contender, load)
    cpu = CpuMeter(contender.child, upstream.child, placement)
    plan = Plan(effort.seconds, warmup=effort.warmup, timeout=TIMEOUT_SECONDS)
    try:
        report = uvloop.run(measure(contender.target, work, Shape(load.connections), plan, edge=cpu.edge))
    except psutil.Error as exc:
        raise StackError(f"{contender.name}: a process ended while it was measured: {exc}") from exc
    if report["failed"] and not report["per_second"]["requests"]:
        raise StackError(f"{contender.name}: no request succeeded; {report['error_samples'][0]}")
    return _sample(report, cpu.deltas(), placement)


def _sample(report: Mapping[str, Any], deltas: Sequence[float], placement: Placement) -> Sample:
    contender, upstream, generator, elapsed, frames, *busy = deltas
    requests = report["per_second"]["requests"] * report["seconds"]
    latency, ttft = report["latency_ms"], report["ttft_ms"]
    return Sample(
        requests_per_second=requests / elapsed,
        cpu_per_request_us=contender / requests * 1e6 if requests else 0.0,
        frames_per_second=frames / elapsed,
        cpu_per_frame_us=contender / frames * 1e6 if frames else 0.0,
        p50_ms=latency.get("p50", 0.0),
        p99_ms=latency.get("p99", 0.0),
        ttft_p50_ms=ttft.get("p50", 0.0),
        failed=report["failed"],
        first_error=(report["error_samples"] or [""])[0],
        contender_share=contender / elapsed / placement.contender_cores,
        helpers_share=(upstream + generator) / elapsed / placement.helper_cores,
        others_share=_others(placement, contender, upstream + generator, busy) / elapsed,
        generator_us=generator / requests * 1e6 if requests else 0.0,
    )


def _others(placement: Placement, contender: float, helpers: float, busy: Sequence[float]) -> float:
    """Core seconds taken by others on the side that suffered more, for each of its cores."""
    if placement.contender is None or placement.contender == placement.helpers:
        return max(busy[0] - contender - helpers, 0.0) / placement.contender_cores
    sides = zip(busy, (contender, helpers), (placement.contender_cores, placement.helper_cores), strict=True)
    return max(max(all_ - ours, 0.0) / cores for all_, ours, cores in sides)


ROUND_SECONDS = 0.5


def _latency_alone(contender: Contender) -> Mapping[str, float]:
    work = workload(contender, LOADS["small"])
    plan = Plan(ROUND_SECONDS, warmup=0.1, timeout=TIMEOUT_SECONDS)
    report = uvloop.run(measure(contender.target, work, Shape(1), plan))
    latency: Mapping[str, float] = report["latency_ms"]
    if report["failed"] or not latency["count"]:
        raise StackError(f"{contender.name}, one request alone: {report['error_samples'] or 'no answer'}")
    return latency


def alone(
    contenders: Sequence[Contender], upstream: Upstream, *, rounds: int = 6
) -> dict[str, dict[str, float]]:
    """One request at a time, directly and through each contender, in turns: latencies, and what was added.

    The turns are short, so a machine that slows down for a while slows all of them; the median of the rounds'
    paired differences counts. Raises StackError for any failure.
    """
    upstream.pace(**UNARY)
    everyone = [upstream.direct(), *contenders]
    p50: dict[str, list[float]] = {contender.name: [] for contender in everyone}
    p99: dict[str, list[float]] = {contender.name: [] for contender in everyone}
    for _ in range(rounds):
        for contender in everyone:
            latency = _latency_alone(contender)
            p50[contender.name].append(latency["p50"])
            p99[contender.name].append(latency["p99"])
    added = {
        name: [b - a for a, b in zip(p50["direct"], values, strict=True)] for name, values in p50.items()
    }
    return {
        name: {
            "p50_ms": median(p50[name]),
            "p99_ms": median(p99[name]),
            "added_p50_ms": median(added[name]),
            "spread": spread(p50[name]),
        }
        for name in p50
    }


def memory(child: Child) -> dict[str, int]:
    """PSS (where told, else RSS) of the whole tree, its largest member, and how many members."""
    sizes = [part.pss or part.rss or 0 for part in child.tree.parts()]
    return {"total": sum(sizes), "largest": max(sizes), "processes": len(sizes)}


async def hold(contender: Contender, work: Workload, streams: int, settle: float) -> dict[str, int]:
    """The memory while so many streams are open and have begun. Raises StackError if they are not."""
    meter, engines = Meter(), list[Engine]()
    run = Run(contender.target, work, Plan(settle + 30), meter, edge=lambda _, engine: engines.append(engine))
    task = asyncio.ensure_future(run.closed(streams))
    try:
        await asyncio.sleep(settle)
        if meter.finished or not engines or engines[0].frames < streams:
            raise StackError(f"{contender.name} does not hold {streams} streams open: {meter.samples[:1]}")
        return await asyncio.to_thread(memory, contender.child)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def open_streams(
    contender: Contender, upstream: Upstream, *, few: int = 100, many: int = 600
) -> dict[str, float]:
    """Memory at rest, and what each further open stream takes, in bytes.

    Measured between `few` and `many`: what the first ones make the process load is not charged to them.
    """
    rest = memory(contender.child)
    upstream.pace(**HELD.pace)
    work = workload(contender, HELD)
    low = uvloop.run(hold(contender, work, few, 3.0))
    high = uvloop.run(hold(contender, work, many, 4.0))
    upstream.pace(**UNARY)
    return {
        "rest_total": rest["total"],
        "rest_worker": rest["largest"],
        "processes": rest["processes"],
        "per_stream": (high["total"] - low["total"]) / (many - few),
        "with_streams": high["total"],
        "streams": many,
    }


def summarise(samples: Sequence[Sample]) -> dict[str, Any]:
    """The median of each figure over the repeats, the spread of the two that matter, and all of them."""
    rows = [asdict(one) for one in samples]
    medians: dict[str, Any] = {
        key: median([row[key] for row in rows]) for key, value in rows[0].items() if isinstance(value, float)
    }
    middle = replace(samples[0], **medians)
    return {
        **asdict(middle),
        "failed": sum(one.failed for one in samples),
        "first_error": next((one.first_error for one in samples if one.first_error), ""),
        "limited_by": middle.limited_by,
        "spread": {
            key: round(spread([row[key] for row in rows]), 4)
            for key in ("requests_per_second", "cpu_per_request_us", "cpu_per_frame_us")
        },
        "repeats": rows,
    }
