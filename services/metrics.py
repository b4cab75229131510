"""Prometheus metrics. In multiprocess mode every worker's numbers are summed at the scrape."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter as Counted
from collections.abc import Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from services.calls import Call
from services.errors import CallerLeft, GatewayError

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_OWN_SECONDS = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1)

REQUESTS = Counter("aicore_requests", "Answered requests.", ["surface", "model", "status"])
DURATION = Histogram(
    "gen_ai_server_request_duration_seconds",
    "Time from arrival to the end of the answer.",
    ["surface", "model"],
    buckets=_SECONDS,
)
FIRST_TOKEN = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "Time from arrival to the stream's first content.",
    ["model"],
    buckets=_SECONDS,
)
TOKENS = Counter("gen_ai_client_token_usage", "Tokens, as the upstream counted them.", ["model", "kind"])
OVERHEAD = Histogram(
    "aicore_overhead_seconds", "The gateway's own share of a request.", ["surface"], buckets=_OWN_SECONDS
)
ERRORS = Counter("aicore_errors", "Failed requests by error code.", ["surface", "code"])
ATTEMPTS = Counter("aicore_upstream_attempts", "Calls to deployments.", ["sub_account", "model", "outcome"])
COALESCED = Counter("aicore_coalesced", "Requests served by another request's upstream call.", ["surface"])
CACHED = Counter("aicore_cache_hits", "Answers from the response cache.", ["surface"])
LEFT = Counter("aicore_callers_left", "Callers that hung up before their answer was complete.", ["surface"])
QUEUED = Counter(
    "aicore_queued", "Requests that found no deployment free, and had to wait or were refused.", ["model"]
)
UNRETRIED = Counter(
    "aicore_unretried", "Failures not tried again because the retry budget is spent.", ["model"]
)
DEPLOYMENTS = Gauge(
    "aicore_deployments", "Running deployments known.", ["sub_account"], multiprocess_mode="livemostrecent"
)
TOKEN_SECONDS = Gauge(
    "aicore_token_expires_in_seconds",
    "Remaining life of the OAuth token.",
    ["sub_account"],
    multiprocess_mode="livemin",
)

_OTHER = "other"
_MAX_ERROR_CODES = 64
_codes: set[str] = set()

_FLUSH_SECONDS = 1.0
_MAX_SAMPLES = 2_000
_counting: set[_Meters] = set()
"""Those that have something to write."""
_sums: dict[Counter, int] = {}
_samples: dict[Histogram, list[float]] = {}
_timer: asyncio.TimerHandle | None = None


class _Meters:
    """The series of one kind of request, and what was counted since they were last written.

    Names are resolved and dictionaries searched once for each kind, not for each request.
    """

    __slots__ = (
        "_completion",
        "_duration",
        "_first_token",
        "_prompt",
        "_requests",
        "completion_tokens",
        "durations",
        "first_tokens",
        "prompt_tokens",
    )

    def __init__(self, surface: str, model: str, status: int) -> None:
        self._requests = REQUESTS.labels(surface, model, status)
        self._duration = DURATION.labels(surface, model)
        self._first_token = FIRST_TOKEN.labels(model)
        self._prompt = TOKENS.labels(model, "input")
        self._completion = TOKENS.labels(model, "output")
        self.durations: list[float] = []
        self.first_tokens: list[float] = []
        self.prompt_tokens = self.completion_tokens = 0

    def write(self) -> None:
        """Add what was counted to the series."""
        self._requests.inc(len(self.durations))
        self._prompt.inc(self.prompt_tokens)
        self._completion.inc(self.completion_tokens)
        _observe(self._duration, self.durations)
        _observe(self._first_token, self.first_tokens)
        self.durations, self.first_tokens = [], []
        self.prompt_tokens = self.completion_tokens = 0


@cache
def _meters(surface: str, model: str, status: int) -> _Meters:
    """Return those of one kind. Bounded: `model` is a name of the catalog, never what a caller typed."""
    return _Meters(surface, model, status)


@cache
def _overhead(surface: str) -> Histogram:
    return OVERHEAD.labels(surface)


@cache
def _attempt(sub_account: str, model: str, outcome: str) -> Counter:
    return ATTEMPTS.labels(sub_account, model, outcome)


def count(call: Call) -> None:
    """Count a request that has ended."""
    reply = call.reply
    meters = _meters(call.surface, reply.model if reply else call.model or _OTHER, call.status)
    _counting.add(meters)
    meters.durations.append(time.perf_counter() - call.started)
    if call.first_token_at is not None:
        meters.first_tokens.append(call.first_token_at - call.started)
    if call.error is not None:
        _count_error(call)
    if reply is not None:
        if call.coalesced:
            _add(COALESCED.labels(call.surface), 1)
        elif reply.cached:
            _add(CACHED.labels(call.surface), 1)
        elif (usage := reply.usage) is not None:  # one upstream call is billed once
            meters.prompt_tokens += max(0, int(usage.prompt_tokens or 0))
            meters.completion_tokens += max(0, int(usage.completion_tokens or 0))
    if len(meters.durations) >= _MAX_SAMPLES:
        meters.write()
    _flush_later()


def count_attempt(sub_account: str, model: str, error: GatewayError | None) -> None:
    """Count one call to a deployment."""
    _add(_attempt(sub_account, model, "ok" if error is None else _bounded(error.code)), 1)


def count_queued(model: str) -> None:
    """Count a request that has to wait in line for a deployment."""
    _add(QUEUED.labels(model), 1)
    _flush_later()


def count_unretried(model: str) -> None:
    """Count a failure that is not tried again because the retry budget is spent."""
    _add(UNRETRIED.labels(model), 1)
    _flush_later()


def count_overhead(call: Call, milliseconds: float) -> None:
    """Count the gateway's own share of a request."""
    _sample(_overhead(call.surface), milliseconds / 1000)


def flush() -> None:
    """Write what was counted since the last time to the shared files."""
    global _timer
    if _timer is not None:
        _timer.cancel()
        _timer = None
    for meters in _counting:
        meters.write()
    _counting.clear()
    for counter, amount in _sums.items():
        counter.inc(amount)
    _sums.clear()
    for histogram, values in _samples.items():
        _observe(histogram, values)
    _samples.clear()


def _add(counter: Counter, amount: int) -> None:
    _sums[counter] = _sums.get(counter, 0) + amount


def _sample(histogram: Histogram, value: float) -> None:
    kept = _samples.get(histogram)
    if kept is None:
        _samples[histogram] = [value]
    else:
        kept.append(value)
        if len(kept) >= _MAX_SAMPLES:
            _observe(histogram, _samples.pop(histogram))


def _observe(histogram: Histogram, values: Sequence[float]) -> None:
    """Observe many values at once.

    The client can only do it one by one, which costs more than anything else that is counted: each writes
    to the shared file twice. Hence its own counters.
    """
    histogram._sum.inc(sum(values))
    bounds = histogram._upper_bounds
    for bucket, count in Counted(bisect_left(bounds, value) for value in values).items():
        histogram._buckets[bucket].inc(count)


def _flush_later() -> None:
    """Flush within a second: writing to the shared files on every request costs as much as routing it."""
    global _timer
    if _timer is None:
        _timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, flush)


def render() -> bytes:
    """Return the exposition text of all workers; the others may be a second behind."""
    flush()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
    return generate_latest(registry)


def _count_error(call: Call) -> None:
    error = call.error
    if isinstance(error, CallerLeft):
        _add(LEFT.labels(call.surface), 1)
    code = _bounded(error.code) if isinstance(error, GatewayError) else "internal_error"
    _add(ERRORS.labels(call.surface, code), 1)


def _bounded(code: str) -> str:
    """Upstreams invent codes: only so many become labels."""
    if code not in _codes:
        if len(_codes) >= _MAX_ERROR_CODES:
            return _OTHER
        _codes.add(code)
    return code
