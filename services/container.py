"""What a worker holds while it serves: the app's context."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from services.accounts import Account
from services.answers import AnswerCache
from services.balancer import Balancer
from services.board import Board, Row
from services.calls import Caller
from services.catalog import Catalog
from services.errors import GatewayError
from services.gate import Gate
from services.health import Health
from services.journal import Journal
from services.listing import ModelList
from services.pipeline import Kept, Pipeline
from services.tasks import spawn
from services.upstream import Upstream
from services.watch import DeploymentWatch

WARM_SECONDS = 10.0
"""How long a worker waits for its first tokens before it serves."""
STANDBY_SECONDS = 300.0
"""How long a worker that can serve no model stands back behind others that can."""
LOOK_SECONDS = 0.25


@dataclass(slots=True)
class Keys:
    """Who may call. With no keys at all, `anonymous` is who everybody is."""

    by_digest: Mapping[bytes, Caller]
    anonymous: Caller | None = None


@dataclass
class Services:
    """One worker's services. `open` in the worker's loop; `close` when it stops, in reverse order."""

    keys: Keys
    body_limit: int
    heartbeat_seconds: float
    """Silence in a stream after which the caller gets a sign of life; 0: never."""
    gate: Gate
    accounts: Mapping[str, Account]
    board: Board
    balancer: Balancer
    catalog: Catalog
    watch: DeploymentWatch
    upstream: Upstream
    cache: AnswerCache[Kept] | None
    pipeline: Pipeline
    models: ModelList
    health: Health
    journal: Journal
    closers: Sequence[Any] = field(default_factory=tuple)
    """Further things with an async `aclose`, such as the Redis client."""
    _joining: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Get tokens and deployments, for a bounded time; what is missing then follows in the background."""
        warming = [spawn(_warm(account), name=f"token {name}") for name, account in self.accounts.items()]
        await self.watch.start()
        if warming:
            await asyncio.wait(warming, timeout=WARM_SECONDS)
        await self._until_of_use()

    async def _until_of_use(self) -> None:
        """Take no requests yet that others can serve and this worker cannot; for a bounded time."""
        serving = self.board.row("serving")
        joining = self._joining = spawn(self._join(serving), name="serving")
        end = time.monotonic() + STANDBY_SECONDS
        while serving.total() and not joining.done() and time.monotonic() < end:
            await asyncio.wait({joining}, timeout=LOOK_SECONDS)

    async def _join(self, serving: Row) -> None:
        """Note, as soon as it is so, that this worker can serve a model."""
        while not (await self.health.report())["models"]:  # noqa: ASYNC110 - nobody tells when it is so
            await asyncio.sleep(LOOK_SECONDS)
        serving.put(1)

    async def close(self) -> None:
        """Give everything back."""
        if self._joining is not None:
            self._joining.cancel()
        await self.watch.close()
        for account in self.accounts.values():
            await account.tokens.close()
        if self.cache is not None:
            await self.cache.aclose()
        await self.upstream.close()
        for closer in self.closers:
            await closer.aclose()
        await self.journal.close()
        self.board.close()


async def _warm(account: Account) -> None:
    """Fetch the first token: without discovery nobody else would before the first request, nor say so."""
    with suppress(GatewayError):  # logged by the provider, which tries again by itself
        await account.tokens.get()
