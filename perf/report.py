"""Markdown and plots from result files: `python -m perf.report --help`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import click

from perf import benchreport, console, plots, results, soak
from perf.chaos import cli as chaos
from perf.results import Result
from perf.tables import markdown_table

POINTS = ("count", "mean", "p50", "p95", "p99", "p99_9", "max")
Section = str
RESULT: Any = click.Path(exists=True, dir_okay=False, path_type=Path)


def measurements(result: Result) -> dict[str, Mapping[str, Any]]:
    """The measured sets in a result, by name; none in one of resources."""
    kind = result["kind"]
    if kind == "load":
        return {result["options"].get("surface", "load"): result["measured"]}
    if kind == "run":
        return dict(result["targets"])
    if kind == "replay":
        return {"recorded": result["recorded"], "replayed": result["measured"]}
    return {}


def latency_table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Every latency of every set, in milliseconds."""
    rows = [
        [f"{name}, {title}", *(f"{one[key][point]:g}" for point in POINTS)]
        for name, one in measured.items()
        for key, title in console.LATENCIES.items()
        if one.get(key, {}).get("count")
    ]
    return markdown_table(("milliseconds", *(point.replace("_", ".") for point in POINTS)), rows)


def outcome_table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Counts, rates and errors of every set that was measured here."""
    columns = ("", "good", "failed", "unfinished", "requests/s", "chunks/s", "completion tokens/s", "errors")
    rows = []
    for name, one in measured.items():
        if "per_second" in one:
            errors = ", ".join(f"{kind}: {count}" for kind, count in one["errors"].items()) or "none"
            counts = [str(one[key]) for key in ("ok", "failed", "unfinished")]
            rates = [f"{one['per_second'][key]:.1f}" for key in ("requests", "chunks", "completion_tokens")]
            rows.append([name, *counts, *rates, errors])
    return markdown_table(columns, rows)


def _verdicts(result: Result) -> list[Section]:
    rows = [
        [
            one["target"],
            check["name"],
            console.number(check["value"]),
            console.number(check["limit"]),
            "met" if check["met"] else "**missed**",
        ]
        for one in result.get("verdicts", ())
        for check in one["checks"]
    ]
    if not rows:
        return []
    grades = ", ".join(f"{one['target']} {one['grade']}" for one in result["verdicts"])
    columns = ("target", "figure", "measured", "limit", "")
    return [f"### Targets\n\n{markdown_table(columns, rows)}\n\nGrades of the mean: {grades}."]


def _statuses(result: Result) -> list[Section]:
    if "statuses" not in result:
        return []
    statuses = result["statuses"]
    rows = [[str(then), str(now or "none"), str(count)] for then, now, count in statuses["pairs"]]
    examples = "".join(f"\n* {example}" for example in statuses["examples"])
    return [f"### Statuses\n\n{markdown_table(('recorded', 'replayed', 'requests'), rows)}\n{examples}"]


def _plots(result: Result, directory: Path, stem: str) -> list[Section]:
    """Draw what the result has the data for; Markdown that shows the pictures."""
    measured = measurements(result)
    drawn: list[tuple[str, str]] = []

    def draw(name: str, title: str, plot: Callable[[Path], None]) -> None:
        path = directory / f"{stem}_{name}.png"
        plot(path)
        drawn.append((title, path.name))

    if any(one["latency_ms"]["count"] for one in measured.values()):
        draw("percentiles", "Latency percentiles", lambda path: plots.percentiles(path, measured))
        draw("latency", "Latency distribution",
             lambda path: plots.distribution(path, measured, "latency", "Latency distribution"))  # fmt: skip
    for key, title in (("first_byte", "Time to first byte"), ("ttft", "Time to first token")):
        shown = {name: one for name, one in measured.items() if one["distributions"].get(key)}
        if shown:
            draw(key, title, partial(plots.distribution, measured=shown, key=key, title=title))
    timed = {name: one for name, one in measured.items() if one.get("timeline")}
    if timed:
        draw("throughput", "Throughput over time", lambda path: plots.throughput(path, timed))
    if result["kind"] == "resources" and result["samples"]:
        draw(
            "resources",
            "CPU and memory",
            lambda path: plots.resources(path, result["samples"], result["source"]),
        )
    if result["kind"] == "soak":
        draw("memory", "Memory of each worker", lambda path: soak.draw(path, result))
    return [f"![{title}]({name})" for title, name in drawn]


def _resources(result: Result) -> list[Section]:
    rows = []
    for column, values in result["summary"].items():
        if isinstance(values, Mapping):
            form = console.mib if column in {"rss", "pss", "uss"} else "{:g}".format
            rows.append([column, *(form(values[key]) for key in ("mean", "max", "last"))])
    return [markdown_table((result["source"], "mean", "max", "last"), rows)]


_TOLD: Mapping[str, Callable[[Result], Section]] = {"chaos": chaos.told, "soak": soak.told}
"""The long runs, which say of themselves what the README shows."""


def _about(result: Result) -> Section:
    machine = result.get("machine", {})
    options = ", ".join(
        f"{name} {value}" for name, value in result.get("options", {}).items() if value is not None
    )
    facts = [
        f"{machine.get('cpu', 'unknown CPU')}, {machine.get('cores')} cores, Python {machine.get('python')}"
    ]
    return f"{result.get('started_at', '')} · {'; '.join(facts)}" + (f"\n\n{options}" if options else "")


def section(stem: str, result: Result, directory: Path) -> str:
    """One result as Markdown under this name, with its plots drawn into the directory."""
    if result["kind"] == "bench":
        return benchreport.markdown(result).replace("\n## ", "\n### ").replace("# Benchmark", f"## {stem}", 1)
    parts: list[Section] = [f"## {stem}", _about(result)]
    measured = measurements(result)
    if measured:
        parts += [latency_table(measured), outcome_table(measured)]
    if result["kind"] == "resources":
        parts += _resources(result)
    tell = _TOLD.get(result["kind"])
    parts += [tell(result)] if tell else _verdicts(result) + _statuses(result)
    parts += _plots(result, directory, stem)
    return "\n\n".join(parts)


def stems(paths: Sequence[Path]) -> list[str]:
    """A name for each file, never the same twice: they name the plots, too."""
    names: list[str] = []
    for path in paths:
        numbered = (f"{path.stem}_{number}" for number in count(2))
        names.append(next(name for name in chain([path.stem], numbered) if name not in names))
    return names


def render(paths: Sequence[Path], output: Path) -> Path:
    """Write the report of these results, plots beside it. Raises ResultError."""
    loaded = [results.read(path) for path in paths]
    output.parent.mkdir(parents=True, exist_ok=True)
    named = zip(stems(paths), loaded, strict=True)
    sections = [section(stem, result, output.parent) for stem, result in named]
    output.write_text("# Performance report\n\n" + "\n\n".join(sections) + "\n", encoding="utf-8")
    return output


@click.command(context_settings={"show_default": True})
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("results/report.md"),
    help="Markdown file; the plots go beside it.",
)
def main(files: tuple[Path, ...], output: Path) -> None:
    """Make one Markdown report with plots (PNG) from result FILES of the other tools.

    \b
    Try:
      python -m perf.report results/perf_test_*.json results/resources_*.json
      python -m perf.report results/replay.json --output reports/replay.md
    """  # fmt: skip
    try:
        path = render(files, output)
    except results.ResultError as exc:
        raise click.ClickException(str(exc)) from exc
    except KeyError as exc:
        raise click.ClickException(f"a result lacks {exc}: was it made by another version?") from exc
    console.out.print(f"written: {path}")


if __name__ == "__main__":
    main()
