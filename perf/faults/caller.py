"""What a caller sees: one request, its answer read as the SDKs of its dialect would, or why it cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from perf.dialects import Event
from perf.faults.forms import ANSWER
from perf.http1 import AnswerReader, request_head
from perf.judge import StreamJudge
from perf.surfaces import ENDPOINTS, Question
from perf.texts import TEXTS
from perf.workload import Target, encode


class Outcome(StrEnum):
    """How a request ended, as far as its caller can know."""

    WHOLE = "the whole answer"
    ERROR = "a clear error"
    LOOKS_COMPLETE = "looks complete"
    """Part of an answer with nothing that says so: no SDK raises anything."""
    CUT = "cut without a word"
    """The connection broke, or there was an error without a reason."""
    GARBAGE = "garbage passed on"
    HUNG = "hung"


@dataclass(slots=True)
class Seen:
    """One answer. Times are `time.monotonic` seconds."""

    asked: float
    ended: float = 0.0
    status: int = 0
    text: str = ""
    finished: bool = False
    """The end was announced, by the rules of the dialect."""
    error: str | None = None
    """What the caller is told has gone wrong."""
    broken: str | None = None
    """How the connection ended, where that was no proper end."""
    garbage: str | None = None
    hung: bool = False
    model: str = ""
    usage: tuple[int, int] = (0, 0)
    """Tokens of the prompt and of the answer."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.asked

    @property
    def outcome(self) -> Outcome:
        """What all of it amounts to."""
        if self.hung:
            return Outcome.HUNG
        if self.garbage is not None:
            return Outcome.GARBAGE
        if self.error is not None:
            # Clients that read on after an error event take the end for a good one.
            return Outcome.LOOKS_COMPLETE if self.finished else Outcome.ERROR
        if self.broken is not None or self.status != 200:
            return Outcome.CUT
        return Outcome.WHOLE if self.finished and self.text == ANSWER else Outcome.LOOKS_COMPLETE

    @property
    def summary(self) -> str:
        """In a few words."""
        words = len(self.text.split())
        told = self.error or self.garbage or self.broken or f"{words} of {len(ANSWER.split())} words"
        return f"{self.outcome} ({self.status}, {self.seconds:.1f} s): {' '.join(told.split())[:160]}"


_FINISH_IS_END = frozenset({"chat"})
"""Where a finish reason is end enough: OpenAI's SDKs do not wait for [DONE]."""


class Reader:
    """The bytes of one answer, on their way into a `Seen`."""

    def __init__(self, surface: str, seen: Seen) -> None:
        dialect = ENDPOINTS[surface].dialect
        # No frame is skipped as plain: all are read for their text.
        self.dialect = replace(dialect, plain=lambda _: False, output=self._take)
        self.seen = seen
        self.body = bytearray()
        self._output = dialect.output
        self._text = TEXTS[surface]
        self._finish_is_end = surface in _FINISH_IS_END
        self._judge = StreamJudge(self.dialect)

    def streamed(self, piece: bytes) -> None:
        """A piece of an event stream. Raises ValueError for what no client can read."""
        judge, seen = self._judge, self.seen
        judge.feed(piece)
        seen.error = judge.failure
        stopped = judge.finished and self._finish_is_end
        seen.finished = judge.done or (stopped and judge.failure is None)
        seen.usage = judge.prompt_tokens, judge.completion_tokens

    def _take(self, event: Event) -> bool:
        self.seen.text += self._text.piece(event)
        nested = event.get("message") or event.get("response") or {}
        self.seen.model = event.get("model") or nested.get("model") or self.seen.model
        return self._output(event)

    def whole(self) -> None:
        """A complete body that is no event stream. Raises ValueError for what no client can read."""
        try:
            answer = msgspec.json.decode(bytes(self.body), type=Event)
        except msgspec.MsgspecError as exc:
            raise ValueError(f"a body that is no JSON object: {exc}") from exc
        seen = self.seen
        if error := answer.get("error"):
            seen.error = str(error.get("message") or "") or None
            return
        seen.text, seen.finished = self._text.read(answer)
        seen.model = answer.get("model") or ""
        usage = answer.get("usage") or {}
        prompt, completion = (
            sum(usage.get(name) or 0 for name in names)
            for names in (self.dialect.prompt, self.dialect.completion)
        )
        seen.usage = prompt, completion


async def ask(
    target: Target, surface: str, question: Question, headers: Mapping[str, str], *, patience: float
) -> Seen:
    """Ask on a new connection; `patience` are the seconds until it counts as hung. Raises nothing."""
    seen = Seen(time.monotonic())
    try:
        async with asyncio.timeout(patience):
            await _exchange(target, surface, question, headers, seen)
    except TimeoutError:
        seen.hung = True
    except ValueError as exc:  # neither HTTP, nor events, nor JSON
        seen.garbage = str(exc)
    except OSError as exc:
        seen.broken = f"the connection broke: {exc}"
    seen.ended = time.monotonic()
    return seen


async def _exchange(
    target: Target, surface: str, question: Question, headers: Mapping[str, str], seen: Seen
) -> None:
    endpoint = ENDPOINTS[surface]
    assert endpoint.body is not None
    body = encode(endpoint.body(question))
    head = request_head(
        "POST", target.path(endpoint.at(question)), target.authority,
        {"content-type": "application/json", **headers}, len(body),
    )  # fmt: skip
    reader, writer = await asyncio.open_connection(target.host, target.port, ssl=target.tls)
    try:
        writer.write(head + body)
        await _read(reader, Reader(surface, seen))
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, answer: Reader) -> None:
    http, seen = AnswerReader(), answer.seen
    while not http.complete:
        data = await reader.read(65536)
        if not data:
            if not http.eof():
                seen.broken = "the connection ended in mid-answer" if http.status else "no answer at all"
                return
            break
        pieces = http.feed(data)
        seen.status = http.status
        for piece in pieces:
            if http.status == 200 and http.content_type.startswith(answer.dialect.content_type):
                answer.streamed(piece)
            else:
                answer.body += piece
    if answer.body:
        answer.whole()
