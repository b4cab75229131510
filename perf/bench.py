"""The scenarios of the performance budget, beside peers in the same run: `python -m perf.bench --help`."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from perf import console, pasting, results
from perf.benchreport import REFERENCES, TABLES, brief, budget_members, markdown, show
from perf.monitor import Gone
from perf.options import output_dir_option
from perf.scenarios import LOADS, Effort, Placement, Sample, alone, open_streams, sample, summarise
from perf.stack import (
    BARE,
    Contender,
    Cores,
    StackError,
    Upstream,
    bare,
    gateway,
    interrupt_as_exit,
    nginx,
    pinned,
    simulator,
    usable_cores,
)  # fmt: skip
from perf.stats import median, spread

STARTS = 3


@dataclass(frozen=True, slots=True)
class Peers:
    """Who is measured."""

    gateway: bool
    nginx: bool
    bare: bool

    def count(self, scenario: str) -> int:
        """How many take part."""
        return self.gateway + self.nginx + (self.bare and scenario in REFERENCES)


@dataclass(frozen=True)
class Bench:
    """What every scenario needs."""

    directory: Path
    upstream: Upstream
    cores: Sequence[int]
    placement: Placement
    effort: Effort
    peers: Peers
    note: Callable[[str], None]

    @contextlib.contextmanager
    def contenders(self, names: Sequence[str]) -> Iterator[list[Contender]]:
        """The gateway with one worker and its peers for these scenarios, all on the contender's core."""
        where = self.directory, self.placement.contender, self.upstream
        with contextlib.ExitStack() as stack:
            started: list[Contender] = []
            if self.peers.gateway:
                started.append(stack.enter_context(gateway(*where)).contender)
            if self.peers.bare and not REFERENCES.keys().isdisjoint(names):
                started.append(stack.enter_context(bare(*where)))
            if self.peers.nginx:
                started.append(stack.enter_context(nginx(*where)))
            yield started

    def sample(self, name: str, contender: Contender, placement: Placement) -> Sample:
        """One measurement of a load."""
        return sample(LOADS[name], contender, self.upstream, placement, self.effort)


def taking_part(name: str, contenders: Sequence[Contender]) -> list[Contender]:
    """The contenders of a scenario: bare only where it is a reference."""
    return [contender for contender in contenders if contender.name != BARE or name in REFERENCES]


def run_loads(bench: Bench, names: Sequence[str], contenders: Sequence[Contender]) -> dict[str, Any]:
    """The loads by name, the contenders taking turns in each repeat."""
    measured: dict[str, Any] = {}
    for name in names:
        chosen = taking_part(name, contenders)
        samples: dict[str, list[Sample]] = {contender.name: [] for contender in chosen}
        for number in range(bench.effort.repeat):
            for contender in chosen:
                bench.note(f"{LOADS[name].title}: {contender.name}, {number + 1} of {bench.effort.repeat}")
                samples[contender.name].append(bench.sample(name, contender, bench.placement))
        measured[name] = {contender: summarise(values) for contender, values in samples.items()}
    return measured


def run_alone(bench: Bench, contenders: Sequence[Contender]) -> dict[str, Any]:
    """One request at a time."""
    bench.note("one request alone: direct and through each, in turns")
    return alone(contenders, bench.upstream, rounds=max(2 * bench.effort.repeat, int(bench.effort.seconds)))


def run_memory(bench: Bench, contenders: Sequence[Contender]) -> dict[str, Any]:
    """Memory at rest and per open stream."""
    figures = {}
    for contender in contenders:
        bench.note(f"memory at rest and with open streams: {contender.name}")
        figures[contender.name] = open_streams(contender, bench.upstream)
    return figures


def run_start(bench: Bench) -> dict[str, Any]:
    """Seconds from the start of the process to the first ready answer."""
    seconds = []
    for number in range(STARTS):
        bench.note(f"start of the gateway, {number + 1} of {STARTS}")
        with gateway(bench.directory, bench.placement.contender, bench.upstream) as started:
            seconds.append(started.seconds)
    return {"seconds": median(seconds), "spread": spread(seconds), "repeats": seconds}


def scaling_placement(cores: Sequence[int]) -> tuple[Placement, Placement, str]:
    """Where one worker and two workers run, and what that means for the figure."""
    if len(cores) < 2:
        free = Placement(None, None)
        return free, free, "nothing is pinned, so one worker may use any core"
    both, others = frozenset(cores[:2]), frozenset(cores[2:])
    if len(others) >= 2:
        one = Placement(frozenset(cores[:1]), others)
        return one, Placement(both, others), "own cores for the helpers"
    shared = "generator and upstream share the two cores with the workers"
    return default_placement(cores), Placement(both, both), shared


def run_scaling(bench: Bench) -> dict[str, Any]:
    """Two workers on two cores against one on one."""
    single, double, condition = scaling_placement(bench.cores)
    figures: dict[str, Any] = {"condition": condition}
    for name, placement, workers in (("one", single, 1), ("two", double, 2)):
        bench.note(f"{workers} worker(s)")
        with (
            _moved(bench.upstream, placement),
            gateway(bench.directory, placement.contender, bench.upstream, workers=workers) as started,
        ):
            samples = [
                bench.sample("small", started.contender, placement) for _ in range(bench.effort.repeat)
            ]
        figures[name] = summarise(samples)
    one, two = figures["one"], figures["two"]
    figures["measured_ratio"] = _ratio(two["requests_per_second"], one["requests_per_second"])
    # On free cores each worker would get a whole one, so only what a request costs decides.
    figures["by_cpu_ratio"] = 2 * _ratio(one["cpu_per_request_us"], two["cpu_per_request_us"])
    return figures


def _ratio(above: float, below: float) -> float:
    return above / below if below else 0.0


@contextlib.contextmanager
def _moved(upstream: Upstream, placement: Placement) -> Iterator[None]:
    """Generator and upstream on other cores for a while."""
    if placement.helpers is None:
        yield
        return
    pids = [process.pid for process in upstream.child.tree.members()]
    before = os.sched_getaffinity(pids[0])
    _place(pids, placement.helpers)
    try:
        with pinned(placement.helpers):
            yield
    finally:
        _place(pids, before)


def _place(pids: Sequence[int], cores: Cores | set[int]) -> None:
    for pid in pids:
        os.sched_setaffinity(pid, cores)


def run_scenarios(bench: Bench, names: Sequence[str]) -> dict[str, Any]:
    """Everything asked for, in an order that starts the contenders once."""
    measured: dict[str, Any] = {}
    if bench.peers.gateway and "start" in names:
        measured["start"] = run_start(bench)
    together = [name for name in names if name in LOADS or name in {"alone", "memory"}]
    if together:
        with bench.contenders(names) as contenders:
            if "memory" in names:  # first: at rest means before any load
                measured["memory"] = run_memory(bench, taking_part("memory", contenders))
            if "alone" in names:
                measured["alone"] = run_alone(bench, taking_part("alone", contenders))
            measured |= run_loads(bench, [name for name in names if name in LOADS], contenders)
    if bench.peers.gateway and "scaling" in names:
        measured["scaling"] = run_scaling(bench)
    return measured


def default_placement(cores: Sequence[int]) -> Placement:
    """The contender on the first core, generator and upstream on the second; unpinned without two."""
    if len(cores) < 2:
        return Placement(None, None)
    return Placement(frozenset(cores[:1]), frozenset(cores[1:2]))


def steps(names: Sequence[str], repeat: int, peers: Peers) -> int:
    """How many notes a run of these scenarios makes."""
    fixed = {"start": STARTS, "alone": 1, "memory": peers.count("memory"), "scaling": 2}
    return sum(fixed.get(name, repeat * peers.count(name)) for name in names)


@click.command(context_settings={"show_default": True})
@click.option(
    "--scenario",
    "names",
    type=click.Choice(list(TABLES)),
    multiple=True,
    default=tuple(TABLES),
    help="Which; repeat for several.",
)
@click.option(
    "--repeat", type=click.IntRange(1, 20), default=1, help="Measurements of each load; the median counts."
)
@click.option("--seconds", type=click.FloatRange(0.2, 600.0), default=6.0, help="Measured, for each load.")
@click.option("--warmup", type=click.FloatRange(0.0, 10.0), default=2.0, help="Before, not counted.")
@click.option("--nginx/--no-nginx", "with_nginx", default=True, help="Measure nginx in the same run.")
@click.option(
    "--bare/--no-bare", "with_bare", default=True, help="Measure bare Sanic + pyreqwest in the same run."
)
@click.option("--gateway/--no-gateway", "with_gateway", default=True, help="Measure the gateway.")
@click.option("--readme", is_flag=True, help="Paste the result into the README; for whole runs only.")
@output_dir_option
def main(
    names: tuple[str, ...], repeat: int, seconds: float, warmup: float,
    with_nginx: bool, with_bare: bool, with_gateway: bool, readme: bool, output_dir: Path,
) -> None:  # fmt: skip
    """Measure the gateway against its performance budget, beside two that do the least a proxy can do.

    Everything runs on this machine's loopback: the contender on one core, the load generator and the
    simulated upstream on another. Machines differ, so quote the ratios; and look at what limited each run: a
    contender that did not use its whole core could have done more. nginx translates nothing: it gets what the
    model itself takes. bare is Sanic and pyreqwest with nothing else, for small, large and streams: its CPU
    carries the budget over to this machine. Writes bench_TS.md and bench_TS.json.

    \b
    Scenarios:
      small             unary, 0.8 KB prompt, 64 connections
      large             unary, 175 KB prompt, 64 connections
      streams           200 streams of 101 chunks, 20 ms apart: CPU per chunk
      messages          the same, Anthropic's Messages passed through to Claude
      translated        the same, chat completions from Claude
      translated-unary  small, chat completions from Claude
      alone             one request alone: p50 added over the direct call
      memory            at rest, and per open stream
      scaling           2 workers on 2 cores against 1 on 1
      start             from process start to the first ready answer

    \b
    Try:
      python -m perf.bench
      python -m perf.bench --scenario small --scenario streams --repeat 5
    """
    if readme and not (with_nginx and with_bare and with_gateway and set(names) == set(TABLES)):
        raise click.UsageError("--readme wants every scenario and every contender")
    interrupt_as_exit()
    stamp, about, cores = results.stamp(), results.about(), usable_cores()
    effort = Effort(repeat, seconds, warmup)
    try:
        measured = _run(
            cores, tuple(dict.fromkeys(names)), effort, Peers(with_gateway, with_nginx, with_bare)
        )
    except (StackError, Gone) as exc:
        raise click.ClickException(str(exc)) from exc
    options = {**asdict(effort), "placement": str(default_placement(cores))}
    document = {**about, "options": options, "scenarios": measured, "budget": budget_members(measured)}
    show(document)
    path = results.write(output_dir / f"bench_{stamp}.json", "bench", document)
    path.with_suffix(".md").write_text(markdown(document), encoding="utf-8")
    console.out.print(f"written: {path} and {path.with_suffix('.md')}")
    if readme:
        pasting.paste("bench", brief(document))


def _run(cores: Sequence[int], names: Sequence[str], effort: Effort, peers: Peers) -> dict[str, Any]:
    placement, done = default_placement(cores), itertools.count()
    total = steps(names, effort.repeat, peers)
    with (
        tempfile.TemporaryDirectory(prefix="perf-bench-") as directory,
        pinned(placement.helpers),
        simulator(Path(directory), placement.helpers) as upstream,
        console.progress("benchmark", total) as show,
    ):
        bench = Bench(
            Path(directory), upstream, cores, placement, effort, peers,
            note=lambda text: show(next(done), text),
        )  # fmt: skip
        return run_scenarios(bench, names)


if __name__ == "__main__":
    main()
