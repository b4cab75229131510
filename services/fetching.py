"""Pictures and documents that a request names by URL, fetched for models that cannot (wire §8.0).

Off unless configured. A caller must not reach through the gateway what it cannot reach itself: only https,
only addresses of the public internet (checked after the name is resolved, and the connection goes to the
very address that was checked), no proxy, few redirects and each of them checked again, bounded in size, type
and time.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence

import httpx

from services.connections import resolve
from services.errors import BadRequest
from services.translation.replies import Inline

MEDIA_TYPES = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/plain"}
)
MAX_URLS = 20
MAX_REDIRECTS = 3
SECONDS = 20.0
AT_ONCE = 4

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


def open_client() -> httpx.AsyncClient:
    """Make the client: without proxies, which would connect to addresses that nobody has checked."""
    return httpx.AsyncClient(timeout=SECONDS, trust_env=False)


class Fetcher:
    """Fetches what requests name: `max_bytes` each, and only from `hosts` (exact names) if there are any."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        max_bytes: int,
        hosts: frozenset[str] = frozenset(),
        resolve: Resolve = resolve,
    ) -> None:
        self._http = http
        self._max_bytes = max_bytes
        self._hosts = hosts
        self._resolve = resolve
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def all(self, urls: Sequence[str]) -> Mapping[str, Inline]:
        """Return what the URLs stand for. Raises BadRequest for the first that cannot be had."""
        if len(urls) > MAX_URLS:
            raise BadRequest(f"at most {MAX_URLS} remote pictures and documents are fetched for one request")
        got = await asyncio.gather(*(self._one(url) for url in urls))
        fetched: dict[str, Inline] = {}
        for url, one in zip(urls, got, strict=True):
            if isinstance(one, BadRequest):
                raise one
            fetched[url] = one
        return fetched

    async def _one(self, url: str) -> Inline | BadRequest:
        try:
            async with self._gate, asyncio.timeout(SECONDS):
                return await self._followed(url)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, UnicodeError) as exc:
            return _refused(url, f"it cannot be fetched ({type(exc).__name__})")
        except BadRequest as exc:
            return exc

    async def _followed(self, url: str) -> Inline:
        address = httpx.URL(url)
        for _ in range(MAX_REDIRECTS + 1):
            request = await self._request(address, url)
            response = await self._http.send(request, stream=True, follow_redirects=False)
            try:
                if not response.is_redirect:
                    return await self._read(response, url)
                address = address.join(response.headers.get("location", ""))
            finally:
                await response.aclose()
        raise _refused(url, "it is redirected too often")

    async def _request(self, address: httpx.URL, asked: str) -> httpx.Request:
        """Return a request to a checked address: resolved again, the name could point elsewhere by then."""
        host, port = address.host, address.port or 443
        if address.scheme != "https":
            raise _refused(asked, "only https is fetched")
        if address.userinfo or (self._hosts and host not in self._hosts):
            raise _refused(asked, "this host is not among images.hosts")
        addresses = [ipaddress.ip_address(one) for one in await self._resolve(host, port)]
        if not addresses or not all(_is_public(one) for one in addresses):
            raise _refused(asked, "it is not on the public internet")
        return self._http.build_request(
            "GET",
            address.copy_with(host=str(addresses[0])),
            headers={
                "host": host if port == 443 else f"{host}:{port}",
                "accept": ", ".join(sorted(MEDIA_TYPES)),
            },
            extensions={"sni_hostname": host},
        )

    async def _read(self, response: httpx.Response, url: str) -> Inline:
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code != 200:
            raise _refused(url, f"its server answered {response.status_code}")
        if media_type not in MEDIA_TYPES:
            raise _refused(
                url, f"its type is {media_type or 'not given'}; {', '.join(sorted(MEDIA_TYPES))} are taken"
            )
        data = bytearray()
        async for piece in response.aiter_bytes():
            data += piece
            if len(data) > self._max_bytes:
                raise _refused(url, f"it exceeds {self._max_bytes} bytes (images.max_bytes)")
        return Inline(media_type, base64.b64encode(data).decode())


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    inner = _carried(address) if isinstance(address, ipaddress.IPv6Address) else None
    return address.is_global and not address.is_multicast if inner is None else _is_public(inner)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that a translator on the way would make of this one."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _refused(url: str, why: str) -> BadRequest:
    return BadRequest(f"{url[:200]!r}: {why}", code="remote_media")
