"""Plays one answer on a connection: first-byte delay, stream ticks, back pressure, and how it ends."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Protocol

import msgspec

from perf.simulator.answers import Step

LAST_CHUNK = b"0\r\n\r\n"
BURST = 64
"""Frames written in one turn of the loop when there is no silence between them."""


class Ending(Enum):
    """What happens to the connection after the last byte."""

    KEEP = "kept for the next request"
    CLOSE = "closed, whatever was promised"
    HANG = "silent and open"
    RESET = "reset, nothing is flushed"


class Watcher(Protocol):
    """Is told how an answer ended."""

    def ended(self, *, completed: bool, streaming: bool, frames_sent: int) -> None:
        """Called exactly once; not completed means the client left."""


class Play(msgspec.Struct):
    """One answer as it goes over the wire. Times are seconds."""

    opening: bytes
    """Head, and the body of a unary answer."""
    frames: Iterator[Step] | None = None
    chunked: bool = True
    delay: float = 0.0
    ending: Ending = Ending.KEEP
    watcher: Watcher | None = None


class Wheel:
    """Timers rounded up to a tick, so that all streams due in one share one timer of the loop.

    A longer tick makes the writes of many streams cheaper and their times coarser.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, tick_ms: int = 1) -> None:
        self._loop = loop
        self._ticks = 1000 / tick_ms
        self._slots: dict[int, list[Callable[[], None]]] = {}
        self.time = loop.time

    def at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back at that time of the loop's clock, or up to a tick later."""
        slot = math.ceil(when * self._ticks)
        waiting = self._slots.get(slot)
        if waiting is None:
            self._slots[slot] = [callback]
            self._loop.call_at(slot / self._ticks, self._fire, slot)
        else:
            waiting.append(callback)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back in the next turn of the loop."""
        self._loop.call_soon(callback)

    def _fire(self, slot: int) -> None:
        for callback in self._slots.pop(slot):
            callback()


def chunk(frame: bytes) -> bytes:
    """A frame as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(frame), frame)


class Player:
    """One answer in progress. The connection starts it, holds it back, and stops it."""

    __slots__ = ("_due", "_ended", "_held", "_over", "_play", "_sent", "_transport", "_wheel")

    def __init__(
        self, play: Play, transport: asyncio.Transport, wheel: Wheel, *, ended: Callable[[Ending], None]
    ) -> None:
        self._play = play
        self._transport = transport
        self._wheel = wheel
        self._ended = ended
        self._sent = 0
        self._due = 0.0
        self._over = False
        self._held: Callable[[], None] | None = None

    def start(self) -> None:
        """Send the opening, now or after the first-byte delay."""
        if self._play.delay > 0:
            self._due = self._wheel.time() + self._play.delay
            self._wheel.at(self._due, self._open)
        else:
            if self._play.frames is not None:
                self._due = self._wheel.time()
            self._open()

    def stop(self) -> None:
        """The connection is gone."""
        if not self._over:
            self._over = True
            self._tell(completed=False)

    def hold(self) -> None:
        """The transport's buffer is full: the next step waits for `resume`."""
        self._held = self._held or _nothing

    def resume(self) -> None:
        """The buffer has drained."""
        step, self._held = self._held, None
        if step is not None and step is not _nothing and not self._over:
            self._due = self._wheel.time()
            step()

    def _open(self) -> None:
        if self._over:
            return
        play = self._play
        if play.frames is None:
            if play.opening:
                self._transport.write(play.opening)
            self._finish()
            return
        self._advance(play.opening)

    def _tick(self) -> None:
        if self._over:
            return
        if self._held is not None:
            self._held = self._tick
            return
        self._advance(b"")

    def _advance(self, lead: bytes) -> None:
        """Send behind `lead` all that is due now: the frames up to the next silence, or to the end."""
        parts = [lead]
        while len(parts) <= BURST:
            step = self._next()
            if type(step) is bytes:
                parts.append(step)
                continue
            if step is None:
                self._end(b"".join(parts))
                return
            self._write(parts)
            self._plan(step)  # type: ignore[arg-type]  # the check above leaves a float
            return
        self._write(parts)
        self._wheel.soon(self._tick)

    def _next(self) -> Step | None:
        frames = self._play.frames
        step = next(frames, None) if frames is not None else None
        if type(step) is not bytes:
            return step
        self._sent += 1
        return chunk(step) if self._play.chunked else step

    def _write(self, parts: list[bytes]) -> None:
        data = b"".join(parts)
        if data:
            self._transport.write(data)

    def _end(self, data: bytes) -> None:
        if self._play.ending is Ending.KEEP and self._play.chunked:
            data += LAST_CHUNK
        if data:
            self._transport.write(data)
        self._finish()

    def _plan(self, seconds: float) -> None:
        self._due += seconds
        self._wheel.at(self._due, self._tick)

    def _finish(self) -> None:
        if self._play.ending is Ending.HANG:
            self._play.frames = None
            return  # the player stays, so that the client's leaving is noticed
        self._over = True
        self._tell(completed=True)
        ending = self._play.ending
        if ending is Ending.KEEP and not self._play.chunked and self._play.frames is not None:
            ending = Ending.CLOSE  # for HTTP/1.0 the close is the end of the body
        self._ended(ending)

    def _tell(self, *, completed: bool) -> None:
        watcher = self._play.watcher
        if watcher is not None:
            streaming = self._sent > 0 or self._play.frames is not None
            watcher.ended(completed=completed, streaming=streaming, frames_sent=self._sent)


def _nothing() -> None:
    """Marks a player that is held with no step waiting."""
