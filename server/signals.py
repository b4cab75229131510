"""Signals that ask a command to end, from its first moment on."""

from __future__ import annotations

import signal
import sys

asked: list[int] = []
"""The signals that have come. Python drops what a handler raises at an unlucky moment, such as the clean-up
after an import: whoever starts something that lasts looks here first."""


def end_in_order() -> None:
    """Have SIGINT and SIGTERM end the command so that what was made is removed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(number: int, frame: object) -> None:
    asked.append(number)
    sys.exit(128 + number)
