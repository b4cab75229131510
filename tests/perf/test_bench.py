"""The benchmark's machinery: accounting, placement, processes, tables."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest
from click.testing import CliRunner

from perf import benchreport, console
from perf.bench import Peers, main as bench, scaling_placement, steps, taking_part
from perf.judge import StreamJudge
from perf.scenarios import (
    HELD,
    LOADS,
    Effort,
    Load,
    Placement,
    Sample,
    _others,
    _sample,
    alone,
    hold,
    sample,
    summarise,
    workload,
)  # fmt: skip
from perf.simulator.answers import EventStream
from perf.simulator.app import route_of
from perf.simulator.executables import EXECUTABLES
from perf.simulator.executables.base import Call
from perf.simulator.models import MODELS
from perf.simulator.settings import Pace
from perf.stack import (
    BARE_ENDPOINT,
    CLAUDE,
    GPT,
    Child,
    Contender,
    StackError,
    Upstream,
    bare,
    free_port,
    gateway_config,
    pinned,
    running,
    simulator,
    status_of,
    surface_of_ours,
)

ONE_EACH = Placement(frozenset({0}), frozenset({1}))
REPORT: dict[str, Any] = {
    "per_second": {"requests": 1000.0}, "seconds": 4.0, "failed": 0, "error_samples": [],
    "latency_ms": {"p50": 1.0, "p99": 2.0}, "ttft_ms": {"count": 0},
}  # fmt: skip


def sampled(contender: float, upstream: float = 1.0, generator: float = 1.0, *, busy: float = 2.0) -> Sample:
    """Four seconds with these CPU seconds, and 4,000 requests."""
    return _sample(REPORT, [contender, upstream, generator, 4.0, 8000.0, contender, busy], ONE_EACH)


def test_cpu_is_divided_by_the_requests_of_the_window() -> None:
    """Half a core second for 4,000 requests and 8,000 frames."""
    one = sampled(0.5)

    assert (one.cpu_per_request_us, one.cpu_per_frame_us, one.requests_per_second) == (125.0, 62.5, 1000.0)


@pytest.mark.parametrize(
    ("one", "limit"),
    [
        (sampled(3.9), "contender"),
        (sampled(2.0, upstream=2.0, generator=1.9), "generator, upstream"),
        (sampled(2.0, busy=3.5), "other processes"),
        (sampled(2.0), "neither"),
    ],
)
def test_what_limited_a_run_is_said(one: Sample, limit: str) -> None:
    """A contender that had core time left could have done more."""
    assert one.limited_by == limit


def test_other_processes_are_what_the_cores_did_and_we_did_not() -> None:
    """On the side that suffered more."""
    assert _others(ONE_EACH, 1.0, 2.0, [1.25, 3.5]) == 1.5


def test_repeats_give_the_median_and_the_spread() -> None:
    """Of three runs the middle one counts."""
    summary = summarise([sampled(0.4), sampled(0.8), sampled(0.6)])

    assert (summary["cpu_per_request_us"], len(summary["repeats"])) == (pytest.approx(150), 3)
    assert summary["spread"]["cpu_per_request_us"] == pytest.approx(2 / 3, abs=1e-3)


def test_the_median_says_what_limited_the_repeats() -> None:
    """Not the last of them."""
    repeats = [sampled(3.9), sampled(3.9), sampled(2.0)]

    assert summarise(repeats)["limited_by"] == "contender"


def test_two_workers_get_cores_of_their_own_where_there_are_four() -> None:
    """Of those that we may use. Else everybody shares two, and the report says so."""
    _, four, _ = scaling_placement([4, 5, 6, 7])
    one, two, condition = scaling_placement([2, 3])

    assert (four.contender, four.helpers) == (frozenset({4, 5}), frozenset({6, 7}))
    assert (one.contender, two.contender, "share" in condition) == (frozenset({2}), frozenset({2, 3}), True)


def test_nothing_is_pinned_where_there_is_one_core() -> None:
    """And that is said instead of failing."""
    _, two, condition = scaling_placement([0])

    assert (two, "not pinned" in str(two), "nothing is pinned" in condition) == (
        Placement(None, None),
        True,
        True,
    )


def test_the_placement_names_its_cores() -> None:
    """Those used, which need not be the first of the machine."""
    placement = Placement(frozenset({2}), frozenset({3}))

    assert str(placement) == "contender on core 2, generator and upstream on core 3"


def test_progress_knows_its_steps() -> None:
    """Loads for each contender and repeat, the rest once."""
    both = Peers(gateway=True, nginx=True, bare=False)

    assert 2 * 3 * 2 + 1 + 2 == steps(["small", "streams", "alone", "memory"], 3, both)


def test_progress_counts_bare_only_where_it_takes_part() -> None:
    """Two loads with it, and one load and the memory without."""
    everyone = Peers(gateway=True, nginx=True, bare=True)

    assert 2 * 3 * 3 + 3 * 2 + 2 == steps(["small", "streams", "messages", "memory"], 3, everyone)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("small", ["gateway", "bare", "nginx"]),
        ("large", ["gateway", "bare", "nginx"]),
        ("streams", ["gateway", "bare", "nginx"]),
        ("messages", ["gateway", "nginx"]),
        ("translated", ["gateway", "nginx"]),
        ("translated-unary", ["gateway", "nginx"]),
        ("alone", ["gateway", "nginx"]),
        ("memory", ["gateway", "nginx"]),
    ],
)
def test_bare_takes_part_where_it_is_a_reference(tmp_path: Path, name: str, names: list[str]) -> None:
    """It has no deployment of Claude, and its memory is nobody's budget."""
    one = NobodyThere(tmp_path / "log").direct()
    everyone = [replace(one, name=contender) for contender in ("gateway", "bare", "nginx")]

    assert names == [contender.name for contender in taking_part(name, everyone)]


class NobodyThere(Upstream):
    """Nothing listens at the port of any of its contenders; this process is measured."""

    def __init__(self, log: Path) -> None:
        process: Any = type("Process", (), {"pid": os.getpid()})()
        self.child, self.deployments = Child("nobody", process, log), {GPT: "d1", CLAUDE: "d2"}
        self.token, self.resource_group, self.url = "t", "default", "http://127.0.0.1:1"

    def pace(self, **settings: float) -> None:
        """There is none."""

    def direct(self) -> Contender:
        """Port 1 is reserved."""
        return replace(super().direct(), name="nobody")


def requested(load: Load, contender: Contender) -> tuple[str, dict[str, Any]]:
    """Path and body of a load's next request."""
    head, _, body = b"".join(workload(contender, load).parts()).partition(b"\r\n\r\n")
    return head.decode().split(" ")[1], json.loads(body)


@pytest.mark.parametrize(
    ("name", "path", "members"),
    [
        ("small", "/v1/chat/completions", {"model", "messages"}),
        ("streams", "/v1/chat/completions", {"model", "messages", "stream", "stream_options"}),
        ("messages", "/v1/messages", {"model", "messages", "max_tokens", "stream"}),
        ("translated", "/v1/chat/completions", {"model", "messages", "stream", "stream_options"}),
        ("translated-unary", "/v1/chat/completions", {"model", "messages"}),
    ],
)
def test_the_gateway_is_asked_on_the_surface_of_the_load(
    tmp_path: Path, name: str, path: str, members: set[str]
) -> None:
    """For the model of the load, which decides whether there is anything to translate."""
    ours = replace(NobodyThere(tmp_path / "log").direct(), endpoint=surface_of_ours)
    asked, body = requested(LOADS[name], ours)

    assert (path, members, LOADS[name].model) == (asked, {*body}, body["model"])


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_the_simulated_model_takes_what_is_asked_without_a_gateway(tmp_path: Path, load: Load) -> None:
    """nginx translates nothing; and a stream has 101 chunks."""
    target, body = requested(load, NobodyThere(tmp_path / "log").direct())
    route = route_of(target.encode())
    handler = EXECUTABLES[MODELS[load.model].executable].handler(route.subpath)
    assert handler is not None
    pace = msgspec.convert(load.pace, Pace)
    call = Call(MODELS[load.model], route.parameters, json.dumps(body).encode(), pace, route.subpath)
    answer = handler(call)

    if not isinstance(answer, EventStream):
        assert (False, 200) == (load.stream, answer.status)
        return
    sent = b"".join(step for step in answer.frames if isinstance(step, bytes)) + answer.done
    judge = StreamJudge(workload(NobodyThere(tmp_path / "log").direct(), load).dialect)
    judge.feed(sent)
    assert (None, None, 101) == (judge.missing(), judge.failure, judge.frames)


def test_the_gateway_knows_every_model_that_is_measured(tmp_path: Path) -> None:
    """Without having to look for its deployment first."""
    upstream = NobodyThere(tmp_path / "log")
    upstream.service_key = {}
    account = gateway_config(upstream, "key")["subAccounts"]["bench"]

    assert {load.model for load in LOADS.values()} == account["deployment_ids"].keys()


@pytest.mark.parametrize(
    ("path", "limit", "at_least"),
    [
        (("messages", "gateway", "cpu_per_frame_us"), 38, False),
        (("translated", "gateway", "cpu_per_frame_us"), 60, False),
        (("translated-unary", "gateway", "requests_per_second"), 4_500, True),
    ],
)
def test_claude_has_a_budget_of_its_own(path: tuple[str, ...], limit: float, at_least: bool) -> None:
    """Passed through, translated, and whole."""
    assert [(limit, at_least)] == [(b.limit, b.at_least) for b in benchreport.BUDGETS if b.path == path]


@pytest.mark.e2e
def test_a_contender_that_answers_nothing_has_no_figures(tmp_path: Path) -> None:
    """Zero CPU for a request and no latency at all would keep every budget."""
    nobody = NobodyThere(tmp_path / "log")
    with pytest.raises(StackError, match="nobody: no request succeeded; connect"):
        sample(LOADS["small"], nobody.direct(), nobody, ONE_EACH, Effort(1, seconds=0.2, warmup=0))
    with pytest.raises(StackError, match="nobody, one request alone"):
        alone([], nobody, rounds=1)


@pytest.mark.e2e
async def test_memory_is_that_of_streams_which_are_open(tmp_path: Path) -> None:
    """Or a gateway that refuses them would need nothing for each."""
    contender = NobodyThere(tmp_path / "log").direct()
    work = workload(contender, HELD)
    with pytest.raises(StackError, match="does not hold 2 streams open"):
        await hold(contender, work, 2, 0.1)


def document() -> dict[str, Any]:
    """A small result of the benchmark."""
    scenarios = {
        "small": {"gateway": summarise([sampled(0.5)]), "nginx": summarise([sampled(0.1)])},
        "start": {"seconds": 2.0, "spread": 0.0, "repeats": [2.0]},
    }
    machine = {"cpu": "c", "cores": 2, "system": "s", "python": "3"}
    options = {"placement": "not pinned", "seconds": 4.0, "warmup": 1.0, "repeat": 1}
    return {"started_at": "t", "machine": machine, "options": options, "scenarios": scenarios}


def test_the_gateway_is_compared_with_nginx() -> None:
    """Five times its CPU per request, in this example."""
    rows = benchreport.load_rows(document()["scenarios"]["small"])

    assert rows[-1][:3] == ["gateway ÷ nginx", "1.00", "5.00"]


def test_the_readme_shows_cpu_beside_the_peers() -> None:
    """Of each load what its kind is counted in; a peer that was not measured has a dash."""
    whole = {"gateway": summarise([sampled(0.5)]), "nginx": summarise([sampled(0.1)])}
    scenarios = {
        **dict.fromkeys(LOADS, whole),
        "alone": {"gateway": {"added_p50_ms": 0.331}, "nginx": {"added_p50_ms": 0.151}},
        "memory": {"gateway": {"rest_worker": 46.2e6, "per_stream": 29.4e3}},
        "start": {"seconds": 1.27},
        "scaling": {"by_cpu_ratio": 1.81},
    }
    lines = benchreport.brief({**document(), "scenarios": scenarios}).splitlines()
    streams = next(line for line in lines if line.startswith("| 200 streams of 101 chunks, 20 ms apart:"))

    assert streams.endswith(": a chunk | 62.5 µs | – | 12.5 µs | – | 5.00 |")
    assert len(LOADS) == sum(line.startswith("| ") for line in lines) - 2
    assert "alone: 0.33 ms" in lines[-1]


def test_a_part_of_the_benchmark_is_not_pasted() -> None:
    """The README's figures are of one run."""
    refused = CliRunner().invoke(bench, ["--readme", "--scenario", "small"])

    assert (2, True) == (refused.exit_code, "--readme wants every scenario" in refused.output)


def test_what_was_not_counted_is_a_dash() -> None:
    """A zero would look like a very good figure."""
    none = {**summarise([sampled(0.5)]), "cpu_per_request_us": 0.0, "p50_ms": 0.0}
    (row,) = benchreport.load_rows({"gateway": none})

    assert (row[2], row[5], row[6]) == ("–", "–", "2")


def test_the_budget_is_beside_each_figure() -> None:
    """Met or missed, only for what was measured."""
    rows = benchreport.budget_rows(document()["scenarios"])

    assert [row[3] for row in rows] == ["missed", "met", "missed"]


def measured_by(load: str, unit: str, *, gateway: float, bare: float | None) -> dict[str, Any]:
    """A load's result with one figure each."""
    figures = {"gateway": {unit: gateway}} | ({} if bare is None else {"bare": {unit: bare}})
    return {load: figures}


@pytest.mark.parametrize(
    ("load", "unit", "there", "budget"),
    [
        ("small", "cpu_per_request_us", 137.6, 150),
        ("large", "cpu_per_request_us", 400, 520),
        ("streams", "cpu_per_frame_us", 35, 38),
    ],
)
def test_a_machine_half_as_fast_has_twice_the_budget(
    load: str, unit: str, there: float, budget: float
) -> None:
    """Bare needs twice the CPU that it needed where the budgets were made, so twice is allowed."""
    rows = benchreport.budget_rows(measured_by(load, unit, gateway=1.5 * budget, bare=2 * there))

    assert [["missed", f"≤ {console.number(2 * budget)} µs", "met"]] == [row[3:] for row in rows]


def test_a_faster_machine_has_a_smaller_budget() -> None:
    """What keeps the budget only because the machine is fast has missed it."""
    rows = benchreport.budget_rows(measured_by("streams", "cpu_per_frame_us", gateway=30, bare=17.5))

    assert [["met", "≤ 19 µs", "missed"]] == [row[3:] for row in rows]


def test_requests_per_second_scale_with_the_inverse() -> None:
    """A quarter more CPU for a request leaves four fifths of the requests."""
    small = {"gateway": {"requests_per_second": 5_250.0}, "bare": {"cpu_per_request_us": 137.6 * 1.25}}
    rows = benchreport.budget_rows({"small": small})

    assert [["missed", "≥ 5,200 requests/s", "met"]] == [row[3:] for row in rows]


@pytest.mark.parametrize(
    ("name", "unit", "reference", "here"),
    [
        ("messages", "cpu_per_frame_us", ("streams", "cpu_per_frame_us", 70), "≤ 76 µs"),
        ("translated", "cpu_per_frame_us", ("streams", "cpu_per_frame_us", 70), "≤ 120 µs"),
        (
            "translated-unary", "requests_per_second", ("small", "cpu_per_request_us", 275.2),
            "≥ 2,250 requests/s",
        ),
    ],
)  # fmt: skip
def test_claude_is_scaled_by_the_load_of_its_kind(
    name: str, unit: str, reference: tuple[str, str, float], here: str
) -> None:
    """Bare is not measured with it; chunks go by streams, whole answers by small, if these were measured."""
    load, figure, needed = reference
    without = measured_by(name, unit, gateway=1, bare=None)
    rows = benchreport.budget_rows(without | {load: {"bare": {figure: needed}}})

    assert [here] == [row[4] for row in rows]
    assert [["–", "–"]] == [row[4:] for row in benchreport.budget_rows(without)]


@pytest.mark.parametrize("bare", [None, 0.0])
def test_without_bare_nothing_is_scaled(bare: float | None) -> None:
    """Left out, or measured without a chunk in the window: a dash, and the plain verdict stays."""
    rows = benchreport.budget_rows(measured_by("streams", "cpu_per_frame_us", gateway=30, bare=bare))

    assert [["met", "–", "–"]] == [row[3:] for row in rows]


def test_only_what_cpu_decides_is_scaled() -> None:
    """Latency alone, scaling, memory and start have no reference."""
    plain = {budget.path[0] for budget in benchreport.BUDGETS if not budget.reference}

    assert {"alone", "scaling", "memory", "start"} == plain


def test_the_json_has_the_columns_of_the_table() -> None:
    """By the same headings as in Markdown."""
    scenarios = measured_by("streams", "cpu_per_frame_us", gateway=30, bare=35)

    assert benchreport.budget_members(scenarios) == [
        {
            "figure": "streams, CPU per chunk", "measured": "30 µs", "budget": "≤ 38 µs", "verdict": "met",
            "budget here": "≤ 38 µs", "verdict here": "met",
        }
    ]  # fmt: skip


def test_the_markdown_heads_both_verdicts() -> None:
    """The absolute one first."""
    head = "| figure | measured | budget | verdict | budget here | verdict here |"

    assert head in benchreport.markdown(document())


def test_the_gateway_is_compared_with_bare() -> None:
    """In a row of its own."""
    measured = {"gateway": summarise([sampled(0.5)]), "bare": summarise([sampled(0.4)])}

    assert ["gateway ÷ bare", "1.00", "1.25"] == benchreport.load_rows(measured)[-1][:3]


@pytest.mark.e2e
def test_bare_passes_whole_and_streamed_answers_on(tmp_path: Path) -> None:
    """With the token of the simulator, which refuses anything else."""
    body = {"messages": [{"role": "user", "content": "hello"}]}
    with simulator(tmp_path, None) as upstream, bare(tmp_path, None, upstream) as contender:
        upstream.pace(**LOADS["small"].pace)
        client = httpx.Client(base_url=f"http://127.0.0.1:{contender.target.port}", trust_env=False)
        with client:
            whole = client.post(BARE_ENDPOINT.path, json=body)
            streamed = client.post(BARE_ENDPOINT.stream_path, json={**body, "stream": True})

    assert (200, "application/json") == (whole.status_code, whole.headers["content-type"].partition(";")[0])
    assert whole.json()["choices"]
    assert (200, True) == (streamed.status_code, streamed.text.endswith("data: [DONE]\n\n"))


def test_bare_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this contender needs the package."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with (
        pytest.raises(StackError, match="no pyreqwest"),
        bare(tmp_path, None, NobodyThere(tmp_path / "log")),
    ):
        pass


def test_the_markdown_has_a_row_for_each_contender() -> None:
    """And tables that are as wide as their heads."""
    text = benchreport.markdown(document())
    widths = {line.count("|") for line in text.split("## Unary")[1].split("\n\n")[1].split("\n")}

    assert (len(widths), "| gateway |" in text, "| nginx |" in text) == (1, True, True)


@pytest.mark.e2e
def test_a_process_is_ready_when_it_says_so_and_stopped_afterwards(tmp_path: Path) -> None:
    """Pinned to the core it was given."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    core = min(os.sched_getaffinity(0))
    with running("web", command, directory=tmp_path, cores=frozenset({core})) as child:
        child.wait_ready(f"http://127.0.0.1:{port}/", seconds=5)
        affinity = os.sched_getaffinity(child.process.pid)

    assert (affinity, child.process.poll() is not None, status_of(f"http://127.0.0.1:{port}/")) == (
        {core},
        True,
        0,
    )


@pytest.mark.e2e
def test_a_process_that_fails_to_start_shows_its_log(tmp_path: Path) -> None:
    """At once, not after the time limit."""
    began = time.perf_counter()
    command = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    with (
        pytest.raises(StackError, match="no such thing"),
        running("bad", command, directory=tmp_path, cores=None) as child,
    ):
        child.wait_ready("http://127.0.0.1:1/", seconds=20)

    assert time.perf_counter() - began < 5


def test_pinning_is_undone() -> None:
    """Only what is started inside inherits it."""
    before = os.sched_getaffinity(0)
    with pinned(frozenset({min(before)})):
        inside = os.sched_getaffinity(0)

    assert (inside, os.sched_getaffinity(0)) == ({min(before)}, before)


@pytest.mark.e2e
def test_a_process_that_kills_its_process_group_does_not_kill_us(tmp_path: Path) -> None:
    """A Sanic manager does so when a worker cannot start."""
    command = [sys.executable, "-c", "import os, signal; os.killpg(0, signal.SIGKILL)"]
    with (
        pytest.raises(StackError, match="status -9"),
        running("killer", command, directory=tmp_path, cores=None) as child,
    ):
        child.wait_ready("http://127.0.0.1:1/", seconds=20)


@pytest.mark.e2e
def test_a_process_gets_no_settings_from_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A RATE_LIMIT_PER_MINUTE left in the shell would be what is measured."""
    monkeypatch.setenv("RATE_LIMIT_PER_MINUTE", "1")
    command = [
        sys.executable,
        "-c",
        "import os; print('PATH' in os.environ, 'RATE_LIMIT_PER_MINUTE' in os.environ)",
    ]
    with running("env", command, directory=tmp_path, cores=None) as child:
        child.process.wait(5)

    assert child.tail() == "True False"


@pytest.mark.e2e
def test_what_a_dead_process_leaves_behind_is_ended(tmp_path: Path) -> None:
    """The workers of a manager that crashed."""
    script = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"
    with running("manager", [sys.executable, "-c", script], directory=tmp_path, cores=None) as child:
        child.process.wait(5)
    left, until = int(child.tail()), time.monotonic() + 5
    while not ended(left) and time.monotonic() < until:
        time.sleep(0.01)

    assert ended(left)


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits for nothing but to be collected."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
