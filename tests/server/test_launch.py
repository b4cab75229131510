"""Where the gateway listens, and what is said about it."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from server import initialise
from server.launch import CannotListen, _announce, _check_port
from server.settings import Settings
from tests.server.config_samples import SERVICE_KEY, write


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.2", "127.0.0.2"), ("::1", "[::1]"), ("[::1]", "[::1]"), ("0.0.0.0", "0.0.0.0")],
)
async def test_the_address_is_told_as_it_is(
    capsys: pytest.CaptureFixture[str], host: str, shown: str
) -> None:
    """It can be pasted."""
    anything: Any = None
    await _announce(anything, settings=Settings(sub_accounts=(), host=host))

    assert f"http://{shown}:3001" in capsys.readouterr().err


def test_a_taken_port_is_to_be_changed() -> None:
    """Or freed."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(CannotListen, match="another port with --port"),
    ):
        _check_port("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("host", ["192.0.2.1", "host..name"])
def test_an_address_that_is_not_ours_is_to_be_changed(host: str) -> None:
    """Another port would not help."""
    with pytest.raises(CannotListen, match="another address with --host"):
        _check_port(host, 0)


def test_init_takes_the_resource_group_of_the_environment(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a service key file too, as --help says; the option wins."""
    key = write(tmp_path, SERVICE_KEY, "key.json")
    monkeypatch.setenv("AICORE_RESOURCE_GROUP", "team-a")
    found = [initialise._settings(key, given).sub_accounts[0].options for given in (None, "team-b")]

    assert ["team-a", "team-b"] == [options.resource_group for options in found]
