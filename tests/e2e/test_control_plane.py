"""A sub-account whose token service or AI API is in trouble: what works goes on, what does not is told."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from perf.simulator.launch import CLIENT_KEY, Simulator
from tests.e2e import processes
from tests.e2e.bodies import CHAT, chat, within
from tests.e2e.conftest import Stack
from tests.e2e.gateway import Gateway

pytestmark = pytest.mark.e2e

HERS = "gpt-4.1-mini"
"""Runs in beta only."""
BOTH = "gpt-5"
NOBODY = "https://no-such-host.invalid"


@dataclass
class Odd:
    """A host that answers every request in the same odd way, or not at all."""

    reply: bytes | Callable[[str], bytes] | None
    """None says nothing; a function is given the request line."""
    port: int = 0
    scheme: str = "http"
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head.split("\r\n")[0])
            reply = self.reply
            if reply is None:
                await asyncio.Event().wait()
                return
            writer.write(reply if isinstance(reply, bytes) else reply(self.requests[-1]))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def odd_host(
    reply: bytes | Callable[[str], bytes] | None, *, untrusted: bool = False
) -> AsyncIterator[Odd]:
    """Listen on loopback; `untrusted` with a certificate that nobody knows."""
    context: ssl.SSLContext | None = None
    if untrusted:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    odd = Odd(reply, scheme="https" if untrusted else "http")
    server = await asyncio.start_server(odd.serve, "127.0.0.1", 0, ssl=context)
    odd.port = server.sockets[0].getsockname()[1]
    try:
        yield odd
    finally:
        server.close()


def answer(status: str, body: bytes, *head: str) -> bytes:
    """A whole answer in bytes, after which the connection is closed."""
    lines = "\r\n".join([f"HTTP/1.1 {status}", *head, f"content-length: {len(body)}", "connection: close"])
    return f"{lines}\r\n\r\n".encode() + body


def pointed(folder: Path, **key: Any) -> Path:
    """Write a configuration with static deployments whose beta has these values in its service key."""
    beta = folder / "beta.key.json"
    beta.write_text(json.dumps(json.loads(beta.read_text()) | key))
    return folder / "config.static.json"


@contextmanager
def gateway(tenant: Simulator, config: Path, *, workers: int = 2, **extra: Any) -> Iterator[Stack]:
    """Serve this configuration."""
    with Gateway(config, workers=workers, extra=extra) as started:
        yield Stack(tenant, started)


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Simulator]:
    """A tenant of one's own, its files in `tmp_path`."""
    with Simulator(write_config=tmp_path) as simulator:
        yield simulator


def details(client: httpx.Client) -> dict[str, Any]:
    """The health report for holders of a key."""
    report: dict[str, Any] = client.get("/health/details").json()
    return report


HTML = answer("200 OK", b"<html>Please log in</html>", "content-type: text/html")
LIMITED = answer("429 Too Many Requests", b"", "retry-after: 30")
DENIED = answer("401 Unauthorized", b'{"error":"invalid_client"}', "content-type: application/json")

# How the token service is odd → what the report says, and what the log says.
TROUBLES: dict[str, tuple[bytes | None, str, str]] = {
    "silent": (None, "no answer in time", "no answer"),
    "login page": (HTML, "its answer is not usable", "not a JSON object (text/html)"),
    "limited": (LIMITED, "its rate limit is reached", "answered 429"),
    "denied": (DENIED, "the credential is refused", "answered 401 invalid_client"),
    "certificate": (HTML, "its certificate is not accepted", "its certificate is not accepted: "),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_token_service_in_trouble(tenant: Simulator, tmp_path: Path, trouble: str) -> None:
    """The other sub-account serves at once, readiness counts the failing one and its key holders read why,
    callers read no address, and the service is asked a few times only."""
    reply, reason, told = TROUBLES[trouble]
    async with odd_host(reply, untrusted=trouble == "certificate") as odd:
        config = pointed(tmp_path, url=odd.url)
        seen = await asyncio.to_thread(_look_at, lambda: gateway(tenant, config))

    assert {200} == set(seen.statuses)
    assert seen.slowest < 1
    assert (200, 1) == (seen.ready.status_code, seen.ready.json()["failing"])
    assert (502, "No token for sub-account beta.") == (seen.hers.status_code, _message(seen.hers))
    assert ("missing", None) == (seen.beta["token"], seen.alpha["token_fault"])
    assert seen.beta["token_fault"] in (reason, "not here yet")
    assert told in seen.log
    assert odd.url in seen.log
    assert "127.0.0.1" not in seen.ready.text + seen.hers.text + json.dumps([seen.alpha, seen.beta])
    assert len(odd.requests) <= 2 * 7


@dataclass
class _Seen:
    statuses: list[int]
    slowest: float
    ready: httpx.Response
    hers: httpx.Response
    alpha: dict[str, Any]
    beta: dict[str, Any]
    log: str


def _look_at(start: Callable[[], Any]) -> _Seen:
    with start() as stack, stack.client() as client:
        hers = client.post(CHAT, json=chat(model=HERS))
        took, statuses = [], []
        for _ in range(20):
            since = time.monotonic()
            statuses.append(client.post(CHAT, json=chat(model="gpt-5-mini")).status_code)
            took.append(time.monotonic() - since)
        accounts = details(client)["sub_accounts"]
        ready = client.get("/health/ready")
        log = stack.gateway.log()
    return _Seen(statuses, max(took), ready, hers, accounts["alpha"], accounts["beta"], log)


def _message(answer: httpx.Response) -> str:
    message: str = answer.json()["error"]["message"]
    return message


def test_a_token_host_without_a_name(tenant: Simulator, tmp_path: Path) -> None:
    """Without DNS for it, the log names the host and nobody else does."""
    config = pointed(tmp_path, url=NOBODY)
    seen = _look_at(lambda: gateway(tenant, config, workers=1))

    assert ("its host name cannot be resolved", {200}) == (seen.beta["token_fault"], set(seen.statuses))
    assert f"{NOBODY}/oauth/token: its name cannot be resolved" in seen.log
    assert "invalid" not in seen.hers.text + seen.ready.text


@pytest.mark.parametrize("kind", ["html", "500", "reset"])
def test_half_of_the_discovery(tenant: Simulator, tmp_path: Path, kind: str) -> None:
    """One sub-account's list fails at the start: the other serves, the report says so, and when the AI API
    is back the gateway notices by itself."""
    tenant.set_fault(kind, plane="management", tenant="beta")
    with gateway(tenant, tmp_path / "config.json", workers=1) as stack, stack.client() as client:
        served = client.post(CHAT, json=chat(model=BOTH)).status_code
        alpha, beta = (details(client)["sub_accounts"][name] for name in ("alpha", "beta"))
        ready = client.get("/health/ready").json()
        tenant.clear_faults()

        assert (200, "ok", 1) == (served, ready["status"], ready["failing"])
        assert (None, True) == (alpha["discovery_fault"], bool(beta["discovery_fault"]))
        assert within(12, lambda: client.post(CHAT, json=chat(model=HERS)).status_code == 200)
        assert within(2, lambda: client.get("/health/ready").json()["failing"] == 0)


def test_a_list_that_is_not_renewed_still_serves(tenant: Simulator, tmp_path: Path) -> None:
    """All renewals fail and the list gets old: every model is served from it."""
    with (
        gateway(tenant, tmp_path / "config.json", workers=1, discovery={"refresh_seconds": 1}) as stack,
        stack.client() as client,
    ):
        tenant.set_fault("html", plane="management")
        assert within(5, lambda: client.get("/health/ready").json()["failing"] == 2)
        statuses = {client.post(CHAT, json=chat(model=model)).status_code for model in (BOTH, HERS)}
        report = details(client)

    assert ({200}, "ok") == (statuses, report["status"])
    assert "failing" == report["sub_accounts"]["alpha"]["discovery"]


def test_a_caller_who_waits_for_a_token_may_leave(tmp_path: Path) -> None:
    """The token service has gone silent and the token is over: who hangs up is let go at once, who stays is
    told in bounded time, and the silent service is not stormed."""
    with (
        Simulator("--token-lifetime", "2", "--tenants", "1", write_config=tmp_path) as tenant,
        gateway(tenant, tmp_path / "config.json", workers=1) as stack,
        stack.client() as client,
    ):
        tenant.set_fault("silence", plane="oauth")
        time.sleep(2.2)
        for number in range(10):
            _leave_after(stack, 0.1, name=f"left-{number}")
        noticed = within(0.5, lambda: len(_lines(stack, "left-")) == 10)
        since = time.monotonic()
        stayed = client.post(CHAT, json=chat())
        waited = time.monotonic() - since
        fetches = tenant.stats()["management"].get("POST /oauth/token", 0)

    assert {"caller_left"} == {line["code"] for line in _lines(stack, "left-")}
    assert noticed
    assert (502, True) == (stayed.status_code, waited < 11)
    assert fetches <= 10


def _leave_after(stack: Stack, seconds: float, *, name: str) -> None:
    data = json.dumps(chat()).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {CLIENT_KEY}\r\n"
        f"X-Request-Id: {name}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.gateway.port), timeout=10) as connection:
        connection.sendall(head.encode() + data)
        time.sleep(seconds)


def _lines(stack: Stack, prefix: str) -> list[dict[str, Any]]:
    return [line for line in stack.gateway.requests() if line["request_id"].startswith(prefix)]


async def test_a_deployment_with_another_certificate(tenant: Simulator, tmp_path: Path) -> None:
    """The data plane's log names the host and what is wrong; the caller reads neither; `check` says both,
    and what to do."""
    async with odd_host(HTML, untrusted=True) as odd:
        document = json.loads((tmp_path / "config.json").read_text())
        url = f"{odd.url}/v2/inference/deployments/d0dd"
        document["subAccounts"]["alpha"]["deployment_models"] = {"gpt-4o": [url]}
        config = tmp_path / "odd.json"
        config.write_text(json.dumps(document))

        def ask() -> tuple[httpx.Response, str]:
            with gateway(tenant, config, workers=1) as stack, stack.client() as client:
                return client.post(CHAT, json=chat(model="gpt-4o")), stack.gateway.log()

        asked, log = await asyncio.to_thread(ask)
        steps = await asyncio.to_thread(_check, config)
        place = f"127.0.0.1:{odd.port}"

    assert (502, "upstream_unreachable") == (asked.status_code, asked.json()["error"]["code"])
    assert "127.0.0.1" not in asked.text
    assert f"no connection to {place}" in log
    assert "certificate verify failed" in log
    step = steps["alpha", "model gpt-4o"]
    assert (False, True, True) == (step["ok"], place in step["text"], "SSL_CERT_FILE" in step["advice"])


def _check(config: Path) -> dict[tuple[str, str], dict[str, Any]]:
    done = processes.run("check", "--json", "--config", str(config), cwd=config.parent)
    assert 1 == done.returncode, done.stderr
    return {(step["sub_account"], step["name"]): step for step in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("trouble", "advice"),
    [
        ("login page", "check the URL"),
        ("limited", "wait"),
        ("denied", "compare the service key with a new one"),
        ("certificate", "SSL_CERT_FILE"),
        ("name", "DNS"),
    ],
)
async def test_check_explains_a_token_service_in_trouble(
    tenant: Simulator, tmp_path: Path, trouble: str, advice: str
) -> None:
    """The step names the host or the status, and what to do; what needs the token is not tried, and the other
    sub-account's steps work."""
    reply, _, told = TROUBLES.get(trouble, (HTML, "", "its name cannot be resolved"))
    async with odd_host(reply, untrusted=trouble == "certificate") as odd:
        config = pointed(tmp_path, url=NOBODY if trouble == "name" else odd.url)
        steps = await asyncio.to_thread(_check, config)
    token = steps["beta", "token"]

    assert (False, True, True) == (token["ok"], told in token["text"], advice in token["advice"])
    assert (None, None) == (steps["beta", "deployments"]["ok"], steps["beta", f"model {HERS}"]["ok"])
    assert (True, True) == (steps["alpha", "token"]["ok"], steps["alpha", "model gpt-5-mini"]["ok"])


async def test_check_of_half_a_list(tenant: Simulator, tmp_path: Path) -> None:
    """The step says how many were found and why not all; those that were found are tried."""
    found = {**tenant.deployments("gpt-5-mini")[0], "executableId": "azure-openai"}
    found |= {"deploymentUrl": found["url"], "configurationId": "c-1", "details": _details("gpt-5-mini")}
    page = answer("200 OK", json.dumps({"count": 2, "resources": [found]}).encode())

    def pages(line: str) -> bytes:
        return page if "skip=0" in line else answer("403 Forbidden", b"RBAC: access denied")

    async with odd_host(pages) as odd:
        key = json.loads((tmp_path / "alpha.key.json").read_text()) | {"serviceurls": {"AI_API_URL": odd.url}}
        (tmp_path / "alpha.key.json").write_text(json.dumps(key))
        steps = await asyncio.to_thread(_check, tmp_path / "config.json")
    listed = steps["alpha", "deployments"]

    assert (False, True) == (listed["ok"], "1 running, but not all could be read" in listed["text"])
    assert "RBAC: access denied" in listed["text"]
    assert steps["alpha", "model gpt-5-mini"]["ok"]


def _details(model: str) -> dict[str, Any]:
    return {"resources": {"backendDetails": {"model": {"name": model, "version": "latest"}}}}
