"""What all streams have in common that go down frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from services.errors import UpstreamError
from services.translation import fields as f
from services.translation.frames import SSEParser

_encode = msgspec.json.encode


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


def renamed(data: bytes, member: str, given: str | None, public: str, what: str) -> bytes:
    """Return the object with the public name in place of the upstream's, undecoded where possible.

    `what` it is, an error says. Raises UpstreamBroken.
    """
    if given == public:
        return data
    if given is not None:
        name, spellings = _spellings(member, given, public)
        for own, new in spellings if data.count(name) == 1 else ():  # no other member has that name
            if own in data:
                return data.replace(own, new)
    return _encode(f.decoded(f.decoder, data, what) | {member: f.raw(public)})


@lru_cache(maxsize=1024)
def _spellings(member: str, given: str, public: str) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """Return the member's name, and how it may stand there with the one value, then with the other."""
    name = _encode(member)
    colons = (name + b":", name + b": ")
    return name, tuple((colon + _encode(given), colon + _encode(public)) for colon in colons)


def says_more(members: Mapping[str, Any], metadata: frozenset[str]) -> bool:
    """Whether anything is said besides the metadata; unknown members count, so that none waits for ever."""
    return any(value for name, value in members.items() if name not in metadata)
