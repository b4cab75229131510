"""What the application is made with, and where it will not listen."""

from __future__ import annotations

import logging
import tomllib
from types import SimpleNamespace
from typing import Any

import pytest
from sanic import HTTPResponse

from server import app, logs
from server.readme import README
from server.settings import ClientKey, Cors, Routing, Settings, Timeouts
from services.options import ModelOptions, TimeoutOverrides

KEY = ClientKey("one", b"x" * 32)


def test_the_version_is_the_projects() -> None:
    """It stands in two places."""
    project = tomllib.loads(README.with_name("pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["version"] == app.VERSION


def test_sanic_waits_longer_than_all_attempts_may_take() -> None:
    """A model's own limits count as well: its answer is not to be cut off by the server."""
    settings = Settings(
        sub_accounts=(),
        models={"slow": ModelOptions(timeouts=TimeoutOverrides(total=3000.0))},
        timeouts=Timeouts(first_byte=10, stall=20, total=30),
        routing=Routing(attempts=2),
    )

    assert app.GatewayConfig(settings).RESPONSE_TIMEOUT > 2 * 3000


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ((), ""),
        (("*",), "*"),
        (("https://a.example", "*"), "*"),
        (("https://a", "https://b"), "https://a,https://b"),
    ],
)
def test_origins_as_sanic_takes_them(origins: tuple[str, ...], expected: str) -> None:
    """Any origin is said alone."""
    settings = Settings(sub_accounts=(), cors=Cors(origins=origins))

    assert expected == app.GatewayConfig(settings).CORS_ORIGINS


def listening(**where: Any) -> Any:
    """An application that is about to listen there."""
    return SimpleNamespace(state=SimpleNamespace(server_info=[SimpleNamespace(settings=where)]))


async def test_strangers_are_refused_whoever_chose_the_address() -> None:
    """`sanic --host 0.0.0.0` does not go through our command line (trap 50)."""
    with pytest.raises(SystemExit, match=r"no client keys, and 0\.0\.0\.0"):
        await app._refuse_strangers(listening(host="0.0.0.0"), settings=Settings(sub_accounts=()))


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        ({"host": "127.0.0.1"}, Settings(sub_accounts=())),
        ({"host": "0.0.0.0"}, Settings(sub_accounts=(), client_keys=(KEY,))),
        ({"host": "0.0.0.0"}, Settings(sub_accounts=(), allow_anonymous=True)),
        ({"host": "gateway", "unix": "/run/gateway.sock"}, Settings(sub_accounts=())),
    ],
)
async def test_others_may_listen(where: dict[str, str], settings: Settings) -> None:
    """On loopback, with keys, when it was said so, and on a socket in the file system."""
    await app._refuse_strangers(listening(**where), settings=settings)


async def test_a_preflight_names_the_key_header() -> None:
    """A browser that follows the standard would not send the key otherwise (trap 60)."""
    request: Any = None
    for given, expected in (("*", "*, Authorization"), ("x-api-key", "x-api-key")):
        response = HTTPResponse(headers={"access-control-allow-headers": given})
        await app._allow_authorization(request, response)

        assert expected == response.headers["access-control-allow-headers"]


def test_debugging_shows_no_heads_of_the_control_plane() -> None:
    """The HTTP client's own log would have them (trap 51)."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    try:
        logs._adopt_standard_logging([], logging.DEBUG)
        assert not any(
            logging.getLogger(name).isEnabledFor(logging.INFO) for name in ("httpx", "httpcore.http11")
        )
    finally:
        root.handlers = before
        root.setLevel(level)
