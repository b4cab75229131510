"""What a run may not leave behind: open files, memory, counters of requests in flight.

The shared counters are read from the gateway's own file, as any process on the machine could: 8 bytes of
magic, rows and columns as 64-bit numbers, padding to 64; a process id for each column; a 16-byte digest of
the name of each row; a number for each row and column.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from perf.chaos.site import WORKERS, Site

MAGIC = b"AICBRD01"
_HEADER = struct.Struct("<8sQQ")
_NAMES_AT = 64
_DIGEST = 16

MORE_FILES = 12
"""Open files more than before that are no leak: connections to Redis and to the token endpoint."""
MORE_BYTES = 32 * 2**20
"""Memory of a worker more than before that is no leak of ten minutes; `perf.soak` measures growth."""
SETTLE_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class Traces:
    """One look at the site. Sizes in bytes."""

    workers: int
    files: int
    """Open files of all processes of the gateway."""
    memory: int
    """RSS of its largest worker."""
    counted: int
    """Requests in flight by the counters that its workers share."""
    upstream: int
    """Requests in flight at the tenant."""

    def as_dict(self) -> dict[str, Any]:
        """For a result file."""
        return asdict(self)


def look(site: Site) -> Traces:
    """Look now."""
    workers = site.workers.alive()
    members = site.gateway.child.tree.parts()
    keys = [
        f"{tenant}/{deployment['id']}"
        for tenant in site.simulator.tenants
        for deployment in site.simulator.deployments(tenant=tenant)
    ]
    boards = list(site.temporary.glob("aicore-gateway-*/board"))
    return Traces(
        workers=len(workers),
        files=sum(part.fds or 0 for part in members),
        memory=max((psutil.Process(pid).memory_info().rss for pid in workers), default=0),
        counted=sum(in_flight(board.read_bytes(), keys) for board in boards),
        upstream=site.simulator.stats()["in_flight"],
    )


def in_flight(board: bytes, keys: Iterable[str]) -> int:
    """The sum of the shared counters of these deployments. Raises ValueError for another kind of file."""
    magic, rows, columns = _HEADER.unpack_from(board)
    if magic != MAGIC:
        raise ValueError("the shared counters have another form than this tool knows")
    digests_at = _NAMES_AT + 8 * columns
    cells_at = digests_at + rows * _DIGEST
    places = {
        board[digests_at + row * _DIGEST : digests_at + (row + 1) * _DIGEST]: row for row in range(rows)
    }
    total = 0
    for key in keys:
        row = places.get(hashlib.blake2b(f"in-flight {key}".encode(), digest_size=_DIGEST).digest())
        if row is not None:
            total += sum(struct.unpack_from(f"<{columns}q", board, cells_at + row * columns * 8))
    return total


def left_behind(before: Traces, after: Traces) -> list[str]:
    """What has not returned to where it was; empty if everything has."""
    found = []
    if after.workers != WORKERS:
        found.append(f"{after.workers} workers instead of {WORKERS}")
    if after.files > before.files + MORE_FILES:
        found.append(f"{after.files} open files, {before.files} before")
    if after.memory > before.memory + MORE_BYTES:
        found.append(f"a worker of {after.memory >> 20} MiB, {before.memory >> 20} before")
    if after.counted:
        found.append(f"{after.counted} in flight by the shared counters, with nobody asking")
    if after.upstream:
        found.append(f"{after.upstream} in flight at the tenant, with nobody asking")
    return found


def settle(site: Site, is_settled: Callable[[Traces], bool], *, seconds: float = SETTLE_SECONDS) -> Traces:
    """Look until everything has settled, or the time is over; the last look."""
    # Idle connections between nginx and the gateway would be counted as open files.
    site.nginx.restart()
    until = time.monotonic() + seconds
    while True:
        time.sleep(1)
        seen = look(site)
        if is_settled(seen) or time.monotonic() > until:
            return seen
