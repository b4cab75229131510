"""The tables of a benchmark, for the terminal and as Markdown, with the budget beside each figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perf import console
from perf.console import number
from perf.scenarios import LOADS, Load
from perf.stack import BARE
from perf.tables import markdown_table

Rows = list[list[str]]


@dataclass(frozen=True, slots=True)
class Reference:
    """What the bare proxy needed of CPU where the budgets were made, in microseconds."""

    figure: str
    there: float

    def slowness(self, measured: Mapping[str, Any]) -> float | None:
        """How many times that it needs here, from a load's figures; None if it was not measured."""
        here = measured.get(BARE, {}).get(self.figure)
        return here / self.there if here else None


REFERENCES: Mapping[str, Reference] = {
    # 7,267 requests/s on one core; 91 µs go with a runtime of several threads. The stricter counts.
    "small": Reference("cpu_per_request_us", 137.6),
    "large": Reference("cpu_per_request_us", 400),
    "streams": Reference("cpu_per_frame_us", 35),
}
"""The loads that the bare proxy is measured with."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A figure of the gateway and what it may be: at most, or at least."""

    title: str
    path: tuple[str, ...]
    limit: float
    unit: str
    at_least: bool = False
    scale: float = 1.0
    reference: str = ""
    """The load whose bare figure tells what the budget is on another machine; none where CPU says nothing."""

    def value(self, scenarios: Mapping[str, Any]) -> float | None:
        """The measured figure in the budget's unit; None if it was not measured."""
        found: Any = scenarios
        for key in self.path:
            if not isinstance(found, Mapping) or key not in found:
                return None
            found = found[key]
        return float(found) * self.scale

    def met(self, value: float) -> bool:
        """Whether the figure keeps to the budget."""
        return value >= self.limit if self.at_least else value <= self.limit

    def verdict(self, value: float) -> str:
        """The same in a word."""
        return "met" if self.met(value) else "missed"

    def here(self, scenarios: Mapping[str, Any]) -> Budget | None:
        """The budget on the machine that was measured; None without the bare proxy's figure."""
        reference = REFERENCES.get(self.reference)
        slowness = reference.slowness(scenarios.get(self.reference, {})) if reference else None
        if slowness is None:
            return None
        return replace(self, limit=self.limit / slowness if self.at_least else self.limit * slowness)

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {number(self.limit)} {self.unit}"


BUDGETS: Sequence[Budget] = (
    Budget(
        "unary 0.8 KB", ("small", "gateway", "requests_per_second"), 6_500, "requests/s", at_least=True,
        reference="small",
    ),
    Budget(
        "unary 0.8 KB, CPU per request", ("small", "gateway", "cpu_per_request_us"), 150, "µs",
        reference="small",
    ),
    Budget(
        "unary 175 KB", ("large", "gateway", "requests_per_second"), 1_900, "requests/s", at_least=True,
        reference="large",
    ),
    Budget(
        "unary 175 KB, CPU per request", ("large", "gateway", "cpu_per_request_us"), 520, "µs",
        reference="large",
    ),
    Budget(
        "streams, CPU per chunk", ("streams", "gateway", "cpu_per_frame_us"), 38, "µs", reference="streams"
    ),
    Budget(
        "Messages streams, CPU per chunk", ("messages", "gateway", "cpu_per_frame_us"), 38, "µs",
        reference="streams",
    ),
    Budget(
        "translated streams, CPU per chunk", ("translated", "gateway", "cpu_per_frame_us"), 60, "µs",
        reference="streams",
    ),
    Budget(
        "translated unary 0.8 KB", ("translated-unary", "gateway", "requests_per_second"), 4_500,
        "requests/s", at_least=True, reference="small",
    ),
    Budget("one request alone, p50 added", ("alone", "gateway", "added_p50_ms"), 0.4, "ms"),
    Budget("2 workers against 1, measured", ("scaling", "measured_ratio"), 1.7, "×", at_least=True),
    Budget("2 workers against 1, by CPU per request", ("scaling", "by_cpu_ratio"), 1.7, "×", at_least=True),
    Budget("memory of a worker at rest", ("memory", "gateway", "rest_worker"), 75, "MB", scale=1e-6),
    Budget("memory per open stream", ("memory", "gateway", "per_stream"), 60, "KB", scale=1e-3),
    Budget("start to ready", ("start", "seconds"), 1.5, "s"),
)  # fmt: skip

LOAD_COLUMNS = (
    "", "req/s", "CPU µs/req", "chunks/s", "CPU µs/chunk", "p50 ms", "p99 ms", "failed", "core", "helpers",
    "others", "limited by", "±",
)  # fmt: skip
BUDGET_COLUMNS = ("figure", "measured", "budget", "verdict", "budget here", "verdict here")
LEGEND = (
    "budget here: the budget times what bare (Sanic and pyreqwest, and nothing else) needs of CPU on this "
    "machine, divided by what it needed where the budgets were made; for requests/s the inverse; "
    "core, helpers: the share used of the contender's core, and of that of generator and upstream; "
    "others: what processes outside the benchmark took of the busier of the two; "
    "±: half the spread of CPU per request over the repeats"
)


def budget_rows(scenarios: Mapping[str, Any]) -> Rows:
    """The cells of BUDGET_COLUMNS for each budget whose figure was measured."""
    rows = []
    for budget in BUDGETS:
        value = budget.value(scenarios)
        if value is not None:
            here = budget.here(scenarios)
            scaled = [str(here), here.verdict(value)] if here else ["–", "–"]
            measured = f"{number(value)} {budget.unit}"
            rows.append([budget.title, measured, str(budget), budget.verdict(value), *scaled])
    return rows


def budget_members(scenarios: Mapping[str, Any]) -> list[dict[str, str]]:
    """The table of the budget as JSON has it."""
    return [dict(zip(BUDGET_COLUMNS, row, strict=True)) for row in budget_rows(scenarios)]


def load_rows(measured: Mapping[str, Any]) -> Rows:
    """One row a contender, and one for each peer with the gateway as a multiple of it."""
    rows = [[name, *_load_row(values)] for name, values in measured.items()]
    for peer in (BARE, "nginx"):
        if {"gateway", peer} <= measured.keys():
            ratios = (_ratio(measured["gateway"][key], measured[peer][key]) for key in _COMPARED)
            rows.append([f"gateway ÷ {peer}", *ratios, *[""] * 6])
    return rows


_COMPARED = (
    "requests_per_second", "cpu_per_request_us", "frames_per_second", "cpu_per_frame_us", "p50_ms", "p99_ms",
)  # fmt: skip


def _ratio(above: float, below: float) -> str:
    return f"{above / below:.2f}" if below else "–"


def _load_row(values: Mapping[str, Any]) -> list[str]:
    counted = ("cpu_per_request_us", "frames_per_second", "cpu_per_frame_us", "p50_ms", "p99_ms")
    return [
        number(values["requests_per_second"]),
        # Zero where there was nothing to divide by: no streams, or none that ended in the window.
        *(number(values[key]) if values[key] else "–" for key in counted),
        str(values["failed"]),
        f"{values['contender_share']:.0%}",
        f"{values['helpers_share']:.0%}",
        f"{values['others_share']:.0%}",
        values["limited_by"],
        f"± {values['spread']['cpu_per_request_us'] / 2:.1%}" if len(values["repeats"]) > 1 else "–",
    ]


def _alone(measured: Mapping[str, Any]) -> tuple[Sequence[str], Rows]:
    return ("", "p50 ms", "p99 ms", "p50 added ms"), [
        [name, f"{row['p50_ms']:.3f}", f"{row['p99_ms']:.3f}", f"{row['added_p50_ms']:.3f}"]
        for name, row in measured.items()
    ]


def _memory(measured: Mapping[str, Any]) -> tuple[Sequence[str], Rows]:
    return ("", "largest process MB", "all MB", "processes", "per open stream KB"), [
        [
            name,
            f"{row['rest_worker'] / 1e6:.1f}",
            f"{row['rest_total'] / 1e6:.1f}",
            str(row["processes"]),
            f"{row['per_stream'] / 1e3:.1f}",
        ]
        for name, row in measured.items()
    ]


def _scaling(measured: Mapping[str, Any]) -> tuple[Sequence[str], Rows]:
    rows = [[name, *_load_row(measured[name])] for name in ("one", "two")]
    ratio = f"{measured['measured_ratio']:.2f} measured"
    rows.append(["ratio", ratio, f"{measured['by_cpu_ratio']:.2f} on free cores", *[""] * 10])
    return _compact(LOAD_COLUMNS, rows)


def _start(measured: Mapping[str, Any]) -> tuple[Sequence[str], Rows]:
    seconds = [f"{value:.2f}" for value in measured["repeats"]]
    return ("", "seconds", "each"), [["gateway", f"{measured['seconds']:.2f}", ", ".join(seconds)]]


def _load(measured: Mapping[str, Any]) -> tuple[Sequence[str], Rows]:
    return _compact(LOAD_COLUMNS, load_rows(measured))


def _compact(columns: Sequence[str], rows: Rows) -> tuple[Sequence[str], Rows]:
    """Without the columns that say nothing."""
    used = [n for n in range(len(columns)) if not n or any(row[n] not in {"", "–"} for row in rows)]
    return [columns[n] for n in used], [[row[n] for n in used] for row in rows]


TABLES: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], tuple[Sequence[str], Rows]]]] = {
    **{name: (load.title, _load) for name, load in LOADS.items()},
    "alone": ("One request alone", _alone),
    "scaling": ("2 workers on 2 cores against 1 on 1", _scaling),
    "memory": ("Memory (PSS)", _memory),
    "start": ("Process start to first ready answer", _start),
}


def tables(document: Mapping[str, Any]) -> list[tuple[str, Sequence[str], Rows]]:
    """Title, columns and rows of every table, the budget first."""
    scenarios = document["scenarios"]
    found = [(title, *make(scenarios[name])) for name, (title, make) in TABLES.items() if name in scenarios]
    budget = budget_rows(scenarios)
    return [("Budget", BUDGET_COLUMNS, budget), *found] if budget else found


def faults(document: Mapping[str, Any]) -> list[str]:
    """A line for each contender of each load that had failures."""
    return [
        f"{name}, {contender}: {values['failed']} failed, first: {values['first_error']}"
        for name, measured in document["scenarios"].items()
        for contender, values in measured.items()
        if isinstance(values, Mapping) and values.get("failed")
    ]


def heading(document: Mapping[str, Any]) -> str:
    """What it was measured on, and how."""
    machine, options = document["machine"], document["options"]
    return (
        f"{document['started_at']}, {machine['cpu']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}; {options['placement']}; {options['seconds']:g} s after "
        f"{options['warmup']:g} s of warm-up, {options['repeat']} repeat(s), medians."
    )


BRIEF_COLUMNS = ("CPU of one core", "gateway", BARE, "nginx", f"gateway ÷ {BARE}", "gateway ÷ nginx")


def brief(document: Mapping[str, Any]) -> str:
    """What the README shows: CPU beside the peers', and what one request, stream, worker and start take.

    Raises KeyError for a document without all scenarios of all contenders.
    """
    scenarios = document["scenarios"]
    rows = [_brief_row(load, scenarios[name]) for name, load in LOADS.items()]
    added = {name: row["added_p50_ms"] for name, row in scenarios["alone"].items()}
    memory = scenarios["memory"]["gateway"]
    costs = [
        f"Added to one request alone: {added['gateway']:.2f} ms (p50; by nginx {added['nginx']:.2f} ms).",
        f"A worker at rest: {memory['rest_worker'] / 1e6:.0f} MB; an open stream: "
        f"{memory['per_stream'] / 1e3:.0f} KB.",
        f"From the start of the process to ready: {scenarios['start']['seconds']:.1f} s.",
        f"Two workers against one, by CPU: {scenarios['scaling']['by_cpu_ratio']:.2f} ×.",
    ]
    return "\n\n".join([heading(document), markdown_table(BRIEF_COLUMNS, rows), " ".join(costs)])


def _brief_row(load: Load, measured: Mapping[str, Any]) -> list[str]:
    key, unit = ("cpu_per_frame_us", "chunk") if load.stream else ("cpu_per_request_us", "request")
    used = {name: values[key] for name, values in measured.items()}
    ours = used["gateway"]
    cells = [f"{number(used[name])} µs" if name in used else "–" for name in (BARE, "nginx")]
    ratios = [_ratio(ours, used.get(name, 0.0)) for name in (BARE, "nginx")]
    return [f"{load.title}: a {unit}", f"{number(ours)} µs", *cells, *ratios]


def show(document: Mapping[str, Any]) -> None:
    """Print everything."""
    for title, columns, rows in tables(document):
        console.table(title, columns, rows)
    console.out.print(LEGEND, style="dim")
    if "scaling" in document["scenarios"]:
        console.out.print(f"two workers: {document['scenarios']['scaling']['condition']}", style="dim")
    for line in faults(document):
        console.out.print(line, style="red", markup=False)


def markdown(document: Mapping[str, Any]) -> str:
    """The same as a document."""
    parts = ["# Benchmark", heading(document)]
    parts.append(LEGEND + ".")
    parts += [f"## {title}\n\n{markdown_table(columns, rows)}" for title, columns, rows in tables(document)]
    if lines := faults(document):
        parts.append("## Failures\n\n" + "\n".join(f"* {line}" for line in lines))
    return "\n\n".join(parts) + "\n"
