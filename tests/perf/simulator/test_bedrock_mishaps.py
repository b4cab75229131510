"""Faults in Bedrock's own forms, through the process: refusals, errors inside a 200, and broken streams."""

from __future__ import annotations

import ast
import json
from typing import Any

import httpx
import pytest

from tests.perf.simulator.conftest import Tenant

CLAUDE = "anthropic--claude-4.5-sonnet"
NOVA = "amazon--nova-lite"
WORDS = "echo: größer als b"
INVOKE = "invoke-with-response-stream"
CONVERSE = "converse-stream"
STREAMS = [(CLAUDE, INVOKE), (NOVA, CONVERSE)]


def body(subpath: str, said: str = WORDS) -> dict[str, Any]:
    """The shortest body of an operation."""
    if subpath.startswith("converse"):
        return {"messages": [{"role": "user", "content": [{"text": said}]}]}
    return {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": said}],
    }


def post(tenant: Tenant, model: str, subpath: str, said: str = WORDS) -> httpx.Response:
    """A request."""
    return tenant.client.post(f"{tenant.url(model)}/{subpath}", json=body(subpath, said))


def received(tenant: Tenant, model: str, subpath: str) -> tuple[list[str], type[Exception] | None]:
    """The payloads that arrive before a stream ends, and how it breaks if it does."""
    seen = b""
    with tenant.client.stream("POST", f"{tenant.url(model)}/{subpath}", json=body(subpath)) as answer:
        try:
            for piece in answer.iter_raw():
                seen += piece
        except httpx.HTTPError as error:
            return _payloads(seen), type(error)
    return _payloads(seen), None


def _payloads(raw: bytes) -> list[str]:
    return [part.removeprefix("data: ") for part in raw.decode().split("\n\n") if part]


def said(payloads: list[str]) -> str:
    """The text of the payloads of either dialect."""
    return "".join(_text(payload) for payload in payloads)


def _text(payload: str) -> str:
    event = ast.literal_eval(payload) if payload.startswith("{'") else json.loads(payload)
    delta: dict[str, str] = event.get("contentBlockDelta", event).get("delta", {})
    return delta.get("text", "")


@pytest.mark.parametrize(("kind", "status", "message"), [
    ("429", 429, "Too many requests, please wait before trying again."),
    ("503", 503, "Model is getting throttled. Try your request again."),
    ("529", 529, "The model is overloaded."),
    ("500", 500, "The server had an error while processing the request."),
    ("content-filter", 400, "Output blocked by content filtering policy"),
    ("context-length", 400, "Input is too long for requested model."),
])  # fmt: skip
@pytest.mark.parametrize(("model", "subpath"), [(CLAUDE, "invoke"), (NOVA, "converse"), *STREAMS])
def test_a_refusal_has_amazons_shape(
    alpha: Tenant, model: str, subpath: str, kind: str, status: int, message: str
) -> None:
    """`message`, and nothing around it (wire §6.1)."""
    alpha.sim.set_fault(kind)
    answer = post(alpha, model, subpath)

    assert (status, {"message": message}) == (answer.status_code, answer.json())


@pytest.mark.parametrize(("model", "subpath"), [(CLAUDE, "invoke"), (NOVA, "converse"), *STREAMS])
def test_the_prompt_asks_for_a_fault(alpha: Tenant, model: str, subpath: str) -> None:
    """In both dialects."""
    assert 503 == post(alpha, model, subpath, "please [[fault:503]]").status_code


@pytest.mark.parametrize(
    ("kind", "words"), [("error-first", ""), ("error-frame", "größer"), ("throttled", "")]
)
@pytest.mark.parametrize(
    ("model", "subpath", "error"),
    [
        (CLAUDE, INVOKE, '{"type":"error","message":"ThrottlingException: exceeded token rate limit"}'),
        (NOVA, CONVERSE, "{'throttlingException': {'message': 'exceeded token rate limit'}}"),
    ],
)
def test_an_error_comes_inside_a_200(
    alpha: Tenant, model: str, subpath: str, error: str, kind: str, words: str
) -> None:
    """In the dialect's own form, before content or after it, and then the stream ends (wire §6.4, §9.7)."""
    alpha.sim.set_fault(kind)
    payloads, broken = received(alpha, model, subpath)

    assert (error, words, None) == (payloads[-1], said(payloads[:-1]), broken)


@pytest.mark.parametrize(("model", "subpath"), STREAMS)
def test_a_stream_is_cut(alpha: Tenant, model: str, subpath: str) -> None:
    """After two tokens, inside the body."""
    alpha.sim.set_fault("cut", arg=2)
    payloads, broken = received(alpha, model, subpath)

    assert ("größer als", httpx.RemoteProtocolError) == (said(payloads), broken)


@pytest.mark.parametrize(("model", "subpath", "terminator"), [
    (CLAUDE, INVOKE, "message_stop"), (NOVA, CONVERSE, "messageStop"),
])  # fmt: skip
def test_the_terminator_may_be_missing(alpha: Tenant, model: str, subpath: str, terminator: str) -> None:
    """All content and an orderly end of the body, but nothing that says it is complete."""
    complete, _ = received(alpha, model, subpath)
    alpha.sim.set_fault("no-done")
    payloads, broken = received(alpha, model, subpath)

    assert ("größer als b", None) == (said(payloads), broken)
    assert any(terminator in payload for payload in complete)
    assert not any(terminator in payload for payload in payloads)


@pytest.mark.parametrize(("model", "subpath"), STREAMS)
def test_a_malformed_frame_stands_among_good_ones(alpha: Tenant, model: str, subpath: str) -> None:
    """It is neither JSON nor Python."""
    alpha.sim.set_fault("malformed", arg=1)
    payloads, _ = received(alpha, model, subpath)
    (broken,) = [payload for payload in payloads if not payload.endswith("}")]

    assert "größer als b" == said([payload for payload in payloads if payload != broken])


@pytest.mark.parametrize("size", [1, 7, 50])
@pytest.mark.parametrize(("model", "subpath"), STREAMS)
def test_pieces_need_not_be_frames(alpha: Tenant, model: str, subpath: str, size: int) -> None:
    """`ragged` cuts inside lines and letters; together it is the same (wire §9.7)."""
    alpha.sim.set_fault("ragged", arg=size)
    raw = _chunks(alpha, model, subpath)

    assert {size} == {len(piece) for piece in raw[:-1]}
    assert "größer als b" == said(_payloads(b"".join(raw)))


def _chunks(tenant: Tenant, model: str, subpath: str) -> list[bytes]:
    """The chunks of a body as they were sent."""
    with tenant.client.stream("POST", f"{tenant.url(model)}/{subpath}", json=body(subpath)) as answer:
        return list(answer.iter_raw())


def test_an_embedded_text_asks_for_a_fault(alpha: Tenant) -> None:
    """Titan's prompt has another name."""
    url = f"{alpha.url('amazon--titan-embed-text')}/invoke"

    assert 429 == alpha.client.post(url, json={"inputText": "[[fault:429]]"}).status_code


def test_a_unary_200_may_hold_an_error(alpha: Tenant) -> None:
    """The status of success, and Amazon's message."""
    alpha.sim.set_fault("error-frame")
    answer = post(alpha, CLAUDE, "invoke")

    assert (200, True) == (answer.status_code, "message" in answer.text)


@pytest.mark.parametrize("model", [CLAUDE, "anthropic--claude-4.6-sonnet"])
def test_two_sub_accounts_have_a_claude(alpha: Tenant, beta: Tenant, model: str) -> None:
    """And a thought signed in one is taken in the other."""
    thinking = {**body("invoke"), "max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    first = alpha.client.post(f"{alpha.url(model)}/invoke", json=thinking).json()
    thinking["messages"] += [
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": "go on"},
    ]

    assert 200 == beta.client.post(f"{beta.url(model)}/invoke", json=thinking).status_code


@pytest.mark.parametrize("subpath", ["messages", "chat/completions", "invoke/x", "count_tokens"])
def test_other_paths_are_not_allowed(alpha: Tenant, subpath: str) -> None:
    """The allow-list (wire §4)."""
    assert 403 == post(alpha, CLAUDE, subpath).status_code
