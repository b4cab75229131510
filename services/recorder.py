"""Record traffic for `perf.replay`: one JSON line a request, off unless a file is configured.

Redacted: no key, no header but those that change the answer; bodies only where the configuration asks for
them, otherwise just their size. Lines wait in a bounded queue and are written by one thread, so that a slow
disk never slows a request; what does not fit is counted.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import structlog

from services.calls import Call
from services.translation.fields import Fields

log = structlog.get_logger()

MAX_WAITING = 10_000
MAX_WAITING_BYTES = 64 * 1024 * 1024
FLUSH_SECONDS = 0.5
_PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "gemini": "/v1beta/models/{model}:generateContent",
    "bedrock": "/model/{model}/invoke",
    "embeddings": "/v1/embeddings",
}
_STREAM_PATHS = {
    "gemini": "/v1beta/models/{model}:streamGenerateContent?alt=sse",
    "bedrock": "/model/{model}/invoke-with-response-stream",
}
"""Where streams have a path of their own."""


class Recorder:
    """Appends to a file; all workers may share it, each line is written whole."""

    def __init__(self, path: Path, *, bodies: bool = False) -> None:
        self.dropped = 0
        self._path = path
        self._bodies = bodies
        self._waiting: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None

    def add(self, call: Call, body: Fields | None) -> None:
        """Queue the line of a request that has ended; not of those about stored answers, which have no body.

        Only the gateway that stored an answer could be asked for it again.
        """
        if not call.body_bytes:
            return
        size = call.body_bytes if self._bodies else 0
        if len(self._waiting) >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
            self.dropped += 1
            return
        self._bytes += size
        self._waiting.append(_line(call, body, with_body=self._bodies))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    async def aclose(self) -> None:
        """Write what is waiting."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self._flush()
        if self._writing is not None:
            await asyncio.wait([self._writing])

    def _flush(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        if self._writing is not None and not self._writing.done():
            self._timer = loop.call_later(FLUSH_SECONDS, self._flush)
            return
        lines = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        if lines:
            self._writing = loop.run_in_executor(None, self._write, lines)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)  # it may hold prompts
            try:
                while data:  # in append mode, and seldom more than once: lines stay whole
                    data = data[os.write(file, data) :]
            finally:
                os.close(file)
        except OSError as exc:
            self.dropped += len(lines)
            log.warning("recording_failed", path=str(self._path), detail=str(exc), dropped=self.dropped)


def _line(call: Call, body: Fields | None, *, with_body: bool) -> dict[str, Any]:
    now = time.perf_counter()
    usage = call.reply.usage if call.reply is not None else None
    return {
        # seconds of the system-wide clock: the reader takes the first line as zero
        "at": round(time.monotonic() - (now - call.started), 6),
        "method": "POST",
        "path": _path(call),
        "headers": {},
        "body": body if with_body else None,
        "body_bytes": call.body_bytes,
        "stream": call.stream,
        "model": call.model,
        "status": call.status,
        # the first piece, which may be a heartbeat: so a replay measures it
        "first_byte_ms": None
        if call.first_byte_at is None
        else round((call.first_byte_at - call.started) * 1000, 3),
        "total_ms": round((now - call.started) * 1000, 3),
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
    }


def _path(call: Call) -> str:
    """Return the surface's own path, whichever spelling of it the caller used."""
    path = (call.stream and _STREAM_PATHS.get(call.surface)) or _PATHS[call.surface]
    return path.replace("{model}", quote(call.model, safe=""))
