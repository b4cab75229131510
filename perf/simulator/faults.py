"""What can go wrong, and for whom.

A fault is asked for on the command line, at `/_sim/faults`, by the request header `x-sim-fault: KIND[:ARG]`,
or by `[[fault:KIND[:ARG]]]` in the last user message. Kinds are data (`KINDS`); what they do is in `mishaps`.
"""

from __future__ import annotations

import random

import msgspec

KINDS: dict[str, str] = {
    "429": "too many requests; ARG is Retry-After in seconds, none without",
    "500": "internal error in the family's shape",
    "503": "unavailable in the family's shape; ARG is Retry-After",
    "504": "text `upstream request timeout`",
    "529": "overloaded, in the family's shape",
    "408": "the model timed out",
    "401": "text: the token is not accepted",
    "403": "text `RBAC: access denied`",
    "404": "the deployment is not found",
    "413": "the payload is too large, text",
    "html": "502 with an HTML page of a load balancer",
    "content-filter": "400, the prompt was filtered by Azure",
    "context-length": "400, the prompt is too long",
    "reset": "the connection is reset before any byte",
    "silence": "never an answer",
    "slow": "ARG seconds (default 1) more to the first byte",
    "slow-token": "ARG seconds (default 1) between the opening frames and the first content",
    "cut": "closed after ARG content frames (default 1), without the end of the body",
    "stall": "silent for ever after ARG content frames (default 1)",
    "malformed": "broken JSON after ARG content frames (default 1)",
    "no-done": "the stream ends without its terminator",
    "error-frame": "an error inside the 200 after ARG content frames (default 1), then the end",
    "error-first": "an error inside the 200 before any content, then the end",
    "ragged": "the frames of a stream are sent in pieces of ARG bytes (default 7)",
    "throttled": "an error inside the 200 right after the first frame, then the end",
    "empty": "200 with no body",
    "short-body": "a unary body shorter than its Content-Length, then closed",
    "revoke": "every token of the tenant is revoked now, this request gets 401",
}

PLANES = ("inference", "management", "oauth")

MAX_FAULTS = 1000


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """One fault and whom it hits; a field left out matches everything."""

    kind: str
    arg: float | None = None
    model: str | None = None
    deployment: str | None = None
    tenant: str | None = None
    plane: str = "inference"
    times: int | None = None
    """Hits left; None never runs out."""
    probability: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known are {', '.join(KINDS)}")
        if self.plane not in PLANES:
            raise ValueError(f"unknown plane {self.plane!r}; known are {', '.join(PLANES)}")
        if not 0 < self.probability <= 1:
            raise ValueError("a probability is above 0 and at most 1")
        if self.arg is not None and not 0 <= self.arg <= 1e6:
            raise ValueError("an argument is between 0 and 1000000")

    def hits(self, plane: str, tenant: str, deployment: str, model: str) -> bool:
        """Whether this request is meant, chance left aside."""
        return (
            self.plane == plane
            and self.tenant in (None, tenant)
            and self.deployment in (None, deployment)
            and self.model in (None, model)
        )


def parse_kind(text: str) -> Fault:
    """Read `KIND[:ARG]`. Raises ValueError."""
    kind, _, arg = text.strip().partition(":")
    return Fault(kind, arg=float(arg) if arg else None)


def parse_option(text: str, *, tenants: tuple[str, ...]) -> Fault:
    """Read `TARGET=KIND[:PROBABILITY][:ARG]`; a target is a model, a deployment, a tenant, a plane or `*`.

    Raises ValueError.
    """
    target, equals, rest = text.partition("=")
    if not equals or not target:
        raise ValueError(f"{text!r} is not TARGET=KIND[:PROBABILITY][:ARG]")
    kind, probability, arg = (*rest.split(":"), "", "")[:3]
    fault = Fault(kind, probability=float(probability or 1), arg=float(arg) if arg else None)
    if target in PLANES:
        fault.plane = target
    elif target in tenants:
        fault.tenant = target
    elif target[0] == "d" and len(target) == 16 and target.isalnum():
        fault.deployment = target
    elif target != "*":
        fault.model = target
    return fault


class FaultBook:
    """The faults that are set, first come, first used."""

    def __init__(self, *, seed: int = 0) -> None:
        self.active: list[Fault] = []
        self._random = random.Random(seed)

    def add(self, fault: Fault) -> None:
        """Set a fault. Raises ValueError when there are too many."""
        if len(self.active) >= MAX_FAULTS:
            raise ValueError(f"no more than {MAX_FAULTS} faults")
        if fault.times is None or fault.times > 0:
            self.active.append(fault)

    def clear(self) -> None:
        """Everything works again."""
        self.active.clear()

    def pick(self, plane: str, tenant: str, deployment: str = "", model: str = "") -> Fault | None:
        """The fault this request meets; uses up one of its times."""
        for fault in self.active:
            if fault.hits(plane, tenant, deployment, model) and self._random.random() < fault.probability:
                self._use(fault)
                return fault
        return None

    def _use(self, fault: Fault) -> None:
        if fault.times is None:
            return
        fault.times -= 1
        if fault.times <= 0:
            self.active = [other for other in self.active if other is not fault]
