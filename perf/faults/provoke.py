"""What the upstream does in each scenario: a table from its id to a few lines."""

from __future__ import annotations

from collections.abc import Mapping

from perf.faults import forms
from perf.faults.forms import PROMPT_TOKENS, PROMPT_TOKENS_OF_FALLBACK, Refusal
from perf.faults.scenarios import (
    CUT_AFTER,
    FIRST_TOKEN_SECONDS,
    OUTAGE_SECONDS,
    RETRY_AFTER_SECONDS,
    SILENCE_SECONDS,
    STALL_AFTER,
    STALL_SECONDS,
)
from perf.faults.tenant import ANSWERED, FALLBACK
from perf.faults.upstream import Answer, Exchange

TOKEN_SECONDS = 0.005
MALFORMED_AT = 10
MALFORMED = b'data: {"choices":[{"index":0,"delta":{"conte\n\n'


async def respond(exchange: Exchange) -> None:
    """Answer as the deployment's scenario says; healthy where it is not the broken route."""
    case = exchange.deployment.case
    if case is not None and exchange.attempt.number:
        await FAULTS[case.scenario.id](exchange)
    elif exchange.deployment.route == FALLBACK and _prefilled(exchange):
        _refuse(exchange, "prefill")
    else:
        await _answer(exchange)


def _prefilled(exchange: Exchange) -> bool:
    """Whether somebody else's half answer stands at the end of the conversation."""
    turns = exchange.body.get("messages") or exchange.body.get("input")
    return isinstance(turns, list) and bool(turns) and turns[-1].get("role") == "assistant"


def _refuse(exchange: Exchange, kind: Refusal, headers: Mapping[str, str] | None = None) -> None:
    status, body = forms.refusal(exchange.form, kind)
    exchange.attempt.did = f"{status} {kind}"
    exchange.reply(status, body, headers)


async def _answer(
    exchange: Exchange,
    *,
    tokens: int | None = None,
    wait: float = 0.0,
    malformed: bool = False,
    marked: bool = True,
) -> None:
    """Say the answer or its first `tokens`, `wait` seconds after the metadata, `marked` by its proper end."""
    exchange.attempt.did = "began"
    prompt_tokens = PROMPT_TOKENS_OF_FALLBACK if exchange.deployment.route == FALLBACK else PROMPT_TOKENS
    if not exchange.stream:
        body = forms.whole(exchange.form, prompt_tokens)
        _part_of(exchange, body, len(body) if tokens is None else len(body) * tokens // len(forms.TOKENS))
        exchange.attempt.did = _said(tokens)
        return
    script = forms.script(exchange.form, prompt_tokens)
    exchange.begin()
    for frame in script.head:
        exchange.piece(frame)
    if wait:
        await exchange.pause(wait)
    for number, frame in enumerate(script.tokens[:tokens]):
        if malformed and number == MALFORMED_AT:
            exchange.piece(MALFORMED)
        exchange.piece(frame)
        await exchange.pause(TOKEN_SECONDS)
    if tokens is None:
        for frame in (*script.tail, *(script.end if marked else ())):
            exchange.piece(frame)
        exchange.end()
    exchange.attempt.did = _said(tokens)


def _said(tokens: int | None) -> str:
    return ANSWERED if tokens is None else f"{tokens} tokens"


def _part_of(exchange: Exchange, body: bytes, size: int) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    exchange.send(head + body[:size])


async def _limited_once(exchange: Exchange) -> None:
    if exchange.attempt.number > 1:
        return await _answer(exchange)
    return _refuse(exchange, "limited", {"Retry-After": str(RETRY_AFTER_SECONDS)})


async def _limited(exchange: Exchange) -> None:
    _refuse(exchange, "limited")


async def _failed_once(exchange: Exchange) -> None:
    if exchange.attempt.number > 1:
        return await _answer(exchange)
    return _refuse(exchange, "failed")


async def _unavailable(exchange: Exchange) -> None:
    _refuse(exchange, "unavailable")


async def _reset_once(exchange: Exchange) -> None:
    if exchange.attempt.number > 1:
        return await _answer(exchange)
    exchange.attempt.did = "reset"
    return exchange.reset()


async def _silent(exchange: Exchange) -> None:
    exchange.attempt.did = "silence"
    await exchange.pause(SILENCE_SECONDS)
    exchange.cut()


async def _late(exchange: Exchange) -> None:
    await _answer(exchange, wait=FIRST_TOKEN_SECONDS)


async def _cut(exchange: Exchange) -> None:
    await _answer(exchange, tokens=CUT_AFTER)
    exchange.cut()


async def _stalled(exchange: Exchange) -> None:
    await _answer(exchange, tokens=STALL_AFTER)
    await exchange.pause(STALL_SECONDS)
    exchange.cut()


async def _malformed(exchange: Exchange) -> None:
    await _answer(exchange, malformed=True)


async def _without_done(exchange: Exchange) -> None:
    await _answer(exchange, marked=False)


async def _too_long(exchange: Exchange) -> None:
    _refuse(exchange, "too long")


async def _filtered(exchange: Exchange) -> None:
    _refuse(exchange, "filtered")


async def _down(exchange: Exchange) -> None:
    if exchange.attempt.since < OUTAGE_SECONDS:
        return _refuse(exchange, "unavailable")
    return await _answer(exchange)


FAULTS: Mapping[str, Answer] = {
    "S01": _limited_once,
    "S02": _limited,
    "S03": _failed_once,
    "S04": _unavailable,
    "S05": _reset_once,
    "S06": _silent,
    "S07": _late,
    "S08": _cut,
    "S09": _stalled,
    "S10": _malformed,
    "S11": _without_done,
    "S12": _too_long,
    "S13": _filtered,
    "S14": _cut,
    "S15": _down,
    "S16": _unavailable,
}
