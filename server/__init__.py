"""The process: factory, command line, configuration, wiring.

`create_app` is here for `sanic server:create_app --factory`; nothing heavy is imported before it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanic import Sanic

    from server.settings import Settings


def create_app(*, settings: Settings | None = None) -> Sanic[Any, Any]:
    """Return the application. Without settings they are read from CONFIG_PATH and the environment.

    Raises ConfigError listing every fault. Takes nothing positional: Sanic's command line would pass its own
    arguments there.
    """
    from server import runtime

    runtime.prepare()  # before anything that counts is imported

    from server.app import build_app
    from server.config import load

    return build_app(settings or load())
