"""Choose a deployment for each attempt, and remember which ones are better left alone for a while.

Decides only; sending and tokens live elsewhere. In-flight counts and rests are shared between the workers of
a machine through the board.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from services.board import Board, Row
from services.deployments import Deployment
from services.errors import NoDeployment

Strategy = Literal["least-in-flight", "round-robin", "ordered"]
Clock = Callable[[], float]

LONGEST_REST_SECONDS = 600.0


class Slot:
    """One deployment as the balancer sees it."""

    __slots__ = ("_in_flight", "_rest", "deployment", "key")

    def __init__(self, deployment: Deployment, board: Board) -> None:
        self.deployment = deployment
        self.key = f"{deployment.sub_account}/{deployment.id}"
        self._in_flight: Row = board.row(f"in-flight {self.key}")
        self._rest: Row = board.row(f"rest {self.key}")

    def take(self) -> None:
        """Count one more request in flight."""
        self._in_flight.add(1)

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

    def rest(self, until: float) -> None:
        """Leave it alone until then; the later of two deadlines wins."""
        self._rest.put(max(self._rest.latest(), int(until * 1000)))


class Balancer:
    """Picks slots. `clock` is the system-wide monotonic clock: all workers compare the same deadlines."""

    def __init__(
        self, board: Board, *, strategy: Strategy = "least-in-flight", clock: Clock = time.monotonic
    ) -> None:
        self._board = board
        self._clock = clock
        self._strategy = strategy
        self._slots: dict[tuple[str, str], Slot] = {}
        self._turns: dict[str, dict[str, float]] = {}

    def pick(
        self, model: str, candidates: Sequence[Deployment], *, tried: Collection[Slot] = (), shares: bool
    ) -> Slot:
        """Choose one, count the request on it and return it; release it when the attempt is over.

        `shares` says that the weights were set for this model to split its traffic, whatever the strategy
        (a rollout). Candidates that rest are passed over, unless all do: then the first to wake is tried.
        Raises NoDeployment when none is left.
        """
        usable = [
            slot for slot in map(self.slot, candidates) if slot not in tried and slot.deployment.weight > 0
        ]
        if not usable:
            raise NoDeployment(f"no deployment of '{model}' is left to try")
        slot = self._choose(model, self._awake(usable), shares=shares) if len(usable) > 1 else usable[0]
        slot.take()
        return slot

    def rest(self, slot: Slot, seconds: float) -> None:
        """Leave a deployment alone for a while, at most LONGEST_REST_SECONDS whatever the upstream says."""
        slot.rest(self._clock() + min(seconds, LONGEST_REST_SECONDS))

    def resting_seconds(self, candidates: Sequence[Deployment]) -> float:
        """Return how long it is until the first of them wakes; 0 if one is awake or there are none."""
        ends = [slot.rests_until for slot in map(self.slot, candidates)]
        return max(0.0, min(ends, default=0.0) - self._clock())

    def slot(self, deployment: Deployment) -> Slot:
        """Return the deployment's slot; a deployment that discovery described anew keeps its counters."""
        key = (deployment.sub_account, deployment.id)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot(deployment, self._board)
        elif slot.deployment is not deployment:
            slot.deployment = deployment
        return slot

    def _awake(self, slots: list[Slot]) -> list[Slot]:
        now = self._clock()
        awake = [slot for slot in slots if slot.rests_until <= now]
        return awake or [min(slots, key=lambda slot: slot.rests_until)]

    def _choose(self, model: str, slots: list[Slot], *, shares: bool) -> Slot:
        if self._strategy == "ordered" and not shares:
            return slots[0]
        if self._strategy == "least-in-flight" and not shares:
            loads = [slot.in_flight / slot.deployment.weight for slot in slots]
            least = min(loads)
            slots = [slot for slot, load in zip(slots, loads, strict=True) if load == least]
        return slots[0] if len(slots) == 1 else self._next_turn(model, slots)

    def _next_turn(self, model: str, slots: list[Slot]) -> Slot:
        """Smooth weighted round robin: in any run of picks each gets its share, and turns are spread out."""
        turns = self._turns.setdefault(model, {})
        total = 0.0
        for slot in slots:
            total += slot.deployment.weight
            turns[slot.key] = turns.get(slot.key, 0.0) + slot.deployment.weight
        chosen = max(slots, key=lambda slot: turns[slot.key])
        turns[chosen.key] -= total
        return chosen
