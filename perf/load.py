"""Load a gateway and measure it: `python -m perf.load --help`."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import uvloop

from perf import console, results
from perf.arrivals import SCHEDULES
from perf.engine import Sendable
from perf.loops import Edge, Plan, Run, on_interrupt
from perf.meter import Meter
from perf.options import MAX_SECONDS, Ask, ask_options, make_target, output_option, target_options
from perf.surfaces import ENDPOINTS
from perf.workload import Target

MAX_REQUESTS = 100_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """Closed loop with `concurrency` callers, or open loop with `rate` arrivals a second."""

    concurrency: int = 10
    rate: float | None = None
    arrivals: str = "poisson"
    connections: int = 1000
    """Most connections of an open loop; arrivals beyond wait, and their waiting counts."""


async def measure(
    target: Target,
    work: Sendable,
    shape: Shape,
    plan: Plan,
    *,
    edge: Edge | None = None,
    tick: Callable[[Meter], None] | None = None,
    interruptible: bool = False,
) -> dict[str, Any]:
    """Run one load and report it, with what the generator itself used of its core.

    An `interruptible` one is ended early by Ctrl-C, and reports what it has until then.
    """
    meter = Meter(bucket_seconds=max(0.25, plan.duration / 240))
    run = Run(target, work, plan, meter, edge=edge, tick=tick)
    if interruptible:
        on_interrupt(run.interrupt)
    gc.collect()
    gc.freeze()  # what exists already need not be looked at again while measuring
    try:
        if shape.rate is None:
            await run.closed(shape.concurrency)
        else:
            await run.open(SCHEDULES[shape.arrivals](shape.rate), connections=shape.connections)
    finally:
        gc.unfreeze()
    return {
        **meter.report(),
        "generator_cpu_share": round(run.generator_share, 3),
        "interrupted": run.interrupted,
    }


def ticker(show: Callable[[float, str], None]) -> Callable[[Meter], None]:
    """Progress of a run as seconds, with what was counted so far as the note."""
    began = time.perf_counter()

    def tick(meter: Meter) -> None:
        show(time.perf_counter() - began, meter.note())

    return tick


@click.command(context_settings={"show_default": True})
@target_options
@click.option("--surface", type=click.Choice(list(ENDPOINTS)), default="chat", help="What to call, and how.")
@ask_options
@click.option(
    "--identical", is_flag=True, help="Send the very same request each time (shared and cached answers)."
)
@click.option(
    "--concurrency", type=click.IntRange(1, 4096), default=10, help="Closed loop: callers at a time."
)
@click.option(
    "--rate",
    type=click.FloatRange(0.001, 200_000),
    default=None,
    help="Open loop: requests a second, sent whether or not earlier ones are answered.",
)
@click.option(
    "--arrivals", type=click.Choice(list(SCHEDULES)), default="poisson", help="Spacing in the open loop."
)
@click.option(
    "--connections", type=click.IntRange(1, 4096), default=1000, help="Open loop: most connections."
)
@click.option("--duration", type=click.FloatRange(0.1, MAX_SECONDS), default=30.0, help="Seconds to measure.")
@click.option(
    "--requests", type=click.IntRange(1, MAX_REQUESTS), default=None, help="Stop after measuring so many."
)
@click.option("--warmup", type=click.FloatRange(0, 600), default=0.0, help="Seconds before, not counted.")
@output_option
def main(
    base_url: str, key: str | None, ca: Path | None, insecure: bool, timeout: float, quiet: bool,
    surface: str, model: str, stream: bool, prompt_bytes: int, max_tokens: int | None, identical: bool,
    concurrency: int, rate: float | None, arrivals: str, connections: int, duration: float,
    requests: int | None, warmup: float, output: Path | None,
) -> None:  # fmt: skip
    """Load a gateway and measure what callers would see.

    A CLOSED loop (--concurrency) has so many callers, each sending when its last answer is complete: it
    finds the highest throughput. An OPEN loop (--rate) sends at fixed times whatever happens, as the world
    does, and counts latency from when a request was due: it finds what callers really wait.

    \b
    Try:
      python -m perf.load --key $KEY --concurrency 64 --duration 20
      python -m perf.load --key $KEY --stream --rate 50 --output results/stream.json
      python -m perf.load --key $KEY --surface messages --model anthropic--claude-4.6-sonnet --stream
      python -m perf.load --key $KEY --surface embeddings --model text-embedding-3-small --requests 1000
      python -m perf.report results/stream.json

    A stream is good only if it ended as its surface ends one: with a finish reason, then [DONE],
    message_stop or response.completed; Gemini's has only the former. Ctrl-C ends a run early and keeps what
    was measured. Exit status 1 if no request succeeded.
    """
    target = make_target(base_url, ca=ca, insecure=insecure)
    if stream and not ENDPOINTS[surface].streams:
        raise click.UsageError(f"--stream: {surface} has no streams")
    ask = Ask(surface, model, stream, prompt_bytes, max_tokens, identical)
    work = ask.workload(target, key)
    shape = Shape(concurrency, rate, arrivals, connections)
    plan = Plan(duration, warmup=warmup, requests=requests, drain=timeout, timeout=timeout)
    options = {
        "base_url": base_url, "surface": surface, "model": model, "stream": stream,
        "prompt_bytes": prompt_bytes, "max_tokens": max_tokens, "identical": identical,
        "concurrency": None if rate else concurrency, "rate": rate, "arrivals": arrivals if rate else None,
        "duration": duration, "requests": requests, "warmup": warmup,
    }  # fmt: skip
    about = results.about()
    with console.progress(f"{surface} on {target.authority}", warmup + duration, quiet=quiet) as show:
        measured = uvloop.run(measure(target, work, shape, plan, tick=ticker(show), interruptible=True))
    document = {**about, "options": options, "measured": measured}
    console.show_measured(f"{surface} on {base_url}", measured)
    if measured["generator_cpu_share"] > 0.9:
        console.out.print(
            "[yellow]The generator used its whole core: the figures are its limit, not the target's."
        )
    if output is not None:
        console.out.print(f"written: {results.write(output, 'load', document)}")
    if not measured["ok"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
