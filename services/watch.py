"""Keep the list of deployments up to date, sub-account by sub-account.

A failure never takes down what is known or configured: the last good list stays. A list that was read in part
adds to it and takes nothing away, and one that is suddenly empty is believed only when it comes again.

What discovery says about a configured deployment (its executable, its model) is remembered even when the
deployment stops.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

import msgspec
import structlog

from services.causes import cause_of
from services.control_plane import Jitter, Sleep
from services.deployments import AccountDeployments, Deployment, Found, HalfRead, static_deployments
from services.errors import CredentialError, GatewayError, UpstreamBroken, settle
from services.options import SubAccountOptions
from services.tasks import spawn

log = structlog.get_logger()

FIRST_DISCOVERY_SECONDS = 10.0
REFRESH_SECONDS = 300.0
FIRST_BACKOFF_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 300.0
LONGEST_RETRY_AFTER_SECONDS = 600.0
LEAST_INTERVAL_SECONDS = 5.0


class Reader(Protocol):
    """The part of `Discovery` that is needed here."""

    async def read(self) -> Found: ...  # noqa: D102 - see Discovery


@dataclass(frozen=True, slots=True)
class AccountState:
    """How discovery fares in one sub-account: for readiness, the doctor and metrics."""

    name: str
    discover: bool
    ok: bool
    """The latest discovery worked, or none is wanted."""
    since_success_seconds: float | None
    deployments: int
    """Configured and discovered, each counted once."""
    reason: str | None = None
    """Why the latest one failed, in few words that name nobody: for whoever may read the health report."""


OnChange = Callable[[Mapping[str, AccountDeployments]], None]


class DeploymentWatch:
    """Discovery of every sub-account, in the background. One per worker.

    `accounts` gives each sub-account's options, its AI API URL (ending in /v2) and its reader; the reader is
    None where discovery is off. `on_change` is called with everything that is known, at the start and
    whenever something changed. `clock` is monotonic, in seconds. With
    `refresh_seconds` 0 a discovery that worked is not repeated by itself.
    """

    def __init__(
        self,
        accounts: Sequence[tuple[SubAccountOptions, str, Reader | None]],
        *,
        on_change: OnChange,
        refresh_seconds: float = REFRESH_SECONDS,
        first_seconds: float = FIRST_DISCOVERY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        jitter: Jitter = random.random,
    ) -> None:
        self._accounts = {
            options.name: _Account(options, api_url, reader if options.discover else None, clock=clock)
            for options, api_url, reader in accounts
        }
        self._on_change = on_change
        self._refresh_seconds = refresh_seconds
        self._first_seconds = first_seconds
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Publish what is configured, discover for a bounded time, then go on in the background."""
        self._publish()
        watched = [account for account in self._accounts.values() if account.reader is not None]
        first = [self._flight(account) for account in watched]
        self._loops = [
            spawn(self._watch(account, flight), name=f"discovery {account.options.name}")
            for account, flight in zip(watched, first, strict=True)
        ]
        if first:
            await asyncio.wait(first, timeout=self._first_seconds)

    def refresh_soon(self, sub_account: str) -> None:
        """Begin to discover once more, since an upstream said 404, unless that is going on.

        Nothing is begun when the latest one ended moments ago, when the AI API wants to be left alone, or
        when none is wanted.
        """
        account = self._accounts[sub_account]
        least = max(account.ended_at + LEAST_INTERVAL_SECONDS, account.told_until)
        if account.reader is not None and self._clock() >= least:
            self._flight(account)

    def snapshot(self) -> dict[str, AccountDeployments]:
        """Return everything that is known now, in the order of the configuration."""
        return {name: account.deployments() for name, account in self._accounts.items()}

    def complete(self) -> bool:
        """Whether every sub-account that is to be discovered has been, once at least."""
        return all(not one.discover or one.since_success_seconds is not None for one in self.state())

    def state(self) -> tuple[AccountState, ...]:
        """Return how each sub-account fares, in the order of the configuration."""
        return tuple(account.state(self._clock()) for account in self._accounts.values())

    async def close(self) -> None:
        """Stop everything that runs in the background."""
        flights = [account.flight for account in self._accounts.values() if account.flight is not None]
        tasks = [*self._loops, *flights]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, account: _Account, flight: asyncio.Task[None]) -> None:
        await asyncio.wait([flight])
        while self._refresh_seconds > 0 or account.failures:
            await self._sleep(self._pause(account))
            await asyncio.wait([self._flight(account)])

    def _pause(self, account: _Account) -> float:
        """Return the seconds until the next discovery: sooner after a failure, never all at once."""
        backoff = FIRST_BACKOFF_SECONDS * 2.0 ** min(account.failures - 1, 10)
        regular = self._refresh_seconds or LONGEST_BACKOFF_SECONDS
        pause = min(regular, backoff) if account.failures else regular
        return max(pause * (0.9 + 0.2 * self._jitter()), account.told_until - self._clock())

    def _flight(self, account: _Account) -> asyncio.Task[None]:
        """Join the sub-account's running discovery or start one. It belongs to no caller."""
        if account.flight is None:
            account.flight = spawn(self._discover(account), name=f"discover {account.options.name}")
        return account.flight

    async def _discover(self, account: _Account) -> None:
        try:
            changed = await account.discover()
        finally:
            account.flight = None
            account.ended_at = self._clock()
        if changed:
            self._publish()

    def _publish(self) -> None:
        self._on_change(self.snapshot())


class _Account:
    """One sub-account's state. Decides nothing about time."""

    def __init__(
        self, options: SubAccountOptions, api_url: str, reader: Reader | None, *, clock: Callable[[], float]
    ) -> None:
        self.options = options
        self.reader = reader
        self.flight: asyncio.Task[None] | None = None
        self.ended_at = self.told_until = float("-inf")
        self.failures = 0
        self._clock = clock
        self._wanted = NameFilter(options)
        configured = static_deployments(options, api_url)
        self._configured = {
            name: found for name, found in configured.items() if self._wanted.configured(name)
        }
        self._discovered: tuple[Deployment, ...] = ()
        self._doubted = False
        self._error: Exception | None = None
        self._succeeded_at: float | None = None

    async def discover(self) -> bool:
        """Read once and take over what was found. Returns whether anything changed."""
        assert self.reader is not None
        try:
            found = await self.reader.read()
        except HalfRead as exc:
            self._failed(exc)
            return self._take(exc.found)
        except Exception as exc:  # whatever it is, the other sub-accounts and the next round must not suffer
            self._failed(exc)
            return False
        if self._is_doubtful(found):
            self._failed(
                UpstreamBroken("the deployment list is suddenly empty; it is believed if it stays so")
            )
            return False
        self.failures, self._error = 0, None
        self._succeeded_at = self._clock()
        return self._take(found)

    def _is_doubtful(self, found: Found) -> bool:
        """Whether this takes everything away at once, for the first time: a broken answer may do so."""
        self._doubted = not self._doubted and bool(self._discovered) and not found.deployments
        return self._doubted

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self._error = error
        settle(error)  # it is kept for as long as the failure lasts
        told = error.retry_after if isinstance(error, GatewayError) else None
        self.told_until = self._clock() + min(told or 0.0, LONGEST_RETRY_AFTER_SECONDS)
        log.warning(
            "discovery_failed", sub_account=self.options.name, error=_text_of(error), failures=self.failures
        )

    def _take(self, found: Found) -> bool:
        by_id = {deployment.id: deployment for deployment in found.deployments}
        configured = {
            name: tuple(_enriched(one, by_id.get(one.id)) for one in known)
            for name, known in self._configured.items()
        }
        wanted = [one for one in found.deployments if not one.model or self._wanted.discovered(one.model)]
        kept = [
            one
            for one in self._discovered
            if one.id not in by_id and (one.id in found.unclear or not found.whole)
        ]
        discovered = tuple(sorted(wanted + kept, key=lambda one: one.id))
        changed = (configured, discovered) != (self._configured, self._discovered)
        self._configured, self._discovered = configured, discovered
        if changed:
            log.info(
                "deployments_changed",
                sub_account=self.options.name,
                running=len(discovered),
                left_out=found.notes,
            )
        return changed

    def deployments(self) -> AccountDeployments:
        return AccountDeployments(self.options, self._configured, self._discovered)

    def state(self, now: float) -> AccountState:
        return AccountState(
            name=self.options.name,
            discover=self.reader is not None,
            ok=self.reader is None or (self._error is None and self._succeeded_at is not None),
            since_success_seconds=None if self._succeeded_at is None else now - self._succeeded_at,
            deployments=len(
                {one.id for known in (*self._configured.values(), self._discovered) for one in known}
            ),
            reason=_reason_of(self._error) if self._error else None,
        )


class NameFilter:
    """Which names of a sub-account are wanted. Raises `re.error` for a broken expression."""

    def __init__(self, options: SubAccountOptions) -> None:
        self._globs = (options.include, options.exclude)
        self._include = [re.compile(pattern) for pattern in options.include_filters]
        self._exclude = [re.compile(pattern) for pattern in options.exclude_filters]

    def configured(self, name: str) -> bool:
        """Whether the regular expressions let the name pass: include first, then exclude."""
        if self._include and not any(pattern.search(name) for pattern in self._include):
            return False
        return not any(pattern.search(name) for pattern in self._exclude)

    def discovered(self, name: str) -> bool:
        """Whether the globs and the regular expressions let the name pass."""
        include, exclude = self._globs
        if include and not any(fnmatchcase(name, glob) for glob in include):
            return False
        return not any(fnmatchcase(name, glob) for glob in exclude) and self.configured(name)


def _text_of(error: Exception) -> str:
    return str(error) if isinstance(error, GatewayError) else f"{type(error).__name__}: {error}"


def _reason_of(error: Exception) -> str:
    return "no token" if isinstance(error, CredentialError) else cause_of(error).reason


def _enriched(known: Deployment, found: Deployment | None) -> Deployment:
    """Return a configured deployment with what discovery says runs there."""
    if found is None:
        return known
    return msgspec.structs.replace(
        known,
        executable=found.executable or known.executable,
        model=found.model or known.model,
        version=found.version or known.version,
    )
