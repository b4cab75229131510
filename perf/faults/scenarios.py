"""The sixteen scenarios as data: the fault, what is required, the routes there are, and how to ask."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Routes = Literal["one", "two", "fallback"]
"""One deployment; two, in two sub-accounts; or one, and another model as the configured fallback."""

Mode = Literal["whole", "stream", "held"]
"""Unary; streamed; streamed with `x-aicore-hold`, which asks the gateway to send no half answers."""

Family = Literal["gpt", "claude"]

WHOLE: tuple[Mode, ...] = ("whole", "stream")
STREAMS: tuple[Mode, ...] = ("stream",)
HELD: tuple[Mode, ...] = ("whole", "stream", "held")

RETRY_AFTER_SECONDS = 2
SILENCE_SECONDS = 120.0
FIRST_TOKEN_SECONDS = 20.0
CUT_AFTER = 40
STALL_AFTER = 20
STALL_SECONDS = 30.0
OUTAGE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault and what a caller may expect nevertheless."""

    id: str
    fault: str
    required: str
    routes: Routes
    modes: tuple[Mode, ...] = WHOLE
    patience: float = 45.0
    """Seconds after which a caller has been left hanging."""
    requests: int = 1
    interval: float = 0.0
    """Seconds between two of them."""
    only: Collection[str] = ("gpt/chat", "gpt/messages", "gpt/responses", "claude/chat", "claude/messages",
                             "claude/responses")  # fmt: skip
    """Family and surface of the pairs where it can happen."""
    probe: bool = False
    """Whether the gateway is asked for something healthy afterwards."""


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("S01", "429 with Retry-After 2, once", "second try ≥ 1.8 s later, answer", "one"),
    Scenario("S02", "429 always", "≤ 4 tries in 3 s, ≤ 6 in all, then the error", "one"),
    Scenario("S03", "500 once", "retry the same, answer", "one"),
    Scenario("S04", "503 always", "fail over", "two"),
    Scenario("S05", "TCP reset before headers, once", "answer", "one"),
    Scenario(
        "S06", "silence for 120 s", "≤ 100 s; ideally the silent route is asked once", "two", patience=110.0
    ),
    Scenario(
        "S07", "first token after 20 s", "answer; ideally elsewhere after 15 s", "two", STREAMS, patience=60.0
    ),
    Scenario(
        "S08", "cut after 40 of 60 tokens", "whole answer elsewhere, or a clear error; never “success”",
        "two", HELD,
    ),
    Scenario(
        "S09", "stall of 30 s in mid-answer", "≤ 45 s, and healthy afterwards", "two", HELD,
        patience=70.0, probe=True,
    ),
    Scenario(
        "S10", "one malformed chunk", "skip it or fail cleanly", "two", ("stream", "held"), probe=True
    ),
    Scenario(
        "S11", "no [DONE]", "finish at once, report usage", "one", STREAMS,
        only=("gpt/chat", "gpt/messages"),  # what is asked by chat completions: no other stream has one
    ),
    Scenario("S12", "400: context too long", "no blind retry", "two"),
    Scenario("S13", "400: content filter", "no retry, the reason passed on", "two"),
    Scenario(
        "S14", "cut stream, fallback refuses prefill", "the real error is not masked", "fallback", HELD
    ),
    Scenario(
        "S15", "down for 60 s, 20 requests", "served by the fallback, back ≤ 30 s after recovery", "fallback",
        patience=30.0, requests=20, interval=4.6,  # the last one 87.4 s after the first: within those 30 s
    ),
    Scenario("S16", "503, the fallback answers", "the fallback's model and usage are reported", "fallback"),
)  # fmt: skip

SURFACES = ("chat", "messages", "responses")
NATIVE: Mapping[str, Family] = {"chat": "gpt", "messages": "claude", "responses": "gpt"}
TRANSLATED: Mapping[str, Family] = {"chat": "claude", "messages": "gpt", "responses": "claude"}

HEALTHY: Mapping[Family, str] = {"gpt": "gpt-ok", "claude": "anthropic--claude-ok"}
"""Public models without a fault."""

_PREFIX: Mapping[Family, str] = {"gpt": "gpt", "claude": "anthropic--claude"}


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario on one surface, to one family of models, asked in one way. It has models of its own."""

    scenario: Scenario
    surface: str
    family: Family
    mode: Mode

    @property
    def model(self) -> str:
        """The public model that is asked for."""
        return f"{_PREFIX[self.family]}-{self.scenario.id.lower()}-{self.surface}-{self.mode}"

    @property
    def fallback(self) -> str | None:
        """The model configured as its fallback."""
        return f"{self.model}-fallback" if self.scenario.routes == "fallback" else None

    @property
    def native(self) -> bool:
        """Whether the model speaks the caller's dialect."""
        return NATIVE[self.surface] == self.family


def cases(scenarios: Collection[Scenario], *, translated: bool) -> Iterator[Case]:
    """All there is to ask, the longest first."""
    pairs = [*NATIVE.items(), *(TRANSLATED.items() if translated else ())]
    for scenario in sorted(scenarios, key=lambda one: -max(one.patience, one.requests * one.interval)):
        for surface, family in pairs:
            if f"{family}/{surface}" in scenario.only:
                for mode in scenario.modes:
                    yield Case(scenario, surface, family, mode)
