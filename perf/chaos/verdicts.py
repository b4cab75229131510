"""What an answer is worth: right, an honest error, or one of the two that must not be.

An honest error has a status that says whose fault it is, and the error object of the caller's dialect; in a
stream it is the event in which that dialect tells of a failure, after nothing but the beginning of the right
answer. A cut connection is forgiven only in the moment of a blow of ours, and only if it does not look
complete.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from perf.chaos.questions import Asking


class Verdict(StrEnum):
    """How a request ended."""

    RIGHT = "right"
    HONEST = "honest error"
    CUT = "cut by our blow"
    LEFT = "left by the caller"
    WRONG = "WRONG"
    HUNG = "HUNG"


BAD = frozenset({Verdict.WRONG, Verdict.HUNG})

GRACE_SECONDS = 2.0
"""How long after a blow a cut may be seen: the generator and the gateway share a machine."""
AFTERMATH_SECONDS = 6.0
"""How long after a fault has been lifted a new request may meet it: until discovery has looked again."""

Ruling = tuple[Verdict, str]
"""The verdict, and what it is based on."""


@dataclass(slots=True)
class Event:
    """Something that was done to the site, on the clock of `time.perf_counter`."""

    name: str
    model: str | None
    began: float
    ended: float = float("inf")
    gentle: bool = False
    """A blow that closes idle connections only: a request may just have been sent on one."""


@dataclass(slots=True)
class Chronicle:
    """What was done, so that an answer can be judged by it."""

    blows: list[Event] = field(default_factory=list)
    """What cuts connections: a killed worker, a restarted or reloaded nginx."""
    faults: list[Event] = field(default_factory=list)
    """What the tenant did; `model` None means any."""

    def cut(self, at: float, *, answered: bool) -> bool:
        """Whether a connection that broke then, with an answer on it or none, was cut by us."""
        return any(
            blow.began <= at <= blow.ended + GRACE_SECONDS and not (blow.gentle and answered)
            for blow in self.blows
        )

    def explains(self, kinds: Collection[str], model: str, sent: float, ended: float) -> bool:
        """Whether the tenant showed one of these faults to a request of that model and time."""
        return any(
            fault.name in kinds
            and fault.model in (None, model)
            and fault.began <= ended
            and sent <= fault.ended + AFTERMATH_SECONDS
            for fault in self.faults
        )


BLAMES: Mapping[int, Collection[str]] = {
    400: ("content-filter", "context-length"),
    404: ("404", "deployment stopped"),
    408: ("408",),
    413: ("413",),
}
"""Statuses that blame the request, and the faults of the tenant that justify them."""
HONEST = frozenset({429, 500, 502, 503, 504, 529})
"""Statuses that blame whoever is behind the gateway. Never 401 or 403: the caller's key was good."""


def judge(exchange: Asking, chronicle: Chronicle, *, leaver: bool = False) -> Ruling:
    """Judge a finished exchange; a `leaver` went away when his patience ended."""
    if leaver and exchange.failure in {"timeout", "connect", "unfinished"}:
        return _left(exchange)
    return _JUDGES[exchange.failure](exchange, chronicle)


def _left(exchange: Asking) -> Ruling:
    wrong = _not_its_beginning(exchange)
    return (Verdict.WRONG, wrong) if wrong else (Verdict.LEFT, "")


def _answered(exchange: Asking, chronicle: Chronicle) -> Ruling:
    try:
        said, finished = exchange.work.answer()
    except ValueError as exc:
        return Verdict.WRONG, str(exc)
    if said != exchange.work.text:
        return Verdict.WRONG, _difference(said, exchange.work.text)
    if not exchange.work.stream and not finished:  # of a stream the engine has seen to that
        return Verdict.WRONG, "a whole answer that does not say that it is finished"
    return Verdict.RIGHT, ""


def _refused(exchange: Asking, chronicle: Chronicle) -> Ruling:
    status, work = exchange.status, exchange.work
    blamed = BLAMES.get(status)
    if blamed is None and status not in HONEST:
        return Verdict.WRONG, f"status {status}: {exchange.detail}"
    if blamed is not None and not chronicle.explains(blamed, work.model, exchange.sent, exchange.ended):
        return Verdict.WRONG, f"status {status} blames the request, which was good: {exchange.detail}"
    try:
        told = json.loads(work.body)
    except ValueError:
        return Verdict.WRONG, f"an error that is not JSON: {exchange.detail}"
    if not (_nginx(told) or _ENVELOPES[work.surface](told, status)):
        return Verdict.WRONG, f"not an error of this dialect: {exchange.detail}"
    return Verdict.HONEST, f"status {status}"


def _told(exchange: Asking, chronicle: Chronicle) -> Ruling:
    work, judge = exchange.work, exchange.judge
    assert judge is not None
    if wrong := _not_its_beginning(exchange):
        return Verdict.WRONG, wrong
    if judge.done:
        return Verdict.WRONG, f"announced its end beside an error: {exchange.detail}"
    if work.told is None or not _EVENTS[work.surface](work.told):
        return Verdict.WRONG, f"not an error event of this dialect: {exchange.detail}"
    return Verdict.HONEST, "error event"


def _broken(exchange: Asking, chronicle: Chronicle) -> Ruling:
    judge = exchange.judge
    if wrong := _not_its_beginning(exchange):
        return Verdict.WRONG, wrong
    if judge is not None and exchange.detail == judge.missing():
        return Verdict.WRONG, f"looks complete and is not: {exchange.detail}"
    if not chronicle.cut(exchange.ended, answered=exchange.status > 0):
        return Verdict.WRONG, f"{exchange.failure}, and no blow of ours: {exchange.detail}"
    return Verdict.CUT, str(exchange.failure)


def _hung(exchange: Asking, chronicle: Chronicle) -> Ruling:
    return Verdict.HUNG, exchange.detail


def _malformed(exchange: Asking, chronicle: Chronicle) -> Ruling:
    return Verdict.WRONG, f"{exchange.failure}: {exchange.detail}"


_JUDGES: Mapping[str | None, Callable[[Asking, Chronicle], Ruling]] = {
    None: _answered,
    "status": _refused,
    "error_event": _told,
    "truncated": _broken,
    "reset": _broken,
    "connect": _broken,
    "timeout": _hung,
    "unfinished": _hung,
    "malformed": _malformed,
    "overload": _malformed,
}


def _not_its_beginning(exchange: Asking) -> str:
    """What a stream said that is no beginning of the right answer; empty if there is nothing of the kind."""
    said = "".join(exchange.work.said)
    text = exchange.work.text
    return "" if text.startswith(said) else _difference(said, text[: len(said)])


def _difference(said: str, text: str) -> str:
    """Where two texts part."""
    at = next((place for place, (a, b) in enumerate(zip(said, text, strict=False)) if a != b), None)
    if at is None:
        at = min(len(said), len(text))
    return f"after {at} right characters said {said[at : at + 60]!r} instead of {text[at : at + 60]!r}"


# --- how the dialects tell of a failure ----------------------------------------------------------------


def _nginx(told: Any) -> bool:
    """Whether nginx says that it reached no gateway; it knows no dialects."""
    error: Any = told.get("error") if isinstance(told, dict) else None
    return _texts(error, "message", "code") and error["code"].startswith("gateway_")


def _texts(holder: Any, *names: str) -> bool:
    return isinstance(holder, dict) and all(isinstance(holder.get(name), str) for name in names)


def _openai(told: Any, status: int = 0) -> bool:
    return isinstance(told, dict) and _texts(told.get("error"), "message", "type")


def _anthropic(told: Any, status: int = 0) -> bool:
    return (
        isinstance(told, dict)
        and told.get("type") == "error"
        and _texts(told.get("error"), "message", "type")
    )


def _google(told: Any, status: int = 0) -> bool:
    error: Any = told.get("error") if isinstance(told, dict) else None
    return _texts(error, "message", "status") and status in (0, error["code"])


def _failed_response(told: Any) -> bool:
    if told.get("type") == "error":
        return _texts(told, "message")
    return _texts((told.get("response") or {}).get("error"), "message", "code")


_ENVELOPES: Mapping[str, Callable[[Any, int], bool]] = {
    "chat": _openai, "messages": _anthropic, "responses": _openai, "gemini": _google,
}  # fmt: skip
_EVENTS: Mapping[str, Callable[[Any], bool]] = {
    "chat": _openai, "messages": _anthropic, "responses": _failed_response, "gemini": _google,
}  # fmt: skip


# --- all of them ---------------------------------------------------------------------------------------

MAX_SAMPLES = 50


class Tally:
    """The verdicts of a run."""

    def __init__(self, chronicle: Chronicle, *, began: float) -> None:
        self.chronicle = chronicle
        self.counts: Counter[Verdict] = Counter()
        self.reasons: Counter[str] = Counter()
        """What honest errors and cuts were."""
        self.kinds: Counter[tuple[str, Verdict]] = Counter()
        """By surface and form."""
        self.samples: list[dict[str, Any]] = []
        """The first of those that must not be."""
        self._began = began

    def take(self, exchange: Asking, *, leaver: bool = False) -> Verdict:
        """Judge one and count it."""
        verdict, reason = judge(exchange, self.chronicle, leaver=leaver)
        work = exchange.work
        self.counts[verdict] += 1
        self.kinds[f"{work.surface} {'stream' if work.stream else 'whole'}", verdict] += 1
        if verdict in (Verdict.HONEST, Verdict.CUT):
            self.reasons[f"{verdict}: {reason}"] += 1
        if verdict in BAD and len(self.samples) < MAX_SAMPLES:
            self.samples.append(self._sample(exchange, verdict, reason))
        return verdict

    @property
    def bad(self) -> int:
        """How many must not be."""
        return sum(self.counts[verdict] for verdict in BAD)

    def note(self) -> str:
        """One line for people."""
        return "  ".join(f"{self.counts[verdict]} {verdict}" for verdict in Verdict)

    def _sample(self, exchange: Asking, verdict: Verdict, reason: str) -> dict[str, Any]:
        near = [*self.chronicle.blows, *self.chronicle.faults]
        return {
            "at": round(exchange.ended - self._began, 2),
            "seconds": round(exchange.ended - (exchange.sent or exchange.intended), 2),
            "what": exchange.work.name,
            "verdict": str(verdict),
            "reason": reason,
            "status": exchange.status,
            "said": "".join(exchange.work.said)[-200:],
            "text": exchange.work.text[:40],
            "around": _around(near, exchange),
        }


def _around(events: Sequence[Event], exchange: Asking) -> list[str]:
    """The blows, and the faults of the model, of the time that the exchange took."""
    return [
        event.name
        for event in events
        if event.began <= exchange.ended
        and event.ended + GRACE_SECONDS >= (exchange.sent or exchange.intended)
        and event.model in (None, exchange.work.model)
    ]
