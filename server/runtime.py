"""The folder that a gateway's processes share: counters, metrics. Made at the start, removed at the end.

Its maker holds a lock on it, so that the next gateway can tell and remove one whose processes were killed.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "AICORE_GATEWAY_RUNTIME"
_METRICS = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is first imported
_PREFIX = "aicore-gateway-"
_LOCK = "lock"


def prepare() -> Path:
    """Return the folder; the first process makes it and its children find it in their environment."""
    known = os.environ.get(VARIABLE)
    if known and Path(known).is_dir():
        return Path(known)
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    # Never closed: the lock lasts as long as this process or a worker forked from it. Another gateway that
    # starts now must not find it free.
    unlocked = folder / "unlocked"
    fcntl.flock(os.open(unlocked, os.O_CREAT | os.O_RDWR, 0o600), fcntl.LOCK_EX)
    unlocked.rename(folder / _LOCK)
    (folder / "metrics").mkdir()
    os.environ[VARIABLE] = str(folder)
    os.environ[_METRICS] = str(folder / "metrics")
    atexit.register(_remove, folder, os.getpid())
    return folder


def board_path() -> Path:
    """Return where the shared counters are."""
    return prepare() / "board"


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker inherits the exit handler, not the folder
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):  # another user's, or in use
            file = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(file)
