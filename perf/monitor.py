"""CPU and memory of a process tree or a container: `python -m perf.monitor --help`."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import click
import psutil

from perf import console, results
from perf.options import duration_option, output_option, watch_options

MAX_SAMPLES = 100_000
_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_AMOUNT = re.compile(r"\s*([0-9.]+)\s*([kmgt]?i?)b?\s*", re.IGNORECASE)


class Gone(Exception):
    """The process or container watched is no longer there."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One look. Sizes in bytes; `cpu_seconds` is user and system time since the start, with that of
    descendants that have ended.

    None where the source does not say.
    """

    cpu_seconds: float | None = None
    cpu_percent: float | None = None
    rss: int | None = None
    pss: int | None = None
    uss: int | None = None
    processes: int | None = None
    threads: int | None = None
    fds: int | None = None


class Source(Protocol):
    """Something that can be looked at."""

    name: str

    def read(self) -> Reading:
        """Look. Raises Gone."""


class ProcessTree:
    """A process and its descendants."""

    def __init__(self, pid: int) -> None:
        self.name = f"pid {pid}"
        try:
            self._root = psutil.Process(pid)
        except psutil.NoSuchProcess:
            raise Gone(f"no process {pid}") from None

    def members(self) -> list[psutil.Process]:
        """The process first, then all its descendants. Raises Gone."""
        try:
            if not self._root.is_running() or self._root.status() == psutil.STATUS_ZOMBIE:
                raise Gone(f"{self.name} has ended")
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            raise Gone(f"{self.name} has ended") from None

    def parts(self) -> list[Reading]:
        """A reading of each member; one that ends meanwhile is left out. Raises Gone."""
        parts = [part for process in self.members() if (part := _read_process(process)) is not None]
        if not parts:
            raise Gone(f"{self.name} has ended")
        return parts

    def read(self) -> Reading:
        """The sums over the tree. Raises Gone."""
        parts = self.parts()
        return Reading(
            cpu_seconds=round(sum(part.cpu_seconds or 0 for part in parts), 4),
            rss=_total([part.rss for part in parts]),
            pss=_total([part.pss for part in parts]),
            uss=_total([part.uss for part in parts]),
            processes=len(parts),
            threads=_total([part.threads for part in parts]),
            fds=_total([part.fds for part in parts]),
        )


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and of the children that it has waited for. Raises psutil.Error.

    So the sum over a tree loses nothing when a worker is replaced by another.
    """
    return float(sum(process.cpu_times()[:4]))


def _total(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _read_process(process: psutil.Process) -> Reading | None:
    try:
        with process.oneshot():
            cpu, plain, threads = cpu_seconds(process), process.memory_info(), process.num_threads()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    pss, uss = _shares(process)
    return Reading(cpu, None, plain.rss, pss, uss, 1, threads, _fds(process))


def _fds(process: psutil.Process) -> int | None:
    """Open files, where the system lets us: those of another user's process are hidden."""
    try:
        return process.num_fds()
    except (psutil.Error, OSError):
        return None


def _full_info(process: Any) -> Any:  # psutil's own annotations leave this method untyped
    return process.memory_full_info()


def _shares(process: psutil.Process) -> tuple[int | None, int | None]:
    """PSS and USS, where the system tells and lets us."""
    try:
        full = _full_info(process)
    except (psutil.Error, OSError):
        return None, None
    return getattr(full, "pss", None), getattr(full, "uss", None)


class Container:
    """A container, as `docker stats` sees it."""

    def __init__(self, name: str, *, run: Callable[..., Any] = subprocess.run) -> None:
        self.name = f"container {name}"
        self._container = name
        self._run = run

    def read(self) -> Reading:
        """CPU in per cent of a core, memory, processes. Raises Gone."""
        command = ["docker", "stats", "--no-stream", "--format", "{{json .}}", self._container]
        try:
            done = self._run(command, capture_output=True, text=True, timeout=30, check=True)
            return parse_stats(done.stdout)
        except (OSError, subprocess.SubprocessError) as exc:
            reason = getattr(exc, "stderr", None) or exc
            raise Gone(f"{self.name}: {str(reason).strip()}") from exc


def parse_stats(text: str) -> Reading:
    """One line of `docker stats --format '{{json .}}'`. Raises Gone for anything else."""
    try:
        row = json.loads(text)
        percent = float(row["CPUPerc"].rstrip("%"))
        return Reading(
            cpu_percent=percent, rss=parse_size(row["MemUsage"].split("/")[0]), threads=int(row["PIDs"])
        )
    except (ValueError, KeyError, AttributeError, TypeError) as exc:
        raise Gone(f"docker stats said {text.strip()[:100]!r}") from exc


def parse_size(text: str) -> int:
    """`12.5MiB` in bytes. Raises ValueError."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    return int(float(match[1]) * _UNITS[match[2].lower()])


class Sampler:
    """Looks at a source again and again, by hand (`sample`) or from a thread (`with sampler:`).

    Keeps at most 100,000 samples: of a longer run, every second one is dropped and the interval doubled.
    """

    def __init__(
        self, source: Source, *, interval: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.source = source
        self.interval = interval
        self.samples: list[dict[str, Any]] = []
        self.ended: str | None = None
        """Why sampling stopped early."""
        self._clock = clock
        self._origin = clock()
        self._last: tuple[float, float] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="perf-monitor", daemon=True)

    def sample(self) -> dict[str, Any]:
        """Look once and keep it. Raises Gone."""
        reading = self.source.read()
        now = self._clock()
        row = {"at": round(now - self._origin, 3), **asdict(reading)}
        if reading.cpu_seconds is not None:
            row["cpu_percent"] = self._percent(now, reading.cpu_seconds)
        self.samples.append(row)
        if len(self.samples) >= MAX_SAMPLES:
            del self.samples[1::2]
            self.interval *= 2
        return row

    def _percent(self, now: float, cpu: float) -> float | None:
        last, self._last = self._last, (now, cpu)
        if last is None or now <= last[0]:
            return None
        # Where the system does not tell the time of ended children, a sum can shrink: never negative.
        return round(max(cpu - last[1], 0.0) / (now - last[0]) * 100, 2)

    def _loop(self) -> None:
        try:
            while True:
                self.sample()
                if self._stop.wait(self.interval):
                    self.sample()
                    return
        except Gone as exc:
            self.ended = str(exc)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=35)

    def summary(self) -> dict[str, Any]:
        """Mean and largest of each column, CPU seconds used, growth of the memory."""
        columns = ("cpu_percent", "rss", "pss", "uss", "threads", "fds", "processes")
        summary: dict[str, Any] = {"samples": len(self.samples)}
        for column in columns:
            values = [row[column] for row in self.samples if row[column] is not None]
            if values:
                summary[column] = {
                    "mean": round(sum(values) / len(values), 2),
                    "max": max(values),
                    "last": values[-1],
                }
        cpu = [row["cpu_seconds"] for row in self.samples if row["cpu_seconds"] is not None]
        if cpu:
            summary["cpu_seconds"] = round(sum(max(b - a, 0.0) for a, b in pairwise(cpu)), 4)
        return summary

    def report(self) -> dict[str, Any]:
        """The content of a `resources` result."""
        return {"source": self.source.name, "interval": self.interval, "ended": self.ended,
                "summary": self.summary(), "samples": self.samples}  # fmt: skip


def make_source(pid: int | None, container: str | None) -> Source | None:
    """The source named on a command line; None without one. Raises a usage error."""
    if pid is not None and container is not None:
        raise click.UsageError("give --pid or --container, not both")
    try:
        return ProcessTree(pid) if pid is not None else Container(container) if container else None
    except Gone as exc:
        raise click.UsageError(str(exc)) from exc


def show_resources(report: dict[str, Any]) -> None:
    """A table of the summary."""
    summary = report["summary"]
    form: dict[str, Callable[[float], str]] = {
        "cpu_percent": "{:.1f} %".format,
        "rss": console.mib,
        "pss": console.mib,
        "uss": console.mib,
    }
    rows = [
        [
            column,
            *(form.get(column, "{:.0f}".format)(values[key]) for key in ("mean", "max", "last")),
        ]
        for column, values in summary.items()
        if isinstance(values, dict)
    ]
    console.table(f"Resources of {report['source']}", ["", "mean", "max", "last"], rows)
    if "cpu_seconds" in summary:
        console.out.print(f"{summary['cpu_seconds']:.2f} CPU seconds")
    if report["ended"]:
        console.out.print(f"[yellow]stopped early: {report['ended']}")


@click.command(context_settings={"show_default": True})
@watch_options
@duration_option
@output_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
def main(
    pid: int | None, container: str | None, interval: float, duration: float, output: Path | None, quiet: bool
) -> None:  # fmt: skip
    """Watch CPU, memory, threads and open files of a process tree or a container.

    RSS counts memory shared between workers once per worker; PSS divides it, so PSS is the sum to quote.

    \b
    Try:
      python -m perf.monitor --pid $(pgrep -of 'aicore-gateway serve') --output results/resources.json
      python -m perf.monitor --container gateway-1 --interval 2
      python -m perf.report results/resources.json
    """
    source = make_source(pid, container)
    if source is None:
        raise click.UsageError("what shall be watched? give --pid or --container")
    about = results.about()
    with (
        console.progress(f"watching {source.name}", duration, quiet=quiet) as show,
        Sampler(source, interval=interval) as sampler,
    ):
        _wait(sampler, duration, show)
    report = sampler.report()
    show_resources(report)
    if output is not None:
        console.out.print(f"written: {results.write(output, 'resources', {**about, **report})}")
    if not sampler.samples:
        raise SystemExit(1)


def _wait(sampler: Sampler, duration: float, show: Callable[[float, str], None]) -> None:
    until = (began := time.monotonic()) + duration
    while (left := until - time.monotonic()) > 0 and sampler.ended is None:
        time.sleep(min(left, 0.25))
        last = sampler.samples[-1] if sampler.samples else {}
        show(
            time.monotonic() - began,
            f"{last.get('cpu_percent') or 0:.0f} % CPU, {console.mib(last.get('rss'))}",
        )


if __name__ == "__main__":
    main()
