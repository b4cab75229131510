"""The folder that a gateway's processes share: counters, metrics. Made at the start, removed at the end."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "AICORE_GATEWAY_RUNTIME"
_METRICS = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is first imported


def prepare() -> Path:
    """Return the folder; the first process makes it and its children find it in their environment."""
    known = os.environ.get(VARIABLE)
    if known and Path(known).is_dir():
        return Path(known)
    folder = Path(tempfile.mkdtemp(prefix="aicore-gateway-"))
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
