"""The AI API's deployment list and configurations, as they come over the wire (wire §3.2, §3.3).

Reads only; asking is the business of `services.deployments`. An entry that cannot be read hides no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

MAX_NOTES = 20

ORCHESTRATION = "orchestration"
_Id = Annotated[str, msgspec.Meta(pattern=r"^(?a:[\w.-]{1,64})\Z")]  # it will stand in heads and logs


class _Identified(msgspec.Struct):
    id: _Id


class _Model(msgspec.Struct):
    name: str | None = None
    version: str | None = None


class _Backend(msgspec.Struct):
    model: _Model | None = None


class _Resources(msgspec.Struct):
    # Newer answers carry both spellings, older ones only the first.
    camel: _Backend | None = msgspec.field(default=None, name="backendDetails")
    snake: _Backend | None = msgspec.field(default=None, name="backend_details")


class _Details(msgspec.Struct):
    resources: _Resources | None = None


class Entry(msgspec.Struct, rename="camel"):
    """One deployment of the list."""

    id: _Id
    status: str | None = None
    deployment_url: str | None = None
    configuration_id: str | None = None
    latest_running_configuration_id: str | None = None
    executable_id: str | None = None
    scenario_id: str | None = None
    start_time: str | None = None
    created_at: str | None = None
    details: _Details | None = None

    def model(self) -> _Model:
        """Return the backend model that the details name, if they do."""
        resources = (self.details and self.details.resources) or _Resources()
        named = (
            side.model
            for side in (resources.camel, resources.snake)
            if side and side.model and side.model.name
        )
        return next(named, _Model())

    def is_orchestration(self) -> bool:
        """Whether SAP's orchestration runs there, by its executable or its scenario."""
        return ORCHESTRATION in (self.executable_id, self.scenario_id)

    def configuration(self) -> str:
        """Return the id of the configuration that runs: during an update that is not the newest one."""
        return self.latest_running_configuration_id or self.configuration_id or ""

    def is_plain(self) -> bool:
        """Whether it says itself what it runs."""
        return self.is_orchestration() or bool(self.model().name and self.executable_id)


class Page(msgspec.Struct):
    """One page of the list; `count` is the whole's, or with some services the page's."""

    resources: list[msgspec.Raw]
    count: int | None = None


class _Binding(msgspec.Struct):
    key: str | None = None
    value: str | None = None


class Configuration(msgspec.Struct, rename="camel"):
    """What a deployment was made from."""

    executable_id: str | None = None
    parameter_bindings: list[_Binding] | None = None

    def parameter(self, key: str) -> str:
        """Return the value that is bound to a parameter; empty if none is."""
        bindings = self.parameter_bindings or []
        return next((b.value for b in bindings if b.key == key and b.value), "")


class Notes:
    """A bounded list of remarks."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        self._more = 0

    def add(self, note: str) -> None:
        """Remember a remark, or count it when there are many."""
        if len(self._notes) < MAX_NOTES:
            self._notes.append(note)
        else:
            self._more += 1

    def taken(self) -> tuple[str, ...]:
        """Return the remarks."""
        return (*self._notes, *([f"and {self._more} more"] if self._more else []))


@dataclass(slots=True)
class Reading:
    """What one discovery has read so far."""

    entries: dict[str, Entry] = field(default_factory=dict)
    odd: set[int] = field(default_factory=set)
    """Hashes of the entries that cannot be read."""
    unclear: set[str] = field(default_factory=set)
    notes: Notes = field(default_factory=Notes)
    whole: bool = False
    """Whether the list was read to its end."""

    def take(self, resources: Iterable[msgspec.Raw]) -> bool:
        """Decode entry by entry, since an odd one must not hide the others; return whether any is new."""
        before = self.seen()
        for raw in resources:
            try:
                entry = msgspec.json.decode(raw, type=Entry)
                self.entries.setdefault(entry.id, entry)
            except msgspec.DecodeError as exc:
                self._take_odd(raw, exc)
        return self.seen() > before

    def seen(self) -> int:
        """Return how many different entries there were."""
        return len(self.entries) + len(self.odd)

    def _take_odd(self, raw: msgspec.Raw, fault: msgspec.DecodeError) -> None:
        self.odd.add(hash(bytes(raw)))
        self.notes.add(f"an entry of the deployment list cannot be read: {fault}")
        with suppress(msgspec.DecodeError):
            self.unclear.add(msgspec.json.decode(raw, type=_Identified).id)

    def running(self) -> list[Entry]:
        """Return those that may be called."""
        return [entry for entry in self.entries.values() if entry.status == "RUNNING"]

    def note_states(self) -> None:
        """Remark how many deployments are in another state than RUNNING."""
        idle = Counter(entry.status or "UNKNOWN" for entry in self.entries.values())
        del idle["RUNNING"]
        if idle:
            counts = ", ".join(f"{count} {state}" for state, count in sorted(idle.items()))
            self.notes.add(f"not running: {counts}")
