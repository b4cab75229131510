"""Collects finished exchanges into the numbers of a result."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

from perf.engine import Exchange
from perf.stats import Histogram

MAX_SAMPLES = 20
MAX_BUCKETS = 600
_SILENT = [0, 0, 0, 0.0, 0.0]
"""Good, failed, chunks, sum and maximum of the latencies: those of an interval in which nothing ended."""


class Meter:
    """Counts exchanges of one kind, from `open_window` on.

    Latencies are of the exchanges that were due inside the window, counted from when they were due;
    throughput is of those that ended inside it. `unfinished` ones are neither successes nor errors.
    """

    def __init__(self, *, bucket_seconds: float = 1.0) -> None:
        self.total = Histogram()
        self.first_byte = Histogram()
        self.ttft = Histogram()
        self.gap = Histogram()
        self.wait = Histogram()
        """From when a request was due until it was written: the generator was late, or its pool full."""
        self.errors: Counter[str] = Counter()
        self.samples: list[str] = []
        self.unfinished = 0
        self.ok_in_window = 0
        self.chunks = self.bytes_in = self.prompt_tokens = self.completion_tokens = 0
        self._bucket_seconds = bucket_seconds
        self._buckets: dict[int, list[float]] = {}
        self._from = self._until = math.inf

    def open_window(self, now: float) -> None:
        """What is due from now on counts."""
        self._from = now

    def close_window(self, now: float) -> None:
        """What is due, or ends, from now on does not count."""
        self._until = min(now, self._until)

    @property
    def elapsed(self) -> float:
        """Seconds of the window so far."""
        return max(min(self._until, time.perf_counter()) - self._from, 1e-9)

    @property
    def finished(self) -> int:
        """Successes and errors."""
        return self.total.count + sum(self.errors.values())

    def note(self) -> str:
        """Where it stands, for a progress bar."""
        return f"{self.total.count} good, {sum(self.errors.values())} failed"

    def record(self, exchange: Exchange) -> None:
        """Take in a finished exchange."""
        ended, good = exchange.ended, exchange.failure is None
        if self._from <= ended <= self._until:
            self._count_ended(exchange, good)
        if not self._from <= exchange.intended <= self._until:
            return
        if not good:
            self._count_failure(exchange)
            return
        due = exchange.intended
        self.total.record(ended - due)
        self.wait.record(exchange.sent - due)
        if exchange.first_byte:
            self.first_byte.record(exchange.first_byte - due)
        if exchange.first_token:
            self.ttft.record(exchange.first_token - due)
            for gap in exchange.gaps:
                self.gap.record(gap)

    def _count_ended(self, exchange: Exchange, good: bool) -> None:
        number = self._bucket(exchange.ended)  # first: it may replace the buckets by wider ones
        bucket = self._buckets.setdefault(number, [*_SILENT])
        bucket[2] += exchange.chunks
        if not good:
            bucket[1] += exchange.failure != "unfinished"
            return
        self.ok_in_window += 1
        self.chunks += exchange.chunks
        self.bytes_in += exchange.size
        self.prompt_tokens += exchange.prompt_tokens
        self.completion_tokens += exchange.completion_tokens
        seconds = exchange.ended - exchange.intended
        bucket[0] += 1
        bucket[3] += seconds
        bucket[4] = max(bucket[4], seconds)

    def _bucket(self, now: float) -> int:
        number = int((now - self._from) / self._bucket_seconds)
        while number >= MAX_BUCKETS:  # a long run: wider buckets, never more of them
            self._widen()
            number = int((now - self._from) / self._bucket_seconds)
        return number

    def _widen(self) -> None:
        self._bucket_seconds *= 2
        merged: dict[int, list[float]] = {}
        for number, values in self._buckets.items():
            into = merged.setdefault(number // 2, [*_SILENT])
            for column in range(4):
                into[column] += values[column]
            into[4] = max(into[4], values[4])
        self._buckets = merged

    def _count_failure(self, exchange: Exchange) -> None:
        if exchange.failure == "unfinished":
            self.unfinished += 1
            return
        kind = f"status {exchange.status}" if exchange.failure == "status" else str(exchange.failure)
        self.errors[kind] += 1
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append(f"{kind}: {exchange.detail}")

    def timeline(self) -> list[dict[str, float]]:
        """Requests, errors, chunks, mean and largest latency per interval of the window, silent ones too."""
        last = self.elapsed
        self._bucket(self._from + last)  # a long silence at the end makes them wider as well
        width = self._bucket_seconds
        intervals = max([math.ceil(last / width), *(number + 1 for number in self._buckets)])
        return [
            {
                "at": round(number * width, 3),
                "seconds": round(max(min(width, last - number * width), 1e-3), 3),
                "ok": values[0],
                "failed": values[1],
                "chunks": values[2],
                "mean_ms": round(values[3] / values[0] * 1e3, 3) if values[0] else 0.0,
                "max_ms": round(values[4] * 1e3, 3),
            }
            for number in range(intervals)
            for values in [self._buckets.get(number, _SILENT)]
        ]

    def report(self) -> dict[str, Any]:
        """The numbers as a JSON object; times in milliseconds."""
        elapsed = self.elapsed
        failed = sum(self.errors.values())
        per_second = {
            "requests": self.ok_in_window / elapsed,
            "chunks": self.chunks / elapsed,
            "bytes": self.bytes_in / elapsed,
            "completion_tokens": self.completion_tokens / elapsed,
        }
        return {
            "seconds": round(elapsed, 3),
            "ok": self.total.count,
            "failed": failed,
            "unfinished": self.unfinished,
            "error_rate": round(failed / self.finished, 6) if self.finished else 0.0,
            "errors": dict(self.errors.most_common()),
            "error_samples": self.samples,
            "per_second": {name: round(value, 3) for name, value in per_second.items()},
            "tokens": {"prompt": self.prompt_tokens, "completion": self.completion_tokens},
            "latency_ms": self.total.summary(),
            "first_byte_ms": self.first_byte.summary(),
            "ttft_ms": self.ttft.summary(),
            "gap_ms": self.gap.summary(),
            "wait_ms": self.wait.summary(),
            "distributions": {
                "latency": self.total.distribution(),
                "first_byte": self.first_byte.distribution(),
                "ttft": self.ttft.distribution(),
            },
            "timeline": self.timeline(),
        }
