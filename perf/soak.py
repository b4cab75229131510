"""Is memory flat? A steady load for half an hour, and each worker's slope: `python -m perf.soak --help`."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import uvloop

from perf import console, pasting, results
from perf.chaos.site import LIMITS, Site, scratch
from perf.chaos.traffic import Plan, ask
from perf.chaos.verdicts import Chronicle, Tally, Verdict
from perf.monitor import ProcessTree, Sampler
from perf.options import output_dir_option, run_options
from perf.slope import BOUND, Sample, blocks, fit
from perf.stack import StackError, interrupt_as_exit
from perf.tables import markdown_table

WARM_SHARE = 0.25
"""Of the run: pools, caches and the allocator's arenas are filled in it."""
WARM_RATE = 1.5
"""Times the rate while it warms up: a peak of the steady load then finds what it needs, and grows nothing."""
INTERVAL_SECONDS = 2.0
SETTINGS = {name: LIMITS[name] for name in ("cache", "limits")}
"""All that uses Redis; else the defaults."""


def watched(sampler: Sampler) -> list[Sample]:
    """What was seen of a worker. Raises ValueError for one that ended before the run."""
    if sampler.ended:
        raise ValueError(f"{sampler.ended} during the run")
    return [(row["at"], row["rss"], row["fds"]) for row in sampler.samples]


def grown(samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    """What is said of one worker. Raises ValueError for too few samples."""
    warm = [one for one in samples if one[0] >= seconds * WARM_SHARE]
    slope = fit(blocks(warm))
    return {
        "first": warm[0][1],
        "last": warm[-1][1],
        "files": [warm[0][2], warm[-1][2]],
        "kib_per_minute": round(slope.slope, 2),
        "interval": [round(slope.low, 2), round(slope.high, 2)],
        "verdict": slope.verdict(),
    }


def phases(plan: Plan) -> tuple[Plan, Plan]:
    """The warm-up and the rest, with questions of their own."""
    warm = plan.seconds * WARM_SHARE
    return (
        dataclasses.replace(plan, seconds=warm, rate=plan.rate * WARM_RATE, seed=plan.seed + 1),
        dataclasses.replace(plan, seconds=plan.seconds - warm),
    )


def run(site: Site, plan: Plan, *, show: Callable[[float, str], None]) -> dict[str, Any]:
    """Load the site and watch its workers. Raises ValueError if it was too short, or one of them ended."""
    began = time.perf_counter()
    tally = Tally(Chronicle(), began=began)
    samplers = {
        str(pid): Sampler(ProcessTree(pid), interval=INTERVAL_SECONDS) for pid in site.workers.alive()
    }

    def tell(note: str) -> None:
        show(time.perf_counter() - began, note)

    with contextlib.ExitStack() as watching:
        for sampler in samplers.values():
            watching.enter_context(sampler)
        for part in phases(plan):
            uvloop.run(ask(site.target, site.key, part, tally, tick=lambda _: tell(tally.note())))
    samples = {pid: watched(sampler) for pid, sampler in samplers.items()}
    workers = {pid: grown(of_one, plan.seconds) for pid, of_one in samples.items()}
    flat = all(worker["verdict"] == "flat" for worker in workers.values())
    return {
        "options": dataclasses.asdict(plan),
        "requests": sum(tally.counts.values()),
        "verdicts": {str(verdict): tally.counts[verdict] for verdict in Verdict},
        "bound": BOUND,
        "workers": workers,
        "samples": samples,
        "failures": tally.samples,
        "passed": flat and not tally.bad,
    }


def draw(path: Path, content: dict[str, Any]) -> None:
    """RSS of each worker over time."""
    from perf import plots  # matplotlib takes a second

    with plots.figure(path, "Memory of each worker", "minutes", "MiB") as axes:
        for number, (pid, samples) in enumerate(content["samples"].items()):
            at = [one[0] / 60 for one in samples]
            sizes = [one[1] / 2**20 for one in samples]
            slope = content["workers"][pid]["kib_per_minute"]
            label = f"worker {number + 1}: {slope:+.1f} KiB a minute"
            axes.plot(at, sizes, color=plots.COLOURS[number], label=label)
        axes.axvspan(0, content["options"]["seconds"] / 60 * WARM_SHARE, alpha=0.08, color="black")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right")


def rows(content: dict[str, Any]) -> list[list[str]]:
    """The cells of HEAD for each worker."""
    return [[f"worker {number}", *_cells(one)] for number, one in enumerate(content["workers"].values(), 1)]


def _cells(worker: dict[str, Any]) -> list[str]:
    low, high = worker["interval"]
    sizes = [console.mib(worker[name]) for name in ("first", "last")]
    files = " → ".join(map(str, worker["files"]))
    slope = f"{worker['kib_per_minute']:+.1f} ({low:+.1f} to {high:+.1f})"
    return [*sizes, slope, files, worker["verdict"]]


HEAD = ("", "RSS after the warm-up", "at the end", "KiB a minute (95 % interval)", "open files", "")


def told(content: dict[str, Any]) -> str:
    """The result as the README shows it."""
    options = content["options"]
    said = (
        f"{content['started_at'][:10]}: {options['seconds'] / 60:g} minutes at {options['rate']:g} "
        f"requests/s after a quarter at {options['rate'] * WARM_RATE:g}, {content['requests']} requests, "
        f"{content['verdicts'][str(Verdict.LEFT)]} of them left early by their callers; bound "
        f"{content['bound']:g} KiB a minute (1 MiB an hour)."
    )
    return f"{said}\n\n{markdown_table(HEAD, rows(content))}"


@click.command(context_settings={"show_default": True})
@run_options(1800.0, at_least=20, seed="the questions")
@output_dir_option
def main(
    seconds: float, rate: float, seed: int, output_dir: Path, readme: bool, quiet: bool
) -> None:  # fmt: skip
    """Load two workers steadily, and see whether their memory grows.

    Whole answers and streams on every surface and family, some callers leaving early, through nginx, with
    Redis. Memory and open files of each worker are sampled; after a warm-up of a quarter of the time,
    at one and a half times the rate, the drift of the memory is told, with its 95 % interval.

    \b
    Try:
      python -m perf.soak --seconds 300
      python -m perf.soak --output-dir results

    Exit status 1 unless the memory of every worker grows by less than 1 MiB an hour, beyond doubt, and every
    answer was right. Shorter runs often cannot tell.
    """
    interrupt_as_exit()
    about = results.about()
    try:
        with (
            scratch(None, "soak") as directory,
            console.progress("soak", seconds, quiet=quiet) as show,
            Site(directory, settings=SETTINGS) as site,
        ):
            content = about | run(site, Plan(seconds, rate, seed), show=show)
    except (StackError, ValueError) as exc:
        raise click.ClickException(str(exc)) from exc
    console.table(f"{content['requests']} requests", HEAD, rows(content))
    for sample in content["failures"][:10]:
        console.out.print(sample, style="dim", markup=False)
    console.out.print(f"written: {results.write(output_dir / 'soak.json', 'soak', content)}")
    draw(output_dir / "soak.png", content)
    if readme:
        pasting.paste("soak", told(content))
    console.out.print("[green]passed" if content["passed"] else "[red]failed")
    if not content["passed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
