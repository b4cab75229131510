"""A worker's services open and close together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services import container
from services.board import Board as RealBoard
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

    async def report(self) -> dict[str, int]:
        return {"models": 1}


class Row:
    """One that nobody serves on."""

    def total(self) -> int:
        return 0

    def put(self, value: int) -> None:
        return


class Board(Part):
    def row(self, name: str) -> Row:
        return Row()

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
        keys=Keys({}), body_limit=1, heartbeat_seconds=1.0,
        gate=Part("gate", done), accounts={"a": Part("tokens", done)}, board=Board("", done),  # type: ignore[dict-item, arg-type]
        cache=Part("cache", done) if cache else None, closers=[Part("http", done)], **parts,  # type: ignore[arg-type]
    )  # fmt: skip
    await services.open()
    await services.close()

    kept = ["cache"] if cache else []
    assert {"start watch", "get tokens"} == set(done[:2])
    assert ["watch", "tokens", *kept, "upstream", "http", "journal", "board"] == done[2:]


async def test_a_worker_of_no_use_stands_back_while_another_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens when it knows a model, and then counts as one that serves."""
    monkeypatch.setattr(container, "LOOK_SECONDS", 0.001)
    board = RealBoard()
    board.row("serving").add(1)  # somebody else
    known = {"models": 0}

    class Health(Part):
        async def report(self) -> dict[str, int]:
            return known

    services = made(board, Health("health", []))
    opening = asyncio.ensure_future(services.open())
    await asyncio.sleep(0.01)
    stood_back = not opening.done()
    known["models"] = 1
    await asyncio.wait_for(opening, 5)

    assert (True, 1) == (stood_back, board.row("serving").total())


async def test_a_worker_of_no_use_opens_where_nobody_serves() -> None:
    """Callers have to be told what is wrong."""

    class Health(Part):
        async def report(self) -> dict[str, int]:
            return {"models": 0}

    services = made(RealBoard(), Health("health", []))
    await asyncio.wait_for(services.open(), 5)
    await services.close()


def made(board: Any, health: Part) -> Services:
    """A worker's services, of which only these two matter."""
    names = ("balancer", "catalog", "watch", "upstream", "pipeline", "models", "journal", "gate")
    parts: dict[str, Any] = {name: Part(name, []) for name in names}
    return Services(
        keys=Keys({}), body_limit=1, heartbeat_seconds=1.0, accounts={}, board=board, cache=None,
        health=health, **parts,  # type: ignore[arg-type]
    )  # fmt: skip
