"""Counters."""

from __future__ import annotations

from perf.simulator.stats import Stats


def test_the_peak_outlives_the_requests() -> None:
    """Two at once are remembered."""
    stats = Stats()
    stats.begin("d1")
    stats.begin("d2")
    stats.end("d1", 200)
    stats.end("d2", 429)
    report = stats.report()

    assert (0, 2, {"200": 1, "429": 1}) == (report["in_flight"], report["peak_in_flight"], report["statuses"])


def test_a_reset_keeps_what_is_in_flight() -> None:
    """The end of a request that began before a reset does not make a counter negative."""
    stats = Stats()
    stats.begin("d1")
    stats.reset()
    stats.end("d1", 200)
    stats.stream_cancelled("d1", 3)

    assert (0, 0) == (stats.report()["in_flight"], stats.report()["deployments"]["d1"]["in_flight"])
