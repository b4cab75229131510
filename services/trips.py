"""One attempt: a request on its way to one deployment."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services import metrics
from services.accounts import Account
from services.balancer import Slot
from services.calls import Call, Reply
from services.catalog import Model
from services.errors import GatewayError, UpstreamError
from services.translation.replies import Prepared
from services.upstream import TimeLimits

T = TypeVar("T")


class Trip:
    """One attempt: a request on its way to one deployment."""

    __slots__ = (
        "_over",
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

    def __init__(self, call: Call, model: Model, slot: Slot, account: Account) -> None:
        self.call = call
        self.model = model
        self.slot = slot
        self.deployment = slot.deployment  # the slot may serve another public name in the meantime
        self.account = account
        if call.upstream_since is None:
            call.upstream_since = time.perf_counter()
        self._waited = 0.0
        self._over = False

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
        """Release the deployment and count the attempt, once."""
        if not self._over:
            self._over = True
            self.slot.release()
            metrics.count_attempt(self.deployment.sub_account, self.model.name, failure)
