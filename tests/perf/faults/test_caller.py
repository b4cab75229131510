"""What a caller makes of an answer's bytes: the end decides, and only what was said counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from perf.faults import forms
from perf.faults.caller import Outcome, Reader, Seen, ask
from perf.faults.forms import ANSWER, COMPLETION_TOKENS, PROMPT_TOKENS, Form, Script
from perf.surfaces import Question
from perf.workload import Target

FORMS: dict[str, Form] = {"chat": "chat", "messages": "claude", "responses": "responses"}
ERRORS = {
    "chat": b'data: {"error":{"message":"broke off","type":"api_error"}}\n\n',
    "messages": b'data: {"type":"error","error":{"type":"api_error","message":"broke off"}}\n\n',
    "responses": b'data: {"type":"response.failed","response":{"error":{"message":"broke off"}}}\n\n',
}
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"

pytestmark = pytest.mark.e2e


def whole(status: int, body: bytes, *, length: int | None = None) -> bytes:
    """A unary answer; `length` is what its head says, if that is not true."""
    size = len(body) if length is None else length
    return b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        status, size, body,
    )  # fmt: skip


def stream(script: Script, tokens: int | None = None) -> bytes:
    """The frames up to so many tokens, or all of them."""
    rest = () if tokens is not None else (*script.tail, *script.end)
    return b"".join((*script.head, *script.tokens[:tokens], *rest))


@asynccontextmanager
async def server(*pieces: bytes, hang: bool = False) -> AsyncIterator[Target]:
    """A peer that reads a request and sends these pieces, then closes, or does nothing more."""
    answering: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        with suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.writelines(pieces)
            if not hang:
                writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield Target(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    await asyncio.gather(*filter(None, answering))


async def seen(surface: str, *pieces: bytes, streamed: bool = True, patience: float = 5.0) -> Seen:
    async with server(*pieces) as target:
        return await ask(target, surface, Question("?", "m", stream=streamed), {}, patience=patience)


@pytest.mark.parametrize("surface", FORMS)
async def test_a_whole_stream_is_read_to_its_last_word(surface: str) -> None:
    """Text and usage of all dialects, and the end that each announces."""
    found = await seen(surface, EVENTS, stream(forms.script(FORMS[surface], PROMPT_TOKENS)))

    assert (Outcome.WHOLE, ANSWER, (PROMPT_TOKENS, COMPLETION_TOKENS)) == (
        found.outcome, found.text, found.usage,
    )  # fmt: skip


@pytest.mark.parametrize("surface", FORMS)
async def test_a_whole_body_is_read_like_a_stream(surface: str) -> None:
    """Unary answers have the same text and usage."""
    body = forms.whole(FORMS[surface], PROMPT_TOKENS)
    found = await seen(surface, whole(200, body), streamed=False)

    assert (Outcome.WHOLE, ANSWER, (PROMPT_TOKENS, COMPLETION_TOKENS)) == (
        found.outcome, found.text, found.usage,
    )  # fmt: skip


@pytest.mark.parametrize("surface", FORMS)
async def test_a_stream_that_just_ends_looks_complete(surface: str) -> None:
    """A clean end of the connection after forty words: no SDK raises anything."""
    found = await seen(surface, EVENTS, stream(forms.script(FORMS[surface], PROMPT_TOKENS), 40))

    assert Outcome.LOOKS_COMPLETE == found.outcome


@pytest.mark.parametrize("surface", FORMS)
async def test_an_error_event_is_a_clear_error(surface: str) -> None:
    """After forty words the caller is told, in its dialect."""
    half = stream(forms.script(FORMS[surface], PROMPT_TOKENS), 40)
    found = await seen(surface, EVENTS, half, ERRORS[surface])

    assert (Outcome.ERROR, True) == (found.outcome, "broke off" in (found.error or ""))


async def test_done_after_an_error_looks_complete() -> None:
    """Who waits for [DONE] takes the half for the whole."""
    half = stream(forms.script("chat", PROMPT_TOKENS), 40)
    found = await seen("chat", EVENTS, half, ERRORS["chat"], b"data: [DONE]\n\n")

    assert Outcome.LOOKS_COMPLETE == found.outcome


async def test_a_finish_reason_is_end_enough_for_chat() -> None:
    """OpenAI's SDKs do not need [DONE]."""
    script = forms.script("chat", PROMPT_TOKENS)
    found = await seen("chat", EVENTS, b"".join((*script.head, *script.tokens, *script.tail)))

    assert Outcome.WHOLE == found.outcome


async def test_a_missing_word_is_no_whole_answer() -> None:
    """An announced end does not make up for what is lost on the way."""
    script = forms.script("chat", PROMPT_TOKENS)
    found = await seen(
        "chat", EVENTS, b"".join((*script.head, *script.tokens[1:], *script.tail, *script.end))
    )

    assert Outcome.LOOKS_COMPLETE == found.outcome


FAILURES: dict[str, tuple[Outcome, list[bytes]]] = {
    "an error with a reason": (Outcome.ERROR, [whole(503, b'{"error":{"message":"no more"}}')]),
    "an error without a reason": (Outcome.CUT, [whole(502, b"")]),
    "a body cut short": (Outcome.CUT, [whole(200, b'{"id"', length=99)]),
    "no answer": (Outcome.CUT, []),
    "a frame that is no JSON": (Outcome.GARBAGE, [EVENTS, b'data: {"choi\n\n']),
    "a body that is no JSON": (Outcome.GARBAGE, [whole(200, b"<ht>")]),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_each_failure_has_its_outcome(name: str) -> None:
    """What a caller is told, what just stops, and what no client can read are different things."""
    expected, pieces = FAILURES[name]

    assert expected == (await seen("chat", *pieces)).outcome


async def test_nothing_listens() -> None:
    """A refused connection is a cut, not an exception."""
    async with server() as target:
        pass
    found = await ask(target, "chat", Question("?", "m"), {}, patience=5.0)

    assert Outcome.CUT == found.outcome


async def test_impatience_is_a_hang() -> None:
    """A caller who has waited long enough has been left hanging."""
    async with server(hang=True) as target:
        found = await ask(target, "chat", Question("?", "m"), {}, patience=0.01)

    assert Outcome.HUNG == found.outcome


@pytest.mark.parametrize("surface", FORMS)
def test_where_the_bytes_are_cut_does_not_matter(surface: str) -> None:
    """Every split of a short stream gives the same text and the same end."""
    script = forms.script(FORMS[surface], PROMPT_TOKENS)
    data = stream(Script(script.head, script.tokens[:2], script.tail[-2:], script.end))

    def read(*pieces: bytes) -> tuple[str, bool, tuple[int, int]]:
        reader = Reader(surface, Seen(0.0))
        for piece in pieces:
            reader.streamed(piece)
        return reader.seen.text, reader.seen.finished, reader.seen.usage

    expected = read(data)

    assert {expected} == {read(data[:cut], data[cut:]) for cut in range(len(data) + 1)}
