"""SAP AI Core on raw sockets: tokens, deployments (wire §2, §3.2) and inference that fails as its model says.

Not the simulator: here each case has models of its own, so that all run side by side; the first route that
is asked is the broken one, whichever it is; and all attempts are recorded, and when the gateway left them.
What each scenario does is in `perf.faults.provoke`.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import msgspec

from perf.faults.forms import Form
from perf.faults.tenant import ACCOUNTS, INFERENCE, Attempt, Deployment, Record, resource_group
from perf.stack import HOST

# executable → sub-path → the form of its bodies, and whether the path streams (None: the body says so)
_PATHS: Mapping[str, Mapping[str, tuple[Form, bool | None]]] = {
    "azure-openai": {"/chat/completions": ("chat", None), "/responses": ("responses", None)},
    "aws-bedrock": {"/invoke": ("claude", False), "/invoke-with-response-stream": ("claude", True)},
}

Reply = tuple[int, bytes]
"""Status and body."""


class GatewayLeft(Exception):
    """The gateway closed its connection while it was being answered."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, complete."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """A request to a deployment that is to be answered somehow: what `provoke` works with."""

    def __init__(
        self, connection: Connection, attempt: Attempt, deployment: Deployment, form: Form, body: Any
    ) -> None:
        self._connection = connection
        self.attempt = attempt
        self.deployment = deployment
        self.form = form
        self.body: dict[str, Any] = body
        self.stream = bool(body.get("stream"))

    def reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer."""
        self._connection.reply(status, body, headers)

    def send(self, data: bytes) -> None:
        """Bytes as they are. Raises GatewayLeft."""
        self._connection.send(data)

    def begin(self) -> None:
        """The head of a stream."""
        self.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
            b"x-request-id: 5b0c0000\r\n\r\n"
        )

    def piece(self, data: bytes) -> None:
        """One chunk of a stream."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """The proper end of a stream."""
        self.send(b"0\r\n\r\n")

    async def pause(self, seconds: float) -> None:
        """Say nothing for a while. Raises GatewayLeft, and at once when the gateway goes."""
        await self._connection.pause(seconds)

    def cut(self) -> None:
        """Close the connection, whatever is missing."""
        self._connection.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self._connection.reset()


Answer = Callable[[Exchange], Awaitable[None]]


class Upstream:
    """The tenant's two sub-accounts. `answer` is called for every inference request that is in order."""

    def __init__(self, found: Sequence[Deployment], answer: Answer) -> None:
        self._deployments = {one.id: one for one in found}
        self.answer = answer
        self._secrets = {account: secrets.token_hex(16) for account in ACCOUNTS}
        self._tokens = {account: f"eyJ.{secrets.token_hex(16)}" for account in ACCOUNTS}
        self.records: dict[str, Record] = {one.case.model: Record() for one in found if one.case}
        self.connections: set[Connection] = set()
        self.base_url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Upstream]:
        """Listen on a free loopback port until the block ends."""
        server = await asyncio.get_running_loop().create_server(lambda: Connection(self), HOST, 0)
        self.base_url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for connection in tuple(self.connections):
                connection.close()

    def service_key(self, account: str) -> dict[str, Any]:
        """As SAP BTP gives it (wire §1.1)."""
        return {
            "clientid": f"sb-{account}!b123|aicore!b540",
            "clientsecret": self._secrets[account],
            "url": self.base_url,
            "serviceurls": {"AI_API_URL": self.base_url},
        }

    def serve(self, request: Request, connection: Connection) -> Reply | Awaitable[None]:
        """A whole answer, or the work of giving one."""
        if request.path == "/oauth/token":
            return self._token(request)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        account = next((name for name, token in self._tokens.items() if token == bearer), None)
        if account is None:
            return 401, b"Missing Tenant Id"
        if request.headers.get("ai-resource-group") != resource_group(account):
            return 403, b"RBAC: access denied"
        if request.path == "/v2/lm/deployments" and request.method == "GET":
            return self._listing(request, account)
        if request.path.startswith(INFERENCE) and request.method == "POST":
            return self._inference(request, account, connection)
        return 404, _api_error("The requested resource was not found.")

    def _token(self, request: Request) -> Reply:
        form = parse_qs(request.body.decode())
        for account in ACCOUNTS:
            key = self.service_key(account)
            if form.get("client_id") == [key["clientid"]] and form.get("client_secret") == [
                key["clientsecret"]
            ]:
                token = {"access_token": self._tokens[account], "token_type": "bearer", "expires_in": 43199}
                return 200, msgspec.json.encode(token)
        return 401, b'{"error":"unauthorized","error_description":"Bad credentials"}'

    def _listing(self, request: Request, account: str) -> Reply:
        shown = [one.listing(self.base_url) for one in self._deployments.values() if one.account == account]
        skip = int(request.query.get("$skip", ["0"])[0])
        top = int(request.query.get("$top", ["10000"])[0])
        return 200, msgspec.json.encode({"count": len(shown), "resources": shown[skip : skip + top]})

    def _inference(self, request: Request, account: str, connection: Connection) -> Reply | Awaitable[None]:
        name, slash, rest = request.path.removeprefix(INFERENCE).partition("/")
        deployment = self._deployments.get(name)
        if deployment is None or deployment.account != account:
            return 404, _api_error(f"Deployment ID {name} not found")
        known = _PATHS[deployment.executable].get(slash + rest)
        if known is None:
            return 404, _api_error("Subpath not allowed")
        form, streams = known
        body = msgspec.json.decode(request.body)
        if problem := _problem(form, request, body):
            return 400, _api_error(problem)
        if streams is not None:
            body["stream"] = streams
        record = self.records.get(deployment.case.model) if deployment.case else None
        now = time.monotonic()
        attempt = record.arrived(deployment.route, now) if record else Attempt(deployment.route, now)
        return self._answered(Exchange(connection, attempt, deployment, form, body))

    async def _answered(self, exchange: Exchange) -> None:
        try:
            await self.answer(exchange)
        except GatewayLeft:
            exchange.attempt.left = time.monotonic()
        else:
            exchange.attempt.ended = time.monotonic()


def _problem(form: Form, request: Request, body: Any) -> str | None:
    """What the deployment would refuse (wire §4.1, §4.3)."""
    if form == "chat" and "api-version" not in request.query:
        return "api-version is missing"
    if form == "claude":
        if body.get("anthropic_version") != "bedrock-2023-05-31" or "max_tokens" not in body:
            return "anthropic_version and max_tokens are required"
        if "model" in body or "stream" in body:
            return "model and stream: Extra inputs are not permitted"
    return None


def _api_error(message: str) -> bytes:
    return msgspec.json.encode({"error": {"code": "01010001", "message": message, "requestId": "b2f1"}})


class Connection(asyncio.Protocol):
    """One connection of the gateway's, kept alive; one request at a time."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._buffer = b""
        self._gone = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The gateway came."""
        self._transport = cast(asyncio.Transport, transport)
        self._upstream.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The gateway went, or we did."""
        self._gone.set()
        self._upstream.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Part of a request."""
        self._buffer += data
        if self._work is None:
            self._next()

    def _next(self) -> None:
        while self._work is None and (request := self._complete()) is not None:
            answer = self._upstream.serve(request, self)
            if isinstance(answer, tuple):
                self.reply(*answer)
            else:
                self._work = asyncio.get_running_loop().create_task(self._until_done(answer))

    async def _until_done(self, work: Awaitable[None]) -> None:
        await work
        self._work = None
        self._next()

    def _complete(self) -> Request | None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        method, target, _ = first.split(" ")
        parts = urlsplit(target)
        return Request(method, parts.path, parse_qs(parts.query), headers, rest[:length])

    def reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer. Raises GatewayLeft."""
        kind = "application/json" if body[:1] == b"{" else "text/plain"
        fields = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + body)

    def send(self, data: bytes) -> None:
        """Bytes as they are. Raises GatewayLeft."""
        if self._gone.is_set():
            raise GatewayLeft
        self._transport.write(data)

    async def pause(self, seconds: float) -> None:
        """Wait. Raises GatewayLeft as soon as the gateway goes."""
        try:
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        except TimeoutError:
            return
        raise GatewayLeft

    def close(self) -> None:
        """Close, after what was written."""
        self._transport.close()

    def reset(self) -> None:
        """Close with a reset, so that the other side reads an error and no end."""
        linger = struct.pack("ii", 1, 0)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()
