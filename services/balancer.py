"""Choose a deployment for each attempt, and remember which ones are better left alone for a while.

Decides only; sending and tokens live elsewhere. What it knows is shared between the workers of a machine
through the board, the moment it is learned.

A deployment that fails rests, longer each time. Then it is half open: one request at a time tries it, until
one of them succeeds; after that its share of the traffic grows back slowly. Where every candidate rests after
failures, the first to wake is asked anyway: a guess about one's health is no reason to serve nobody. Only a
deployment that said itself how long it wants to be left alone, or that its rate limit is reached, is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Literal

import msgspec

from services.board import Board, Row
from services.deployments import Deployment
from services.errors import Busy, GatewayError, NoDeployment, Rests, UpstreamError, UpstreamLimited

Strategy = Literal["least-in-flight", "round-robin", "ordered"]
Clock = Callable[[], float]

LONGEST_REST_SECONDS = 600.0
PROBE_SECONDS = 10.0
"""How long the one request that tries a half-open deployment keeps others away from it."""

FULL_SECONDS = 0.1
"""When to look again at deployments that have enough to do: nobody knows how long a model talks."""

_FIRST_SHARE = 0.1
_STEPS = 4
"""The first rest is 2**-4 of the longest, and each further one twice the one before."""

_LEVEL_BITS = 8
_LIMITED = 1


class Patience(msgspec.Struct, frozen=True):
    """How deployments are treated that fail (seconds)."""

    cool_down: float = 30.0
    """The longest rest after failures; 0: none."""
    slow_start: float = 30.0
    """How long a share takes to grow back."""


PATIENCE = Patience()


class Slot:
    """One deployment as the balancer sees it, for one backend model: orchestration serves many.

    `_record` holds when the latest verdict was given (milliseconds), how many failures there were in a row,
    and whether the last was a rate limit; of all workers' cells the greatest is the latest.
    """

    __slots__ = ("_in_flight", "_limited", "_probe", "_record", "_rest", "deployment", "key")

    def __init__(self, deployment: Deployment, board: Board) -> None:
        self.deployment = deployment
        self.key = deployment.origin
        health = f"{self.key} {deployment.model}"
        self._in_flight: Row = board.row(f"in-flight {self.key}")
        self._rest: Row = board.row(f"rest {health}")
        self._limited: Row = board.row(f"limited {health}")
        self._record: Row = board.row(f"record {health}")
        self._probe: Row = board.row(f"probe {health}")

    def take(self, deployment: Deployment, limit: int | None = None) -> bool:
        """Count one more request in flight, for the deployment as its public name describes it.

        Returns False, with nothing counted, if that is more than `limit`.
        """
        self._in_flight.add(1)
        if limit is not None and self.in_flight > limit:
            self._in_flight.add(-1)  # counted before it was judged: workers may both step back, never exceed
            return False
        self.deployment = deployment
        return True

    def release(self) -> None:
        """Count one request less; every take needs exactly one release."""
        self._in_flight.add(-1)

    @property
    def in_flight(self) -> int:
        """Requests that all workers have on this deployment now."""
        return self._in_flight.total()

    @property
    def rests_until(self) -> float:
        """When it may be used again, on the system-wide monotonic clock (seconds)."""
        return self._rest.latest() / 1000

    @property
    def limited_until(self) -> float:
        """Until when it wants no request at all."""
        return self._limited.latest() / 1000

    def share(self, now: float, slow_start: float) -> float:
        """Return the part of its weight that counts now: 0 while it rests, -1 when it is half open."""
        until = self._rest.latest()
        if not until:
            return 1.0
        if until > now * 1000:
            return 0.0
        at, level, limited = self._verdict()
        if limited:  # it was never ill
            return 1.0
        if level:
            return -1.0
        age = now - at
        return 1.0 if age >= slow_start else max(_FIRST_SHARE, age / slow_start)

    def claim(self, now: float) -> bool:
        """Whether this request is the one that tries it. Of two workers at once, at most one gets it."""
        if self._probe.latest() > now * 1000:
            return False
        self._probe.put(int((now + PROBE_SECONDS) * 1000))
        if not self._probe.alone(int(now * 1000)):
            self._probe.put(0)
            return False
        return True

    def worked(self, now: float) -> None:
        """Note that it has answered."""
        if not self._rest.latest():
            return
        _, level, limited = self._verdict()
        if level:
            self._write(now, 0, limited=limited)
            self._probe.put(0)

    def failed(
        self, now: float, patience: Patience, *, hint: float | None, limited: bool, lost: float
    ) -> None:
        """Let it rest as long as it said itself (`hint`), else longer each time, and as long as it `lost`."""
        _, level, _ = self._verdict()
        if self._rest.latest() <= now * 1000:  # failures of requests that ran together are one
            level = min(level + 1, _STEPS + 1)
        seconds = hint
        if seconds is None:
            seconds = max(patience.cool_down * 2.0 ** (level - 1 - _STEPS), lost if patience.cool_down else 0)
        if seconds <= 0:
            return
        self._write(now, level, limited=limited)
        until = int((now + min(seconds, LONGEST_REST_SECONDS)) * 1000)
        _later(self._rest, until)
        self._probe.put(0)  # the next one may try as soon as the rest is over
        if limited:
            _later(self._limited, until)

    def _verdict(self) -> tuple[float, int, bool]:
        """Return when the latest verdict was given, the failures in a row, and whether by a rate limit."""
        record = self._record.latest()
        return (
            (record >> _LEVEL_BITS) / 1000,
            (record & ((1 << _LEVEL_BITS) - 1)) >> 1,
            bool(record & _LIMITED),
        )

    def _write(self, now: float, level: int, *, limited: bool) -> None:
        self._record.put(int(now * 1000) << _LEVEL_BITS | level << 1 | limited)


def _later(row: Row, until: int) -> None:
    """Move a deadline; the later of two wins."""
    row.put(max(row.latest(), until))


class Balancer:
    """Picks slots. `clock` is the system-wide monotonic clock: all workers compare the same deadlines."""

    def __init__(
        self,
        board: Board,
        *,
        strategy: Strategy = "least-in-flight",
        patience: Patience = PATIENCE,
        clock: Clock = time.monotonic,
    ) -> None:
        self._board = board
        self._clock = clock
        self._patience = patience
        self._strategy = strategy
        self._slots: dict[tuple[str, str, str], Slot] = {}
        self._known: dict[str, tuple[Sequence[Deployment], dict[Slot, Deployment]]] = {}
        self._turns: dict[str, dict[str, float]] = {}

    def pick(
        self,
        model: str,
        candidates: Sequence[Deployment],
        *,
        tried: Collection[Slot] = (),
        shares: bool,
        limit: int | None = None,
        insists: bool = True,
    ) -> Slot:
        """Choose one, count the request on it and return it; release it when the attempt is over.

        `shares` says that the weights were set for this model to split its traffic, whatever the strategy
        (a rollout); `limit` is how many requests a deployment may have. Who does not insist has somebody else
        to ask than a deployment that rests. Raises NoDeployment when none is left, Busy when none may be
        asked now.
        """
        usable = self._weighed(model, candidates)
        if tried:
            usable = {slot: one for slot, one in usable.items() if slot not in tried}
        if not usable:
            raise NoDeployment(f"no deployment of '{model}' is left to try")
        now = self._clock()
        awake: dict[Slot, float] = {}
        for slot, deployment in usable.items():
            share = slot.share(now, self._patience.slow_start)
            if share > 0:
                awake[slot] = share * deployment.weight
            elif share < 0 and not tried and slot.take(deployment, limit):  # who failed once is no test
                if slot.claim(now):
                    return slot
                slot.release()
        if not awake and insists:
            awake = self._first_to_wake(usable, now)
        while awake:
            slot = next(iter(awake)) if len(awake) == 1 else self._choose(model, awake, shares=shares)
            if slot.take(usable[slot], limit):
                return slot
            del awake[slot]
        raise self._busy(model, usable, now)

    def limited(self, deployment: Deployment) -> bool:
        """Whether it must not be asked now, whatever happens."""
        return self.slot(deployment).limited_until > self._clock()

    def worked(self, slot: Slot) -> None:
        """Learn that a deployment has answered."""
        slot.worked(self._clock())

    def failed(self, slot: Slot, failure: GatewayError, *, lost: float = 0.0) -> None:
        """Learn from a failure, which took `lost` seconds of waiting for nothing."""
        asked = failure.retry_after is not None and isinstance(failure, UpstreamError)
        limited = asked or isinstance(failure, UpstreamLimited)
        for one in self._concerned(slot, failure.rests):
            one.failed(self._clock(), self._patience, hint=failure.retry_after, limited=limited, lost=lost)

    def slot(self, deployment: Deployment) -> Slot:
        """Return the deployment's slot; a deployment that discovery described anew keeps its counters."""
        key = (deployment.sub_account, deployment.id, deployment.model)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot(deployment, self._board)
        elif slot.deployment is not deployment:
            slot.deployment = deployment
        return slot

    def _weighed(self, model: str, candidates: Sequence[Deployment]) -> dict[Slot, Deployment]:
        """Return the slots of candidates that have a share; looked up once for each change of the catalog."""
        known = self._known.get(model)
        if known is None or known[0] is not candidates:
            slots = {self.slot(one): one for one in candidates if one.weight > 0}
            known = self._known[model] = (candidates, slots)
        return known[1]

    def _concerned(self, slot: Slot, rests: Rests) -> list[Slot]:
        if rests is Rests.NOTHING:
            return []
        if rests is Rests.DEPLOYMENT:
            return [slot]
        account = slot.deployment.sub_account
        return [one for one in self._slots.values() if one.deployment.sub_account == account]

    def _first_to_wake(self, slots: Collection[Slot], now: float) -> dict[Slot, float]:
        """Return the slot to ask although it rests; none where all have said that they want no request."""
        willing = [slot for slot in slots if slot.limited_until <= now]
        return {min(willing, key=lambda slot: slot.rests_until): 1.0} if willing else {}

    def _busy(self, model: str, slots: Collection[Slot], now: float) -> Busy:
        limited = min(slot.limited_until for slot in slots) - now
        resting = min(slot.rests_until for slot in slots) - now
        if limited <= 0:
            why = "rests after failures" if resting > 0 else "has as many requests as it may"
            text = f"every deployment of '{model}' {why}; try again"
            return Busy(text, retry_after=max(resting, FULL_SECONDS))
        text = f"every deployment of '{model}' is at its rate limit, or has asked for a pause"
        busy = Busy(text, status=429, code="rate_limit_exceeded", retry_after=limited)
        busy.kind = "rate_limit_error"
        return busy

    def _choose(self, model: str, awake: dict[Slot, float], *, shares: bool) -> Slot:
        """Return one of several; the values are what their weights count now."""
        if self._strategy == "ordered" and not shares:
            return next(iter(awake))
        slots = list(awake)
        if self._strategy == "least-in-flight" and not shares:
            loads = [slot.in_flight / weight for slot, weight in awake.items()]
            least = min(loads)
            slots = [slot for slot, load in zip(slots, loads, strict=True) if load == least]
        return slots[0] if len(slots) == 1 else self._next_turn(model, slots, awake)

    def _next_turn(self, model: str, slots: list[Slot], weights: dict[Slot, float]) -> Slot:
        """Smooth weighted round robin: in any run of picks each gets its share, and turns are spread out."""
        turns = self._turns.setdefault(model, {})
        total = 0.0
        for slot in slots:
            total += weights[slot]
            turns[slot.key] = turns.get(slot.key, 0.0) + weights[slot]
        chosen = max(slots, key=lambda slot: turns[slot.key])
        turns[chosen.key] -= total
        return chosen
