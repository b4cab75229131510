"""Serve a request that a surface has read: one answer, or a stream. The only user of `request.respond`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from functools import lru_cache, partial
from typing import TypeVar, cast
from urllib.parse import quote

from sanic import HTTPResponse, Request

from handlers.bodies import read_body
from handlers.errors import outcome
from handlers.ids import request_id
from handlers.wire import PieceWriter, needs_sanic, write_whole
from handlers.wishes import read_wishes
from services import metrics
from services.asking import Ask, Prepare
from services.calls import Call, Caller, Reply
from services.container import Services
from services.errors import CallerLeft, OutOfTime, settle
from services.inflight import Events
from services.translation import fields, translate
from services.translation.fields import Fields

T = TypeVar("T")

_JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
_STREAM_HEAD = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"  # trap 16
_COMMENT = b": keep-alive\n\n"
_BEATS = {
    "messages": b'event: ping\ndata: {"type": "ping"}\n\n',
    "gemini": b"\n",  # Google's SDK takes a comment for broken JSON
    "bedrock": b"",  # no such frame is known
}
"""Surface → what its clients skip while the model is silent (trap 15); a comment for the others."""
_HEADER_SAFE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_MAX_LIST_BYTES = 2048
"""Of a list in the head: proxies refuse large heads."""


class Served(HTTPResponse):
    """A response whose own head is bytes already: Sanic would clean and encode each field of each answer."""

    __slots__ = ("_head",)

    def __init__(self, body: bytes | None = None, *, head: bytes, content_type: str) -> None:
        super().__init__(body, content_type=content_type)
        self._head = head

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        """The fields that Sanic and CORS add, and ours."""
        yield b"content-type", self.content_type.encode() if self.content_type else b""
        for name, value in self.headers.items():
            yield name.encode(), str(value).encode(errors="surrogateescape")
        for line in self._head.splitlines():
            field, _, told = line.partition(b": ")
            yield field, told


def services_of(request: Request) -> Services:
    """Return the worker's services."""
    return cast(Services, request.app.ctx.services)


async def read_fields(request: Request) -> tuple[Fields, int]:
    """Return the members of the request's body, and its size in bytes. Raises GatewayError."""
    body = await read_body(request, limit=services_of(request).body_limit)
    return fields.parse(body), len(body)


async def receive(request: Request, *, surface: str) -> tuple[Fields, Call]:
    """Read the request's body and begin its story. Raises GatewayError."""
    call = begin(request, surface=surface)
    body, call.body_bytes = await read_fields(request)
    return body, call


def begin(request: Request, *, surface: str) -> Call:
    """Return the story of a request that begins now."""
    started = time.perf_counter()
    return Call(surface=surface, caller=request.ctx.caller, request_id=request_id(request), started=started)


def ask_of(
    request: Request,
    body: Fields,
    call: Call,
    prepare: Prepare,
    *,
    model: str | None = None,
    pinned: str = "",
) -> Ask:
    """Return the request for the pipeline; `model` is in the path, else in the body. Raises BadRequest."""
    return Ask(
        model=model or fields.required(body, "model", str),
        body=body,
        prepare=prepare,
        call=call,
        idempotency_key=request.headers.get("idempotency-key"),
        pinned=pinned,
    )


async def take(
    request: Request,
    *,
    surface: str,
    model: str | None = None,
    stream: bool | None = None,
    content_type: str = EVENTS,
    edit: Callable[[Request, Fields], None] | None = None,
    keeper: Callable[[Fields, Caller], str] | None = None,
) -> HTTPResponse | None:
    """Read a conversation's envelope and serve it. Raises GatewayError.

    `model` and `stream` are in the path of some surfaces; else they are members of the body. `edit` moves
    what this surface says in the head to the body; `keeper` tells the one deployment that can serve it.
    """
    body, call = await receive(request, surface=surface)
    if edit is not None:
        edit(request, body)
    call.stream = bool(fields.read(body, "stream", bool)) if stream is None else stream
    prepare = partial(translate.prepare, surface=surface, stream=call.stream)
    pinned = "" if keeper is None else keeper(body, call.caller)
    ask = ask_of(request, body, call, prepare, model=model, pinned=pinned)
    return await serve(request, ask, content_type=content_type)


async def serve(request: Request, ask: Ask, *, content_type: str = EVENTS) -> HTTPResponse | None:
    """Answer the request, whichever way it wants, and write down how it went."""
    call, services = ask.call, services_of(request)
    try:
        read_wishes(request, ask)
        if not services.gate.try_enter():
            await _in_time(ask, services.gate.enter())
        try:
            if call.stream:
                await _stream(request, ask, services, content_type)
                return None
            response = await _whole(request, ask, services)
            call.status = 200
            return response
        finally:
            services.gate.leave()
    except BaseException as exc:
        error = outcome(request, exc)
        call.error = call.error or error
        call.status = call.status or error.status
        if isinstance(exc, Exception) and error is not exc:
            raise error from exc  # it has been logged, and is not to be once more
        raise
    finally:
        request.ctx.told = True
        services.journal.close_call(call, ask.body)


def _in_time(ask: Ask, serving: Awaitable[T]) -> Awaitable[T]:
    """Wait for as long as the caller does. Raises OutOfTime."""
    return serving if ask.deadline == math.inf else _until_deadline(ask, serving)


async def _until_deadline(ask: Ask, serving: Awaitable[T]) -> T:
    left = ask.deadline - time.perf_counter()
    try:
        async with asyncio.timeout(left):
            return await serving
    except TimeoutError as exc:
        seconds = ask.deadline - ask.call.started
        raise OutOfTime(f"no answer within the {seconds:g} s that the request allows") from exc


async def _whole(request: Request, ask: Ask, services: Services) -> HTTPResponse | None:
    reply = await _in_time(ask, services.pipeline.whole(ask))
    assert reply.answer is not None
    head, body = _head(ask.call, reply), reply.answer.body
    if needs_sanic(request):
        return Served(body, head=head, content_type=_JSON)
    await write_whole(request, head, body)
    return None


async def _stream(request: Request, ask: Ask, services: Services, content_type: str) -> None:
    call = ask.call
    seconds = services.heartbeat_seconds
    beat = _BEATS.get(call.surface, _COMMENT) if seconds and call.caller.heartbeats else b""
    async with aclosing(await _in_time(ask, services.pipeline.stream(ask))) as chunks:
        first = await anext(chunks) or beat  # a failure up to here keeps its own status
        while not first:  # the model is still silent, and there is nothing to say meanwhile
            first = await _in_time(ask, anext(chunks))
        assert call.reply is not None
        head = _head(call, call.reply) + _STREAM_HEAD
        response = await request.respond(Served(head=head, content_type=content_type))
        await response.send(first)
        call.first_byte_at = time.perf_counter()
        call.status = 200
        with closing(PieceWriter(request, response, beat=beat, seconds=seconds)) as pieces:
            write = pieces.write
            try:
                await _first_content(ask, call.reply, chunks, write)
                async for chunk in chunks:
                    await write(chunk)
            except (Exception, asyncio.CancelledError) as exc:
                # The status is gone: only a frame can tell the caller.
                call.error = outcome(request, exc)
                if isinstance(call.error, CallerLeft):
                    raise
                if farewell := call.reply.farewell(call.error):
                    await write(farewell)
                settle(exc)
        await response.eof()


async def _first_content(
    ask: Ask, reply: Reply, chunks: Events, write: Callable[[bytes], Awaitable[None]]
) -> None:
    """Pass on what precedes the content, of a stream that went out without: its caller waits only so long.

    Raises OutOfTime.
    """
    while reply.relay is not None and not reply.relay.began:
        chunk = await _in_time(ask, anext(chunks, b""))
        if not chunk:
            return
        await write(chunk)
    ask.call.first_token_at = time.perf_counter()


def _head(call: Call, reply: Reply) -> bytes:
    """Return the lines of the head that are ours."""
    milliseconds = call.own_milliseconds()
    metrics.count_overhead(call, milliseconds)
    source = reply.deployment
    head = b"x-request-id: %b\r\nx-aicore-overhead-ms: %.2f\r\n%b" % (
        call.request_id.encode(),
        milliseconds,
        _origin(source.sub_account, source.id, reply.model, reply.attempts),
    )
    if call.coalesced:
        head += b"x-aicore-coalesced: true\r\n"
    if reply.cached:
        head += b"x-aicore-cache: hit\r\n"
    if reply.dropped:
        head += b"x-aicore-dropped: %b\r\n" % _listed(reply.dropped)
    return head


@lru_cache(maxsize=1024)
def _origin(sub_account: str, deployment: str, model: str, attempts: int) -> bytes:
    """Return the lines that say where an answer came from: few of them differ."""
    lines = (
        b"x-aicore-sub-account: %b\r\n"
        b"x-aicore-deployment: %b\r\n"
        b"x-aicore-model: %b\r\n"
        b"x-aicore-attempts: %d\r\n"
    )
    return lines % (_one_line(sub_account), _one_line(deployment), _one_line(model), attempts)


def _listed(names: Sequence[str]) -> bytes:
    """Return the names in one bounded line: the caller made some of them, and as many as it liked."""
    told: list[bytes] = []
    room = _MAX_LIST_BYTES
    for at, name in enumerate(map(_one_line, names)):
        room -= len(name) + len(b", ")
        if room < 0:
            told.append(b"and %d more" % (len(names) - at))
            break
        told.append(name)
    return b", ".join(told)


def _one_line(value: str) -> bytes:
    return quote(value, safe=_HEADER_SAFE).encode()
