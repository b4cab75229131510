"""The command line: a calm minute's start, the disorder, the settling, and the verdict on all of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import uvloop

from perf import console, pasting, results
from perf.chaos.disorder import BLOWS, Disorder
from perf.chaos.site import Site, scratch
from perf.chaos.traces import Traces, left_behind, settle
from perf.chaos.traffic import Plan, ask
from perf.chaos.verdicts import BAD, Chronicle, Tally, Verdict
from perf.options import run_options
from perf.stack import StackError, interrupt_as_exit
from perf.tables import markdown_table

WARM_SECONDS = 8.0
"""Traffic without disorder before: pools, caches and allocators are as they will be."""

Report = dict[str, Any]


def run(site: Site, plan: Plan, *, show: Callable[[float, str], None]) -> Report:
    """One run on a site that has just been started. Raises StackError."""
    calm = Tally(Chronicle(), began=time.perf_counter())
    uvloop.run(ask(site.target, site.key, dataclasses.replace(plan, seconds=WARM_SECONDS), calm))
    before = settle(site, lambda seen: not (seen.counted or seen.upstream))
    chronicle = Chronicle()
    tally = Tally(chronicle, began=time.perf_counter())
    disorder = Disorder(site, chronicle, plan.seed)
    disorder.start()

    def tick(seconds: float) -> None:
        show(seconds, tally.note())
        if seconds >= plan.seconds:  # what is still under way ends in peace
            disorder.stop()

    try:
        uvloop.run(ask(site.target, site.key, plan, tally, tick=tick))
    finally:
        disorder.finish()
    after = settle(site, lambda seen: not left_behind(before, seen))
    return report(plan, calm, tally, disorder, before, after)


def report(
    plan: Plan, calm: Tally, tally: Tally, disorder: Disorder, before: Traces, after: Traces
) -> Report:
    """The content of a `chaos` result."""
    return {
        "options": dataclasses.asdict(plan),
        "requests": sum(tally.counts.values()),
        "verdicts": {str(verdict): tally.counts[verdict] for verdict in Verdict},
        "calm": {str(verdict): calm.counts[verdict] for verdict in Verdict},
        "by_kind": {
            kind: {str(verdict): tally.kinds[kind, verdict] for verdict in Verdict}
            for kind in sorted({kind for kind, _ in tally.kinds})
        },
        "reasons": dict(tally.reasons.most_common()),
        "disorder": dict(disorder.done.most_common()),
        "before": before.as_dict(),
        "after": after.as_dict(),
        "left_behind": left_behind(before, after),
        "samples": [*calm.samples, *tally.samples],
        "passed": not (tally.bad or calm.bad or left_behind(before, after)),
    }


def show_report(content: Report) -> None:
    """The tables."""
    columns = [str(verdict) for verdict in Verdict]
    rows = [
        [kind, *(str(counts[column]) for column in columns)] for kind, counts in content["by_kind"].items()
    ]
    total = ["all", *(str(content["verdicts"][column]) for column in columns)]
    console.table(f"{content['requests']} requests", ["", *columns], [*rows, total])
    console.table("Errors and cuts", ["", "count"], [[k, str(n)] for k, n in content["reasons"].items()])
    console.table("Disorder", ["", "times"], [[k, str(n)] for k, n in content["disorder"].items()])
    before, after = content["before"], content["after"]
    console.table(
        "Left behind",
        ["", "before", "after"],
        [[k, _plain(k, v), _plain(k, after[k])] for k, v in before.items()],
    )
    for text in content["left_behind"]:
        console.out.print(f"[red]left behind: {text}")
    for sample in content["samples"][:10]:
        console.out.print(sample, style="dim", markup=False)


def _plain(name: str, value: int) -> str:
    return console.mib(value) if name == "memory" else str(value)


def told(content: Report) -> str:
    """The result as the README shows it."""
    counts, before, after = content["verdicts"], content["before"], content["after"]
    blows = ", ".join(f"{name} {content['disorder'].get(name, 0)}×" for name in BLOWS)
    faults = sum(count for name, count in content["disorder"].items() if name not in BLOWS)
    options = content["options"]
    parts = [
        f"{content['started_at'][:10]}: {options['seconds']:g} s at {options['rate']:g} requests/s, "
        f"seed {options['seed']}; {faults} faults of the tenant, {blows}.",
        markdown_table(["", *counts], [[f"{content['requests']} requests", *map(str, counts.values())]]),
        f"Before and after: open files {before['files']} and {after['files']}, largest worker "
        f"{console.mib(before['memory'])} and {console.mib(after['memory'])}, in flight by the shared "
        f"counters {before['counted']} and {after['counted']}, at the tenant {before['upstream']} "
        f"and {after['upstream']}.",
    ]
    return "\n\n".join(parts)


@click.command(context_settings={"show_default": True})
@run_options(600.0, at_least=5, seed="the questions, the faults and the blows")
@click.option(
    "--output-dir", type=click.Path(file_okay=False, path_type=Path), default=None,
    help="Where the result (JSON) goes, with the logs of the run.",
)  # fmt: skip
def main(
    seconds: float, rate: float, seed: int, output_dir: Path | None, readme: bool, quiet: bool
) -> None:  # fmt: skip
    """Break everything at random, and judge every answer.

    The real gateway with two workers behind the real nginx with TLS, real Redis, and the simulator as the
    tenant. The tenant's faults change every few seconds; workers are killed, nginx and Redis restarted,
    tokens revoked. Every request must end in the right answer, in an honest error, or, at a blow of ours,
    in a connection that breaks visibly; and afterwards open files, memory and counters must be what they
    were.

    \b
    Try:
      python -m perf.chaos --seconds 60 --seed 7
      python -m perf.chaos --output-dir results

    Exit status 1 if anything was wrong, hung, or was left behind.
    """
    interrupt_as_exit()
    about = results.about()
    plan = Plan(seconds, rate, seed)
    try:
        with (
            scratch(output_dir, f"chaos-{results.stamp()}") as directory,
            console.progress("chaos", seconds, quiet=quiet) as show,
            Site(directory) as site,
        ):
            content = about | run(site, plan, show=show)
    except StackError as exc:
        raise click.ClickException(str(exc)) from exc
    show_report(content)
    if output_dir is not None:
        console.out.print(f"written: {results.write(output_dir / 'chaos.json', 'chaos', content)}")
    if readme:
        pasting.paste("chaos", told(content))
    bad = sum(content["verdicts"][str(verdict)] for verdict in BAD)
    console.out.print("[green]passed" if content["passed"] else f"[red]failed: {bad} wrong or hung")
    if not content["passed"]:
        raise SystemExit(1)
