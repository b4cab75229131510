"""What an executable is: its allow-list of sub-paths, and the shape of its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from perf.simulator.answers import EventStream, Refused, Reply
from perf.simulator.errors import Problem, Shape, shaped
from perf.simulator.models import Model
from perf.simulator.settings import Pace


class Call(msgspec.Struct, gc=False):
    """One inference request that has passed every check of the router."""

    model: Model | None
    query: dict[str, str]
    body: bytes
    pace: Pace

    @property
    def interval(self) -> float:
        """Seconds between two content frames."""
        return self.pace.chunk_interval_ms / 1000


Handler = Callable[[Call], Reply | EventStream]


class Executable(msgspec.Struct, frozen=True):
    """A kind of deployment. Sub-paths outside `routes` are refused."""

    id: str
    routes: Mapping[str, Handler]
    error_shape: Shape

    def refuse(self, problem: Problem) -> Refused:
        """The refusal, ready to be raised."""
        return Refused(shaped(problem, self.error_shape))
