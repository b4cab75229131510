"""How many requests the gateway serves at once, over all workers of a machine."""

from __future__ import annotations

from services.board import Row
from services.errors import Busy
from services.waiting import Lines

_LINE = ""
_AGAIN_SECONDS = 0.1


class Gate:
    """Lets `limit` requests in; the others wait in line for one to end. Every `enter` needs one `leave`."""

    def __init__(self, row: Row, *, limit: int, lines: Lines) -> None:
        self._row = row
        self._limit = limit
        self._lines = lines

    def try_enter(self) -> bool:
        """Count a request in, unless it has to wait."""
        return not self._lines.anybody(_LINE) and self._room()

    async def enter(self) -> None:
        """Count in a request that was not let in. Raises Busy: no room in time, or nowhere to wait."""
        await self._lines.turn(_LINE, self._step_in)

    def leave(self) -> None:
        """Count a request out."""
        self._row.add(-1)

    def _step_in(self) -> None:
        if not self._room():
            text = "the gateway has as many requests as it may; try again"
            raise Busy(text, retry_after=_AGAIN_SECONDS)

    def _room(self) -> bool:
        """Count a request in if there is room: before it is judged, so that workers never exceed it."""
        self._row.add(1)
        if self._row.total() <= self._limit:
            return True
        self._row.add(-1)
        return False
