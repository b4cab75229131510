"""The control plane's exchange: bounded, and open about dates in Retry-After."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import trustme

from services import control_plane
from services.control_plane import Answer, client_certificate, exchange, retry_after
from services.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from tests.services.fakes import FakeClock, ScriptedHTTP, SkippingClock


def ask(http: ScriptedHTTP) -> httpx.Request:
    """A request to the scripted service."""
    return http.client.build_request("GET", "https://api.example/v2/lm/deployments?$top=1")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("", None), ("soon", None), ("-1", None), ("1.2.3", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    """Digits count, anything else is as good as nothing."""
    assert seconds == retry_after(httpx.Headers({"retry-after": value}))


def test_retry_after_as_a_date() -> None:
    """A date in the future is turned into the seconds until then."""
    header = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)

    assert pytest.approx(retry_after({"retry-after": header}), abs=2) == 60


def test_retry_after_in_the_past() -> None:
    """A date gone by means at once."""
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}) == 0


async def test_an_endless_answer_is_cut() -> None:
    """More bytes than any list needs are a fault, not a full memory."""
    http = ScriptedHTTP(httpx.Response(200, content=b"x" * 101))

    with pytest.raises(UpstreamBroken, match="more than 100 bytes"):
        await exchange(http.client, ask(http), sleep=FakeClock().sleep, max_bytes=100)
    await http.client.aclose()


async def test_the_query_stays_out_of_error_texts() -> None:
    """A fault names host and path only."""
    http = ScriptedHTTP(httpx.TooManyRedirects("round and round"))

    with pytest.raises(UpstreamBroken) as caught:
        await exchange(http.client, http.client.build_request("GET", "https://api.example/a?b=c"))
    await http.client.aclose()

    assert str(caught.value) == "GET https://api.example/a: TooManyRedirects round and round"


def test_an_answers_text_is_one_short_line() -> None:
    """Whatever a gateway in between answers fits a log line."""
    answer = Answer(502, httpx.Headers(), b"<html>\n  <h1>Bad \xff</h1>" + b"x" * 1000)

    assert answer.text(28) == "<html> <h1>Bad \ufffd</h1>xxxxxxx"


def test_a_certificate_needs_no_disk(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Where the system has memory files, the private key is never written to a directory."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    mine = trustme.CA().issue_cert("client@example.org")

    client_certificate(mine.cert_chain_pems[0].bytes().decode(), mine.private_key_pem.bytes().decode())


def test_a_certificates_file_is_removed_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Elsewhere the file is private, and gone when the certificate is loaded."""
    monkeypatch.delattr("os.memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine = trustme.CA().issue_cert("client@example.org")
    client_certificate(mine.cert_chain_pems[0].bytes().decode(), mine.private_key_pem.bytes().decode())

    assert list(tmp_path.iterdir()) == []


async def test_clients_without_a_certificate_share_the_trust_store() -> None:
    """Reading the authorities costs tens of milliseconds; a worker does it once."""
    made: list[object] = []
    for _ in range(2):
        async with control_plane.open_client() as client:
            made.append(client._transport._pool._ssl_context)

    assert made[0] is made[1]


async def tried(http: ScriptedHTTP, clock: FakeClock, **bounds: float) -> Answer:
    """One exchange, without jitter."""
    try:
        return await exchange(http.client, ask(http), sleep=clock.sleep, jitter=lambda: 0.0, **bounds)
    finally:
        await http.client.aclose()


async def test_a_pause_that_does_not_fit_is_not_begun() -> None:
    """A service that asks for more time than there is gets its answer told, not a time-out."""
    clock, http = FakeClock(), ScriptedHTTP(httpx.Response(429, headers={"retry-after": "20"}))
    waiting = asyncio.ensure_future(tried(http, clock))
    await clock.advance(25)

    assert 429 == (await waiting).status
    assert [20] == clock.slept


async def test_a_time_out_tells_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try's failure is the better hint."""
    monkeypatch.setattr(control_plane, "FIRST_DELAY_SECONDS", 0.001)
    http = ScriptedHTTP()

    def then_hang(request: httpx.Request) -> httpx.Response:
        http.gate.clear()
        return httpx.Response(503)

    http.replies = [then_hang]
    with pytest.raises(UpstreamTimeout, match=r"no answer within 0.05 s; before that: answered 503"):
        await tried(http, SkippingClock(), total_seconds=0.05)


async def test_an_untrusted_certificate_is_final() -> None:
    """The same certificate would be shown again: one try, and the log says what is wrong with it."""
    refusal = httpx.ConnectError("no")
    refusal.__cause__ = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refusal.__cause__.verify_message, refusal.__cause__.verify_code = "certificate has expired", 10
    http = ScriptedHTTP(refusal)

    with pytest.raises(UpstreamUnreachable, match="its certificate is not accepted: certificate has expired"):
        await tried(http, FakeClock())
    assert 1 == len(http.requests)


async def test_no_cookie_is_kept() -> None:
    """Sub-accounts share a host, so what one is given must not be sent for another."""
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("cookie"))
        return httpx.Response(200, headers={"set-cookie": "session=alpha; Path=/"})

    client = control_plane.open_client()
    client._transport = httpx.MockTransport(answer)
    client._mounts = {}
    for _ in range(2):
        await client.get("https://api.example/")
    await client.aclose()

    assert [None, None] == seen


async def test_hanging_tenants_do_not_use_up_the_connections() -> None:
    """However many requests hang, another one finds a connection."""
    gone, all_hang = asyncio.Event(), asyncio.Event()
    waiting = 0

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        line = await reader.readline()
        if b"/quick" in line:
            writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        else:
            waiting += 1
            if waiting == len(hanging):
                all_hang.set()
            await gone.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    place = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with control_plane.open_client() as client:
        hanging = [asyncio.ensure_future(client.get(f"{place}/silent")) for _ in range(40)]
        async with asyncio.timeout(10):
            await all_hang.wait()
            quick = await client.get(f"{place}/quick")
        for one in hanging:
            one.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    gone.set()
    server.close()

    assert 204 == quick.status_code


@pytest.mark.parametrize("date", ["Wed, 21 Oct 2015 07:27:00 GMT", "Wed, 21 Oct 2015 09:27:00 +0200"])
def test_retry_after_as_a_date_needs_no_right_clock(date: str) -> None:
    """It is compared with the answer's own Date: this machine's clock may be years ahead."""
    assert 60 == retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": date})
