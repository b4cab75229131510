"""What goes wrong, and when: the tenant's faults change every few seconds, and now and then a part dies.

All of it comes from one seed; only what it meets differs from run to run.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from perf.chaos.questions import MODELS
from perf.chaos.site import WORKERS, Site
from perf.chaos.verdicts import Chronicle, Event
from perf.simulator.faults import KINDS
from perf.stack import StackError

TURN_SECONDS = (2.0, 6.0)
CALM = 0.2
"""Share of the turns without any fault, so that recovery is seen too."""
BLOW = 0.4
"""Share of the turns with a blow."""
REPLACED_SECONDS = 15.0
"""How soon a killed worker must have been replaced."""
WIDE = 0.3
"""Largest probability of a fault that hits every model: some candidate must have a chance."""

Range = tuple[float, float]

ARGUMENTS: Mapping[str, Range] = {
    "429": (1, 3), "503": (1, 3), "slow": (0.2, 2), "slow-token": (0.2, 2), "ragged": (1, 9),
    "cut": (0, 12), "stall": (0, 12), "malformed": (0, 12), "error-frame": (0, 12),
}  # fmt: skip
"""Seconds, bytes, or frames that pass before the fault, by its kind."""
CONTROL = ("500", "503", "429", "slow", "html", "empty", "reset", "401")
"""Faults of the token endpoint and of the management plane."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as it is set."""

    kind: str
    plane: str
    model: str | None
    arg: float | None
    probability: float


def draw_fault(chance: random.Random) -> Fault:
    """A random fault: most of one model's inference, some of every model's, some of the other planes."""
    plane = chance.choices(("inference", "oauth", "management"), (10, 1, 1))[0]
    kind = chance.choice(tuple(KINDS) if plane == "inference" else CONTROL)
    model = chance.choice((None, *MODELS)) if plane == "inference" else None
    span = ARGUMENTS.get(kind)
    arg = round(chance.uniform(*span), 1) if span is not None else None
    most = WIDE if plane == "inference" and model is None else 1.0
    return Fault(kind, plane, model, arg, round(chance.uniform(0.1, most), 2))


class Disorder(threading.Thread):
    """Does it, from a thread of its own, until it is told to stop; then everything works again."""

    def __init__(self, site: Site, chronicle: Chronicle, seed: int) -> None:
        super().__init__(name="disorder", daemon=True)
        self._site, self._chronicle = site, chronicle
        self._chance = random.Random(seed)
        self._stopping = threading.Event()
        self.done: Counter[str] = Counter()
        """How often each blow fell, and each fault was set."""
        self.failure: BaseException | None = None
        """What went wrong with the disorder itself."""

    def run(self) -> None:
        """Turn after turn."""
        try:
            while not self._stopping.is_set():
                with self._faults():
                    if self._chance.random() < BLOW:
                        self._strike()
                    self._stopping.wait(self._chance.uniform(*TURN_SECONDS))
        except BaseException as exc:  # told by the main thread
            self.failure = exc

    def stop(self) -> None:
        """Have everything work again as soon as the turn can be ended; does not wait."""
        self._stopping.set()

    def finish(self) -> None:
        """Stop, and wait for it. Raises what went wrong with the disorder itself."""
        self.stop()
        self.join()
        self._site.simulator.clear_faults()
        if self.failure is not None:
            raise self.failure

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """The faults of one turn."""
        count = 0 if self._chance.random() < CALM else self._chance.randint(1, 4)
        faults = [draw_fault(self._chance) for _ in range(count)]
        events = [Event(fault.kind, fault.model, time.perf_counter()) for fault in faults]
        self._chronicle.faults += events
        for fault in faults:
            self._site.simulator.set_fault(
                fault.kind, plane=fault.plane, model=fault.model, arg=fault.arg, probability=fault.probability
            )
            self.done[f"{fault.plane} {fault.kind}"] += 1
        yield
        self._site.simulator.clear_faults()
        for event in events:
            event.ended = time.perf_counter()

    def _strike(self) -> None:
        names: Sequence[str] = tuple(BLOWS)
        name = self._chance.choices(names, [BLOWS[name].weight for name in names])[0]
        blow = BLOWS[name]
        event = Event(name, None, time.perf_counter(), gentle=blow.cuts is Cuts.IDLE)
        (self._chronicle.faults if blow.cuts is Cuts.NOTHING else self._chronicle.blows).append(event)
        blow.fall(self._site, self._chance)
        event.ended = time.perf_counter()
        self.done[name] += 1


# --- blows ---------------------------------------------------------------------------------------------


class Cuts(Enum):
    """Which callers' connections break with a blow."""

    NOTHING = "none"
    IDLE = "idle ones"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Blow:
    """Something that is done to the site at once."""

    fall: Callable[[Site, random.Random], None]
    cuts: Cuts
    weight: int = 1


def _kill_worker(site: Site, chance: random.Random) -> None:
    """Only while the other one lives: without any, nobody could answer. Raises StackError."""
    until = time.monotonic() + REPLACED_SECONDS
    while len(alive := site.workers.alive()) < WORKERS:
        if time.monotonic() > until:
            raise StackError(f"a killed worker was not replaced within {REPLACED_SECONDS:g} s")
        time.sleep(0.1)
    site.kill(chance.choice(alive))


def _revoke(site: Site, chance: random.Random) -> None:
    site.simulator.revoke(chance.choice((None, *site.simulator.tenants)))


def _stop_deployment(site: Site, chance: random.Random) -> None:
    """Stopped and running again within the second: what discovery saw may be either."""
    tenant = chance.choice(site.simulator.tenants)
    running = site.simulator.deployments(chance.choice(MODELS), tenant=tenant)
    if running:
        deployment = chance.choice(running)["id"]
        site.simulator.set_status(deployment, "STOPPED")
        time.sleep(1)
        site.simulator.set_status(deployment, "RUNNING")


BLOWS: Mapping[str, Blow] = {
    "worker killed": Blow(_kill_worker, Cuts.ANY, weight=3),
    "workers renewed": Blow(lambda site, _: site.gateway.signal(signal.SIGHUP), Cuts.NOTHING),
    "nginx restarted": Blow(lambda site, _: site.nginx.restart(), Cuts.ANY, weight=2),
    "nginx reloaded": Blow(lambda site, _: site.nginx.signal(signal.SIGHUP), Cuts.IDLE),
    "Redis restarted": Blow(lambda site, _: site.redis.restart(), Cuts.NOTHING, weight=2),
    "tokens revoked": Blow(_revoke, Cuts.NOTHING, weight=2),
    "deployment stopped": Blow(_stop_deployment, Cuts.NOTHING),
}
