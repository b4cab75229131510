"""The end of a worker's time, as the requests see it that still run then."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from handlers.wire import CallerConnection
from server.drain import Drain
from services.errors import Draining
from services.tasks import spawn


def connection(task: Any, *, serves: bool) -> CallerConnection:
    """One of this process, between two requests or within one."""
    one: Any = object.__new__(CallerConnection)
    one._http, one._task = (Http(serves), task)
    return one  # type: ignore[no-any-return]


class Http(SimpleNamespace):
    """Sanic's side of a connection."""

    def __init__(self, serves: bool) -> None:
        super().__init__(serves=serves, exception=None)

    def __bool__(self) -> bool:
        return bool(self.serves)


@pytest.fixture(autouse=True)
def _none_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallerConnection, "open", set())


async def test_a_request_that_still_runs_is_told() -> None:
    """Its task is cancelled, with the reason: the gateway restarts, and when to come back."""
    task = spawn(asyncio.Event().wait(), name="request")
    await asyncio.sleep(0)
    busy = connection(task, serves=True)
    CallerConnection.open.add(busy)
    Drain(seconds=1.0, lead=0.0).end()
    with pytest.raises(asyncio.CancelledError):
        await task
    told = busy._http.exception

    assert (Draining, 503, "shutting_down", 1.0) == (type(told), told.status, told.code, told.retry_after)


async def test_a_connection_between_two_requests_is_left_alone() -> None:
    """Sanic has closed it already, or does with the end of the answer."""
    task = spawn(asyncio.Event().wait(), name="request")
    idle = connection(task, serves=False)
    CallerConnection.open.add(idle)
    Drain(seconds=1.0, lead=0.0).end()
    await asyncio.sleep(0)

    assert (None, 0) == (idle._http.exception, task.cancelling())
    task.cancel()
