"""What all streams have in common that go down frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from services.errors import UpstreamError
from services.translation.frames import SSEParser


class FrameRelay(ABC):
    """Passes a stream on frame by frame: a dialect says in `_frame` what becomes of one, and sets `began`."""

    def __init__(self) -> None:
        self.began = False
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
            if not self.began or not any(out):
                raise
            self.failure = exc  # what came before it is still the caller's
        return b"".join(out)

    def _rest(self) -> bytes:
        """Return what the end of the stream completes."""
        return b"".join([self._frame(data) for data in self._parser.close()])

    @abstractmethod
    def _frame(self, data: bytes) -> bytes:
        """Return the caller's bytes for the data of one frame. Raises UpstreamError."""


def says_more(members: Mapping[str, Any], metadata: frozenset[str]) -> bool:
    """Whether anything is said besides the metadata; unknown members count, so that none waits for ever."""
    return any(value for name, value in members.items() if name not in metadata)
