"""What the tools show: progress on standard error while they run, tables at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

out = Console(width=None if sys.stdout.isatty() else 140)
err = Console(stderr=True)

Row = Sequence[str]


@contextmanager
def progress(title: str, total: float, *, quiet: bool = False) -> Iterator[Callable[[float, str], None]]:
    """A bar for `total` steps; the function given sets how far we are, and a note beside it.

    Drawn only when called, never from a thread: the generator's core is being measured.
    """
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    bar = Progress(
        *columns,
        TimeElapsedColumn(),
        console=err,
        auto_refresh=False,
        transient=True,
        disable=quiet or not err.is_terminal,
    )
    task = bar.add_task(title, total=total, note="")

    def show(done: float, note: str) -> None:
        bar.update(task, completed=min(done, total), note=note)
        bar.refresh()

    with bar:
        yield show


def table(title: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Print a table; the first column is text, the others are numbers."""
    view = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        view.add_column(column, justify="right" if number else "left")
    for row in rows:
        view.add_row(*row)
    out.print(view)


def ms(value: float | None) -> str:
    """Milliseconds for people."""
    if value is None:
        return "–"
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def mib(value: float | None) -> str:
    """Bytes as MiB."""
    return "–" if value is None else f"{value / 2**20:.1f} MiB"


POINTS = ("mean", "p50", "p95", "p99", "max")


def number(value: float) -> str:
    """A figure with as many digits as say something."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


LATENCIES = {
    "latency_ms": "total",
    "first_byte_ms": "first byte",
    "ttft_ms": "first token",
    "gap_ms": "between chunks",
    "wait_ms": "waited to send",
}


def latency_rows(measured: Mapping[str, Any]) -> list[Row]:
    """One row for each latency that has values."""
    return [
        [title, str(measured[key]["count"]), *(ms(measured[key].get(point)) for point in POINTS)]
        for key, title in LATENCIES.items()
        if measured.get(key, {}).get("count")
    ]


def show_measured(title: str, measured: Mapping[str, Any]) -> None:
    """The tables of one meter's report."""
    table(title, ["", "count", *POINTS], latency_rows(measured))
    rates = measured["per_second"]
    facts = f"{rates['requests']:.1f} requests/s"
    if rates["chunks"]:
        facts += f", {rates['chunks']:.0f} chunks/s"
    if rates["completion_tokens"]:
        facts += f", {rates['completion_tokens']:.0f} completion tokens/s"
    out.print(
        f"{facts}; {measured['ok']} good, {measured['failed']} failed, {measured['unfinished']} unfinished"
    )
    if measured["errors"]:
        table("Errors", ["kind", "count"], [[kind, str(count)] for kind, count in measured["errors"].items()])
        out.print(measured["error_samples"][0], style="dim", markup=False)
