"""Recorded traffic: the file that the gateway's recorder writes and `perf.replay` reads.

JSON Lines, UTF-8, one finished request a line, in the order in which they finished:

    {"at": 12.345, "method": "POST", "path": "/v1/chat/completions",
     "headers": {"content-type": "application/json"}, "body": null, "body_bytes": 1834,
     "stream": true, "model": "gpt-5", "status": 200, "first_byte_ms": 412.0, "total_ms": 2210.5,
     "prompt_tokens": 402, "completion_tokens": 187}

=================  ====================================================================================
`at`               seconds at which the request arrived, on a clock that all lines share; only differences
                   count, and the earliest line is the start of the replay; required
`method` `path`    of the request, the path with its query; `path` is required, `method` is POST by default.
                   Replay sends them as they are, and judges a stream by its path. The gateway's recorder
                   writes each surface's own path, whichever spelling of it the caller used
`headers`          a few harmless ones; never a credential: those named in `SECRET_HEADERS` are refused
`body`             the request's JSON, or null: bodies are off by default, and then replay makes up a
                   prompt such that the body has about `body_bytes` bytes
`body_bytes`       bytes of the body as received
`stream` `model`   of the request
`status`           HTTP status answered; 499 when the caller left
`first_byte_ms`    milliseconds to the first byte of a stream's body, null otherwise. No time to first token:
                   what comes first may be a role or an opened block, and a gateway that passes bytes on
                   should not have to look into each. Replay measures its first byte to compare
`total_ms`         milliseconds until the answer was complete, null if it never was
`*_tokens`         usage as answered, null where unknown
=================  ====================================================================================

The reader tolerates what it can: unknown keys, missing optional ones, empty lines, a last line cut short by a
crash. Everything else is an error that names the line.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from perf.http1 import SENDABLE

SECRET_HEADERS = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization"}
)
MAX_LINE = 64 * 1024 * 1024
MAX_LINES = 10_000_000


class RecordingError(ValueError):
    """A recording cannot be read; the text names the file and the line."""


class Recorded(msgspec.Struct, kw_only=True):
    """One line. The fields are described above."""

    at: float
    path: str
    method: str = "POST"
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None
    body_bytes: int = 0
    stream: bool = False
    model: str | None = None
    status: int | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.at < 1e9:
            raise ValueError("`at` must be seconds, 0 or more")
        if not self.path.startswith("/"):
            raise ValueError("`path` must begin with /")
        if self.body_bytes < 0:
            raise ValueError("`body_bytes` must be 0 or more")
        if not all(map(SENDABLE.fullmatch, (self.method, self.path, *self.headers, *self.headers.values()))):
            raise ValueError("`method`, `path` and `headers` must be Latin-1 without line breaks")
        if secret := SECRET_HEADERS.intersection(name.lower() for name in self.headers):
            raise ValueError(f"`headers` must not carry a credential: {', '.join(sorted(secret))}")


_decoder = msgspec.json.Decoder(Recorded)


def decode_line(line: bytes) -> Recorded:
    """One line. Raises ValueError, with the field where there is one."""
    try:
        return _decoder.decode(line)
    except msgspec.MsgspecError as exc:
        raise ValueError(str(exc)) from exc


class Recording:
    """A checked recording: the times in order, the lines left on disk.

    Opening reads the file once and verifies every line. Raises RecordingError for the first faulty one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_short = False
        """The last line was incomplete, and is left out."""
        self._ats = array("d")
        self._offsets = array("q")
        try:
            self._scan()
        except OSError as exc:
            raise RecordingError(f"{path}: {exc.strerror}") from exc
        self._order = sorted(range(len(self._ats)), key=self._ats.__getitem__)

    def _scan(self) -> None:
        with self.path.open("rb") as file:
            offset = number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                if line.strip():
                    self._check(line, number, offset)
                offset += len(line)

    def _check(self, line: bytes, number: int, offset: int) -> None:
        if len(self._ats) >= MAX_LINES:
            raise RecordingError(f"{self.path}:{number}: more than {MAX_LINES} lines")
        try:
            recorded = decode_line(line)
        except ValueError as exc:
            if not line.endswith(b"\n") and len(line) < MAX_LINE:
                self.cut_short = True
                return
            raise RecordingError(f"{self.path}:{number}: {exc}") from exc
        self._ats.append(recorded.at)
        self._offsets.append(offset)

    def __len__(self) -> int:
        return len(self._ats)

    @property
    def seconds(self) -> float:
        """From the first arrival to the last."""
        return self._ats[self._order[-1]] - self._ats[self._order[0]] if self._order else 0.0

    def read(self, *, start: int = 0, limit: int | None = None) -> Iterator[Recorded]:
        """The requests in order of arrival, from the `start`th (0-based) on."""
        stop = len(self._order) if limit is None else min(start + limit, len(self._order))
        with self.path.open("rb") as file:
            for number in self._order[start:stop]:
                file.seek(self._offsets[number])
                yield decode_line(file.readline(MAX_LINE))
