"""On which event loops the tests run: what speaks to sockets itself runs on the worker's as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

_LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
_ON_BOTH = ("test_connections.py", "test_upstream.py")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    names = _LOOPS if item.path.name in _ON_BOTH else ("asyncio",)
    return {name: _LOOPS[name] for name in names}
