"""A worker's services open and close together."""

from __future__ import annotations

from typing import Any

import pytest

from services.container import Keys, Services
from services.errors import CredentialError


class Part:
    """Notes what is done to it."""

    def __init__(self, name: str, done: list[str]) -> None:
        self._name, self._done = name, done
        self.tokens = self

    async def start(self) -> None:
        self._done.append(f"start {self._name}")

    async def get(self) -> str:
        self._done.append(f"get {self._name}")
        raise CredentialError("not yet")

    async def close(self) -> None:
        self._done.append(self._name)

    async def aclose(self) -> None:
        self._done.append(self._name)


class Board(Part):
    def close(self) -> None:  # type: ignore[override]
        self._done.append("board")


@pytest.mark.parametrize("cache", [True, False])
async def test_everything_is_given_back(cache: bool) -> None:
    """Tokens and discovery first, a failure of theirs included; the shared counters last."""
    done: list[str] = []
    parts: dict[str, Any] = {
        name: Part(name, done)
        for name in ("balancer", "catalog", "watch", "upstream", "pipeline", "models", "health", "journal")
    }
    services = Services(
        keys=Keys({}), body_limit=1, accounts={"a": Part("tokens", done)}, board=Board("", done),  # type: ignore[dict-item, arg-type]
        cache=Part("cache", done) if cache else None, closers=[Part("http", done)], **parts,  # type: ignore[arg-type]
    )  # fmt: skip
    await services.open()
    await services.close()

    kept = ["cache"] if cache else []
    assert {"start watch", "get tokens"} == set(done[:2])
    assert ["watch", "tokens", *kept, "upstream", "http", "journal", "board"] == done[2:]
