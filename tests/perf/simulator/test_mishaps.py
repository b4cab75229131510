"""Every fault, as a client sees it."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.perf.simulator.conftest import Tenant, frames, said

QUICK = httpx.Timeout(5, read=0.4)


@pytest.fixture
def quick(alpha: Tenant) -> Tenant:
    """A tenant whose client soon gives up reading."""
    alpha.client.timeout = QUICK
    return alpha


STATUSES = {
    "429": 429, "500": 500, "503": 503, "504": 504, "529": 529, "408": 408, "401": 401, "403": 403,
    "404": 404, "413": 413, "html": 502, "content-filter": 400, "context-length": 400, "empty": 200,
    "revoke": 401,
}  # fmt: skip


@pytest.mark.parametrize("kind", STATUSES)
def test_a_status_replaces_the_answer(alpha: Tenant, kind: str) -> None:
    """Once, and then the model answers again, unless its tokens are gone."""
    alpha.sim.set_fault(kind, model="gpt-5", times=1)

    assert STATUSES[kind] == alpha.chat().status_code
    assert (401 if kind == "revoke" else 200) == alpha.chat().status_code


@pytest.mark.parametrize(("arg", "expected"), [(None, None), (7, "7")])
def test_retry_after_is_sent_when_asked_for(alpha: Tenant, arg: int | None, expected: str | None) -> None:
    """429 with and without."""
    alpha.sim.set_fault("429", arg=arg)

    assert expected == alpha.chat().headers.get("retry-after")


def test_a_content_filter_names_its_categories(alpha: Tenant) -> None:
    """Azure's shape (wire §6.3)."""
    alpha.sim.set_fault("content-filter")
    error = alpha.chat().json()["error"]

    assert ("content_filter", "ResponsibleAIPolicyViolation") == (error["code"], error["innererror"]["code"])


def test_a_family_gives_its_own_shape(alpha: Tenant) -> None:
    """Mistral's 429 is not wrapped in `error`."""
    alpha.sim.set_fault("429")

    assert "error" == alpha.chat("mistralai--mistral-small").json()["object"]


def test_a_reset_comes_before_any_byte(alpha: Tenant) -> None:
    """RST, not an orderly end."""
    alpha.sim.set_fault("reset")
    with pytest.raises(httpx.ReadError):
        alpha.chat()


@pytest.mark.parametrize("stream", [False, True])
def test_silence_is_silent(quick: Tenant, stream: bool) -> None:
    """Not even a head."""
    quick.sim.set_fault("silence")
    with pytest.raises(httpx.ReadTimeout):
        quick.chat(stream=stream)


def test_slow_delays_the_head(quick: Tenant) -> None:
    """By so many seconds."""
    quick.sim.set_fault("slow", arg=0.2)
    began = time.monotonic()
    answer = quick.chat()

    assert (200, True) == (answer.status_code, time.monotonic() - began >= 0.2)


def test_slow_token_delays_only_the_content(alpha: Tenant) -> None:
    """The opening frames are there long before."""
    alpha.sim.set_fault("slow-token", arg=0.3)
    body = {"messages": [{"role": "user", "content": "echo: hi"}], "stream": True}
    url = alpha.url("gpt-5") + "/chat/completions?api-version=2025-04-01-preview"
    times = []
    with alpha.client.stream("POST", url, json=body) as answer:
        for _ in answer.iter_raw():
            times.append(time.monotonic())

    assert times[-1] - times[0] >= 0.25


def partial(tenant: Tenant, model: str = "gpt-5") -> tuple[str, type[Exception] | None]:
    """What arrives of a stream before it breaks, and how it breaks."""
    body = {"model": model, "messages": [{"role": "user", "content": "echo: a b c d"}], "stream": True}
    url = tenant.url(model) + "/chat/completions?api-version=2025-04-01-preview"
    seen = b""
    with tenant.client.stream("POST", url, json=body) as answer:
        try:
            for piece in answer.iter_raw():
                seen += piece
        except httpx.HTTPError as error:
            return seen.decode(), type(error)
    return seen.decode(), None


def test_a_cut_stream_breaks_after_n_frames(alpha: Tenant) -> None:
    """Two tokens, then the connection is closed inside the body."""
    alpha.sim.set_fault("cut", arg=2)
    text, broken = partial(alpha)

    assert ("a b", httpx.RemoteProtocolError) == (said(frames(text)), broken)


def test_a_stalled_stream_stays_open(quick: Tenant) -> None:
    """Two tokens, then nothing."""
    quick.sim.set_fault("stall", arg=2)
    text, broken = partial(quick)

    assert ("a b", httpx.ReadTimeout) == (said(frames(text)), broken)


def test_a_malformed_frame_stands_among_good_ones(alpha: Tenant) -> None:
    """Broken JSON after one token; the rest follows."""
    alpha.sim.set_fault("malformed", arg=1)
    text, _ = partial(alpha)
    broken = '{"choices":[{"delta":{"content":"bro'

    assert 1 == text.count(f"data: {broken}\n\n")
    assert "a b c d" == said(frames(text.replace(f"data: {broken}\n\n", "")))


def test_the_terminator_may_be_missing(alpha: Tenant) -> None:
    """Everything but `[DONE]`, and an orderly end."""
    alpha.sim.set_fault("no-done")
    text, broken = partial(alpha)

    assert ("stop", None) == (frames(text)[-1]["choices"][0]["finish_reason"], broken)


@pytest.mark.parametrize(("kind", "content"), [("error-first", ""), ("error-frame", "a")])
@pytest.mark.parametrize("model", ["gpt-5", "mistralai--mistral-small"])
def test_an_error_may_come_inside_a_200(alpha: Tenant, kind: str, content: str, model: str) -> None:
    """Before any content, or after some; in both families, and without `[DONE]`."""
    alpha.sim.set_fault(kind)
    events = frames(partial(alpha, model)[0])

    assert "exceeded token rate limit" == events[-1]["error"]["message"]
    assert content == said(events)


@pytest.mark.parametrize("kind", ["cut", "short-body"])
def test_a_unary_body_may_be_short(alpha: Tenant, kind: str) -> None:
    """Fewer bytes than announced."""
    alpha.sim.set_fault(kind)
    with pytest.raises(httpx.RemoteProtocolError):
        alpha.chat()


def test_a_unary_body_may_stall(quick: Tenant) -> None:
    """Half of it, then nothing."""
    quick.sim.set_fault("stall")
    with pytest.raises(httpx.ReadTimeout):
        quick.chat()


@pytest.mark.parametrize("kind", ["malformed", "error-frame", "error-first"])
def test_a_unary_200_may_be_no_answer(alpha: Tenant, kind: str) -> None:
    """Broken JSON, or an error with the status of success."""
    alpha.sim.set_fault(kind)
    answer = alpha.chat()

    assert 200 == answer.status_code
    assert kind == "malformed" or "error" in answer.json()


def test_no_done_leaves_a_unary_answer_alone(alpha: Tenant) -> None:
    """There is no terminator to leave out."""
    alpha.sim.set_fault("no-done")

    assert "hello there" == alpha.chat().json()["choices"][0]["message"]["content"]


def test_the_header_asks_for_one_request(alpha: Tenant) -> None:
    """`x-sim-fault`."""
    alpha.client.headers["x-sim-fault"] = "429:3"
    answer = alpha.chat()
    del alpha.client.headers["x-sim-fault"]

    assert (429, "3", 200) == (answer.status_code, answer.headers["retry-after"], alpha.chat().status_code)


def test_the_prompt_asks_for_one_request(alpha: Tenant) -> None:
    """What a gateway cannot filter out."""
    assert 503 == alpha.chat(said="please [[fault:503]]").status_code


def test_an_unknown_kind_is_named(alpha: Tenant) -> None:
    """A mistyped fault must not pass for a working one."""
    answer = alpha.chat(said="[[fault:nonsense]]")

    assert (400, True) == (answer.status_code, "nonsense" in answer.text)


@pytest.mark.parametrize(("plane", "path"), [("management", "/v2/lm/deployments"), ("oauth", "/oauth/token")])
def test_other_planes_fail_on_demand(alpha: Tenant, plane: str, path: str) -> None:
    """So that a gateway can be seen to live on what it knows."""
    alpha.sim.set_fault("500", plane=plane)

    assert 500 == alpha.client.request("POST" if plane == "oauth" else "GET", path).status_code
    assert 200 == alpha.chat().status_code


def test_a_client_that_leaves_is_noticed(alpha: Tenant) -> None:
    """The stream counts as cancelled, with the time and the frames sent."""
    alpha.sim.set_pace(chunk_interval_ms=10, answer_tokens=1000)
    url = alpha.url("gpt-5") + "/chat/completions?api-version=2025-04-01-preview"
    body = {"messages": [{"role": "user", "content": "go on"}], "stream": True}
    with alpha.client.stream("POST", url, json=body) as answer:
        pieces = answer.iter_raw()  # kept: a forgotten iterator closes the connection
        next(pieces)
        during = alpha.sim.stats()["in_flight"]
    left = time.time()
    deadline = time.monotonic() + 5
    while not (cancelled := alpha.sim.stats()["cancelled"]) and time.monotonic() < deadline:
        pass

    assert 1 == during
    assert 0 < cancelled[0]["frames_sent"] < 1000
    assert abs(cancelled[0]["at"] - left) < 1
