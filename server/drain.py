"""How one worker stops: it says so, takes nothing new, lets what runs end, and at last ends it truthfully.

A signal does not interrupt anything. Keep-alive ends with the next answer of each connection, so that callers
move on by themselves; the listening socket is closed after the lead. What still runs when the time to drain
is over fails with `Draining`, wherever it waits: a stream ends with an error event of its dialect, anything
else with a 503.

When the gateway as a whole stops, readiness fails from the first moment on. The lead is for those who look at
it, or hear of the stop, only every few seconds. nginx needs none: a connection that is refused it makes to
another instance. Where one worker is replaced the gateway stays ready, and the lead only spares callers who
are between two requests a connection that closes under the second.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from typing import Any

from sanic import Sanic

from handlers.wire import CallerConnection
from services.errors import Draining

RETIRING_SECONDS = 1.0
"""How long a worker that is replaced goes on accepting."""
LAST_SECONDS = 5.0
"""How long callers may take to read the last event of a stream, once the time to drain is over."""
_ORPHAN_SECONDS = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Drain:
    """The end of a worker: for `lead` seconds it still accepts, then requests may go on for `seconds`."""

    def __init__(self, *, seconds: float, lead: float) -> None:
        self._seconds = seconds
        self._lead = lead
        self._whole = True
        self._stopping = False

    def heed_signals(self, app: Sanic[Any, Any]) -> None:
        """Stop at the first signal, or when the main process is gone, and take no notice of any other.

        Ctrl-C and some supervisors signal every process of the gateway, and so does the main process: here
        the second signal is no sign of impatience. Who is impatient tells the main process, which kills.
        Only for a worker of a main process; that it may have gone already, its id tells.
        """
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop, app, number)
        main = multiprocessing.parent_process()
        assert main is not None
        self._watch(app, main.pid)

    def _watch(self, app: Sanic[Any, Any], parent: int | None) -> None:
        if self._stopping:
            return
        if os.getppid() != parent:
            self._stop(app, signal.SIGTERM)
        else:
            asyncio.get_running_loop().call_later(_ORPHAN_SECONDS, self._watch, app, parent)

    def _stop(self, app: Sanic[Any, Any], number: int) -> None:
        self._stopping = True
        for each in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(each)  # so that Sanic has none to remove
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGHUP:
            self._whole, self._lead = False, RETIRING_SECONDS
        app.stop(terminate=False)

    async def begin(self, app: Sanic[Any, Any]) -> None:
        """Begin, while Sanic still accepts; it closes the listening socket when this returns."""
        app.config.KEEP_ALIVE = False  # of requests that arrive from now on
        app.ctx.services.health.draining = self._whole
        await asyncio.sleep(self._lead)
        asyncio.get_running_loop().call_later(self._seconds, self.end)

    def end(self) -> None:
        """End what still runs."""
        text = "the gateway restarts, and its time to finish requests is over; send the request again"
        for connection in list(CallerConnection.open):
            connection.interrupt(Draining(text, retry_after=1.0))
