"""Pictures and documents by URL: only what is public, small and of a known kind."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import httpx
import pytest

from services.errors import BadRequest
from services.fetching import MAX_REDIRECTS, MAX_URLS, Fetcher
from services.translation.replies import Inline

PUBLIC = "93.184.216.34"
PNG = {"content-type": "image/png"}


def fetcher(
    answer: Callable[[httpx.Request], httpx.Response],
    *,
    addresses: Sequence[str] = (PUBLIC,),
    max_bytes: int = 10,
    hosts: frozenset[str] = frozenset(),
) -> Fetcher:
    """A fetcher on a network where every name has these addresses and this answers."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return Fetcher(http, max_bytes=max_bytes, hosts=hosts, resolve=resolve)


def picture(request: httpx.Request) -> httpx.Response:
    """A small picture."""
    return httpx.Response(200, headers=PNG, content=b"pixels")


async def test_what_is_public_is_fetched_once_each() -> None:
    """As base64 with its type."""
    data = base64.b64encode(b"pixels").decode()

    got = await fetcher(picture).all(["https://a.example/1", "https://a.example/2"])

    assert {f"https://a.example/{n}": Inline("image/png", data) for n in (1, 2)} == got


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """The name is only shown: it could point elsewhere by then."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return picture(request)

    await fetcher(answer).all(["https://pictures.example/x.png?y=1"])

    request = seen[0]
    assert (PUBLIC, "pictures.example", "pictures.example") == (
        request.url.host,
        request.headers["host"],
        request.extensions["sni_hostname"],
    )
    assert "/x.png?y=1" == request.url.raw_path.decode()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "224.0.0.1", "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1:2::f5ff:fffe",
    ],
)  # fmt: skip
async def test_nothing_inside_is_reached(address: str) -> None:
    """Not even when only one of several addresses is inside (trap 34)."""
    with pytest.raises(BadRequest, match="public internet"):
        await fetcher(picture, addresses=[PUBLIC, address]).all(["https://a.example/"])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a.example/", "only https"),
        ("ftp://a.example/", "only https"),
        ("file:///etc/passwd", "only https"),
        ("https://user:pass@a.example/", "images.hosts"),
        ("https://a\x00.example/", "cannot be fetched"),
    ],
)
async def test_other_urls_are_refused(url: str, why: str) -> None:
    """400 that says why."""
    with pytest.raises(BadRequest, match=why) as caught:
        await fetcher(picture).all([url])
    assert "remote_media" == caught.value.code


async def test_hosts_can_be_narrowed() -> None:
    """By exact name."""
    narrow = fetcher(picture, hosts=frozenset({"a.example"}))

    assert 1 == len(await narrow.all(["https://a.example/"]))
    with pytest.raises(BadRequest, match=r"images\.hosts"):
        await narrow.all(["https://b.a.example/"])


@pytest.mark.parametrize(
    ("target", "why"), [("http://b.example/", "only https"), ("https://b.example/", "inside")]
)
async def test_a_redirect_is_checked_like_the_first_address(target: str, why: str) -> None:
    """Else it would lead inside."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return [PUBLIC] if host == "a.example" else ["10.0.0.1"]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": target})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    one = Fetcher(http, max_bytes=10, resolve=resolve)
    with pytest.raises(BadRequest, match="only https" if why == "only https" else "public internet"):
        await one.all(["https://a.example/"])


async def test_redirects_end() -> None:
    """A loop does not."""
    hops: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        hops.append(1)
        return httpx.Response(302, headers={"location": "/again"})

    with pytest.raises(BadRequest, match="too often"):
        await fetcher(answer).all(["https://a.example/"])
    assert MAX_REDIRECTS + 1 == len(hops)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (httpx.Response(404), "answered 404"),
        (httpx.Response(200, headers={"content-type": "text/html"}, content=b"x"), "type is text/html"),
        (httpx.Response(200, content=b"x"), "type is not given"),
        (httpx.Response(200, headers=PNG, content=b"x" * 11), "exceeds 10 bytes"),
    ],
)
async def test_what_is_no_picture_or_too_large_is_refused(response: httpx.Response, why: str) -> None:
    """Read no further than the limit (trap 34)."""
    with pytest.raises(BadRequest, match=why):
        await fetcher(lambda _: response).all(["https://a.example/"])


async def test_a_server_that_fails_is_told() -> None:
    """Without details of the network."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("10.9.8.7 refused")

    with pytest.raises(BadRequest, match="ConnectError") as caught:
        await fetcher(answer).all(["https://a.example/"])
    assert "10.9.8.7" not in str(caught.value)


async def test_there_are_not_too_many() -> None:
    """One request must not become a flood."""
    with pytest.raises(BadRequest, match=str(MAX_URLS)):
        await fetcher(picture).all([f"https://a.example/{n}" for n in range(MAX_URLS + 1)])
