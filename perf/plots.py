"""Plots of results as PNG files, drawn without a display."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot, ticker

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#7f7f7f")
PERCENTILES = ("p50", "p90", "p95", "p99", "p99_9")
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.dpi": 110,
}

Measured = Mapping[str, Any]


@contextmanager
def figure(path: Path, title: str, x: str, y: str) -> Iterator[Any]:
    """Axes to draw on; saved as `path` at the end."""
    with pyplot.rc_context(STYLE):
        drawing, axes = pyplot.subplots(figsize=(8.5, 4.2), layout="constrained")
        try:
            axes.set(title=title, xlabel=x, ylabel=y)
            yield axes
            drawing.savefig(path)
        finally:
            pyplot.close(drawing)


def _plain(axis: Any) -> None:
    """Numbers instead of powers on a logarithmic axis."""
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def percentiles(path: Path, measured: Mapping[str, Measured]) -> None:
    """Latency percentiles of each measurement, on a logarithmic scale."""
    shown = {name: m["latency_ms"] for name, m in measured.items() if m["latency_ms"]["count"]}
    width = 0.8 / max(len(shown), 1)
    with figure(path, "Latency percentiles", "", "milliseconds") as axes:
        for number, (name, latency) in enumerate(shown.items()):
            places = [place + (number - (len(shown) - 1) / 2) * width for place in range(len(PERCENTILES))]
            values = [latency[point] for point in PERCENTILES]
            bars = axes.bar(places, values, width * 0.92, label=name, color=COLOURS[number % len(COLOURS)])
            axes.bar_label(bars, [f"{value:.3g}" for value in values], fontsize=7, padding=2)
        axes.set_yscale("log")
        _plain(axes.yaxis)
        axes.set_xticks(range(len(PERCENTILES)), [point.replace("_", ".") for point in PERCENTILES])
        axes.grid(axis="x", visible=False)
        axes.legend()


def outline(bins: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Share of the whole in each bin, and the edges between them; bins left out as empty are put back."""
    whole = sum(count for _, _, count in bins)
    heights: list[float] = []
    edges = [lower for lower, _, _ in bins[:1]]
    for lower, upper, count in bins:
        if lower != edges[-1]:
            heights.append(0.0)
            edges.append(lower)
        heights.append(count / whole)
        edges.append(upper)
    return heights, edges


def distribution(path: Path, measured: Mapping[str, Measured], key: str, title: str) -> None:
    """How a latency is distributed: the share of requests in each of twenty bins a decade."""
    with figure(path, title, "milliseconds", "share of requests") as axes:
        for number, (name, one) in enumerate(measured.items()):
            heights, edges = outline(one["distributions"][key])
            colour = COLOURS[number % len(COLOURS)]
            if heights:
                axes.stairs(heights, edges, fill=True, alpha=0.35, color=colour, label=name)
                axes.stairs(heights, edges, color=colour)
        axes.set_xscale("log")
        _plain(axes.xaxis)
        axes.legend()


def throughput(path: Path, measured: Mapping[str, Measured]) -> None:
    """Answers per second over time; failures as a dotted line of the same colour."""
    with figure(path, "Throughput over time", "seconds", "requests per second") as axes:
        for number, (name, one) in enumerate(measured.items()):
            colour, widest = COLOURS[number % len(COLOURS)], max(row["seconds"] for row in one["timeline"])
            # The rest of an interval at the end of the window is too short to say anything.
            rows = [row for row in one["timeline"] if row["seconds"] >= widest / 2]
            at = [row["at"] + row["seconds"] / 2 for row in rows]
            axes.plot(at, [row["ok"] / row["seconds"] for row in rows], color=colour, label=name, marker=".")
            if any(row["failed"] for row in rows):
                failed = [row["failed"] / row["seconds"] for row in rows]
                axes.plot(at, failed, color=colour, linestyle=":", label=f"{name}, failed")
        axes.set_ylim(bottom=0)
        axes.legend()


def resources(path: Path, samples: Sequence[Mapping[str, Any]], source: str) -> None:
    """CPU and memory over time, on two scales."""
    with figure(path, f"CPU and memory of {source}", "seconds", "CPU, % of a core") as axes:
        known = [row for row in samples if row["cpu_percent"] is not None]
        at, percent = [row["at"] for row in known], [row["cpu_percent"] for row in known]
        axes.plot(at, percent, color=COLOURS[0], label="CPU")
        axes.set_ylim(bottom=0)
        right = axes.twinx()
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        right.set_ylabel("MiB")
        for number, column in enumerate(("rss", "pss"), start=1):
            told = [row for row in samples if row[column]]
            if told:
                sizes = [row[column] / 2**20 for row in told]
                right.plot([row["at"] for row in told], sizes, color=COLOURS[number], label=column.upper())
        right.set_ylim(bottom=0)
        lines = [*axes.get_lines(), *right.get_lines()]
        axes.legend(lines, [line.get_label() for line in lines], loc="lower right")
