"""What all streams that pass through have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from services.errors import UpstreamError
from services.translation.frames import SSEParser


class FrameRelay(ABC):
    """Passes a stream on frame by frame: a dialect says in `_frame` what becomes of one."""

    def __init__(self) -> None:
        self.done = False
        self.failure: UpstreamError | None = None
        self._parser = SSEParser()

    def feed(self, chunk: bytes) -> bytes:
        """Return the caller's bytes. Raises UpstreamBroken for a broken frame, UpstreamError for an error."""
        frames = self._parser.feed(chunk)
        if len(frames) == 1:
            return self._frame(frames[0])
        out: list[bytes] = []
        try:
            for data in frames:
                out.append(self._frame(data))
        except UpstreamError as exc:
            if not any(out):
                raise
            self.failure = exc  # what came before it is still the caller's
        return b"".join(out)

    def _rest(self) -> bytes:
        """Return what the end of the stream completes."""
        return b"".join([self._frame(data) for data in self._parser.close()])

    @abstractmethod
    def _frame(self, data: bytes) -> bytes:
        """Return the caller's bytes for the data of one frame. Raises UpstreamError."""
