"""Logs: one JSON object a line on standard output; in a terminal, lines for people."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from multiprocessing.util import Finalize
from typing import Any, BinaryIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_direct: _BatchWriter | None = None
_encoder = msgspec.json.Encoder(enc_hook=str)

log = structlog.get_logger()


def setup(level: str, *, pretty: bool | None = None) -> None:
    """Configure this process's logging. `pretty` is decided by the terminal unless given."""
    global _direct
    _direct = None
    if pretty is None:
        pretty = sys.stdout.isatty()
    if pretty:
        last: list[Processor] = [structlog.dev.ConsoleRenderer()]
        processors: list[Processor] = [_stamp, *last]
        factory: Any = structlog.PrintLoggerFactory()
    else:
        last = [structlog.processors.format_exc_info, _as_text]
        processors = [_stamp, _with_trace, _as_line]
        writer = _BatchWriter(sys.stdout.buffer)
        if level in ("debug", "info"):
            _direct = writer
        factory = lambda *_: writer  # noqa: E731 - structlog asks for a callable
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    _adopt_standard_logging(last, logging.DEBUG if level == "debug" else max(_LEVELS[level], logging.WARNING))


def tell_request(story: dict[str, Any]) -> None:
    """Log the end of a request, as `info("request", **story)` does.

    The way through structlog costs more than the rest of the line: where lines are JSON they go past it.
    """
    if _direct is None:
        log.info("request", **story)
    else:
        story["event"] = "request"
        _direct.info(_encoder.encode(_stamp(None, "info", story)))


def sanic_logging() -> dict[str, Any]:
    """Return Sanic's logging configuration: nothing of its own, it all goes through the root logger."""
    names = ("sanic.root", "sanic.error", "sanic.access", "sanic.server", "sanic.websockets")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "loggers": {name: {"propagate": True, "handlers": []} for name in names},
    }


class _BatchWriter:
    """Writes the lines of a moment together: a system call for each would be a part of every request.

    Warnings and worse go out at once, with what is before them.
    """

    _SECONDS = 0.05

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        Finalize(None, self.flush, exitpriority=0)  # a worker process ends without what `atexit` knows

    def info(self, line: bytes) -> None:
        """Keep a line for the next batch."""
        self._lines.append(line)
        if self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(self._SECONDS, self.flush)
            except RuntimeError:  # no loop: nobody would come back for it
                self.flush()

    debug = info

    def warning(self, line: bytes) -> None:
        """Write a line, and all that waited, at once."""
        self._lines.append(line)
        self.flush()

    error = critical = exception = warning

    def flush(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines, self._lines = self._lines, []
            try:
                self._out.write(b"\n".join(lines) + b"\n")
                self._out.flush()
            except (BrokenPipeError, ValueError):  # nobody reads the log any more
                return


def _adopt_standard_logging(last: list[Processor], level: int) -> None:
    """Send what libraries log the same way."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_stamp, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("httpx", "httpcore"):  # they would log URLs and heads
        logging.getLogger(name).setLevel(logging.WARNING)


_second = [0, ""]


def _stamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add time and level. The date is formatted once a second."""
    now = time.time()
    whole = int(now)
    if whole != _second[0]:
        _second[:] = whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    event["timestamp"] = f"{_second[1]}.{int(now * 1000) % 1000:03d}Z"
    event["level"] = method
    return event


def _with_trace(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return structlog.processors.format_exc_info(logger, method, event) if "exc_info" in event else event


def _as_line(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    return _encoder.encode(event)


def _as_text(logger: WrappedLogger, method: str, event: EventDict) -> str:
    return _encoder.encode(event).decode()
