"""Metrics: what is counted, under bounded names."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram

from services import metrics
from services.calls import ANONYMOUS, Call, Reply
from services.deployments import Deployment
from services.errors import BadRequest, CallerLeft, UpstreamFailed
from services.translation.replies import Answer, Usage
from tests.services.waiting import until


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    metrics.flush()
    monkeypatch.setattr(metrics, "_codes", set())
    yield
    metrics.flush()


class Delta:
    """How far a series has moved since this was made."""

    def __init__(self, name: str, **labels: str) -> None:
        self.name, self.labels = name, labels
        self.before = self._now()

    def _now(self) -> float:
        return REGISTRY.get_sample_value(self.name, self.labels) or 0.0

    def __call__(self) -> float:
        metrics.flush()
        return self._now() - self.before


USAGE = Usage(3, 4, 7)


def call(surface: str, *, usage: Usage | None = USAGE, **fields: Any) -> Call:
    """A call that was answered."""
    one = Call(surface=surface, caller=ANONYMOUS, request_id="r", started=time.perf_counter() - 1)
    one.status = 200
    source = Deployment("d1", "https://x", "main", "default")
    one.reply = Reply("gpt-4o", source, 1, (), 0.5, answer=Answer(b"", usage=usage))
    for name, value in fields.items():
        setattr(one, name, value)
    return one


async def test_an_answer_is_counted_once(request: pytest.FixtureRequest) -> None:
    """Trap 21: with its duration, its first token and its tokens."""
    surface = request.node.name
    series = [
        Delta("aicore_requests_total", surface=surface, model="gpt-4o", status="200"),
        Delta("gen_ai_server_request_duration_seconds_count", surface=surface, model="gpt-4o"),
        Delta("gen_ai_server_time_to_first_token_seconds_count", model="gpt-4o"),
        Delta("gen_ai_client_token_usage_total", model="gpt-4o", kind="input"),
        Delta("gen_ai_client_token_usage_total", model="gpt-4o", kind="output"),
    ]
    metrics.count(call(surface, first_token_at=time.perf_counter()))

    assert [1, 1, 1, 3, 4] == [one() for one in series]


@pytest.mark.parametrize(
    ("fields", "series"), [({"coalesced": True}, "aicore_coalesced_total"), ({}, "aicore_cache_hits_total")]
)
async def test_tokens_are_billed_once(fields: dict[str, Any], series: str) -> None:
    """Neither to those that shared a call nor to those served from the cache."""
    counted, tokens = (
        Delta(series, surface="chat"),
        Delta("gen_ai_client_token_usage_total", model="gpt-4o", kind="input"),
    )
    one = call("chat", **fields)
    assert one.reply is not None
    one.reply.cached = not fields
    metrics.count(one)

    assert (1, 0) == (counted(), tokens())


async def test_an_answer_without_usage_counts_no_tokens() -> None:
    """Nothing is made up."""
    tokens = Delta("gen_ai_client_token_usage_total", model="gpt-4o", kind="input")
    metrics.count(call("chat", usage=None))

    assert 0 == tokens()


@pytest.mark.parametrize(
    ("error", "code", "left"),
    [
        (BadRequest("x"), "invalid_request", 0),
        (CallerLeft("x"), "caller_left", 1),
        (ZeroDivisionError(), "internal_error", 0),
    ],
)
async def test_a_failure_is_counted_by_its_code(error: Exception, code: str, left: int) -> None:
    """And a caller's leaving as that."""
    errors = Delta("aicore_errors_total", surface="chat", code=code)
    gone = Delta("aicore_callers_left_total", surface="chat")
    metrics.count(call("chat", reply=None, error=error, status=400))

    assert (1, left) == (errors(), gone())


def test_attempts_are_counted_by_outcome() -> None:
    """`ok`, or the failure's code."""
    labels = {"sub_account": "main", "model": "gpt-4o"}
    series = [
        Delta("aicore_upstream_attempts_total", outcome=how, **labels) for how in ("ok", "upstream_error")
    ]
    metrics.count_attempt("main", "gpt-4o", None)
    metrics.count_attempt("main", "gpt-4o", UpstreamFailed("x"))

    assert [1, 1] == [one() for one in series]


def test_codes_that_upstreams_invent_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit they are `other`."""
    monkeypatch.setattr(metrics, "_MAX_ERROR_CODES", 1)
    other = Delta("aicore_upstream_attempts_total", sub_account="s", model="m", outcome="other")
    for code in ("first", "second", "first", "third"):
        metrics.count_attempt("s", "m", UpstreamFailed("x", code=code))

    assert 2 == other()


def test_our_own_time_is_counted() -> None:
    """In seconds, by surface."""
    seconds = Delta("aicore_overhead_seconds_sum", surface="chat")
    metrics.count_overhead(call("chat"), 1.5)

    assert 0.0015 == pytest.approx(seconds())


async def test_counts_are_written_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the flush interval, without anybody asking."""
    monkeypatch.setattr(metrics, "_FLUSH_SECONDS", 0.001)
    metrics.count(call("chat"))
    await until(lambda: not metrics._counting)

    assert None is metrics._timer


async def test_a_burst_is_written_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in memory is bounded."""
    monkeypatch.setattr(metrics, "_MAX_SAMPLES", 10)
    for _ in range(205):
        metrics.count(call("chat"))
        metrics.count_overhead(call("chat"), 1.0)

    assert [5] == [len(one.durations) for one in metrics._counting]
    assert [5] == [len(values) for values in metrics._samples.values()]
    assert metrics._timer is not None
    metrics._timer.cancel()


def test_a_scrape_writes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This worker's own numbers are never a second behind."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    metrics.count_attempt("main", "gpt-4o", None)

    assert (b"", {}) == (metrics.render(), metrics._sums)


_WORKER = """
import asyncio, sys
sys.path.insert(0, {root!r})
from services import metrics
metrics.count_attempt("main", "gpt-4o", None)
sys.stdout.write(metrics.render().decode())
"""


def test_trap_53_the_exposition_has_all_workers(tmp_path: Path) -> None:
    """Trap 53: one scrape shows what every process counted."""
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", _WORKER.format(root=root)],
            env=environment, capture_output=True, text=True, check=True, timeout=60,
        )
        for _ in range(2)
    ]  # fmt: skip

    line = 'aicore_upstream_attempts_total{model="gpt-4o",outcome="ok",sub_account="main"}'
    assert [f"{line} 1.0", f"{line} 2.0"] == [
        next(one for one in run.stdout.splitlines() if one.startswith(line)) for run in runs
    ]


@given(st.lists(st.floats(0, 20) | st.sampled_from([0.05, 0.1, 10.0]), max_size=50))
def test_many_values_at_once_count_like_one_by_one(values: list[float]) -> None:
    """Every bucket, and the sum."""
    one, many = (
        Histogram("h", "h", buckets=(0.05, 0.1, 1, 10), registry=CollectorRegistry()) for _ in range(2)
    )
    for value in values:
        one.observe(value)
    metrics._observe(many, values)

    told, expected = (
        [sample for metric in each.collect() for sample in metric.samples] for each in (many, one)
    )
    assert [(s.name, s.labels, s.value) for s in expected if s.name != "h_created"] == [
        (s.name, s.labels, pytest.approx(s.value)) for s in told if s.name != "h_created"
    ]
