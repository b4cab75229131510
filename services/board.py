"""Counters that all workers of one machine share.

A memory-mapped file: one row per name (a deployment, a caller), one column per worker process. A worker
writes only its own column and readers sum the row, so nobody takes a lock to count; adding a name or
claiming a column takes a file lock, which happens a few times in a process's life. Whoever claims one clears
those of the dead. Names past the last row are counted by each worker for itself: nothing fails for want of
a counter.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger()

_MAGIC = b"AICBRD01"
_HEADER = struct.Struct("<8sQQ")  # magic, rows, columns
_HEADER_SIZE = 64
_DIGEST_SIZE = 16
_CELL_SIZE = 8


class BoardFull(RuntimeError):
    """No free column: more processes than the board was made for."""


class Row:
    """One name's counters. `add` is for this worker, `total` over all workers."""

    __slots__ = ("_cell", "_cells", "_column")

    def __init__(self, cells: memoryview, column: int) -> None:
        self._cells = cells
        self._cell = cells[column : column + 1]
        self._column = column

    def add(self, delta: int) -> None:
        """Count in this worker's column."""
        self._cell[0] += delta

    def shares(self) -> memoryview:
        """Return the cells of all workers, live."""
        return self._cells

    def put(self, value: int) -> None:
        """Replace this worker's share."""
        self._cell[0] = value

    def latest(self) -> int:
        """Return the greatest share of any worker: for deadlines, where the later one wins."""
        return max(self._cells)

    def alone(self, bound: int) -> bool:
        """Whether no other worker's share is above `bound`: of two that write at once, both see the other."""
        own = self._column
        return all(cell <= bound for column, cell in enumerate(self._cells) if column != own)

    def total(self) -> int:
        """Return the sum over all workers."""
        return sum(self._cells)


class Board:
    """The rows of one machine.

    `path` is None for a board that is private to this process. `rows` and `columns` count only when the
    file is made; a file that is there keeps its size.
    """

    def __init__(self, path: Path | None = None, *, rows: int = 8192, columns: int = 16) -> None:
        self._rows: dict[str, Row] = {}
        self._full = False
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with self._locked():
            self._rows_count, self._columns = self._prepare(rows, columns)
            size = _size(self._rows_count, self._columns)
            self._memory = mmap.mmap(-1 if self._file is None else self._file, size)
            if self._memory[: len(_MAGIC)] != _MAGIC:
                self._memory[: _HEADER.size] = _HEADER.pack(_MAGIC, self._rows_count, self._columns)
            self._pids = self._view(_HEADER_SIZE, self._columns)
            self._names_at = _HEADER_SIZE + self._columns * _CELL_SIZE
            self._cells_at = self._names_at + self._rows_count * _DIGEST_SIZE
            self.column = self._claim_column()

    def row(self, name: str) -> Row:
        """Return the row of this name, the same in every worker; on a full board one of this worker alone."""
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = Row(self._cells_of(name), self.column)
        return row

    def close(self) -> None:
        """Give this worker's column back, with its counters at zero."""
        with self._locked():
            self._wipe_column(self.column)
            self._pids[self.column] = 0
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _prepare(self, rows: int, columns: int) -> tuple[int, int]:
        if self._file is None:
            return rows, columns
        if os.fstat(self._file).st_size >= _HEADER_SIZE:
            magic, rows, columns = _HEADER.unpack(os.pread(self._file, _HEADER.size, 0))
            if magic != _MAGIC:
                raise ValueError("the shared counter file is of another version; remove the runtime folder")
            return rows, columns
        os.ftruncate(self._file, _size(rows, columns))
        os.pwrite(self._file, _HEADER.pack(_MAGIC, rows, columns), 0)
        return rows, columns

    def _cells_of(self, name: str) -> memoryview:
        index = self._find(name)
        if index is not None:
            return self._view(self._cells_at + index * self._columns * _CELL_SIZE, self._columns)
        if not self._full:
            self._full = True
            log.warning("shared_counters_full", rows=self._rows_count, advice="restart the gateway")
        return memoryview(bytearray(self._columns * _CELL_SIZE)).cast("q")

    def _view(self, start: int, cells: int) -> memoryview:
        return memoryview(self._memory)[start : start + cells * _CELL_SIZE].cast("q")

    def _claim_column(self) -> int:
        self._free_dead()
        for column, pid in enumerate(self._pids):
            if pid == 0:
                self._pids[column] = os.getpid()
                return column
        raise BoardFull(f"all {self._columns} columns of the shared counters belong to living processes")

    def _free_dead(self) -> None:
        for column, pid in enumerate(self._pids):
            if pid and not _alive(pid):
                self._wipe_column(column)
                self._pids[column] = 0

    def _wipe_column(self, column: int) -> None:
        cells = self._view(self._cells_at, self._rows_count * self._columns)
        for index in range(column, len(cells), self._columns):
            if cells[index]:
                cells[index] = 0

    def _find(self, name: str) -> int | None:
        digest = hashlib.blake2b(name.encode(), digest_size=_DIGEST_SIZE).digest()
        first = int.from_bytes(digest[:8], "little") % self._rows_count
        with self._locked():
            for step in range(self._rows_count):
                index = (first + step) % self._rows_count
                at = self._names_at + index * _DIGEST_SIZE
                held = self._memory[at : at + _DIGEST_SIZE]
                if held == digest:
                    return index
                if not any(held):
                    self._memory[at : at + _DIGEST_SIZE] = digest
                    return index
        return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def _size(rows: int, columns: int) -> int:
    return _HEADER_SIZE + columns * _CELL_SIZE + rows * (_DIGEST_SIZE + columns * _CELL_SIZE)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
