"""Routes a request and turns what its handler says into something that can be played on a connection.

Inference is refused in this order: token (401), deployment (404), tenant (400), resource group (403), state
of the deployment (404, 503), sub-path (403), method (405), faults, requests per minute (429), then the
executable's own rules.
A sub-path outside the allow-list is 403 with the text `Subpath not allowed` (u).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

import msgspec

from perf.simulator import admin, management, mishaps
from perf.simulator.answers import EventStream, Refused, Reply, Step, head, reply_text
from perf.simulator.errors import (
    Problem,
    ai_api,
    api_error,
    deployment_not_found,
    missing_tenant,
    new_uuid,
    rbac_denied,
)
from perf.simulator.executables import EXECUTABLES
from perf.simulator.executables.base import Call, Executable, Handler
from perf.simulator.faults import Fault, FaultBook, parse_kind
from perf.simulator.limiter import MinuteLimiter
from perf.simulator.mishaps import Damage
from perf.simulator.player import Play
from perf.simulator.prompts import directive
from perf.simulator.protocol import Request
from perf.simulator.settings import Settings
from perf.simulator.stats import MAX_KEPT_BODY, Stats
from perf.simulator.tenants import Deployment, Tenant, make_tenants
from perf.simulator.tokens import TokenService

INFERENCE = "/v2/inference/deployments/"

_CONTROL = Executable("control", routes={}, error_shape=ai_api)
"""Speaks for the planes that run no executable."""


class Route(msgspec.Struct, frozen=True):
    """A request target, taken apart."""

    path: str
    query: str
    parameters: dict[str, str]
    deployment_id: str | None = None
    subpath: str = ""


@lru_cache(maxsize=1024)
def route_of(target: bytes) -> Route:
    """Take a target apart; the same few come again and again."""
    raw_path, _, query = target.decode("latin-1").partition("?")
    path = unquote(raw_path)
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    if not path.startswith(INFERENCE):
        return Route(path.rstrip("/") or "/", query, parameters)
    deployment_id, _, subpath = path[len(INFERENCE) :].partition("/")
    return Route(path, query, parameters, deployment_id, subpath.rstrip("/"))


class Flight:
    """Tells the statistics when an answer has ended."""

    __slots__ = ("_deployment_id", "_stats", "_status")

    def __init__(self, stats: Stats, deployment_id: str, status: int) -> None:
        self._stats = stats
        self._deployment_id = deployment_id
        self._status = status

    def ended(self, *, completed: bool, streaming: bool, frames_sent: int) -> None:
        """Called once by the player."""
        self._stats.end(self._deployment_id, self._status)
        if streaming and not completed:
            self._stats.stream_cancelled(self._deployment_id, frames_sent)


class Simulator:
    """The simulated region: its tenants, and everything that may be asked of it."""

    def __init__(self, settings: Settings, *, base_url: str) -> None:
        self.settings = settings
        self.base_url = base_url
        self.pace = settings.pace
        self.stats = Stats()
        self.faults = FaultBook(seed=settings.seed)
        self.tenants = {
            tenant.name: tenant
            for tenant in make_tenants(
                settings.tenants, base_url=base_url, resource_groups=settings.resource_groups
            )
        }
        self.deployments = {d.id: d for tenant in self.tenants.values() for d in tenant.deployments}
        self.tokens = TokenService(
            self.tenants.values(),
            self.stats,
            lifetime_seconds=settings.token_lifetime,
            revoke_after=settings.revoke_after,
        )
        self._limiter = MinuteLimiter(settings.rpm) if settings.rpm else None

    def answer(self, request: Request) -> Play:
        """Answer any request; never raises for what a client can send."""
        route = route_of(request.target)
        if route.deployment_id is not None:
            return self._inference(request, route, route.deployment_id)
        if route.path == "/oauth/token":
            return self._control("oauth", request, route)
        if route.path.startswith("/_sim/"):
            return self._plain(admin.answer(self, request, route.path, route.parameters), request)
        return self._control("management", request, route)

    # inference

    def _inference(self, request: Request, route: Route, deployment_id: str) -> Play:
        deployment = self.deployments.get(deployment_id)
        if deployment is None:
            known = self.tokens.check(request.headers.get(b"authorization", b""))
            return self._plain(deployment_not_found(deployment_id) if known else missing_tenant(), request)
        self.stats.begin(deployment_id)
        self._remember(request, deployment_id)
        executable = EXECUTABLES[deployment.executable]
        fault: Fault | None = None
        try:
            tenant = self._admit(request, deployment)
            handler = _handler(request, route, executable)
            fault = self._fault(request, deployment)
            self._refuse_by_fault(fault, executable.at(route.subpath), deployment)
            self._refuse_by_rate(executable.at(route.subpath), deployment, tenant)
            answer = handler(
                Call(
                    deployment.model,
                    route.parameters,
                    request.body,
                    self.pace,
                    route.subpath,
                    deployment.memory,
                    request.headers,
                )
            )
            if type(answer) is EventStream:
                self._count_stream(deployment_id)
        except Refused as refused:
            answer = refused.reply
            fault = fault if fault and fault.kind in mishaps.ON_THE_WIRE else None
        except Exception:
            # A bug of ours must neither pass for an answer of SAP's nor stay in the in-flight count.
            traceback.print_exc()
            answer, fault = reply_text(500, "the simulator failed; its log says why"), None
        return self._finished(request, answer, fault, executable, deployment_id)

    def _count_stream(self, deployment_id: str) -> None:
        self.stats.all.streams += 1
        self.stats.deployments[deployment_id].streams += 1

    def _admit(self, request: Request, deployment: Deployment) -> Tenant:
        """The checks of the router in front of every deployment. Raises Refused."""
        headers = request.headers
        tenant = self.tokens.check(headers.get(b"authorization", b""))
        if tenant is None:
            raise Refused(missing_tenant())
        if tenant.name != deployment.tenant:
            raise Refused(reply_text(400, "tenant not found"))
        group = headers.get(b"ai-resource-group", b"").decode("latin-1")
        if group not in tenant.resource_groups:
            raise Refused(rbac_denied())
        if group != deployment.resource_group or deployment.status in ("PENDING", "UNKNOWN"):
            raise Refused(deployment_not_found(deployment.id))
        if deployment.status != "RUNNING":
            raise Refused(reply_text(503, "no healthy upstream"))
        return tenant

    def _fault(self, request: Request, deployment: Deployment) -> Fault | None:
        """The fault that the header, the prompt or the book asks for, in this order."""
        header = request.headers.get(b"x-sim-fault")
        asked = directive(request.body) if header is None else header.decode("latin-1")
        fault: Fault | None = None
        if asked is not None:
            try:
                fault = parse_kind(asked)
            except ValueError as error:
                raise Refused(reply_text(400, f"simulator: {error}")) from error
        elif self.faults.active:
            model = deployment.model.name if deployment.model else ""
            fault = self.faults.pick("inference", deployment.tenant, deployment.id, model)
        if fault is not None:
            self.stats.faults[fault.kind] += 1
        return fault

    def _refuse_by_fault(self, fault: Fault | None, executable: Executable, deployment: Deployment) -> None:
        if fault is None:
            return
        if fault.kind == "revoke":
            self.tokens.revoke(deployment.tenant)
        reply = mishaps.replacement(fault, executable.error_shape, deployment.id)
        if reply is not None:
            raise Refused(reply)

    def _refuse_by_rate(self, executable: Executable, deployment: Deployment, tenant: Tenant) -> None:
        if self._limiter is None or deployment.model is None:
            return
        seconds = self._limiter.refuse_for(tenant.name, deployment.model.name)
        if seconds is not None:
            problem = Problem(429, "The limit of requests per minute is reached.", "429", retry_after=seconds)
            raise executable.refuse(problem)

    def _remember(self, request: Request, deployment_id: str) -> None:
        if len(request.body) > MAX_KEPT_BODY:
            request = msgspec.structs.replace(request, body=b"")
        self.stats.last[deployment_id] = request

    # the other planes

    def _control(self, plane: str, request: Request, route: Route) -> Play:
        """Tokens and the management plane, with their faults."""
        name = f"{request.method.decode('latin-1')} {route.path}"
        if len(self.stats.management) < 1000 or name in self.stats.management:
            self.stats.management[name] += 1
        if plane == "oauth":
            tenant = self.tokens.asker(request.headers, route.query, request.body)
        else:
            tenant = self.tokens.check(request.headers.get(b"authorization", b""))
        fault = self.faults.pick(plane, tenant.name if tenant else "") if self.faults.active else None
        reply = None
        if fault is not None:
            self.stats.faults[fault.kind] += 1
            if fault.kind == "revoke":
                self.tokens.revoke()
            reply = mishaps.replacement(fault, ai_api, "")
        if reply is None:
            reply = self._token(request, route) if plane == "oauth" else self._manage(request, route, tenant)
        return self._finished(request, reply, fault, None, None)

    def _token(self, request: Request, route: Route) -> Reply:
        if request.method != b"POST":
            return reply_text(405, "Method Not Allowed")
        return self.tokens.grant(request.headers, route.query, request.body, certificate=request.certificate)

    def _manage(self, request: Request, route: Route, tenant: Tenant | None) -> Reply:
        if tenant is None:
            return missing_tenant()
        group = request.headers.get(b"ai-resource-group", b"").decode("latin-1")
        if management.needs_group(route.path) and group not in tenant.resource_groups:
            return rbac_denied()
        if request.method != b"GET":
            return api_error(405, "Method not allowed.", code="01010405", target=f"/api{route.path}")
        return management.answer(management.Ask(tenant, group, route.path, route.parameters, self.settings))

    # onto the wire

    def _plain(self, reply: Reply, request: Request) -> Play:
        return Play(_whole(reply, request, b""))

    def _finished(
        self,
        request: Request,
        answer: Reply | EventStream,
        fault: Fault | None,
        executable: Executable | None,
        deployment_id: str | None,
    ) -> Play:
        done = Damage(answer)
        if fault is not None:
            teller = executable or _CONTROL
            done = mishaps.damage(fault, answer, teller.error_shape, teller.frame)
        answer = done.answer
        latency = self.pace.latency_ms if deployment_id is not None else 0.0
        status = answer.status if isinstance(answer, Reply) else 200
        watcher = (
            None if deployment_id is None else Flight(self.stats, deployment_id, 0 if done.mute else status)
        )
        delay = latency / 1000 + done.delay
        if done.mute:
            return Play(b"", delay=delay, ending=done.ending, watcher=watcher)
        lines = _upstream_headers(latency)
        if isinstance(answer, Reply):
            opening = _whole(answer, request, lines, promised=done.promised)
            return Play(opening, delay=delay, ending=done.ending, watcher=watcher)
        chunked = request.chunks_allowed
        opening = _stream_head(request, answer.content_type, lines)
        return Play(opening, _frames(answer), chunked, delay=delay, ending=done.ending, watcher=watcher)


def _handler(request: Request, route: Route, executable: Executable) -> Handler:
    """The handler of a sub-path. Raises Refused."""
    handler = executable.handler(route.subpath, request.method.decode("latin-1"))
    if handler is not None:
        return handler
    if executable.serves(route.subpath):
        raise executable.refuse(Problem(405, "Method not allowed."))
    raise Refused(api_error(403, "Subpath not allowed", code="01010403", target=f"/api{route.path}"))


def _frames(stream: EventStream) -> Iterator[Step]:
    yield from stream.frames
    if stream.done:
        yield stream.done


def _upstream_headers(latency_ms: float) -> bytes:
    number = new_uuid()
    return (
        f"x-request-id: {number}\r\nai-inference-id: {number}\r\n"
        f"x-upstream-service-time: {int(latency_ms)}\r\n"
    ).encode()


def _whole(reply: Reply, request: Request, lines: bytes, *, promised: int | None = None) -> bytes:
    lines += reply.headers
    if not request.keep_alive:
        lines += b"connection: close\r\n"
    body = b"" if request.method == b"HEAD" else reply.body
    return (
        head(reply.status, reply.content_type, len(reply.body) if promised is None else promised, lines)
        + body
    )


def _stream_head(request: Request, content_type: bytes, lines: bytes) -> bytes:
    opening = head(200, content_type, None, lines + (b"" if request.keep_alive else b"connection: close\r\n"))
    return opening if request.chunks_allowed else opening.replace(b"transfer-encoding: chunked\r\n", b"", 1)
