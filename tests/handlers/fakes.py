"""Requests that never came over a socket."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sanic.compat import Header


class FakeHttp:
    """A body in pieces, as Sanic's stream gives it. `buffered` came with the head, of `announced` bytes."""

    def __init__(self, *pieces: bytes, buffered: bytes = b"", announced: int | None = None) -> None:
        self.pieces = list(pieces)
        self.request_body: Any = "chunked" if announced is None else True
        self.request_bytes_left = announced
        self.recv_buffer = buffered
        self.head_only = False
        self.reads = 0

    async def read(self) -> bytes | None:
        self.reads += 1
        if self.pieces:
            return self.pieces.pop(0)
        self.request_body = False
        return None


def request(
    *, method: str = "POST", path: str = "/v1/x", stream: FakeHttp | None = None, app: Any = None,
    public: bool | None = None, **headers: str,
) -> Any:  # fmt: skip
    """A request with these head fields (underscores for dashes); `public` None means that no route fits."""
    route = None if public is None else SimpleNamespace(ctx=SimpleNamespace(public=public))
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return SimpleNamespace(
        method=method,
        path=path,
        headers=Header(fields),
        head="\r\n".join([f"{method} {path} HTTP/1.1", *map(": ".join, fields.items())]).encode(),
        ctx=SimpleNamespace(),
        stream=stream,
        app=app or SimpleNamespace(router=SimpleNamespace(routes=[])),
        route=route,
    )
