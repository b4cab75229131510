"""Result files, plots and the Markdown report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from matplotlib import image

from perf import plots, results
from perf.engine import Exchange
from perf.meter import Meter
from perf.options import Ask
from perf.report import main, render
from perf.workload import Target


def measured(*, streams: bool = False) -> dict[str, Any]:
    """A meter's report of a hundred answers and one failure."""
    meter, now = Meter(), time.perf_counter()
    meter.open_window(now)
    work = Ask().workload(Target("http://h"), None)
    for number in range(101):
        exchange = Exchange(work, now)
        exchange.sent, exchange.ended, exchange.status = now, now + number / 1e3, 200
        if streams:
            exchange.first_byte = now + number / 3e3
            exchange.first_token, exchange.gaps = now + number / 2e3, [0.001]
        if number == 100:
            exchange.failure, exchange.status = "status", 503
        meter.record(exchange)
    meter.close_window(now + 2)
    return meter.report()


SAMPLES = [
    {"at": at, "cpu_percent": percent, "rss": 50 * 2**20, "pss": None}
    for at, percent in ((0, None), (1, 40.0), (2, 60.0))
]
TRACES = {"files": 50, "memory": 2**20, "counted": 0, "upstream": 0}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "load": {"options": {"surface": "chat"}, "measured": measured(streams=True)},
    "run": {
        "options": {},
        "targets": {"health": measured()},
        "verdicts": [
            {"target": "health", "grade": "good",
             "checks": [{"name": "mean", "value": 60.0, "limit": 50.0, "met": False}]},
        ],
    },
    "replay": {
        "options": {},
        "recorded": measured(),
        "measured": measured(),
        "statuses": {"same": 1, "different": 1, "pairs": [[200, 503, 1]], "examples": ["at 1 s"]},
    },
    "resources": {
        "source": "pid 1",
        "samples": SAMPLES,
        "summary": {"rss": {"mean": 2**20, "max": 2**20, "last": 2**20}},
    },
    "chaos": {
        "started_at": "2026-01-02T03:04:05+00:00",
        "options": {"seconds": 60.0, "rate": 60.0, "seed": 1},
        "requests": 3600,
        "verdicts": {"right": 3599, "WRONG": 1},
        "disorder": {"worker killed": 7},
        "before": TRACES,
        "after": TRACES,
    },
    "soak": {
        "started_at": "2026-01-02T03:04:05+00:00",
        "options": {"seconds": 1800.0, "rate": 60.0, "seed": 1},
        "requests": 108000,
        "verdicts": {"left by the caller": 8000},
        "bound": 17.0,
        "workers": {
            "11": {"first": 2**20, "last": 2**20, "files": [50, 51], "kib_per_minute": 1.0,
                   "interval": [0.5, 1.5], "verdict": "flat"},
        },
        "samples": {"11": [[0.0, 2**20, 50], [1800.0, 2**20, 51]]},
    },
}  # fmt: skip
ROWS = {
    "load": "| chat | 100 | 1 | 0 |",
    "run": "| health | mean | 60 | 50 | **missed** |",
    "replay": "| 200 | 503 | 1 |",
    "resources": "| rss | 1.0 MiB | 1.0 MiB | 1.0 MiB |",
    "chaos": "| 3600 requests | 3599 | 1 |",
    "soak": "| worker 1 | 1.0 MiB | 1.0 MiB | +1.0 (+0.5 to +1.5) | 50 → 51 | flat |",
}
PICTURES = {
    "load": {"percentiles", "latency", "first_byte", "ttft", "throughput"},
    "run": {"percentiles", "latency", "throughput"},
    "replay": {"percentiles", "latency", "throughput"},
    "resources": {"resources"},
    "chaos": set(),
    "soak": {"memory"},
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_each_kind_of_result_becomes_a_section_with_its_figures(tmp_path: Path, kind: str) -> None:
    """As a table row with the numbers."""
    path = results.write(tmp_path / "r.json", kind, DOCUMENTS[kind])

    assert ROWS[kind] in render([path], tmp_path / "report.md").read_text()


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_plots_are_pictures_that_can_be_read(tmp_path: Path, kind: str) -> None:
    """Those that the data allow, linked from the report, and not blank."""
    path = results.write(tmp_path / "r.json", kind, DOCUMENTS[kind])
    text = render([path], tmp_path / "report.md").read_text()
    drawn = {picture.stem.removeprefix("r_"): image.imread(picture) for picture in tmp_path.glob("*.png")}

    assert drawn.keys() == PICTURES[kind]
    assert all(f"](r_{name}.png)" in text and pixels.std() > 0.01 for name, pixels in drawn.items())


def test_results_of_one_name_keep_their_own_plots(tmp_path: Path) -> None:
    """Of two runs in two directories, say."""
    paths = [results.write(tmp_path / name / "r.json", "resources", DOCUMENTS["resources"]) for name in "ab"]
    text = render(paths, tmp_path / "report.md").read_text()

    assert sorted(picture.name for picture in tmp_path.glob("*.png")) == [
        "r_2_resources.png",
        "r_resources.png",
    ]
    assert ("## r\n" in text, "## r_2\n" in text) == (True, True)


def test_an_empty_bin_stays_empty_in_the_plot() -> None:
    """The bar before it does not reach over it."""
    heights, edges = plots.outline([(1, 2, 30), (2, 3, 10), (8, 9, 60)])

    assert (heights, edges) == ([0.3, 0.1, 0, 0.6], [1, 2, 3, 8, 9])


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    """Exit status 1, no traceback."""
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"kind": "else"}))
    result = CliRunner().invoke(main, [str(path)])

    assert (result.exit_code, "other.json: not a result file" in result.output) == (1, True)


def test_a_failed_write_leaves_the_old_result(tmp_path: Path) -> None:
    """And nothing half-written beside it."""
    path = results.write(tmp_path / "r.json", "load", {"good": 1})
    with pytest.raises(TypeError):
        results.write(path, "load", {"bad": object()})

    assert (["r.json"], 1) == ([file.name for file in tmp_path.iterdir()], results.read(path)["good"])
