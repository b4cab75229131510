"""How long an upstream wants to be left alone, from what its head says."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def seconds_of(value: str, *, date: str = "") -> float | None:
    """Return the seconds that a Retry-After stands for, None for what is neither a number of them nor a date.

    A date counts from the answer's own `date`: this machine's clock may be wrong by hours.
    """
    try:
        seconds = float(value)
        return seconds if 0 <= seconds < math.inf else None
    except ValueError:
        moment = _moment(value)
    if moment is None:
        return None
    now = _moment(date) or datetime.now(UTC)
    return max(0.0, (moment - now).total_seconds())


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
