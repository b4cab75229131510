"""The gateway under test, as an operator runs it: two workers, and nginx with our own templates in front."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from perf import proxy
from perf.faults.board import Entry
from perf.faults.provoke import respond
from perf.faults.scenarios import Case
from perf.faults.tenant import ACCOUNTS, deployments, resource_group
from perf.faults.upstream import Upstream
from perf.stack import HOST, free_port, running, serving
from perf.workload import Target, tls_context

TIMEOUTS = {"connect": 5, "first_byte": 10, "first_token": 12, "peek": 12, "stall": 14, "total": 30}
"""Seconds. Those of Failover Bench: 30 in all, 10 to the first byte; and without a first token the gateway
has to be elsewhere by 15. Two stalls have to fit into the total, or there would be no second try."""

ATTEMPTS = 3
"""Failover Bench's two retries."""


def configuration(cases: Iterable[Case], upstream: Upstream, key: str) -> dict[str, Any]:
    """Two sub-accounts whose deployments are discovered; limits and fallbacks; all else by default."""
    return {
        "subAccounts": {
            account: {"resource_group": resource_group(account), "service_key": upstream.service_key(account)}
            for account in ACCOUNTS
        },
        "secret_authentication_tokens": [key],
        "models": {case.model: {"fallbacks": [case.fallback]} for case in cases if case.fallback},
        "routing": {"attempts": ATTEMPTS},
        "timeouts": TIMEOUTS,
    }


@asynccontextmanager
async def standing(
    cases: Sequence[Case], directory: Path, *, workers: int, with_nginx: bool
) -> AsyncIterator[tuple[Entry, Upstream]]:
    """Upstream, gateway and nginx; all stopped when the block ends. Raises StackError."""
    key = secrets.token_urlsafe(32)
    async with Upstream(deployments(cases), respond).running() as upstream:
        port = free_port()
        command = serving(directory, configuration(cases, upstream, key), port=port, workers=workers)
        processes = ExitStack()
        try:
            # In threads: starting and stopping wait for processes that wait for the upstream, which is us.
            gateway = f"{HOST}:{port}"
            await asyncio.to_thread(_start, processes, "gateway", command, directory, gateway)
            target = Target(f"http://{gateway}")
            if with_nginx:
                target = await asyncio.to_thread(_front, processes, directory / "nginx", gateway)
            yield Entry(target, {"authorization": f"Bearer {key}"}), upstream
        finally:
            await asyncio.to_thread(processes.close)


def _start(processes: ExitStack, name: str, command: Sequence[str], directory: Path, address: str) -> None:
    child = processes.enter_context(running(name, command, directory=directory, cores=None))
    child.wait_ready(f"http://{address}/health/ready")


def _front(processes: ExitStack, directory: Path, gateway: str) -> Target:
    """nginx with TLS, from the files that docker-compose.yml mounts."""
    https, http = free_port(), free_port()
    command, authority = proxy.prepare(directory, [gateway], https=https, http=http)
    _start(processes, "nginx", command, directory, f"{HOST}:{http}")
    return Target(f"https://localhost:{https}", tls_context(ca=authority))
