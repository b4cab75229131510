"""Is memory flat? A steady load for half an hour, and each worker's slope: `python -m perf.soak --help`."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import psutil
import uvloop

from perf import console, pasting, results
from perf.chaos.site import LIMITS, Site, scratch
from perf.chaos.traffic import Plan, ask
from perf.chaos.verdicts import Chronicle, Tally, Verdict
from perf.options import MAX_SECONDS
from perf.slope import BOUND, Sample, blocks, fit
from perf.stack import StackError, interrupt_as_exit

WARM_SHARE = 0.25
"""Of the run: pools, caches and the allocator's arenas are filled in it."""
INTERVAL_SECONDS = 2.0
SETTINGS = {name: LIMITS[name] for name in ("cache", "limits")}
"""All that uses Redis; else the defaults."""

Row = list[str]


class Watch(threading.Thread):
    """Looks at every worker again and again."""

    def __init__(self, pids: Sequence[int], *, interval: float = INTERVAL_SECONDS) -> None:
        super().__init__(name="soak", daemon=True)
        self.samples: dict[int, list[Sample]] = {pid: [] for pid in pids}
        self._interval = interval
        self._began = time.monotonic()
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until it is told to stop; a worker that is gone is looked at no more."""
        processes = {pid: psutil.Process(pid) for pid in self.samples}
        while not self._stopping.wait(self._interval):
            for pid, process in list(processes.items()):
                try:
                    seen = (process.memory_info().rss, process.num_fds())
                except psutil.NoSuchProcess:
                    del processes[pid]
                else:
                    self.samples[pid].append((time.monotonic() - self._began, *seen))

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self.join()


def grown(samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    """What is said of one worker. Raises ValueError where it lived too short a time."""
    warm = [one for one in samples if one[0] >= seconds * WARM_SHARE]
    if not warm:
        raise ValueError("a worker ended during the run")
    slope = fit(blocks(warm))
    return {
        "first": warm[0][1],
        "last": warm[-1][1],
        "files": [warm[0][2], warm[-1][2]],
        "kib_per_minute": round(slope.slope, 2),
        "interval": [round(slope.low, 2), round(slope.high, 2)],
        "verdict": slope.verdict(),
    }


def run(site: Site, plan: Plan, *, show: Callable[[float, str], None]) -> dict[str, Any]:
    """Load the site and watch its workers. Raises ValueError for a run that is too short."""
    tally = Tally(Chronicle(), began=time.perf_counter())
    pids = list(site.workers.alive())
    watch = Watch(pids)
    watch.start()
    try:
        uvloop.run(ask(site.target, site.key, plan, tally, tick=lambda seconds: show(seconds, tally.note())))
    finally:
        watch.stop()
    workers = {str(pid): grown(samples, plan.seconds) for pid, samples in watch.samples.items()}
    flat = all(worker["verdict"] != "grows" for worker in workers.values())
    return {
        "options": dataclasses.asdict(plan),
        "requests": sum(tally.counts.values()),
        "verdicts": {str(verdict): tally.counts[verdict] for verdict in Verdict},
        "bound": BOUND,
        "workers": workers,
        "samples": {str(pid): samples for pid, samples in watch.samples.items()},
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


def _row(worker: dict[str, Any]) -> list[str]:
    low, high = worker["interval"]
    sizes = [console.mib(worker[name]) for name in ("first", "last")]
    files = " → ".join(map(str, worker["files"]))
    slope = f"{worker['kib_per_minute']:+.1f} ({low:+.1f} to {high:+.1f})"
    return [*sizes, slope, files, worker["verdict"]]


HEAD = ("RSS after the warm-up", "at the end", "KiB a minute (95 % interval)", "open files", "")


def told(content: dict[str, Any]) -> str:
    """The result as the README shows it."""
    options = content["options"]
    rows = [
        f"{content['started_at'][:10]}: {options['seconds'] / 60:g} minutes at {options['rate']:g} "
        f"requests/s, {content['requests']} requests, {content['verdicts'][str(Verdict.LEFT)]} of them left "
        f"early by their callers; bound {content['bound']:g} KiB a minute (1 MiB an hour).",
        "",
        "| | " + " | ".join(HEAD) + " |",
        "|---|" + "---|" * len(HEAD),
        *(
            f"| worker {number} | " + " | ".join(_row(worker)) + " |"
            for number, worker in enumerate(content["workers"].values(), 1)
        ),
    ]
    return "\n".join(rows)


@click.command(context_settings={"show_default": True})
@click.option("--seconds", type=click.FloatRange(20, MAX_SECONDS), default=1800.0, help="How long it lasts.")
@click.option("--rate", type=click.FloatRange(1, 1000), default=60.0, help="Requests a second.")
@click.option("--seed", type=int, default=1, help="Of the questions.")
@click.option(
    "--output-dir", type=click.Path(file_okay=False, path_type=Path), default=Path("results"),
    help="Where the result (JSON) and the chart go.",
)  # fmt: skip
@click.option("--readme", is_flag=True, help="Paste the result into the README.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def main(
    seconds: float, rate: float, seed: int, output_dir: Path, readme: bool, quiet: bool
) -> None:  # fmt: skip
    """Load two workers steadily, and see whether their memory grows.

    Whole answers and streams on every surface and family, some callers leaving early, through nginx, with
    Redis. Memory and open files of each worker are sampled; after a warm-up of a quarter of the time the
    slope of the memory is fitted, with its 95 % interval.

    \b
    Try:
      python -m perf.soak --seconds 300
      python -m perf.soak --output-dir results

    Exit status 1 if the memory of a worker grows by more than 1 MiB an hour, beyond doubt, or if an answer
    was wrong.
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
    rows = [[f"worker {number}", *_row(one)] for number, one in enumerate(content["workers"].values(), 1)]
    console.table(f"{content['requests']} requests", ["", *HEAD], rows)
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
