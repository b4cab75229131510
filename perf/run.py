"""Load and monitor as one command, with a verdict: `python -m perf.run --help`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import uvloop

from perf import console, results
from perf.load import Shape, measure, ticker
from perf.loops import Plan
from perf.monitor import Sampler, make_source, show_resources
from perf.options import (
    Ask,
    ask_options,
    duration_option,
    make_target,
    output_dir_option,
    target_options,
    watch_options,
)  # fmt: skip
from perf.verdict import TARGETS, Verdict, judge
from perf.workload import Target, Workload

SHARES = {"chat": 0.6, "models": 0.2, "health": 0.2}
"""Of the duration, for each target; they run one after the other, or the slow one would starve the fast."""


def phases(names: tuple[str, ...], duration: float) -> list[tuple[str, float]]:
    """Seconds for each of the targets named; together the duration."""
    whole = sum(SHARES[name] for name in names)
    return [(name, duration * SHARES[name] / whole) for name in names]


def _measure(
    target: Target, work: Workload, concurrency: int, seconds: float, timeout: float, *, quiet: bool
) -> Any:
    plan = Plan(seconds, drain=timeout, timeout=timeout)
    with console.progress(f"{work.label} on {target.authority}", seconds, quiet=quiet) as show:
        return uvloop.run(
            measure(target, work, Shape(concurrency), plan, tick=ticker(show), interruptible=True)
        )


def until_interrupted(
    steps: Iterable[tuple[str, float]], measure_one: Callable[[str, float], Any]
) -> dict[str, Any]:
    """The report of each target, up to the one during or before which Ctrl-C was pressed."""
    measured: dict[str, Any] = {}
    with contextlib.suppress(KeyboardInterrupt):  # between two targets, when no loop catches the signal
        for name, seconds in steps:
            measured[name] = measure_one(name, seconds)
            if measured[name]["interrupted"]:
                break
    return measured


def show_verdicts(verdicts: list[Verdict]) -> None:
    """One row for each figure of each target."""
    rows = [
        [
            verdict.target if not number else "",
            check.name,
            console.number(check.value),
            console.number(check.limit),
            "[green]met[/]" if check.met else "[red]missed[/]",
            verdict.grade if check.name == "mean" else "",
        ]
        for verdict in verdicts
        for number, check in enumerate(verdict.checks)
    ]
    console.table("Targets", ["target", "figure", "measured", "limit", "", "grade"], rows)


@click.command(context_settings={"show_default": True})
@target_options
@click.option(
    "--concurrency",
    type=click.IntRange(1, 4096),
    default=10,
    envvar="CONCURRENCY",
    help="Callers at a time. [env: CONCURRENCY]",
)
@duration_option
@output_dir_option
@ask_options
@click.option(
    "--target",
    "names",
    type=click.Choice(list(TARGETS)),
    multiple=True,
    default=tuple(TARGETS),
    help="Which targets; repeat for several.",
)
@watch_options
def main(
    base_url: str, key: str | None, ca: Path | None, insecure: bool, timeout: float, quiet: bool,
    concurrency: int, duration: float, output_dir: Path, model: str, stream: bool, prompt_bytes: int,
    max_tokens: int | None, names: tuple[str, ...], pid: int | None, container: str | None, interval: float,
) -> None:  # fmt: skip
    """Load the gateway, watch its resources, and judge it against targets.

    Chat gets 60 % of the time, the model list and the health check 20 % each. Writes perf_test_TS.json and
    resources_TS.json into the output directory, for perf.report.

    \b
    Try:
      BACKEND_URL=http://localhost:3001 CONCURRENCY=20 DURATION=60 python -m perf.run --key $KEY
      python -m perf.run --key $KEY --pid $(pgrep -of 'aicore-gateway serve')
      python -m perf.report results/perf_test_*.json results/resources_*.json

    \b
    Targets    mean     p95      p99      requests/s   grades of the mean
      chat     5 s      10 s     15 s     5            2 s excellent, 5 s good, 10 s acceptable
      models   100 ms   250 ms   500 ms   50           40, 100, 200 ms
      health   50 ms    100 ms   200 ms   100          20, 50, 100 ms

    Errors may not exceed 1 %. Ctrl-C ends it early: what was measured until then is judged and written, and
    the other targets are left out. Exit status 1 if a target is missed, or was not measured to its end.
    """
    target = make_target(base_url, ca=ca, insecure=insecure)
    source = make_source(pid, container)
    stamp, about = results.stamp(), results.about()
    steps = phases(tuple(dict.fromkeys(names)), duration)

    def measure_one(name: str, seconds: float) -> Any:
        work = Ask(name, model, stream, prompt_bytes, max_tokens).workload(target, key)
        return _measure(target, work, concurrency, seconds, timeout, quiet=quiet)

    with contextlib.ExitStack() as stack:
        sampler = stack.enter_context(Sampler(source, interval=interval)) if source is not None else None
        measured = until_interrupted(steps, measure_one)
    complete = len(measured) == len(steps) and not any(one["interrupted"] for one in measured.values())
    verdicts = [judge(name, report, concurrency=concurrency) for name, report in measured.items()]
    for name, report in measured.items():
        console.show_measured(f"{name} on {base_url}", report)
    if sampler is not None:
        resources = sampler.report()
        show_resources(resources)
        results.write(output_dir / f"resources_{stamp}.json", "resources", {**about, **resources})
    show_verdicts(verdicts)
    options = {
        "base_url": base_url,
        "concurrency": concurrency,
        "duration": duration,
        "model": model,
        "stream": stream,
    }
    judged = [{**asdict(verdict), "met": verdict.met} for verdict in verdicts]
    document = {**about, "options": options, "targets": measured, "verdicts": judged}
    console.out.print(f"written: {results.write(output_dir / f'perf_test_{stamp}.json', 'run', document)}")
    if not complete:
        left_out = ", ".join(name for name, _ in steps if name not in measured) or "nothing"
        console.out.print(f"[yellow]interrupted; left out: {left_out}")
    if not complete or not all(verdict.met for verdict in verdicts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
