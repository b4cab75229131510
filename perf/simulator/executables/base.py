"""What an executable is: its allow-list of sub-paths, and the shape of its errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from perf.simulator.answers import EventStream, Refused, Reply
from perf.simulator.errors import Problem, Shape, error_frame, shaped
from perf.simulator.models import Model
from perf.simulator.settings import Pace


class Call(msgspec.Struct, gc=False):
    """One inference request that has passed every check of the router."""

    model: Model | None
    query: dict[str, str]
    body: bytes
    pace: Pace
    subpath: str = ""
    memory: dict[str, Any] = msgspec.field(default_factory=dict)
    """What the servers behind the deployment remember from one request to the next."""
    headers: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)
    """By lower-case names."""

    @property
    def interval(self) -> float:
        """Seconds between two content frames."""
        return self.pace.chunk_interval_ms / 1000


Handler = Callable[[Call], Reply | EventStream]

API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?$")

_NAMES = (
    (re.compile("^models/[^/:]+:"), "models/{model}:"),
    (re.compile("^responses/(?!compact$)[^/]+"), "responses/{id}"),
)


class Executable(msgspec.Struct, frozen=True):
    """A kind of deployment. Sub-paths outside `routes` are refused; `{model}` and `{id}` there are any name.

    A route is a POST unless another method stands in front of it: `GET responses/{id}`.
    """

    id: str
    routes: Mapping[str, Handler]
    error_shape: Shape
    refusal_shapes: Mapping[str, Shape] = msgspec.field(default_factory=dict)
    """Routes whose refusals have another shape than errors inside a stream."""
    error_frames: Callable[[Problem], bytes] | None = None
    """An error inside a stream; None puts `error_shape` into a `data:` line."""

    def handler(self, subpath: str, method: str = "POST") -> Handler | None:
        """Who answers a sub-path, if it is allowed with that method."""
        route = _route(subpath)
        return self.routes.get(route if method == "POST" else f"{method} {route}")

    def serves(self, subpath: str) -> bool:
        """Whether a sub-path is allowed with some method."""
        return _route(subpath) in {route.rpartition(" ")[2] for route in self.routes}

    def at(self, subpath: str) -> Executable:
        """The executable as it refuses requests to a sub-path."""
        shape = self.refusal_shapes.get(_route(subpath))
        return msgspec.structs.replace(self, error_shape=shape) if shape else self

    def frame(self, problem: Problem) -> bytes:
        """An error inside a 200 stream."""
        if self.error_frames is not None:
            return self.error_frames(problem)
        return error_frame(problem, self.error_shape)

    def refuse(self, problem: Problem) -> Refused:
        """The refusal, ready to be raised."""
        return Refused(shaped(problem, self.error_shape))


def _route(subpath: str) -> str:
    for pattern, route in _NAMES:
        subpath = pattern.sub(route, subpath)
    return subpath
