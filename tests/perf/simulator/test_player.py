"""Playing an answer, on a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from perf.simulator.answers import Step
from perf.simulator.player import Ending, Play, Player


class Clock:
    """Stands in for the wheel."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        """Now."""
        return self.now

    def at(self, when: float, callback: Callable[[], None]) -> None:
        """Remember a callback."""
        self.due.append((when, callback))

    def soon(self, callback: Callable[[], None]) -> None:
        """Due at once."""
        self.at(self.now, callback)

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        self.now += seconds
        ready = [c for when, c in self.due if when <= self.now]
        self.due = [(when, c) for when, c in self.due if when > self.now]
        for callback in ready:
            callback()


class Wire:
    """Stands in for the transport, the connection and the watcher."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.endings: list[Ending] = []
        self.told: list[tuple[bool, bool, int]] = []

    def write(self, data: bytes) -> None:
        """The transport's side."""
        self.written.append(data)

    def ended(self, *, completed: bool, streaming: bool, frames_sent: int) -> None:
        """The watcher's side."""
        self.told.append((completed, streaming, frames_sent))


def make(wire: Wire, clock: Clock, **fields: Any) -> Player:
    """A player of a play with the opening `H`."""
    transport: Any = wire
    wheel: Any = clock
    return Player(Play(b"H", watcher=wire, **fields), transport, wheel, ended=wire.endings.append)


def test_a_unary_answer_is_one_write() -> None:
    """Head and body leave together, and the connection is kept."""
    wire = Wire()
    make(wire, Clock()).start()

    assert ([b"H"], [Ending.KEEP], [(True, False, 0)]) == (wire.written, wire.endings, wire.told)


def test_a_delay_holds_the_first_byte() -> None:
    """Nothing before its time."""
    wire, clock = Wire(), Clock()
    make(wire, clock, delay=2.0).start()
    clock.advance(1.9)
    before = list(wire.written)
    clock.advance(0.2)

    assert ([], [b"H"]) == (before, wire.written)


def test_a_silence_separates_writes() -> None:
    """What lies between two silences leaves in one piece, the end with the last frames."""
    wire, clock = Wire(), Clock()
    steps: Iterator[Step] = iter([b"a", 0.5, b"b", b"c"])
    make(wire, clock, frames=steps).start()
    clock.advance(0.5)

    assert [b"H1\r\na\r\n", b"1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"] == wire.written


def test_a_cut_has_no_last_chunk() -> None:
    """The client can tell that something is missing."""
    wire = Wire()
    make(wire, Clock(), frames=iter([b"a"]), ending=Ending.CLOSE).start()

    assert ([b"H1\r\na\r\n"], [Ending.CLOSE]) == (wire.written, wire.endings)


def test_a_stall_never_ends_until_the_client_leaves() -> None:
    """The connection stays; leaving counts as a cancelled stream."""
    wire = Wire()
    player = make(wire, Clock(), frames=iter([b"a"]), ending=Ending.HANG)
    player.start()
    endings = list(wire.endings)
    player.stop()

    assert ([], [(False, True, 1)]) == (endings, wire.told)


def test_a_client_that_leaves_is_reported_once() -> None:
    """Later timers find nothing to do."""
    wire, clock = Wire(), Clock()
    player = make(wire, clock, frames=iter([b"a", 1.0, b"b"]))
    player.start()
    player.stop()
    player.stop()
    clock.advance(5)

    assert ([b"H1\r\na\r\n"], [(False, True, 1)]) == (wire.written, wire.told)


def test_a_full_buffer_holds_the_stream() -> None:
    """No frame is written until the transport has drained."""
    wire, clock = Wire(), Clock()
    player = make(wire, clock, frames=iter([b"a", 1.0, b"b"]))
    player.start()
    player.hold()
    clock.advance(1)
    held = len(wire.written)
    player.resume()

    assert (1, 2) == (held, len(wire.written))


def test_long_bursts_let_others_run() -> None:
    """A stream without silences is written in several turns of the loop."""
    wire, clock = Wire(), Clock()
    make(wire, clock, frames=iter([b"x"] * 100)).start()
    first = len(wire.written)
    clock.advance(0)

    assert (1, 2, [Ending.KEEP]) == (first, len(wire.written), wire.endings)
