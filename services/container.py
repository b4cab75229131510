"""What a worker holds while it serves: the app's context."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from services.accounts import Account
from services.answers import AnswerCache
from services.balancer import Balancer
from services.board import Board
from services.calls import Caller
from services.catalog import Catalog
from services.errors import GatewayError
from services.health import Health
from services.journal import Journal
from services.listing import ModelList
from services.pipeline import Kept, Pipeline
from services.tasks import spawn
from services.upstream import Upstream
from services.watch import DeploymentWatch

WARM_SECONDS = 10.0
"""How long a worker waits for its first tokens before it serves."""


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

    async def open(self) -> None:
        """Get tokens and deployments, for a bounded time; what is missing then follows in the background."""
        warming = [spawn(_warm(account), name=f"token {name}") for name, account in self.accounts.items()]
        await self.watch.start()
        if warming:
            await asyncio.wait(warming, timeout=WARM_SECONDS)

    async def close(self) -> None:
        """Give everything back."""
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
