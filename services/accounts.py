"""A sub-account as the data plane needs it: its token, and the head of every request to it (wire §3.1)."""

from __future__ import annotations

from services.deployments import CLIENT_TYPE
from services.tokens import TokenProvider
from services.upstream import Head, head


class Account:
    """One sub-account's token and request head."""

    def __init__(self, *, name: str, resource_group: str, tenant_id: str, tokens: TokenProvider) -> None:
        self.name = name
        self.tokens = tokens
        self._fields: dict[str, str] = {
            "content-type": "application/json",
            "AI-Resource-Group": resource_group,
            "AI-Client-Type": CLIENT_TYPE,
        }
        if tenant_id:  # some tenants need it (trap 49)
            self._fields["AI-Tenant-Id"] = tenant_id
        self._token = ""
        self._head = head({})

    def head(self, token: str) -> Head:
        """Return the head of a request with this token. Nothing of the caller's own head goes up."""
        if token != self._token:
            self._token, self._head = token, head({**self._fields, "Authorization": f"Bearer {token}"})
        return self._head
