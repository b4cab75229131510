"""Result files: JSON documents with a `kind`, written whole or not at all."""

from __future__ import annotations

import datetime
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

KINDS = ("load", "replay", "resources", "run", "bench", "chaos", "soak")
VERSION = 1

Result = dict[str, Any]


class ResultError(ValueError):
    """A file is not a result of these tools; the text names it."""


def about() -> Result:
    """When a measurement began, if that is now, and on what machine: part of every result."""
    now = datetime.datetime.now(datetime.UTC)
    return {"started_at": now.isoformat(timespec="seconds"), "machine": machine()}


def stamp() -> str:
    """Now, in local time, for file names."""
    return datetime.datetime.now().strftime("%Y%m%d_%H%M%S")


def machine() -> dict[str, Any]:
    """What the numbers were made on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(
                (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
            )
    except OSError:
        return platform.processor()


def write(path: Path, kind: str, content: Result) -> Path:
    """Write a result; a reader never sees half of it. Makes the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"kind": kind, "version": VERSION, **content}, indent=1)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def read(path: Path) -> Result:
    """A result file. Raises ResultError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ResultError(f"{path}: {exc}") from exc
    if not isinstance(content, dict) or content.get("kind") not in KINDS:
        raise ResultError(f"{path}: not a result file; `kind` must be one of {', '.join(KINDS)}")
    return content
