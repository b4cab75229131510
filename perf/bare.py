"""The least that a proxy on Sanic and pyreqwest can do: what a faster or slower machine is known by.

No keys, no balancing, no metrics, no log line. `DEPLOYMENT_URL`, `TOKEN`, `RESOURCE_GROUP` and `PORT` are its
environment.
"""

from __future__ import annotations

import os
from typing import Any

from pyreqwest.client import ClientBuilder
from sanic import HTTPResponse, Request, Sanic
from sanic.response import empty

from perf.stack import BARE_ENDPOINT, HOST


def create_app(url: str, token: str, resource_group: str) -> Sanic[Any, Any]:
    """Every body goes to this URL with this token."""
    app = Sanic("bare")
    headers = {
        "authorization": f"Bearer {token}",
        "ai-resource-group": resource_group,
        "content-type": "application/json",
    }

    @app.before_server_start
    async def open_client(app: Sanic[Any, Any]) -> None:
        app.ctx.client = await ClientBuilder().max_connections(512).build().__aenter__()

    @app.after_server_stop
    async def close_client(app: Sanic[Any, Any]) -> None:
        await app.ctx.client.close()

    @app.get("/health/ready")
    async def ready(_: Request) -> HTTPResponse:
        return empty(200)

    @app.post(BARE_ENDPOINT.path)
    async def whole(request: Request) -> HTTPResponse:
        asked = app.ctx.client.post(url).headers(headers).body_bytes(request.body).build()
        answer = await asked.send()
        body = bytes(await answer.bytes())
        return HTTPResponse(body, status=answer.status, content_type=answer.get_header("content-type"))

    @app.post(BARE_ENDPOINT.stream_path)
    async def streamed(request: Request) -> None:
        asked = app.ctx.client.post(url).headers(headers).body_bytes(request.body)
        # Without this the first 64 KB of a stream are held back.
        async with asked.streamed_read_buffer_limit(0).build_streamed() as answer:
            response = await request.respond(
                status=answer.status, content_type=answer.get_header("content-type")
            )
            while chunk := await answer.body_reader.read_chunk():
                await response.send(bytes(chunk))

    return app


if __name__ == "__main__":
    variables = os.environ
    create_app(variables["DEPLOYMENT_URL"], variables["TOKEN"], variables["RESOURCE_GROUP"]).run(
        host=HOST, port=int(variables["PORT"]), single_process=True, access_log=False, motd=False
    )
