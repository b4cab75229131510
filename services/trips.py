"""One attempt: a request on its way to one deployment."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services import metrics
from services.accounts import Account
from services.balancer import Balancer, Slot
from services.calls import Call, Reply
from services.catalog import Model
from services.errors import GatewayError, Rests, UpstreamError, UpstreamTimeout
from services.translation.replies import Prepared
from services.upstream import TimeLimits

T = TypeVar("T")


class Trip:
    """One attempt: a request on its way to one deployment. What becomes of it, the balancer learns."""

    __slots__ = (
        "_balancer",
        "_over",
        "_started",
        "_waited",
        "account",
        "call",
        "deployment",
        "limits",
        "model",
        "prepared",
        "slot",
    )

    prepared: Prepared
    limits: TimeLimits

    def __init__(self, call: Call, model: Model, slot: Slot, account: Account, balancer: Balancer) -> None:
        self.call = call
        self.model = model
        self.slot = slot
        self.deployment = slot.deployment  # the slot may serve another public name in the meantime
        self.account = account
        self._balancer = balancer
        self._started = time.perf_counter()
        if call.upstream_since is None:
            call.upstream_since = self._started
        self._waited = 0.0
        self._over = False

    @property
    def seconds(self) -> float:
        """How long it has taken until now."""
        return time.perf_counter() - self._started

    def send(self, send: Callable[..., Awaitable[T]], token: str) -> Awaitable[T]:
        """Post the request with this token."""
        return send(
            self.deployment.url + self.prepared.path,
            self.account.head(token),
            self.prepared.body,
            request_id=self.call.request_id,
            limits=self.limits,
            method=self.prepared.method,
        )

    def amend(self, error: UpstreamError) -> bool:
        """Whether the request has another form that this refusal does not hit; it is that one from now on."""
        amended = self.prepared.amend(error) if self.prepared.amend else None
        if amended is None:
            return False
        self.prepared = amended
        return True

    def waited(self) -> None:
        """Note that the upstream's answer is here."""
        self._waited = time.perf_counter() - (self.call.upstream_since or 0.0)

    def worked(self) -> None:
        """Note that the deployment did its part, whatever it thinks of the request."""
        self._balancer.worked(self.slot)

    def reply(self, upstream_id: str) -> Reply:
        """Return where the answer came from."""
        return Reply(
            model=self.model.name,
            deployment=self.deployment,
            attempts=self.call.attempts,
            dropped=self.prepared.dropped,
            upstream_seconds=self._waited,
            upstream_id=upstream_id,
        )

    def end(self, failure: GatewayError | None) -> None:
        """Release the deployment, count the attempt and learn from it, once."""
        if self._over:
            return
        self._over = True
        self.slot.release()
        metrics.count_attempt(self.deployment.sub_account, self.model.name, failure)
        if failure is not None and failure.rests is not Rests.NOTHING:
            lost = self.seconds if isinstance(failure, UpstreamTimeout) else 0.0
            self._balancer.failed(self.slot, failure, lost=lost)
