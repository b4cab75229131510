"""The end of every request: one log line, the metrics, and a line of the traffic recording if one is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from services import metrics
from services.calls import Call
from services.errors import CallerLeft, GatewayError
from services.recorder import Recorder
from services.translation.fields import Fields

log = structlog.get_logger()


def _tell(story: dict[str, Any]) -> None:
    log.info("request", **story)


class Journal:
    """Where requests are written down. `recorder` is None unless traffic is recorded.

    `tell` writes the log line of a request, and may keep what it is given.
    """

    def __init__(
        self, recorder: Recorder | None = None, *, tell: Callable[[dict[str, Any]], None] = _tell
    ) -> None:
        self._recorder = recorder
        self._tell = tell

    def close_call(self, call: Call, body: Fields | None = None) -> None:
        """Write down a request that has ended. Bodies and keys stay out of the log."""
        metrics.count(call)
        story = call.story()
        if call.error is not None:
            story["code"] = call.error.code if isinstance(call.error, GatewayError) else "internal_error"
            if not isinstance(call.error, CallerLeft):
                story["detail"] = str(call.error)
        self._tell(story)
        if self._recorder is not None:
            self._recorder.add(call, body)

    async def close(self) -> None:
        """Write what is still in memory."""
        metrics.flush()
        if self._recorder is not None:
            await self._recorder.aclose()
