"""The control plane's exchange: bounded, and open about dates in Retry-After."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import trustme

from services import control_plane
from services.control_plane import Answer, client_certificate, exchange, retry_after
from services.errors import UpstreamBroken
from tests.services.fakes import FakeClock, ScriptedHTTP


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


async def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes than any list needs are a fault, not a full memory."""
    monkeypatch.setattr(control_plane, "MAX_ANSWER_BYTES", 100)
    http = ScriptedHTTP(httpx.Response(200, content=b"x" * 101))

    with pytest.raises(UpstreamBroken, match="more than 100 bytes"):
        await exchange(
            http.client, http.client.build_request("GET", "https://api.example/"), sleep=FakeClock().sleep
        )
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
