"""A sub-account as the data plane needs it: its token, and the head of every request to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.deployments import Deployment, request_fields
from services.tokens import TokenProvider
from services.upstream import Head, head


class Account:
    """One sub-account's token and request head."""

    def __init__(self, *, name: str, resource_group: str, tenant_id: str, tokens: TokenProvider) -> None:
        self.name = name
        self.tokens = tokens
        self._resource_group = resource_group
        self._tenant_id = tenant_id
        self._token = ""
        self._head = head({})

    def head(self, token: str) -> Head:
        """Return the head of a request with this token. Nothing of the caller's own head goes up."""
        if token != self._token:
            self._token = token
            fields = request_fields(self._resource_group, self._tenant_id, token)
            self._head = head({"content-type": "application/json", **fields})
        return self._head


def why_unserved(candidates: Sequence[Deployment], accounts: Mapping[str, Account]) -> str | None:
    """Return why nothing can be asked of these deployments now, None if something can."""
    if not candidates:
        return "no running deployment"
    if not any(accounts[one.sub_account].tokens.state().ready for one in candidates):
        return "no token for its sub-account"
    return None
