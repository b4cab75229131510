"""OAuth tokens: one fetch for all, renewed ahead, kept while renewal fails (wire §2)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from urllib.parse import parse_qs

import httpx
import pytest
import trustme

from services import control_plane
from services.causes import cause_of
from services.errors import CredentialError
from services.tokens import FORCED_REFRESHES, TokenProvider
from tests.services.fakes import FakeClock, ScriptedHTTP, SkippingClock, credential, settle


def granted(text: str = "token-1", expires_in: object = 43199) -> httpx.Response:
    """A token, as the service grants it."""
    return httpx.Response(200, json={"access_token": text, "token_type": "bearer", "expires_in": expires_in})


def numbered(lifetime: float = 1000) -> Callable[[httpx.Request], httpx.Response]:
    """Grant a new token at every request: t1, t2, …"""
    numbers = itertools.count(1)
    return lambda request: granted(f"t{next(numbers)}", lifetime)


@pytest.fixture
async def closing() -> AsyncIterator[contextlib.AsyncExitStack]:
    """Close clients and providers at the end."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def provide(closing: contextlib.AsyncExitStack) -> Callable[..., TokenProvider]:
    """Make providers on scripted HTTP."""

    def make(http: ScriptedHTTP, clock: FakeClock, *, jitter: float = 0.0, **fields: object) -> TokenProvider:
        bounds = {name: fields.pop(name) for name in [*fields] if name.endswith("_seconds")}
        provider = TokenProvider(
            credential(**fields),
            http=http.client,
            clock=clock,
            sleep=clock.sleep,
            jitter=lambda: jitter,
            **bounds,
        )
        closing.push_async_callback(http.client.aclose)
        closing.push_async_callback(provider.close)
        return provider

    return make


async def failure(provider: TokenProvider) -> CredentialError:
    """The error that a caller gets."""
    with pytest.raises(CredentialError) as caught:
        await provider.get()
    return caught.value


async def test_the_form_carries_all_three_parameters(provide) -> None:
    """Client id and secret are form-encoded in the body, not in a header (trap 48)."""
    http = ScriptedHTTP(granted())

    assert await provide(http, FakeClock()).get() == "token-1"
    assert parse_qs(http.requests[0].content.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["sb-1!b123|aicore!b540"],
        "client_secret": ["s3cret$x="],
    }
    assert "authorization" not in http.requests[0].headers


async def test_a_certificate_replaces_the_secret_in_the_form(provide) -> None:
    """An X.509 credential sends its client id only (trap 48)."""
    http = ScriptedHTTP(granted())

    await provide(http, FakeClock(), client_secret=None, cert_pem="c", key_pem="k").get()

    assert {"grant_type", "client_id"} == set(parse_qs(http.requests[0].content.decode()))


async def test_two_hundred_callers_cause_one_fetch(provide) -> None:
    """Concurrent first callers share one request and one token."""
    http = ScriptedHTTP(numbered())
    provider = provide(http, FakeClock())
    http.gate.clear()
    callers = [asyncio.ensure_future(provider.get()) for _ in range(200)]
    await settle()
    http.gate.set()

    assert {"t1"} == set(await asyncio.gather(*callers))
    assert len(http.requests) == 1


async def test_current_is_none_before_the_first_fetch(provide) -> None:
    """Without a token there is nothing to use at once."""
    assert provide(ScriptedHTTP(granted()), FakeClock()).current() is None


async def test_a_fresh_token_costs_no_request(provide) -> None:
    """Later callers get the token that is there."""
    http = ScriptedHTTP(numbered())
    provider = provide(http, FakeClock())
    await provider.get()

    assert (provider.current(), await provider.get()) == ("t1", "t1")
    assert len(http.requests) == 1


async def test_a_caller_who_leaves_does_not_cancel_the_fetch(provide) -> None:
    """The one who asked first goes; the second still gets the token of the same request."""
    http = ScriptedHTTP(numbered())
    provider = provide(http, FakeClock())
    http.gate.clear()
    first, second = (asyncio.ensure_future(provider.get()) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    http.gate.set()

    assert await second == "t1"
    assert len(http.requests) == 1


@pytest.mark.parametrize(
    ("lifetime", "jitter", "seconds"),
    [(43199, 0.0, 42899), (1000, 0.0, 900), (1000, 1.0, 850), (10, 0.0, 9)],
)
async def test_the_token_is_renewed_ahead(provide, lifetime: float, jitter: float, seconds: float) -> None:
    """At min(300 s, a tenth of the lifetime) before expiry, or up to half of that earlier (trap 48)."""
    clock = FakeClock()
    provider = provide(ScriptedHTTP(numbered(lifetime)), clock, jitter=jitter)
    await provider.get()
    await clock.advance(seconds - 0.01)
    before = provider.current()
    await clock.advance(0.02)

    assert (before, provider.current()) == ("t1", "t2")


async def test_a_renewal_does_not_make_callers_wait(provide) -> None:
    """While the renewal hangs, the old token is handed out."""
    clock, http = FakeClock(), ScriptedHTTP(numbered(1000))
    provider = provide(http, clock)
    await provider.get()
    http.gate.clear()
    await clock.advance(905)

    assert (len(http.requests), await provider.get()) == (2, "t1")


async def test_a_valid_token_stays_while_renewal_fails(provide) -> None:
    """A refused renewal leaves the token in use, and its failure in the state."""
    clock = FakeClock()
    provider = provide(ScriptedHTTP(granted("t1", 1000), httpx.Response(401)), clock)
    await provider.get()
    await clock.advance(950)

    assert (provider.current(), provider.state().ready) == ("t1", True)
    assert provider.state().reason == "the credential is refused"


async def test_failed_renewals_are_tried_again_with_growing_pauses(provide) -> None:
    """1, 2, 4 … seconds, never more than 30."""
    clock = FakeClock()
    provider = provide(ScriptedHTTP(granted("t1", 10_000), httpx.Response(401)), clock)
    await provider.get()
    await clock.advance(9_700 + 130)

    assert clock.slept[1:9] == [1, 2, 4, 8, 16, 30, 30, 30]


async def test_the_provider_recovers_by_itself(provide) -> None:
    """When the token service is back, no caller is needed to notice."""
    clock = FakeClock()
    provider = provide(ScriptedHTTP(httpx.Response(401), granted("t2")), clock)
    await failure(provider)
    await clock.advance(1.1)

    assert provider.current() == "t2"


async def test_an_expired_token_is_never_handed_out(provide) -> None:
    """After expiry callers get the failure, not the old token."""
    clock = FakeClock()
    provider = provide(ScriptedHTTP(granted("t1", 100), httpx.Response(401)), clock)
    await provider.get()
    await clock.advance(101)

    assert provider.current() is None
    assert "401" in str(await failure(provider))


async def test_a_lifetime_counts_from_the_request(provide) -> None:
    """Seconds that the answer took are not added to the token's life."""
    clock, http = FakeClock(), ScriptedHTTP(granted("t1", 100))
    provider = provide(http, clock)
    http.gate.clear()
    caller = asyncio.ensure_future(provider.get())
    await settle()
    clock.now += 20
    http.gate.set()
    await caller

    assert provider.state().expires_in_seconds == 80


async def test_a_refused_token_is_replaced_once(provide) -> None:
    """A hundred requests that saw the same 401 cause one new fetch (trap 22)."""
    http = ScriptedHTTP(numbered())
    provider = provide(http, FakeClock())
    await provider.get()

    assert {True} == {provider.invalidate("t1") for _ in range(100)}
    assert {"t2"} == set(await asyncio.gather(*(provider.get() for _ in range(100))))
    assert len(http.requests) == 2


async def test_a_late_complaint_leaves_the_new_token_alone(provide) -> None:
    """Only the token that failed is dropped (trap 22)."""
    http = ScriptedHTTP(numbered())
    provider = provide(http, FakeClock())
    await provider.get()
    provider.invalidate("t1")
    await provider.get()
    provider.invalidate("t1")

    assert provider.current() == "t2"


async def test_an_upstream_that_refuses_every_token_causes_no_storm(provide) -> None:
    """A second forced fetch within a second is denied, a later one is not."""
    clock, http = FakeClock(), ScriptedHTTP(numbered())
    provider = provide(http, clock)
    await provider.get()
    provider.invalidate("t1")
    await provider.get()
    at_once = provider.invalidate("t2")
    await clock.advance(1)

    assert (at_once, provider.invalidate("t2")) == (False, True)


async def test_no_hammering_after_a_failure(provide) -> None:
    """Callers within a second of a failure get the same failure without a request."""
    clock, http = FakeClock(), ScriptedHTTP(httpx.Response(401))
    provider = provide(http, clock)
    errors = [await failure(provider) for _ in range(50)]

    assert len(http.requests) == 1
    assert len({id(error) for error in errors}) == 50


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_is_final(provide, status: int) -> None:
    """401 and 403 are never tried again, nor is any other 4xx about the request."""
    http = ScriptedHTTP(httpx.Response(status, json={"error": "invalid_client"}))
    error = await failure(provide(http, FakeClock()))

    assert len(http.requests) == 1
    assert f"{status} invalid_client" in str(error)


@pytest.mark.parametrize(
    ("reply", "pauses"),
    [
        (httpx.Response(502), [0.3, 0.6, 1.2]),
        (httpx.Response(504), [0.3, 0.6, 1.2]),
        (httpx.Response(408), [0.3, 0.6, 1.2]),
        (httpx.ConnectError("refused"), [0.3, 0.6, 1.2]),
        (httpx.ReadTimeout("slow"), [0.3, 0.6, 1.2]),
        (httpx.Response(500), [0.3, 0.9, 2.7]),
        (httpx.Response(503), [0.3, 0.9, 2.7]),
        (httpx.Response(429), [1.0, 1.0, 1.0]),
        (httpx.Response(429, headers={"retry-after": "3"}), [3.0, 3.0, 3.0]),
        (httpx.Response(429, headers={"retry-after": "Fri, 01 Jan 2999 00:00:00 GMT"}), []),
    ],
    ids=lambda value: str(getattr(value, "status_code", value))[:20],
)
async def test_a_passing_fault_is_retried_three_times(provide, reply, pauses: list[float]) -> None:
    """With the pauses of wire §2.3, unless the upstream asks for more time than there is."""
    clock, http = FakeClock(), ScriptedHTTP(reply)
    caller = asyncio.ensure_future(failure(provide(http, clock)))
    await clock.advance(sum(pauses) + 0.01)
    await caller

    assert len(pauses) + 1 == len(http.requests)
    assert pauses == clock.slept[: len(pauses)]


async def test_a_retry_may_succeed(provide) -> None:
    """One 503 costs the caller nothing but time."""
    http = ScriptedHTTP(httpx.Response(503), granted("t1"))

    assert await provide(http, SkippingClock()).get() == "t1"


async def test_a_silent_token_service_is_given_up(provide) -> None:
    """The whole fetch is bounded, however slow the answer drips."""
    http = ScriptedHTTP(granted())
    http.gate.clear()

    assert "no answer within 0.01 s" in str(await failure(provide(http, FakeClock(), fetch_seconds=0.01)))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>login</html>",
        b"",
        b"[]",
        b'{"token_type":"bearer"}',
        b'{"access_token":"","expires_in":100}',
        b'{"access_token":"a\\r\\nb","expires_in":100}',
        b'{"access_token":7,"expires_in":100}',
        b'{"access_token":"t"}',
        b'{"access_token":"t","expires_in":0}',
        b'{"access_token":"t","expires_in":-5}',
        b'{"access_token":"t","expires_in":0.2}',
        b'{"access_token":"t","expires_in":"0"}',
        b'{"access_token":"t","expires_in":[100]}',
        b'{"access_token":"%s","expires_in":100}' % (b"t" * 65_537),
        b'{"access_token":"t","expires_in":"soon"}',
        b'{"access_token":"t","expires_in":true}',
        b'{"access_token":"t","expires_in":null}',
        b"\xff\xfe",
        b"[" * 5000,
    ],
)
async def test_a_strange_answer_is_a_credential_error(provide, body: bytes) -> None:
    """A 200 that cannot be used says so, and is not used."""
    provider = provide(ScriptedHTTP(httpx.Response(200, content=body)), FakeClock())

    assert "answered 200" in str(await failure(provider))
    assert provider.current() is None


@pytest.mark.parametrize("expires_in", ["100", 100, 100.5])
async def test_a_lifetime_may_be_written_as_text(provide, expires_in: object) -> None:
    """Numbers and digits in quotes both count."""
    provider = provide(ScriptedHTTP(granted("t1", expires_in)), FakeClock())
    await provider.get()

    assert float(expires_in) == provider.state().lifetime_seconds  # type: ignore[arg-type]


async def test_an_absurd_lifetime_is_cut(provide) -> None:
    """No token is believed to live longer than 30 days."""
    provider = provide(ScriptedHTTP(granted("t1", 10**300)), FakeClock())
    await provider.get()

    assert provider.state().lifetime_seconds == 30 * 86_400


# --- a token service in trouble --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (httpx.Response(200, text="<html>login</html>"), "its answer is not usable"),
        (httpx.Response(302, headers={"location": "https://login.example/"}), "its answer is not usable"),
        (httpx.Response(401), "the credential is refused"),
        (httpx.Response(429, headers={"retry-after": "60"}), "its rate limit is reached"),
        (httpx.Response(503), "it answers with a server error"),
        (httpx.ReadTimeout("slow"), "no answer in time"),
        (httpx.RemoteProtocolError("cut body"), "the connection fails"),
        (httpx.Response(200, content=b"x" * (1024 * 1024 + 1)), "its answer is not usable"),
        (ZeroDivisionError("a bug"), "an unforeseen failure"),
    ],
    ids=str,
)
async def test_the_state_says_what_is_wrong_without_an_address(provide, reply, reason: str) -> None:
    """In words that any holder of a key may read; the log's text has the details."""
    provider = provide(ScriptedHTTP(reply), SkippingClock())
    await failure(provider)

    assert reason == provider.state().reason


async def test_a_redirect_is_not_followed(provide) -> None:
    """The secret goes to the configured host only."""
    http = ScriptedHTTP(httpx.Response(307, headers={"location": "https://elsewhere.example/oauth/token"}))

    assert "a redirect is not followed" in str(await failure(provide(http, FakeClock())))
    assert ["auth.example"] == [request.url.host for request in http.requests]


async def test_a_bug_does_not_end_the_renewing(provide) -> None:
    """Whatever a fetch raises, the token stays in use and the next fetch comes."""
    replies = [granted("t1", 1000), ZeroDivisionError("a bug"), granted("t2", 1000)]
    clock, http = FakeClock(), ScriptedHTTP(*replies)
    provider = provide(http, clock)
    await provider.get()
    await clock.advance(900.5)
    between = (provider.current(), provider.state().reason)
    await clock.advance(1)

    assert (("t1", "an unforeseen failure"), "t2") == (between, provider.current())


async def test_a_dead_token_service_is_asked_once_a_time(provide) -> None:
    """After the first failure each further fetch is one request: ten minutes of outage cost few."""
    clock, http = FakeClock(), ScriptedHTTP(httpx.Response(503))
    caller = asyncio.ensure_future(failure(provide(http, clock)))
    await clock.advance(600)
    await caller

    assert 4 + 1 <= len(http.requests) <= 4 + 5 + 600 / 30


async def test_callers_during_an_outage_cause_no_storm(provide) -> None:
    """A caller every tenth of a second for a minute makes one request every five seconds at most."""
    clock, http = FakeClock(), ScriptedHTTP(httpx.ConnectError("down"))
    provider = provide(http, clock)
    first = asyncio.ensure_future(failure(provider))
    await clock.advance(3)
    await first
    for _ in range(600):
        await failure(provider)
        await clock.advance(0.1)

    assert 4 < len(http.requests) <= 4 + 3 + 60 / 5


async def test_callers_do_not_hasten_a_fetch_that_will_be_refused_again(provide) -> None:
    """A wrong secret is shown at the pace of the back-off, however many call."""
    clock, http = FakeClock(), ScriptedHTTP(httpx.Response(401))
    provider = provide(http, clock)
    for _ in range(600):
        await failure(provider)
        await clock.advance(0.1)

    assert len(http.requests) <= 1 + 5 + 60 / 30


@pytest.mark.parametrize("told", ["20", "Wed, 21 Oct 2015 07:28:20 GMT"])
async def test_retry_after_holds_for_callers_too(provide, told: str) -> None:
    """Neither callers nor a refused token make the fetch come before the service allows it. A date counts
    from the answer's own Date, whatever this machine's clock says."""
    limited = httpx.Response(
        429, headers={"retry-after": told, "date": "Wed, 21 Oct 2015 07:28:00 GMT", "content-length": "0"}
    )
    clock, http = FakeClock(), ScriptedHTTP(granted("t1", 1000), limited)
    provider = provide(http, clock, fetch_seconds=15.0)
    await provider.get()
    await clock.advance(900.5)
    asked = len(http.requests)
    provider.invalidate("t1")
    error = await failure(provider)
    await clock.advance(19)
    before = len(http.requests)
    await failure(provider)
    await clock.advance(1)

    assert (2, 2, 3) == (asked, before, len(http.requests))
    assert pytest.approx(20, abs=1) == error.retry_after


async def test_a_failure_says_when_asking_again_makes_sense(provide) -> None:
    """Until then nobody will have asked for a token, so the sub-account may be left alone so long."""
    clock, http = FakeClock(), ScriptedHTTP(httpx.Response(401))
    provider = provide(http, clock)
    first = (await failure(provider)).retry_after
    await clock.advance(0.4)

    assert (1.0, pytest.approx(0.6)) == (first, (await failure(provider)).retry_after)


async def test_workers_do_not_come_back_together(provide) -> None:
    """Every pause is longer by a part of its own that differs from worker to worker."""
    pauses = []
    for jitter in (0.0, 0.5, 1.0):
        clock = FakeClock()
        caller = asyncio.ensure_future(
            failure(provide(ScriptedHTTP(httpx.Response(503)), clock, jitter=jitter))
        )
        await clock.advance(10)
        await caller
        pauses.append(clock.slept[:4])

    assert pauses == [[0.3, 0.9, 2.7, 1.0], [0.375, 1.125, 3.375, 1.25], [0.45, 1.35, 4.05, 1.5]]


async def test_a_silent_token_service_does_not_hold_callers(provide) -> None:
    """The first one waits a bounded time; the fetch goes on, and serves whoever comes later."""
    http = ScriptedHTTP(granted("t1"))
    provider = provide(http, FakeClock(), first_patience_seconds=0.01)
    http.gate.clear()
    error = await failure(provider)
    http.gate.set()

    assert "no answer of https://auth.example/oauth/token within 0.01 s yet" in str(error)
    assert "no answer in time" == cause_of(error).reason
    assert "t1" == await provider.get()
    assert len(http.requests) == 1


async def test_a_fetch_that_is_old_is_not_waited_for(provide) -> None:
    """Who comes when the others have given up is told at once, and may go to another sub-account."""
    clock, http = FakeClock(), ScriptedHTTP(granted("t1"))
    provider = provide(http, clock)
    http.gate.clear()
    patient = asyncio.ensure_future(provider.get())
    await settle()
    clock.now += 10.0
    async with asyncio.timeout(0.2):
        error = await failure(provider)
    http.gate.set()

    assert "no answer" in str(error)
    assert ("t1", 1) == (await patient, len(http.requests))


async def test_after_a_failure_callers_wait_less(provide) -> None:
    """Another sub-account may serve them: the failure that is known is told while the next fetch hangs."""
    clock, http = FakeClock(), ScriptedHTTP(httpx.Response(401), granted("t1"))
    provider = provide(http, clock, patience_seconds=0.01)
    await failure(provider)
    http.gate.clear()
    await clock.advance(1.1)
    error = await failure(provider)

    assert (2, True, None) == (len(http.requests), "401" in str(error), error.retry_after)


async def test_whoever_waits_for_a_token_may_leave_at_once(provide) -> None:
    """In the fetch's first try or in its pause: within 200 ms, and the fetch goes on."""
    clock, http = FakeClock(), ScriptedHTTP(httpx.Response(503), granted("t1"))
    provider = provide(http, clock)
    callers = [asyncio.ensure_future(provider.get()) for _ in range(20)]
    await settle()
    for caller in callers:
        caller.cancel()
    async with asyncio.timeout(0.2):
        left = await asyncio.gather(*callers, return_exceptions=True)
    await clock.advance(1)

    assert {asyncio.CancelledError} == {type(one) for one in left}
    assert ("t1", 2) == (provider.current(), len(http.requests))


async def test_those_who_wait_are_told_when_the_worker_stops(provide) -> None:
    """They get an error of ours, not a cancellation that nobody asked for."""
    http = ScriptedHTTP(granted())
    provider = provide(http, FakeClock())
    http.gate.clear()
    caller = asyncio.ensure_future(failure(provider))
    await settle()
    await provider.close()

    assert "shutting down" in str(await caller)


async def test_a_deployment_that_refuses_every_token_causes_no_storm(provide) -> None:
    """An hour of it costs a bounded number of fetches a minute, however many see the 401."""
    clock, http = FakeClock(), ScriptedHTTP(numbered(43199))
    provider = provide(http, clock)
    for _ in range(600):
        provider.invalidate(await provider.get())
        await clock.advance(0.5)

    assert len(http.requests) <= 1 + FORCED_REFRESHES * (300 / 60 + 1)


# --- clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-5, 5])
async def test_setting_the_clock_changes_nothing(provide, monkeypatch, hours: int) -> None:
    """A token's life is counted on the monotonic clock, not on the wall's."""
    provider = TokenProvider(credential(), http=ScriptedHTTP(granted("t1", 3600)).client)
    await provider.get()
    before = provider.state().expires_in_seconds
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)

    assert ("t1", pytest.approx(before, abs=1)) == (provider.current(), provider.state().expires_in_seconds)
    await provider.close()


async def test_a_suspended_machine_whose_clock_went_on(provide) -> None:
    """The old token is past its end and not used; all who come first share one fetch."""
    clock, http = FakeClock(), ScriptedHTTP(numbered(1000))
    provider = provide(http, clock)
    await provider.get()
    clock.now += 50_000
    tokens = await asyncio.gather(*(provider.get() for _ in range(50)))

    assert ({"t2"}, 2) == (set(tokens), len(http.requests))


async def test_a_suspended_machine_whose_clock_stood_still(provide) -> None:
    """The token looks good but is refused: it is replaced once, and the next is used."""
    http = ScriptedHTTP(numbered(1000))
    provider = provide(http, FakeClock())
    refused = await provider.get()

    assert [True] * 50 == [provider.invalidate(refused) for _ in range(50)]
    assert ("t2", 2) == (await provider.get(), len(http.requests))


# --- texts -----------------------------------------------------------------------------------------


async def test_no_secret_in_any_text(provide) -> None:
    """Neither the log's text nor the caller's carries what an unkind token service echoes."""
    echo = httpx.Response(401, json={"error": "s3cret$x=", "error_description": "bad secret s3cret$x="})
    provider = provide(ScriptedHTTP(echo), FakeClock())
    error = await failure(provider)

    assert "s3cret" not in f"{error} {error.public} {provider.state()} {error.__cause__}"


async def test_callers_read_no_url(provide) -> None:
    """The public text names the sub-account only."""
    error = await failure(provide(ScriptedHTTP(httpx.ConnectError("auth.example refused")), SkippingClock()))

    assert error.public == "No token for sub-account main."
    assert "auth.example" in str(error)


async def test_a_token_url_that_is_none_is_reported(provide) -> None:
    """A broken URL is the credential's fault, not a crash."""
    assert "URL" in str(
        await failure(provide(ScriptedHTTP(granted()), FakeClock(), token_url="https://auth.example:port/"))
    )


async def test_an_unusable_certificate_is_reported() -> None:
    """PEM text that OpenSSL does not take is the credential's fault."""
    provider = TokenProvider(credential(client_secret=None, cert_pem="no", key_pem="pem"))

    assert "certificate" in str(await failure(provider))
    assert "the client certificate is not usable" == provider.state().reason
    await provider.close()


async def test_the_certificate_is_shown_in_the_handshake(monkeypatch, tmp_path) -> None:
    """With an X.509 key the token service sees the client certificate, over real TLS (trap 48)."""
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    mine = authority.issue_cert("client@example.org")
    seen: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert"))
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        body = b'{"access_token":"t-x509","expires_in":100}'
        writer.write(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=_server_context(authority))
    port = server.sockets[0].getsockname()[1]
    provider = TokenProvider(
        credential(
            client_secret=None,
            token_url=f"https://127.0.0.1:{port}/oauth/token",
            cert_pem=mine.cert_chain_pems[0].bytes().decode(),
            key_pem=mine.private_key_pem.bytes().decode(),
        )
    )
    token = await provider.get()
    await provider.close()
    server.close()
    await server.wait_closed()

    assert token == "t-x509"
    assert "client@example.org" in str(seen)


@pytest.mark.parametrize(
    ("host", "trusted", "lives_until", "says", "advises"),
    [
        ("127.0.0.1", False, None, "unable to get local issuer certificate", "SSL_CERT_FILE"),
        ("other.example", True, None, "IP address mismatch", "check the URL"),
        ("127.0.0.1", True, datetime(2020, 1, 1), "certificate has expired", "this machine's clock"),
    ],
)
async def test_a_certificate_that_is_not_accepted(
    monkeypatch, tmp_path, host: str, trusted: bool, lives_until: datetime | None, says: str, advises: str
) -> None:
    """The log names the host and what is wrong with its certificate; it is not asked again at once."""
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes((authority if trusted else trustme.CA()).cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    control_plane._default_context.cache_clear()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    since = lives_until and lives_until.replace(year=lives_until.year - 1)
    authority.issue_cert(host, not_after=lives_until, not_before=since).configure_cert(context)
    asked = 0

    def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1

    server = await asyncio.start_server(count, "127.0.0.1", 0, ssl=context)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    provider = TokenProvider(credential(token_url=f"https://{place}/oauth/token"))
    error = await failure(provider)
    state = provider.state()
    await provider.close()
    server.close()
    control_plane._default_context.cache_clear()

    assert all(part in str(error) for part in (place, "its certificate is not accepted", says))
    assert ("its certificate is not accepted", 0) == (state.reason, asked)
    assert advises in cause_of(error).advice
    assert place not in error.public


async def test_a_host_that_is_gone_and_comes_back(monkeypatch) -> None:
    """Without DNS the log names the host and the reason; with it, the next fetch works by itself."""
    resolves = False

    def answer(request: httpx.Request) -> httpx.Response:
        if not resolves:
            raise httpx.ConnectError("no") from socket.gaierror(-2, "Name or service not known")
        return granted("t1")

    clock = SkippingClock()
    provider = TokenProvider(
        credential(), http=ScriptedHTTP(answer).client, clock=clock, sleep=clock.sleep, jitter=lambda: 0.0
    )
    error = await failure(provider)
    gone = provider.state()
    resolves = True
    clock.now += 60
    token = await provider.get()
    await provider.close()

    assert "auth.example/oauth/token: its name cannot be resolved: Name or service not known" in str(error)
    assert "its host name cannot be resolved" == gone.reason
    assert ("t1", None) == (token, provider.state().reason)


def _server_context(authority: trustme.CA):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_state_tells_how_long_the_token_lives(provide) -> None:
    """The doctor sees its lifetime and what is left of it."""
    clock = FakeClock()
    provider = provide(ScriptedHTTP(granted("t1", 1000)), clock)
    await provider.get()
    await clock.advance(100)
    state = provider.state()

    assert (
        state.name,
        state.ready,
        state.expires_in_seconds,
        state.lifetime_seconds,
        state.reason,
    ) == ("main", True, 900, 1000, None)


async def test_nothing_is_fetched_after_close(provide) -> None:
    """A closed provider neither renews nor answers."""
    clock, http = FakeClock(), ScriptedHTTP(granted("t1", 100))
    provider = provide(http, clock)
    await provider.get()
    await provider.close()
    await clock.advance(200)

    assert "shutting down" in str(await failure(provider))
    assert len(http.requests) == 1
