"""OpenAI's SDK through real nginx with TLS, before two gateways of two workers."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e.bodies import CHAT, chat, events, said, within
from tests.e2e.gateway import Gateway
from tests.e2e.nginx_server import NginxServer, nginx_server

pytestmark = pytest.mark.e2e

HELLO: Any = [{"role": "user", "content": "echo: hello there, you"}]


@dataclass(frozen=True)
class Front:
    """nginx, the gateways behind it, and the tenant behind these."""

    nginx: NginxServer
    gateways: tuple[Gateway, Gateway]
    tenant: Simulator

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.nginx.https_url,
            verify=self.nginx.ssl_context(),
            headers={"authorization": f"Bearer {CLIENT_KEY}"},
            timeout=20,
            trust_env=False,
        )

    def openai(self, **options: Any) -> OpenAI:
        http = httpx2.Client(verify=self.nginx.ssl_context(), trust_env=False)
        return OpenAI(
            base_url=f"{self.nginx.https_url}/v1",
            api_key=CLIENT_KEY,
            max_retries=0,
            http_client=http,
            **options,
        )


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    with ExitStack() as opened:
        tenant = opened.enter_context(Simulator(write_config=folder))
        gateways = tuple(opened.enter_context(Gateway(folder / "config.json", workers=2)) for _ in range(2))
        addresses = [f"127.0.0.1:{gateway.port}" for gateway in gateways]
        nginx = opened.enter_context(nginx_server(folder / "nginx", *addresses))
        yield Front(nginx, (gateways[0], gateways[1]), tenant)


@pytest.fixture
def front(started: Front) -> Front:
    started.tenant.reset()
    return started


def test_a_whole_answer_through_tls(front: Front) -> None:
    """The SDK gets its answer, with the gateway's heads and the request's id."""
    with front.openai() as sdk:
        raw = sdk.chat.completions.with_raw_response.create(
            model="gpt-5", messages=HELLO, extra_headers={"x-request-id": "through-tls"}
        )

    assert "hello there, you" == raw.parse().choices[0].message.content
    assert "through-tls" == raw.headers["x-request-id"]
    assert {"x-aicore-deployment", "x-aicore-sub-account", "x-aicore-overhead-ms"} <= set(raw.headers)


def test_a_stream_through_tls_comes_in_pieces(front: Front) -> None:
    """Events arrive while the upstream still writes: nothing is held back on the way."""
    front.tenant.set_pace(chunk_interval_ms=30)
    arrivals = []
    with front.openai() as sdk:
        messages: Any = [{"role": "user", "content": "[[tokens:30]]"}]
        for chunk in sdk.chat.completions.create(model="gpt-4.1", messages=messages, stream=True):
            assert chunk.choices
            arrivals.append(time.monotonic())

    assert len(arrivals) > 25
    assert arrivals[-1] - arrivals[0] > 0.6


async def test_the_asynchronous_sdk_through_tls(front: Front) -> None:
    """Whole and streamed."""
    http = httpx2.AsyncClient(verify=front.nginx.ssl_context(), trust_env=False)
    async with AsyncOpenAI(
        base_url=f"{front.nginx.https_url}/v1", api_key=CLIENT_KEY, max_retries=0, http_client=http
    ) as sdk:
        whole = await sdk.chat.completions.create(model="gpt-5", messages=HELLO)
        stream = await sdk.chat.completions.create(model="gpt-5", messages=HELLO, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert "hello there, you" == whole.choices[0].message.content == text


def test_embeddings_through_tls(front: Front) -> None:
    """Vectors too."""
    with front.openai() as sdk:
        answer = sdk.embeddings.create(model="text-embedding-3-small", input=["one", "two"])

    assert [1536, 1536] == [len(one.embedding) for one in answer.data]


def test_errors_through_tls_are_the_gateways(front: Front) -> None:
    """A fault of the upstream is the SDK's exception with the gateway's own words."""
    messages: Any = [{"role": "user", "content": "[[fault:429:7]]"}]
    with front.openai() as sdk, pytest.raises(openai.RateLimitError) as caught:
        sdk.chat.completions.create(model="qwen3-max", messages=messages)

    assert ("7", "rate_limit_exceeded") == (
        caught.value.response.headers["retry-after"],
        caught.value.code,
    )


def test_both_gateways_serve(front: Front) -> None:
    """nginx spreads the requests; every answer is right."""
    marks = [f"spread-{number}" for number in range(40)]
    with front.client() as client:
        statuses = {
            client.post(CHAT, json=chat(), headers={"x-request-id": mark}).status_code for mark in marks
        }

    def shares() -> list[int]:
        return [
            sum(line["request_id"].startswith("spread-") for line in gateway.requests())
            for gateway in front.gateways
        ]

    assert {200} == statuses
    assert within(2, lambda: sum(shares()) == 40)
    assert all(share >= 5 for share in shares()), shares()


def test_leaving_through_tls_closes_the_upstream(front: Front) -> None:
    """A caller who hangs up at nginx ends the call at the upstream within a second."""
    front.tenant.set_pace(chunk_interval_ms=50)
    body = chat("[[tokens:600]]", stream=True)
    with front.client() as client, client.stream("POST", CHAT, json=body) as answer:
        assert next(answer.iter_lines())

    assert within(1, lambda: front.tenant.stats()["cancelled_streams"] == 1)


def test_a_gateway_may_restart_under_load(front: Front) -> None:
    """One of two gateways ends while streams run: no request and no stream is lost."""
    front.tenant.set_pace(chunk_interval_ms=10)
    over = threading.Event()
    failures: list[str] = []
    served: list[int] = []

    def call(stream: bool) -> None:
        with front.client() as client:
            while not over.is_set():
                try:
                    answer = client.post(CHAT, json=chat("[[tokens:30]]", stream=stream))
                    whole = answer.status_code == 200 and (not stream or events(answer.text)[-1] == "[DONE]")
                except httpx.HTTPError as exc:
                    failures.append(repr(exc))
                    return
                if not whole or (stream and not said(events(answer.text))):
                    failures.append(answer.text)
                served.append(answer.status_code)

    callers = [threading.Thread(target=call, args=(number % 2 == 0,)) for number in range(6)]
    for caller in callers:
        caller.start()
    try:
        time.sleep(0.5)
        status = front.gateways[1].stop(signal.SIGTERM)
        time.sleep(0.5)
        front.gateways[1].start()
        time.sleep(0.5)
    finally:
        over.set()
        for caller in callers:
            caller.join()

    assert 0 == status
    assert [] == failures
    assert len(served) > 30
